//! The client and its builder.

#[cfg(feature = "emulator")]
use std::time::SystemTime;
use std::{
    fmt,
    net::IpAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use reqwest::{Proxy, Url, redirect};
use tokio::sync::Semaphore;

use crate::{
    document::generated,
    error::{Error, kind::ErrorKind},
    flow::clock::Clock,
    http::{
        credentials::{self, CredentialSource, Credentials},
        retry::{self, RetryPolicy},
        transport::{DEFAULT_BASE_URL, Http, Random, Transport},
    },
    manage::Queues,
    queue::{
        Queue,
        ids::{AccountId, QueueId},
    },
};

const BASE_URL: &str = "CLOUDFLARE_BASE_URL";

/// A client for the service. It holds the credentials, the connections and the retry policy, and is cheap to clone.
///
/// ```
/// use cloudflare_queues::{Client, Credentials};
///
/// let client = Client::new(Credentials::api_token("token")?)?;
/// let queue = client.queues("023e105f4ecef8ad9ca31a8372d0c353")?.queue("b01b5594f784d0165c2985833f5660dd")?;
/// # Ok::<(), cloudflare_queues::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Client {
    transport: Arc<Transport>,
}

impl Client {
    /// Creates a client with the defaults that [`ClientBuilder`] lists.
    ///
    /// # Errors
    ///
    /// As [`ClientBuilder::build`].
    pub fn new(credentials: Credentials) -> Result<Self, Error> {
        Self::builder(credentials).build()
    }

    /// Creates a client from environment variables, with defaults for everything else: see [`ClientBuilder::from_env`].
    ///
    /// # Errors
    ///
    /// As [`ClientBuilder::from_env`] and [`ClientBuilder::build`].
    pub fn from_env() -> Result<Self, Error> {
        ClientBuilder::from_env()?.build()
    }

    /// Returns a builder, to change the defaults.
    pub fn builder(credentials: Credentials) -> ClientBuilder {
        ClientBuilder {
            credentials,
            base_url: DEFAULT_BASE_URL.to_owned(),
            base_url_field: "base URL",
            allow_plain_http: false,
            http: None,
            seam: None,
            random: Arc::new(retry::random),
            clock: Clock::default(),
            proxy: None,
            max_in_flight: None,
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            call_timeout: Duration::from_secs(120),
            retry: RetryPolicy::default(),
            max_response_bytes: 1 << 20,
        }
    }

    /// Returns a handle to a queue. Nothing is sent, so this does not check that the queue exists.
    ///
    /// It takes ids instead of strings, so that the two cannot be swapped. [`queues`](Self::queues) and
    /// [`Queues::queue`] take a string each.
    ///
    /// ```
    /// use cloudflare_queues::{AccountId, Client, Credentials, QueueId};
    ///
    /// let account_id: AccountId = "023e105f4ecef8ad9ca31a8372d0c353".parse()?;
    /// let queue_id: QueueId = "b01b5594f784d0165c2985833f5660dd".parse()?;
    /// let queue = Client::new(Credentials::api_token("token")?)?.queue(account_id, queue_id)?;
    /// # Ok::<(), cloudflare_queues::Error>(())
    /// ```
    ///
    /// ```compile_fail
    /// # use cloudflare_queues::{AccountId, Client, Credentials, QueueId};
    /// # let client = Client::new(Credentials::api_token("token")?)?;
    /// let queue = client.queue("023e105f4ecef8ad9ca31a8372d0c353", "b01b5594f784d0165c2985833f5660dd")?;
    /// # Ok::<(), cloudflare_queues::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput) if the id looks like a name and the base URL is Cloudflare's own.
    /// [`queue_named`](Self::queue_named) finds a queue by its name.
    pub fn queue(&self, account_id: impl Into<AccountId>, queue_id: impl Into<QueueId>) -> Result<Queue, Error> {
        Queues::new(Arc::clone(&self.transport), account_id.into()).queue(queue_id.into())
    }

    /// Finds a queue by its name. This usually takes one request.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound) if the account has no queue with this name. Otherwise as for [`Queues::find`].
    pub async fn queue_named(&self, account_id: impl Into<AccountId>, name: &str) -> Result<Queue, Error> {
        Queues::new(Arc::clone(&self.transport), account_id.into()).named(name).await
    }

