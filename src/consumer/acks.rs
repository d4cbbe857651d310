//! Tracks the outcomes of acknowledgements and retries, and how much they slow down pulling.

use std::time::Duration;

use tokio::time::Instant;

use super::{brake::Brake, pulls::is_final};
use crate::{error::Error, flow::outage::Outage, message::limits::MAX_LEASES};

/// How long pulling goes on without a confirmation before it slows down by a step. Each further step takes twice as
/// long.
pub(super) const STALLED: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Acks {
    brake: Brake,
    outage: Outage,
    /// Those whose outcome is not known.
    under_way: usize,
    /// When one was last confirmed, or when the first of those in flight was submitted, or a full request of them.
    settled_at: Instant,
    /// How long they wait before they are sent.
    linger: Duration,
    /// The failure that ends the run or the stream.
    error: Option<Error>,
}

impl Acks {
    pub(super) fn new(linger: Duration) -> Self {
        Self {
            linger,
            brake: Brake::new("acknowledgements are not confirmed", 0.5),
            outage: Outage::default(),
            under_way: 0,
            settled_at: Instant::now(),
            error: None,
        }
    }

    pub(super) fn begin(&mut self) {
        // A full request does not linger.
        if [0, MAX_LEASES - 1].contains(&self.under_way) {
            self.settled_at = Instant::now();
        }
        self.under_way = self.under_way.saturating_add(1);
    }

    /// One of them has ended, whatever its outcome.
    pub(super) fn end(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
    }

    /// The response is a success that neither confirms nor denies.
    pub(super) fn answered(&mut self) {
        self.settled_at = Instant::now();
    }

    pub(super) fn confirmed(&mut self) {
        self.answered();
        self.brake.record(false);
        if let Some(failures) = self.outage.on_success() {
            tracing::info!(failures, "acknowledgements are confirmed again");
        }
    }

    /// Replaces an acknowledgement: a dead letter that was not pushed.
    pub(super) fn not_begun(&mut self) {
        self.brake.record(true);
    }

    /// `error` is `None` if the service left open what it did.
    pub(super) fn not_confirmed(&mut self, error: Option<&Error>) {
        self.brake.record(true);
        let Some(error) = error else {
            if let Some(failures) = self.outage.on_failure(Instant::now()) {
                tracing::warn!(failures, "acknowledgements are not confirmed: messages will be handled again");
            }
            return;
        };
        // The acker logs failed requests. If human intervention is needed, every further message would be handled in
        // vain.
        if self.error.is_none() && is_final(error) && error.status().is_some() {
            self.error = Some(error.clone());
        }
    }

    /// By how many steps they slow down pulling: those that are not confirmed, and those without an outcome for long.
    pub(super) fn step(&self) -> u32 {
        let stalled = self.unsettled().map(|since| since.elapsed()).unwrap_or_default();
        let steps = stalled.as_secs().checked_div(STALLED.as_secs()).and_then(u64::checked_ilog2);
        self.brake.step.max(steps.map_or(0, |steps| steps.saturating_add(1)))
    }

    /// Since when some are waiting for confirmation, and none is confirmed. In the future while they linger.
    pub(super) fn unsettled(&self) -> Option<Instant> {
        let linger = if self.under_way < MAX_LEASES { self.linger } else { Duration::ZERO };
        (self.under_way > 0).then(|| self.settled_at.checked_add(linger)).flatten()
    }

    /// Returns a failure that needs human intervention, once.
    pub(super) fn error(&mut self) -> Option<Error> {
        self.error.take()
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;
    use crate::error::kind::ErrorKind;

    #[tokio::test(start_paused = true)]
    async fn without_a_confirmation_each_step_takes_twice_as_long() {
        let mut acks = Acks::new(Duration::ZERO);
        sleep(10 * STALLED).await;
        assert_eq!((acks.unsettled(), acks.step()), (None, 0));
        let start = Instant::now();
        acks.begin();
        for (step, wait) in [(0, STALLED), (1, STALLED), (2, 2 * STALLED), (3, 4 * STALLED)] {
            sleep(wait - Duration::from_millis(1)).await;
            // More of them do not make the first ones younger.
            acks.begin();
            assert_eq!((acks.unsettled(), acks.step()), (Some(start), step));
            acks.end();
            sleep(Duration::from_millis(1)).await;
            assert_eq!(acks.step(), step + 1);
        }
        acks.confirmed();
        assert_eq!((acks.unsettled(), acks.step()), (Some(Instant::now()), 0));
        acks.end();
        assert_eq!(acks.unsettled(), None);
    }

    #[tokio::test]
    async fn only_a_response_that_asks_for_intervention_ends_the_run() {
        let mut acks = Acks::new(Duration::ZERO);
        let error = |kind, status: Option<u16>| {
            let error = Error::new(kind, "");
            status.into_iter().fold(error, |error, status| error.with_response(status, None, None))
        };
        acks.not_confirmed(None);
        acks.not_confirmed(Some(&error(ErrorKind::ServiceFailure, Some(500))));
        acks.not_confirmed(Some(&error(ErrorKind::InvalidInput, None)));
        assert!(acks.error().is_none());
        acks.not_confirmed(Some(&error(ErrorKind::NotFound, Some(404))));
        acks.not_confirmed(Some(&error(ErrorKind::Unauthorized, Some(403))));
        assert_eq!(acks.error().map(|error| error.kind()), Some(ErrorKind::NotFound), "the first one");
        assert!(acks.error().is_none(), "once");
    }
}
