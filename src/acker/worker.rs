//! The task behind an acker: it gathers leases, sends them, and hands each its outcome.

use std::{
    collections::HashMap,
    future::{Future, pending, poll_fn},
    mem,
    pin::pin,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant as StdInstant},
};

use tokio::{
    sync::{mpsc, oneshot},
    task::{self, JoinSet},
    time::{Instant, sleep, sleep_until},
};

use super::{AckerOptions, Confirmation, Ledger};
use crate::{
    ack::{AckOutcome, AckRequest},
    error::Error,
    lease::LeaseId,
    limits::MAX_LEASES,
    operation::Operation,
    queue::Queue,
    settlement::{Decision, Settlement},
};

/// How long before its end a lease is sent, whatever the linger: an acknowledgement is known to take up to 2.4 s.
const BEFORE_LEASE_END: Duration = Duration::from_secs(5);
/// The wait between two calls for the same leases, each of which has tried several times by itself.
const BETWEEN_CALLS: Duration = Duration::from_secs(1);

/// Longer waits could not be added to a clock.
const A_DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[derive(Debug)]
pub(super) enum Command {
    Add(Pending),
    Flush(oneshot::Sender<()>),
}

#[derive(Debug)]
pub(super) struct Pending {
    settlement: Settlement,
    due: Option<Instant>,
    since: Instant,
    reply: oneshot::Sender<Result<Confirmation, Error>>,
}

impl Pending {
    pub(super) fn new(settlement: Settlement, reply: oneshot::Sender<Result<Confirmation, Error>>) -> Self {
        let due =
            settlement.lease.deadline().and_then(|deadline| Instant::from_std(deadline).checked_sub(BEFORE_LEASE_END));
        Self { settlement, due, since: Instant::now(), reply }
    }
}

pub(super) struct Worker {
    delivery: Arc<Delivery>,
    options: AckerOptions,
    waiting: Vec<Pending>,
    requests: JoinSet<()>,
    /// The numbers of the batches that are under way, and of the next one.
    under_way: HashMap<task::Id, u64>,
    next_batch: u64,
    /// Who waits for all batches before a number.
    flushes: Vec<(u64, oneshot::Sender<()>)>,
}

enum Event {
    Command(Option<Command>),
    Sent(task::Id),
    Due,
}

impl Worker {
    pub(super) fn new(queue: Queue, options: AckerOptions, ledger: Arc<Ledger>) -> Self {
        Self {
            delivery: Arc::new(Delivery { queue, ledger }),
            options,
            waiting: Vec::new(),
            requests: JoinSet::new(),
            under_way: HashMap::new(),
            next_batch: 0,
            flushes: Vec::new(),
        }
    }