    /// Returns a handle to the queues of an account, to list and create them. Nothing is sent.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput) if the id is empty, is longer than 32 characters, or contains anything
    /// but letters, digits, `_` and `-`.
    pub fn queues(&self, account_id: impl TryInto<AccountId, Error: Into<Error>>) -> Result<Queues, Error> {
        Ok(Queues::new(Arc::clone(&self.transport), account_id.try_into().map_err(Into::<Error>::into)?))
    }
}

/// From the environment.
impl Queue {
    /// Returns the queue that `CLOUDFLARE_ACCOUNT_ID` and `CLOUDFLARE_QUEUE_ID` name, with a client from
    /// [`Client::from_env`].
    ///
    /// # Errors
    ///
    /// As [`Client::from_env`], [`Client::queues`] and [`Queues::queue`]; a variable that is missing is named.
    pub fn from_env() -> Result<Self, Error> {
        let required = |name| credentials::variable(name)?.ok_or_else(|| Error::invalid(format!("{name} is not set")));
        Client::from_env()?.queues(required("CLOUDFLARE_ACCOUNT_ID")?)?.queue(required("CLOUDFLARE_QUEUE_ID")?)
    }
}

/// Builds a [`Client`].
///
/// | setting | default |
/// |---|---|
/// | [`base_url`](Self::base_url) | `https://api.cloudflare.com/client/v4` |
/// | [`max_in_flight`](Self::max_in_flight) | no bound |
/// | [`connect_timeout`](Self::connect_timeout) | 10 s |
/// | [`request_timeout`](Self::request_timeout) | 30 s |
/// | [`call_timeout`](Self::call_timeout) | 120 s |
/// | [`retry`](Self::retry) | [`RetryPolicy::default`] |
/// | [`max_response_bytes`](Self::max_response_bytes) | 1 MiB |
///
/// ```
/// use cloudflare_queues::{Client, Credentials, RetryPolicy};
/// use std::time::Duration;
///
/// let client = Client::builder(Credentials::api_token("token")?)
///     .call_timeout(Duration::from_secs(20))
///     .max_in_flight(64)
///     .retry(RetryPolicy::new().max_attempts(2))
///     .build()?;
/// # Ok::<(), cloudflare_queues::Error>(())
/// ```
#[must_use = "a builder does nothing until build() is called"]
#[derive(Clone)]
pub struct ClientBuilder {
    credentials: Credentials,
    base_url: String,
    base_url_field: &'static str,
    allow_plain_http: bool,
    http: Option<reqwest::Client>,
    seam: Option<Arc<dyn Http>>,
    random: Arc<Random>,
    clock: Clock,
    proxy: Option<Proxy>,
    max_in_flight: Option<usize>,
    connect_timeout: Duration,
    request_timeout: Duration,
    call_timeout: Duration,
    retry: RetryPolicy,
    max_response_bytes: usize,
}

impl ClientBuilder {
    /// Creates a builder with the credentials from the environment ([`Credentials::from_env`]) and, if it is set, the
    /// base URL in `CLOUDFLARE_BASE_URL`.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput). The error names the variable.
    pub fn from_env() -> Result<Self, Error> {
        let builder = Client::builder(Credentials::from_env()?);
        Ok(match credentials::variable(BASE_URL)? {
            Some(base_url) => Self { base_url, base_url_field: BASE_URL, ..builder },
            None => builder,
        })
    }

    /// Replaces the credentials. After [`from_env`](Self::from_env), a program whose token is rotated in a file sets a
    /// [provider](Credentials::from_provider).
    pub fn credentials(mut self, credentials: Credentials) -> Self {
        self.credentials = credentials;
        self
    }

    /// Sets the base URL of the service, including `/client/v4`. Tests set the address of an emulator, and a company
    /// whose programs reach Cloudflare through a gateway sets the gateway's.
    pub fn base_url(mut self, base_url: impl Into<String>) -> Self {
        self.base_url = base_url.into();
        self.base_url_field = "base URL";
        self
    }

