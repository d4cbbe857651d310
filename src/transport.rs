//! The one seam that every request passes: headers, attempts, deadlines, and the bound on an answer.

#[cfg(feature = "emulator")]
use std::pin::Pin;
use std::{
    fmt,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use progenitor_client::{ClientHooks, ClientInfo, OperationInfo};
use reqwest::{
    Request, Response, ResponseBuilderExt, Url,
    header::{HeaderName, HeaderValue, USER_AGENT},
};
use serde::Serialize;
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{Instant, error::Elapsed, sleep, timeout_at},
};
use tracing::{Instrument, Span, field};

use crate::{
    auth::Credentials,
    envelope::{self, Envelope},
    error::{Error, ErrorKind},
    generated::{self, ResponseValue},
    redact::Redactor,
    retry::{self, Budget, Next, Operation, RetryPolicy},
};

const CF_RAY: HeaderName = HeaderName::from_static("cf-ray");
const AGENT: HeaderValue = HeaderValue::from_static(concat!("cloudflare-queues/", env!("CARGO_PKG_VERSION")));

/// Longer timeouts could not be added to a clock.
const FOREVER: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// What takes requests in the network's place, and leaves nothing to chance.
#[cfg(feature = "emulator")]
pub(crate) trait Carrier: Send + Sync {
    /// As [`reqwest::Client::execute`].
    fn execute(&self, request: Request) -> Pin<Box<dyn Future<Output = reqwest::Result<Response>> + Send>>;

    /// In the place of [`retry::random`].
    fn random(&self) -> u64;
}

/// What all calls of a client share.
pub(crate) struct Transport {
    pub(crate) http: reqwest::Client,
    #[cfg(feature = "emulator")]
    pub(crate) carrier: Option<Arc<dyn Carrier>>,
    pub(crate) base_url: String,
    pub(crate) credentials: Credentials,
    pub(crate) retry: RetryPolicy,
    pub(crate) budget: Budget,
    /// A place for each request that may be under way, if there is a bound.
    pub(crate) in_flight: Option<Semaphore>,
    pub(crate) request_timeout: Duration,
    pub(crate) call_timeout: Duration,
    pub(crate) max_answer_bytes: usize,
}

/// Without the HTTP client, whose proxies may hold a password.
impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport")
            .field("base_url", &self.base_url)
            .field("credentials", &self.credentials)
            .finish_non_exhaustive()
    }
}

impl Transport {
    /// A call that begins now, and ends by the caller's deadline if that comes first.
    pub(crate) fn call(
        self: &Arc<Self>,
        operation: Operation,
        queue_id: &str,
        deadline: Option<std::time::Instant>,
    ) -> Call {
        let now = Instant::now();
        let end = now + self.call_timeout.min(FOREVER);
        Call {
            transport: Arc::clone(self),
            operation,
            end,
            deadline: deadline.map_or(end, |deadline| end.min(deadline.into())),
            max_answer_bytes: self.max_answer_bytes,
            span: span(operation, queue_id),
            attempt: Mutex::new(Attempt { began: now, end, outcome: None }),
        }
    }

    pub(crate) fn redactor(&self) -> Redactor {
        Redactor::new(self.credentials.secrets())
    }

    async fn execute(&self, request: Request) -> reqwest::Result<Response> {
        #[cfg(feature = "emulator")]
        if let Some(carrier) = &self.carrier {
            return carrier.execute(request).await;
        }
        self.http.execute(request).await
    }

    fn random(&self) -> u64 {
        #[cfg(feature = "emulator")]
        if let Some(carrier) = &self.carrier {
            return carrier.random();
        }
        retry::random()
    }
}

/// One call of an operation, of any number of attempts.
///
/// The hooks can hand on an answer but no error of ours, and what a generated method returns has lost the status where the answer
/// could not be read. So a call is the generated client's inner value, and keeps what became of the latest attempt.
#[derive(Debug)]
pub(crate) struct Call {
    transport: Arc<Transport>,
    operation: Operation,
    /// The call's own end, and the caller's if that is earlier.
    end: Instant,
    deadline: Instant,
    pub(crate) max_answer_bytes: usize,
    span: Span,
    attempt: Mutex<Attempt>,
}

/// What a generated method returns.
type Answer<T> = Result<ResponseValue<Envelope<T>>, generated::Error>;

#[derive(Debug)]
struct Attempt {
    began: Instant,
    end: Instant,
    /// The ray id of an answer with status 200, or why there is none.
    outcome: Option<Result<Option<HeaderValue>, Error>>,
}

impl Call {
    /// The generated client for this call.
    pub(crate) fn client(self: &Arc<Self>) -> generated::Client {
        let Transport { base_url, http, .. } = &*self.transport;
        generated::Client::new_with_client(base_url, http.clone(), Arc::clone(self))
    }

