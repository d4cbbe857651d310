//! The settings of an emulator.

use std::fmt;

use super::{
    behavior::Behavior,
    ids,
    service::{ACCOUNT_ID, Tokens},
    settings::EmulatedQueue,
};
use crate::queue::ids::AccountId;

/// Builds an [`Emulator`](super::Emulator).
///
/// ```
/// use cloudflare_queues::emulator::{Behavior, Emulator, EmulatedQueue};
///
/// let builder = Emulator::builder().queue(EmulatedQueue::new().max_retries(1));
/// let emulator = builder.behavior(Behavior::new().late_acks(false)).in_process();
/// let queue = emulator.queue()?;
/// # Ok::<(), cloudflare_queues::Error>(())
/// ```
#[must_use = "a builder does nothing until start() or in_process() is called"]
#[derive(Clone)]
pub struct EmulatorBuilder {
    pub(super) port: u16,
    pub(super) api_token: String,
    pub(super) tokens: Tokens,
    pub(super) account_id: AccountId,
    /// Whether the clock runs. Otherwise, it depends on whether there is a socket.
    pub(super) runs: Option<bool>,
    pub(super) has_control: bool,
    pub(super) queue: EmulatedQueue,
    pub(super) behavior: Behavior,
}

impl Default for EmulatorBuilder {
    fn default() -> Self {
        Self {
            port: 0,
            api_token: "emulator-token".to_owned(),
            tokens: Tokens::default(),
            account_id: ids::numbered(ACCOUNT_ID),
            runs: None,
            has_control: false,
            queue: EmulatedQueue::default(),
            behavior: Behavior::default(),
        }
    }
}

/// Leaves out the token, which may be a real one.
impl fmt::Debug for EmulatorBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmulatorBuilder").field("port", &self.port).finish_non_exhaustive()
    }
}

impl EmulatorBuilder {
    /// The port to serve on. 0, the default, chooses a free port.
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// The API token that the emulator accepts; `emulator-token` by default.
    pub fn api_token(mut self, token: impl Into<String>) -> Self {
        self.api_token = token.into();
        self
    }

    /// Also accepts an API token that is valid for one account only, and adds the account. A request to another account
    /// is refused with status 403.
    pub fn account_token(mut self, account_id: impl Into<AccountId>, token: impl Into<String>) -> Self {
        self.tokens.of_accounts.insert(token.into(), account_id.into().to_string());
        self
    }

    /// Accepts any API token.
    pub fn any_token(mut self) -> Self {
        self.tokens.any = true;
        self
    }

    /// The account that every emulator has. A fixed one by default.
    pub fn account_id(mut self, account_id: impl Into<AccountId>) -> Self {
        self.account_id = account_id.into();
        self
    }

    /// Makes the clock follow tokio's, in addition to being advanced.
    ///
    /// This is the default of an emulator in process, whose test can pause tokio's clock. Over HTTP, the clock stands
    /// still by default, since tokio's cannot be paused while a socket is waited for, so that a test would have to wait
    /// for leases and delays.
    pub fn real_time(mut self) -> Self {
        self.runs = Some(true);
        self
    }

    /// Makes the clock stand still until it is [advanced](super::Emulator::advance).
    ///
    /// This is the default over HTTP. In process, the clock follows tokio's by default: see
    /// [`real_time`](Self::real_time).
    pub fn frozen(mut self) -> Self {
        self.runs = Some(false);
        self
    }

    /// Enables control over HTTP, for programs in other languages: below `/_emulator`, with a page for humans at `/`,
    /// and with `GET /health`. Off by default.
    ///
    /// **All of it is served without credentials, and shows message bodies**: anyone who can reach the emulator can
    /// read and change everything in it. Lease ids are shown on request. The emulator's lease ids are not secret, since
    /// they encode message numbers.
    ///
    /// Bodies are JSON objects, and responses and failures have the service's envelope. A queue is identified by its id
    /// or its name.
    ///
    /// - `GET /_emulator`: the time, the number of requests and of pending faults, and the queues with their settings
    ///   and counts.
    /// - `GET /_emulator/queues/{queue}/messages`: messages in order of arrival, without leasing them. Parameters:
    ///   `limit` (100 by default, at most 1000), `contains` (a text in the body; base64 for `bytes`), `after` (the `id`
    ///   or the `sequence` of a message), `body_limit` (bytes shown of each body), `lease_ids=true`.
    /// - `GET /_emulator/queues/{queue}/leases`: leased messages, in the order in which the leases end. The same
    ///   parameters except `after`.
    /// - `GET /_emulator/requests`: the last 500 requests, each a [`ServedRequest`](super::ServedRequest) with its
    ///   `number`. Parameters: `limit` as above, `after` (a number).
    /// - `POST /_emulator/advance`: moves the clock forward by `seconds`.
    /// - `POST /_emulator/faults`: injects a [`Fault`](super::Fault), by its name in snake case: `fault`, with `code`
    ///   and `retry_after`, `status`, `seconds`, or `before` and `after` in seconds and
    ///   another fault as `then`. Also `operations` (ids, all by
    ///   default), `times` (1 by default), `until_removed`.
    /// - `GET /_emulator/faults`: the pending faults with their ids. `DELETE /_emulator/faults/{id}` removes one, and
    ///   `DELETE /_emulator/faults` all.
    /// - `GET /_emulator/behavior`: the [`Behavior`], by the names of its methods. `POST` changes the given switches,
    ///   and `DELETE /_emulator/behavior/{name}` gives one its default.
    /// - `POST /_emulator/queues/{queue}/pause`, `…/resume`: pauses and resumes delivery. While it is paused, pulls get
    ///   409.
    /// - `POST /_emulator/queues/{queue}/purge`: deletes its messages.
    /// - `POST /_emulator/queues/{queue}/refuse-pulls`: pulls get 405 for `seconds`, as after a pull consumer was
    ///   created; 0 ends it.
    /// - `POST /_emulator/queues/{queue}/broker/message` and `…/batch`, `GET …/metrics`: what a Worker's queue binding
    ///   sends to its broker, in its protocol instead of the envelope, so that a proxy for `wrangler dev` can pass it
    ///   on. All content types are kept: `json` with bare strings, `text`, and as base64 `bytes` and `v8`; so are
    ///   delays, and in a batch ids and timestamps. The [faults](super::Fault) of `push_message`, `push_messages` and
    ///   `get_queue_metrics` apply. The status is never 503, which would make wrangler drop the message.
    /// - `POST /_emulator/queues/{queue}/messages`: puts `messages` into the queue, each a [`Seed`](super::Seed).
    /// - `POST /_emulator/reset`: deletes all messages, removes all faults, and restores queues with their settings and
    ///   consumers, event subscriptions and the behavior, as they were at the start or
    ///   [saved](super::Emulator::save_configuration) last.
    ///
    /// Requests from a web page of another origin are refused, and so are requests to a public host name, which a web
    /// page could have pointed to this machine: use `localhost` or an IP address.
    pub fn control(mut self) -> Self {
        self.has_control = true;
        self
    }

    /// The settings of the queue that every emulator has.
    pub fn queue(mut self, settings: EmulatedQueue) -> Self {
        self.queue = settings;
        self
    }

    /// How the emulator behaves where the service's behavior is open.
    pub fn behavior(mut self, behavior: Behavior) -> Self {
        self.behavior = behavior;
        self
    }
}
