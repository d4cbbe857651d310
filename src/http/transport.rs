//! One attempt: the network, the credentials, a permit, a deadline, and the size limit of a response.

use std::{
    error::Error as StdError,
    fmt,
    future::Future,
    io, iter, mem,
    panic::catch_unwind,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    time::Duration,
};

use http_body::Body as _;
use progenitor_client::ClientInfo;
use reqwest::{
    Body, Request, Response, Version,
    header::{CONTENT_TYPE, HeaderMap, HeaderName, TRANSFER_ENCODING},
};
use tokio::{
    runtime::Handle,
    sync::{Semaphore, SemaphorePermit},
    time::{Instant, sleep, timeout_at},
};

use crate::{
    document::generated,
    error::{Error, kind::ErrorKind},
    flow::{budget::Budget, clock::Clock, outage::Outage},
    http::{
        credentials::{CredentialSource, Headers},
        retry::RetryPolicy,
    },
};

pub(crate) const DEFAULT_BASE_URL: &str = "https://api.cloudflare.com/client/v4";
const CF_RAY: HeaderName = HeaderName::from_static("cf-ray");

/// Longer timeouts could not be added to a clock.
const FOREVER: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// How much memory is reserved for a response because of its announced length, before any of it has arrived.
const RESERVED: usize = 1 << 20;

/// The body of a request, whose clones share it.
pub(crate) type Bytes = <Body as http_body::Body>::Data;

pub(crate) type Random = dyn Fn() -> u64 + Send + Sync;

pub(crate) type Executed<'a> = Pin<Box<dyn Future<Output = reqwest::Result<Response>> + Send + 'a>>;

/// The network, or a substitute.
pub(crate) trait Http: Send + Sync + 'static {
    /// As [`reqwest::Client::execute`].
    fn execute(&self, request: Request) -> Executed<'_>;
}

impl Http for reqwest::Client {
    fn execute(&self, request: Request) -> Executed<'_> {
        Box::pin(self.execute(request))
    }
}

/// State shared by all calls of a client.
pub(crate) struct Transport {
    pub(crate) http: Arc<dyn Http>,
    /// The client whose methods build requests.
    pub(crate) builder: generated::Client,
    /// The source of randomness, replaced in deterministic tests.
    pub(crate) random: Arc<Random>,
    /// By which leases end as well as by the monotonic clock.
    pub(crate) clock: Clock,
    pub(crate) credentials: CredentialSource,
    pub(crate) retry: RetryPolicy,
    pub(crate) budget: Budget,
    /// Which errors in successful responses to log.
    pub(crate) errors: Mutex<Outage>,
    /// A permit for each request in flight, if there is a limit.
    pub(crate) in_flight: Option<Semaphore>,
    pub(crate) request_timeout: Duration,
    pub(crate) call_timeout: Duration,
    pub(crate) max_response_bytes: usize,
}

/// Leaves out the HTTP client, whose proxies may contain a password.
impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport")
            .field("base_url", &self.base_url())
            .field("credentials", &self.credentials)
            .finish_non_exhaustive()
    }
}

/// A response as it came.
pub(crate) struct Received {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    /// The body, or why it could not be read.
    pub(crate) body: Result<Vec<u8>, Error>,
    /// Whether the end of the body is marked by more than the end of the connection.
    pub(crate) is_delimited: bool,
}

impl Transport {
    pub(crate) fn base_url(&self) -> &str {
        self.builder.baseurl()
    }

