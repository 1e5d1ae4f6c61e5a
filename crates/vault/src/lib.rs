//! The vault: the folder of age files that holds what is persisted, and nothing else.
//!
//! [`KeyFile`] is the operator's key; [`Vault`] writes; [`Reader`] reads what earlier boots left.
//! [`SharedStore`] replaces the folder where several hosts share a vault. Functions that use the
//! disk or the store block.
#![forbid(unsafe_code)]
#![warn(missing_docs)]
// What tests and fuzz targets share is `pub` in modules that only they see.
#![cfg_attr(not(any(test, fuzzing)), warn(unreachable_pub))]

mod anchor;
pub mod audit;
mod beside;
mod clock;
mod error;
mod files;
mod full_state;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod identity;
mod key;
mod layout;
mod lock;
mod opening;
mod reader;
mod record;
pub mod rekey;
mod rotate;
mod seal;
pub mod shared;
mod storage;
mod store;
#[cfg(test)]
mod tests;

pub use anchor::AnchorError;
pub use beside::{Beside, Found, Sealer};
pub use clock::rfc3339;
pub use error::{FileFault, KeyError, VaultError};
pub use identity::{FingerprintHash, Identity};
pub use key::KeyFile;
pub use reader::Reader;
pub use record::{PeerRecord, UnfitRecord};
pub use seal::MacKey;
pub use shared::{ChannelPlace, SharedStore};
pub use store::{Opened, Rotated, Vault};
