//! Whether a consumer does what it is there for.

use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use super::{acks::STALLED, recorder::Record};

/// Whether a [`Consumer`](crate::Consumer) does what it is there for, for a probe such as `/healthz`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[non_exhaustive]
pub struct Health {
    /// What it does.
    pub status: Status,
    /// For how long this has been so.
    pub lasting: Duration,
    /// How long ago a pull last succeeded; `None` if none has.
    pub last_pull: Option<Duration>,
    /// The last failure, without secrets. It may be over.
    pub last_error: Option<String>,
}

/// What a [`Consumer`](crate::Consumer) does, as its [`Health`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Status {
    /// It does not run, or has ended.
    Stopped,
    /// It pulls, handles and acknowledges, or waits for messages.
    Working,
    /// Pulls fail.
    PullsFail,
    /// Acknowledgements are not confirmed: messages are handled again and again.
    AcksFail,
    /// Handlers fail, so that it pulls more slowly.
    Slowed,
    /// Every handler has been busy for longer than the visibility timeout, and none has ended.
    Stuck,
}

impl Health {
    /// Whether the consumer works: nothing fails, and no handler is stuck.
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
