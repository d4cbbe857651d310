//! Messages that are put into a queue without a push.

use std::{borrow::Cow, fmt, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    behavior::seconds,
    clock::{Time, nanos},
    content::Content,
    queue::NewMessage,
    reply::Refusal,
    service::Service,
};
use crate::{
    error::{Error, codes},
    message::limits,
};

/// A message as a Worker would have sent it, with any content type, and with a past: [`Emulator::seed`] puts it into a
/// queue. The HTTP push of the service takes fewer messages, for example no `bytes`, and no JSON string as `json`.
///
/// Deserialized, it is a map with `body`, `content_type` (`json` by default), `attempts`, `age` and `delay` in seconds,
/// and `times`. The body is any JSON value for `json`, a string for `text`, and base64 for `bytes` and `v8`.
///
/// ```
/// use cloudflare_queues::{PullOptions, emulator::{Emulator, Seed}};
/// use std::time::Duration;
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let emulator = Emulator::in_process();
/// let hour = Duration::from_secs(3600);
/// emulator.seed(emulator.queue_id(), [Seed::json("a string")?.attempts(2).age(hour), Seed::bytes([0, 0xff])])?;
/// let batch = emulator.queue()?.pull(PullOptions::new()).await?;
/// assert_eq!(batch.messages[0].body.json::<String>()?, "a string");
/// assert_eq!(batch.messages[0].attempts, Some(3));
/// assert_eq!(batch.messages[1].body.bytes()?, &[0, 0xff][..]);
/// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// [`Emulator::seed`]: super::Emulator::seed
#[derive(Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[must_use = "a seed does nothing until it is put into a queue"]
pub struct Seed {
    body: Value,
    #[serde(default = "json")]
    content_type: Cow<'static, str>,
    #[serde(default)]
    attempts: u32,
    #[serde(default, with = "seconds")]
    age: Duration,
    #[serde(default, deserialize_with = "optional_seconds")]
    delay: Option<Duration>,
    #[serde(default = "one")]
    times: usize,
}

fn json() -> Cow<'static, str> {
    "json".into()
}

fn one() -> usize {
    1
}

fn optional_seconds<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    seconds::deserialize(deserializer).map(Some)
}

/// Leaves out the body.
impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seed").field("content_type", &self.content_type).finish_non_exhaustive()
    }
}

impl Seed {
    /// The largest number of [times](Self::times).
    pub const MAX_TIMES: usize = 1_000_000;

    /// A `json` message, as a Worker sends by default.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if the value cannot be serialized.
    pub fn json<T: Serialize + ?Sized>(value: &T) -> Result<Self, Error> {
        let value = serde_json::to_value(value);
        Ok(Self::new(value.map_err(|error| Error::invalid(format!("seed: {error}")))?, "json"))
    }

    /// A `text` message.
    pub fn text(text: impl Into<String>) -> Self {
        Self::new(text.into().into(), "text")
    }

    /// A `bytes` message.
    pub fn bytes(bytes: impl AsRef<[u8]>) -> Self {
        Self::new(BASE64_STANDARD.encode(bytes).into(), "bytes")
    }

    /// A `v8` message: a JavaScript value, serialized by V8.
    pub fn v8(bytes: impl AsRef<[u8]>) -> Self {
        Self::new(BASE64_STANDARD.encode(bytes).into(), "v8")
    }

    fn new(body: Value, content_type: &'static str) -> Self {
        let content_type = content_type.into();
        Self { body, content_type, attempts: 0, age: Duration::ZERO, delay: None, times: 1 }
    }

    /// How often the message was delivered before. 0 by default.
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// How long ago the message was sent, by the emulator's clock. Zero by default.
    pub fn age(mut self, age: Duration) -> Self {
        self.age = age;
        self
    }

    /// How long the message is still delayed, at most 24 hours. By default, as long as the queue's settings say.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = Some(delay);
        self
    }

    /// How many such messages there are, at most [`MAX_TIMES`](Self::MAX_TIMES). One by default.
    pub fn times(mut self, times: usize) -> Self {
        self.times = times;
        self
    }

    /// The message, and how often.
    pub(super) fn message(&self, now: Time) -> Result<(NewMessage, usize), Refusal> {
        let text = || self.body.as_str().ok_or_else(|| Refusal::malformed("the body of such a message is a string"));
        let bytes = match &*self.content_type {
            "text" => text()?.into(),
            "bytes" | "v8" => {
                BASE64_STANDARD.decode(text()?).map_err(|_| Refusal::malformed("the body is not base64"))?
            }
            _ => self.body.to_string().into_bytes(),
        };
        let content = Content::of_worker(&self.content_type, &bytes)?;
        if self.delay.is_some_and(|delay| delay > limits::MAX_DELAY) {
            return Err(Refusal::bad_request(codes::DELAY, "a delay is at most 24 hours"));
        }
        if self.times > Self::MAX_TIMES {
            return Err(Refusal::malformed("`times` is at most 1000000"));
        }
        let pushed_at = Some(now.saturating_sub(nanos(self.age)));
        let message = NewMessage::new(content, self.delay.map(nanos));
        Ok((NewMessage { pushed_at, attempts: self.attempts, ..message }, self.times))
    }
}

impl Service {
    /// Puts all these messages into a queue, or none.
    pub(super) fn seed(&self, queue_id: &str, seeds: &[Seed]) -> Result<(), Refusal> {
        let now = self.clock.now();
        let messages = seeds.iter().map(|seed| seed.message(now)).collect::<Result<Vec<_>, _>>()?;
        self.with_queue(queue_id, |queue, now| {
            for (message, times) in messages {
                (0..times).for_each(|_| queue.push(now, self.queues.next_sequence(), message.clone()));
            }
        })
    }
}
