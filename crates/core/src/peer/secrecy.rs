//! Traits that session keys must not have. This compiles only as long as they do not have them.

use std::fmt::{Debug, Display};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::handshake::{Completed, Handshake};
use super::sending::Sending;
use super::srtp::{SessionKeys, Srtp};
use super::transform::Transform;

/// Does not compile if the type has one of the traits: it would be ambiguous which of two
/// implementations is meant.
macro_rules! has_not {
    ($type:ty: $($trait:path),+) => {
        $({
            trait Unclear<Which> {
                fn decide() {}
            }
            impl<T: ?Sized> Unclear<()> for T {}
            #[allow(dead_code, reason = "it only makes the other one unclear")]
            struct HasIt;
            impl<T: ?Sized + $trait> Unclear<HasIt> for T {}
            <$type as Unclear<_>>::decide();
        })+
    };
}

#[test]
fn session_keys_can_be_neither_copied_nor_written_nor_printed() {
    has_not!(SessionKeys: Clone, Serialize, DeserializeOwned, Debug, Display);
    has_not!(Srtp: Clone, Serialize, DeserializeOwned, Debug, Display);
    has_not!(Sending: Clone, Serialize, DeserializeOwned, Debug, Display);
    has_not!(Transform: Clone, Serialize, DeserializeOwned, Debug, Display);
    has_not!(Completed: Clone, Serialize, DeserializeOwned, Debug, Display);
    has_not!(crate::broadcast::Job: Clone, Serialize, DeserializeOwned, Debug, Display);
    has_not!(crate::broadcast::Finished: Clone, Serialize, DeserializeOwned, Debug, Display);
    has_not!(dyn Handshake: Serialize, Debug, Display);
    has_not!(super::Peer: Clone, Serialize, DeserializeOwned, Debug, Display);
}
