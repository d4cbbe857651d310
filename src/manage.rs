//! Queues, their settings and consumers, event subscriptions, and purges.

mod consumers;
pub(crate) mod limits;
mod listing;
mod queues;
mod settings;
mod subscriptions;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use serde_json::Value;
use tokio::time::{Instant, sleep};

pub use self::{
    consumers::{ConsumerDescription, ConsumerKind, ConsumerSettings},
    listing::Listing,
    queues::Queues,
    settings::{Jurisdiction, NewQueue, Producer, ProducerKind, QueueDescription, QueueSettings},
    subscriptions::{EventSource, NewSubscription, SubscriptionChange, SubscriptionDescription, Subscriptions},
};
pub use crate::queue::ids::{ConsumerId, SubscriptionId};
use crate::{
    document::{
        fields::described,
        generated::types::{PurgeQueuePayload, UpdateQueuePayload},
        operation::Operation,
    },
    error::{Error, codes, kind::ErrorKind},
    http::{retry::ASK_AGAIN, transport},
    message::pull::Metrics,
    queue::{Queue, wire},
};

/// The queue itself, its settings and its backlog.
impl Queue {
    /// Returns a handle to all queues of the account.
    pub fn queues(&self) -> Queues {
        Queues::new(Arc::clone(self.transport()), self.account_id().clone())
    }

    /// Returns the queue's settings, consumers and producers.
    ///
    /// Operation `GET /accounts/{account_id}/queues/{queue_id}`.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound) if there is no such queue.
    pub async fn describe(&self) -> Result<QueueDescription, Error> {
        self.call(async |client, account, queue| client.get_queue(account, queue).await)?.result().await
    }

    /// Changes settings of the queue, and leaves the others as they are.
    ///
    /// This takes two requests: it [describes](Self::describe) the queue and then [sends](Self::update_from) all
    /// settings, so that none is lost, whatever the service does with settings that a request leaves out. If two
    /// programs change a queue at the same time, one may undo the other's change.
    ///
    /// # Errors
    ///
    /// Refused before anything is sent: a setting out of bounds.
    pub async fn update(&self, change: QueueSettings) -> Result<QueueDescription, Error> {
        limits::queue_settings(&change)?;
        self.update_from(&self.describe().await?, change).await
    }

    /// Like [`update`](Self::update), but with one request, for a queue whose description you have.
    ///
    /// Operation `PATCH /accounts/{account_id}/queues/{queue_id}`.
    ///
    /// # Errors
    ///
    /// As [`update`](Self::update).
    pub async fn update_from(
        &self,
        description: &QueueDescription,
        change: QueueSettings,
    ) -> Result<QueueDescription, Error> {
        // The other settings are sent back as described, whatever our bounds are.
        limits::queue_settings(&change)?;
        let payload = payload(description, description.settings().overlay(&change));
        self.call(async |client, account, queue| client.update_queue(account, queue, &payload).await)?.result().await
    }

    /// Replaces all settings of a queue whose description you have. Settings that are not given get the service's
    /// defaults.
    ///
    /// Operation `PUT /accounts/{account_id}/queues/{queue_id}`.
    ///
    /// # Errors
    ///
    /// As [`update`](Self::update).
    pub async fn replace_settings(
        &self,
        description: &QueueDescription,
        settings: QueueSettings,
    ) -> Result<QueueDescription, Error> {
        limits::queue_settings(&settings)?;
        let payload = payload(description, settings);
        self.call(async |client, account, queue| client.replace_queue(account, queue, &payload).await)?.result().await
    }

    /// Pauses delivery: pulls are refused until [`resume`](Self::resume), and messages can still be pushed.
    ///
    /// # Errors
    ///
    /// As [`update`](Self::update).
    pub async fn pause(&self) -> Result<QueueDescription, Error> {
        self.update(QueueSettings::new().delivery_paused(true)).await
    }

    /// Resumes delivery.
    ///
    /// # Errors
    ///
    /// As [`update`](Self::update).
    pub async fn resume(&self) -> Result<QueueDescription, Error> {
        self.update(QueueSettings::new().delivery_paused(false)).await
    }

    /// Deletes the queue with its messages and consumers.
    ///
    /// Operation `DELETE /accounts/{account_id}/queues/{queue_id}`.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound) if there was no such queue, [`InUse`](ErrorKind::InUse) if something still
    /// depends on it.
    pub async fn delete(&self) -> Result<(), Error> {
        let call = self.call(async |client, account, queue| client.delete_queue(account, queue).await)?;
        call.delete(|error| error.has_any(codes::NO_QUEUE) || error.has_code(codes::NOT_THERE)).await
    }

