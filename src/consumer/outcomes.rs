//! The outcomes of a stream's messages, which can slow down or end the stream.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Waker,
};

use super::{
    acks::Acks,
    brake::Brake,
    recorder::{Counter, Gauges},
};
use crate::{
    acker::{Confirmation, Observer},
    error::Error,
    message::settlement::Decision,
};

/// Shared by a stream and its deliveries, which may outlive it.
#[derive(Clone)]
pub(super) struct Outcomes(Arc<Inner>);

struct Inner {
    counter: Counter,
    state: Mutex<State>,
}

struct State {
    acks: Acks,
    /// Slows down pulling while deliveries are dropped undecided.
    drops: Brake,
    /// `None` once the stream has ended.
    gauges: Option<Gauges>,
    /// Wakes the task that waits for the stream.
    waker: Option<Waker>,
}

impl Outcomes {
    pub(super) fn new(counter: Counter, bearable_failures: f64) -> Self {
        let drops = Brake::new("deliveries are dropped undecided", bearable_failures);
        let state = State { acks: Acks::new(), drops, gauges: Some(Gauges::default()), waker: None };
        Self(Arc::new(Inner { counter, state: Mutex::new(state) }))
    }

    pub(super) fn counter(&self) -> &Counter {
        &self.0.counter
    }

    /// The number of steps by which pulling is slowed down.
    pub(super) fn step(&self) -> u32 {
        let state = self.0.state();
        state.drops.step().max(state.acks.step())
    }

    /// A failure that needs human intervention. Otherwise the task is woken once there is one.
    pub(super) fn failure(&self, waker: &Waker) -> Option<Error> {
        let mut state = self.0.state();
        let failure = state.acks.error();
        state.waker = failure.is_none().then(|| waker.clone());
        failure
    }

    /// A delivery was decided on. It has failed if it was dropped undecided.
    pub(super) fn decided(&self, has_failed: bool) {
        self.0.state().drops.record(has_failed);
    }

    /// The push of a dead letter begins. Until its message is acknowledged, or the push fails, it counts as unsettled.
    pub(super) fn burying(&self) {
        self.0.state().acks.begin();
        self.0.gauge(|_| ());
    }

    /// A settlement is submitted. The returned observer sees the outcome.
    pub(super) fn observe(&self, decision: Decision, is_dead_letter: bool) -> Observer {
        if !is_dead_letter {
            self.0.state().acks.begin();
            self.0.gauge(|_| ());
        }
        let inner = Arc::clone(&self.0);
        Box::new(move |outcome| inner.settled(decision, is_dead_letter, outcome))
    }

    /// A dead letter could not be pushed, or its push was dropped, so nothing is submitted for its lease.
    pub(super) fn not_pushed(&self, error: Option<&Error>) {
        let mut state = self.0.state();
        state.acks.end();
        match error {
            Some(error) => {
                state.acks.not_begun();
                self.0.counter.not_pushed(error);
            }
            None => self.0.counter.count(|stats| stats.left += 1),
        }
        drop(state);
        self.0.gauge(|_| ());
    }

    pub(super) fn gauge(&self, change: impl FnOnce(&mut Gauges)) {
        self.0.gauge(change);
    }

    /// The stream has ended.
    pub(super) fn end(&self) {
        if let Some(before) = self.0.state().gauges.take() {
            self.0.counter.gauge(before, Gauges::default());
        }
    }
}

impl Inner {
    fn settled(&self, decision: Decision, is_dead_letter: bool, outcome: &Result<Confirmation, Error>) {
        let is_confirmed = matches!(outcome, Ok(Confirmation::Confirmed));
        match is_confirmed {
            true => self.counter.confirmed(decision, is_dead_letter),
            false => self.counter.count(|stats| stats.unconfirmed += 1),
        }
        let error = outcome.as_ref().err();
        if let Some(error) = error {
            self.counter.failed(error);
        }
        let mut state = self.state();
        state.acks.end();
        match is_confirmed {
            true => state.acks.confirmed(),
            false => state.acks.not_confirmed(error),
        }
        let waker = state.acks.has_error().then(|| state.waker.take()).flatten();
        drop(state);
        self.gauge(|_| ());
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Records a change.
    fn gauge(&self, change: impl FnOnce(&mut Gauges)) {
        let mut state = self.state();
        let Some(before) = state.gauges else { return };
        let mut now = Gauges {
            slowdown: state.drops.step().max(state.acks.step()),
            acks_fail: state.acks.step() > 0,
            unsettled: state.acks.unsettled(),
            ..before
        };
        change(&mut now);
        state.gauges = Some(now);
        self.counter.gauge(before, now);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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
    };

    use tokio::time::Instant;

    use super::*;
    use crate::{
        consumer::recorder::{Recorder, Total},
        emulator::Emulator,
    };

    #[tokio::test(start_paused = true)]
    async fn a_stream_shows_since_when_acknowledgements_are_unsettled_and_fail() {
        let total = Total::new(&Emulator::in_process().queue().unwrap());
        let recorder = Recorder::new(&total);
        let outcomes = Outcomes::new(recorder.handle(), 0.5);
        let state = || {
            let state = total.states().remove(0);
            (state.unsettled.is_some(), state.acks_fail)
        };
        for _ in 0..16 {
            let observe = outcomes.observe(Decision::Ack, false);
            assert_eq!(state(), (true, None));
            observe(&Ok(Confirmation::Warned("no".to_owned())));
        }
        assert_eq!(state(), (false, Some(Instant::now())));
        for _ in 0..16 {
            outcomes.observe(Decision::Ack, false)(&Ok(Confirmation::Confirmed));
        }
        assert_eq!(state(), (false, None));
    }

    #[test]
    fn a_dead_letter_whose_push_was_dropped_is_left_and_no_longer_unsettled() {
        let total = Total::new(&Emulator::in_process().queue().unwrap());
        let recorder = Recorder::new(&total);
        let outcomes = Outcomes::new(recorder.handle(), 0.5);
        outcomes.burying();
        assert!(total.states()[0].unsettled.is_some());
        outcomes.not_pushed(None);
        assert!(total.states()[0].unsettled.is_none());
        assert_eq!((recorder.stats().left, recorder.stats().dead_letter_failures), (1, 0));
    }

    #[test]
    fn an_outcome_that_arrives_while_a_stream_ends_does_not_leave_a_gauge_behind() {
        let total = Total::new(&Emulator::in_process().queue().unwrap());
        let recorder = Recorder::new(&total);
        for _ in 0..1000 {
            let (outcomes, barrier, has_ended) =
                (Outcomes::new(recorder.handle(), 0.5), Barrier::new(3), AtomicBool::new(false));
            (0..20).for_each(|_| outcomes.decided(true));
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
            assert_eq!((recorder.stats().slowdown, recorder.stats().waiting), (0, 0));
        }
    }
}
