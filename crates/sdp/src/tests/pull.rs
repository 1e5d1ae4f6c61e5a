//! A node as a viewer of another one.

use super::*;

const OWN: Transport<'_> = Transport {
    ufrag: "nodeufrag",
    pwd: "nodepassword0123456789abc",
    fingerprint_sha256: &[0xcd; 32],
    session_id: 7,
};

#[test]
fn a_node_asks_for_what_the_publisher_sends_in_the_same_numbers() {
    for publisher in PUBLISHERS {
        let (answer, sent) = publish(publisher);
        let offer = pull_offer(&answer, &OWN);
        assert!(renews(&offer));
        for gone in ["a=candidate", "a=ice-lite", "serverufrag1", "AB:AB"] {
            assert!(!offer.contains(gone), "{gone}");
        }
        let codecs = sent.media.iter().flat_map(|media| &media.payloads);
        let codecs: Vec<Codec> = codecs.map(|payload| payload.codec.clone()).collect();
        let (_, received) = watch(&offer, &codecs);
        assert_eq!(received.fingerprints[0].digest, [0xcd; 32]);
        assert_eq!(received.setup, Setup::Passive);
        assert_eq!(received.media.len(), sent.media.len());
        for (received, sent) in received.media.iter().zip(&sent.media) {
            assert_eq!((received.kind, &received.mid), (sent.kind, &sent.mid));
            let numbers = |media: &Media| -> Vec<_> {
                let payloads = media.payloads.iter();
                payloads
                    .map(|one| (one.pt, one.codec.clone(), one.rtx, one.nack, one.pli))
                    .collect()
            };
            assert_eq!(numbers(received), numbers(sent));
            let own = Extensions {
                transport_cc: None,
                ..sent.extensions
            };
            assert_eq!(received.extensions, own);
        }
    }
}