    /// Makes the call as often as the policy allows: `send` is the generated method, and `payload` what it sends.
    pub(crate) async fn run<T, A>(&self, payload: &impl Serialize, send: impl Fn() -> A) -> Result<T, Error>
    where
        A: Future<Output = Answer<T>>,
    {
        self.attempts(payload, send).instrument(self.span.clone()).await
    }

    /// When the latest attempt began.
    pub(crate) fn sent_at(&self) -> Instant {
        self.attempt().began
    }

    /// Tells the trace how many messages the call is about.
    pub(crate) fn trace_count(&self, messages: usize) {
        self.span.record("messaging.batch.message_count", messages);
    }

    async fn attempts<T, A>(&self, payload: &impl Serialize, send: impl Fn() -> A) -> Result<T, Error>
    where
        A: Future<Output = Answer<T>>,
    {
        let (mut attempts, mut may_have_arrived) = (0, false);
        self.transport.budget.deposit();
        let error = loop {
            attempts += 1;
            let error = match self.once(attempts == 1, &send).await {
                Ok((ray_id, result)) => {
                    self.trace_end(attempts, Some(200), ray_id.as_ref().and_then(|ray_id| ray_id.to_str().ok()));
                    return Ok(result);
                }
                Err(error) => self.redacted(error, payload).in_operation(self.operation.id(), attempts),
            };
            let remaining = || self.deadline.saturating_duration_since(Instant::now());
            let next = self.next(&error, attempts, remaining());
            // What an earlier attempt may have done, the last one cannot undo.
            may_have_arrived |= error.may_have_arrived();
            let note = match next {
                Next::Wait(wait) => {
                    tracing::info!(attempts, ?wait, %error, "sending the request again");
                    sleep(wait).await;
                    if !remaining().is_zero() {
                        continue;
                    }
                    Some(retry::NO_TIME)
                }
                Next::Stop(note) => note,
            };
            break note.into_iter().fold(error, Error::with_note);
        };
        self.span.record("error.type", field::debug(error.kind()));
        self.trace_end(attempts, error.status(), error.ray_id());
        Err(if may_have_arrived { error.that_may_have_arrived() } else { error })
    }

    async fn once<T, A>(&self, is_first: bool, send: &impl Fn() -> A) -> Result<(Option<HeaderValue>, T), Error>
    where
        A: Future<Output = Answer<T>>,
    {
        let _place = self.place(if is_first { self.end } else { self.deadline }).await?;
        let began = Instant::now();
        // A late acknowledgement is taken too: a deadline that has passed keeps it from being repeated, not from being sent.
        let end = if is_first && self.deadline <= began { self.end } else { self.deadline };
        let end = end.min(began + self.transport.request_timeout.min(FOREVER));
        *self.attempt() = Attempt { began, end, outcome: None };
        let answer = send().await;
        if self.transport.in_flight.as_ref().is_some_and(|in_flight| in_flight.available_permits() == 0) {
            // The connection is free a moment after its answer is read: whoever waits for it would open another one until then.
            tokio::task::yield_now().await;
        }
        let outcome = self.attempt().outcome.take();
        let ray_id = outcome.unwrap_or_else(|| Err(Error::invalid("the request could not be built")))?;
        match envelope::open(answer) {
            Ok(result) => Ok((ray_id, result)),
            Err(error) => Err(error.with_answer(200, ray_id.as_ref().and_then(text), None)),
        }
    }

