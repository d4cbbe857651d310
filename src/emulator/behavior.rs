//! Switches for behavior that Cloudflare's documentation leaves open.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::Error;

/// Switches for behavior that Cloudflare's documentation leaves open. The defaults are what is most likely.
///
/// Each switch can also be [set](Self::set) by its name. Serialized, it is a map from these names to values: words for
/// enums, seconds for times, null for no bound.
///
/// ```
/// use cloudflare_queues::emulator::{Behavior, UnknownLease};
///
/// let behavior = Behavior::new().late_acks(false).unknown_leases(UnknownLease::Reject);
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[must_use = "a behavior does nothing until it is passed to an emulator"]
pub struct Behavior {
    pub(super) warnings: WarningsForm,
    pub(super) json_bodies: JsonBodies,
    pub(super) unknown_leases: UnknownLease,
    pub(super) late_acks: bool,
    pub(super) late_retries: bool,
    pub(super) counts: bool,
    pub(super) informing_warnings: bool,
    pub(super) results: ResultForm,
    pub(super) empty_requests: bool,
    pub(super) large_requests: bool,
    pub(super) acks_after_extend: bool,
    pub(super) repeated_extends: bool,
    pub(super) late_extends: bool,
    pub(super) shortening_extends: bool,
    pub(super) extend_from: ExtendFrom,
    #[serde(with = "seconds")]
    pub(super) max_lease: Duration,
    pub(super) largest_pull: Option<usize>,
    pub(super) largest_extend: Option<usize>,
    pub(super) messages_per_second: Option<u32>,
    pub(super) pushes_per_second: Option<u32>,
    pub(super) missing_content_type: MissingContentType,
    pub(super) empty_bodies: bool,
    pub(super) nulls: bool,
    pub(super) fractions: bool,
    #[serde(with = "seconds")]
    pub(super) consumer_start: Duration,
    #[serde(with = "seconds")]
    pub(super) purge_time: Duration,
    pub(super) patch_resets: bool,
}

impl Default for Behavior {
    fn default() -> Self {
        Self {
            warnings: WarningsForm::Map,
            json_bodies: JsonBodies::Text,
            unknown_leases: UnknownLease::Warn,
            late_acks: true,
            late_retries: false,
            counts: true,
            informing_warnings: false,
            results: ResultForm::Full,
            empty_requests: true,
            large_requests: false,
            acks_after_extend: true,
            repeated_extends: true,
            late_extends: false,
            shortening_extends: true,
            extend_from: ExtendFrom::Now,
            max_lease: Duration::from_secs(12 * 60 * 60),
            largest_pull: None,
            largest_extend: None,
            messages_per_second: None,
            pushes_per_second: None,
            missing_content_type: MissingContentType::ByBody,
            empty_bodies: true,
            nulls: true,
            fractions: false,
            consumer_start: Duration::ZERO,
            purge_time: Duration::ZERO,
            patch_resets: false,
        }
    }
}

impl Behavior {
    /// The most likely behavior.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the switch of this name, the name of one of the methods below, to a value as in the serialized form.
    ///
    /// ```
    /// use cloudflare_queues::emulator::Behavior;
    ///
    /// let behavior = Behavior::new().set("unknown_leases", "reject")?.set("max_lease", 90)?.set("late_acks", false)?;
    /// assert!(behavior.set("late_ack", false).unwrap_err().to_string().contains("`late_acks`"));
    /// # Ok::<(), cloudflare_queues::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if there is no such switch, or no such value of it. The error
    /// lists what there is.
    pub fn set(self, name: &str, value: impl Into<Value>) -> Result<Self, Error> {
        let mut switches = self.switches();
        switches.insert(name.to_owned(), value.into());
        serde_json::from_value(switches.into()).map_err(|error| Error::invalid(format!("behavior `{name}`: {error}")))
    }

    /// All switches by name.
    pub(super) fn switches(&self) -> Map<String, Value> {
        // A struct is written as an object, and nothing in it can fail.
        match serde_json::to_value(self) {
            Ok(Value::Object(switches)) => switches,
            _ => Map::new(),
        }
    }

