//! Settles the leases of one request, with as many requests as that takes.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use tokio::time::{Instant, sleep};

use super::{
    ledger::{Ledger, Pending},
    pace::Pace,
    receipt::Confirmation,
};
use crate::{
    ack::AckOutcome, error::Error, lease::LeaseId, queue::Queue, retry::jittered, settlement::Settlement, transport,
};

/// The first and the longest wait between two calls for the same leases. Each call retries by itself.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// How many requests are sent for the leases of a refused request, including that one. This is enough to isolate two
/// bad leases of 100.
const MAX_REQUESTS: usize = 32;

pub(super) struct Requests {
    pub(super) queue: Queue,
    pub(super) ledger: Arc<Ledger>,
    pub(super) pace: Pace,
}

impl Requests {
    /// Settles these leases. If the service refuses a request, its halves are tried, the larger ones first.
    pub(super) async fn settle(&self, leases: Vec<Pending>, taken_at: Instant) {
        let mut groups = VecDeque::from([(leases, None)]);
        let mut requests: usize = 1;
        while let Some((group, earlier)) = groups.pop_front() {
            let Err((mut group, refusal)) = self.settle_whole(group, earlier, taken_at).await else { continue };
            let more = requests.saturating_add(2);
            if group.len() > 1 && more <= MAX_REQUESTS {
                requests = more;
                let half = group.split_off(group.len() / 2);
                groups.extend([(group, Some(refusal.clone())), (half, Some(refusal))]);
            } else {
                self.pace.refused(&refusal);
                self.fail(group, &refusal);
            }
        }
    }

    /// Repeats a request until its leases expire. Returns them if the service refuses the request because of its
    /// content. An error includes the `earlier` ones.
    async fn settle_whole(
        &self,
        mut group: Vec<Pending>,
        mut earlier: Option<Error>,
        taken_at: Instant,
    ) -> Result<(), (Vec<Pending>, Error)> {
        let mut waits = 0;
        loop {
            let sent_at = Instant::now();
            let settlements: Vec<_> = group.iter().map(|pending| pending.settlement.clone()).collect();
            let mut outcome = AckOutcome::nothing();
            let error = match self.queue.ack_once(&settlements, None, &mut outcome).await {
                Ok(attempts) => {
                    self.pace.succeeded(taken_at, attempts);
                    self.confirm(group, &outcome);
                    return Ok(());
                }
                Err(error) => earlier.into_iter().fold(error, Error::after),
            };
            if error.refuses_the_request() && error.status() != Some(200) {
                return Err((group, error));
            }
            self.pace.failed(&error, sent_at);
            group = self.wait(group, &error, &mut waits).await;
            if group.is_empty() {
                return Ok(());
            }
            earlier = Some(error);
        }
    }

    /// Waits until a request may be repeated, and returns the leases that have not expired.
    async fn wait(&self, mut group: Vec<Pending>, error: &Error, waits: &mut u32) -> Vec<Pending> {
        let mut asked = error.retry_after().unwrap_or_default();
        while error.is_transient() {
            let wait = asked.max(self.backoff(&group, *waits));
            let next = transport::after(wait).into_std();
            let lasts = |pending: &mut Pending| pending.settlement.lease.deadline().is_some_and(|end| end > next);
            let lasting: Vec<_> = group.extract_if(.., lasts).collect();
            self.fail(group, error);
            group = lasting;
            if group.is_empty() {
                return group;
            }
            sleep(wait).await;
            *waits = waits.saturating_add(1);
            if self.queue.withdraw_retry() || self.pace.may_try() {
                return group;
            }
            asked = Duration::ZERO;
        }
        self.fail(group, error);
        Vec::new()
    }

    /// A wait that doubles, but is at most half the remaining time of the longest lease, so that there is time for
    /// another attempt.
    fn backoff(&self, group: &[Pending], waits: u32) -> Duration {
        let now = Instant::now().into_std();
        let left = |settlement: &Settlement| Some(settlement.lease.deadline()?.saturating_duration_since(now));
        let left = group.iter().filter_map(|pending| left(&pending.settlement)).max().unwrap_or_default();
        let bound = FIRST_WAIT.saturating_mul(2u32.saturating_pow(waits)).min(LONGEST_WAIT);
        jittered(bound.min(left / 2).max(FIRST_WAIT), self.queue.random())
    }

    /// Gives each lease its outcome. A lease without a warning is confirmed only if the counts leave no other
    /// possibility.
    fn confirm(&self, group: Vec<Pending>, outcome: &AckOutcome) {
        let warned: HashMap<&LeaseId, &str> = outcome
            .warnings
            .iter()
            .filter_map(|warning| Some((warning.subject.as_ref()?, warning.message.as_str())))
            .collect();
        let unwarned = |is_ack: bool| {
            let of_kind = group.iter().filter(|pending| pending.settlement.decision.is_ack() == is_ack);
            of_kind.filter(|pending| !warned.contains_key(pending.settlement.lease.id())).count() as u64
        };
        // A count that is larger than requested counts something else.
        let holds =
            |count: Option<u64>, is_ack, asked| count.is_some_and(|count| (unwarned(is_ack)..=asked).contains(&count));
        let acks_hold = holds(outcome.ack_count, true, outcome.acks_requested);
        let retries_hold = holds(outcome.retry_count, false, outcome.retries_requested);
        self.ledger.release(group.iter());
        for pending in group {
            let (holds, counted, requested) = match pending.settlement.decision.is_ack() {
                true => (acks_hold, outcome.ack_count, outcome.acks_requested),
                false => (retries_hold, outcome.retry_count, outcome.retries_requested),
            };
            let confirmation = match warned.get(pending.settlement.lease.id()) {
                Some(text) => Confirmation::Warned((*text).to_owned()),
                None if holds => Confirmation::Confirmed,
                None => Confirmation::Unclear { counted, requested },
            };
            pending.reply(Ok(confirmation));
        }
    }

    fn fail(&self, group: Vec<Pending>, error: &Error) {
        self.ledger.release(group.iter());
        for pending in group {
            pending.reply(Err(error.clone()));
        }
    }
}
