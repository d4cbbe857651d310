//! The health of a consumer.

use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use super::recorder::{Since, State, Total};

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
    /// Acknowledgements are not confirmed, or dead letters cannot be pushed or are not pushed in time: messages are
    /// handled again and again.
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

    pub(super) fn new(total: &Total) -> Self {
        let now = Instant::now();
        let states = total.states();
        let worst = states.iter().map(worst);
        let worst = worst.min_by_key(|(rank, _, since)| (*rank, *since));
        let ago = |since: Instant| now.saturating_duration_since(since);
        Self {
            status: worst.map_or(Status::Stopped, |(_, status, _)| status),
            lasting: worst.map(|(.., since)| ago(since)).unwrap_or_default(),
            last_pull: total.last_pull().map(ago),
            last_error: total.stats().last_error,
        }
    }
}

/// The status of one run or stream, how much worse others are, and since when it has that status: since it began, and
/// since no worse one holds.
fn worst(state: &State) -> (usize, Status, Instant) {
    let statuses = [
        (Status::PullsFail, &[state.pulls_fail] as &[Since]),
        (Status::AcksFail, &[state.acks_fail, state.unsettled]),
        (Status::Stuck, &[state.busy]),
        (Status::Slowed, &[state.slowed]),
    ];
    let mut since = state.started;
    for (rank, (status, conditions)) in statuses.into_iter().enumerate() {
        if let Some(began) = conditions.iter().filter_map(Since::counting).min() {
            return (rank, status, began.max(since));
        }
        since = conditions.iter().filter_map(Since::ended).fold(since, Instant::max);
    }
    (usize::MAX, Status::Working, since)
}
