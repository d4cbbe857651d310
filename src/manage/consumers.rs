//! The consumers of a queue: their descriptions, the settings to create or change them with, and the methods for both.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::{
    document::{
        fields::{self, Fields, described, open_names},
        operation::Operation,
    },
    error::{Error, codes, kind::ErrorKind},
    http::{
        envelope::List,
        response::{self, Success},
        retry::ASK_AGAIN,
    },
    manage::{id_in, limits, of_creation},
    message::{pull::PullOptions, settlement::Settlement},
    queue::{Queue, ids::ConsumerId},
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
    ConsumerDescription {
        /// The name of the dead-letter queue.
        dead_letter_queue: &str = text "dead_letter_queue";

        /// The name of the queue that is consumed.
        queue_name: &str = text "queue_name";

        /// When the consumer was created.
        created: SystemTime = time "created_on";

        /// The maximum number of messages in a batch.
        batch_size: u32 = small_count "settings/batch_size";

        /// How often a message is redelivered after its first delivery.
        max_retries: u32 = small_count "settings/max_retries";

        /// The delay of retried messages, unless the retry has its own.
        retry_delay: Duration = seconds "settings/retry_delay";

        /// How long a lease lasts, unless the pull has its own visibility timeout. For pull consumers.
        visibility_timeout: Duration = millis "settings/visibility_timeout_ms";

        /// How long a batch waits to fill up. For Workers.
        max_wait_time: Duration = millis "settings/max_wait_time_ms";

        /// The maximum number of concurrent invocations. `None` is the platform's maximum. For Workers.
        max_concurrency: u32 = small_count "settings/max_concurrency";
    }
}

impl ConsumerDescription {
    /// The consumer's id.
    ///
    /// # Errors
    ///
    /// [`UnexpectedResponse`](ErrorKind::UnexpectedResponse) if the service sent none.
    pub fn id(&self) -> Result<ConsumerId, Error> {
        id_in(self.0.text("consumer_id"), "consumer")
    }

    /// The kind of consumer.
    pub fn kind(&self) -> ConsumerKind {
        ConsumerKind::from(self.0.text("type").unwrap_or_default())
    }

    /// The Worker that messages are delivered to.
    pub fn script(&self) -> Option<&str> {
        self.0.text("script").or_else(|| self.0.text("script_name"))
    }
}

