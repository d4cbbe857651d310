//! The kinds of errors.

use std::fmt;

use serde::Serialize;

/// The kind of failure of an [`Error`](crate::Error).
///
/// The notes on retries assume the default [`RetryPolicy`](crate::RetryPolicy). Idempotent operations are all but
/// three: a push, which could duplicate a message; a pull, which could strand a batch; and the creation of a queue, a
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
    /// The input was refused before it was sent. The message names the field and its bound.
    InvalidInput,
    /// The function that provides the credentials failed. Nothing was sent, or the service refused what was sent: see
    /// [`attempts`](crate::Error::attempts).
    CredentialsUnavailable,
    /// The credentials are malformed or unknown, or lack a permission. Retried once if a function provides new ones.
    Unauthorized,
    /// There is no such account or queue. Not retried.
    NotFound,
    /// The queue has no HTTP pull consumer (405), or it was created only seconds ago. Not retried.
    NotPullConsumer,
    /// Delivery from the queue is paused (409). Not retried.
    DeliveryPaused,
    /// It already exists: a queue with this name (11009), a consumer of this queue (11004), a subscription to this
    /// source. Not retried.
    AlreadyExists,
    /// The queue has no such consumer (10013, 10105, 11006). Not retried.
    NoSuchConsumer,
    /// The name is not valid (11003). Not retried.
    InvalidName,
    /// Something still depends on the queue: a Worker is bound to it (11005), or event notifications are sent to it
    /// (11017). Not retried.
    InUse,
    /// The rate limit was exceeded (429). Every operation is retried, after `Retry-After` if there is one, unless a
    /// quota is used up (10251, 10252, 10253).
    RateLimited,
    /// The service refused the content of the request, or its firewall refused the sender. Not retried.
    ///
    /// A failure with a status of success (`success: false` under 200) is of this kind, unless its code means another
    /// kind. Then new credentials are used, and idempotent operations are retried, as for that kind. Other operations
    /// are retried only if the credentials were refused, since otherwise the request may have been carried out.
    Rejected,
    /// The service failed (5xx). Idempotent operations are retried.
    ///
    /// A response without the service's envelope is of this kind as well, and so is a redirect: a proxy or a firewall
    /// sent it, or the base URL is wrong. It says nothing about the queue or the credentials. This holds for every
    /// status, 200 included, except 407, 408, 413 and 429. An envelope has `success`, and with a status from 400 to 499
    /// a list of errors with a code.
    ServiceFailure,
    /// The connection failed or broke. Idempotent operations are retried; the others only if no connection was made.
    ///
    /// A response without a length whose JSON is cut short counts as a broken connection.
    Transport,
    /// An attempt or the whole call took too long. An attempt is retried as for [`Transport`](Self::Transport).
    Timeout,
    /// The response is not as documented, so it is unknown whether the call was carried out. Not retried.
    ///
    /// It has the service's envelope: a response without one is a [`ServiceFailure`](Self::ServiceFailure), and so is a
    /// compressed one, since none is requested. A byte order mark is ignored.
    UnexpectedResponse,
    /// A message's body cannot be decoded into the requested type. The message and its lease are not affected.
    UndecodableBody,
}

impl ErrorKind {
    /// What to do about the failure: the end of an error's text.
    pub(crate) fn next_step(self) -> &'static str {
        match self {
            Self::InvalidInput => "correct the input; nothing was sent",
            Self::CredentialsUnavailable => "check the function that provides the credentials",
            Self::Unauthorized => "check the credentials, and that the token has the permission Queues Write",
            Self::NotFound => {
                "check the account id and the queue id, which is not the queue's name: see `Client::queue_named`"
            }
            Self::NotPullConsumer => {
                "enable the HTTP pull consumer of the queue; a new one takes a few seconds to work"
            }
            Self::DeliveryPaused => "resume delivery from the queue",
            Self::AlreadyExists => "use the one that exists, or delete it first",
            Self::NoSuchConsumer => "list the queue's consumers",
            Self::InvalidName => "choose another name",
            Self::InUse => "remove what depends on the queue first",
            Self::RateLimited => "try again later, or raise the limit that the code names",
            Self::Rejected => "correct the request as the service says",
            Self::ServiceFailure => "try again later",
            Self::Transport => "check the base URL and the network; nothing arrived",
            Self::Timeout => "try again; the request did not arrive",
            Self::UnexpectedResponse => "check the base URL; the request may have been carried out",
            Self::UndecodableBody => "acknowledge the message, or retry it until it reaches the dead-letter queue",
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
