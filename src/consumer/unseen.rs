//! Messages whose deliveries were used up although no handler saw them.

use std::{
    collections::BTreeMap,
    mem,
    sync::{Arc, Mutex, MutexGuard},
};

use super::recorder::Counter;
use crate::flow::contained::lock;

/// More attempts than this are told apart no further. A queue redelivers a message at most 100 times.
const MOST_ATTEMPTS: u32 = 1000;

/// Shared by a run or a stream with its messages, and with pulls that outlast it.
#[derive(Clone)]
pub(super) struct Unseen(Arc<Inner>);

struct Inner {
    counter: Counter,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// How often the queue delivers a message, once that is known.
    deliveries: Option<u32>,
    /// Until then, how many messages no handler saw, by their attempts.
    waiting: BTreeMap<u32, u64>,
    counted: u64,
    has_ended: bool,
}

impl Unseen {
    pub(super) fn new(counter: Counter, max_retries: Option<u32>) -> Self {
        let deliveries = max_retries.map(|retries| retries.saturating_add(1));
        Self(Arc::new(Inner { counter, state: Mutex::new(State { deliveries, ..State::default() }) }))
    }

    /// The queue redelivers a message so often.
    pub(super) fn learn(&self, max_retries: u32) {
        let mut state = lock(&self.0.state);
        let deliveries = max_retries.saturating_add(1);
        state.deliveries = Some(deliveries);
        let messages = mem::take(&mut state.waiting).range(deliveries..).map(|(_, messages)| messages).sum();
        self.count(state, messages);
    }

    /// Whether the service will not deliver a message again. `false` if that is not known.
    pub(super) fn is_last(&self, attempts: Option<u32>) -> bool {
        attempts.zip(lock(&self.0.state).deliveries).is_some_and(|(attempts, deliveries)| attempts >= deliveries)
    }

    /// Whether it is still unknown whether some of the messages were at their last delivery.
    pub(super) fn is_open(&self) -> bool {
        !lock(&self.0.state).waiting.is_empty()
    }

    /// No handler has seen a message, and none will at this delivery.
    pub(super) fn add(&self, attempts: Option<u32>) {
        let (Some(attempts), mut state) = (attempts, lock(&self.0.state)) else { return };
        match state.deliveries {
            Some(deliveries) if attempts >= deliveries => self.count(state, 1),
            Some(_) => {}
            None => {
                let messages = state.waiting.entry(attempts.min(MOST_ATTEMPTS)).or_default();
                *messages = messages.saturating_add(1);
            }
        }
    }

    /// The run or the stream has ended.
    pub(super) fn end(&self) {
        let mut state = lock(&self.0.state);
        if !mem::replace(&mut state.has_ended, true) {
            state.warn();
        }
    }

    fn count(&self, mut state: MutexGuard<'_, State>, messages: u64) {
        let before = state.counted;
        state.counted = before.saturating_add(messages);
        // Those of pulls that were in flight at the end arrive one by one.
        if state.has_ended && state.counted.checked_ilog2() != before.checked_ilog2() {
            state.warn();
        }
        drop(state);
        if messages > 0 {
            self.0.counter.count(|stats| stats.unseen += messages);
        }
    }
}

impl State {
    fn warn(&self) {
        let unseen = self.counted;
        if unseen > 0 {
            tracing::warn!(unseen, "messages were pulled at their last delivery, and no handler saw them");
        }
    }
}
