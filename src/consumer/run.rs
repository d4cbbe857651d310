//! One run of a consumer, from the first pull to the report.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    task::{JoinError, JoinSet},
    time::{Sleep, sleep, sleep_until},
};
use tracing::{Instrument, Span};

use super::{
    Report,
    delivery::Delivery,
    handlers::{Handler, handle},
    recorder::{Counter, Total},
    settings::Settings,
    source::{Source, Waiting},
    spans,
};
use crate::{error::Error, flow::contained::discard_error, message::ack::AckRequest, queue::Queue};

/// How many messages may be unsettled before the first one is settled.
const MOST_UNTRUSTED: usize = 1000;

pub(super) struct Run {
    queue: Queue,
    source: Source,
    /// Running handlers. Each returns how long it took.
    handlers: JoinSet<Duration>,
    /// How long handlers take on average.
    handler_time: Option<Duration>,
    linger: Option<Pin<Box<Sleep>>>,
    error: Option<Error>,
}

impl Run {
    pub(super) fn new(queue: Queue, settings: Settings, total: &Total) -> Result<Self, Error> {
        let source = Source::new(queue.clone(), settings, total, "handlers fail", Some(AckRequest::new()))?;
        Ok(Self { queue, source, handlers: JoinSet::new(), handler_time: None, linger: None, error: None })
    }

    pub(super) fn counter(&self) -> Counter {
        self.source.origin().outcomes.counter().clone()
    }

    /// Runs until `stop` completes. Only this is compiled for each type of `stop`.
    pub(super) async fn until(self, stop: impl Future, handler: Arc<Handler>) -> Report {
        let stopped = Arc::new(AtomicBool::new(false));
        let mut run: Pin<Box<dyn Future<Output = Report> + Send>> = Box::pin(self.run(handler, Arc::clone(&stopped)));
        let mut stop = pin!(stop);
        poll_fn(|context| {
            // First of all, so that nothing is sent if it has completed already.
            if !stopped.load(Ordering::Relaxed) && stop.as_mut().poll(context).is_ready() {
                stopped.store(true, Ordering::Relaxed);
            }
            run.as_mut().poll(context)
        })
        .await
    }

    async fn run(mut self, handler: Arc<Handler>, stopped: Arc<AtomicBool>) -> Report {
        let is_stopped = || stopped.load(Ordering::Relaxed);
        while !is_stopped() && self.error.is_none() {
            self.start_handlers(&handler);
            self.start_pulls();
            self.gauge();
            self.changed(|_| if is_stopped() { Poll::Ready(()) } else { Poll::Pending }).await;
        }
        let settings = &self.source.origin().settings;
        let (shutdown_timeout, flush_timeout) = (settings.shutdown_timeout, settings.flush_timeout);
        // Handlers finish, and messages that were not started are handed back, also those of pulls in flight.
        self.finish(shutdown_timeout, |run| !run.handlers.is_empty() || run.source.pulls().in_flight() > 0).await;
        self.handlers.abort_all();
        self.source.origin().acker.hurry();
        self.finish(flush_timeout, |run| run.source.origin().outcomes.settling() > 0).await;
        let unconfirmed = self.end();
        self.source.gauge(0, false);
        Report { stats: self.source.stats(), unconfirmed, error: self.error.take() }
    }

