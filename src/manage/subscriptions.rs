//! Event subscriptions: which events of an account's other products are delivered to a queue.

use std::time::SystemTime;

use serde_json::Value;

use crate::{
    document::{
        fields::{Fields, described},
        generated::types::{CreateSubscriptionPayload, EventDestination, UpdateSubscriptionPayload},
        operation::Operation,
    },
    error::{Error, codes},
    http::{
        envelope::List,
        response::{self, Success},
    },
    manage::{
        id_in, limits,
        listing::{self, Listing},
        queues::Queues,
    },
    queue::ids::{QueueId, SubscriptionId},
};

/// The largest page, so that lists take few requests.
const PER_PAGE: u32 = limits::MAX_PER_PAGE;

described! {
    /// Where events come from: a product, and a part of it.
    ///
    /// ```
    /// use cloudflare_queues::manage::EventSource;
    ///
    /// let images = EventSource::new("images");
    /// let workflow = EventSource::new("workflows.workflow").with("workflow_name", "nightly");
    /// assert_eq!(workflow.get("workflow_name"), Some("nightly"));
    /// ```
    EventSource
}

impl EventSource {
    /// A source of a kind, such as `browserRun`, `images`, `kv`, `r2`, `superSlurper`, `vectorize`, `workersAi.model`,
    /// `workersBuilds.worker`, `workers.script`, `workflows.workflow`, or one that is newer than this crate.
    pub fn new(kind: impl Into<String>) -> Self {
        Self(Fields::default()).with("type", kind.into())
    }

    /// Selects a part of the source by `model_name`, `worker_name`, `script_tag`, `workflow_name`, or another field.
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.set(name, value);
        self
    }

    /// The kind of source; empty if the service sent none.
    pub fn kind(&self) -> &str {
        self.0.text("type").unwrap_or_default()
    }

    /// The value of a field, if it is a string.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.fields().get(name)?.as_str().filter(|text| !text.is_empty())
    }
}

described! {
    /// An event subscription as the service describes it.
    ///
    /// A field that is missing or of an unknown form reads as `None`; [`fields`](Self::fields) has everything.
    SubscriptionDescription {
        /// Whether events are delivered.
        is_enabled: bool = flag "enabled";

        /// When the subscription was created.
        created: SystemTime = time "created_at";

        /// When the subscription was last changed.
        modified: SystemTime = time "modified_at";
    }
}

impl SubscriptionDescription {
    /// The subscription's id.
    ///
    /// # Errors
    ///
    /// [`UnexpectedResponse`](crate::ErrorKind::UnexpectedResponse) if the service sent none.
    pub fn id(&self) -> Result<SubscriptionId, Error> {
        id_in(self.key(), "subscription")
    }

    fn key(&self) -> Option<&str> {
        self.0.text("id")
    }

    /// The subscription's name. Empty if the service sent none.
    pub fn name(&self) -> &str {
        self.0.text("name").unwrap_or_default()
    }

    /// The events that are delivered, by their short names.
    pub fn events(&self) -> Vec<&str> {
        self.0.list("events").iter().filter_map(Value::as_str).collect()
    }

    /// Where the events come from.
    pub fn source(&self) -> EventSource {
        EventSource(self.0.object("source"))
    }

    /// The id of the queue that the events are delivered to.
    pub fn queue_id(&self) -> Option<QueueId> {
        self.0.object("destination").text("queue_id").and_then(|id| QueueId::try_from(id).ok())
    }
}

/// An event subscription to create.
///
/// ```
/// use cloudflare_queues::{QueueId, manage::{EventSource, NewSubscription}};
///
/// let queue_id = QueueId::try_from("b01b5594f784d0165c2985833f5660dd")?;
/// let subscription = NewSubscription::new("uploads", EventSource::new("r2"), &queue_id).event("bucket.created");
/// # Ok::<(), cloudflare_queues::Error>(())
/// ```
#[must_use = "nothing is created until it is passed to Subscriptions::create"]
#[derive(Clone, Debug)]
pub struct NewSubscription(CreateSubscriptionPayload);

impl NewSubscription {
    /// An enabled subscription. Add at least one [event](Self::event).
    pub fn new(name: impl Into<String>, source: EventSource, queue_id: &QueueId) -> Self {
        let (name, destination) = (name.into(), destination(queue_id));
        Self(CreateSubscriptionPayload { name, enabled: true, events: Vec::new(), source, destination })
    }

    /// Adds an event, by its short name.
    pub fn event(mut self, event: impl Into<String>) -> Self {
        self.0.events.push(event.into());
        self
    }

    /// Whether events are delivered. `true` by default.
    pub fn enabled(mut self, is_enabled: bool) -> Self {
        self.0.enabled = is_enabled;
        self
    }
}

/// Changes to an event subscription. What is not given stays as it is. The source of a subscription cannot be changed.
#[must_use = "nothing changes until it is passed to Subscriptions::update"]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubscriptionChange {
    name: Option<String>,
    queue_id: Option<QueueId>,
    events: Option<Vec<String>>,
    is_enabled: Option<bool>,
}

