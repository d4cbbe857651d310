//! What becomes of the messages that a run or a stream holds: each is counted once, and failures slow down pulling.

use std::{
    collections::HashMap,
    mem,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    time::Duration,
};

use super::{
    acks::Acks,
    brake::Brake,
    pulls::MESSAGE_BYTES,
    recorder::{Counter, Gauges},
    stats::Stats,
};
use crate::{
    acker::{Confirmation, Observer},
    error::Error,
    flow::contained::lock,
    message::{ack::AckRequest, settlement::Settlement},
};

/// How many unconfirmed leases a report holds.
const MOST_UNCONFIRMED: usize = 10_000;

/// Shared by a run or a stream with its messages, which may outlive it.
#[derive(Clone)]
pub(super) struct Outcomes(Arc<Inner>);

struct Inner {
    counter: Counter,
    state: Mutex<State>,
}

struct State {
    /// Messages whose outcome is not known. What is taken from here is counted.
    open: HashMap<u64, Open>,
    settling: usize,
    /// The size of the messages that are held.
    bytes: usize,
    acks: Acks,
    /// Slows down pulling while handlers fail, or while deliveries are dropped unsettled.
    handlers: Brake,
    /// `None` if there is no report.
    unconfirmed: Option<AckRequest>,
    has_confirmed: bool,
    /// `None` once the run or the stream has ended.
    gauges: Option<Gauges>,
    has_changed: bool,
    /// Wakes the task of the run or the stream.
    waker: Option<Waker>,
}

/// A message whose outcome is not known.
enum Open {
    /// It waits, or someone works on it.
    Held,
    /// It is acknowledged or retried.
    Settling(Settlement),
    /// It is pushed to the dead-letter queue.
    DeadLetter,
    /// It was pushed there, and is acknowledged.
    DeadLettered(Settlement),
}

impl Outcomes {
    /// `unconfirmed` collects leases for a report.
    pub(super) fn new(counter: Counter, handlers: Brake, unconfirmed: Option<AckRequest>, linger: Duration) -> Self {
        let state = State {
            open: HashMap::new(),
            settling: 0,
            bytes: 0,
            acks: Acks::new(linger),
            handlers,
            unconfirmed,
            has_confirmed: false,
            gauges: Some(Gauges::default()),
            has_changed: false,
            waker: None,
        };
        Self(Arc::new(Inner { counter, state: Mutex::new(state) }))
    }

    pub(super) fn counter(&self) -> &Counter {
        &self.0.counter
    }

    /// A message was pulled.
    pub(super) fn open(&self, key: u64, bytes: usize) {
        let mut state = lock(&self.0.state);
        state.open.insert(key, Open::Held);
        state.bytes = state.bytes.saturating_add(bytes);
    }

    /// So many bytes are held no longer.
    pub(super) fn free(&self, bytes: usize) {
        if bytes > 0 {
            let mut state = lock(&self.0.state);
            state.bytes = state.bytes.saturating_sub(bytes);
        }
    }

    /// The bytes that are held, with those that settling takes.
    pub(super) fn bytes(&self) -> usize {
        let state = lock(&self.0.state);
        state.bytes.saturating_add(state.settling.saturating_mul(MESSAGE_BYTES))
    }

    /// Whether the outcome of any message is not known.
    pub(super) fn is_any_open(&self) -> bool {
        !lock(&self.0.state).open.is_empty()
    }

    /// How many messages are being settled.
    pub(super) fn settling(&self) -> usize {
        lock(&self.0.state).settling
    }

    /// Whether the service has confirmed anything.
    pub(super) fn has_confirmed(&self) -> bool {
        lock(&self.0.state).has_confirmed
    }

    /// The number of steps by which pulling is slowed down.
    pub(super) fn step(&self) -> u32 {
        lock(&self.0.state).step()
    }

    /// A failure that needs human intervention.
    pub(super) fn error(&self) -> Option<Error> {
        lock(&self.0.state).acks.error()
    }

    /// Whether anything was settled since the last call. Otherwise the task is woken once it is.
    pub(super) fn poll_changed(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut state = lock(&self.0.state);
        if mem::take(&mut state.has_changed) {
            return Poll::Ready(());
        }
        if state.waker.as_ref().is_none_or(|waker| !waker.will_wake(context.waker())) {
            state.waker = Some(context.waker().clone());
        }
        Poll::Pending
    }

    /// A handler has finished, or a delivery was settled or dropped.
    pub(super) fn handled(&self, has_failed: bool) {
        lock(&self.0.state).handlers.record(has_failed);
    }

