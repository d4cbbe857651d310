//! A request with its response, for a log.

use std::{fmt, time::Duration};

use http::{StatusCode, request::Parts};

use super::reply::Reply;
use crate::document::operation::Operation;

/// A request and its response, for a log. It has no credentials, no bodies and no lease ids.
///
/// It displays as a line such as `POST /client/v4/accounts/…/messages/pull 200 0.4 ms`.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// use cloudflare_queues::{PullOptions, emulator::Emulator};
///
/// let emulator = Emulator::in_process();
/// emulator.on_request(|request| eprintln!("{request}"));
/// emulator.queue()?.pull(PullOptions::new()).await?;
/// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServedRequest {
    /// The HTTP method.
    pub method: String,
    /// The path, without the query.
    pub path: String,
    /// The operation, if it belongs to the service.
    pub operation: Option<Operation>,
    /// The status of the response, or `None` if the connection was reset.
    pub status: Option<u16>,
    /// The time until the response was ready, by tokio's clock.
    pub took: Duration,
}

impl ServedRequest {
    pub(super) fn new(head: &Parts, operation: Option<Operation>, reply: &Reply, took: Duration) -> Self {
        let status = reply.status().as_ref().map(StatusCode::as_u16);
        Self { method: head.method.to_string(), path: head.uri.path().to_owned(), operation, status, took }
    }
}

impl fmt::Display for ServedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { method, path, status, took, .. } = self;
        let millis = took.as_secs_f64() * 1000.0;
        match status {
            Some(status) => write!(f, "{method} {path} {status} {millis:.1} ms"),
            None => write!(f, "{method} {path} reset {millis:.1} ms"),
        }
    }
}