    /// Returns the size of the queue's backlog.
    ///
    /// Operation `GET /accounts/{account_id}/queues/{queue_id}/metrics`.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound) if there is no such queue.
    pub async fn metrics(&self) -> Result<Metrics, Error> {
        let result =
            self.call(async |client, account, queue| client.get_queue_metrics(account, queue).await)?.result().await?;
        Ok(wire::metrics_of(result))
    }

    /// Starts deleting all messages of the queue, which the service does in the background. They cannot be recovered.
    ///
    /// Operation `POST /accounts/{account_id}/queues/{queue_id}/purge`.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound) if there is no such queue.
    pub async fn purge_all(&self) -> Result<PurgeStatus, Error> {
        let payload = PurgeQueuePayload { delete_messages_permanently: true };
        self.call(async |client, account, queue| client.purge_queue(account, queue, &payload).await)?.result().await
    }

    /// Returns the progress of deleting all messages.
    ///
    /// Operation `GET /accounts/{account_id}/queues/{queue_id}/purge`.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound) if there is no such queue.
    pub async fn purge_status(&self) -> Result<PurgeStatus, Error> {
        self.call(async |client, account, queue| client.get_purge(account, queue).await)?.result().await
    }

    /// Deletes all messages of the queue, and checks every second until that is done. If the service does not say when
    /// the deletion began, the status of an earlier one may end the wait.
    ///
    /// # Errors
    ///
    /// [`Timeout`](ErrorKind::Timeout) if it is not done in time. The service continues.
    pub async fn purge_all_and_wait(&self, timeout: Duration) -> Result<PurgeStatus, Error> {
        let started = self.purge_all().await?.started();
        let end = transport::after(timeout);
        loop {
            let status = self.purge_status().await.map_err(|error| error.or_may_have_arrived(true))?;
            // The status may still be that of an earlier purge. Its time may lack fractions of a second.
            let age = |started: SystemTime| status.started().and_then(|earlier| started.duration_since(earlier).ok());
            let is_earlier = started.and_then(age).is_some_and(|age| age >= Duration::from_secs(1));
            if status.is_complete() && !is_earlier {
                return Ok(status);
            }
            if Instant::now() >= end {
                let error = Error::new(ErrorKind::Timeout, "the messages are not all deleted yet")
                    .in_operation(Operation::GetPurge.id(), 1);
                return Err(error.with_advice(Some("ask again with `Queue::purge_status`")).or_may_have_arrived(true));
            }
            sleep(ASK_AGAIN).await;
        }
    }
}

described! {
    /// The progress of deleting all messages of a queue, as the service reports it.
    PurgeStatus {
        /// When the deletion began.
        started: SystemTime = time "started_at";

        /// When the deletion ended, if it has and the service sent the time.
        completed: SystemTime = time "completed";
    }
}

impl PurgeStatus {
    /// Whether the deletion has ended. The published document has a text of unspecified form here, and another
    /// Cloudflare tool reads a boolean with another name. Both work.
    pub fn is_complete(&self) -> bool {
        ["completed", "complete"].iter().any(|name| match self.fields().get(*name) {
            Some(Value::Bool(is_complete)) => *is_complete,
            Some(Value::String(text)) => !["", "false", "null"].contains(&text.trim().to_ascii_lowercase().as_str()),
            _ => false,
        })
    }
}

/// The error if a creation failed, and then looking for what exists. That something exists is no reason to fail.
fn of_creation(creation: Error, search: Error) -> Error {
    let (error, other) =
        if creation.kind() == ErrorKind::AlreadyExists { (search, creation) } else { (creation, search) };
    error.or_may_have_arrived(other.may_have_arrived())
}

/// The id in a description.
fn id_in<'a, T: TryFrom<&'a str>>(id: Option<&'a str>, of: &str) -> Result<T, Error> {
    id.and_then(|id| T::try_from(id).ok()).ok_or_else(|| {
        let message = format!("the response describes a {of} without an id");
        Error::new(ErrorKind::UnexpectedResponse, message).with_attempts(1).or_may_have_arrived(true)
    })
}

/// Every change includes the name, since Cloudflare's own tools send it.
fn payload(description: &QueueDescription, settings: QueueSettings) -> UpdateQueuePayload {
    UpdateQueuePayload { queue_name: description.name().try_into().ok(), settings: Some(settings) }
}
