//! The two DER structures in `identity.age`, byte for byte: there is exactly one encoding of each
//! of them, except for the fields that are listed here.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, UnparsedPublicKey,
};

use super::report::Class;
use crate::identity::names_of_key;

/// What is expected next.
enum Shape {
    /// A constructed value of this tag, with these inside.
    Holds(u8, &'static [Shape]),
    /// A primitive value of this tag that is always the same.
    Is(u8, &'static [u8]),
    /// A primitive value of this tag, named; its length is within these bounds.
    Field(u8, &'static str, Class, usize, usize),
}

use Shape::{Field, Holds, Is};

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OID: u8 = 0x06;
const PRINTABLE: u8 = 0x13;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// 1.2.840.10045.4.3.2, ecdsa-with-SHA256
const ECDSA_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
/// 1.2.840.10045.2.1, id-ecPublicKey
const EC_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
/// 1.2.840.10045.3.1.7, prime256v1
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// 2.5.4.5, serialNumber
const NAME_ATTRIBUTE: &[u8] = &[0x55, 0x04, 0x05];

const fn public(tag: u8, name: &'static str, least: usize, most: usize) -> Shape {
    Field(tag, name, Class::Public, least, most)
}

/// RFC 5280 §4.1, as `Identity::generate` makes it: version 3, no extensions.
const CERTIFICATE: Shape = Holds(
    SEQUENCE,
    &[
        Holds(
            SEQUENCE,
            &[
                Holds(0xa0, &[Is(INTEGER, &[2])]),
                public(INTEGER, "serial number", 16, 16),
                Holds(SEQUENCE, &[Is(OID, ECDSA_SHA256)]),
                Holds(
                    SEQUENCE,
                    &[Holds(
                        SET,
                        &[Holds(
                            SEQUENCE,
                            &[Is(OID, NAME_ATTRIBUTE), public(PRINTABLE, "issuer", 32, 32)],
                        )],
                    )],
                ),
                // RFC 5280 §4.1.2.5: from the year 2050 on in four digits.
                Holds(
                    SEQUENCE,
                    &[
                        public(UTC_TIME, "not before", 13, 13),
                        public(GENERALIZED_TIME, "not after", 15, 15),
                    ],
                ),
                Holds(
                    SEQUENCE,
                    &[Holds(
                        SET,
                        &[Holds(
                            SEQUENCE,
                            &[
                                Is(OID, NAME_ATTRIBUTE),
                                public(PRINTABLE, "subject", 32, 32),
                            ],
                        )],
                    )],
                ),
                Holds(
                    SEQUENCE,
                    &[
                        Holds(SEQUENCE, &[Is(OID, EC_PUBLIC_KEY), Is(OID, P256)]),
                        public(BIT_STRING, "public key", 66, 66),
                    ],
                ),
            ],
        ),
        Holds(SEQUENCE, &[Is(OID, ECDSA_SHA256)]),
        public(BIT_STRING, "signature", 9, 73),
    ],
);

/// RFC 5958 §2 around RFC 5915 §3.
const PRIVATE_KEY: Shape = Holds(
    SEQUENCE,
    &[
        Is(INTEGER, &[0]),
        Holds(SEQUENCE, &[Is(OID, EC_PUBLIC_KEY), Is(OID, P256)]),
        Holds(
            OCTET_STRING,
            &[Holds(
                SEQUENCE,
                &[
                    Is(INTEGER, &[1]),
                    Field(OCTET_STRING, "scalar", Class::LongLivedSecret, 32, 32),
                    Holds(0xa1, &[public(BIT_STRING, "public key", 66, 66)]),
                ],
            )],
        ),
    ],
);

/// A run of bytes: a named field, or the structure between fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    pub length: usize,
    pub name: &'static str,
    pub class: Class,
}

/// Why an identity was not made by this program.
pub(super) type Wrong = &'static str;

/// Parses the certificate and the private key, and checks that nothing in them is free: the names
/// are hashes of the key, the signature verifies, and the private key belongs to the certificate.
pub(super) fn identity(
    certificate: &[u8],
    private_key: &[u8],
) -> Result<(Vec<Part>, Vec<Part>), Wrong> {
    let certificate_parts =
        walk(&CERTIFICATE, certificate).ok_or("the certificate has another structure")?;
    let private_parts =
        walk(&PRIVATE_KEY, private_key).ok_or("the private key has another structure")?;
    let field = |parts, bytes, name| content_of(parts, bytes, name).ok_or("a field is missing");
    let public_key = field(&certificate_parts, certificate, "public key")?;
    // A bit string begins with the number of unused bits.
    let [0, point @ ..] = public_key else {
        return Err("the public key is not made of whole bytes");
    };
    let (serial, name) = names_of_key(point);
    if field(&certificate_parts, certificate, "serial number")? != serial {
        return Err("the serial number is not the hash of the public key");
    }
    for who in ["issuer", "subject"] {
        if field(&certificate_parts, certificate, who)? != name.as_bytes() {
            return Err("the issuer or the subject is not the hash of the public key");
        }
    }
    for date in ["not before", "not after"] {
        let text = field(&certificate_parts, certificate, date)?;
        let digits = text
            .strip_suffix(b"000000Z")
            .filter(|d| d.iter().all(u8::is_ascii_digit));
        digits.ok_or("a date of the certificate is not rounded to a day")?;
    }
    let signed = first_inside(certificate).ok_or("the certificate has another structure")?;
    let [0, signature @ ..] = field(&certificate_parts, certificate, "signature")? else {
        return Err("the signature is not made of whole bytes");
    };
    let verified = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).verify(signed, signature);
    verified.map_err(|_| "the certificate's signature is wrong")?;
    if field(&private_parts, private_key, "public key")? != public_key {
        return Err("the private key belongs to another certificate");
    }
    // Computes the public key from the scalar, and compares.
    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, private_key)
        .map_err(|_| "the private key and the public key beside it do not fit")?;
    Ok((certificate_parts, private_parts))
}

