//! What sort of failure an error is.

use std::fmt;

use serde::Serialize;

/// What sort of failure an [`Error`](crate::Error) is.
///
/// What is said of sending again assumes the default [`RetryPolicy`](crate::RetryPolicy). To acknowledge, peek or
/// delete by reference twice does no harm, so these are sent again where a push, which could duplicate a message, and a
/// pull, which could strand a batch, are not. Of what manages queues, all is sent again but what makes a queue, a
/// consumer or an event subscription.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// use cloudflare_queues::{ErrorKind, PullOptions, emulator::{Emulator, Fault}};
///
/// let emulator = Emulator::in_process();
/// emulator.inject(Fault::Forbidden);
/// match emulator.queue()?.pull(PullOptions::new()).await {
///     Ok(batch) => println!("{} messages", batch.len()),
///     Err(error) if error.kind() == ErrorKind::Unauthorized => println!("ask for another token: {error}"),
///     Err(error) => return Err(error.into()),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// The input was refused before anything was sent. The message names the field and its bound.
    InvalidInput,
    /// The function that provides the credentials failed. Nothing was sent.
    CredentialsUnavailable,
    /// The credentials are malformed or unknown, or lack a permission. Sent again once if a function provides others.
    Unauthorized,
    /// There is no such account or queue, or the base URL leads elsewhere. Not sent again.
    NotFound,
    /// The queue has no HTTP pull consumer (405), or it was made only seconds ago. Not sent again.
    NotPullConsumer,
    /// Delivery from the queue is paused (409). Not sent again.
    DeliveryPaused,
    /// There is one already: a queue of this name (11009), a consumer of this queue (11004), a subscription of this
    /// source. Not sent again.
    AlreadyExists,
    /// The queue has no such consumer (10013, 10105, 11006). Not sent again.
    NoSuchConsumer,
    /// No queue can have this name (11003). Not sent again.
    InvalidName,
    /// Something still depends on the queue: a Worker is bound to it (11005), or event notifications are sent to it
    /// (11017). Not sent again.
    InUse,
    /// The service refused the call for its rate (429). Every operation is sent again, after `Retry-After` if there is
    /// one, unless the service's code says that a quota is used up (10251, 10252, 10253).
    RateLimited,
    /// The service refused the request for what it asks, or its firewall for where it comes from. Not sent again.
    ///
    /// A failure under status 200 (`success: false`) is of this kind, unless its code says that it is of another.
    Rejected,
    /// The service failed (5xx). An idempotent operation is sent again.
    ServiceFailure,
    /// The connection could not be made, or broke. An idempotent operation is sent again; a push or a pull only if no
    /// connection was made.
    ///
    /// A response without a length whose JSON is cut short counts as a connection that broke.
    Transport,
    /// An attempt or the whole call took longer than allowed. An attempt that did is sent again as for
    /// [`Transport`](Self::Transport).
    Timeout,
    /// The response was not what the service documents, so that it is unknown whether the call was carried out. Not
    /// sent again.
    ///
    /// So is a response that is compressed, which is never asked for. A byte order mark is passed over.
    UnexpectedResponse,
    /// A message's body does not decode into the type asked for. The message and its lease are untouched.
    UndecodableBody,
}

impl ErrorKind {
    /// What to do about the failure, as an error's text ends.
    pub(crate) fn next_step(self) -> &'static str {
        match self {
            Self::InvalidInput => "correct the input; nothing was sent",
            Self::CredentialsUnavailable => "check the function that provides the credentials; nothing was sent",
            Self::Unauthorized => "check the credentials, and that the token has the permission Queues Write",
            Self::NotFound => {
                "check the account id and the queue id; a queue's name is no id: see `Client::queue_named`"
            }
            Self::NotPullConsumer => "enable the HTTP pull consumer of the queue; a new one takes some seconds",
            Self::DeliveryPaused => "resume delivery from the queue",
            Self::AlreadyExists => "use the one that exists, or delete it first",
            Self::NoSuchConsumer => "list the queue's consumers",
            Self::InvalidName => "choose another name",
            Self::InUse => "remove what depends on the queue first",
            Self::RateLimited => "try again later, or raise the limit that the code names",
            Self::Rejected => "correct the request by what the service says",
            Self::ServiceFailure => "try again later",
            Self::Transport => "check the base URL and the network; nothing arrived",
            Self::Timeout => "try again; the request did not arrive",
            Self::UnexpectedResponse => "check the base URL; the request may have been carried out",
            Self::UndecodableBody => "acknowledge the message, or retry it to bring it to the dead-letter queue",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InvalidInput => "invalid input",
            Self::CredentialsUnavailable => "credentials unavailable",
            Self::Unauthorized => "unauthorized",
            Self::NotFound => "not found",
            Self::NotPullConsumer => "no HTTP pull consumer",
            Self::DeliveryPaused => "delivery paused",
            Self::AlreadyExists => "already exists",
            Self::NoSuchConsumer => "no such consumer",
            Self::InvalidName => "invalid name",
            Self::InUse => "in use",
            Self::RateLimited => "rate limited",
            Self::Rejected => "rejected",
            Self::ServiceFailure => "service failure",
            Self::Transport => "transport failure",
            Self::Timeout => "timeout",
            Self::UnexpectedResponse => "unexpected response",
            Self::UndecodableBody => "undecodable body",
        })
    }
}
