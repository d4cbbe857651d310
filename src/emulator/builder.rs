//! What an emulator is started with.

use std::fmt;

use super::{behavior::Behavior, settings::QueueSettings};

/// Builds an [`Emulator`](super::Emulator).
///
/// ```
/// use cloudflare_queues::emulator::{Behavior, Emulator, QueueSettings};
///
/// let builder = Emulator::builder().queue(QueueSettings::new().max_retries(1));
/// let emulator = builder.behavior(Behavior::new().late_acks(false)).in_process();
/// let queue = emulator.queue()?;
/// # Ok::<(), cloudflare_queues::Error>(())
/// ```
#[must_use = "a builder does nothing until start() or in_process() is called"]
#[derive(Clone)]
pub struct EmulatorBuilder {
    pub(super) port: u16,
    pub(super) api_token: String,
    pub(super) real_time: bool,
    pub(super) has_control: bool,
    pub(super) queue: QueueSettings,
    pub(super) behavior: Behavior,
}

impl Default for EmulatorBuilder {
    fn default() -> Self {
        Self {
            port: 0,
            api_token: "emulator-token".to_owned(),
            real_time: false,
            has_control: false,
            queue: QueueSettings::default(),
            behavior: Behavior::default(),
        }
    }
}

/// Without the token, which may be a real one.
impl fmt::Debug for EmulatorBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmulatorBuilder").field("port", &self.port).finish_non_exhaustive()
    }
}

impl EmulatorBuilder {
    /// The port to serve on; 0, the default, is a free one.
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// The API token that the emulator accepts; `emulator-token` by default.
    pub fn api_token(mut self, token: impl Into<String>) -> Self {
        self.api_token = token.into();
        self
    }

    /// Lets the clock run, beside being advanced. It goes by tokio's, which a test can pause.
    pub fn real_time(mut self) -> Self {
        self.real_time = true;
        self
    }

    /// Lets the emulator be controlled over HTTP, by programs in other languages: below `/_emulator`, and with a page
    /// for people at `/`. `GET /health` is served then, too. Off by default.
    ///
    /// **All of it is served without credentials, and shows the bodies of messages**: whoever reaches the emulator can
    /// change and read everything in it. Lease ids are shown where they are asked for; those of the emulator are no
    /// secrets, since they are made of the numbers of messages.
    ///
    /// Bodies are JSON objects, responses have the service's envelope, and failures, too. A queue is named by its id or
    /// by its name.
    ///
    /// | request | what it does |
    /// |---|---|
    /// | `GET /_emulator` | the time, how many requests there were, how many faults wait, and the queues with their settings and counts |
    /// | `GET /_emulator/queues/{queue}/messages` | messages in order of arrival, without leasing them; `limit` (100 by default, at most 1000), `after` (the id of a message), `body_limit` (bytes shown of each body), `lease_ids=true` |
    /// | `GET /_emulator/queues/{queue}/leases` | messages that consumers hold, in the order in which the leases end; the same parameters but `after` |
    /// | `POST /_emulator/advance` | moves the clock forward by `seconds` |
    /// | `POST /_emulator/faults` | injects a [`Fault`](super::Fault), by its name in snake case: `fault`, with `code` and `retry_after`, `status`, `seconds`, or `before` and `after` in seconds; `operations` (ids, all by default), `times` (1 by default), `until_removed` |
    /// | `DELETE /_emulator/faults` | removes all faults |
    /// | `POST /_emulator/queues/{queue}/pause`, `…/resume` | pauses and resumes delivery; pulls get 409 meanwhile |
    /// | `POST /_emulator/queues/{queue}/refuse-pulls` | pulls get 405 for `seconds`, as after a pull consumer was made; 0 ends it |
    /// | `POST /_emulator/reset` | deletes all messages, removes all faults, resumes delivery and pulls; queues and other settings stay |
    ///
    /// Requests that a browser sends for a page of another origin are refused.
    pub fn control(mut self) -> Self {
        self.has_control = true;
        self
    }

    /// The settings of the queue that every emulator has.
    pub fn queue(mut self, settings: QueueSettings) -> Self {
        self.queue = settings;
        self
    }

    /// How the emulator behaves where the service may behave in more than one way.
    pub fn behavior(mut self, behavior: Behavior) -> Self {
        self.behavior = behavior;
        self
    }
}
