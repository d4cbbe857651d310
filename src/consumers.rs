//! The consumers of a queue: their descriptions, and the settings to create or change them with.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::{
    error::Error,
    error_kind::ErrorKind,
    fields::{self, Fields, described, open_names},
    ids::ConsumerId,
};

const SETTINGS: &str = "settings";

open_names! {
    /// How a queue's messages reach a consumer.
    ConsumerKind {
        /// Programs pull them over HTTP, as this crate's [`Consumer`](crate::Consumer) does.
        HttpPull = "http_pull",
        /// The service delivers them to a Worker.
        Worker = "worker",
        /// The service sends them as notifications.
        Notification = "notification",
    }
}

described! {
    /// A consumer of a queue as the service describes it.
    ///
    /// A field that is missing or of an unknown form reads as `None`; [`fields`](Self::fields) has everything.
    ConsumerDescription
}

impl ConsumerDescription {
    /// The consumer's id.
    ///
    /// # Errors
    ///
    /// [`UnexpectedResponse`](ErrorKind::UnexpectedResponse) if the service sent none.
    pub fn id(&self) -> Result<ConsumerId, Error> {
        let id = self.0.text("consumer_id").and_then(|id| ConsumerId::try_from(id).ok());
        id.ok_or_else(|| Error::new(ErrorKind::UnexpectedResponse, "the response describes a consumer without an id"))
    }

    /// The kind of consumer.
    pub fn kind(&self) -> ConsumerKind {
        ConsumerKind::from(self.0.text("type").unwrap_or_default())
    }

    /// The Worker that messages are delivered to.
    pub fn script(&self) -> Option<&str> {
        self.0.text("script").or_else(|| self.0.text("script_name"))
    }

    /// The name of the dead-letter queue.
    pub fn dead_letter_queue(&self) -> Option<&str> {
        self.0.text("dead_letter_queue")
    }

    /// The name of the queue that is consumed.
    pub fn queue_name(&self) -> Option<&str> {
        self.0.text("queue_name")
    }

    /// When the consumer was created.
    pub fn created(&self) -> Option<SystemTime> {
        self.0.time("created_on")
    }

    /// The maximum number of messages in a batch.
    pub fn batch_size(&self) -> Option<u32> {
        self.settings().small_count("batch_size")
    }

    /// How often a message is redelivered after its first delivery.
    pub fn max_retries(&self) -> Option<u32> {
        self.settings().small_count("max_retries")
    }

    /// The delay of retried messages, unless the retry has its own.
    pub fn retry_delay(&self) -> Option<Duration> {
        self.settings().seconds("retry_delay")
    }

    /// How long a lease lasts, unless the pull has its own visibility timeout. For pull consumers.
    pub fn visibility_timeout(&self) -> Option<Duration> {
        self.settings().millis("visibility_timeout_ms")
    }

    /// How long a batch waits to fill up. For Workers.
    pub fn max_wait_time(&self) -> Option<Duration> {
        self.settings().millis("max_wait_time_ms")
    }

    /// The maximum number of concurrent invocations. `None` is the platform's maximum. For Workers.
    pub fn max_concurrency(&self) -> Option<u32> {
        self.settings().small_count("max_concurrency")
    }

    fn settings(&self) -> Fields {
        self.0.object(SETTINGS)
    }
}

described! {
    /// Settings to create or replace a consumer with. A setting that is not given has the service's default.
    ///
    /// ```
    /// use cloudflare_queues::ConsumerSettings;
    /// use std::time::Duration;
    ///
    /// let settings = ConsumerSettings::pull().max_retries(10).dead_letter_queue("jobs-failed");
    /// let worker = ConsumerSettings::worker("my-script").max_concurrency(None).max_wait_time(Duration::from_secs(1));
    /// ```
    ///
    /// To change one setting of a consumer, start from its description: `ConsumerSettings::from(&description)` has all
    /// settings, including those that this crate does not know.
    #[must_use = "settings do nothing until they are passed to a queue"]
    ConsumerSettings
}

impl ConsumerSettings {
    /// A consumer that pulls over HTTP.
    pub fn pull() -> Self {
        Self::of_kind(ConsumerKind::HttpPull)
    }

    /// A Worker, by the name of its script.
    pub fn worker(script: impl Into<String>) -> Self {
        Self::of_kind(ConsumerKind::Worker).field("script_name", script.into())
    }