    /// Waits for whatever changes first: a handler finishes, messages are settled, a pull or a pause ends, messages
    /// have waited long enough for others to fill their batch, or `also` completes.
    async fn changed(&mut self, mut also: impl FnMut(&mut Context<'_>) -> Poll<()>) {
        poll_fn(|context| {
            let mut has_changed = false;
            while let Poll::Ready(Some(finished)) = self.handlers.poll_join_next(context) {
                self.finished(finished);
                has_changed = true;
            }
            has_changed |= self.source.origin().outcomes.poll_changed(context).is_ready();
            if let Some(error) = self.source.origin().outcomes.error() {
                self.error.get_or_insert(error);
            }
            has_changed |= self.poll_linger(context).is_ready();
            if let Poll::Ready(pulled) = self.source.poll(context) {
                if let Err(error) = pulled {
                    self.error.get_or_insert(error);
                }
                has_changed = true;
            }
            if has_changed { Poll::Ready(()) } else { also(context) }
        })
        .await;
    }

    /// Continues for a while without starting anything, as long as there is something to wait for.
    async fn finish(&mut self, timeout: Duration, goes_on: impl Fn(&mut Self) -> bool) {
        let mut timeout = pin!(sleep(timeout));
        self.source.release();
        while goes_on(self) && !timeout.is_elapsed() {
            self.gauge();
            self.changed(|context| timeout.as_mut().poll(context)).await;
            // A pull may have ended.
            self.source.release();
        }
    }

    fn finished(&mut self, finished: Result<Duration, JoinError>) {
        match finished {
            Ok(took) => self.handler_time = Some(self.handler_time.map_or(took, |average| (average * 7 + took) / 8)),
            Err(error) => discard_error(error),
        }
    }

    fn start_handlers(&mut self, handler: &Arc<Handler>) {
        while self.free_handlers() > 0 && self.is_group_ready() {
            let mut group = Vec::with_capacity(self.group_size().min(self.source.waiting().len()));
            let mut pull = Span::none();
            while group.len() < self.group_size()
                && let Some(waiting) = self.source.next()
            {
                if group.is_empty() {
                    pull = waiting.pull;
                }
                group.push(waiting.delivery);
            }
            let Some(first) = group.first() else { continue };
            let span = self.span(first, group.len());
            span.follows_from(pull.id());
            let settings = &self.source.origin().settings;
            let keeps_messages = settings.retry_delay.needs_message() || settings.dead_letters.is_some();
            let handled = handle(Arc::clone(handler), group, keeps_messages, span.clone());
            self.handlers.spawn(handled.instrument(span));
        }
    }

    fn free_handlers(&self) -> usize {
        self.source.origin().settings.concurrency.max(1).saturating_sub(self.handlers.len())
    }

    fn group_size(&self) -> usize {
        self.source.origin().settings.handler_batch.max(1)
    }

    fn is_group_ready(&self) -> bool {
        let linger = self.source.origin().settings.handler_linger;
        let waiting = self.source.waiting();
        waiting.len() >= self.group_size() || waiting.front().is_some_and(|first| first.since.elapsed() >= linger)
    }

    fn span(&self, first: &Delivery, count: usize) -> Span {
        let settings = &self.source.origin().settings;
        if settings.is_batched {
            return spans::process_batch(self.queue.id(), count);
        }
        let made = settings.span.as_ref().and_then(|span| span.make(first.message()));
        made.unwrap_or_else(|| spans::process(self.queue.id(), first.message()))
    }

    /// Completes when the oldest message has waited long enough for others.
    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let settings = &self.source.origin().settings;
        if !settings.is_batched || self.free_handlers() == 0 {
            return Poll::Pending;
        }
        let until = |first: &Waiting| first.since.checked_add(settings.handler_linger);
        let Some(until) = self.source.waiting().front().and_then(until) else { return Poll::Pending };
        let timer = self.linger.get_or_insert_with(|| Box::pin(sleep_until(until)));
        if timer.deadline() != until {
            timer.as_mut().reset(until);
        }
        timer.as_mut().poll(context)
    }

    /// Prefetches while handlers work, but no more than they are expected to start in time.
    fn start_pulls(&mut self) {
        let outcomes = &self.source.origin().outcomes;
        let (step, settling, is_trusted) = (outcomes.step(), outcomes.settling(), outcomes.has_confirmed());
        let pulls = self.source.pulls();
        pulls.slow_down(step);
        if is_trusted {
            pulls.trust();
        } else if settling >= MOST_UNTRUSTED {
            return;
        }
        let max_bytes = self.source.origin().settings.max_bytes;
        let target = self.target().min(self.source.pulls().most_in(max_bytes));
        let ahead = self.source.ahead();
        let room = target.saturating_sub(ahead).min(self.room_in_bytes(ahead));
        // Others may hold the bytes for long: a free handler does not wait for more room.
        let is_urgent = ahead == 0 && self.free_handlers() > 0;
        self.source.pulls().start(room, if is_urgent { room } else { target });
    }

    /// How many messages should be waiting or on their way: what handlers start until the next pull could return more,
    /// but no more than they are expected to start within half a lease. How long they take now says little about how
    /// long they will: what they took in the last round trip limits it, too.
    fn target(&mut self) -> usize {
        let free = self.free_handlers().saturating_mul(self.group_size());
        let Some(handler_time) = self.handler_time else { return free };
        let settings = &self.source.origin().settings;
        let (pull, concurrency) = (settings.pull, settings.concurrency.max(1));
        let at_once = concurrency.saturating_mul(self.group_size()) as f64;
        let started_in = |time: f64| (time / handler_time.as_secs_f64().max(1e-6) * at_once) as usize;
        let in_time = started_in(pull.visibility_timeout.as_secs_f64() / 2.0);
        let pulls = self.source.pulls();
        let ahead = started_in(2.0 * pulls.round_trip().as_secs_f64()).min(pulls.demand());
        in_time.min(ahead.saturating_add(pull.batch_size as usize)).max(free)
    }

    fn room_in_bytes(&mut self, ahead: usize) -> usize {
        let outcomes = &self.source.origin().outcomes;
        let (held, settling) = (outcomes.bytes(), outcomes.settling());
        let max_bytes = self.source.origin().settings.max_bytes;
        let pulls = self.source.pulls();
        let message = pulls.message_bytes();
        if message == 0 {
            return usize::MAX;
        }
        let used = held.saturating_add(pulls.asked().saturating_mul(message));
        let room = max_bytes.saturating_sub(used) / message;
        // At least one message at a time.
        room.max(usize::from(ahead == 0 && self.handlers.is_empty() && settling == 0))
    }

    fn gauge(&self) {
        self.source.gauge(self.handlers.len(), self.free_handlers() == 0);
    }

    /// Whatever has no outcome yet is counted as left or unconfirmed.
    fn end(&mut self) -> AckRequest {
        self.handlers.abort_all();
        // Decisions are still sent, and what was not started is handed back, as long as the runtime is running.
        self.source.release();
        self.source.origin().acker.hurry();
        self.source.stop();
        self.source.origin().end()
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        drop(self.end());
        self.source.origin().outcomes.end();
    }
}