    /// Allows a base URL with plain `http`, which exposes credentials and messages to the network. Loopback addresses
    /// are always allowed. Set it for an emulator in another container, such as `http://emulator:8788/client/v4`.
    pub fn allow_plain_http(mut self) -> Self {
        self.allow_plain_http = true;
        self
    }

    /// Sends requests through this `reqwest` client instead of creating one. Set it to trust certificates of your own,
    /// or for HTTP/2, which saves a quarter of the processor time with 64 small calls in flight.
    ///
    /// Build it with [`redirect::Policy::none`]: a client that follows redirects may send `X-Auth-Key` to another host,
    /// and a response reached through a redirect is an error. Its user agent is overridden;
    /// [`connect_timeout`](Self::connect_timeout) and [`proxy`](Self::proxy) do not apply to it, and its own timeouts
    /// apply in addition to those set here.
    pub fn http_client(mut self, http: reqwest::Client) -> Self {
        self.http = Some(http);
        self
    }

    /// Sends requests through a substitute for the network, and draws waits from a substitute for chance.
    #[cfg(any(feature = "emulator", fuzzing))]
    pub(crate) fn seam(mut self, http: Arc<dyn Http>, random: Arc<Random>) -> Self {
        self.seam = Some(http);
        self.random = random;
        self
    }

    /// Replaces the wall clock, for tests of what happens while a machine is suspended.
    #[doc(hidden)]
    #[cfg(feature = "emulator")]
    pub fn wall_clock(mut self, now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.clock = Clock::new(now);
        self
    }

    /// Sends requests through a proxy. Without it, the environment's `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` apply,
    /// but not to loopback. Set it where the proxy is in a file of settings, or is for these requests alone.
    pub fn proxy(mut self, proxy: Proxy) -> Self {
        self.proxy = Some(proxy);
        self
    }

    /// Limits how many requests are in flight at the same time, at least one. Further calls wait until a request has
    /// its response, or until they time out. This also limits the number of connections, apart from a few that are
    /// opened while others are about to become free.
    ///
    /// Without a limit, 1,024 calls at once open up to 2,500 connections, and a process often may have only 1,024 file
    /// descriptors. A call that finds none left fails with [`Transport`](ErrorKind::Transport), and the error says so.
    /// Set a limit if your application makes hundreds of calls at once: with 64, 1,024 calls at once take half of the
    /// processor time.
    ///
    /// A future that was polled and then left alone keeps its permit. So with a limit, do not await a call in a task
    /// that keeps another call from being polled, for example in the body of a loop over `buffer_unordered`.
    pub fn max_in_flight(mut self, requests: usize) -> Self {
        self.max_in_flight = Some(requests);
        self
    }

    /// Limits how long it takes to connect, including TLS. Where connections are made within milliseconds or not at
    /// all, as behind a firewall that drops packets, 2 s leave time for a retry.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Limits how long one attempt takes, from its start to the end of the response. A pull of 100 messages of 128 KB
    /// takes longer than the default over a link of less than 4 Mbit/s: set 120 s there, or pull fewer.
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// Limits how long a call takes in total, including all attempts and the waits between them. A web server sets what
    /// its own callers wait for, such as 5 s, and a nightly job an hour.
    pub fn call_timeout(mut self, timeout: Duration) -> Self {
        self.call_timeout = timeout;
        self
    }

