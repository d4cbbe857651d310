//! One run of a consumer, from the first pull to the report.

use std::{
    collections::{HashMap, VecDeque},
    future::{Future, poll_fn},
    mem,
    pin::{Pin, pin},
    sync::{Arc, MutexGuard, PoisonError},
    task::Poll,
    time::Duration,
};

use tokio::{
    task::{self, JoinError, JoinSet},
    time::{Instant, sleep},
};
use tracing::Instrument;

use super::{
    Report, Settings, Stats, Undecided, Verdict,
    puller::{Puller, is_final},
    stats::Shared,
};
use crate::{
    ack::AckRequest,
    acker::{Acker, Confirmation},
    error::Error,
    limits,
    message::Message,
    pull::{Batch, PullOptions},
    queue::Queue,
    settlement::{Decision, Lease, Settlement},
};

pub(super) struct Run {
    puller: Puller,
    settings: Settings,
    acker: Acker,
    stats: Arc<Shared>,
    /// Pulled, and not started.
    waiting: VecDeque<Message>,
    handlers: JoinSet<Outcome>,
    handled: HashMap<task::Id, Handled>,
    /// Acknowledgements and retries whose outcome is not known.
    settlements: JoinSet<Result<Confirmation, Error>>,
    settling: HashMap<task::Id, Settlement>,
    /// How long handlers take on average.
    handler_time: Option<Duration>,
    unconfirmed: AckRequest,
    error: Option<Error>,
}

/// A handler's verdict, or the text of the error that it failed with.
type Outcome = Result<Verdict, String>;

/// A message that a handler works on.
struct Handled {
    lease: Lease,
    attempts: Option<u32>,
    /// Where the retry delay is a function of it.
    message: Option<Message>,
    since: Instant,
}

enum Event {
    Stop,
    Handled(Result<(task::Id, Outcome), JoinError>),
    Settled(Result<(task::Id, Result<Confirmation, Error>), JoinError>),
    /// `None` at the end of a rest.
    Pulled(Option<Result<Batch, Error>>),
}

impl Run {
    pub(super) fn new(queue: Queue, settings: Settings, stats: Arc<Shared>) -> Result<Self, Error> {
        limits::pull(&settings.pull)?;
        Ok(Self {
            acker: Acker::with_options(queue.clone(), settings.acker.clone())?,
            puller: Puller::new(queue, &settings),
            settings,
            stats,
            waiting: VecDeque::new(),
            handlers: JoinSet::new(),
            handled: HashMap::new(),
            settlements: JoinSet::new(),
            settling: HashMap::new(),
            handler_time: None,
            unconfirmed: AckRequest::new(),
            error: None,
        })
    }

    pub(super) async fn until<H, F>(mut self, stop: impl Future, handler: Arc<H>) -> Report
    where
        H: Fn(Message) -> F + Send + Sync + 'static,
        F: Future<Output = Outcome> + Send + 'static,
    {
        let mut stop = pin!(stop);
        while self.error.is_none() {
            self.start_handlers(&handler);
            self.start_pull();
            match self.next(stop.as_mut()).await {
                Event::Stop => break,
                event => self.settle(event),
            }
        }
        self.shut_down().await
    }

    /// What happens next. To be told to stop comes before all else.
    async fn next(&mut self, mut stop: Pin<&mut impl Future>) -> Event {
        poll_fn(|context| {
            if stop.as_mut().poll(context).is_ready() {
                return Poll::Ready(Event::Stop);
            }
            if let Poll::Ready(Some(joined)) = self.handlers.poll_join_next_with_id(context) {
                return Poll::Ready(Event::Handled(joined));
            }
            if let Poll::Ready(Some(joined)) = self.settlements.poll_join_next_with_id(context) {
                return Poll::Ready(Event::Settled(joined));
            }
            self.puller.poll(context).map(Event::Pulled)
        })
        .await
    }

    fn start_handlers<H, F>(&mut self, handler: &Arc<H>)
    where
        H: Fn(Message) -> F + Send + Sync + 'static,
        F: Future<Output = Outcome> + Send + 'static,
    {
        while self.handled.len() < self.concurrency() {
            let Some(message) = self.waiting.pop_front() else { return };
            if Instant::from_std(message.lease_deadline) <= Instant::now() {
                // Another consumer may have it by now.
                self.stats().expired += 1;
                continue;
            }
            let handled = Handled {
                lease: Lease::from(&message),
                attempts: message.attempts,
                message: self.settings.retry_delay.needs_message().then(|| message.clone()),
                since: Instant::now(),
            };
            let span = tracing::info_span!("process", messaging.message.id = message.id, attempts = message.attempts);
            let handler = Arc::clone(handler);
            // The handler is called within the task, so that a panic of its own stays there.
            let task = self.handlers.spawn(async move { failing(handler(message).await) }.instrument(span));
            self.handled.insert(task.id(), handled);
        }
    }

    /// Pulls ahead while handlers work, but no more than they will start on before its lease ends.
    fn start_pull(&mut self) {
        // Acknowledgements that do not keep up slow the pulling down.
        let is_clogged = self.settling.len() >= self.settings.acker.buffer.max(1);
        let limit = self.limit();
        let room = limit.saturating_sub(self.waiting.len());
        if self.puller.is_ready() && !is_clogged && room > 0 && room.saturating_mul(2) >= limit {
            let batch_size = self.settings.pull.batch_size.min(room.try_into().unwrap_or(u32::MAX));
            self.puller.start(PullOptions { batch_size, ..self.settings.pull });
        }
    }

