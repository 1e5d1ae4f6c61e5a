//! Answers to clients that cannot be served: `application/problem+json` (RFC 9457).

use std::borrow::Cow;

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// The content type of a problem (RFC 9457 §3).
const MEDIA_TYPE: &str = "application/problem+json";

/// A problem (RFC 9457): what went wrong, and what the client can do.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    name: &'static str,
    title: &'static str,
    detail: Cow<'static, str>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// The members of the body (RFC 9457 §3.1).
#[derive(Serialize)]
struct Body<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
}

impl Problem {
    /// A problem; `name` is the end of its `type`, by which programs recognise it.
    pub(super) fn new(
        status: StatusCode,
        name: &'static str,
        title: &'static str,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            status,
            name,
            title,
            detail: detail.into(),
            headers: Vec::new(),
        }
    }

    /// Adds a header to the response. An invalid value is left out.
    pub(super) fn with(mut self, name: HeaderName, value: impl AsRef<str>) -> Self {
        if let Ok(value) = HeaderValue::from_str(value.as_ref()) {
            self.headers.push((name, value));
        }
        self
    }

    /// When to try again, in seconds.
    pub(super) fn retry_after(self, seconds: u64) -> Self {
        self.with(header::RETRY_AFTER, seconds.to_string())
    }

    pub(super) fn unauthorized(what: &str) -> Self {
        let detail = format!(
            "The server wants a bearer token to {what}, and the request shows none or a wrong one."
        );
        Self::new(
            StatusCode::UNAUTHORIZED,
            "token",
            "A token is needed",
            detail,
        )
    }

    /// Whoever decides cannot be asked now.
    pub(super) fn undecided() -> Self {
        let detail = "Whether this is allowed cannot be determined now. Try again in a moment.";
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "undecided",
            "The server cannot decide this now",
            detail,
        )
        .retry_after(2)
    }

    pub(super) fn channel_name() -> Self {
        let detail = "A channel's name has 1 to 64 characters out of A-Z, a-z, 0-9, - _ and ., in \
                      parts between slashes, none of which begins with a dot.";
        Self::new(
            StatusCode::BAD_REQUEST,
            "channel-name",
            "This cannot be a channel's name",
            detail,
        )
    }

    /// A path has percent-encoded bytes that are no text (RFC 3986 §2.5).
    pub(super) fn path() -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "path",
            "The path cannot be read",
            "What is percent-encoded in it is not UTF-8.",
        )
    }

    pub(super) fn query(detail: &'static str) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "query",
            "The query cannot be read",
            detail,
        )
    }

    pub(super) fn not_found() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "not-found",
            "Nothing is here",
            "There is no page and no endpoint at this path.",
        )
    }

    pub(super) fn no_session() -> Self {
        let detail = "This session has ended, or never was. Start a new one.";
        Self::new(
            StatusCode::NOT_FOUND,
            "no-session",
            "There is no such session",
            detail,
        )
    }

    pub(super) fn method(allow: &'static str, detail: &'static str) -> Self {
        let problem = Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method",
            "This method has no meaning here",
            detail,
        );
        problem.with(header::ALLOW, allow)
    }

    pub(super) fn media_type(expected: &'static str) -> Self {
        let detail = format!("Send the body with Content-Type: {expected}.");
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "media-type",
            "The body has the wrong type",
            detail,
        )
    }

    pub(super) fn too_large(limit: usize) -> Self {
        let detail = format!("The body may have {limit} bytes at most.");
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too-large",
            "The body is too large",
            detail,
        )
    }

    pub(super) fn slow() -> Self {
        let detail = "The body did not come in time.";
        Self::new(
            StatusCode::REQUEST_TIMEOUT,
            "slow",
            "The request took too long",
            detail,
        )
        .with(header::CONNECTION, "close")
    }

    pub(super) fn body(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "body",
            "The body cannot be read",
            detail,
        )
    }

    pub(super) fn stopping() -> Self {
        let detail = "The server is stopping or has just started. Try again in a moment.";
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "stopping",
            "The server cannot answer now",
            detail,
        )
        .retry_after(1)
    }

    /// Another server has the channel or session (RFC 9110 §15.4.8; RFC 9725 §4.5).
    pub(super) fn elsewhere(url: &str) -> Self {
        let detail = "Another server has this channel's publisher: ask there, with the same body.";
        Self::new(
            StatusCode::TEMPORARY_REDIRECT,
            "elsewhere",
            "The channel is with another server",
            detail,
        )
        .with(header::LOCATION, url)
    }

    /// A store that several servers share does not answer.
    pub(super) fn store() -> Self {
        let detail = "The store that this server shares with others gives no answer. Try again in a \
                      moment.";
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "store",
            "The server cannot look for this now",
            detail,
        )
        .retry_after(1)
    }

    pub(super) fn internal() -> Self {
        let detail = "The server could not do this; its log says why.";
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "Something went wrong inside the server",
            detail,
        )
    }

    pub(super) fn crowded() -> Self {
        let detail =
            "The server, or this address, has as many connections as it may have. Try again later.";
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "too-many-connections",
            "There are too many connections",
            detail,
        )
        .retry_after(10)
    }

    pub(super) fn plain_http() -> Self {
        let detail = "This port speaks HTTPS, and the request came without TLS. Ask again with \
                      https:// in place of http://.";
        Self::new(
            StatusCode::BAD_REQUEST,
            "plain-http",
            "This port speaks HTTPS",
            detail,
        )
    }

    /// The whole response, for a connection that is not served.
    pub(super) fn as_bytes(&self) -> Vec<u8> {
        let json = self.json();
        let mut head = format!(
            "HTTP/1.1 {}\r\ncontent-type: {MEDIA_TYPE}\r\ncontent-length: {}\r\n\
             connection: close\r\n",
            self.status,
            json.len()
        );
        for (name, value) in &self.headers {
            head += &format!("{name}: {}\r\n", value.to_str().unwrap_or_default());
        }
        [head.as_bytes(), b"\r\n", &json].concat()
    }

    fn json(&self) -> Vec<u8> {
        let body = Body {
            r#type: format!("urn:rekindle:problem:{}", self.name),
            title: self.title,
            status: self.status.as_u16(),
            detail: &self.detail,
        };
        // Strings and a number: this cannot fail to be written.
        serde_json::to_vec(&body).unwrap_or_default()
    }

    #[cfg(test)]
    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    #[cfg(test)]
    pub(super) fn header(&self, name: &HeaderName) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(n, _)| n == name)?;
        value.to_str().ok()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status, self.json()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        for (name, value) in self.headers {
            headers.insert(name, value);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;

    use super::*;

    #[tokio::test]
    async fn a_problem_says_in_json_what_went_wrong() {
        let response = Problem::too_large(10).retry_after(3).into_response();
        assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(response.headers()[header::CONTENT_TYPE], MEDIA_TYPE);
        assert_eq!(response.headers()[header::RETRY_AFTER], "3");
        let body = to_bytes(response.into_body(), 4096).await.expect("a body");
        let body: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(body["type"], "urn:rekindle:problem:too-large");
        assert_eq!(body["status"], 413);
        assert!(body["title"].is_string());
        assert!(
            body["detail"]
                .as_str()
                .is_some_and(|detail| detail.contains("10 bytes"))
        );
    }

    #[test]
    fn a_header_that_cannot_be_is_left_out() {
        let problem = Problem::internal().with(header::RETRY_AFTER, "1\r\nSet-Cookie: x");
        assert_eq!(problem.header(&header::RETRY_AFTER), None);
    }
}
