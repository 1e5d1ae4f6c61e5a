//! What hardening achieved, and what it could not.

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

    /// The measures in force.
    pub fn all_held(&self) -> impl Iterator<Item = &str> {
        self.held.iter().map(String::as_str)
    }

    /// The measures that are not, why, and what an operator can do.
    pub fn all_lacking(&self) -> impl Iterator<Item = &str> {
        self.lacking.iter().map(String::as_str)
    }

    /// Logs one line for all measures in force, and a warning for each other. `part` names this
    /// report.
    pub fn log(&self, part: &str) {
        if !self.held.is_empty() {
            tracing::info!("{part}: {}", self.held.join("; "));
        }
        for what in &self.lacking {
            tracing::warn!("{part}: not in force: {what}");
        }
    }
}