/// The parts of a structure of this shape, one after the other; `None` if it has another shape.
fn walk(shape: &Shape, bytes: &[u8]) -> Option<Vec<Part>> {
    let mut parts = Vec::new();
    let rest = step(shape, bytes, &mut parts)?;
    rest.is_empty().then_some(parts)
}

fn step<'a>(shape: &Shape, bytes: &'a [u8], parts: &mut Vec<Part>) -> Option<&'a [u8]> {
    let (tag, head, content, rest) = element(bytes)?;
    match shape {
        Holds(expected, inside) => {
            structure(parts, head);
            let mut content = (tag == *expected).then_some(content)?;
            for shape in *inside {
                content = step(shape, content, parts)?;
            }
            content.is_empty().then_some(rest)
        }
        Is(expected, value) => {
            structure(parts, head + content.len());
            (tag == *expected && content == *value).then_some(rest)
        }
        Field(expected, name, class, least, most) => {
            structure(parts, head);
            parts.push(Part {
                length: content.len(),
                name,
                class: *class,
            });
            (tag == *expected && (*least..=*most).contains(&content.len())).then_some(rest)
        }
    }
}

/// Tags, lengths and constants, which are always the same.
fn structure(parts: &mut Vec<Part>, length: usize) {
    match parts.last_mut() {
        Some(part) if part.name == "structure" => part.length += length,
        _ => parts.push(Part {
            length,
            name: "structure",
            class: Class::Public,
        }),
    }
}

/// Tag, bytes of tag and length, content, rest. Definite lengths in as few bytes as possible (X.690
/// §10.1).
fn element(bytes: &[u8]) -> Option<(u8, usize, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (length, rest) = match rest {
        [n @ 0..=0x7f, rest @ ..] => (usize::from(*n), rest),
        [0x81, n @ 0x80..=0xff, rest @ ..] => (usize::from(*n), rest),
        [0x82, high @ 1..=0xff, low, rest @ ..] => {
            (usize::from(u16::from_be_bytes([*high, *low])), rest)
        }
        _ => return None,
    };
    let head = bytes.len() - rest.len();
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, head, content, rest))
}

/// The first element inside another, with its tag and length: of a certificate, what is signed.
fn first_inside(bytes: &[u8]) -> Option<&[u8]> {
    let (_, _, content, _) = element(bytes)?;
    let (_, head, inner, _) = element(content)?;
    content.get(..head + inner.len())
}

/// The content of a named field.
fn content_of<'a>(parts: &[Part], bytes: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let index = parts.iter().position(|p| p.name == name)?;
    let start: usize = parts[..index].iter().map(|p| p.length).sum();
    bytes.get(start..start + parts[index].length)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::Identity;

    fn make() -> (Vec<u8>, Vec<u8>) {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let identity = Identity::generate(now).expect("made");
        (
            identity.certificate_der().to_vec(),
            identity.private_key_der().to_vec(),
        )
    }

    #[test]
    fn every_byte_of_an_identity_has_a_part() {
        // The length of the signature varies by a byte or two.
        for _ in 0..20 {
            let (certificate, key) = make();
            let (certificate_parts, key_parts) = identity(&certificate, &key).expect("accepted");
            assert_eq!(
                certificate_parts.iter().map(|p| p.length).sum::<usize>(),
                certificate.len()
            );
            assert_eq!(key_parts.iter().map(|p| p.length).sum::<usize>(), key.len());
            let secret: Vec<_> = key_parts
                .iter()
                .filter(|p| p.class == Class::LongLivedSecret)
                .collect();
            assert!(matches!(
                &secret[..],
                [Part {
                    length: 32,
                    name: "scalar",
                    ..
                }]
            ));
        }
    }

    #[test]
    fn a_change_of_any_byte_is_noticed() {
        let (certificate, key) = make();
        for position in 0..certificate.len() {
            let mut changed = certificate.clone();
            changed[position] ^= 1;
            assert!(
                identity(&changed, &key).is_err(),
                "certificate, byte {position}"
            );
        }
        for position in 0..key.len() {
            let mut changed = key.clone();
            changed[position] ^= 1;
            assert!(
                identity(&certificate, &changed).is_err(),
                "private key, byte {position}"
            );
        }
        assert!(identity(&[&*certificate, b"\0"].concat(), &key).is_err());
        assert!(identity(&certificate, &[&*key, b"\0"].concat()).is_err());
        assert!(identity(&certificate[..certificate.len() - 1], &key).is_err());
        assert!(identity(&certificate, &make().1).is_err());
        assert!(identity(b"", b"").is_err());
    }
}