    /// Counts the message, unless it was counted before.
    pub(super) fn close(&self, key: u64, count: impl Fn(&mut Stats)) {
        if lock(&self.0.state).open.remove(&key).is_some() {
            self.0.counter.count(count);
            self.changed();
        }
    }

    /// Whether the message has no outcome yet.
    pub(super) fn is_open(&self, key: u64) -> bool {
        lock(&self.0.state).open.contains_key(&key)
    }

    /// A settlement is submitted. The returned observer sees the outcome.
    pub(super) fn settle(&self, key: u64, settlement: Settlement) -> Observer {
        let mut state = lock(&self.0.state);
        match state.open.get_mut(&key) {
            Some(message @ Open::DeadLetter) => *message = Open::DeadLettered(settlement),
            Some(message) => {
                *message = Open::Settling(settlement);
                state.begin();
            }
            None => {}
        }
        drop(state);
        self.gauge(|_| ());
        let outcomes = self.clone();
        Box::new(move |outcome| outcomes.settled(key, outcome))
    }

    /// The push of a dead letter begins. Until its message is acknowledged, or the push fails, it counts as settling.
    pub(super) fn dead_letter(&self, key: u64) {
        let mut state = lock(&self.0.state);
        if let Some(message) = state.open.get_mut(&key) {
            *message = Open::DeadLetter;
            state.begin();
        }
        drop(state);
        self.gauge(|_| ());
    }

    /// A dead letter could not be pushed, or its push was dropped, so nothing is sent for its lease.
    pub(super) fn not_pushed(&self, key: u64, error: Option<&Error>) {
        let mut state = lock(&self.0.state);
        if state.open.remove(&key).is_none() {
            return;
        }
        state.end();
        if error.is_some() {
            state.acks.not_begun();
        }
        drop(state);
        match error {
            Some(error) => self.0.counter.not_pushed(error),
            None => self.0.counter.count(|stats| stats.left += 1),
        }
        self.changed();
    }

    /// The run or the stream has ended: its gauges are zero.
    pub(super) fn end(&self) {
        if let Some(before) = lock(&self.0.state).gauges.take() {
            self.0.counter.gauge(before, Gauges::default());
        }
    }

    /// The run has ended: what has no outcome yet is counted as left or as unconfirmed. Returns the unconfirmed leases,
    /// and the keys of messages that are still held.
    pub(super) fn end_all(&self) -> (AckRequest, Vec<u64>) {
        let mut state = lock(&self.0.state);
        let (mut held, mut left) = (Vec::new(), 0);
        for (key, message) in mem::take(&mut state.open) {
            match message {
                Open::Settling(settlement) => self.keep(&mut state, settlement),
                // A dead letter that may not have been pushed must not be acknowledged when the report's leases are
                // sent again.
                Open::DeadLetter | Open::DeadLettered(_) => left += 1,
                Open::Held => {
                    left += 1;
                    held.push(key);
                }
            }
        }
        let unconfirmed = state.unconfirmed.take().unwrap_or_default();
        drop(state);
        self.0.counter.count(|stats| stats.left += left);
        (unconfirmed, held)
    }

    fn settled(&self, key: u64, outcome: &Result<Confirmation, Error>) {
        let mut state = lock(&self.0.state);
        let (settlement, is_dead_letter) = match state.open.remove(&key) {
            Some(Open::Settling(settlement)) => (settlement, false),
            Some(Open::DeadLettered(settlement)) => (settlement, true),
            Some(Open::Held | Open::DeadLetter) | None => return,
        };
        state.end();
        match outcome {
            Ok(confirmation) if !confirmation.is_doubtful() => {
                state.has_confirmed = true;
                state.acks.confirmed();
                self.0.counter.settled(settlement.decision, is_dead_letter, confirmation);
            }
            // It may be settled, or not: nothing is evident against the service, which settles what can be settled.
            Ok(confirmation) if !confirmation.is_failure() => {
                state.has_confirmed = true;
                state.acks.answered();
                self.keep(&mut state, settlement);
            }
            outcome => {
                let error = outcome.as_ref().err();
                state.acks.not_confirmed(error);
                self.keep(&mut state, settlement);
                if let Some(error) = error {
                    self.0.counter.failed(error);
                }
            }
        }
        drop(state);
        self.changed();
    }

    /// Counts an unconfirmed lease, and keeps it for the report, unless there are too many.
    fn keep(&self, state: &mut State, settlement: Settlement) {
        self.0.counter.count(|stats| stats.unconfirmed += 1);
        if let Some(unconfirmed) = state.unconfirmed.as_mut().filter(|kept| kept.len() < MOST_UNCONFIRMED) {
            unconfirmed.extend([settlement]);
        }
    }