described! {
    /// Settings to create or replace a consumer with. A setting that is not given has the service's default.
    ///
    /// ```
    /// use cloudflare_queues::manage::ConsumerSettings;
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

    /// Notifications. Add at least one target. The service fixes their batch size (1), retry delay (10 s) and number of
    /// retries (100), so leave these out.
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
    /// creates the queue if it does not exist. An existing queue must have the same
    /// [jurisdiction](crate::manage::NewQueue::jurisdiction). By default, such messages are deleted.
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

/// How long a new pull consumer may take to work. A few seconds have been seen.
const PULLS_WITHIN: Duration = Duration::from_secs(60);

/// Consumers.
impl Queue {
    /// Returns the consumers of the queue. The service allows one active consumer.
    ///
    /// Operation `GET /accounts/{account_id}/queues/{queue_id}/consumers`.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound) if there is no such queue, and
    /// [`UnexpectedResponse`](ErrorKind::UnexpectedResponse) if the service says that there are more consumers than it
    /// returned, since the operation has no pages.
    pub async fn consumers(&self) -> Result<Vec<ConsumerDescription>, Error> {
        let call = self.call(async |client, account, queue| client.list_consumers(account, queue).await)?;
        let (Success { result: List(consumers), pages, .. }, _) = call.read_by(response::read_list).send().await?;
        let here = pages.here.unwrap_or(consumers.len() as u64);
        let is_part = pages.count.is_some_and(|count| count > 1) || pages.entries.is_some_and(|all| all > here);
        if is_part || pages.has_more {
            let message = "the service returned only a part of the queue's consumers";
            let error = Error::new(ErrorKind::UnexpectedResponse, message);
            return Err(error.in_operation(Operation::ListConsumers.id(), 1));
        }
        Ok(consumers)
    }

    /// Returns a consumer with its settings.
    ///
    /// Operation `GET /accounts/{account_id}/queues/{queue_id}/consumers/{consumer_id}`.
    ///
    /// # Errors
    ///
    /// [`NoSuchConsumer`](ErrorKind::NoSuchConsumer) if the queue has no such consumer.
    pub async fn consumer(&self, id: &ConsumerId) -> Result<ConsumerDescription, Error> {
        self.call(async |client, account, queue| client.get_consumer(account, queue, id.wire()).await)?.result().await
    }

    /// Creates a consumer. The service refuses pulls for a few seconds after a pull consumer was created;
    /// [`enable_pull`](Self::enable_pull) waits for that.
    ///
    /// The request is not retried if it may have arrived.
    ///
    /// Operation `POST /accounts/{account_id}/queues/{queue_id}/consumers`.
    ///
    /// # Errors
    ///
    /// [`AlreadyExists`](ErrorKind::AlreadyExists) if the queue has a consumer. Refused before anything is sent: a
    /// setting out of bounds.
    pub async fn create_consumer(&self, settings: &ConsumerSettings) -> Result<ConsumerDescription, Error> {
        limits::consumer_settings(settings)?;
        self.call(async |client, account, queue| client.create_consumer(account, queue, settings).await)?.result().await
    }

    /// Replaces all settings of a consumer. Settings that are not given get the service's defaults; to keep them, start
    /// from `ConsumerSettings::from(&description)`.
    ///
    /// Operation `PUT /accounts/{account_id}/queues/{queue_id}/consumers/{consumer_id}`.
    ///
    /// # Errors
    ///
    /// Refused before anything is sent: a setting out of bounds. If the consumer does not exist, the service may create
    /// it.
    pub async fn update_consumer(
        &self,
        id: &ConsumerId,
        settings: &ConsumerSettings,
    ) -> Result<ConsumerDescription, Error> {
        limits::consumer_settings(settings)?;
        self.put_consumer(id, settings).await
    }

    async fn put_consumer(&self, id: &ConsumerId, settings: &ConsumerSettings) -> Result<ConsumerDescription, Error> {
        self.call(async |client, account, queue| client.update_consumer(account, queue, id.wire(), settings).await)?
            .result()
            .await
    }

    /// Deletes a consumer. The queue and its messages are kept.
    ///
    /// Operation `DELETE /accounts/{account_id}/queues/{queue_id}/consumers/{consumer_id}`.
    ///
    /// # Errors
    ///
    /// [`NoSuchConsumer`](ErrorKind::NoSuchConsumer) if the queue had no such consumer.
    pub async fn delete_consumer(&self, id: &ConsumerId) -> Result<(), Error> {
        let call = self.call(async |client, account, queue| client.delete_consumer(account, queue, id.wire()).await)?;
        call.delete(|error| error.has_any(codes::NO_CONSUMER)).await
    }

    /// Enables pulling over HTTP: creates a pull consumer or updates the existing one, and waits until pulls are
    /// accepted. The call can be repeated. Settings that are not given stay as they are.
    ///
    /// To check whether pulls are accepted, it pulls one message and returns it to the queue at once. That counts as an
    /// attempt, so it is done only in the first minute of a consumer, and not if messages are not retried
    /// (`max_retries` is 0, or unknown for a consumer that existed).
    ///
    /// # Errors
    ///
    /// [`AlreadyExists`](ErrorKind::AlreadyExists) if the queue has a consumer of another kind, which you have to
    /// delete first. [`NotPullConsumer`](ErrorKind::NotPullConsumer) if pulls are still refused after a minute. Refused
    /// before anything is sent: settings of another kind, or out of bounds.
    pub async fn enable_pull(&self, settings: ConsumerSettings) -> Result<ConsumerDescription, Error> {
        let (consumer, before) = self.set_pull_consumer(&settings).await?;
        // The response may leave out any field.
        let created = before.as_ref().and_then(|before| before.created()).or_else(|| consumer.created());
        let age = created.map(|created| created.elapsed().unwrap_or_default());
        let retries = consumer.max_retries().or_else(|| settings.0.small_count("settings/max_retries"));
        let retries = retries.or_else(|| before.as_ref()?.max_retries());
        // A new consumer has the service's default, which is not 0.
        let is_retried = retries.map_or(before.is_none(), |retries| retries > 0);
        if age.is_none_or(|age| age < PULLS_WITHIN) && is_retried {
            self.wait_for_pulls().await.map_err(|error| error.or_may_have_arrived(true))?;
        }
        Ok(consumer)
    }

    /// Returns the consumer, and what was listed of it if it existed.
    async fn set_pull_consumer(
        &self,
        settings: &ConsumerSettings,
    ) -> Result<(ConsumerDescription, Option<ConsumerDescription>), Error> {
        if settings.kind() != ConsumerKind::HttpPull {
            return Err(Error::invalid("settings: must be those of a pull consumer"));
        }
        limits::consumer_settings(settings)?;
        if let Some((set, before)) = self.change_pull(settings).await? {
            return Ok((set, Some(before)));
        }
        let error = match self.create_consumer(settings).await {
            Ok(made) => return Ok((made, None)),
            Err(error) => error,
        };
        // Someone else was faster, or the response was lost: the consumer exists.
        if error.kind() != ErrorKind::AlreadyExists && !error.may_have_arrived() {
            return Err(error);
        }
        match self.change_pull(settings).await {
            Ok(Some((set, before))) => Ok((set, Some(before))),
            Ok(None) => Err(error),
            Err(later) => Err(of_creation(error, later)),
        }
    }

    /// Changes the pull consumer, if there is one and it is not as wanted. Returns it after and before that.
    async fn change_pull(
        &self,
        settings: &ConsumerSettings,
    ) -> Result<Option<(ConsumerDescription, ConsumerDescription)>, Error> {
        let consumers = self.consumers().await?;
        let Some(now) = consumers.into_iter().find(|consumer| consumer.kind() == ConsumerKind::HttpPull) else {
            return Ok(None);
        };
        let before = ConsumerSettings::from(&now);
        let mut wanted = before.clone();
        wanted.0.overlay(&settings.0);
        if wanted == before {
            return Ok(Some((now.clone(), now)));
        }
        // The other settings are sent back as described, whatever our bounds are.
        let set = self.put_consumer(&now.id()?, &wanted).await?;
        Ok(Some((set, now)))
    }

    async fn wait_for_pulls(&self) -> Result<(), Error> {
        let end = Instant::now() + PULLS_WITHIN;
        loop {
            match self.pull(PullOptions::new().batch_size(1)).await {
                Ok(batch) => {
                    if !batch.is_empty() {
                        // If the retry is not confirmed, the message comes back when its lease expires.
                        let at_once = batch.iter().map(|message| Settlement::retry_in(message, Duration::ZERO));
                        let _ = self.ack(at_once.collect()).await?;
                    }
                    return Ok(());
                }
                // The queue may be paused; pulls are enabled all the same.
                Err(error) if error.kind() == ErrorKind::DeliveryPaused => return Ok(()),
                Err(error) if error.kind() == ErrorKind::NotPullConsumer && Instant::now() < end => {
                    sleep(ASK_AGAIN).await;
                }
                Err(error) => return Err(error),
            }
        }
    }
}