    /// The form of the warnings of an acknowledgement, an extension or a purge. [`WarningsForm::Map`] by default.
    pub fn warnings(mut self, form: WarningsForm) -> Self {
        self.warnings = form;
        self
    }

    /// How `json` bodies are delivered. [`JsonBodies::Text`] by default.
    pub fn json_bodies(mut self, form: JsonBodies) -> Self {
        self.json_bodies = form;
        self
    }

    /// How to treat an unknown, malformed or used lease, and a reference to a message that does not exist.
    /// [`UnknownLease::Warn`] by default.
    pub fn unknown_leases(mut self, unknown: UnknownLease) -> Self {
        self.unknown_leases = unknown;
        self
    }

    /// Whether an expired lease can acknowledge its message, even if another consumer has leased it since. `true` by
    /// default, as Cloudflare documents.
    pub fn late_acks(mut self, accepted: bool) -> Self {
        self.late_acks = accepted;
        self
    }

    /// Whether a retry with an expired lease is counted, although it changes nothing. `false` by default.
    pub fn late_retries(mut self, counted: bool) -> Self {
        self.late_retries = counted;
        self
    }

    /// Whether responses to acknowledgements and extensions have counts. `true` by default.
    pub fn counts(mut self, given: bool) -> Self {
        self.counts = given;
        self
    }

    /// Whether an acknowledged, retried, extended or deleted entry gets a warning as well, although it is counted.
    /// `false` by default.
    pub fn informing_warnings(mut self, given: bool) -> Self {
        self.informing_warnings = given;
        self
    }

    /// The `result` of a successful acknowledgement, extension or deletion of messages. [`ResultForm::Full`] by
    /// default.
    pub fn results(mut self, form: ResultForm) -> Self {
        self.results = form;
        self
    }

    /// Whether an empty acknowledgement, extension or purge is accepted. `true` by default.
    pub fn empty_requests(mut self, accepted: bool) -> Self {
        self.empty_requests = accepted;
        self
    }

    /// Whether an acknowledgement, an extension or a purge of more than 100 entries is accepted. `false` by default.
    pub fn large_requests(mut self, accepted: bool) -> Self {
        self.large_requests = accepted;
        self
    }

    /// Whether a lease id can still acknowledge or retry after its lease was extended. The message has a new lease id
    /// then, which the service does not return. `true` by default; otherwise, the old lease id is unknown.
    pub fn acks_after_extend(mut self, accepted: bool) -> Self {
        self.acks_after_extend = accepted;
        self
    }

    /// Whether a lease can be extended more than once with the same lease id. `true` by default; otherwise, the lease
    /// id is unknown.
    pub fn repeated_extends(mut self, accepted: bool) -> Self {
        self.repeated_extends = accepted;
        self
    }

    /// Whether an expired lease can be extended while no other consumer has the message. `false` by default.
    pub fn late_extends(mut self, accepted: bool) -> Self {
        self.late_extends = accepted;
        self
    }

    /// Whether an extension can shorten a lease. `true` by default; otherwise, its end stays.
    pub fn shortening_extends(mut self, accepted: bool) -> Self {
        self.shortening_extends = accepted;
        self
    }

    /// The start of an extension's visibility timeout. [`ExtendFrom::Now`] by default.
    pub fn extend_from(mut self, from: ExtendFrom) -> Self {
        self.extend_from = from;
        self
    }

    /// How long a lease can last in total, from the delivery. A longer extension is accepted and cut to that. 12 hours
    /// by default.
    pub fn max_lease(mut self, duration: Duration) -> Self {
        self.max_lease = duration;
        self
    }

    /// The most messages that one pull returns. Without bound by default.
    pub fn largest_pull(mut self, messages: usize) -> Self {
        self.largest_pull = Some(messages);
        self
    }

    /// The most entries of one extension; a request with more is refused. By default, only
    /// [`large_requests`](Self::large_requests) bounds them.
    pub fn largest_extend(mut self, entries: usize) -> Self {
        self.largest_extend = Some(entries);
        self
    }

