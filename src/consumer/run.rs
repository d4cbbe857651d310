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
    time::{Instant, Sleep, sleep, sleep_until},
};
use tracing::{Instrument, Span};

use super::{
    Report,
    delivery::Delivery,
    handlers::{Handler, handle},
    recorder::Total,
    settings::Settings,
    source::Source,
    spans,
};
use crate::{error::Error, flow::contained::discard_error, message::ack::AckRequest, queue::Queue};

/// How many messages may be unsettled before the first one is settled.
const MOST_UNTRUSTED: usize = 1000;

struct Run {
    queue: Queue,
    source: Source,
    /// Running handlers. Each returns how long it took, if it could start in time.
    handlers: JoinSet<Option<Duration>>,
    /// How long handlers take on average.
    handler_time: Option<Duration>,
    linger: Option<Pin<Box<Sleep>>>,
    is_stopping: bool,
    error: Option<Error>,
}

/// A run that has started. Only [`until`](Self::until) is compiled in the user's program, since a run does not depend
/// on the types of its handler and of what stops it.
pub(super) struct Running {
    report: Pin<Box<dyn Future<Output = Report> + Send>>,
    stopped: Arc<AtomicBool>,
}

impl Running {
    pub(super) fn new(queue: &Queue, settings: Settings, total: &Total, handler: Arc<Handler>) -> Result<Self, Error> {
        let run = Run {
            queue: queue.clone(),
            source: Source::new(queue.clone(), settings, total, "handlers fail", Some(AckRequest::new()))?,
            handlers: JoinSet::new(),
            handler_time: None,
            linger: None,
            is_stopping: false,
            error: None,
        };
        let stopped = Arc::new(AtomicBool::new(false));
        Ok(Self { report: Box::pin(run.run(handler, Arc::clone(&stopped))), stopped })
    }

    /// Waits for the report, and lets the run end when `stop` completes.
    pub(super) async fn until(mut self, stop: impl Future) -> Report {
        let mut stop = pin!(stop);
        poll_fn(|context| {
            // First of all, so that nothing is sent if it has completed already.
            if !self.stopped.load(Ordering::Relaxed) && stop.as_mut().poll(context).is_ready() {
                self.stopped.store(true, Ordering::Relaxed);
            }
            self.report.as_mut().poll(context)
        })
        .await
    }
}

