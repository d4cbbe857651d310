//! Creates values that otherwise only the service creates, for tests of code that uses this crate.
//!
//! ```
//! use cloudflare_queues::{ErrorKind, PushMessage, testing};
//!
//! let message = testing::message(PushMessage::text("hello"));
//! assert_eq!(message.body.text()?, "hello");
//! let batch = testing::batch([message]);
//! assert_eq!(batch.len(), 1);
//! let error = testing::error(ErrorKind::RateLimited);
//! assert!(error.is_transient());
//! # Ok::<(), cloudflare_queues::Error>(())
//! ```

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime},
};

use serde_json::Map;
use tokio::time::Instant;

use crate::{
    error::{Error, kind::ErrorKind},
    message::{
        Message,
        body::{Body, MessageBody},
        held::Extended,
        lease::LeaseId,
        pull::Batch,
        push::PushMessage,
    },
};

static MADE: AtomicU64 = AtomicU64::new(0);

/// The message that a consumer receives after this one was pushed: the first attempt, with a lease of 30 s.
///
/// Its public fields can be changed afterwards.
pub fn message(pushed: PushMessage) -> Message {
    let number = MADE.fetch_add(1, Ordering::Relaxed);
    let content_type = pushed.body().content_type().clone();
    // JSON arrives as a string of JSON text.
    let text = pushed.body().text().unwrap_or_default();
    let metadata = Map::from_iter([("CF-Content-Type".to_owned(), content_type.as_str().into())]);
    Message {
        id: format!("message-{number}"),
        lease_id: LeaseId::from(format!("lease-{number}")),
        attempts: Some(1),
        timestamp: Some(SystemTime::now()),
        body: Body::new(MessageBody::unquoted(&text), content_type),
        metadata: metadata.into(),
        lease_deadline: (Instant::now() + Duration::from_secs(30)).into_std(),
        extended: Extended::default(),
    }
}

/// A batch of these messages.
pub fn batch(messages: impl IntoIterator<Item = Message>) -> Batch {
    Batch { messages: messages.into_iter().collect(), ..Batch::default() }
}

/// An error of this kind, as a call returns it after one attempt.
pub fn error(kind: ErrorKind) -> Error {
    use ErrorKind::{CredentialsUnavailable, InvalidInput, ServiceFailure, UndecodableBody, UnexpectedResponse};
    let attempts = !matches!(kind, InvalidInput | CredentialsUnavailable | UndecodableBody);
    Error::new(kind, "an error created for a test")
        .with_attempts(attempts.into())
        .or_may_have_arrived(matches!(kind, ServiceFailure | UnexpectedResponse))
}
