//! What was done, and what could not be.

/// What hardening achieved, in words for the operator.
#[derive(Debug, Default)]
#[must_use = "an operator should know what the kernel lacks"]
pub struct Report {
    held: Vec<String>,
    lacking: Vec<String>,
}

impl Report {
    pub(super) fn held(&mut self, what: impl Into<String>) {
        self.held.push(what.into());
    }

    pub(super) fn lacking(&mut self, what: impl Into<String>) {
        self.lacking.push(what.into());
    }

    /// What holds.
    pub fn all_held(&self) -> impl Iterator<Item = &str> {
        self.held.iter().map(String::as_str)
    }

    /// What does not, why, and what an operator can do.
    pub fn all_lacking(&self) -> impl Iterator<Item = &str> {
        self.lacking.iter().map(String::as_str)
    }

    /// Writes one line for all that holds, and a warning for each thing that does not. `part` says
    /// which report this is.
    pub fn log(&self, part: &str) {
        if !self.held.is_empty() {
            tracing::info!("{part}: {}", self.held.join("; "));
        }
        for what in &self.lacking {
            tracing::warn!("{part}: not in force: {what}");
        }
    }
}
