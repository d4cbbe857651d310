//! One runtime a schedule, which can be stopped.

use std::{
    error::Error,
    fmt,
    future::{Future, poll_fn},
    pin::pin,
};

use crate::task::{self, JoinHandle};

/// Runs a schedule, by a clock that is patient or not.
pub fn run<F: Future>(is_patient: bool, future: F) -> F::Output {
    task::reset();
    crate::time::start(is_patient);
    shuttle::future::block_on(async {
        let mut future = pin!(future);
        poll_fn(|context| {
            task::count_poll();
            future.as_mut().poll(context)
        })
        .await
    })
}

/// Drops every spawned task at the point where it waits, in an order that the schedule chooses.
pub fn stop() {
    task::stop();
}

#[derive(Clone, Debug)]
pub struct Handle(());

#[derive(Debug)]
pub struct TryCurrentError(());

impl fmt::Display for TryCurrentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("there is no runtime")
    }
}

impl Error for TryCurrentError {}

impl Handle {
    pub fn current() -> Self {
        Self(())
    }

    pub fn try_current() -> Result<Self, TryCurrentError> {
        if crate::is_within() { Ok(Self(())) } else { Err(TryCurrentError(())) }
    }

    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        task::spawn(future)
    }
}