    /// Sets when failed requests are retried. A program with retries of its own sets [`RetryPolicy::none`].
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.retry = policy;
        self
    }

    /// Limits the size of a response. A pull may be larger by as much as the messages that it asks for can take, so
    /// that no leased batch is refused for its size. Set 8 MiB if the list of the account's queues is refused, because
    /// each of them has many producers.
    pub fn max_response_bytes(mut self, bytes: usize) -> Self {
        self.max_response_bytes = bytes;
        self
    }

    /// Builds the client. Nothing is sent.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput) if the base URL has no host, holds a user name, password, query or
    /// fragment, is plain `http` to anything but loopback without [`allow_plain_http`](Self::allow_plain_http), or if
    /// both a `reqwest` client and a proxy are set. [`Transport`](ErrorKind::Transport) if TLS cannot be set up.
    ///
    /// # Panics
    ///
    /// With the feature `rustls-no-provider` alone, `reqwest` panics if the application has installed no provider for
    /// rustls.
    pub fn build(self) -> Result<Client, Error> {
        let base_url = self.checked_base_url()?;
        if let Some(set) = self.max_in_flight.filter(|set| !(1..=Semaphore::MAX_PERMITS).contains(set)) {
            let most = Semaphore::MAX_PERMITS;
            return Err(Error::invalid(format!("max_in_flight: must be 1 to {most}, but is {set}")));
        }
        let http = match (self.http, self.proxy) {
            (Some(_), Some(_)) => return Err(Error::invalid("proxy: set it on the given HTTP client")),
            (Some(http), None) => http,
            (None, proxy) => {
                // An API call must not be redirected, since the credentials would go along. Retries are up to our own
                // policy, so `reqwest` need not keep a copy of the request.
                let retries = reqwest::retry::never().max_retries_per_request(0);
                let mut http = reqwest::Client::builder().redirect(redirect::Policy::none()).retry(retries);
                // Another crate in the application may enable HTTP/2 in `reqwest`; that must not change anything here.
                http = http.http1_only();
                let is_local = proxy.is_none() && is_loopback(&base_url);
                http = match proxy {
                    Some(proxy) => http.proxy(proxy),
                    None if is_local => http.no_proxy(),
                    None => http,
                };
                // Where nothing is encrypted, the system may lack certificates, as in a minimal container.
                #[cfg(any(feature = "rustls", feature = "native-tls", feature = "rustls-no-provider"))]
                if self.seam.is_some() || is_local && base_url.scheme() == "http" {
                    http = http.tls_certs_only([]);
                }
                http.connect_timeout(self.connect_timeout).build().map_err(|error| {
                    Error::new(ErrorKind::Transport, "the HTTP client could not be set up").with_source(error, false)
                })?
            }
        };
        Ok(Client {
            transport: Arc::new(Transport {
                builder: generated::Client::new_with_client(base_url.as_str().trim_end_matches('/'), http.clone()),
                http: self.seam.unwrap_or_else(|| Arc::new(http)),
                random: self.random,
                clock: self.clock,
                credentials: CredentialSource::new(self.credentials),
                budget: self.retry.new_budget(),
                errors: Mutex::default(),
                in_flight: self.max_in_flight.map(Semaphore::new),
                retry: self.retry,
                request_timeout: self.request_timeout,
                call_timeout: self.call_timeout,
                max_response_bytes: self.max_response_bytes,
            }),
        })
    }

    fn checked_base_url(&self) -> Result<Url, Error> {
        let invalid = |what: &str| Err(Error::invalid(format!("{}: {what}", self.base_url_field)));
        let Ok(url) = Url::parse(&self.base_url) else {
            return invalid("must be an absolute URL, such as https://api.cloudflare.com/client/v4");
        };
        if !url.has_host() {
            return invalid("must have a host");
        }
        if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
            return invalid("must have no user name, password, query or fragment");
        }
        match url.scheme() {
            "https" => Ok(url),
            "http" if self.allow_plain_http || is_loopback(&url) => Ok(url),
            "http" => invalid("must be https, unless its host is loopback or allow_plain_http() is called"),
            _ => invalid("must be https"),
        }
    }
}

/// Leaves out the proxy, which may contain a password, and the base URL, which has not been checked yet.
impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder").field("credentials", &self.credentials).finish_non_exhaustive()
    }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_builder_has_the_documented_defaults() {
        let credentials = Credentials::api_token("token").unwrap();
        let builder = Client::builder(credentials);
        assert_eq!((&*builder.base_url, builder.max_in_flight), ("https://api.cloudflare.com/client/v4", None));
        let timeouts = [builder.connect_timeout, builder.request_timeout, builder.call_timeout];
        assert_eq!(timeouts, [10, 30, 120].map(Duration::from_secs));
        assert_eq!((builder.retry, builder.max_response_bytes), (RetryPolicy::default(), 1024 * 1024));
    }
}
