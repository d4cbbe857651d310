//! The outcome of one submitted lease.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::sync::oneshot;

use crate::{
    error::{Error, kind::ErrorKind},
    message::confirmation::Confirmation,
};

/// Sees the outcome of a lease even if its receipt is ignored.
pub(crate) type Observer = Box<dyn FnOnce(&Result<Confirmation, Error>) + Send + Sync>;

/// The outcome of one lease: a future, which you can ignore.
///
/// It resolves to an error if the lease could not be settled before it expired, if the runtime in which the acker was
/// created stops first, or if a function of yours panics, such as a provider of credentials.
/// [`Error::may_have_arrived`] is then `false` only if no request was sent for the lease, or if the service refused it.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// use cloudflare_queues::{Acker, PullOptions, PushMessage, acker::Confirmation, emulator::Emulator};
///
/// let queue = Emulator::in_process().queue()?;
/// queue.push(&PushMessage::text("hello")).await?;
/// let acker = Acker::new(queue.clone())?;
/// for message in queue.pull(PullOptions::new()).await? {
///     match acker.ack(message).await?.await {
///         Ok(Confirmation::Confirmed) => println!("acknowledged"),
///         Ok(Confirmation::Accepted) => println!("accepted: the count does not show it, and nothing is against it"),
///         Ok(doubtful) => println!("the service says {doubtful:?}"),
///         Err(error) => println!("not acknowledged: {error}"),
///     }
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Receipt(pub(super) oneshot::Receiver<Result<Confirmation, Error>>);

impl Future for Receipt {
    type Output = Result<Confirmation, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // A lease that was never sent gets its own error.
        Pin::new(&mut self.0).poll(context).map(|outcome| outcome.unwrap_or_else(|_| Err(Error::dropped())))
    }
}

/// The error of a lease that was not sent.
pub(super) fn stopped() -> Error {
    Error::new(ErrorKind::Transport, "the runtime in which the acker was created has stopped")
}
