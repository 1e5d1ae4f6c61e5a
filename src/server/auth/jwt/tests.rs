use serde_json::json;

use super::*;

fn set(keys: &serde_json::Value, from: From) -> Result<KeySet, KeySetError> {
    KeySet::parse(json!({ "keys": keys }).to_string().as_bytes(), from)
}

/// The public key of RFC 8037, appendix A.2.
fn ed25519() -> serde_json::Value {
    let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    json!({ "kty": "OKP", "crv": "Ed25519", "kid": "a", "x": x })
}

fn with(name: &str, value: serde_json::Value) -> serde_json::Value {
    let mut key = ed25519();
    key[name] = value;
    key
}

#[test]
fn keys_for_something_else_are_left_out_and_what_is_left_must_be_one_at_least() {
    let others = json!([
        with("use", json!("enc")),
        with("alg", json!("ES256")),
        with("key_ops", json!(["encrypt"])),
        with("crv", json!("Ed448")),
        { "kty": "EC", "crv": "P-521", "kid": "a" },
        { "kty": "RSA", "alg": "RS512", "kid": "a" },
        { "kty": "AKP", "kid": "a", "more": { "of": [1] } },
        ed25519(),
    ]);
    let known = set(&others, From::Url).expect("a set");
    assert_eq!((known.len(), known.skipped), (1, 7));
    assert!(!known.can_sign);
    let mut only = others.as_array().expect("a list").clone();
    only.pop();
    let nothing = set(&json!(only), From::Url).expect_err("nothing is left");
    assert_eq!(nothing, KeySetError::Nothing);
}

#[test]
fn a_key_is_found_by_its_name_and_alone_without_one() {
    let second = with("kid", json!("b"));
    let both = set(&json!([ed25519(), second]), From::File).expect("a set");
    assert!(both.find(Some("b")).is_some());
    assert!(both.find(Some("c")).is_none());
    assert!(both.find(None).is_none());
    let one = set(&json!([ed25519()]), From::File).expect("a set");
    assert!(one.find(None).is_some());
    assert!(one.find(Some("b")).is_none());
}

#[test]
fn a_secret_is_a_key_of_a_file_alone_and_is_not_printed() {
    let secret = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldC0";
    let keys = json!([{ "kty": "oct", "k": secret }]);
    let from_file = set(&keys, From::File).expect("a set");
    assert!(from_file.can_sign);
    assert_eq!(format!("{from_file:?}"), "KeySet(1 keys)");
    assert!(matches!(set(&keys, From::Url), Err(KeySetError::Nothing)));
}
