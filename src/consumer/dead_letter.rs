//! Why a message becomes a dead letter, and an envelope that says so.

use std::error::Error as StdError;

use serde::{Deserialize, Serialize};

use crate::{
    error::Error,
    flow::contained::caught,
    message::{
        Message,
        body::{Body, ContentType, MessageBody},
        push::PushMessage,
    },
};

/// How many characters of an error an envelope holds.
const MOST_OF_ERROR: usize = 1000;

/// Why a consumer moves a message to its dead-letter queue.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Reason {
    /// The handler returned [`Verdict::DeadLetter`](crate::Verdict::DeadLetter).
    Verdict,
    /// The handler failed, and [`max_attempts`](crate::Consumer::max_attempts) are used up. This is the text of its
    /// error.
    Failed(String),
    /// The handler panicked, and the attempts are used up.
    Panicked,
    /// The body could not be decoded.
    Undecodable(Error),
}

impl Reason {
    fn name(&self) -> &'static str {
        match self {
            Self::Verdict => "verdict",
            Self::Failed(_) => "failed",
            Self::Panicked => "panicked",
            Self::Undecodable(_) => "undecodable",
        }
    }

    fn error(&self) -> Option<String> {
        let text = match self {
            Self::Verdict | Self::Panicked => return None,
            Self::Failed(text) => text.clone(),
            Self::Undecodable(error) => match error.source() {
                Some(source) => format!("{error}: {source}"),
                None => error.to_string(),
            },
        };
        Some(text.chars().take(MOST_OF_ERROR).collect())
    }
}

/// A message in a dead-letter queue, with the reason why it is there.
///
/// [`Consumer::dead_letter_as`](crate::Consumer::dead_letter_as) with [`wrap`](Self::wrap) lets a consumer push this
/// envelope, and [`read`](Self::read) reads it. `cf-queues redrive` does so, and pushes the original message.
///
/// ```
/// # use cloudflare_queues::{Consumer, PullOptions, PushMessage, emulator::{Emulator, EmulatedQueue}};
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// # let emulator = Emulator::in_process();
/// # let queue = emulator.queue()?;
/// # let failed = queue.queues().queue(emulator.create_queue(EmulatedQueue::new()))?;
/// use cloudflare_queues::consumer::DeadLetter;
///
/// queue.push(&PushMessage::text("hello")).await?;
/// let consumer = Consumer::new(queue).max_attempts(1).dead_letters(failed.clone()).dead_letter_as(DeadLetter::wrap);
/// # let consumer = &consumer;
/// # let stop = async { while consumer.stats().dead_lettered == 0 { tokio::task::yield_now().await } };
/// let report = consumer.run_until(stop, |_| async { Err::<(), _>("no such customer") }).await?;
/// assert_eq!(report.stats.dead_lettered, 1);
/// for message in failed.pull(PullOptions::new()).await? {
///     let letter = DeadLetter::read(&message.body).ok_or("not wrapped")?;
///     assert_eq!((letter.reason.as_str(), letter.error.as_deref()), ("failed", Some("no such customer")));
///     assert_eq!(PushMessage::from_body(&letter.body)?, PushMessage::text("hello"));
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DeadLetter {
    /// `verdict`, `failed`, `panicked` or `undecodable`, as for [`Reason`].
    pub reason: String,
    /// The text of the error, if there is one: at most 1,000 characters.
    pub error: Option<String>,
    /// The id that the message had.
    pub id: String,
    /// How often it was delivered.
    pub attempts: Option<u32>,
    /// The body of the message. [`PushMessage::from_body`] makes a message of it.
    pub body: Body,
}

#[derive(Serialize, Deserialize)]
struct Envelope {
    cloudflare_queues_dead_letter: Wrapped,
}

#[derive(Serialize, Deserialize)]
struct Wrapped {
    reason: String,
    error: Option<String>,
    id: String,
    attempts: Option<u32>,
    content_type: ContentType,
    body: MessageBody,
}

impl DeadLetter {
    /// Puts a message and the reason into an envelope: JSON with the only field `cloudflare_queues_dead_letter`, an
    /// object with `reason`, `error`, `id`, `attempts`, `content_type`, and `body` as it was received.
    ///
    /// Messages of the types `bytes` and `v8` can be wrapped, although they cannot be pushed over HTTP as they are. If
    /// the envelope is larger than 128 KB, it is left out: the message is pushed byte for byte.
    ///
    /// # Errors
    ///
    /// As for [`PushMessage::from_body`], if the envelope is left out.
    pub fn wrap(message: &Message, reason: &Reason) -> Result<PushMessage, Error> {
        let wrapped = Wrapped {
            reason: reason.name().to_owned(),
            error: reason.error(),
            id: message.id.clone(),
            attempts: message.attempts,
            content_type: message.body.content_type().clone(),
            body: message.body.wire().clone(),
        };
        let envelope = PushMessage::json(&Envelope { cloudflare_queues_dead_letter: wrapped })?;
        if envelope.size() > PushMessage::MAX_SIZE { PushMessage::from_body(&message.body) } else { Ok(envelope) }
    }

    /// Reads the body of a message that was wrapped. `None` if it is anything else.
    pub fn read(body: &Body) -> Option<Self> {
        let Envelope { cloudflare_queues_dead_letter: wrapped } = body.json().ok()?;
        let Wrapped { reason, error, id, attempts, content_type, body } = wrapped;
        Some(Self { reason, error, id, attempts, body: Body::new(body, content_type) })
    }
}

/// Makes the message that is pushed to the dead-letter queue.
pub(super) type MakeLetter = dyn Fn(&Message, &Reason) -> Result<PushMessage, Error> + Send + Sync;

/// Byte for byte without a function, or if it panics.
pub(super) fn letter(make: Option<&MakeLetter>, message: &Message, reason: &Reason) -> Result<PushMessage, Error> {
    let byte_for_byte = || PushMessage::from_body(&message.body);
    let Some(make) = make else { return byte_for_byte() };
    caught(|| make(message, reason)).unwrap_or_else(|| {
        tracing::warn!(messaging.message.id = message.id, "the function of the dead letter panicked");
        byte_for_byte()
    })
}
