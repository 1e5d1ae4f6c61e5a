//! Counts of failed handshakes.

use super::flight::Fault;

/// DTLS handshakes that gave no peer keys, by cause. A failed one is not counted if another one was
/// completed at the same address: a page that renews its keys begins several.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Failures {
    /// The client showed no certificate, one that its offer does not name, or an unusable one.
    pub certificate: u64,
    /// The client ended it with an alert.
    pub alert: u64,
    /// A message was wrong.
    pub error: u64,
    /// The client did not continue it.
    pub timeout: u64,
    /// The client has no post-quantum key exchange, and the server requires one.
    pub post_quantum: u64,
    /// It was not begun, since the limit of handshakes under way was reached.
    pub busy: u64,
}

impl std::ops::AddAssign for Failures {
    fn add_assign(&mut self, more: Self) {
        let Self {
            certificate,
            alert,
            error,
            timeout,
            post_quantum,
            busy,
        } = more;
        self.certificate += certificate;
        self.alert += alert;
        self.error += error;
        self.timeout += timeout;
        self.post_quantum += post_quantum;
        self.busy += busy;
    }
}

impl Failures {
    /// Counts `more` failures for this cause.
    pub(super) fn count(&mut self, fault: Fault, more: u64) {
        match fault {
            Fault::NoCertificate | Fault::Foreign | Fault::Unsupported => self.certificate += more,
            Fault::NotPostQuantum => self.post_quantum += more,
            Fault::Alert => self.alert += more,
            Fault::Failed | Fault::Passive => self.error += more,
        }
    }
}
