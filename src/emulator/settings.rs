//! What an emulated queue is set to, and what the emulator makes of the questions that Cloudflare's documents leave open.

use std::time::Duration;

/// A queue's settings, with the service's defaults.
#[derive(Clone, Debug)]
pub struct QueueSettings {
    /// How often a message is delivered again after its first delivery. 3 by default.
    pub max_retries: u32,
    /// The id of the queue that takes the messages that used up their retries; without one, they are deleted.
    pub dead_letter_queue: Option<String>,
    /// The delay of a retry that names none. None by default.
    pub retry_delay: Duration,
    /// The delay of a push that names none. None by default.
    pub delivery_delay: Duration,
    /// The visibility timeout of a pull that names none. 30 s by default.
    pub visibility_timeout: Duration,
    /// Whether the queue has an HTTP pull consumer; without one, pulls are refused with status 405. It has by default.
    pub http_pull: bool,
    /// Whether delivery is paused; then pulls are refused with status 409. It is not by default.
    pub delivery_paused: bool,
}

impl Default for QueueSettings {
    fn default() -> Self {
        Self {
            max_retries: 3,
            dead_letter_queue: None,
            retry_delay: Duration::ZERO,
            delivery_delay: Duration::ZERO,
            visibility_timeout: Duration::from_secs(30),
            http_pull: true,
            delivery_paused: false,
        }
    }
}

/// A switch for each thing that the service may do in more than one way. The defaults are what is most likely.
#[derive(Clone, Debug)]
pub struct Behavior {
    /// The form of the warnings of an acknowledgement or a purge.
    pub warnings: WarningsForm,
    /// How `json` bodies are handed out.
    pub json_bodies: JsonBodies,
    /// What becomes of a lease that is unknown, malformed, or used up, and of a reference to a message that is not there.
    pub unknown_leases: UnknownLease,
    /// Whether a message can be acknowledged by a lease that has run out, even if another consumer holds it by now. It can by
    /// default, as Cloudflare documents.
    pub late_acks: bool,
    /// Whether handing a message back by a lease that has run out is counted, though it changes nothing. It is not by default.
    pub late_retries: bool,
    /// Whether responses to acknowledgements have counts. They do by default.
    pub counts: bool,
    /// Whether an acknowledgement of no lease at all is accepted. It is by default.
    pub empty_acks: bool,
    /// Whether an acknowledgement of more than 100 leases is accepted. It is not by default.
    pub large_acks: bool,
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
            empty_acks: true,
            large_acks: false,
        }
    }
}

/// The form of the warnings in the response to an acknowledgement or a purge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WarningsForm {
    /// A map of lease id to text, the form documented since 2026.
    Map,
    /// A list of texts, the older form.
    List,
}

/// How `json` bodies are handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonBodies {
    /// As JSON text, which is what consumers see.
    Text,
    /// As the base64 of it, which is what Cloudflare documents.
    Base64,
}

/// What becomes of an acknowledgement's entry whose lease is unknown, malformed, or used up, and of such an entry of a purge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownLease {
    /// It is not counted, and has a warning.
    Warn,
    /// It is not counted, and nothing is said.
    Ignore,
    /// The whole request is refused with status 400.
    Reject,
}

/// What goes wrong with one request. Delays are by tokio's clock, which tests can pause, not by the emulator's.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Fault {
    /// It is not carried out, and refused with status 429.
    RateLimited {
        /// The service's code, such as 10250.
        code: i64,
        /// The `Retry-After`, if there is to be one, in whole seconds.
        retry_after: Option<Duration>,
    },
    /// It is not carried out, and refused with status 403 and code 9109, as for a token that lacks the permission.
    Forbidden,
    /// It is not carried out: the firewall asks for a browser, with status 403 and a page of HTML.
    Challenged,
    /// It is not carried out, and the response has a status such as 502 and a page of HTML.
    ServerError(u16),
    /// It is not carried out, and the response says `success: false` under status 200.
    NotSuccess,
    /// It is carried out, and the response comes only after a while.
    Delay(Duration),
    /// It is carried out, and the response breaks off half-way.
    CutOff,
    /// It is not carried out, and the connection is reset.
    ResetBefore,
    /// It is carried out, and the connection is reset instead of a response.
    ResetAfter,
    /// The network is slow.
    Slow {
        /// How long the request takes to arrive.
        before: Duration,
        /// How long the response takes to arrive, or the reset in its place.
        after: Duration,
        /// What goes wrong beside that.
        fault: Option<Box<Fault>>,
    },
}
