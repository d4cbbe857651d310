//! One pull after the other, with a rest after those that bring nothing.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Sleep, sleep};

use super::Settings;
use crate::{
    error::Error,
    error_kind::ErrorKind,
    pull::{Batch, PullOptions},
    queue::Queue,
};

/// Longer rests could not be added to a clock.
const AN_HOUR: Duration = Duration::from_secs(60 * 60);

pub(super) struct Puller {
    queue: Queue,
    min_idle: Duration,
    max_idle: Duration,
    /// The rest after the next pull that brings nothing.
    idle: Duration,
    state: State,
}

enum State {
    Ready,
    Pulling(Pin<Box<dyn Future<Output = Result<Batch, Error>> + Send>>),
    Resting(Pin<Box<Sleep>>),
}

impl Puller {
    pub(super) fn new(queue: Queue, options: &Settings) -> Self {
        let Settings { min_idle, max_idle, .. } = *options;
        Self { queue, min_idle, max_idle, idle: min_idle, state: State::Ready }
    }

    pub(super) fn is_ready(&self) -> bool {
        matches!(self.state, State::Ready)
    }

    pub(super) fn is_pulling(&self) -> bool {
        matches!(self.state, State::Pulling(_))
    }

    /// Begins a pull, which [`poll`](Self::poll) goes on with.
    pub(super) fn start(&mut self, options: PullOptions) {
        let queue = self.queue.clone();
        self.state = State::Pulling(Box::pin(async move { queue.pull(options).await }));
    }

    /// The end of the present pull, or `None` at the end of a rest.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Batch, Error>>> {
        let result = match &mut self.state {
            State::Ready => return Poll::Pending,
            State::Resting(rest) => {
                ready!(rest.as_mut().poll(context));
                self.state = State::Ready;
                return Poll::Ready(None);
            }
            State::Pulling(pull) => ready!(pull.as_mut().poll(context)),
        };
        self.state = match &result {
            Ok(batch) if !batch.is_empty() => {
                self.idle = self.min_idle;
                State::Ready
            }
            Ok(_) => self.rest(Duration::ZERO),
            Err(error) => self.rest(error.retry_after().unwrap_or_default()),
        };
        Poll::Ready(Some(result))
    }

    fn rest(&mut self, at_least: Duration) -> State {
        let rest = self.idle.max(at_least).min(AN_HOUR);
        self.idle = self.idle.saturating_mul(2).min(self.max_idle);
        State::Resting(Box::pin(sleep(rest)))
    }
}

/// Whether only a person can mend what a pull failed for.
pub(super) fn is_final(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Unauthorized | ErrorKind::NotFound)
}
