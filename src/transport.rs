//! The one seam that every request passes: headers, attempts, deadlines, and the bound on an answer.

use std::{
    fmt, mem,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::{Duration, SystemTime},
};
#[cfg(feature = "emulator")]
use std::{future::Future, pin::Pin};

use progenitor_client::{ClientHooks, ClientInfo, OperationInfo};
use reqwest::{
    Request, Response,
    header::{HeaderName, HeaderValue, USER_AGENT},
};
use tokio::time::{Instant, sleep};
use tracing::{Instrument, Span, field};

use crate::{
    auth::Credentials,
    envelope,
    error::{Error, ErrorKind},
    generated,
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
        let end = Instant::now() + self.call_timeout.min(FOREVER);
        Call {
            transport: Arc::clone(self),
            operation,
            end,
            deadline: deadline.map_or(end, |deadline| end.min(deadline.into())),
            max_answer_bytes: self.max_answer_bytes,
            span: span(operation, queue_id),
            sent: Mutex::default(),
            sent_at: OnceLock::new(),
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
/// could not be read. So a call is the generated client's inner value, and keeps what became of the request.
#[derive(Debug)]
pub(crate) struct Call {
    transport: Arc<Transport>,
    operation: Operation,
    /// The call's own end, and the caller's if that is earlier.
    end: Instant,
    deadline: Instant,
    pub(crate) max_answer_bytes: usize,
    span: Span,
    sent: Mutex<Option<Result<Sent, Error>>>,
    /// When the attempt began that was answered.
    sent_at: OnceLock<Instant>,
}

/// A request that was answered with status 200.
#[derive(Debug)]
pub(crate) struct Sent {
    request: Request,
    attempts: u32,
    ray_id: Option<HeaderValue>,
}

impl Call {
    /// The generated client for this call.
    pub(crate) fn client(self: &Arc<Self>) -> generated::Client {
        let transport = &self.transport;
        generated::Client::new_with_client(&transport.base_url, transport.http.clone(), Arc::clone(self))
    }

    /// When the request left that was answered, or now if none was.
    pub(crate) fn sent_at(&self) -> Instant {
        self.sent_at.get().copied().unwrap_or_else(Instant::now)
    }

    /// What became of the request, once.
    pub(crate) fn take_sent(&self) -> Result<Sent, Error> {
        let sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner).take();
        sent.unwrap_or_else(|| {
            let error = Error::new(ErrorKind::Transport, "the request could not be built");
            Err(error.in_operation(self.operation.id(), 0))
        })
    }

    /// Completes an error about an answer with status 200.
    pub(crate) fn describe(&self, sent: &Sent, error: Error) -> Error {
        self.span.record("error.type", field::debug(error.kind()));
        let error = error.with_answer(200, sent.ray_id.as_ref().and_then(text), None);
        self.redacted(error, &sent.request).in_operation(self.operation.id(), sent.attempts)
    }

    /// Tells the trace how many messages the call is about.
    pub(crate) fn trace_count(&self, messages: usize) {
        self.span.record("messaging.batch.message_count", messages);
    }

    fn trace_end(&self, sent: &Result<Sent, Error>) {
        let (attempts, status, ray_id) = match sent {
            Ok(sent) => (sent.attempts, Some(200), sent.ray_id.as_ref().and_then(|ray_id| ray_id.to_str().ok())),
            Err(error) => {
                self.span.record("error.type", field::debug(error.kind()));
                (error.attempts(), error.status(), error.ray_id())
            }
        };
        self.span.record("http.request.resend_count", attempts.saturating_sub(1));
        self.span.record("http.response.status_code", status);
        self.span.record("cloudflare.ray_id", ray_id);
    }

    /// Sends the request as often as the policy allows. What is returned after a failure stands in for an answer, and is not looked
    /// at: the error is kept.
    async fn send(&self, request: Request) -> Response {
        let mut attempts = 0;
        let mut may_have_arrived = false;
        // A late acknowledgement is taken too: a deadline that has passed keeps it from being repeated, not from being sent.
        let mut end = if self.deadline > Instant::now() { self.deadline } else { self.end };
        self.transport.budget.deposit();
        let (sent, response) = loop {
            attempts += 1;
            let sent_at = Instant::now();
            let error = match self.attempt(&request, end.saturating_duration_since(sent_at)).await {
                Ok(response) => {
                    let ray_id = response.headers().get(CF_RAY).cloned();
                    let _ = self.sent_at.set(sent_at);
                    break (Ok(Sent { request, attempts, ray_id }), response);
                }
                Err(error) => self.redacted(error, &request).in_operation(self.operation.id(), attempts),
            };
            end = self.deadline;
            let remaining = || end.saturating_duration_since(Instant::now());
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
            let error = if may_have_arrived { error.that_may_have_arrived() } else { error };
            let error = note.into_iter().fold(error, Error::with_note);
            break (Err(error), Response::from(http::Response::new("")));
        };
        self.trace_end(&sent);
        *self.sent.lock().unwrap_or_else(PoisonError::into_inner) = Some(sent);
        response
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

    /// Sends the request once, and reads the answer to its end, so that one that is cut off can be asked for again.
    async fn attempt(&self, request: &Request, remaining: Duration) -> Result<Response, Error> {
        let Some(mut request) = request.try_clone() else {
            return Err(Error::new(ErrorKind::Transport, "the request's body cannot be sent twice"));
        };
        *request.timeout_mut() = Some(remaining.min(self.transport.request_timeout));
        let url = request.url().clone();
        let mut response = self.transport.execute(request).await.map_err(broken)?;
        if *response.url() != url {
            let message = "the HTTP client that was given followed a redirect, and may have shown the credentials to another host";
            return Err(Error::new(ErrorKind::UnexpectedAnswer, message).that_may_have_arrived());
        }
        let body = read(&mut response, self.max_answer_bytes).await;
        let (status, headers) = (response.status().as_u16(), response.headers_mut());
        let error = match body {
            Ok(body) if status == 200 => {
                let mut answer = http::Response::new(body);
                mem::swap(answer.headers_mut(), headers);
                return Ok(Response::from(answer));
            }
            Err(error) if status == 200 => error,
            // The status speaks for itself where the body cannot be had.
            body => envelope::refusal(status, headers, &body.unwrap_or_default()),
        };
        let retry_after = retry::retry_after(headers, SystemTime::now());
        Err(error.with_answer(status, headers.get(CF_RAY).and_then(text), retry_after))
    }

    fn redacted(&self, mut error: Error, request: &Request) -> Error {
        if !error.api_errors().is_empty() {
            let mut redactor = self.transport.redactor();
            redactor.add_request(request.body().and_then(reqwest::Body::as_bytes).unwrap_or_default());
            error.edit_texts(|text| redactor.redact(text));
        }
        error
    }
}

impl ClientHooks<Arc<Call>> for generated::Client {
    async fn pre<E>(&self, request: &mut Request, _: &OperationInfo) -> Result<(), generated::Error<E>> {
        let headers = request.headers_mut();
        // The generator sends the document's version here, where the service would expect a date of its own.
        headers.remove("api-version");
        headers.insert(USER_AGENT, AGENT);
        for (name, value) in self.inner().transport.credentials.headers() {
            headers.insert(name, value.clone());
        }
        Ok(())
    }

    async fn exec(&self, request: Request, _: &OperationInfo) -> reqwest::Result<Response> {
        let call = self.inner();
        Ok(call.send(request).instrument(call.span.clone()).await)
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