    /// The most messages a second that the pulls of a queue return. What is not used can be used within the next
    /// second. When nothing is left, a pull is refused with status 429 and code 10250. Without bound by default;
    /// Cloudflare documents 5,000.
    pub fn messages_per_second(mut self, messages: u32) -> Self {
        self.messages_per_second = Some(messages);
        self
    }

    /// The most messages a second that are pushed to a queue over the API; zero counts as one. What is not used can be
    /// used within the next second. When nothing is left, a push is refused with status 429 and code 10250. A batch may
    /// exceed what is left: then pushes are refused until that is made up for. Without bound by default; Cloudflare
    /// documents 5,000.
    pub fn pushes_per_second(mut self, messages: u32) -> Self {
        self.pushes_per_second = Some(messages);
        self
    }

    /// The content type of a pushed message without one. [`MissingContentType::ByBody`] by default.
    pub fn missing_content_type(mut self, content_type: MissingContentType) -> Self {
        self.missing_content_type = content_type;
        self
    }

    /// Whether a request without a body counts as one with the empty object `{}`, in every operation. `true` by
    /// default, since the published document requires a body only for a purge.
    pub fn empty_bodies(mut self, accepted: bool) -> Self {
        self.empty_bodies = accepted;
        self
    }

    /// Whether a null field counts as absent, in every operation. `true` by default; otherwise, the request is refused.
    pub fn nulls(mut self, accepted: bool) -> Self {
        self.nulls = accepted;
        self
    }

    /// Whether a batch size, a delay or a visibility timeout with a fraction is rounded down, in every operation.
    /// `false` by default: the request is refused.
    pub fn fractions(mut self, accepted: bool) -> Self {
        self.fractions = accepted;
        self
    }

    /// How long pulls are refused after a pull consumer was created. Zero by default; a few seconds have been seen on
    /// the service.
    pub fn consumer_start(mut self, time: Duration) -> Self {
        self.consumer_start = time;
        self
    }

    /// How long deleting all messages of a queue takes until it is reported as complete. Zero by default.
    pub fn purge_time(mut self, time: Duration) -> Self {
        self.purge_time = time;
        self
    }

    /// Whether changing a queue's settings (`PATCH`) resets those that are not given. `false` by default.
    pub fn patch_resets(mut self, resets: bool) -> Self {
        self.patch_resets = resets;
        self
    }
}

/// The form of the warnings in the response to an acknowledgement, an extension or a purge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WarningsForm {
    /// A map of lease id to text, the form documented since 2026.
    Map,
    /// A list of texts, the older form.
    List,
}

/// How `json` bodies are delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum JsonBodies {
    /// As JSON text, as seen on the service.
    Text,
    /// As base64, as Cloudflare documents.
    Base64,
}

/// The content type of a pushed message without one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum MissingContentType {
    /// A string is `text` and everything else is `json`, which fits the published schema.
    ByBody,
    /// Everything is `json`, so a string is refused.
    Json,
}

/// The start of an extension's visibility timeout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ExtendFrom {
    /// The time of the request.
    Now,
    /// The time at which the lease would have ended.
    LeaseEnd,
}

/// How to treat an entry with an unknown, malformed or used lease or reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum UnknownLease {
    /// It is not counted, and gets a warning.
    Warn,
    /// It is not counted, without a warning.
    Ignore,
    /// The whole request is refused with status 400.
    Reject,
}

/// The `result` of a successful acknowledgement, extension or deletion of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ResultForm {
    /// With everything that is known.
    Full,
    /// An empty object.
    Empty,
    /// Null.
    Null,
    /// There is none.
    Absent,
}

/// A duration in seconds.
pub(super) mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(in super::super) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(duration.as_secs_f64())
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        match f64::deserialize(deserializer)? {
            seconds if seconds >= 0.0 => Ok(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)),
            _ => Err(D::Error::custom("a time is a number of seconds that is not negative")),
        }
    }
}
