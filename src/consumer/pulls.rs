//! Pulls: as many in flight as return messages, and a pause after those that return nothing.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    task::JoinSet,
    time::{Instant, Sleep, sleep, sleep_until},
};
use tracing::{Instrument, Span, field};

use super::{
    control::{Changed, Control},
    heartbeat::{Heartbeat, Hold},
    recorder::Counter,
    settings::Settings,
};
use crate::{
    error::{Error, kind::ErrorKind},
    flow::{
        adaptive::{Adaptive, Setback},
        outage::Outage,
        rate::Rate,
        tasks::Tasks,
    },
    http::retry,
    message::{
        limits,
        pull::{Batch, PullOptions},
    },
    queue::Queue,
};

/// Longer pauses could not be added to an instant.
const AN_HOUR: Duration = Duration::from_secs(60 * 60);
/// The pause after a pull that returns nothing, as a part of the time since the last message: in an hour without
/// messages, up to 436 pulls, of which 91 in the first 160 s.
const IDLE_PART: u32 = 16;
/// There is always a pause between pulls of an empty queue.
const SHORTEST: Duration = Duration::from_millis(1);
/// The maximum number of pulls in flight until the first message is settled.
const UNTRUSTED: usize = 4;
/// How many times more messages handlers may take from one round trip to the next. Pulls in flight only triple.
const GROWTH: usize = 4;
/// The size of a message without its body.
pub(super) const MESSAGE_BYTES: usize = 600;

pub(super) struct Pulls {
    queue: Queue,
    heartbeat: Heartbeat,
    options: PullOptions,
    min_idle: Duration,
    max_idle: Duration,
    limit: Adaptive,
    /// When pulls last waited for others to end.
    held_back_at: Option<Instant>,
    /// In messages.
    rate: Arc<Rate>,
    in_flight: Tasks<Started, Returned>,
    /// How many messages the pulls in flight request.
    pub(super) asked: usize,
    /// How many more messages may be requested.
    pub(super) left: u64,
    /// When the last message came, or was settled if the consumer ends with an empty queue.
    idle_since: Instant,
    /// When the last pull that returned nothing was sent.
    emptied: Option<Instant>,
    /// The pause after the next pull that fails.
    failed: Duration,
    /// The pause after the last such pull.
    last_failed: Duration,
    rest: Option<Rest>,
    /// When the last pause started: pulls sent before do not make the next one longer.
    rested_at: Option<Instant>,
    round_trip: Option<Duration>,
    demand: Demand,
    /// The size of a message in bytes, estimated from those seen so far.
    pub(super) message_bytes: usize,
    /// The number of steps by which pulling is slowed down.
    pub(super) slowdown: u32,
    /// A message was settled, so the number of pulls in flight is limited only by what they return.
    pub(super) is_trusted: bool,
    control: Control,
    changed: Changed,
    outage: Outage,
}

struct Started {
    asked: usize,
    at: Instant,
    span: Span,
}

/// What a pull returned, and the leases of its messages. They are extended even if nobody polls for the pull.
pub(super) type Returned = (Result<Batch, Error>, Vec<Hold>);

struct Rest {
    until: Pin<Box<Sleep>>,
    why: Why,
}

#[derive(Clone, Copy, PartialEq)]
enum Why {
    /// The rate allows no more.
    Rate,
    /// There was nothing to do: a message that arrives in the meantime ends it.
    Idle,
    /// The service asked for it, or pulling is slowed down.
    Asked,
}

/// A finished pull.
pub(super) struct Pulled {
    pub(super) returned: Returned,
    pub(super) span: Span,
}

