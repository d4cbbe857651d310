//! One run of a consumer, from the first pull to the report.

use std::{
    collections::{HashMap, VecDeque},
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    task::{self, JoinError, JoinSet},
    time::{Instant, Sleep, sleep_until},
};
use tracing::{Instrument, Span};

use super::{
    Report,
    acks::Acks,
    brake::Brake,
    heartbeat::Heartbeat,
    pulls::{MESSAGE_BYTES, Pulled, Pulls, is_final},
    pulse::Pulse,
    recorder::{Counter, Gauges, Recorder, Total},
    settings::Settings,
    work::{Handled, Outcome, Settled, Settling, Waiting, Work, size},
};
use crate::{
    acker::Acker,
    error::Error,
    message::{ack::AckRequest, limits},
    queue::Queue,
};

/// How many messages may be unsettled before the first one is settled.
const MOST_UNTRUSTED: usize = 1000;

pub(super) struct Run {
    pub(super) pulls: Pulls,
    pub(super) settings: Settings,
    pub(super) acker: Acker,
    pub(super) recorder: Recorder,
    pub(super) queue: Queue,
    /// Pulled and not started.
    pub(super) waiting: VecDeque<Waiting>,
    pub(super) handlers: JoinSet<Vec<Outcome>>,
    pub(super) handled: HashMap<task::Id, Handled>,
    pub(super) pulse: Pulse,
    /// Acknowledgements and retries whose outcome is not known.
    pub(super) settlements: JoinSet<Settled>,
    pub(super) settling: HashMap<task::Id, Settling>,
    /// Slow down pulling: failing handlers, and failing acknowledgements.
    pub(super) handlers_brake: Brake,
    pub(super) acks: Acks,
    /// How long handlers take on average.
    pub(super) handler_time: Option<Duration>,
    /// The size of messages that wait, are in handlers, or become dead letters.
    pub(super) bytes: usize,
    pub(super) unconfirmed: AckRequest,
    pub(super) error: Option<Error>,
    linger: Option<Pin<Box<Sleep>>>,
    gauges: Gauges,
}

pub(super) enum Event {
    Stop,
    Handled(Result<(task::Id, Vec<Outcome>), JoinError>),
    Settled(Result<(task::Id, Settled), JoinError>),
    /// `None` at the end of a pause.
    Pulled(Option<Pulled>),
    Lingered,
}

impl Run {
    pub(super) fn new(queue: Queue, settings: Settings, total: &Total) -> Result<Self, Error> {
        limits::pull(&settings.pull)?;
        let acker = Acker::with_options(queue.clone(), settings.acker.clone())?;
        let recorder = Recorder::new(total);
        Ok(Self {
            acker,
            pulls: Pulls::new(queue.clone(), &settings),
            pulse: Pulse::new(Heartbeat::new(queue.clone(), &settings), recorder.handle()),
            recorder,
            handlers_brake: Brake::new("handlers fail", settings.bearable_failures),
            acks: Acks::new(),
            queue,
            settings,
            waiting: VecDeque::new(),
            handlers: JoinSet::new(),
            handled: HashMap::new(),
            settlements: JoinSet::new(),
            settling: HashMap::new(),
            handler_time: None,
            bytes: 0,
            unconfirmed: AckRequest::new(),
            error: None,
            linger: None,
            gauges: Gauges::default(),
        })
    }

    pub(super) fn counter(&self) -> Counter {
        self.recorder.handle()
    }

    pub(super) async fn until<H, F>(mut self, stop: impl Future, handler: Arc<H>) -> Report
    where
        H: Fn(Work) -> F + Send + Sync + 'static,
        F: Future<Output = Vec<Outcome>> + Send + 'static,
    {
        let mut stop = pin!(stop);
        while self.error.is_none() {
            // First of all, so that nothing is sent if `stop` has completed already.
            if poll_fn(|context| Poll::Ready(stop.as_mut().poll(context).is_ready())).await {
                break;
            }
            self.start_handlers(&handler);
            self.start_pulls();
            self.gauge();
            match self.next(stop.as_mut()).await {
                Event::Stop => break,
                event => self.take(event),
            }
        }
        self.shut_down().await
    }

