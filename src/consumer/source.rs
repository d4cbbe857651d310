//! Messages that were pulled and wait, and the pulls that fetch more: what a run and a stream have in common.

use std::{
    collections::VecDeque,
    mem,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{task::JoinSet, time::Instant};
use tracing::Span;

use super::{
    Stats, Unsettled,
    brake::Brake,
    delivery::{Delivery, Origin},
    heartbeat::Heartbeat,
    outcomes::Outcomes,
    pulls::{Pulls, is_final},
    recorder::{Counter, Total},
    settings::Settings,
    unseen::Unseen,
};
use crate::{
    acker::handle::Acker,
    error::Error,
    flow::contained::discard_error,
    manage::ConsumerKind,
    message::{ack::AckRequest, limits, settlement::Settlement},
    queue::Queue,
};

pub(super) struct Source {
    queue: Queue,
    pulls: Pulls,
    waiting: VecDeque<Waiting>,
    /// Messages at their last delivery wait apart, since they are started first.
    last: VecDeque<Waiting>,
    /// Asks the service how often the queue delivers a message. Returns whether to ask again.
    asking: JoinSet<bool>,
    /// When to ask, once messages arrive, and how often that was done.
    ask_at: Option<Instant>,
    asked: u32,
    /// Whether messages had no outcome yet, as far as was looked.
    was_open: bool,
    counter: Counter,
    origin: Arc<Origin>,
}

/// A message that was pulled and that nobody works on.
pub(super) struct Waiting {
    pub(super) delivery: Delivery,
    pub(super) since: Instant,
    /// The span of its pull.
    pub(super) pull: Span,
}

impl Source {
    /// `unconfirmed` collects the leases of a report.
    pub(super) fn new(
        queue: Queue,
        settings: Settings,
        total: &Total,
        failures: &'static str,
        unconfirmed: Option<AckRequest>,
    ) -> Result<Self, Error> {
        limits::pull(&settings.pull)?;
        // In any case, since ids are hexadecimal.
        let is_same = |one: &str, other: &str| one.eq_ignore_ascii_case(other);
        let is_own = |dead: &Queue| {
            let of_account = is_same(dead.account_id().as_str(), queue.account_id().as_str());
            of_account && is_same(dead.id().as_str(), queue.id().as_str())
        };
        if settings.dead_letters.as_ref().is_some_and(is_own) {
            return Err(Error::invalid("dead_letters: it is the queue that is consumed"));
        }
        let acker = Acker::with_options(queue.clone(), settings.acker.clone())?;
        let counter = Counter::new(total, settings.pull.visibility_timeout);
        let brake = Brake::new(failures, settings.failure_threshold);
        let linger = settings.acker.linger;
        let origin = Origin {
            acker,
            heartbeat: Heartbeat::new(queue.clone(), &settings, counter.clone()),
            // No lease waits until it has expired.
            outcomes: Outcomes::new(counter.clone(), brake, unconfirmed, linger.min(settings.pull.visibility_timeout)),
            unseen: Unseen::new(counter.clone(), settings.max_retries),
            settings,
        };
        Ok(Self {
            pulls: Pulls::new(queue.clone(), &origin.settings, origin.heartbeat.clone()),
            queue,
            waiting: VecDeque::new(),
            last: VecDeque::new(),
            asking: JoinSet::new(),
            ask_at: origin.settings.max_retries.is_none().then(Instant::now),
            asked: 0,
            was_open: false,
            counter,
            origin: Arc::new(origin),
        })
    }

    pub(super) fn origin(&self) -> &Origin {
        &self.origin
    }

    pub(super) fn stats(&self) -> Stats {
        self.counter.stats()
    }

    pub(super) fn pulls(&mut self) -> &mut Pulls {
        &mut self.pulls
    }

    /// How many messages wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len().saturating_add(self.last.len())
    }

    /// Whether the run or the stream ends: as many messages were pulled as may be, or the queue is empty.
    pub(super) fn is_exhausted(&mut self) -> bool {
        (self.is_drained() || self.pulls.left == 0) && self.ahead() == 0
    }

    /// Whether no more messages may be pulled, or none came for as long as is set.
    pub(super) fn is_all_pulled(&self) -> bool {
        let is_idle = || self.origin.settings.until_empty.is_some_and(|idle| self.pulls.is_idle_for(idle));
        self.pulls.asked == 0 && (self.pulls.left == 0 || is_idle())
    }

    /// Whether the queue has returned nothing for as long as is set, after the last message was settled.
    fn is_drained(&mut self) -> bool {
        let Some(idle) = self.origin.settings.until_empty else { return false };
        let is_open = self.origin.outcomes.is_any_open();
        if mem::replace(&mut self.was_open, is_open) && !is_open {
            self.pulls.settled();
        }
        !is_open && self.pulls.is_idle_for(idle)
    }

    /// Since when the oldest one waits.
    pub(super) fn oldest(&self) -> Option<Instant> {
        let fronts = [self.last.front(), self.waiting.front()];
        fronts.into_iter().flatten().map(|waiting| waiting.since).min()
    }

    /// How many messages wait, or are on their way.
    pub(super) fn ahead(&self) -> usize {
        self.waiting().saturating_add(self.pulls.asked)
    }

    /// How many messages should wait or be on their way: those that are started within two round trips if one is
    /// started `each` time, and `now` if they can be started at once. Each message that waits and is not started costs
    /// one of its deliveries, and a pull of few messages costs no more than one of many.
    ///
    /// How long it takes now says little about how long it will take: what was started in the last round trips, and
    /// what can be started within half a lease, limit it, too.
    pub(super) fn target(&self, now: usize, each: Option<Duration>) -> usize {
        let Some(each) = each else { return now };
        let started_in = |time: Duration| time.as_secs_f64() / each.as_secs_f64().max(1e-9);
        // The fraction of a message is one, unless it is so small that its handler would hardly wait for it.
        let ahead = (started_in(2 * self.pulls.round_trip()) + 0.9) as usize;
        let in_time = started_in(self.origin.settings.pull.visibility_timeout / 2) as usize;
        ahead.min(self.pulls.demand()).min(in_time).max(now)
    }

    /// The next message whose lease is held: one at its last delivery, if there is one.
    pub(super) fn next(&mut self) -> Option<Waiting> {
        while let Some(next) = self.last.pop_front().or_else(|| self.waiting.pop_front()) {
            if !next.delivery.is_lost() {
                self.pulls.taken(1);
                return Some(next);
            }
            next.delivery.expire();
        }
        None
    }

    /// A message that was taken waits again, before all others that are started at the same time as it.
    pub(super) fn take_back(&mut self, delivery: Delivery) {
        let waiting = Waiting { delivery, since: Instant::now(), pull: Span::none() };
        // The others are in order already.
        self.queue_of(&waiting).push_front(waiting);
    }

    /// The end of a pull or of a pause. A failure that needs human intervention is returned.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if let Poll::Ready(Some(may_ask)) = self.asking.poll_join_next(context) {
            let may_ask = may_ask.map_err(discard_error).unwrap_or(true);
            let wait = ASK_AGAIN.saturating_mul(2_u32.saturating_pow(self.asked));
            self.asked = self.asked.saturating_add(1);
            self.ask_at = Some(Instant::now() + wait).filter(|_| may_ask && self.asked < MOST_ASKED);
            let waiting = mem::take(&mut self.waiting);
            waiting.into_iter().for_each(|waiting| self.wait(waiting));
        }
        let Some(pulled) = ready!(self.pulls.poll(context, &self.counter)) else { return Poll::Ready(Ok(())) };
        let (result, holds) = pulled.returned;
        Poll::Ready(match result {
            Ok(batch) => {
                if !batch.is_empty() && self.ask_at.take_if(|at| *at <= Instant::now()).is_some() {
                    self.asking.spawn(ask(self.queue.clone(), self.origin.unseen.clone()));
                }
                self.was_open |= !batch.is_empty();
                for (message, hold) in batch.into_iter().zip(holds) {
                    let delivery = Delivery::new(message, hold, &self.origin);
                    self.wait(Waiting { delivery, since: Instant::now(), pull: pulled.span.clone() });
                }
                Ok(())
            }
            Err(error) if is_final(&error) => Err(error),
            Err(_) => Ok(()),
        })
    }

    fn wait(&mut self, waiting: Waiting) {
        self.queue_of(&waiting).push_back(waiting);
    }

    fn queue_of(&mut self, waiting: &Waiting) -> &mut VecDeque<Waiting> {
        if waiting.delivery.is_last() { &mut self.last } else { &mut self.waiting }
    }

    /// How many handlers run, and how many may.
    pub(super) fn gauge(&self, handlers_running: usize, concurrency: usize) {
        self.origin.outcomes.gauge(|gauges| {
            gauges.pulls_in_flight = self.pulls.in_flight() as u64;
            gauges.waiting = self.waiting() as u64;
            gauges.handlers_running = handlers_running as u64;
            gauges.concurrency = u32::try_from(concurrency).unwrap_or(u32::MAX).into();
            gauges.is_full = concurrency > 0 && handlers_running >= concurrency;
            gauges.is_paused = self.origin.settings.control.is_paused();
        });
    }

    /// Nobody will work on the messages that wait: they are unsettled. Those at their last delivery may still be
    /// started.
    pub(super) fn release(&mut self) {
        self.waiting.clear();
    }

    /// Nobody will work on any of them.
    pub(super) fn release_all(&mut self) {
        self.waiting.clear();
        self.last.clear();
    }

    /// Stops pulling. All messages that wait, and those of pulls in flight, are unsettled.
    pub(super) fn stop(&mut self) {
        self.release_all();
        let (pulls, unseen) = (self.pulls.take(), &self.origin.unseen);
        // The answer still tells how many of those that no handler saw were at their last delivery.
        if unseen.is_open() || !pulls.is_empty() {
            self.asking.detach_all();
        }
        self.asking.abort_all();
        if self.origin.settings.unsettled == Unsettled::Retry {
            let unseen = unseen.clone();
            self.origin.acker.hand_back(pulls, move |acker, (result, holds)| {
                for (message, hold) in result.into_iter().flatten().zip(holds) {
                    unseen.add(message.attempts);
                    let settlement = Settlement::retry_in(message, Duration::ZERO);
                    match hold.release() {
                        Some(extended) => drop(acker.settle_after(extended, settlement, Box::new(|_| ()))),
                        None => acker.submit_detached(settlement, None, true),
                    }
                }
            });
        }
        unseen.end();
        self.counter.end();
    }
}

/// How long to wait before asking again, which doubles, and how often to ask.
const ASK_AGAIN: Duration = Duration::from_secs(10);
const MOST_ASKED: u32 = 6;

/// Asks how often the queue delivers a message. The service may not say, for example to a token that may not manage
/// queues. Returns whether to ask again.
async fn ask(queue: Queue, unseen: Unseen) -> bool {
    let consumers = match queue.consumers().await {
        Ok(consumers) => consumers,
        Err(error) => {
            tracing::info!(%error, "it is not known which messages are at their last delivery");
            return error.is_transient();
        }
    };
    let pulling = consumers.iter().find(|consumer| consumer.kind() == ConsumerKind::HttpPull);
    pulling.and_then(|consumer| consumer.max_retries()).into_iter().for_each(|retries| unseen.learn(retries));
    false
}