impl Pulls {
    pub(super) fn new(queue: Queue, settings: &Settings, heartbeat: Heartbeat) -> Self {
        let rate = Arc::new(Rate::new("pulls", limits::PER_SECOND, limits::LEAST_PER_SECOND));
        Self {
            queue: queue.with_rate(Arc::clone(&rate)),
            heartbeat,
            options: settings.pull,
            min_idle: settings.min_idle.min(settings.max_idle).clamp(SHORTEST, AN_HOUR),
            max_idle: settings.max_idle.clamp(SHORTEST, AN_HOUR),
            limit: Adaptive::new(1, settings.max_pulls),
            held_back_at: None,
            rate,
            in_flight: Tasks::new(),
            asked: 0,
            left: settings.limit,
            idle_since: Instant::now(),
            emptied: None,
            failed: settings.min_idle.min(settings.max_idle).clamp(SHORTEST, AN_HOUR),
            last_failed: Duration::ZERO,
            rest: None,
            rested_at: None,
            round_trip: None,
            demand: Demand::new(),
            message_bytes: 0,
            slowdown: 0,
            is_trusted: false,
            changed: settings.control.changed(),
            control: settings.control.clone(),
            outage: Outage::default(),
        }
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// The last message was settled.
    pub(super) fn settled(&mut self) {
        self.idle_since = Instant::now();
        self.end_idle_rest();
    }

    fn end_idle_rest(&mut self) {
        self.rest.take_if(|rest| rest.why == Why::Idle);
    }

    /// Whether a pull that was sent so long after the last message came, or was settled, returned nothing.
    pub(super) fn is_idle_for(&self, time: Duration) -> bool {
        let idle = self.emptied.and_then(|sent| sent.checked_duration_since(self.idle_since));
        idle.is_some_and(|idle| idle >= time)
    }

    pub(super) fn round_trip(&self) -> Duration {
        self.round_trip.unwrap_or_default()
    }

    /// A handler has taken so many messages.
    pub(super) fn taken(&mut self, messages: usize) {
        self.demand.take(messages, self.round_trip());
    }

    /// How many messages handlers can be expected to take in the next round trip. Handlers that take messages without
    /// any time may soon be slower, so what they took so far is the measure.
    pub(super) fn demand(&self) -> usize {
        self.demand.within(self.round_trip()).saturating_mul(GROWTH)
    }

    /// How many messages fit into this many bytes: at least one.
    pub(super) fn most_in(&self, bytes: usize) -> usize {
        bytes.checked_div(self.message_bytes).unwrap_or(usize::MAX).max(1)
    }

    /// Takes the pulls in flight, to be awaited elsewhere.
    pub(super) fn take(&mut self) -> JoinSet<Returned> {
        self.in_flight.take()
    }

    /// Starts pulls for this many messages. No more than `target` should be on their way or waiting.
    pub(super) fn start(&mut self, mut room: usize, target: usize) {
        if self.control.is_paused() {
            return;
        }
        let full = (self.options.batch_size as usize).checked_shr(self.slowdown).unwrap_or(0).max(1);
        let most_in_flight = match (self.slowdown, self.is_trusted) {
            (0, true) => usize::MAX,
            (0, false) => UNTRUSTED,
            _ => 1,
        };
        while self.rest.is_none() && self.in_flight.len() < most_in_flight {
            let most = full.min(self.left.try_into().unwrap_or(usize::MAX));
            let batch = room.min(most);
            // Waits for a little more room, since a small batch costs as much as a large one.
            if batch == 0 || batch.saturating_mul(2) < target.min(most) {
                return;
            }
            if self.in_flight.len() >= self.limit.limit() {
                self.held_back_at = Some(Instant::now());
                return;
            }
            if let Some(until) = self.rate.wait() {
                self.rest = Some(Rest { until: Box::pin(sleep_until(until)), why: Why::Rate });
                return;
            }
            room = room.saturating_sub(batch);
            self.start_one(batch);
        }
    }

    fn start_one(&mut self, batch: usize) {
        let (queue, options) = (self.queue.clone(), self.options.batch_size(batch.try_into().unwrap_or(u32::MAX)));
        let span = tracing::info_span!(
            "receive",
            otel.kind = "client",
            messaging.system = "cloudflare_queues",
            messaging.operation.name = "receive",
            messaging.destination.name = self.queue.id().as_str(),
            messaging.batch.message_count = field::Empty,
        );
        let heartbeat = self.heartbeat.clone();
        let pull = async move {
            let mut result = queue.pull(options).await;
            let messages = result.iter_mut().flat_map(|batch| &mut batch.messages);
            let holds = messages.map(|message| heartbeat.hold(message)).collect();
            (result, holds)
        };
        let pull = pull.instrument(span.clone());
        self.in_flight.spawn(Started { asked: batch, at: Instant::now(), span }, pull);
        self.rate.request(batch);
        self.asked = self.asked.saturating_add(batch);
        self.left = self.left.saturating_sub(batch as u64);
    }

    /// The end of a pull, or `None` at the end of a rest, or if the control was changed.
    pub(super) fn poll(&mut self, context: &mut Context<'_>, counter: &Counter) -> Poll<Option<Pulled>> {
        if let Poll::Ready(Some((started, returned))) = self.in_flight.poll_ended(context) {
            let returned = returned.unwrap_or_else(|| (Err(Error::invalid("the pull panicked")), Vec::new()));
            let result = &returned.0;
            self.asked = self.asked.saturating_sub(started.asked);
            let pulled = result.as_ref().map_or(0, |batch| batch.len());
            self.left = self.left.saturating_add(started.asked.saturating_sub(pulled) as u64);
            self.learn(&started, result, counter);
            return Poll::Ready(Some(Pulled { returned, span: started.span }));
        }
        if self.changed.as_mut().poll(context).is_ready() {
            self.changed = self.control.changed();
            self.end_idle_rest();
            return Poll::Ready(None);
        }
        let has_ended = self.rest.as_mut().is_some_and(|rest| rest.until.as_mut().poll(context).is_ready());
        if !has_ended {
            return Poll::Pending;
        }
        self.rest = None;
        Poll::Ready(None)
    }

    fn learn(&mut self, started: &Started, result: &Result<Batch, Error>, counter: &Counter) {
        let now = Instant::now();
        match result {
            Ok(batch) => {
                // Without failed attempts and the waits after them.
                let took = now.saturating_duration_since(batch.trip.sent_at.unwrap_or(started.at));
                self.round_trip = Some(self.round_trip.map_or(took, |average| (average * 3 + took) / 4));
                if let Some(failures) = self.outage.on_success() {
                    tracing::info!(failures, "pulling works again");
                }
                counter.pulled(batch);
                self.rate.on_success(started.asked, batch.len());
                started.span.record("messaging.batch.message_count", batch.len());
                if batch.is_empty() {
                    self.limit.on_idle();
                    self.emptied = Some(started.at);
                    self.failed = self.min_idle;
                    self.begin_rest(self.idle_rest(), Why::Idle);
                    return;
                }
                self.brought(batch, started);
            }
            Err(error) => {
                // The rate was told of the others.
                if Setback::of(error) != Setback::RateLimit {
                    self.limit.on_failure();
                }
                if let Some(failures) = self.outage.on_failure(now) {
                    tracing::warn!(failures, %error, "pulling fails");
                }
                counter.pull_failed(error);
                self.rest_after_failure(started.at, retry::pause_after(error));
            }
        }
    }

    fn brought(&mut self, batch: &Batch, started: &Started) {
        let is_needed = self.held_back_at.is_some_and(|held_back_at| held_back_at >= started.at);
        let has_slack = batch.len().saturating_mul(2) < started.asked;
        match batch.trip.setback {
            // The rate was told.
            Setback::RateLimit => {}
            // It succeeded, but not at first.
            Setback::Failure => self.limit.on_failure(),
            Setback::None if has_slack => self.limit.on_slack(),
            Setback::None => self.limit.on_success(is_needed),
        }
        let bytes: usize = batch.iter().map(|message| message.body.len().saturating_add(MESSAGE_BYTES)).sum();
        let mean = bytes / batch.len().max(1);
        self.message_bytes = mean.max(self.message_bytes.saturating_sub(self.message_bytes.saturating_sub(mean) / 8));
        (self.idle_since, self.failed) = (Instant::now(), self.min_idle);
        self.end_idle_rest();
        self.begin_rest(self.slowed_rest(), Why::Asked);
    }

    fn rest_after_failure(&mut self, sent_at: Instant, at_least: Duration) {
        let is_next = self.rested_at.is_none_or(|rested_at| sent_at > rested_at);
        if is_next {
            self.last_failed = self.failed;
        }
        // Pulls that were in flight with the first failed one restart the pause, but do not make it longer.
        let why = if at_least.is_zero() { Why::Idle } else { Why::Asked };
        self.begin_rest(self.last_failed.max(self.idle_rest()).max(at_least), why);
        if is_next {
            self.failed = self.failed.saturating_mul(2).min(self.max_idle);
        }
    }

    /// The longer no message has come, the less does it matter how soon the next one is noticed.
    fn idle_rest(&self) -> Duration {
        let part = self.idle_since.elapsed() / IDLE_PART;
        part.max(self.min_idle).min(self.max_idle).max(self.slowed_rest())
    }

    fn slowed_rest(&self) -> Duration {
        if self.slowdown == 0 {
            return Duration::ZERO;
        }
        self.min_idle.saturating_mul(1 << self.slowdown.min(31)).min(self.max_idle)
    }

    fn begin_rest(&mut self, rest: Duration, why: Why) {
        let rest = rest.min(AN_HOUR);
        let now = Instant::now();
        let before = self.rest.as_ref().map(|before| (before.until.deadline(), before.why));
        if !rest.is_zero() && before.is_none_or(|(ends, _)| ends < now + rest) {
            let why = before.map(|(_, why)| why).filter(|why| *why == Why::Asked).unwrap_or(why);
            self.rested_at = Some(now);
            self.rest = Some(Rest { until: Box::pin(sleep(rest)), why });
        }
    }
}

/// Whether a failure needs human intervention.
pub(super) fn is_final(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Unauthorized | ErrorKind::NotFound)
}

