//! The server's certificates, and the ids of sessions, which are made with their private keys.

use std::sync::{Arc, PoisonError, RwLock};

use aws_lc_rs::constant_time::verify_slices_are_equal;

use crate::ids::{Ufrag, hex};
use crate::sdp;
use crate::vault::{FingerprintHash, Identity, MacKey};

use super::session_id;

/// What the key of channels' tags is derived for.
const CHANNELS: &[u8] = b"channel tag";
/// What the key of session ids is derived for.
const IDS: &[u8] = b"session tag";

/// The certificates that peers may have been told.
pub(super) struct Certificates {
    /// The one for new peers.
    current: Certificate,
    /// Those of peers of earlier boots, the latest first.
    earlier: RwLock<Vec<Arc<Certificate>>>,
    /// The key of channels' tags, derived from the oldest certificate, which all nodes of a cluster
    /// have, whichever of them made a newer one.
    channels: MacKey,
}

/// A certificate's hashes, and the key for the ids of its sessions.
pub(super) struct Certificate {
    /// SHA-256, for answers.
    pub sha256: [u8; 32],
    /// SHA-512, as in `a=fingerprint` (RFC 8122 §5), for the page.
    pub other: String,
    ids: MacKey,
}

impl Certificate {
    fn new(identity: &Identity) -> Self {
        Self {
            sha256: identity.sha256(),
            other: sdp::fingerprint_value(
                "sha-512",
                &identity.fingerprint(FingerprintHash::Sha512),
            ),
            ids: identity.mac_key(IDS),
        }
    }

    /// HMAC-SHA-256 (RFC 2104) of the user name fragment, truncated to 128 bits: nobody can guess
    /// it, and it is the same in every boot.
    fn tag(&self, ufrag: &Ufrag) -> [u8; session_id::TAG] {
        *self
            .ids
            .tag(&[ufrag.as_str().as_bytes()])
            .first_chunk()
            .expect("HMAC-SHA-256 has 32 bytes")
    }
}

