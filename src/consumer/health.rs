//! The health of a consumer.

use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use super::{acks::STALLED, recorder::Record};

/// Whether a [`Consumer`](crate::Consumer) is working, for a probe such as `/healthz`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[non_exhaustive]
pub struct Health {
    /// What it is doing.
    pub status: Status,
    /// How long it has had this status.
    pub lasting: Duration,
    /// How long ago a pull last succeeded, or `None` if none has.
    pub last_pull: Option<Duration>,
    /// The last failure, without secrets. It may be resolved.
    pub last_error: Option<String>,
}

/// The status of a [`Consumer`](crate::Consumer), as part of its [`Health`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Status {
    /// It is not running.
    Stopped,
    /// It pulls, handles and acknowledges messages, or waits for them.
    Working,
    /// Pulls fail.
    PullsFail,
    /// Acknowledgements are not confirmed: messages are handled again and again.
    AcksFail,
    /// Handlers fail, so it pulls more slowly.
    Slowed,
    /// All handlers have been busy for longer than the visibility timeout, and none has finished.
    Stuck,
}

impl Health {
    /// Whether the consumer is working: nothing fails, and handlers are not stuck.
    pub fn is_healthy(&self) -> bool {
        self.status == Status::Working
    }

    pub(super) fn new(record: &Record, visibility_timeout: Duration) -> Self {
        let now = Instant::now();
        let ago = |since: Instant| now.saturating_duration_since(since);
        let stuck = record.busy.filter(|busy| ago(*busy) > visibility_timeout);
        let unsettled = record.unsettled.filter(|unsettled| ago(*unsettled) > STALLED);
        let found = [
            (Status::PullsFail, record.pulls_fail),
            (Status::AcksFail, record.acks_fail.or(unsettled)),
            (Status::Stuck, stuck),
            (Status::Slowed, record.slowed),
            (Status::Working, record.started),
        ];
        let found = found.into_iter().find_map(|(status, since)| Some((status, since?)));
        let (status, since) = found.filter(|_| record.running > 0).unzip();
        Self {
            status: status.unwrap_or(Status::Stopped),
            lasting: since.map(ago).unwrap_or_default(),
            last_pull: record.last_pull.map(ago),
            last_error: record.stats.last_error.clone(),
        }
    }
}