    fn changed(&self) {
        self.gauge(|_| ());
        let mut state = lock(&self.0.state);
        state.has_changed = true;
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Records a change.
    pub(super) fn gauge(&self, change: impl FnOnce(&mut Gauges)) {
        let mut state = lock(&self.0.state);
        let Some(before) = state.gauges else { return };
        let mut now = Gauges {
            slowdown: state.step(),
            acks_fail: state.acks.step() > 0,
            unsettled: state.acks.unsettled(),
            ..before
        };
        change(&mut now);
        state.gauges = Some(now);
        self.0.counter.gauge(before, now);
    }
}

impl State {
    fn step(&self) -> u32 {
        self.handlers.step.max(self.acks.step())
    }

    fn begin(&mut self) {
        self.settling = self.settling.saturating_add(1);
        self.acks.begin();
    }

    fn end(&mut self) {
        self.settling = self.settling.saturating_sub(1);
        self.acks.end();
    }
}
#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Barrier,
            atomic::{AtomicBool, Ordering},
        },
        thread,
        time::Duration,
    };

    use tokio::time::{Instant, sleep};

    use super::*;
    use crate::{
        consumer::{acks::STALLED, recorder::Total},
        emulator::Emulator,
        test_world::is_every_case_wanted,
    };

    #[tokio::test(start_paused = true)]
    async fn a_stream_shows_since_when_acknowledgements_are_unsettled_and_fail() {
        let total = Total::new(&Emulator::in_process().queue().unwrap());
        let counter = Counter::new(&total, Duration::ZERO);
        let outcomes = Outcomes::new(counter.clone(), Brake::new("", 0.5), None, Duration::ZERO);
        let state = || {
            let state = total.states().remove(0);
            (outcomes.settling() > 0, state.acks_fail.counting())
        };
        let settle = |key| {
            outcomes.open(key, 0);
            outcomes.settle(key, Settlement::ack("a-lease"))
        };
        for key in 0..16 {
            let observe = settle(key);
            assert_eq!(state(), (true, None));
            observe(&Ok(Confirmation::Warned { text: "no".to_owned(), counted: Some(0), requested: 1 }));
        }
        assert_eq!(state(), (false, Some(Instant::now())));
        for key in 0..16 {
            settle(key)(&Ok(Confirmation::Confirmed));
        }
        assert_eq!(state(), (false, None));
        let (observe, _other) = (settle(16), settle(17));
        sleep(STALLED).await;
        assert_eq!(outcomes.step(), 1);
        observe(&Ok(Confirmation::Unclear { counted: 1, requested: 2 }));
        assert_eq!(outcomes.step(), 0, "it is an answer");
    }

    #[test]
    fn dropped_dead_letter_pushes_are_left_and_not_unsettled() {
        let total = Total::new(&Emulator::in_process().queue().unwrap());
        let counter = Counter::new(&total, Duration::ZERO);
        let outcomes = Outcomes::new(counter.clone(), Brake::new("", 0.5), None, Duration::ZERO);
        outcomes.open(7, 0);
        outcomes.dead_letter(7);
        assert_eq!(outcomes.settling(), 1);
        outcomes.not_pushed(7, None);
        assert_eq!(outcomes.settling(), 0);
        assert_eq!((counter.stats().left, counter.stats().dead_letter_failures), (1, 0));
    }

    #[test]
    fn outcomes_at_the_end_of_a_stream_leave_no_gauge() {
        let total = Total::new(&Emulator::in_process().queue().unwrap());
        let counter = Counter::new(&total, Duration::ZERO);
        for _ in 0..if is_every_case_wanted() { 1000 } else { 500 } {
            let (outcomes, barrier, has_ended) = (
                Outcomes::new(counter.clone(), Brake::new("", 0.5), None, Duration::ZERO),
                Barrier::new(3),
                AtomicBool::new(false),
            );
            (0..20).for_each(|_| outcomes.handled(true));
            let arrive = || {
                barrier.wait();
                while !has_ended.load(Ordering::Relaxed) {
                    outcomes.gauge(|gauges| gauges.waiting = 1);
                }
            };
            thread::scope(|scope| {
                scope.spawn(arrive);
                scope.spawn(arrive);
                barrier.wait();
                outcomes.end();
                has_ended.store(true, Ordering::Relaxed);
            });
            assert_eq!((counter.stats().slowdown, counter.stats().waiting), (0, 0));
        }
    }
}
