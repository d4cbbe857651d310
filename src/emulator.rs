//! A local Queues service, for tests, for trying out the crate without an account, and for programs in other languages.
//!
//! [`Emulator::start`] serves queues from memory on a free port of the loopback interface, with the same HTTP interface
//! as the service. [`Emulator::in_process`] is the same without a socket.
//!
//! Tests of visibility timeouts and delays need not wait. In process, the emulator's clock follows tokio's, which a
//! test can pause. Over HTTP, where tokio's clock cannot be paused, it stands still until it is
//! [advanced](Emulator::advance). [`real_time`](EmulatorBuilder::real_time) and [`frozen`](EmulatorBuilder::frozen)
//! choose otherwise.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! use cloudflare_queues::{PullOptions, PushMessage, emulator::Emulator};
//! use std::time::Duration;
//!
//! let emulator = Emulator::start().await?;
//! let queue = emulator.queue()?;
//! queue.push(&PushMessage::text("hello")).await?;
//! assert_eq!(queue.pull(PullOptions::default()).await?.len(), 1);
//! assert_eq!(queue.pull(PullOptions::default()).await?.len(), 0);
//! emulator.advance(Duration::from_secs(30));
//! assert_eq!(queue.pull(PullOptions::default()).await?.len(), 1);
//! # Ok::<(), Box<dyn std::error::Error>>(()) })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! It delivers messages to pulls alone. Consumers of other kinds, Workers and notifications, are kept and shown with
//! their settings, and receive nothing, so their batch size has no effect. The number of retries, the retry delay and
//! the dead-letter queue are those of the queue's consumer, whatever its kind.
//!
//! Where Cloudflare's documentation leaves the behavior open, there is a switch ([`Behavior`]). Faults can be injected
//! ([`Emulator::inject`]).

mod behavior;
mod builder;
mod clock;
mod configuration;
mod content;
mod control;
mod fault;
mod ids;
mod in_process;
mod journal;
mod manage;
mod outcome;
mod queue;
mod queued_message;
mod queues;
mod random;
mod registry;
mod reply;
mod request;
mod respond;
mod result;
mod routes;
mod seed;
mod served;
mod server;
mod service;
mod settings;
#[cfg(test)]
mod tests;
mod uri;

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::Arc,
    time::Duration,
};

use tokio::{net::TcpListener, task::AbortHandle};

pub use self::{
    behavior::{Behavior, ExtendFrom, JsonBodies, MissingContentType, ResultForm, UnknownLease, WarningsForm},
    builder::EmulatorBuilder,
    fault::{Fault, Injection},
    queued_message::QueuedMessage,
    seed::Seed,
    served::ServedRequest,
    settings::EmulatedQueue,
};

use self::{
    clock::Clock,
    in_process::InProcess,
    journal::Journal,
    service::{API_KEY, EMAIL, Service},
};
pub use crate::document::operation::Operation;
use crate::{
    client::{Client, ClientBuilder},
    error::Error,
    http::credentials::Credentials,
    queue::{
        Queue,
        ids::{AccountId, QueueId},
    },
};

/// A running emulator. It stops when the last handle is dropped.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// use cloudflare_queues::{PushMessage, emulator::{Emulator, Fault, Operation, EmulatedQueue}};
///
/// let emulator = Emulator::builder().queue(EmulatedQueue::new().max_retries(1)).start().await?;
/// emulator.inject(Fault::ServerError(503).on(Operation::PushMessage));
/// let queue = emulator.queue()?;
/// assert!(queue.push(&PushMessage::text("hello")).await.is_err());
/// assert!(emulator.messages(emulator.queue_id()).is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Emulator {
    running: Arc<Running>,
}

/// State shared by the handles of an emulator.
#[derive(Debug)]
struct Running {
    service: Arc<Service>,
    account_id: AccountId,
    queue_id: QueueId,
    /// `None` if requests reach the emulator only in process.
    socket: Option<Socket>,
}

