//! The health of a consumer.

use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use super::recorder::{CONDITIONS, Since, State, Total};

/// Whether a [`Consumer`](crate::Consumer) is working, for a readiness probe such as `/readyz`.
///
/// Do not restart a process for it: an outage of the service would restart all of them. See the
/// [checklist](crate::guide::production).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[non_exhaustive]
pub struct Health {
    /// What it is doing.
    pub status: Status,
    /// How long it has had this status.
    ///
    /// If several runs and streams are active, the status is the worst of theirs. It has lasted since the first of them
    /// got it, or since a worse status of another one ended, whichever is later. A consumer is stopped since its last
    /// run ended, or since it was created.
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
    /// It is [paused](crate::Consumer::pause), and nothing else holds.
    Paused,
}

impl Health {
    /// Whether the consumer is working or paused: nothing fails, and handlers are not stuck.
    pub fn is_healthy(&self) -> bool {
        matches!(self.status, Status::Working | Status::Paused)
    }

    pub(super) fn new(total: &Total) -> Self {
        let (now, states, past) = (Instant::now(), total.states(), total.past());
        let conditions: Vec<_> = states.iter().map(State::conditions).collect();
        let of_rank = |rank: usize| conditions.iter().filter_map(move |conditions| conditions.get(rank)).flatten();
        let has = |rank: usize, status: Status| Some((rank, status, of_rank(rank).filter_map(Since::counting).min()?));
        let worst = STATUSES.iter().enumerate().find_map(|(rank, status)| has(rank, *status));
        let (rank, status, began) = worst.unwrap_or(match states.is_empty() {
            true => (0, Status::Stopped, past.turned),
            false => (STATUSES.len(), Status::Working, past.turned),
        });
        // Since no worse status holds.
        let ended = (0..rank).flat_map(of_rank).filter_map(|since| since.ended);
        let since = ended.chain(past.ended.into_iter().take(rank).flatten()).fold(began, Instant::max);
        let ago = |since: Instant| now.saturating_duration_since(since);
        Self {
            status,
            lasting: ago(since),
            last_pull: total.last_pull().map(ago),
            last_error: total.stats().last_error,
        }
    }
}

/// What can be wrong, from the worst, in the order of [`State::conditions`].
const STATUSES: [Status; CONDITIONS] =
    [Status::PullsFail, Status::AcksFail, Status::Stuck, Status::Slowed, Status::Paused];

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;
    use crate::{
        consumer::recorder::{Counter, Gauges},
        emulator::Emulator,
        error::{Error, kind::ErrorKind},
    };

    #[tokio::test(start_paused = true)]
    async fn a_status_lasts_since_no_run_was_worse() {
        let total = Total::new(&Emulator::in_process().queue().unwrap());
        let after = async |seconds| {
            sleep(Duration::from_secs(seconds)).await;
            let health = Health::new(&total);
            (health.status, health.lasting.as_secs())
        };
        assert_eq!(after(5).await, (Status::Stopped, 5));
        let long = Counter::new(&total, Duration::ZERO);
        assert_eq!(after(10).await, (Status::Working, 10));
        let short = Counter::new(&total, Duration::ZERO);
        short.pull_failed(&Error::new(ErrorKind::Timeout, ""));
        assert_eq!(after(10).await, (Status::PullsFail, 10));
        let (none, slowed) = (Gauges::default(), Gauges { slowdown: 3, ..Gauges::default() });
        long.gauge(none, slowed);
        assert_eq!(after(10).await, (Status::PullsFail, 20), "the worse one");
        short.end();
        assert_eq!(after(3).await, (Status::Slowed, 3), "not 13: it was worse before");
        long.gauge(slowed, none);
        assert_eq!(after(4).await, (Status::Working, 4));
        let other = Counter::new(&total, Duration::ZERO);
        long.end();
        assert_eq!(after(4).await, (Status::Working, 8), "one run takes over from the other");
        other.end();
        assert_eq!(after(7).await, (Status::Stopped, 7));
        Counter::new(&total, Duration::ZERO);
        assert_eq!(after(2).await, (Status::Working, 2));
    }
}
