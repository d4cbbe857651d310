//! The queues of an account: listing them, finding them by name, and creating them.

use std::{sync::Arc, time::Duration};

use serde::de::DeserializeOwned;

use crate::{
    document::{
        generated::{
            self,
            types::{CreateQueuePayload, Identifier},
        },
        operation::Operation,
    },
    error::{Error, kind::ErrorKind},
    http::{
        call::{Call, Returned},
        envelope::List,
        response::{self, Success},
        transport::{DEFAULT_BASE_URL, Transport},
    },
    manage::{
        limits,
        listing::{self, Listing},
        of_creation,
        settings::{NewQueue, QueueDescription},
        subscriptions::Subscriptions,
    },
    queue::{
        Queue,
        ids::{AccountId, QueueId},
    },
};

/// A handle to the queues of an account. It is cheap to clone.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// # let emulator = cloudflare_queues::emulator::Emulator::start().await?;
/// # let (client, account_id) = (emulator.client()?, emulator.account_id());
/// use cloudflare_queues::{PushMessage, manage::ConsumerSettings};
///
/// let queue = client.queues(account_id)?.get_or_create("jobs").await?;
/// queue.enable_pull(ConsumerSettings::pull().max_retries(10)).await?;
/// queue.push(&PushMessage::text("hello")).await?;
/// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Queues {
    transport: Arc<Transport>,
    account: AccountId,
}

impl Queues {
    pub(crate) fn new(transport: Arc<Transport>, account: AccountId) -> Self {
        Self { transport, account }
    }

    /// The id of the account.
    pub fn account_id(&self) -> &AccountId {
        &self.account
    }

    /// Returns a handle to the event subscriptions of the account. Nothing is sent.
    pub fn subscriptions(&self) -> Subscriptions {
        Subscriptions(self.clone())
    }

    /// Returns a handle to a queue of the account. Nothing is sent.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput) if the id is empty, is longer than 32 characters, or contains anything
    /// but letters, digits, `_` and `-`. A queue's id is not its name: with Cloudflare's own base URL, an id that looks
    /// like a name is refused. [`named`](Self::named) finds a queue by its name.
    pub fn queue(&self, queue_id: impl TryInto<QueueId, Error: Into<Error>>) -> Result<Queue, Error> {
        let queue_id = queue_id.try_into().map_err(Into::<Error>::into)?;
        if self.transport.base_url() == DEFAULT_BASE_URL && !queue_id.is_cloudflares() {
            return Err(Error::invalid(
                "queue_id: must have 32 hexadecimal digits; `queue_named` finds a queue by its name",
            ));
        }
        Ok(self.handle(queue_id))
    }

    /// Finds the queue with this name.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound) if the account has no queue with this name. Otherwise as for
    /// [`find`](Self::find).
    pub async fn named(&self, name: &str) -> Result<Queue, Error> {
        let found = self.find(name).await?;
        let none = || {
            Error::new(ErrorKind::NotFound, "the account has no queue with this name")
                .in_operation(Operation::ListQueues.id(), 1)
                .with_advice(Some("check the name and the account id, or create the queue with `Queues::create`"))
        };
        Ok(self.handle(found.ok_or_else(none)?.id()?))
    }

    /// Returns all queues, as a stream that requests the next page when it needs one.
    ///
    /// Operation `GET /accounts/{account_id}/queues`.
    pub fn list(&self) -> Listing<QueueDescription> {
        self.pages(None)
    }

    /// Returns the description of the queue with this name, or `None`. This usually takes one request.
    ///
    /// # Errors
    ///
    /// Refused before anything is sent: an empty name.
    pub async fn find(&self, name: &str) -> Result<Option<QueueDescription>, Error> {
        limits::queue_name(name)?;
        let mut pages = self.pages(Some(name.to_owned()));
        while let Some(queue) = pages.next().await {
            let queue = queue?;
            if queue.name() == name {
                return Ok(Some(queue));
            }
        }
        Ok(None)
    }

    /// Creates a queue.
    ///
    /// The request is not retried if it may have arrived, so [`AlreadyExists`](ErrorKind::AlreadyExists) always means
    /// that the queue existed before the call.
    ///
    /// Operation `POST /accounts/{account_id}/queues`.
    ///
    /// # Errors
    ///
    /// [`AlreadyExists`](ErrorKind::AlreadyExists) if another queue has the name,
    /// [`InvalidName`](ErrorKind::InvalidName) if the name is not valid. Refused before anything is sent: an empty
    /// name, a setting out of bounds. If the request [may have arrived](Error::may_have_arrived), use
    /// [`find`](Self::find) to see whether the queue was created.
    pub async fn create(&self, queue: impl Into<NewQueue>) -> Result<Queue, Error> {
        let queue = queue.into();
        limits::queue_name(&queue.name)?;
        limits::queue_settings(&queue.settings)?;
        let payload = CreateQueuePayload {
            queue_name: queue.name.try_into().map_err(|_| Error::invalid("name: must not be empty"))?,
            jurisdiction: queue.jurisdiction.map(|jurisdiction| jurisdiction.as_str().to_owned()),
            settings: Some(queue.settings).filter(|settings| !settings.fields().is_empty()),
        };
        let made = self.call(async |client, account| client.create_queue(account, &payload).await)?.result().await?;
        let id = made.id().map_err(|error| error.in_operation(Operation::CreateQueue.id(), 1))?;
        Ok(self.handle(id))
    }

    /// Returns the queue with this name, and creates it if it does not exist. An existing queue keeps its settings.
    ///
    /// # Errors
    ///
    /// As for [`find`](Self::find) and [`create`](Self::create). It is not an error if the queue exists, or if it was
    /// created and the response was lost.
    pub async fn get_or_create(&self, queue: impl Into<NewQueue>) -> Result<Queue, Error> {
        let queue = queue.into();
        let name = queue.name.clone();
        if let Some(found) = self.find(&name).await? {
            return Ok(self.handle(found.id()?));
        }
        match self.create(queue).await {
            // Someone else was faster, or the response was lost.
            Err(error) if error.kind() == ErrorKind::AlreadyExists || error.may_have_arrived() => {
                match self.find(&name).await {
                    Ok(found) => Ok(self.handle(found.ok_or(error)?.id()?)),
                    Err(later) => Err(of_creation(error, later)),
                }
            }
            made => made,
        }
    }

    fn pages(&self, name: Option<String>) -> Listing<QueueDescription> {
        let (queues, name) = (self.clone(), name.map(Arc::<str>::from));
        Listing::new(
            Operation::ListQueues,
            |queue| listing::key(queue.key(), queue.fields()),
            move |page| queues.clone().page(page, name.clone()),
        )
    }

    async fn page(self, page: u32, name: Option<Arc<str>>) -> Result<Success<List<QueueDescription>>, Error> {
        let (name, page) = (name.as_deref(), page.try_into().ok());
        let call = self.call(async |client, account| client.list_queues(account, name, page).await)?;
        Ok(call.read_by(response::read_list).send().await?.0)
    }

    /// A call with the request of a generated method.
    pub(super) fn call<T: DeserializeOwned>(
        &self,
        method: impl AsyncFnOnce(&generated::Client, &Identifier) -> Returned<T>,
    ) -> Result<Call<'_, T>, Error> {
        self.transport.call("", Duration::MAX, async |client| method(client, self.account.wire()).await)
    }

    fn handle(&self, queue_id: QueueId) -> Queue {
        Queue::new(Arc::clone(&self.transport), self.account.clone(), queue_id)
    }
}