    /// A place among the requests under way.
    async fn place(&self, end: Instant) -> Result<Option<SemaphorePermit<'_>>, Error> {
        let Some(in_flight) = &self.transport.in_flight else { return Ok(None) };
        match timeout_at(end, in_flight.acquire()).await {
            Ok(Ok(place)) => Ok(Some(place)),
            _ => Err(Error::new(ErrorKind::Timeout, "as many other requests as max_in_flight allows were under way")),
        }
    }

    fn attempt(&self) -> MutexGuard<'_, Attempt> {
        self.attempt.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self, error: &Error, attempts: u32, remaining: Duration) -> Next {
        let Transport { retry, budget, .. } = &*self.transport;
        match retry.after(self.operation, error, attempts, remaining, self.transport.random()) {
            Next::Wait(_) if !budget.withdraw() => {
                Next::Stop(Some("the retries that all calls of the client share are used up"))
            }
            next => next,
        }
    }

    fn redacted(&self, mut error: Error, payload: &impl Serialize) -> Error {
        if !error.api_errors().is_empty() {
            let mut redactor = self.transport.redactor();
            redactor.add_request(payload);
            error.edit_texts(|text| redactor.redact(text));
        }
        error
    }

    fn trace_end(&self, attempts: u32, status: Option<u16>, ray_id: Option<&str>) {
        self.span.record("http.request.resend_count", attempts.saturating_sub(1));
        self.span.record("http.response.status_code", status);
        self.span.record("cloudflare.ray_id", ray_id);
    }

    /// Sends the request, and reads the answer to its end, so that one that is cut off can be asked for again.
    async fn exchange(&self, mut request: Request) -> Result<(Option<HeaderValue>, Response), Error> {
        let end = self.attempt().end;
        let headers = request.headers_mut();
        // The generator sends the document's version here, where the service would expect a date of its own.
        headers.remove("api-version");
        headers.insert(USER_AGENT, AGENT);
        for (name, value) in self.transport.credentials.headers() {
            headers.insert(name, value.clone());
        }
        let url = request.url().clone();
        let answer = timeout_at(end, self.transport.execute(request)).await.map_err(late)?;
        let mut response = answer.map_err(broken)?;
        if *response.url() != url {
            let message = "the HTTP client that was given followed a redirect, and may have shown the credentials to another host";
            return Err(Error::new(ErrorKind::UnexpectedAnswer, message).that_may_have_arrived());
        }
        let body = timeout_at(end, read(&mut response, self.max_answer_bytes)).await;
        let body = body.unwrap_or_else(|elapsed| Err(late(elapsed)));
        let (status, headers) = (response.status().as_u16(), response.headers());
        let ray_id = headers.get(CF_RAY);
        let error = match body {
            // The generated method reads no header, and would copy them.
            Ok(body) if status == 200 => return Ok((ray_id.cloned(), answer_of(url, body))),
            Err(error) if status == 200 => error,
            // The status speaks for itself where the body cannot be had.
            body => envelope::refusal(status, headers, &body.unwrap_or_default()),
        };
        let retry_after = retry::retry_after(headers, SystemTime::now());
        Err(error.with_answer(status, ray_id.and_then(text), retry_after))
    }
}

impl ClientHooks<Arc<Call>> for generated::Client {
    /// What is returned after a failure stands in for an answer, and is not looked at: the error is kept.
    async fn exec(&self, request: Request, _: &OperationInfo) -> reqwest::Result<Response> {
        let call = self.inner();
        let (outcome, response) = match call.exchange(request).await {
            Ok((ray_id, response)) => (Ok(ray_id), response),
            Err(error) => (Err(error), Response::from(http::Response::new(""))),
        };
        call.attempt().outcome = Some(outcome);
        Ok(response)
    }
}

/// One span a call, with OpenTelemetry's names. An error's text, a lease or a body is no attribute.
fn span(operation: Operation, queue_id: &str) -> Span {
    tracing::info_span!(
        "cloudflare_queues",
        otel.kind = "client",
        messaging.system = "cloudflare_queues",
        messaging.operation.name = operation.id(),
        messaging.destination.name = queue_id,
        messaging.batch.message_count = field::Empty,
        http.request.method = "POST",
        http.request.resend_count = field::Empty,
        http.response.status_code = field::Empty,
        cloudflare.ray_id = field::Empty,
        error.type = field::Empty,
    )
}

async fn read(response: &mut Response, bound: usize) -> Result<Vec<u8>, Error> {
    let too_large =
        || Error::new(ErrorKind::UnexpectedAnswer, format!("the answer is larger than the bound of {bound} bytes"));
    let announced = usize::try_from(response.content_length().unwrap_or_default()).unwrap_or(usize::MAX);
    if announced > bound {
        return Err(too_large());
    }
    let mut body = Vec::with_capacity(announced);
    while let Some(chunk) = response.chunk().await.map_err(broken)? {
        if chunk.len() > bound - body.len() {
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// What the generated method is to read. With a URL, since one would be made up and parsed else.
fn answer_of(url: Url, body: Vec<u8>) -> Response {
    http::Response::builder().url(url).body(body).unwrap_or_default().into()
}

fn late(elapsed: Elapsed) -> Error {
    Error::new(ErrorKind::Timeout, "the answer did not come in time").with_source(elapsed, true)
}

/// The error for a request that was not answered, or not to the end.
fn broken(error: reqwest::Error) -> Error {
    let may_have_arrived = !(error.is_connect() || error.is_builder());
    let (kind, message) = match (error.is_timeout(), may_have_arrived) {
        (true, true) => (ErrorKind::Timeout, "the answer did not come in time"),
        (true, false) => (ErrorKind::Timeout, "the connection was not made in time"),
        (false, true) => (ErrorKind::Transport, "the connection broke before the answer was complete"),
        (false, false) => (ErrorKind::Transport, "the connection could not be made"),
    };
    Error::new(kind, message).with_source(error.without_url(), may_have_arrived)
}

fn text(value: &HeaderValue) -> Option<String> {
    value.to_str().ok().map(str::to_owned)
}