    /// Sends a request once, with this body and headers of our own. `end` is the end of the call, and `bound` the size
    /// limit of the response.
    pub(crate) async fn attempt(
        &self,
        template: &Request,
        body: Option<Bytes>,
        credentials: &Headers,
        end: Instant,
        bound: usize,
    ) -> Result<Received, Error> {
        // The template's own headers have the document's version, where the service would expect a date. A copy of them
        // by `Request::try_clone` has three more allocations.
        let mut request = Request::new(template.method().clone(), template.url().clone());
        *request.headers_mut() = credentials.all().clone();
        match body {
            Some(body) => *request.body_mut() = Some(body.into()),
            None => drop(request.headers_mut().remove(CONTENT_TYPE)),
        }
        let end = end.min(after(self.request_timeout));
        let mut head = None;
        // One timer for both, since registering one takes a fiftieth of a call.
        let body = timeout_at(end, async {
            let response = self.http.execute(request).await.map_err(broken)?;
            let is_delimited = is_delimited(&response);
            read(&mut head.insert((response, is_delimited)).0, bound).await
        });
        let late = |elapsed| Err(Error::new(ErrorKind::Timeout, LATE).with_source(elapsed, true));
        let body = body.await.unwrap_or_else(late);
        let Some((mut response, is_delimited)) = head else {
            return Err(body.err().unwrap_or_else(|| Error::new(ErrorKind::Transport, BROKEN)));
        };
        if response.url() != template.url() {
            let message =
                "the given HTTP client followed a redirect, and may have shown the credentials to another host";
            return Err(Error::new(ErrorKind::UnexpectedResponse, message).or_may_have_arrived(true));
        }
        let (status, headers) = (response.status().as_u16(), mem::take(response.headers_mut()));
        Ok(Received { status, headers, body, is_delimited })
    }

    /// A permit for a request in flight.
    pub(crate) async fn permit(&self, end: Instant) -> Result<Option<SemaphorePermit<'_>>, Error> {
        let Some(in_flight) = &self.in_flight else { return Ok(None) };
        match timeout_at(end, in_flight.acquire()).await {
            Ok(Ok(permit)) => Ok(Some(permit)),
            _ => Err(Error::new(ErrorKind::Timeout, "as many other requests as max_in_flight allows were under way")),
        }
    }

    /// The connection becomes free shortly after its response was read. Without this, a waiting call would open another
    /// one.
    pub(crate) async fn free(&self) {
        if self.in_flight.as_ref().is_some_and(|in_flight| in_flight.available_permits() == 0) {
            tokio::task::yield_now().await;
        }
    }
}

/// The bytes of a body, to send them several times. They are in memory, since generated methods serialize them.
pub(crate) fn bytes(mut body: Body) -> Result<Bytes, Error> {
    match Pin::new(&mut body).poll_frame(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Some(Ok(frame))) => frame.into_data().ok(),
        _ => None,
    }
    .ok_or_else(|| Error::invalid("the body of the request is not in memory"))
}

/// tokio panics without a runtime, and in one without timers. Here, both are errors. The latter panic is caught, since
/// there is no other way to know.
pub(crate) fn require_runtime() -> Result<(), Error> {
    let has_timers = || catch_unwind(|| drop(sleep(Duration::ZERO))).is_ok();
    if Handle::try_current().is_ok() && has_timers() {
        return Ok(());
    }
    Err(Error::invalid("runtime: calls need a tokio runtime with enable_all()"))
}

/// This long from now, at most a year.
pub(crate) fn after(timeout: Duration) -> Instant {
    Instant::now() + timeout.min(FOREVER)
}

