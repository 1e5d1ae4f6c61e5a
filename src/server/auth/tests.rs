use axum::http::{HeaderValue, StatusCode};

use super::*;

fn with(value: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(
        header::AUTHORIZATION,
        HeaderValue::from_str(value).expect("a header"),
    );
    headers
}

#[test]
fn only_the_token_itself_opens() {
    let token = Token::new("s3cret-token").expect("a token");
    let opens = |headers: &HeaderMap| require(Some(&token), headers, "watch").is_ok();
    assert!(opens(&with("Bearer s3cret-token")));
    assert!(opens(&with("bearer  s3cret-token")));
    for wrong in [
        "Bearer ",
        "Bearer s3cret-toke",
        "Bearer s3cret-token2",
        "Bearer S3CRET-TOKEN",
        "Basic s3cret-token",
        "s3cret-token",
        "Bearer",
    ] {
        assert!(!opens(&with(wrong)), "{wrong}");
    }
    assert!(!opens(&HeaderMap::new()));
    assert!(require(None, &HeaderMap::new(), "watch").is_ok());
}

#[test]
fn a_refusal_challenges_for_a_bearer_token() {
    let token = Token::new("t").expect("a token");
    let problem = require(Some(&token), &HeaderMap::new(), "publish").expect_err("refused");
    assert_eq!(problem.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(
        problem.header(&header::WWW_AUTHENTICATE),
        Some("Bearer realm=\"publish\"")
    );
    let problem = require(Some(&token), &with("Bearer x"), "watch").expect_err("refused");
    assert_eq!(
        problem.header(&header::WWW_AUTHENTICATE),
        Some("Bearer realm=\"watch\", error=\"invalid_token\"")
    );
}
