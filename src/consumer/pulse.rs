//! A heartbeat that beats by itself, since nobody polls for messages that a stream has given out, nor for dead letters
//! of a run that was dropped.

use std::{
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Poll, Waker},
};

use tokio::task::AbortHandle;

use super::{heartbeat::Heartbeat, recorder::Counter};
use crate::message::Message;

/// Extends leases until its last clone is dropped, or the lease is released.
#[derive(Clone)]
pub(super) struct Pulse(Arc<Beating>);

struct Beating {
    state: Arc<Mutex<State>>,
    task: AbortHandle,
}

struct State {
    heartbeat: Heartbeat,
    /// Wakes the task, unless it is awake already.
    waker: Option<Waker>,
}

impl Pulse {
    pub(super) fn new(heartbeat: Heartbeat, counter: Counter) -> Self {
        let state = Arc::new(Mutex::new(State { heartbeat, waker: None }));
        let beating = Arc::clone(&state);
        let beat = poll_fn(move |context| {
            let mut state = lock(&beating);
            state.waker = Some(context.waker().clone());
            state.heartbeat.poll(context, &counter);
            Poll::<()>::Pending
        });
        Self(Arc::new(Beating { state, task: tokio::spawn(beat).abort_handle() }))
    }

    /// Holds the lease of a message that was pulled; the key ends that.
    pub(super) fn hold(&self, message: &mut Message) -> u64 {
        let mut state = lock(&self.0.state);
        let (key, waker) = (state.heartbeat.hold(message), state.waker.take());
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        key
    }

    pub(super) fn work_on(&self, key: u64, is_worked_on: bool) {
        lock(&self.0.state).heartbeat.work_on(key, is_worked_on);
    }

    pub(super) fn release(&self, key: u64) {
        lock(&self.0.state).heartbeat.release(key);
    }
}

impl Drop for Beating {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
