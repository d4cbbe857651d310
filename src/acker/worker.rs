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

use super::{AckerOptions, Confirmation, Lease, Ledger};
use crate::{
    ack::{AckOutcome, AckRequest, Decision},
    check::MAX_BATCH,
    error::Error,
    lease::LeaseId,
    queue::Queue,
    retry::Operation,
};

/// How long before its end a lease is sent, whatever the linger: an acknowledgement is known to take up to 2.4 s.
const BEFORE_LEASE_END: Duration = Duration::from_secs(5);
/// The wait between two calls for the same leases, each of which has tried several times by itself.
const BETWEEN_CALLS: Duration = Duration::from_secs(1);

/// Longer waits could not be added to a clock.
const A_DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Where acknowledgements go: a queue, or in tests what stands in for one.
pub(crate) trait Sink: Send + Sync + 'static {
    fn ack(&self, request: AckRequest) -> impl Future<Output = Result<AckOutcome, Error>> + Send;
}

impl Sink for Queue {
    fn ack(&self, request: AckRequest) -> impl Future<Output = Result<AckOutcome, Error>> + Send {
        self.ack(request)
    }
}

#[derive(Debug)]
pub(super) enum Command {
    Add(Pending),
    Flush(oneshot::Sender<()>),
}

#[derive(Debug)]
pub(super) struct Pending {
    lease: Lease,
    decision: Decision,
    due: Option<Instant>,
    since: Instant,
    reply: oneshot::Sender<Result<Confirmation, Error>>,
}

impl Pending {
    pub(super) fn new(lease: Lease, decision: Decision, reply: oneshot::Sender<Result<Confirmation, Error>>) -> Self {
        let due = lease.deadline.and_then(|deadline| Instant::from_std(deadline).checked_sub(BEFORE_LEASE_END));
        Self { lease, decision, due, since: Instant::now(), reply }
    }
}

pub(super) struct Worker<S> {
    delivery: Arc<Delivery<S>>,
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

impl<S: Sink> Worker<S> {
    pub(super) fn new(sink: S, options: AckerOptions, ledger: Arc<Ledger>) -> Self {
        Self {
            delivery: Arc::new(Delivery { sink, ledger }),
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
        let is_full = self.waiting.len() >= MAX_BATCH;
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
struct Delivery<S> {
    sink: S,
    ledger: Arc<Ledger>,
}

impl<S: Sink> Delivery<S> {
    async fn deliver(&self, leases: Vec<Pending>) {
        let mut groups = vec![leases];
        while let Some(mut group) = groups.pop() {
            let error = match self.sink.ack(request(&group)).await {
                Ok(outcome) => {
                    self.confirm(group, &outcome);
                    continue;
                }
                Err(error) => error.without_leases(),
            };
            if error.refuses_the_request() && error.status() != Some(200) && group.len() > 1 {
                groups.push(group.split_off(group.len() / 2));
                groups.push(group);
                continue;
            }
            let wait = error.retry_after().unwrap_or(BETWEEN_CALLS);
            let next = StdInstant::from(Instant::now()) + wait.min(A_DAY);
            let lasts = |pending: &Pending| pending.lease.deadline.is_some_and(|deadline| deadline > next);
            let may_repeat = Operation::Ack.may_repeat(&error);
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
            .filter_map(|warning| Some((warning.lease_id.as_ref()?, warning.message.as_str())))
            .collect();
        let unwarned = |is_ack: bool| {
            let of_kind = group.iter().filter(|pending| (pending.decision == Decision::Ack) == is_ack);
            of_kind.filter(|pending| !warned.contains_key(&pending.lease.id)).count() as u64
        };
        let acks_hold = outcome.ack_count.is_some_and(|count| count >= unwarned(true));
        let retries_hold = outcome.retry_count.is_some_and(|count| count >= unwarned(false));
        for pending in group {
            let (holds, count, requested) = match pending.decision {
                Decision::Ack => (acks_hold, outcome.ack_count, outcome.acks_requested),
                Decision::Retry(_) => (retries_hold, outcome.retry_count, outcome.retries_requested),
            };
            let confirmation = match (warned.get(&pending.lease.id), count) {
                (Some(text), _) => Confirmation::Warned((*text).to_owned()),
                (None, _) if holds => Confirmation::Confirmed,
                (None, Some(count)) => {
                    Confirmation::Warned(format!("the service counted {count} of {requested}, and did not say which"))
                }
                (None, None) => Confirmation::Warned("the service did not say how many it counted".to_owned()),
            };
            self.reply(pending, Ok(confirmation));
        }
    }

    fn reply(&self, pending: Pending, outcome: Result<Confirmation, Error>) {
        self.ledger.lock().claimed.remove(&pending.lease.id);
        // Receipts may be ignored.
        let _ = pending.reply.send(outcome);
    }
}

/// A lease that has run out is still worth a request, as the service documents; but it sets no deadline.
fn request(group: &[Pending]) -> AckRequest {
    let now = StdInstant::from(Instant::now());
    let mut request = AckRequest::new();
    for Pending { lease, decision, .. } in group {
        match decision {
            Decision::Ack => request.ack(&lease.id),
            Decision::Retry(None) => request.retry(&lease.id),
            Decision::Retry(Some(delay)) => request.retry_after(&lease.id, *delay),
        };
    }
    request.deadline =
        group.iter().filter_map(|pending| pending.lease.deadline).filter(|deadline| *deadline > now).min();
    request
}