/// Shorter times would be noise.
const NOISE: Duration = Duration::from_millis(1);

/// Counts the messages that handlers take, round trip by round trip.
#[derive(Debug)]
struct Demand {
    since: Instant,
    taken: usize,
    /// How many were taken in the previous round trip.
    before: usize,
}

impl Demand {
    fn new() -> Self {
        Self { since: Instant::now(), taken: 0, before: 0 }
    }

    /// A handler has taken so many messages.
    fn take(&mut self, messages: usize, round_trip: Duration) {
        if self.since.elapsed() >= round_trip.max(NOISE) {
            (self.before, self.taken, self.since) = (self.recent(round_trip), 0, Instant::now());
        }
        self.taken = self.taken.saturating_add(messages);
    }

    /// The most that were taken within a round trip lately.
    fn within(&self, round_trip: Duration) -> usize {
        let is_recent = self.since.elapsed() < 2 * round_trip.max(NOISE);
        self.recent(round_trip).max(if is_recent { self.before } else { 0 })
    }

    /// How many were taken within the last round trip, on average if the count goes back further.
    fn recent(&self, round_trip: Duration) -> usize {
        let part = round_trip.max(NOISE).div_duration_f64(self.since.elapsed());
        (self.taken as f64 * part.min(1.0)) as usize
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    const ROUND_TRIP: Duration = Duration::from_millis(100);

    #[tokio::test(start_paused = true)]
    async fn messages_taken_in_the_last_round_trips_count() {
        let mut demand = Demand::new();
        assert_eq!(demand.within(ROUND_TRIP), 0);
        demand.take(30, ROUND_TRIP);
        assert_eq!(demand.within(ROUND_TRIP), 30);
        sleep(ROUND_TRIP).await;
        demand.take(10, ROUND_TRIP);
        assert_eq!(demand.within(ROUND_TRIP), 30);
        sleep(ROUND_TRIP).await;
        demand.take(1, ROUND_TRIP);
        assert_eq!(demand.within(ROUND_TRIP), 10, "what was taken before is forgotten");
    }

    #[tokio::test(start_paused = true)]
    async fn handlers_of_many_round_trips_count_in_part() {
        let mut demand = Demand::new();
        demand.take(100, ROUND_TRIP);
        sleep(10 * ROUND_TRIP).await;
        assert_eq!((demand.within(ROUND_TRIP), demand.within(Duration::ZERO)), (10, 0));
    }
}