impl Run {
    async fn run(mut self, handler: Arc<Handler>, stopped: Arc<AtomicBool>) -> Report {
        let is_stopped = || stopped.load(Ordering::Relaxed);
        while !is_stopped() && self.error.is_none() && !(self.source.is_exhausted() && self.handlers.is_empty()) {
            self.start_handlers(&handler);
            self.start_pulls();
            self.gauge();
            self.changed(|_| if is_stopped() { Poll::Ready(()) } else { Poll::Pending }).await;
        }
        let was_told = self.error.is_none() && is_stopped();
        let settings = &self.source.origin().settings;
        let (shutdown_timeout, flush_timeout) = (settings.shutdown_timeout, settings.flush_timeout);
        // Handlers finish, and messages that were not started are handed back, also those of pulls in flight. Only
        // those at their last delivery are still started: handed back, they would be lost.
        let mut timeout = pin!(sleep(shutdown_timeout));
        self.is_stopping = true;
        self.source.release();
        self.start_handlers(&handler);
        while (!self.handlers.is_empty() || self.source.ahead() > 0) && !timeout.is_elapsed() {
            self.gauge();
            self.changed(|context| timeout.as_mut().poll(context)).await;
            self.source.release();
            self.start_handlers(&handler);
        }
        self.handlers.abort_all();
        self.source.origin().acker.hurry();
        let mut timeout = pin!(sleep(flush_timeout));
        self.source.release_all();
        while self.source.origin().outcomes.settling() > 0 && !timeout.is_elapsed() {
            self.gauge();
            self.changed(|context| timeout.as_mut().poll(context)).await;
            // A pull may have ended.
            self.source.release_all();
        }
        let unconfirmed = self.end();
        self.source.gauge(0, 0);
        Report { stats: self.source.stats(), unconfirmed, error: self.error.take().filter(|_| !was_told) }
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

    fn finished(&mut self, finished: Result<Option<Duration>, JoinError>) {
        match finished {
            Ok(Some(took)) => {
                self.handler_time = Some(self.handler_time.map_or(took, |average| (average * 7 + took) / 8));
            }
            Ok(None) => {}
            Err(error) => discard_error(error),
        }
    }

    fn start_handlers(&mut self, handler: &Arc<Handler>) {
        while self.free_handlers() > 0 && self.is_group_ready() {
            let mut group = Vec::with_capacity(self.group_size().min(self.source.waiting()));
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
            let timeout = settings.handler_timeout;
            let handled = handle(Arc::clone(handler), group, timeout, keeps_messages, span.clone());
            self.handlers.spawn(handled.instrument(span));
        }
    }

    fn free_handlers(&self) -> usize {
        self.source.origin().settings.handlers().saturating_sub(self.handlers.len())
    }

    fn group_size(&self) -> usize {
        self.source.origin().settings.handler_batch.max(1)
    }

    fn is_group_ready(&mut self) -> bool {
        let linger = self.source.origin().settings.handler_linger;
        let has_lingered = |oldest: Instant| self.is_stopping || oldest.elapsed() >= linger;
        self.source.waiting() >= self.group_size() || self.source.oldest().is_some_and(has_lingered) || self.is_last()
    }

    /// Whether no message can join those that wait: all are pulled, or there is no room, and nothing will make any.
    fn is_last(&mut self) -> bool {
        let is_quiet = |run: &mut Self| run.handlers.is_empty() && run.settling() == 0 && run.source.pulls().asked == 0;
        let waits = self.source.waiting() > 0;
        waits && (self.source.is_all_pulled() || is_quiet(self) && self.room().0 == 0)
    }

    fn settling(&self) -> usize {
        self.source.origin().outcomes.settling()
    }

    fn span(&self, first: &Delivery, count: usize) -> Span {
        let settings = &self.source.origin().settings;
        let batch = settings.is_batched.then_some(count);
        let made = settings.span.as_ref().filter(|_| batch.is_none());
        let made = made.and_then(|make| spans::made(&**make, first.message()));
        made.unwrap_or_else(|| spans::process(self.queue.id(), first.message(), batch))
    }

    /// Completes when the oldest message has waited long enough for others.
    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let settings = &self.source.origin().settings;
        if !settings.is_batched || self.free_handlers() == 0 {
            return Poll::Pending;
        }
        let until = |oldest: Instant| oldest.checked_add(settings.handler_linger);
        let Some(until) = self.source.oldest().and_then(until) else { return Poll::Pending };
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
        pulls.slowdown = step;
        if is_trusted {
            pulls.is_trusted = true;
        } else if settling >= MOST_UNTRUSTED {
            return;
        }
        let (room, target) = self.room();
        // Others may hold the bytes for long: a free handler does not wait for more room.
        let is_urgent = self.source.pulls().asked == 0 && self.free_handlers() > 0;
        self.source.pulls().start(room, if is_urgent { room } else { target });
    }

    /// How many messages to pull, and how many should wait or be on their way.
    fn room(&mut self) -> (usize, usize) {
        let max_bytes = self.source.origin().settings.max_bytes;
        let target = self.target().min(self.source.pulls().most_in(max_bytes));
        let ahead = self.source.ahead();
        (target.saturating_sub(ahead).min(self.room_in_bytes(ahead)), target)
    }

    /// How many messages should wait or be on their way.
    fn target(&self) -> usize {
        let at_once = self.source.origin().settings.handlers().saturating_mul(self.group_size());
        let each = self.handler_time.map(|time| time.div_f64(at_once as f64));
        self.source.target(self.free_handlers().saturating_mul(self.group_size()), each)
    }

    fn room_in_bytes(&mut self, ahead: usize) -> usize {
        let outcomes = &self.source.origin().outcomes;
        let (held, settling) = (outcomes.bytes(), outcomes.settling());
        let max_bytes = self.source.origin().settings.max_bytes;
        let pulls = self.source.pulls();
        let message = pulls.message_bytes;
        if message == 0 {
            return usize::MAX;
        }
        let used = held.saturating_add(pulls.asked.saturating_mul(message));
        let room = max_bytes.saturating_sub(used) / message;
        // At least one message at a time.
        room.max(usize::from(ahead == 0 && self.handlers.is_empty() && settling == 0))
    }

    fn gauge(&self) {
        self.source.gauge(self.handlers.len(), self.source.origin().settings.handlers());
    }

    /// Whatever has no outcome yet is counted as left or unconfirmed.
    fn end(&mut self) -> AckRequest {
        self.handlers.abort_all();
        // Decisions are still sent, and what was not started is handed back, as long as the runtime is running.
        self.source.stop();
        self.source.origin().acker.hurry();
        self.source.origin().end()
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        drop(self.end());
        self.source.origin().outcomes.end();
    }
}