impl SubscriptionChange {
    /// No change.
    pub fn new() -> Self {
        Self::default()
    }

    /// The subscription's name.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The queue that the events are delivered to.
    pub fn queue(mut self, queue_id: &QueueId) -> Self {
        self.queue_id = Some(queue_id.clone());
        self
    }

    /// The events that are delivered, replacing the previous ones. At least one.
    pub fn events(mut self, events: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.events = Some(events.into_iter().map(Into::into).collect());
        self
    }

    /// Whether events are delivered.
    pub fn enabled(mut self, is_enabled: bool) -> Self {
        self.is_enabled = Some(is_enabled);
        self
    }
}

/// A handle to the event subscriptions of an account. It is cheap to clone.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// use cloudflare_queues::{emulator::Emulator, manage::{EventSource, NewSubscription}};
///
/// let emulator = Emulator::in_process();
/// let subscriptions = emulator.client()?.queues(emulator.account_id())?.subscriptions();
/// let source = EventSource::new("r2");
/// let uploads = NewSubscription::new("uploads", source, emulator.queue()?.id()).event("bucket.created");
/// subscriptions.create(&uploads).await?;
/// let mut list = subscriptions.list();
/// while let Some(subscription) = list.next().await {
///     println!("{:?}", subscription?.name());
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Subscriptions(pub(super) Queues);

impl Subscriptions {
    /// Returns all event subscriptions, as a stream that requests the next page when it needs one.
    ///
    /// Operation `GET /accounts/{account_id}/event_subscriptions/subscriptions`.
    pub fn list(&self) -> Listing<SubscriptionDescription> {
        let subscriptions = self.clone();
        let key = |entry: &SubscriptionDescription| listing::key(entry.key(), entry.fields());
        Listing::new(Operation::ListSubscriptions, key, move |page| subscriptions.clone().page(page))
    }

    /// Creates an event subscription. The request is not retried if it may have arrived.
    ///
    /// Operation `POST /accounts/{account_id}/event_subscriptions/subscriptions`.
    ///
    /// # Errors
    ///
    /// [`AlreadyExists`](crate::ErrorKind::AlreadyExists) if the source has a subscription. Refused before anything is
    /// sent: a subscription without events.
    pub async fn create(&self, subscription: &NewSubscription) -> Result<SubscriptionDescription, Error> {
        limits::events(&subscription.0.events)?;
        self.0.call(async |client, account| client.create_subscription(account, &subscription.0).await)?.result().await
    }

    /// Returns an event subscription.
    ///
    /// Operation `GET /accounts/{account_id}/event_subscriptions/subscriptions/{subscription_id}`.
    ///
    /// # Errors
    ///
    /// [`NotFound`](crate::ErrorKind::NotFound) if there is no such subscription.
    pub async fn get(&self, id: &SubscriptionId) -> Result<SubscriptionDescription, Error> {
        self.0.call(async |client, account| client.get_subscription(account, id.wire()).await)?.result().await
    }

    /// Changes an event subscription.
    ///
    /// Operation `PATCH /accounts/{account_id}/event_subscriptions/subscriptions/{subscription_id}`.
    ///
    /// # Errors
    ///
    /// [`NotFound`](crate::ErrorKind::NotFound) if there is no such subscription. Refused before anything is sent: an
    /// empty list of events.
    pub async fn update(
        &self,
        id: &SubscriptionId,
        change: SubscriptionChange,
    ) -> Result<SubscriptionDescription, Error> {
        change.events.as_deref().map_or(Ok(()), limits::events)?;
        let payload = UpdateSubscriptionPayload {
            name: change.name,
            enabled: change.is_enabled,
            events: change.events.unwrap_or_default(),
            destination: change.queue_id.as_ref().map(destination),
        };
        let call =
            self.0.call(async |client, account| client.update_subscription(account, id.wire(), &payload).await)?;
        call.result().await
    }

    /// Deletes an event subscription.
    ///
    /// Operation `DELETE /accounts/{account_id}/event_subscriptions/subscriptions/{subscription_id}`.
    ///
    /// # Errors
    ///
    /// [`NotFound`](crate::ErrorKind::NotFound) if there was no such subscription.
    pub async fn delete(&self, id: &SubscriptionId) -> Result<(), Error> {
        let call = self.0.call(async |client, account| client.delete_subscription(account, id.wire()).await)?;
        call.delete(|error| error.has_code(codes::NOT_THERE)).await
    }

    async fn page(self, page: u32) -> Result<Success<List<SubscriptionDescription>>, Error> {
        let (page, per_page) = (page.try_into().ok(), PER_PAGE.try_into().ok());
        let call = self.0.call(async |client, account| client.list_subscriptions(account, page, per_page).await)?;
        Ok(call.read_by(response::read_list).send().await?.0)
    }
}

fn destination(queue_id: &QueueId) -> EventDestination {
    EventDestination { type_: "queues.queue".to_owned(), queue_id: queue_id.as_str().to_owned() }
}
