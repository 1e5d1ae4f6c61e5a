//! The files of full-state mode: `sessions/` and `counters.age`. Their names identify them even
//! without a key file.

use super::{
    COUNTERS, Content, CouldNotLook, FileFault, Folder, Named, Place, SESSIONS, Walk, limits,
    ufrag_of,
};

impl Walk<'_> {
    pub(super) fn sessions(&mut self, root: &Folder) -> Result<(), CouldNotLook> {
        let text = "full-state mode keeps session keys here";
        self.report.finding("full-state", SESSIONS, text);
        self.folder(root, SESSIONS, SESSIONS, Walk::session)
    }

    fn session(&mut self, folder: &Folder, name: &str, path: &str) -> Result<(), CouldNotLook> {
        if ufrag_of(name).is_none() {
            return self.misnamed(folder, name, path);
        }
        let limit = limits::SESSION_FILE;
        let content = self.sealed(folder, name, path, Place::Session, limit, Named::As(path))?;
        self.judge_session_state(path, content, "session", 0);
        Ok(())
    }

    pub(super) fn counters(&mut self, root: &Folder) -> Result<(), CouldNotLook> {
        let limit = limits::COUNTERS_FILE;
        let content = self.sealed(
            root,
            COUNTERS,
            COUNTERS,
            Place::Counters,
            limit,
            Named::As(COUNTERS),
        )?;
        // A start writes them before the boot's number.
        self.judge_session_state(COUNTERS, content, "counters", 1);
        Ok(())
    }

    fn judge_session_state(
        &mut self,
        path: &str,
        content: Result<Option<Content>, FileFault>,
        kind: &str,
        ahead: u64,
    ) {
        let content = match content {
            Ok(content) => content,
            Err(FileFault::NotAge) => None,
            Err(fault) => {
                self.report.finding("cannot-open", path, fault.to_string());
                None
            }
        };
        if content.is_none() {
            let text = format!(
                "by its place, {kind} of full-state mode: session keys, or what goes with them"
            );
            self.report.finding("forbidden", path, text);
        }
        self.wrong_kind(path, content.as_ref(), kind);
        self.judge_boot(path, content.as_ref(), ahead);
    }
}
