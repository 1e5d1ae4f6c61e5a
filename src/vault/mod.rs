//! The vault: the folder of age files that holds what is persisted, and nothing else.

mod record;

pub use record::{IceCredentials, IcePassword, PeerRecord, Role, Ufrag, UfragError};
