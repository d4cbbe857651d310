//! Settles the leases of one request, with as many requests as that takes.

use std::{
    collections::VecDeque,
    mem,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

use super::ledger::{Ledger, Pending};
use crate::{
    error::Error,
    flow::{
        pace::{FIRST_WAIT, LONGEST_WAIT, Pace},
        splitting::Splitting,
    },
    http::{
        retry::{self, jittered},
        transport,
    },
    message::{ack::AckOutcome, settlement::Settlement, warning::Warning},
    queue::Queue,
};

pub(super) struct Requests {
    pub(super) queue: Queue,
    pub(super) ledger: Arc<Ledger>,
    pub(super) pace: Pace,
    /// How many successful responses had warnings.
    pub(super) warned: AtomicU64,
}

/// The leases of one request, which may be repeated. If it is dropped or panics, since a function of the user may, they
/// can be submitted again before anyone learns of it.
struct Group {
    ledger: Arc<Ledger>,
    leases: Vec<Pending>,
    /// The error of the requests so far, which a later one includes.
    earlier: Option<Error>,
    waits: u32,
    /// When the request may be sent.
    at: Instant,
}

impl Group {
    fn new(ledger: &Arc<Ledger>, leases: Vec<Pending>, earlier: Option<Error>) -> Self {
        Self { ledger: Arc::clone(ledger), leases, earlier, waits: 0, at: Instant::now() }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.ledger.release(self.leases.iter());
    }
}

impl Requests {
    /// Settles these leases, with one request in flight at a time. If the service refuses a request, its halves are
    /// tried, the larger ones first. A request that has to wait does not delay the others.
    pub(super) async fn settle(&self, leases: Vec<Pending>) {
        let mut groups = VecDeque::from([Group::new(&self.ledger, leases, None)]);
        let splitting = Splitting::new();
        while let Some(first) = (0..groups.len()).min_by_key(|number| groups.get(*number).map(|group| group.at)) {
            let Some(group) = groups.remove(first) else { break };
            sleep_until(group.at).await;
            if group.waits > 0 && !self.queue.withdraw_retry() && !self.pace.may_try() {
                groups.extend(self.later(group, Duration::ZERO));
                continue;
            }
            let Err((mut group, error)) = self.send(group).await else { continue };
            let is_refusal = error.refuses_the_request() && error.status() >= Some(300);
            let half = if is_refusal { splitting.split_off(&mut group.leases) } else { None };
            if let Some(half) = half {
                let halves = [mem::take(&mut group.leases), half];
                groups.extend(halves.map(|leases| Group::new(&self.ledger, leases, Some(error.clone()))));
            } else if is_refusal {
                self.pace.refused(&error);
                self.fail(mem::take(&mut group.leases), &error);
            } else {
                self.pace.failed(&error);
                let asked = retry::pause_after(&error);
                group.earlier = Some(error);
                groups.extend(self.later(group, asked));
            }
        }
    }

    /// Sends a request once, and returns its leases if it failed.
    async fn send(&self, mut group: Group) -> Result<(), (Group, Error)> {
        let settlements = group.leases.iter().map(|pending| &pending.settlement);
        let sent_at = Instant::now();
        match self.queue.ack_once(settlements, None).await {
            Ok((outcome, setback)) => {
                self.pace.rate.on_success(1, 1);
                self.pace.succeeded(sent_at, setback);
                self.log_warning(&outcome);
                self.confirm(mem::take(&mut group.leases), &outcome);
                Ok(())
            }
            Err(error) => {
                let error = group.earlier.take().into_iter().fold(error, Error::after);
                Err((group, error))
            }
        }
    }

    /// Warnings are logged at growing intervals, since a receipt may be ignored.
    fn log_warning(&self, outcome: &AckOutcome) {
        let Some(Warning { message, .. }) = outcome.warnings.first() else { return };
        let doubtful = outcome.acks.doubtful().saturating_add(outcome.retries.doubtful());
        let responses = self.warned.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if responses.is_power_of_two() {
            tracing::info!(responses, doubtful, %message, "acknowledgements succeed with warnings");
        }
    }

    /// Postpones a failed request. Leases that expire before it may be repeated get the error, and all of them do if
    /// repeating it is useless.
    fn later(&self, mut group: Group, asked: Duration) -> Option<Group> {
        let error = group.earlier.clone()?;
        let wait = asked.max(self.backoff(&group.leases, group.waits));
        let next = transport::after(wait).into_std();
        let ends = |pending: &mut Pending| pending.settlement.lease.deadline().is_none_or(|end| end <= next);
        let ended: Vec<_> = group.leases.extract_if(.., |pending| !error.is_transient() || ends(pending)).collect();
        self.fail(ended, &error);
        group.waits = group.waits.saturating_add(1);
        group.at = next.into();
        (!group.leases.is_empty()).then_some(group)
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

    /// Gives each lease its outcome.
    fn confirm(&self, group: Vec<Pending>, outcome: &AckOutcome) {
        let confirmations: Vec<_> = outcome.confirmations(group.iter().map(|pending| &pending.settlement)).collect();
        self.ledger.release(group.iter());
        for (pending, confirmation) in group.into_iter().zip(confirmations) {
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
