//! The consumers of a queue.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::{
    ack::AckRequest,
    consumers::{ConsumerDescription, ConsumerKind, ConsumerSettings},
    error::Error,
    error_kind::ErrorKind,
    ids::ConsumerId,
    limits,
    operation::Operation,
    pull::PullOptions,
    queue::Queue,
    response::gone,
    retry::ASK_AGAIN,
    transport,
};

/// How long a new pull consumer may take to work. A few seconds have been seen.
const PULLS_WITHIN: Duration = Duration::from_secs(60);

impl Queue {
    /// Returns the consumers of the queue. The service allows one active consumer.
    ///
    /// Operation `GET /accounts/{account_id}/queues/{queue_id}/consumers`.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound) if there is no such queue.
    pub async fn consumers(&self) -> Result<Vec<ConsumerDescription>, Error> {
        let ((_, account, queue), call) = (self.parts(), self.call(Operation::ListConsumers));
        Ok(call.run(call.client().list_consumers(account, queue)).await?.result.0)
    }

    /// Returns a consumer with its settings.
    ///
    /// Operation `GET /accounts/{account_id}/queues/{queue_id}/consumers/{consumer_id}`.
    ///
    /// # Errors
    ///
    /// [`NoSuchConsumer`](ErrorKind::NoSuchConsumer) if the queue has no such consumer.
    pub async fn consumer(&self, id: &ConsumerId) -> Result<ConsumerDescription, Error> {
        let ((_, account, queue), call) = (self.parts(), self.call(Operation::GetConsumer));
        Ok(call.run(call.client().get_consumer(account, queue, id.wire())).await?.result)
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
        let ((_, account, queue), call) = (self.parts(), self.call(Operation::CreateConsumer));
        Ok(call.run(call.client().create_consumer(account, queue, settings)).await?.result)
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
        let ((_, account, queue), call) = (self.parts(), self.call(Operation::UpdateConsumer));
        Ok(call.run(call.client().update_consumer(account, queue, id.wire(), settings)).await?.result)
    }

    /// Deletes a consumer. The queue and its messages are kept.
    ///
    /// Operation `DELETE /accounts/{account_id}/queues/{queue_id}/consumers/{consumer_id}`.
    ///
    /// # Errors
    ///
    /// [`NoSuchConsumer`](ErrorKind::NoSuchConsumer) if the queue had no such consumer.
    pub async fn delete_consumer(&self, id: &ConsumerId) -> Result<(), Error> {
        let ((_, account, queue), call) = (self.parts(), self.call(Operation::DeleteConsumer));
        let deleted = call.run(call.client().delete_consumer(account, queue, id.wire())).await.map(drop);
        gone(deleted, ErrorKind::NoSuchConsumer)
    }

    /// Enables pulling over HTTP: creates a pull consumer or updates the existing one, and waits until pulls are
    /// accepted. The call can be repeated. Settings that are not given stay as they are.
    ///
    /// To check whether pulls are accepted, it pulls one message and returns it to the queue at once. That counts as an
    /// attempt, so it is done only in the first minute of a consumer, and not if messages are not retried
    /// (`max_retries` is 0).
    ///
    /// # Errors
    ///
    /// As for [`set_pull_consumer`](Self::set_pull_consumer), and [`NotPullConsumer`](ErrorKind::NotPullConsumer) if
    /// pulls are still refused after a minute.
    pub async fn enable_pull(&self, settings: ConsumerSettings) -> Result<ConsumerDescription, Error> {
        let consumer = self.set_pull_consumer(settings).await?;
        let age = consumer.created().map(|created| created.elapsed().unwrap_or_default());
        if age.is_none_or(|age| age < PULLS_WITHIN) && consumer.max_retries() != Some(0) {
            self.wait_for_pulls(PULLS_WITHIN).await?;
        }
        Ok(consumer)
    }

    /// Like [`enable_pull`](Self::enable_pull), without waiting.
    ///
    /// # Errors
    ///
    /// [`AlreadyExists`](ErrorKind::AlreadyExists) if the queue has a consumer of another kind, which you have to
    /// delete first. Refused before anything is sent: settings of another kind, or out of bounds.
    pub async fn set_pull_consumer(&self, settings: ConsumerSettings) -> Result<ConsumerDescription, Error> {
        if settings.kind() != ConsumerKind::HttpPull {
            return Err(Error::invalid("settings: must be those of a pull consumer"));
        }
        limits::consumer_settings(&settings)?;
        if let Some(set) = self.change_pull(&settings).await? {
            return Ok(set);
        }
        let error = match self.create_consumer(&settings).await {
            Ok(made) => return Ok(made),
            Err(error) => error,
        };
        // Someone else was faster, or the response was lost: the consumer exists.
        if error.kind() != ErrorKind::AlreadyExists && !error.may_have_arrived() {
            return Err(error);
        }
        match self.change_pull(&settings).await {
            Ok(Some(set)) => Ok(set),
            _ => Err(error),
        }
    }

    /// Changes the pull consumer, if there is one and it is not as wanted.
    async fn change_pull(&self, settings: &ConsumerSettings) -> Result<Option<ConsumerDescription>, Error> {
        let consumers = self.consumers().await?;
        let Some(now) = consumers.into_iter().find(|consumer| consumer.kind() == ConsumerKind::HttpPull) else {
            return Ok(None);
        };
        let before = ConsumerSettings::from(&now);
        let wanted = before.clone().overlay(settings);
        if wanted == before {
            return Ok(Some(now));
        }
        // The other settings are sent back as described, whatever our bounds are.
        self.put_consumer(&now.id()?, &wanted).await.map(Some)
    }

    async fn wait_for_pulls(&self, timeout: Duration) -> Result<(), Error> {
        let end = transport::after(timeout);
        loop {
            match self.pull(PullOptions::new().batch_size(1)).await {
                Ok(batch) => {
                    if !batch.is_empty() {
                        // If the retry is not confirmed, the message comes back when its lease expires.
                        let _ = self.ack(AckRequest::retry_all(&batch)).await?;
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