#[derive(Debug)]
struct Socket {
    address: SocketAddr,
    server: AbortHandle,
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Emulator {
    /// Starts an emulator with one queue on a free port of the loopback interface. Its clock stands still until it is
    /// [advanced](Self::advance), unless the [builder](EmulatorBuilder::real_time) makes it run.
    ///
    /// # Errors
    ///
    /// If no port can be opened.
    pub async fn start() -> io::Result<Self> {
        Self::builder().start().await
    }

    /// Creates an emulator with one queue and without a socket: requests reach it within the process, as
    /// [`in_process_builder`](Self::in_process_builder) describes. Its clock follows tokio's, which a test can pause.
    ///
    /// ```
    /// use cloudflare_queues::{PullOptions, PushMessage, emulator::Emulator};
    /// use std::time::Duration;
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build()?.block_on(async {
    /// // Under #[tokio::test(start_paused = true)], which takes tokio's feature test-util:
    /// let queue = Emulator::in_process().queue()?;
    /// queue.push(&PushMessage::text("hello")).await?;
    /// assert_eq!(queue.pull(PullOptions::new()).await?.len(), 1);
    /// tokio::time::sleep(Duration::from_secs(30)).await;
    /// assert_eq!(queue.pull(PullOptions::new()).await?.len(), 1, "the lease expired");
    /// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn in_process() -> Self {
        Self::builder().in_process()
    }

    /// Returns a builder, to change the defaults.
    pub fn builder() -> EmulatorBuilder {
        EmulatorBuilder::default()
    }

    /// Returns a client of the emulator: over HTTP if the emulator has a socket, in process otherwise.
    ///
    /// # Errors
    ///
    /// As for [`ClientBuilder::build`](crate::ClientBuilder::build).
    pub fn client(&self) -> Result<Client, Error> {
        match self.running.socket {
            Some(_) => Client::builder(self.credentials()?).base_url(self.base_url()).build(),
            None => self.in_process_builder()?.build(),
        }
    }

    /// Returns a builder of clients whose requests reach the emulator without a socket.
    ///
    /// This is deterministic: on a single-threaded runtime with a paused clock, timeouts and waits take no time, and a
    /// test sends the same requests in the same order each time. For that, the waits between attempts are drawn from a
    /// fixed sequence. A request that was sent arrives, even if its call is dropped or times out in the meantime.
    ///
    /// Connection settings have no effect on these clients, and a different base URL leads nowhere.
    ///
    /// ```
    /// use cloudflare_queues::{PullOptions, PushMessage, emulator::{Emulator, Fault}};
    /// use std::time::Duration;
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build()?.block_on(async {
    /// // Under #[tokio::test(start_paused = true)], which takes tokio's feature test-util:
    /// let emulator = Emulator::in_process();
    /// let client = emulator.in_process_builder()?.build()?;
    /// let queue = client.queue(emulator.account_id(), emulator.queue_id())?;
    /// queue.push(&PushMessage::text("hello")).await?;
    ///
    /// // The response is late: the message is leased, and nobody knows the lease.
    /// emulator.inject(Fault::Delay(Duration::from_secs(60)));
    /// let (started, lease) = (tokio::time::Instant::now(), Duration::from_secs(45));
    /// let options = PullOptions::new().batch_size(1).visibility_timeout(lease);
    /// assert!(queue.pull(options).await.unwrap_err().may_have_arrived());
    /// assert_eq!(started.elapsed(), Duration::from_secs(30));
    /// assert_eq!(queue.pull(options).await?.len(), 0);
    ///
    /// tokio::time::sleep(lease).await;
    /// assert_eq!(queue.pull(options).await?.len(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`credentials`](Self::credentials).
    pub fn in_process_builder(&self) -> Result<ClientBuilder, Error> {
        let service = Arc::clone(&self.running.service);
        let http = InProcess(Arc::clone(&service));
        let random = Arc::new(move || service.random.next());
        Ok(Client::builder(self.credentials()?).base_url(self.base_url()).seam(Arc::new(http), random))
    }

    /// Returns a handle to the queue that every emulator has.
    ///
    /// # Errors
    ///
    /// As for [`client`](Self::client).
    pub fn queue(&self) -> Result<Queue, Error> {
        self.client()?.queue(self.account_id(), self.queue_id())
    }

    /// The credentials that the emulator accepts.
    ///
    /// # Errors
    ///
    /// As for [`Credentials::api_token`], if the token was set.
    pub fn credentials(&self) -> Result<Credentials, Error> {
        Credentials::api_token(self.api_token())
    }

    /// The base URL of the emulator, including `/client/v4`. Without a socket, its host does not exist.
    pub fn base_url(&self) -> String {
        match &self.running.socket {
            Some(socket) => format!("http://{}/client/v4", socket.address),
            None => "https://emulator.invalid/client/v4".to_owned(),
        }
    }

    /// The API token that the emulator accepts.
    pub fn api_token(&self) -> String {
        self.running.service.api_token().clone()
    }

    /// Makes the emulator accept this API token instead of the previous one, to test token rotation.
    pub fn set_api_token(&self, token: impl Into<String>) {
        *self.running.service.api_token() = token.into();
    }

    /// The email and the API key that the emulator accepts.
    pub fn email_and_key(&self) -> (&'static str, &'static str) {
        (EMAIL, API_KEY)
    }

    /// The account that all queues belong to.
    pub fn account_id(&self) -> &AccountId {
        &self.running.account_id
    }

    /// The queue that every emulator has.
    pub fn queue_id(&self) -> &QueueId {
        &self.running.queue_id
    }

    /// Adds an account to the one that every emulator has. Accounts do not see each other's queues.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if the id is not valid.
    pub fn add_account(&self, account_id: impl TryInto<AccountId, Error: Into<Error>>) -> Result<(), Error> {
        self.running.service.add_account(account_id.try_into().map_err(Into::<Error>::into)?.as_str());
        Ok(())
    }

    /// Creates another queue, and returns its id.
    pub fn create_queue(&self, settings: EmulatedQueue) -> QueueId {
        self.running.service.queues.create(self.account_id().as_str(), settings)
    }

    /// Gives a queue another id. The emulator's own [`queue_id`](Self::queue_id) stays as it is.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if the id is not valid or taken, or if there is no such queue.
    pub fn set_queue_id(
        &self,
        queue_id: &QueueId,
        new: impl TryInto<QueueId, Error: Into<Error>>,
    ) -> Result<(), Error> {
        let (service, new) = (&self.running.service, new.try_into().map_err(Into::<Error>::into)?);
        let mut registry = service.registry();
        if !service.queues.rename(&service.clock, queue_id.as_str(), new.as_str()) {
            return Err(Error::invalid("queue id: there is no such queue, or the new id is taken"));
        }
        registry.rename(queue_id.as_str(), new.as_str());
        Ok(())
    }

    /// Puts messages into a queue as a Worker would have sent them: all of them, or none.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if there is no such queue, or if a message is larger than
    /// 128 KB, is delayed for over 24 hours, or has a body that does not fit its content type.
    pub fn seed(&self, queue_id: &QueueId, messages: impl IntoIterator<Item = Seed>) -> Result<(), Error> {
        let messages: Vec<_> = messages.into_iter().collect();
        let seeded = self.running.service.seed(queue_id.as_str(), &messages);
        seeded.map_err(|refusal| Error::invalid(format!("seed: {}", refusal.message())))
    }

    /// Restores the queues, messages and event subscriptions in a file, if it exists, and keeps them there from now on:
    /// they survive a restart, or the end of the process by a signal, but perhaps not a power failure. A queue with the
    /// id of a restored one is replaced, and one with its name gets another name. The file is for one emulator at a
    /// time.
    ///
    /// The file holds message bodies. Each change is appended to it, and the whole is rewritten from time to time. The
    /// behavior, faults, credentials, an advance of the clock and a wait until pulls are accepted are not kept.
    ///
    /// # Errors
    ///
    /// If the file cannot be opened, read or written, or if the state is already kept in a file. The emulator stays as
    /// it is then, unless the disk is full: what was restored stays.
    pub fn persist(&self, path: impl AsRef<Path>) -> io::Result<()> {
        let service = &self.running.service;
        // Locked until there is a journal, so that no second call reads a file.
        let mut registry = service.registry();
        if service.queues.journal.get().is_some() {
            return Err(io::Error::other("the state is already kept in a file"));
        }
        let (journal, queues, restored) = Journal::open(path.as_ref(), &service.clock)?;
        queues.ids().iter().for_each(|(_, account)| service.add_account(account));
        service.queues.adopt(queues);
        registry.adopt(restored);
        let journal = service.queues.journal.get_or_init(|| journal);
        service.queues.keep_changes();
        drop(registry);
        journal.shorten(service)
    }

    /// Completes with the cause when the file of [`persist`](Self::persist) can no longer be written.
    pub async fn persisting_failed(&self) -> io::Error {
        match self.running.service.queues.journal.get() {
            Some(journal) => io::Error::other(journal.failed().await),
            None => std::future::pending().await,
        }
    }

    /// Makes the present queues with their settings and consumers, event subscriptions and behavior what a reset over
    /// HTTP restores.
    pub fn save_configuration(&self) {
        self.running.service.save_configuration();
    }

    /// Changes the settings of a queue. Does nothing if the queue does not exist. The queue is locked during the
    /// change, so `change` must not use it.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// # let emulator = cloudflare_queues::emulator::Emulator::start().await?;
    /// emulator.configure_queue(emulator.queue_id(), |settings| settings.delivery_paused(true));
    /// # Ok::<(), std::io::Error>(()) })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn configure_queue(&self, queue_id: &QueueId, change: impl FnOnce(EmulatedQueue) -> EmulatedQueue) {
        self.running.service.queues.configure(&self.running.service.clock, queue_id.as_str(), change);
    }

    /// Changes how the emulator behaves where the service's behavior is open.
    pub fn configure(&self, change: impl FnOnce(Behavior) -> Behavior) {
        self.running.service.configure(change);
    }

    /// Advances the clock. Leases and delays expire accordingly.
    pub fn advance(&self, duration: Duration) {
        self.running.service.clock.advance(duration);
    }

    /// Injects a fault into the next request. Several faults apply to several requests, in order. An [`Injection`] can
    /// choose operations, and can be permanent.
    pub fn inject(&self, fault: impl Into<Injection>) {
        self.running.service.faults().add(fault.into());
    }

    /// The faults that are still to be applied, in order.
    pub fn faults(&self) -> Vec<Injection> {
        self.running.service.faults().pending().map(|(_, injection)| injection.clone()).collect()
    }

    /// Removes all pending and permanent faults.
    pub fn remove_faults(&self) {
        self.running.service.faults().remove_all();
    }

    /// Sets a function that is called after each request, to log it: see [`ServedRequest`]. It replaces the previous
    /// one.
    pub fn on_request(&self, hook: impl Fn(&ServedRequest) + Send + Sync + 'static) {
        self.running.service.set_hook(Arc::new(hook));
    }

    /// Serves the emulator on a listener until the future is dropped, so that you can choose the interface, and prepare
    /// everything first.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// use cloudflare_queues::{Client, PushMessage, emulator::Emulator};
    /// use tokio::net::TcpListener;
    ///
    /// let emulator = Emulator::in_process();
    /// emulator.queue()?.push(&PushMessage::text("there from the beginning")).await?;
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// let base_url = format!("http://{}/client/v4", listener.local_addr()?);
    /// let work = async {
    ///     let client = Client::builder(emulator.credentials()?).base_url(base_url).build()?;
    ///     client.queue(emulator.account_id(), emulator.queue_id())?.peek(1).await
    /// };
    /// tokio::select! {
    ///     () = emulator.serve(listener) => {}
    ///     peeked = work => assert_eq!(peeked?.len(), 1),
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub async fn serve(&self, listener: TcpListener) {
        server::serve(listener, Arc::clone(&self.running.service)).await;
    }

    /// The number of requests to operations received.
    pub fn requests(&self) -> u64 {
        self.running.service.requests()
    }

    /// The messages of a queue that are not acknowledged, in order of arrival.
    pub fn messages(&self, queue_id: &QueueId) -> Vec<QueuedMessage> {
        let messages = self.running.service.with_queue(queue_id.as_str(), |queue, now| {
            while queue.expire(now) {}
            queue.messages(None).map(|(sequence, message)| (sequence, message.clone())).collect::<Vec<_>>()
        });
        let messages =
            messages.unwrap_or_default().into_iter().map(|(sequence, message)| QueuedMessage::new(sequence, &message));
        messages.collect()
    }
}

impl EmulatorBuilder {
    /// Starts the emulator on the loopback interface, on the current tokio runtime. Its clock stands still, unless it
    /// runs in [real time](Self::real_time).
    ///
    /// # Errors
    ///
    /// If the port cannot be opened.
    pub async fn start(self) -> io::Result<Emulator> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, self.port)).await?;
        let address = listener.local_addr()?;
        let running = self.running(false);
        let server = tokio::spawn(server::serve(listener, Arc::clone(&running.service))).abort_handle();
        Ok(Emulator { running: Arc::new(Running { socket: Some(Socket { address, server }), ..running }) })
    }

    /// Creates an emulator without a socket, whose clients reach it within the process. Its clock follows tokio's,
    /// unless it is [frozen](Self::frozen). The port has no effect.
    pub fn in_process(self) -> Emulator {
        Emulator { running: Arc::new(self.running(true)) }
    }

    fn running(self, runs_by_default: bool) -> Running {
        let clock = Clock::new(self.runs.unwrap_or(runs_by_default));
        let (account_id, tokens) = (self.account_id, self.tokens);
        let accounts: Vec<_> = tokens.of_accounts.values().cloned().collect();
        let service = Service::new(clock, self.behavior, self.api_token, tokens, self.has_control);
        accounts.iter().map(String::as_str).chain([account_id.as_str()]).for_each(|id| service.add_account(id));
        let queue_id = service.queues.create(account_id.as_str(), self.queue);
        service.save_configuration();
        Running { service: Arc::new(service), account_id, queue_id, socket: None }
    }
}