    /// Runs until every handle is dropped and every lease has its outcome.
    pub(super) async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut is_open = true;
        while is_open || !self.waiting.is_empty() || !self.under_way.is_empty() {
            match self.next(&mut commands, is_open).await {
                Event::Command(Some(Command::Add(pending))) => self.waiting.push(pending),
                Event::Command(Some(Command::Flush(done))) => {
                    self.flushes.push((self.next_batch + u64::from(!self.waiting.is_empty()), done));
                }
                Event::Command(None) => is_open = false,
                Event::Sent(batch) => {
                    self.under_way.remove(&batch);
                }
                Event::Due => self.send(),
            }
            self.answer_flushes();
        }
    }

    /// What happens next. Commands come first, so that a request takes all that are there.
    async fn next(&mut self, commands: &mut mpsc::Receiver<Command>, is_open: bool) -> Event {
        let is_full = self.waiting.len() >= MAX_LEASES;
        let can_send = !self.waiting.is_empty() && self.under_way.len() < self.options.max_in_flight.max(1);
        let due = can_send.then(|| if is_full || !is_open { Instant::now() } else { self.due() });
        let mut timer = pin!(async {
            match due {
                Some(due) => sleep_until(due).await,
                None => pending().await,
            }
        });
        poll_fn(|context| {
            if is_open
                && !is_full
                && let Poll::Ready(command) = commands.poll_recv(context)
            {
                return Poll::Ready(Event::Command(command));
            }
            if let Poll::Ready(Some(joined)) = self.requests.poll_join_next_with_id(context) {
                return Poll::Ready(Event::Sent(joined.map_or_else(|error| error.id(), |(id, ())| id)));
            }
            timer.as_mut().poll(context).map(|()| Event::Due)
        })
        .await
    }

    fn due(&self) -> Instant {
        let lingered = self.waiting.iter().map(|pending| pending.since + self.options.linger);
        let ending = self.waiting.iter().filter_map(|pending| pending.due);
        let is_flushed = self.flushes.iter().any(|(before, _)| *before > self.next_batch);
        if is_flushed { Instant::now() } else { lingered.chain(ending).min().unwrap_or_else(Instant::now) }
    }

    fn send(&mut self) {
        let delivery = Arc::clone(&self.delivery);
        let leases = mem::take(&mut self.waiting);
        let request = self.requests.spawn(async move { delivery.deliver(leases).await });
        self.under_way.insert(request.id(), self.next_batch);
        self.next_batch += 1;
    }

    fn answer_flushes(&mut self) {
        let first_open = self.under_way.values().min().copied().unwrap_or(self.next_batch);
        for (_, done) in self.flushes.extract_if(.., |(before, _)| *before <= first_open) {
            // Whoever waited may have given up.
            let _ = done.send(());
        }
    }
}

/// Brings one batch to its outcomes.
struct Delivery {
    queue: Queue,
    ledger: Arc<Ledger>,
}

impl Delivery {
    async fn deliver(&self, leases: Vec<Pending>) {
        let mut groups = vec![leases];
        while let Some(mut group) = groups.pop() {
            let error = match self.queue.ack(request(&group)).await {
                Ok(outcome) => {
                    self.confirm(group, &outcome);
                    continue;
                }
                Err(failed) => failed.error,
            };
            if error.refuses_the_request() && error.status() != Some(200) && group.len() > 1 {
                groups.push(group.split_off(group.len() / 2));
                groups.push(group);
                continue;
            }
            let wait = error.retry_after().unwrap_or(BETWEEN_CALLS);
            let next = StdInstant::from(Instant::now()) + wait.min(A_DAY);
            let lasts = |pending: &Pending| pending.settlement.lease.deadline().is_some_and(|deadline| deadline > next);
            let may_repeat = Operation::AckMessages.may_repeat(&error);
            let (again, failed): (Vec<_>, Vec<_>) = group.into_iter().partition(|pending| may_repeat && lasts(pending));
            for pending in failed {
                self.reply(pending, Err(error.clone()));
            }
            if !again.is_empty() {
                sleep(wait).await;
                groups.push(again);
            }
        }
    }

    /// Gives each lease what the service said of it. What no warning names is confirmed only if the counts leave no other way.
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
        let acks_hold = outcome.ack_count.is_some_and(|count| count >= unwarned(true));
        let retries_hold = outcome.retry_count.is_some_and(|count| count >= unwarned(false));
        for pending in group {
            let (holds, count, requested) = match pending.settlement.decision {
                Decision::Ack => (acks_hold, outcome.ack_count, outcome.acks_requested),
                Decision::Retry | Decision::RetryIn(_) => {
                    (retries_hold, outcome.retry_count, outcome.retries_requested)
                }
            };
            let confirmation = match (warned.get(pending.settlement.lease.id()), count) {
                (Some(text), _) => Confirmation::Warned((*text).to_owned()),
                (None, _) if holds => Confirmation::Confirmed,
                (None, counted) => Confirmation::Unclear { counted, requested },
            };
            self.reply(pending, Ok(confirmation));
        }
    }

    fn reply(&self, pending: Pending, outcome: Result<Confirmation, Error>) {
        self.ledger.lock().claimed.remove(pending.settlement.lease.id());
        // Receipts may be ignored.
        let _ = pending.reply.send(outcome);
    }
}

fn request(group: &[Pending]) -> AckRequest {
    group.iter().map(|pending| pending.settlement.clone()).collect()
}