    /// How many messages may wait: what handlers are expected to start on within half of a lease.
    fn limit(&self) -> usize {
        let free = self.concurrency().saturating_sub(self.handled.len());
        let Some(handler_time) = self.handler_time else { return free };
        let rounds = self.settings.pull.visibility_timeout.as_secs_f64() / 2.0 / handler_time.as_secs_f64().max(1e-6);
        ((rounds * self.concurrency() as f64) as usize).min(self.settings.pull.batch_size as usize).max(free)
    }

    fn pulled(&mut self, result: Result<Batch, Error>) {
        match result {
            Ok(batch) => {
                let mut stats = self.stats();
                stats.pulled += batch.len() as u64;
                stats.without_lease += batch.without_lease as u64;
                stats.backlog_count = batch.backlog_count;
                drop(stats);
                self.waiting.extend(batch);
            }
            Err(error) => {
                self.stats().pull_failures += 1;
                self.error = self.error.take().or_else(|| is_final(&error).then_some(error));
            }
        }
    }

    fn settle(&mut self, event: Event) {
        match event {
            Event::Handled(joined) => {
                let (id, outcome) = match joined {
                    Ok((id, outcome)) => (id, outcome.map_err(Some)),
                    Err(error) => {
                        self.stats().panicked += u64::from(error.is_panic());
                        (error.id(), Err(None))
                    }
                };
                if let Some(handled) = self.handled.remove(&id) {
                    self.end(handled, outcome);
                }
            }
            Event::Settled(joined) => {
                let (id, outcome) = match joined {
                    Ok((id, outcome)) => (id, outcome),
                    Err(error) => (error.id(), Ok(Confirmation::Unclear { counted: None, requested: 1 })),
                };
                match (self.settling.remove(&id), outcome) {
                    (Some(Settlement { decision: Decision::Ack, .. }), Ok(Confirmation::Confirmed)) => {
                        self.stats().acknowledged += 1
                    }
                    (Some(_), Ok(Confirmation::Confirmed)) => self.stats().retried += 1,
                    (Some(entry), _) => self.unconfirmed.settlements.push(entry),
                    (None, _) => {}
                }
            }
            Event::Pulled(Some(result)) => self.pulled(result),
            Event::Pulled(None) | Event::Stop => {}
        }
    }

    fn end(&mut self, handled: Handled, outcome: Result<Verdict, Option<String>>) {
        let now = Instant::now();
        let took = now - handled.since;
        self.handler_time = Some(self.handler_time.map_or(took, |average| (average * 7 + took) / 8));
        let mut stats = self.stats();
        stats.handler_times.record(took);
        if handled.lease.deadline().is_some_and(|deadline| now.into_std() > deadline) {
            stats.overran += 1;
            tracing::warn!(
                ?took,
                "a handler took longer than its lease: another consumer may have been given the message"
            );
        }
        drop(stats);
        let retry_delay = &self.settings.retry_delay;
        let failed =
            |error: Option<String>| retry_delay.verdict(handled.attempts, handled.message.as_ref(), error.as_deref());
        match outcome.unwrap_or_else(failed) {
            Verdict::Ack => self.submit(Settlement::ack(handled.lease)),
            Verdict::Retry => self.submit(Settlement::retry(handled.lease)),
            Verdict::RetryIn(delay) => self.submit(Settlement::retry_in(handled.lease, delay.min(limits::MAX_DELAY))),
            Verdict::Leave => self.stats().left += 1,
        }
    }

    fn submit(&mut self, settlement: Settlement) {
        let (acker, submitted) = (self.acker.clone(), settlement.clone());
        let task = self.settlements.spawn(async move { acker.submit(submitted).await?.await });
        self.settling.insert(task.id(), settlement);
    }

    /// Lets handlers end, gives back what was not started, and waits for every outcome, each for its own time.
    async fn shut_down(mut self) -> Report {
        let mut timeout = pin!(sleep(self.settings.shutdown_timeout));
        self.release();
        while !self.handled.is_empty() || self.puller.is_pulling() {
            match self.next(timeout.as_mut()).await {
                Event::Stop => break,
                event => self.settle(event),
            }
            self.release();
        }
        self.handlers.abort_all();
        let dropped = mem::take(&mut self.handled).len();
        self.stats().left += dropped as u64;
        let mut timeout = pin!(sleep(self.settings.flush_timeout));
        while !self.settling.is_empty() {
            match self.next(timeout.as_mut()).await {
                Event::Stop => break,
                event => self.settle(event),
            }
            // A pull that was under way may end only now.
            self.release();
        }
        self.unconfirmed.settlements.extend(self.settling.drain().map(|(_, entry)| entry));
        let stats = self.stats().clone();
        Report { stats, unconfirmed: self.unconfirmed, error: self.error }
    }

    fn release(&mut self) {
        for message in mem::take(&mut self.waiting) {
            match self.settings.undecided {
                Undecided::Retry => self.submit(Settlement::retry_in(&message, Duration::ZERO)),
                Undecided::Leave => self.stats().left += 1,
            }
        }
    }

    fn concurrency(&self) -> usize {
        self.settings.concurrency.max(1)
    }

    fn stats(&self) -> MutexGuard<'_, Stats> {
        self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Logs a handler's error, within the message's span.
fn failing(outcome: Outcome) -> Outcome {
    outcome.inspect_err(|error| tracing::warn!(%error, "the handler failed"))
}