    /// What happens next. Stopping takes precedence.
    pub(super) async fn next(&mut self, mut stop: Pin<&mut impl Future>) -> Event {
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
            if self.poll_linger(context).is_ready() {
                return Poll::Ready(Event::Lingered);
            }
            self.pulls.poll(context, &self.recorder).map(Event::Pulled)
        })
        .await
    }

    pub(super) fn take(&mut self, event: Event) {
        match event {
            Event::Handled(joined) => self.end(joined),
            Event::Settled(joined) => self.settled(joined),
            Event::Pulled(Some(pulled)) => self.pulled(pulled),
            Event::Lingered => self.linger = None,
            Event::Pulled(None) | Event::Stop => {}
        }
    }

    fn pulled(&mut self, pulled: Pulled) {
        let batch = match pulled.result {
            Ok(batch) => batch,
            Err(error) => {
                self.error = self.error.take().or_else(|| is_final(&error).then_some(error));
                return;
            }
        };
        for mut message in batch {
            let key = self.pulse.hold(&mut message);
            self.bytes = self.bytes.saturating_add(size(&message));
            self.waiting.push_back(Waiting { message, key, since: Instant::now(), pull: pulled.span.clone() });
        }
    }

    fn start_handlers<H, F>(&mut self, handler: &Arc<H>)
    where
        H: Fn(Work) -> F + Send + Sync + 'static,
        F: Future<Output = Vec<Outcome>> + Send + 'static,
    {
        while self.handled.len() < self.settings.concurrency.max(1) && self.is_group_ready() {
            let work = self.next_group();
            let Some(first) = work.first() else { continue };
            let span = self.span(&work, first);
            self.pulls.taken(work.len());
            let handled = Handled::new(&work, self.needs_messages());
            work.iter().for_each(|waiting| self.pulse.work_on(waiting.key, true));
            let (handler, work) = (Arc::clone(handler), Work::new(work, span.clone()));
            // The handler is called within the task, which contains a panic.
            let task = self.handlers.spawn(async move { handler(work).await }.instrument(span));
            self.handled.insert(task.id(), handled);
        }
    }

    fn group_size(&self) -> usize {
        self.settings.handler_batch.max(1)
    }

    fn is_group_ready(&self) -> bool {
        let has_lingered = |first: &Waiting| first.since.elapsed() >= self.settings.handler_linger;
        self.waiting.len() >= self.group_size() || self.waiting.front().is_some_and(has_lingered)
    }

    /// Up to as many messages as a handler takes, without those whose lease is lost.
    fn next_group(&mut self) -> Vec<Waiting> {
        let mut group = Vec::with_capacity(self.group_size().min(self.waiting.len()));
        while group.len() < self.group_size()
            && let Some(waiting) = self.waiting.pop_front()
        {
            if waiting.message.lease().is_lost() {
                self.recorder.count(|stats| stats.expired += 1);
                self.forget(waiting.key, size(&waiting.message));
            } else {
                group.push(waiting);
            }
        }
        group
    }

    pub(super) fn forget(&mut self, key: u64, bytes: usize) {
        self.pulse.release(key);
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// Whether messages must be kept while handlers work on them.
    fn needs_messages(&self) -> bool {
        self.settings.retry_delay.needs_message() || self.settings.dead_letters.is_some()
    }

    fn span(&self, work: &[Waiting], first: &Waiting) -> Span {
        let span = if self.settings.is_batched {
            super::spans::process_batch(self.queue.id(), work.len())
        } else if let Some(span) = &self.settings.span {
            span.make(&first.message).unwrap_or_else(|| super::spans::process(self.queue.id(), &first.message))
        } else {
            super::spans::process(self.queue.id(), &first.message)
        };
        span.follows_from(first.pull.id());
        span
    }

    /// Completes when the oldest message has waited long enough for others.
    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(first) = self.waiting.front().filter(|_| self.settings.is_batched) else { return Poll::Pending };
        if self.handled.len() >= self.settings.concurrency.max(1) {
            return Poll::Pending;
        }
        let Some(until) = first.since.checked_add(self.settings.handler_linger) else { return Poll::Pending };
        let timer = self.linger.get_or_insert_with(|| Box::pin(sleep_until(until)));
        if timer.deadline() != until {
            timer.as_mut().reset(until);
        }
        timer.as_mut().poll(context)
    }

    /// Prefetches while handlers work, but no more than they are expected to start in time.
    fn start_pulls(&mut self) {
        self.pulls.slow_down(self.handlers_brake.step().max(self.acks.step()));
        if !self.pulls.is_trusted() && self.settling.len() >= MOST_UNTRUSTED {
            return;
        }
        let target = self.target().min(self.pulls.most_in(self.settings.max_bytes));
        let ahead = self.waiting.len().saturating_add(self.pulls.asked());
        let bytes = self.room_in_bytes(ahead);
        let room = target.saturating_sub(ahead).min(bytes);
        // Others may hold the bytes for long: a free handler does not wait for more room.
        let is_urgent = ahead == 0 && self.free() > 0;
        self.pulls.start(room, if is_urgent { room } else { target });
    }

    /// How many messages should be waiting or on their way: what handlers start until the next pull could return more,
    /// but no more than they are expected to start within half a lease. How long they take now says little about how
    /// long they will: what they took in the last round trip limits it, too.
    fn target(&self) -> usize {
        let (group, free) = (self.group_size(), self.free());
        let Some(handler_time) = self.handler_time else { return free };
        let at_once = self.settings.concurrency.max(1).saturating_mul(group) as f64;
        let started_in = |time: f64| (time / handler_time.as_secs_f64().max(1e-6) * at_once) as usize;
        let pull = self.settings.pull;
        let in_time = started_in(pull.visibility_timeout.as_secs_f64() / 2.0);
        let ahead = started_in(2.0 * self.pulls.round_trip().as_secs_f64()).min(self.pulls.demand());
        in_time.min(ahead.saturating_add(pull.batch_size as usize)).max(free)
    }

    /// How many messages handlers can take at once.
    fn free(&self) -> usize {
        self.settings.concurrency.max(1).saturating_sub(self.handled.len()).saturating_mul(self.group_size())
    }

    fn room_in_bytes(&self, ahead: usize) -> usize {
        let message = self.pulls.message_bytes();
        if message == 0 {
            return usize::MAX;
        }
        let unsettled = self.settling.len().saturating_mul(MESSAGE_BYTES);
        let asked = self.pulls.asked().saturating_mul(message);
        let used = [self.bytes, unsettled, asked].into_iter().fold(0, usize::saturating_add);
        let room = self.settings.max_bytes.saturating_sub(used) / message;
        // At least one message at a time.
        room.max(usize::from(ahead == 0 && self.handled.is_empty() && self.settling.is_empty()))
    }

    pub(super) fn gauge(&mut self) {
        let now = Gauges {
            pulls_in_flight: self.pulls.in_flight() as u64,
            waiting: self.waiting.len() as u64,
            handlers_running: self.handled.len() as u64,
            slowdown: self.pulls.slowdown(),
            is_full: self.handled.len() >= self.settings.concurrency.max(1),
            acks_fail: self.acks.step() > 0,
            unsettled: self.acks.unsettled(),
        };
        self.recorder.gauge(self.gauges, now);
        self.gauges = now;
    }

    pub(super) fn gauge_nothing(&mut self) {
        self.recorder.gauge(self.gauges, Gauges::default());
        self.gauges = Gauges::default();
    }
}
