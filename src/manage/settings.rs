//! A queue's description, and the settings to create or change it with.

use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::{
    document::fields::{self, described, open_names},
    error::Error,
    manage::{consumers::ConsumerDescription, id_in},
    queue::ids::QueueId,
};

open_names! {
    /// Where a queue's data is stored. It is chosen when the queue is created.
    ///
    /// ```
    /// use cloudflare_queues::manage::Jurisdiction;
    ///
    /// assert_eq!(Jurisdiction::from("eu"), Jurisdiction::Eu);
    /// assert_eq!(Jurisdiction::from("moon").as_str(), "moon");
    /// ```
    Jurisdiction {
        /// The European Union.
        Eu = "eu",
        /// The United States.
        Us = "us",
        /// Data centers that meet FedRAMP.
        FedRamp = "fedramp",
    }
}

described! {
    /// A queue as the service describes it.
    ///
    /// A field that is missing or of an unknown form reads as `None`; [`fields`](Self::fields) has everything.
    QueueDescription {
        /// When the queue was created.
        created: SystemTime = time "created_on";

        /// When the queue was last changed.
        modified: SystemTime = time "modified_on";

        /// How many consumers there are.
        consumer_count: u64 = count "consumers_total_count";

        /// How many producers there are.
        producer_count: u64 = count "producers_total_count";

        /// The delay of pushed messages, unless the push has its own.
        delivery_delay: Duration = seconds "settings/delivery_delay";

        /// How long a message is kept.
        message_retention: Duration = seconds "settings/message_retention_period";

        /// Whether delivery to consumers is paused.
        delivery_paused: bool = flag "settings/delivery_paused";
    }
}

impl QueueDescription {
    /// The queue's id.
    ///
    /// # Errors
    ///
    /// [`UnexpectedResponse`](crate::ErrorKind::UnexpectedResponse) if the service sent none.
    pub fn id(&self) -> Result<QueueId, Error> {
        id_in(self.key(), "queue")
    }

    pub(crate) fn key(&self) -> Option<&str> {
        self.0.text("queue_id")
    }

    /// The queue's name; empty if the service sent none.
    pub fn name(&self) -> &str {
        self.0.text("queue_name").unwrap_or_default()
    }

    /// Where the queue's data is stored, if that was chosen.
    pub fn jurisdiction(&self) -> Option<Jurisdiction> {
        self.0.text("jurisdiction").map(Jurisdiction::from)
    }

    /// The consumers. The service may list fewer than [there are](Self::consumer_count);
    /// [`Queue::consumers`](crate::Queue::consumers) asks for them.
    pub fn consumers(&self) -> Vec<ConsumerDescription> {
        self.0.list("consumers").iter().filter_map(|entry| serde_json::from_value(entry.clone()).ok()).collect()
    }

    /// The producers that the service knows, such as Workers. Programs that push over HTTP are not among them.
    pub fn producers(&self) -> Vec<Producer> {
        self.0.list("producers").iter().filter_map(|entry| serde_json::from_value(entry.clone()).ok()).collect()
    }

    pub(crate) fn settings(&self) -> QueueSettings {
        QueueSettings(self.0.object("settings"))
    }
}

open_names! {
    /// What pushes messages to a queue.
    ProducerKind {
        /// A Worker.
        Worker = "worker",
        /// An R2 bucket, by its event notifications.
        R2Bucket = "r2_bucket",
    }
}

described! {
    /// A producer of a queue, as the service describes it.
    Producer {
        /// The bucket, for a producer of the kind [`R2Bucket`](ProducerKind::R2Bucket).
        bucket_name: &str = text "bucket_name";
    }
}

impl Producer {
    /// The kind of producer.
    pub fn kind(&self) -> ProducerKind {
        ProducerKind::from(self.0.text("type").unwrap_or_default())
    }

    /// The Worker, for a producer of the kind [`Worker`](ProducerKind::Worker).
    pub fn script(&self) -> Option<&str> {
        self.0.text("script").or_else(|| self.0.text("script_name"))
    }
}

described! {
    /// Settings to create or change a queue with. A setting that is not given stays as it is, or has the service's
    /// default.
    ///
    /// ```
    /// use cloudflare_queues::manage::QueueSettings;
    /// use std::time::Duration;
    ///
    /// let settings = QueueSettings::new().delivery_delay(Duration::from_secs(5));
    /// let settings = settings.message_retention(Duration::from_secs(3600));
    /// ```
    #[must_use = "settings do nothing until they are passed to a queue"]
    #[derive(Default)]
    QueueSettings
}

impl QueueSettings {
    /// No settings.
    pub fn new() -> Self {
        Self::default()
    }

    /// The delay of pushed messages, unless the push has its own: at most 24 hours, in whole seconds, rounded up.
    pub fn delivery_delay(self, delay: Duration) -> Self {
        self.setting("delivery_delay", fields::seconds(delay))
    }

    /// How long a message is kept: 60 seconds to 14 days, in whole seconds, rounded up. The service's default is 4 days
    /// (1 day on the free plan).
    pub fn message_retention(self, retention: Duration) -> Self {
        self.setting("message_retention_period", fields::seconds(retention))
    }

    /// Whether delivery to consumers is paused.
    pub fn delivery_paused(self, is_paused: bool) -> Self {
        self.setting("delivery_paused", is_paused)
    }

    /// A setting by its name on the wire, for one that this crate does not know.
    pub fn setting(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.set(name, value);
        self
    }

    pub(crate) fn overlay(mut self, change: &Self) -> Self {
        self.0.overlay(&change.0);
        self
    }
}

/// A queue to create.
///
/// ```
/// use cloudflare_queues::manage::{Jurisdiction, NewQueue, QueueSettings};
///
/// let paused = QueueSettings::new().delivery_paused(true);
/// let queue = NewQueue::new("jobs").jurisdiction(Jurisdiction::Eu).settings(paused);
/// ```
#[must_use = "nothing is made until it is given to Queues::create"]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewQueue {
    pub(crate) name: String,
    pub(crate) jurisdiction: Option<Jurisdiction>,
    pub(crate) settings: QueueSettings,
}

impl NewQueue {
    /// A queue of this name with the service's defaults.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), jurisdiction: None, settings: QueueSettings::new() }
    }

    /// Where to store the queue's data. It cannot be changed later, and a dead-letter queue must have that of its
    /// source.
    pub fn jurisdiction(mut self, jurisdiction: Jurisdiction) -> Self {
        self.jurisdiction = Some(jurisdiction);
        self
    }

    /// The queue's settings.
    pub fn settings(mut self, settings: QueueSettings) -> Self {
        self.settings = settings;
        self
    }
}

impl From<&str> for NewQueue {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}

impl From<String> for NewQueue {
    fn from(name: String) -> Self {
        Self::new(name)
    }
}
