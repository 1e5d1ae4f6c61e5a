//! Landlock: which files can still be opened, and to which ports TCP connections can be made.

use std::ffi::OsStr;
use std::fs::DirEntry;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, LandlockStatus, NetPort, PathBeneath, PathFd,
    Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
    make_bitflags,
};

use super::{Options, Report, SandboxError};

/// The newest Landlock that the rules were tested with (Linux 6.15). Older kernels enforce the part
/// that they know.
const TESTED: ABI = ABI::V7;

/// What the vault does in its folder. Kinds of entries that it never creates are listed because it
/// moves every foreign entry into `set-aside/`; creating them takes a system call that the filter
/// forbids.
fn vault_access() -> BitFlags<AccessFs> {
    make_bitflags!(AccessFs::{
        ReadFile | ReadDir | WriteFile | Truncate | MakeReg | RemoveFile | Refer
            | MakeDir | RemoveDir | MakeSym | MakeFifo | MakeSock
    })
}

/// What is done in the folder for certificates: its file is replaced.
fn acme_access() -> BitFlags<AccessFs> {
    make_bitflags!(AccessFs::{ ReadFile | ReadDir | WriteFile | Truncate | MakeReg | RemoveFile })
}

/// Confines this thread, and those that it will start: no other files, no other TCP ports, no other
/// processes.
pub(super) fn confine(options: &Options<'_>, report: &mut Report) -> Result<(), SandboxError> {
    let refused = |e: RulesetError| SandboxError::Landlock(e.to_string());
    let mut rules = Ruleset::default()
        .handle_access(AccessFs::from_all(TESTED))
        .and_then(|r| r.handle_access(AccessNet::from_all(TESTED)))
        .and_then(|r| r.scope(Scope::from_all(TESTED)))
        .and_then(Ruleset::create)
        .map_err(refused)?;
    if let Some(folder) = options.state_dir {
        rules = allow(rules, folder, vault_access())?;
    }
    if let Some(folder) = options.acme_dir {
        rules = allow(rules, folder, acme_access())?;
    }
    for port in options.connects {
        rules = rules
            .add_rule(NetPort::new(*port, AccessNet::ConnectTcp))
            .map_err(refused)?;
    }
    if let Some(folder) = options.static_dir {
        rules = allow(
            rules,
            folder,
            make_bitflags!(AccessFs::{ReadFile | ReadDir}),
        )?;
    }
    // A pipe from a shell cannot be read again, and Landlock has no rule for it.
    let tokens = options
        .token_files
        .iter()
        .copied()
        .filter(|path| path.is_file());
    let secrets: Vec<&Path> = options.key_file.into_iter().chain(tokens).collect();
    let all: Vec<&Path> = [&secrets[..], options.tls_files].concat();
    for path in &secrets {
        let readable = own_folder(path, &all).unwrap_or(path);
        rules = allow(rules, readable, AccessFs::ReadFile.into())?;
    }
    for path in options.tls_files {
        let folders = tls_folders(path, &all);
        if folders.is_empty() {
            report.lacking(format!(
                "a renewal of {} by SIGHUP: a file that takes its place could not be read, since \
                 its folder has more in it than certificates and keys; give it a folder of its \
                 own, or start the server anew after each renewal",
                path.display()
            ));
        }
        for readable in folders.iter().map(PathBuf::as_path).chain([*path]) {
            rules = allow(rules, readable, AccessFs::ReadFile.into())?;
        }
    }
    let status = rules.restrict_self().map_err(refused)?;
    match (status.ruleset, status.landlock) {
        (RulesetStatus::FullyEnforced, _) => {
            report.held(match options.connects {
                [] => "no files but the vault's, no TCP connections (Landlock)".to_owned(),
                ports => format!(
                    "no files but the server's own, TCP connections to no port but {} (Landlock)",
                    listed(ports)
                ),
            });
        }
        (RulesetStatus::PartiallyEnforced, LandlockStatus::Available { effective_abi, .. }) => {
            // What an older Landlock does not restrict (truncate, TCP, ioctl on devices, signals)
            // takes calls that the filter forbids.
            report.held("no files but the vault's (Landlock, an older one)");
            if effective_abi < ABI::V4 && !options.connects.is_empty() {
                report.lacking(format!(
                    "the limit of TCP connections to no port but {}: Landlock before Linux 6.7 \
                     knows none",
                    listed(options.connects)
                ));
            }
            if effective_abi < ABI::V2 {
                report.lacking(
                    "one thing of Landlock: the first one (Linux 5.13 to 5.18) forbids moving a \
                     file to another folder, so files that cannot be used stay in peers/",
                );
            }
        }
        (_, LandlockStatus::NotEnabled) => {
            report.lacking(
                "Landlock: built into this kernel but off; add `landlock` to the \
                 kernel's lsm= list",
            );
        }
        _ => report.lacking(
            "Landlock: this kernel has none (Linux 5.13 and later), so files of this user stay \
             open to the process",
        ),
    }
    Ok(())
}

