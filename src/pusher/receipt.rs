//! What happened to the messages of a pusher.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::sync::oneshot::{self, error::TryRecvError};

use crate::{
    error::{Error, is_its_error, kind::ErrorKind},
    message::push::PushMessage,
};

/// What happened to one message: a future, which you can ignore.
///
/// It resolves to `Ok` if the service reported success, and otherwise to a [`PushError`]. It also resolves to an error
/// if the runtime in which the pusher was created stops, or if a function of yours panics, such as a provider of
/// credentials.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// use cloudflare_queues::{PushMessage, Pusher, emulator::{Emulator, Fault}};
///
/// let emulator = Emulator::in_process();
/// let pusher = Pusher::new(emulator.queue()?)?;
/// emulator.inject(Fault::ServerError(503));
/// let failed = pusher.push(PushMessage::text("hello")).await?.await.unwrap_err();
/// assert!(failed.error.may_have_arrived() && failed.message.is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Receipt(pub(super) oneshot::Receiver<Outcome>);

/// The error in a box, so that what each message allocates for it is small.
pub(super) type Outcome = Result<(), Box<PushError>>;

impl Receipt {
    /// The outcome, if it is known.
    pub(super) fn now(&mut self) -> Option<Result<(), PushError>> {
        let outcome = match self.0.try_recv() {
            Ok(outcome) => outcome,
            Err(TryRecvError::Empty) => return None,
            Err(TryRecvError::Closed) => Err(PushError::dropped()),
        };
        Some(outcome.map_err(|error| *error))
    }
}

impl Future for Receipt {
    type Output = Result<(), PushError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // A message that was never sent gets its own error.
        let outcome = Pin::new(&mut self.0).poll(context);
        outcome.map(|outcome| outcome.unwrap_or_else(|_| Err(PushError::dropped())).map_err(|error| *error))
    }
}

/// Why a message is not known to be pushed.
///
/// It displays as its [`error`](Self::error), has the same source, and converts into it with `?`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PushError {
    /// The failure, which [may have arrived](Error::may_have_arrived) if there is no [`message`](Self::message).
    pub error: Error,
    /// The message, if it is not in the queue: nothing was sent, nothing arrived, or the service refused it. `None` if
    /// it may be in the queue.
    pub message: Option<PushMessage>,
}

impl PushError {
    pub(super) fn new(error: Error, message: PushMessage) -> Self {
        let message = (!error.may_have_arrived()).then_some(message);
        Self { error, message }
    }

    /// The request ended with the runtime, or with a panic.
    fn dropped() -> Box<Self> {
        Box::new(Self { error: Error::dropped(), message: None })
    }
}

/// The error of a message that was not sent.
pub(super) fn stopped() -> Error {
    Error::new(ErrorKind::Transport, "the runtime in which the pusher was created has stopped")
}

/// Why [`Pusher::push_all`](crate::Pusher::push_all) ended early, and what happened to the messages that it took.
///
/// It displays as its [`error`](Self::error), has the same source, and converts into it with `?`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Unpushed {
    /// The first failure.
    pub error: Error,
    /// How many messages the service accepted.
    pub pushed: usize,
    /// The messages that may be in the queue: pushing them again can duplicate them.
    pub may_have_arrived: Vec<PushMessage>,
    /// The messages that are not in the queue, among them one that was refused as invalid.
    pub not_sent: Vec<PushMessage>,
}

is_its_error!(PushError, Unpushed);