    /// Notifications. Add at least one target.
    pub fn notification() -> Self {
        Self::of_kind(ConsumerKind::Notification)
    }

    /// A consumer of any kind.
    pub fn of_kind(kind: ConsumerKind) -> Self {
        Self(Fields::default()).field("type", kind.as_str())
    }

    /// The kind of consumer.
    pub fn kind(&self) -> ConsumerKind {
        ConsumerKind::from(self.0.text("type").unwrap_or_default())
    }

    /// The name of the dead-letter queue, which receives the messages that have used up their retries. The service
    /// creates the queue if it does not exist. By default, such messages are deleted.
    pub fn dead_letter_queue(self, name: impl Into<String>) -> Self {
        self.field("dead_letter_queue", name.into())
    }

    /// The maximum number of messages in a batch: 1 to 100.
    pub fn batch_size(self, messages: u32) -> Self {
        self.setting("batch_size", messages)
    }

    /// How often a message is redelivered after its first delivery: at most 100. 3 by default.
    pub fn max_retries(self, retries: u32) -> Self {
        self.setting("max_retries", retries)
    }

    /// The delay of retried messages, unless the retry has its own: at most 24 hours, in whole seconds, rounded up.
    pub fn retry_delay(self, delay: Duration) -> Self {
        self.setting("retry_delay", fields::seconds(delay))
    }

    /// How long a lease lasts, unless the pull has its own visibility timeout: at most 12 hours, in whole milliseconds,
    /// rounded up. 30 s by default. For pull consumers.
    pub fn visibility_timeout(self, timeout: Duration) -> Self {
        self.setting("visibility_timeout_ms", fields::millis(timeout))
    }

    /// How long a batch waits to fill up: at most 1 minute, in whole milliseconds, rounded up. 5 s by default. For
    /// Workers.
    pub fn max_wait_time(self, wait: Duration) -> Self {
        self.setting("max_wait_time_ms", fields::millis(wait))
    }

    /// The maximum number of concurrent invocations, 1 to 250. `None`, the default, is the platform's maximum. For
    /// Workers.
    pub fn max_concurrency(self, invocations: Option<u32>) -> Self {
        self.setting("max_concurrency", invocations)
    }

    /// Adds a recipient of an email, by the id of the address. For notifications.
    pub fn email(self, id: impl Into<String>) -> Self {
        self.target("email", id.into())
    }

    /// Adds a webhook, by its id. For notifications.
    pub fn webhook(self, id: impl Into<String>) -> Self {
        self.target("webhooks", id.into())
    }

    /// Adds a PagerDuty service to alert, by its id. For notifications.
    pub fn pagerduty(self, id: impl Into<String>) -> Self {
        self.target("pagerduty", id.into())
    }

    /// A setting by its name on the wire, for one that this crate does not know.
    pub fn setting(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.set_within(SETTINGS, name, value);
        self
    }

    fn target(self, name: &str, id: String) -> Self {
        let mut targets = self.settings().list(name).to_vec();
        targets.push(json!({ "id": id }));
        self.setting(name, targets)
    }

    fn field(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.set(name, value);
        self
    }

    pub(crate) fn settings(&self) -> Fields {
        self.0.object(SETTINGS)
    }

    pub(crate) fn overlay(mut self, change: &Self) -> Self {
        self.0.overlay(&change.0);
        self
    }
}

/// All settings: leaves out what only the service decides and the empty name of no dead-letter queue, and renames the
/// Worker to the name used in requests.
impl From<&ConsumerDescription> for ConsumerSettings {
    fn from(description: &ConsumerDescription) -> Self {
        let mut fields = description.0.clone();
        for read_only in ["consumer_id", "created_on", "queue_name"] {
            fields.0.remove(read_only);
        }
        if fields.0.get("dead_letter_queue").is_some_and(|name| name == "") {
            fields.0.remove("dead_letter_queue");
        }
        if matches!(description.kind(), ConsumerKind::Other(_)) {
            return Self(fields);
        }
        for script in ["script", "script_name"] {
            fields.0.remove(script);
        }
        let script = description.script().map(str::to_owned);
        script.into_iter().fold(Self(fields), |settings, script| settings.field("script_name", script))
    }
}