async fn read(response: &mut Response, bound: usize) -> Result<Vec<u8>, Error> {
    let too_large =
        || Error::new(ErrorKind::UnexpectedResponse, format!("the response is larger than the bound of {bound} bytes"));
    let announced = usize::try_from(response.content_length().unwrap_or_default()).unwrap_or(usize::MAX);
    if announced > bound {
        return Err(too_large());
    }
    let mut body = Vec::with_capacity(announced.min(RESERVED));
    while let Some(chunk) = response.chunk().await.map_err(broken)? {
        if chunk.len() > bound.saturating_sub(body.len()) {
            return Err(too_large());
        }
        make_room(&mut body, chunk.len(), announced);
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The announced length is reserved once a part has arrived; otherwise a quarter more, so that little is unused.
fn make_room(body: &mut Vec<u8>, chunk: usize, announced: usize) {
    if chunk > body.capacity().saturating_sub(body.len()) {
        body.reserve_exact(announced.saturating_sub(body.len()).max(body.len() / 4).max(chunk));
    }
}

/// Whether the end of the body is marked by more than the end of the connection.
fn is_delimited(response: &Response) -> bool {
    response.content_length().is_some()
        || response.headers().contains_key(TRANSFER_ENCODING)
        || response.version() >= Version::HTTP_2
}

/// The response's `cf-ray`, if it is sixteen hexadecimal digits and a location, or similar: anything else could be a
/// secret that was sent back.
pub(crate) fn ray_id_of(headers: &HeaderMap) -> Option<&str> {
    let is_part = |byte: u8| byte.is_ascii_hexdigit() || byte.is_ascii_uppercase() || byte == b'-';
    headers.get(CF_RAY)?.to_str().ok().filter(|text| text.len() <= 24 && text.bytes().all(is_part))
}

pub(crate) const BROKEN: &str = "the connection broke before the response was complete";
const LATE: &str = "the response did not come in time";

/// The error for a request without a complete response.
fn broken(error: reqwest::Error) -> Error {
    let may_have_arrived = !(error.is_connect() || error.is_builder());
    if !may_have_arrived && lacks_descriptors(&error) {
        return Error::new(ErrorKind::Transport, "the process has no descriptor left for a connection")
            .with_advice(Some("limit the requests at once by `ClientBuilder::max_in_flight`, or raise `ulimit -n`"))
            .with_source(error.without_url(), false);
    }
    if !may_have_arrived && is_unauthorized_by_proxy(&error) {
        return unauthorized_by_proxy().with_source(error.without_url(), false);
    }
    let (kind, message) = match (error.is_timeout(), may_have_arrived) {
        (true, true) => (ErrorKind::Timeout, LATE),
        (true, false) => (ErrorKind::Timeout, "the connection was not made in time"),
        (false, true) => (ErrorKind::Transport, BROKEN),
        (false, false) => (ErrorKind::Transport, "the connection could not be made"),
    };
    Error::new(kind, message).with_source(error.without_url(), may_have_arrived)
}

/// The error for a status 407, in response to a request or to the attempt to connect through the proxy.
pub(crate) fn unauthorized_by_proxy() -> Error {
    Error::new(ErrorKind::Transport, "a proxy wants credentials of its own")
        .with_advice(Some("give the proxy's credentials with its URL: see `ClientBuilder::proxy`"))
}

/// The type of this cause is not public.
fn is_unauthorized_by_proxy(error: &reqwest::Error) -> bool {
    causes(error).any(|cause| cause.to_string().ends_with("proxy authorization required"))
}

fn causes(error: &reqwest::Error) -> impl Iterator<Item = &(dyn StdError + 'static)> {
    iter::successors(error.source(), |&cause| cause.source())
}

/// Whether the system has no file descriptor left for this process, or at all.
fn lacks_descriptors(error: &reqwest::Error) -> bool {
    const CODES: [i32; 2] = if cfg!(windows) { [10024, 10055] } else { [24, 23] };
    let mut codes = causes(error).filter_map(|cause| cause.downcast_ref::<io::Error>()?.raw_os_error());
    codes.any(|code| CODES.contains(&code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn timeouts_last_as_long_as_stated_and_at_most_a_year() {
        let day = Duration::from_secs(24 * 60 * 60);
        assert_eq!(after(364 * day), Instant::now() + 364 * day);
        assert_eq!(after(Duration::MAX), Instant::now() + 365 * day);
    }

    #[test]
    fn bodies_outside_memory_are_errors_and_not_empty_requests() {
        struct Later;
        impl http_body::Body for Later {
            type Data = Bytes;
            type Error = io::Error;

            fn poll_frame(
                self: Pin<&mut Self>,
                _: &mut Context<'_>,
            ) -> Poll<Option<io::Result<http_body::Frame<Bytes>>>> {
                Poll::Pending
            }
        }
        assert!(bytes(Body::wrap(Later)).is_err());
        assert!(bytes(Body::from("a")).is_ok_and(|bytes| &*bytes == b"a"));
    }
}