impl Certificates {
    /// The certificate for new peers, and those of peers of earlier boots.
    pub(super) fn new<'a>(
        current: &Identity,
        earlier: impl IntoIterator<Item = &'a Identity>,
    ) -> Self {
        let earlier: Vec<&Identity> = earlier.into_iter().collect();
        let oldest = earlier.last().copied().unwrap_or(current);
        let certificates = earlier
            .iter()
            .map(|identity| Arc::new(Certificate::new(identity)));
        Self {
            channels: oldest.mac_key(CHANNELS),
            current: Certificate::new(current),
            earlier: RwLock::new(certificates.collect()),
        }
    }

    /// The one for new peers.
    pub(super) fn current(&self) -> &Certificate {
        &self.current
    }

    fn earlier(&self) -> Vec<Arc<Certificate>> {
        self.earlier
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// SHA-256 of those that new peers do not get.
    pub(super) fn earlier_sha256(&self) -> Vec<[u8; 32]> {
        self.earlier()
            .iter()
            .map(|certificate| certificate.sha256)
            .collect()
    }

    /// Whether peers may use it.
    pub(super) fn knows(&self, identity: &Identity) -> bool {
        let sha256 = identity.sha256();
        self.current.sha256 == sha256 || self.earlier_sha256().contains(&sha256)
    }

    /// Adds one that new peers do not get.
    pub(super) fn learn(&self, identity: &Identity) {
        let mut earlier = self.earlier.write().unwrap_or_else(PoisonError::into_inner);
        earlier.push(Arc::new(Certificate::new(identity)));
    }

    /// Forgets some that new peers do not get, by their SHA-256, and wipes the keys for their ids.
    pub(super) fn forget(&self, gone: &[[u8; 32]]) {
        let mut earlier = self.earlier.write().unwrap_or_else(PoisonError::into_inner);
        earlier.retain(|certificate| !gone.contains(&certificate.sha256));
    }

    /// The other hash of a peer's certificate, by its SHA-256.
    pub(super) fn other(&self, sha256: &[u8; 32]) -> String {
        let earlier = self.earlier();
        let found = earlier
            .iter()
            .find(|certificate| certificate.sha256 == *sha256);
        found
            .map_or(&self.current.other, |certificate| &certificate.other)
            .clone()
    }

    /// The id of a new peer's session: its holder may end the session and read its events. The user
    /// name fragment alone is sent in clear in every STUN request, so it is followed by a tag that
    /// only this server can make. The server need not store the id.
    pub(super) fn session_id(&self, ufrag: &Ufrag) -> String {
        session_id::format(ufrag, &self.current.tag(ufrag))
    }

    /// The name of a channel in a store that must not learn its real name; the same on all nodes.
    pub(super) fn channel_tag(&self, name: &str) -> String {
        hex::encode(&self.channels.tag(&[name.as_bytes()]))
    }

    /// The peer that an id names, if its tag is valid for one of the certificates, and the SHA-256
    /// of that certificate. The peer must use that certificate, or a stolen old private key could
    /// make ids for new peers. Compared in constant time.
    pub(super) fn verify(&self, id: &str) -> Option<(Ufrag, [u8; 32])> {
        let (ufrag, tag) = session_id::parse(id)?;
        let earlier = self.earlier();
        let mut right = None;
        for known in std::iter::once(&self.current).chain(earlier.iter().map(AsRef::as_ref)) {
            if verify_slices_are_equal(&known.tag(&ufrag), &tag).is_ok() {
                right = Some(known.sha256);
            }
        }
        Some((ufrag, right?))
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    fn identity() -> Identity {
        Identity::generate(SystemTime::now()).expect("a certificate")
    }

    fn ufrag() -> Ufrag {
        Ufrag::new("Vabcdefgh0123456").expect("a fragment")
    }

    #[test]
    fn ids_go_by_the_peers_own_certificate() {
        let (new, old) = (identity(), identity());
        let before = Certificates::new(&old, []);
        let id = before.session_id(&ufrag());
        assert_eq!(before.verify(&id), Some((ufrag(), old.sha256())));
        let after = Certificates::new(&new, [&old]);
        assert_ne!(after.session_id(&ufrag()), id);
        assert_eq!(after.verify(&id), Some((ufrag(), old.sha256())));
        assert_eq!(
            after.verify(&after.session_id(&ufrag())),
            Some((ufrag(), new.sha256()))
        );
        assert_eq!(after.other(&old.sha256()), before.current().other);
    }

    #[test]
    fn a_channel_has_one_tag_at_all_nodes_whoever_knows_of_a_newer_certificate() {
        let (new, old) = (identity(), identity());
        let (behind, ahead) = (Certificates::new(&old, []), Certificates::new(&new, [&old]));
        assert_eq!(behind.channel_tag("news"), ahead.channel_tag("news"));
        assert_ne!(behind.channel_tag("news"), behind.channel_tag("new"));
        ahead.forget(&[old.sha256()]);
        assert_eq!(behind.channel_tag("news"), ahead.channel_tag("news"));
        let other = Certificates::new(&new, []);
        assert_ne!(behind.channel_tag("news"), other.channel_tag("news"));
    }

    #[test]
    fn ids_of_a_forgotten_certificate_are_nobodys() {
        let (new, old) = (identity(), identity());
        let id = Certificates::new(&old, []).session_id(&ufrag());
        let certificates = Certificates::new(&new, [&old]);
        assert_eq!(certificates.earlier_sha256(), [old.sha256()]);
        certificates.forget(&[old.sha256(), new.sha256()]);
        assert!(certificates.earlier_sha256().is_empty());
        assert_eq!(certificates.verify(&id), None);
        let own = certificates.session_id(&ufrag());
        assert!(
            certificates.verify(&own).is_some(),
            "the current one is never forgotten"
        );
    }

    #[test]
    fn an_id_of_another_peer_or_server_is_refused() {
        let certificates = Certificates::new(&identity(), []);
        let id = certificates.session_id(&ufrag());
        assert_eq!(certificates.verify(&id.replace("Vabc", "Vabd")), None);
        assert_eq!(Certificates::new(&identity(), []).verify(&id), None);
    }
}