fn listed(ports: &[u16]) -> String {
    let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
    ports.join(", ")
}

/// The folder of a secret's file, if it holds only such files, copies of them by their names
/// (`key.txt~`, `key.txt.new`), and hidden entries (of editors and of Kubernetes).
fn own_folder<'a>(file: &'a Path, secrets: &[&Path]) -> Option<&'a Path> {
    let folder = file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())?;
    holds_only(folder, secrets, |_| false).then_some(folder)
}

/// Whether every entry in a folder is hidden, is one of these secrets or a copy of it by its name,
/// or satisfies `besides`.
fn holds_only(folder: &Path, secrets: &[&Path], besides: impl Fn(&DirEntry) -> bool) -> bool {
    let here = secrets
        .iter()
        .filter(|secret| secret.parent() == Some(folder));
    let names: Vec<&[u8]> = here
        .filter_map(|secret| Some(secret.file_name()?.as_encoded_bytes()))
        .collect();
    let fits = |entry: DirEntry| {
        let name = entry.file_name();
        let name = name.as_encoded_bytes();
        name.starts_with(b".")
            || names.iter().any(|secret| name.starts_with(secret))
            || besides(&entry)
    };
    std::fs::read_dir(folder).is_ok_and(|mut all| all.all(|entry| entry.is_ok_and(fits)))
}

/// The folders in which a certificate or key of TLS is replaced, if they hold only such files: the
/// folder of the given path, and the folder that links lead to (certbot has a link to a file in
/// another folder, and replaces file and link; Kubernetes has a hidden folder below).
fn tls_folders(file: &Path, secrets: &[&Path]) -> Vec<PathBuf> {
    let holder = |path: &Path| path.parent().map(Path::to_owned);
    // An empty path is the working folder, which is hardly for certificates alone.
    let named = holder(file).filter(|folder| !folder.as_os_str().is_empty());
    let real = file.canonicalize().ok().as_deref().and_then(holder);
    let mut folders: Vec<PathBuf> = named.into_iter().chain(real).collect();
    folders.retain(|folder| holds_tls_only(folder, secrets));
    folders.dedup();
    folders
}

/// The same, where files that by their names are certificates, keys or what tools keep beside them
/// are allowed too.
fn holds_tls_only(folder: &Path, secrets: &[&Path]) -> bool {
    const KINDS: [&str; 6] = ["pem", "crt", "cer", "key", "csr", "chain"];
    holds_only(folder, secrets, |entry| {
        let name = entry.file_name();
        let kind = Path::new(&name).extension().and_then(OsStr::to_str);
        let is_kind = kind.is_some_and(|kind| KINDS.contains(&kind)) || name == "README";
        // A folder of that name could hold anything.
        is_kind && entry.path().is_file()
    })
}

fn allow(
    rules: RulesetCreated,
    path: &Path,
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, SandboxError> {
    let folder = PathFd::new(path).map_err(|e| SandboxError::Folder {
        path: path.into(),
        source: std::io::Error::other(e),
    })?;
    rules
        .add_rule(PathBeneath::new(folder, access))
        .map_err(|e| SandboxError::Landlock(e.to_string()))
}
