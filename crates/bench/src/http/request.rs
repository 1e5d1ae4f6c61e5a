//! Requests, with the delay of the way to the server.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{AUTHORIZATION, HOST};
use axum::http::{Method, Request, Response, StatusCode};
use bytes::Bytes;
use futures_util::StreamExt;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::Visitor;
use crate::target::Target;

/// Why there is no answer.
pub(crate) enum Failure {
    Refused,
    Other,
}

impl Visitor {
    /// See [`request`].
    pub(super) async fn request(
        &self,
        method: Method,
        url: &str,
        body: Body,
        headers: &[(&str, &str)],
    ) -> Result<Response<Body>, Failure> {
        let settings = &self.settings;
        request(
            &settings.target,
            settings.one_way,
            method,
            url,
            body,
            headers,
        )
        .await
    }
}

/// One request on a connection of its own. When this returns, the answer's head has travelled one
/// way; the rest has not.
pub(crate) async fn request(
    target: &Target,
    one_way: Duration,
    method: Method,
    url: &str,
    body: Body,
    headers: &[(&str, &str)],
) -> Result<Response<Body>, Failure> {
    let stream = connect(target.address, one_way).await?;
    let mut request = Request::builder()
        .method(method)
        .uri(url)
        .header(HOST, &target.host);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if let Some(token) = &target.token {
        request = request.header(AUTHORIZATION, format!("Bearer {token}"));
    }
    let request = request.body(body).map_err(|_| Failure::Other)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|_| Failure::Other)?;
    tokio::spawn(connection);
    delay(one_way).await;
    let response = sender
        .send_request(request)
        .await
        .map_err(|_| Failure::Other)?;
    // Keeps the connection open for as long as the body is read.
    let (head, body) = response.into_parts();
    let kept = Body::new(body)
        .into_data_stream()
        .map(move |part: Result<Bytes, _>| {
            let _ = &sender;
            part
        });
    if head.status != StatusCode::OK {
        delay(one_way).await;
    }
    Ok(Response::from_parts(head, Body::from_stream(kept)))
}

/// Connects: this takes a round trip, whatever the result.
async fn connect(address: SocketAddr, one_way: Duration) -> Result<TcpStream, Failure> {
    delay(one_way).await;
    let stream = TcpStream::connect(address).await;
    delay(one_way).await;
    let stream = stream.map_err(|error| match error.kind() {
        io::ErrorKind::ConnectionRefused => Failure::Refused,
        _ => Failure::Other,
    })?;
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

/// tokio's clock ticks in milliseconds, and rounds up; none is waited for where there is no delay.
async fn delay(time: Duration) {
    if !time.is_zero() {
        sleep(time).await;
    }
}
