//! A request with its response, for a log.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use http::{StatusCode, request::Parts};
use serde::{Serialize, Serializer};

use super::{
    clock::{nanos, timestamp, unix_millis},
    reply::{Reason, Reply},
};
use crate::document::operation::Operation;

/// A request and its response, for a log. It has no credentials, no bodies and no lease ids.
///
/// It displays as a line such as
/// `2026-11-29T09:30:00.125Z POST /client/v4/accounts/…/messages/pull 409 0.4 ms orders: queue_delivery_paused (0)`.
/// Serialized, it is an object with the same names, where times are in milliseconds, and an operation is its id.
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
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ServedRequest {
    /// When the request arrived, by the system's clock.
    #[serde(rename = "time_ms", serialize_with = "as_unix_millis")]
    pub time: SystemTime,
    /// The HTTP method.
    pub method: String,
    /// The path, without the query.
    pub path: String,
    /// The operation, if it belongs to the service.
    #[serde(serialize_with = "as_id")]
    pub operation: Option<Operation>,
    /// The name of the queue, if there is one.
    pub queue: Option<String>,
    /// The status of the response, or `None` if the connection was reset.
    pub status: Option<u16>,
    /// The time until the response was ready, by tokio's clock.
    #[serde(rename = "took_ms", serialize_with = "as_millis")]
    pub took: Duration,
    /// The code of the error in the response.
    pub code: Option<i64>,
    /// The text of the error in the response, up to where that quotes the request's body.
    pub reason: Option<String>,
    /// The injected fault that applied, by its name.
    pub fault: Option<&'static str>,
    /// Fields of the body that no such request has, which were ignored.
    pub ignored: Vec<String>,
}

fn as_unix_millis<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    serializer.serialize_u64(unix_millis(nanos(since)))
}

fn as_millis<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64() * 1000.0)
}

fn as_id<S: Serializer>(operation: &Option<Operation>, serializer: S) -> Result<S::Ok, S::Error> {
    operation.map(|operation| operation.id()).serialize(serializer)
}

/// What is known of a request besides its head and its response.
#[derive(Default)]
pub(super) struct Known {
    pub(super) operation: Option<Operation>,
    /// An id, or in a request to the control perhaps a name.
    pub(super) queue: Option<String>,
    pub(super) fault: Option<&'static str>,
    pub(super) ignored: Vec<String>,
}

impl ServedRequest {
    pub(super) fn new(time: SystemTime, head: &Parts, known: Known, reply: &Reply, took: Duration) -> Self {
        let Known { operation, queue, fault, ignored } = known;
        let reason = reply.response().and_then(|response| response.extensions().get::<Reason>());
        Self {
            time,
            method: head.method.to_string(),
            path: head.uri.path().to_owned(),
            operation,
            queue,
            status: reply.status().as_ref().map(StatusCode::as_u16),
            took,
            code: reason.map(|reason| reason.code),
            reason: reason.map(|reason| reason.message.to_string()),
            fault,
            ignored,
        }
    }
}

impl fmt::Display for ServedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = self.time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        write!(f, "{} {} {} ", timestamp(nanos(time)), self.method, self.path)?;
        match self.status {
            Some(status) => write!(f, "{status}")?,
            None => f.write_str("reset")?,
        }
        write!(f, " {:.1} ms", self.took.as_secs_f64() * 1000.0)?;
        if let Some(queue) = &self.queue {
            write!(f, " {queue}")?;
        }
        if let (Some(reason), Some(code)) = (&self.reason, self.code) {
            write!(f, ": {reason} ({code})")?;
        }
        if let Some(fault) = self.fault {
            write!(f, "; injected fault {fault}")?;
        }
        self.ignored.iter().try_for_each(|name| write!(f, "; ignored field `{name}`"))
    }
}
