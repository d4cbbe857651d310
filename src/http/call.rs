//! One call of an operation: the request of a generated method, the retry loop, and the span.

use std::{
    cell::Cell,
    fmt,
    future::{Future, pending},
    mem,
    pin::pin,
    slice,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use progenitor_client::{ClientHooks, OperationInfo};
use reqwest::{Request, Response};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::{Instant, sleep};
use tracing::{Instrument, Span, field};

use crate::{
    document::{
        generated::{self, ResponseValue},
        operation::Operation,
    },
    error::{Error, api::ApiError, kind::ErrorKind},
    flow::{adaptive::Setback, contained::lock, rate::Rate},
    http::{
        credentials::Headers,
        envelope::{Envelope, Nothing},
        redact::Redactor,
        response::{self, Read, Success},
        retry::{self, Next},
        transport::{self, Bytes, Received, Transport},
    },
    message::{
        lease::LeaseId,
        warning::{Warning, Warnings},
    },
};

/// What a generated method returns.
pub(crate) type Returned<T> = Result<ResponseValue<Envelope<T>>, generated::Error>;

thread_local! {
    /// The request that a generated method built, with its operation, until [`Transport::call`] takes it. The method is
    /// polled once, so calls share a client without a lock.
    static BUILT: Cell<Option<(Request, &'static str)>> = const { Cell::new(None) };
}

impl ClientHooks for generated::Client {
    /// Keeps the request, and never returns: the method is dropped here, and [`Call::send`] sends the request.
    async fn exec(&self, request: Request, info: &OperationInfo) -> reqwest::Result<Response> {
        BUILT.set(Some((request, info.operation_id)));
        pending().await
    }
}

/// One call of an operation, with any number of attempts. `T` is its result.
pub(crate) struct Call<'a, T> {
    transport: &'a Transport,
    operation: Operation,
    /// Without its body.
    request: Request,
    body: Option<Bytes>,
    read: Read<T>,
    end: Instant,
    /// When to stop sending the request: at the end, or at the caller's deadline if that is earlier.
    deadline: Instant,
    max_response_bytes: usize,
    /// Is told of refusals by a rate limit.
    rate: Option<&'a Rate>,
    span: Span,
}

/// What a call went through until it succeeded.
pub(crate) struct Sent {
    /// When the last attempt started.
    pub(crate) at: Instant,
    /// The worst failure before it.
    pub(crate) setback: Setback,
    status: u16,
    attempts: u32,
    may_have_arrived: bool,
    ray_id: Option<String>,
    body: Option<Bytes>,
    credentials: Arc<Headers>,
    /// The credentials that the service refused before.
    refused: Option<Arc<Headers>>,
}

/// A `cf-ray`, and the request whose secrets are not removed from it yet.
struct RayId<'a>(&'a str, Option<&'a Sent>);

/// A request has many secrets, so they are looked for only if somebody reads the span.
impl fmt::Display for RayId<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut ray_id = self.0.to_owned();
        self.1.iter().for_each(|sent| sent.redactor().redact(&mut ray_id));
        f.write_str(&ray_id)
    }
}

impl Transport {
    /// A call with the request of a generated method, which starts now and takes at most this time.
    pub(crate) fn call<T: DeserializeOwned>(
        &self,
        queue_id: &str,
        timeout: Duration,
        method: impl AsyncFnOnce(&generated::Client) -> Returned<T>,
    ) -> Result<Call<'_, T>, Error> {
        transport::require_runtime()?;
        // Once the hook has the request, the method does not go on. It ends by itself if it cannot build one.
        let ended = pin!(method(&self.builder)).poll(&mut Context::from_waker(Waker::noop()));
        let request = BUILT.take().and_then(|(request, id)| Some((request, Operation::by_id(id)?)));
        let (Poll::Pending, Some((mut request, operation))) = (ended, request) else {
            return Err(Error::invalid("the request could not be built"));
        };
        let body = request.body_mut().take().map(transport::bytes).transpose()?;
        let end = transport::after(self.call_timeout.min(timeout));
        Ok(Call {
            transport: self,
            operation,
            request,
            body,
            read: response::read,
            end,
            deadline: end,
            max_response_bytes: self.max_response_bytes,
            rate: None,
            span: span(operation, queue_id),
        })
    }
}

impl<'a, T> Call<'a, T> {
    /// Reads the result in another way than as an object.
    pub(crate) fn read_by(mut self, read: Read<T>) -> Self {
        self.read = read;
        self
    }

    /// Sends the request no more after the caller's deadline, but at least once.
    pub(crate) fn until(mut self, deadline: Option<std::time::Instant>) -> Self {
        self.deadline = deadline.map_or(self.end, |deadline| self.end.min(deadline.into()));
        self
    }

    /// Lets the response exceed the client's size limit by this much.
    pub(crate) fn with_room(mut self, bytes: usize) -> Self {
        self.max_response_bytes = self.max_response_bytes.saturating_add(bytes);
        self
    }

    /// Tells this rate of refusals by a rate limit.
    pub(crate) fn told_to(mut self, rate: Option<&'a Rate>) -> Self {
        self.rate = rate;
        self
    }

    /// Records the number of messages in the span.
    pub(crate) fn trace_count(&self, messages: usize) {
        self.span.record("messaging.batch.message_count", messages);
    }

    /// Makes the call, and returns only its result.
    pub(crate) async fn result(self) -> Result<T, Error> {
        Ok(self.send().await?.0.result)
    }

    /// Makes the call.
    pub(crate) async fn send(&self) -> Result<(Success<T>, Sent), Error> {
        let result = self.attempts().instrument(self.span.clone()).await;
        // There is no span where only warnings are logged.
        if let Ok((success, sent)) = &result
            && let Some(mut error) = success.errors.first().cloned()
        {
            let logged = lock(&self.transport.errors).on_failure(Instant::now());
            if let Some(responses) = logged {
                if matches!(self.operation, Operation::PullMessages | Operation::PeekMessages) {
                    // Its texts may quote the messages that came with it, which are not known here.
                    error = ApiError::new(error.code, "");
                }
                let redactor = sent.redactor();
                ApiError::edit_texts(slice::from_mut(&mut error), None, |texts| redactor.redact_all(texts));
                tracing::warn!(parent: &self.span, responses, %error, "successful responses have errors");
            }
        }
        if self.span.is_none() {
            return result;
        }
        let (status, attempts, ray_id) = match &result {
            Ok((_, sent)) => (Some(sent.status), sent.attempts, sent.ray_id.as_deref().map(|id| RayId(id, Some(sent)))),
            Err(error) => {
                self.span.record("error.type", field::debug(error.kind()));
                (error.status(), error.attempts(), error.ray_id().map(|id| RayId(id, None)))
            }
        };
        self.span.record("http.request.resend_count", attempts.saturating_sub(1));
        self.span.record("http.response.status_code", status);
        self.span.record("cloudflare.ray_id", ray_id.map(field::display));
        result
    }

    /// Sends the request until it succeeds, or may not be sent again.
    async fn attempts(&self) -> Result<(Success<T>, Sent), Error> {
        self.transport.budget.deposit();
        let mut sent = Sent {
            at: Instant::now(),
            setback: Setback::None,
            status: 0,
            attempts: 0,
            may_have_arrived: false,
            ray_id: None,
            body: self.body.clone(),
            credentials: self.credentials(None, 0).await?,
            refused: None,
        };
        loop {
            let received = self.attempt(&mut sent).await;
            match received.and_then(|received| response::open(self.operation, received, self.read)) {
                Ok(success) => return Ok((success, sent)),
                Err(error) => self.wait_after(error, &mut sent).await?,
            }
        }
    }

    async fn attempt(&self, sent: &mut Sent) -> Result<Received, Error> {
        let is_first = sent.attempts == 0;
        sent.attempts = sent.attempts.saturating_add(1);
        let _permit = self.transport.permit(if is_first { self.end } else { self.deadline }).await?;
        sent.at = Instant::now();
        // The caller's deadline prevents retries, but cuts off no attempt: it may be carried out in any case, and the
        // other leases of the request may last longer.
        let Self { request, end, max_response_bytes, .. } = self;
        let attempt = self.transport.attempt(request, sent.body.clone(), &sent.credentials, *end, *max_response_bytes);
        let received = attempt.await;
        self.transport.free().await;
        let received = received?;
        sent.status = received.status;
        if !self.span.is_none() {
            sent.ray_id = transport::ray_id_of(&received.headers).map(str::to_owned);
        }
        Ok(received)
    }

    /// Waits until the request may be sent again after a failed attempt, or returns the error of the call.
    async fn wait_after(&self, mut error: Error, sent: &mut Sent) -> Result<(), Error> {
        let redactor = sent.redactor();
        error.edit_texts(|texts| redactor.redact_all(texts));
        let error = error.in_operation(self.operation.id(), sent.attempts);
        // The last attempt cannot undo what an earlier one may have done.
        let error = error.after_attempts(sent.may_have_arrived);
        sent.may_have_arrived = error.may_have_arrived();
        let setback = Setback::of(&error);
        sent.setback = sent.setback.max(setback);
        if let Some(rate) = self.rate.filter(|_| setback == Setback::RateLimit) {
            rate.on_refusal(sent.at);
        }
        if error.kind() == ErrorKind::Unauthorized && sent.refused.is_none() && !self.remaining().is_zero() {
            let renewed = self.credentials(Some(&sent.credentials), sent.attempts).await;
            let renewed = renewed.map_err(|error| error.or_may_have_arrived(sent.may_have_arrived))?;
            let refused = sent.refused.insert(mem::replace(&mut sent.credentials, renewed));
            if **refused != *sent.credentials {
                return self.in_time(error);
            }
        }
        match self.next(&error, sent.attempts) {
            Next::Wait(wait) => {
                tracing::info!(attempts = sent.attempts, ?wait, %error, "sending the request again");
                sleep(wait).await;
                self.in_time(error)
            }
            Next::Stop(note) => Err(note.into_iter().fold(error, Error::with_note)),
        }
    }

    /// The credentials, or new ones if the service refused these.
    async fn credentials(&self, refused: Option<&Arc<Headers>>, attempts: u32) -> Result<Arc<Headers>, Error> {
        let in_operation = |error: Error| error.in_operation(self.operation.id(), attempts);
        let end = if refused.is_none() { self.end } else { self.deadline };
        self.transport.credentials.get(refused, end).await.map_err(in_operation)
    }

    /// The error, if it is too late to send the request again.
    fn in_time(&self, error: Error) -> Result<(), Error> {
        if self.remaining().is_zero() { Err(error.with_note(retry::NO_TIME)) } else { Ok(()) }
    }

    fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    fn next(&self, error: &Error, attempts: u32) -> Next {
        let Transport { retry, budget, random, .. } = self.transport;
        match retry.after(self.operation, error, attempts, self.remaining(), random()) {
            Next::Wait(_) if !budget.withdraw() => Next::Stop(Some("the client's retry budget is used up")),
            next => next,
        }
    }
}

impl Call<'_, Nothing> {
    /// Makes the call. If an earlier attempt may have deleted it, a response that says that there is nothing is enough.
    pub(crate) async fn delete(self, is_gone: impl FnOnce(&Error) -> bool) -> Result<(), Error> {
        let deleted = self.read_by(response::read_nothing).result().await.map(drop);
        let says_so = |error: &Error| matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NoSuchConsumer);
        let is_gone = |error: &Error| error.earlier_may_have_arrived() && says_so(error) && is_gone(error);
        deleted.or_else(|error| if is_gone(&error) { Ok(()) } else { Err(error) })
    }
}

impl Sent {
    /// Removes every secret of the call from the service's texts.
    pub(crate) fn redactor(&self) -> Redactor {
        let credentials = [Some(&self.credentials), self.refused.as_ref()].into_iter().flatten();
        let mut redactor = Redactor::new(credentials.flat_map(|headers| headers.secrets()));
        self.body.iter().for_each(|body| redactor.add_request(body));
        redactor
    }

    /// The service's warnings about single leases or references, and the errors that came with `success: true`.
    pub(crate) fn warnings<'a, T>(
        &self,
        warnings: Option<Warnings>,
        errors: &[ApiError],
        subjects: impl Iterator<Item = &'a LeaseId>,
        subject: impl Fn(LeaseId) -> T,
    ) -> Vec<Warning<T>> {
        let warnings = warnings.unwrap_or_default();
        if warnings.is_empty() && errors.is_empty() {
            return Vec::new();
        }
        let request: Value = serde_json::from_slice(self.body.as_deref().unwrap_or_default()).unwrap_or_default();
        let mut warnings = warnings.read(errors, subjects, subject, |pointer| entry_at(&request, pointer));
        self.redactor().redact_all(warnings.iter_mut().map(|warning| &mut warning.message));
        warnings
    }
}

/// The lease or reference of a request at which a pointer of the service points, such as `/acks/3/lease_id`.
fn entry_at(request: &Value, pointer: &str) -> Option<LeaseId> {
    let names: Vec<_> = pointer.split(['/', '.', '[', ']']).filter(|name| !name.is_empty()).collect();
    let entry = names.iter().zip(names.iter().skip(1)).find_map(|(list, index)| {
        let index: usize = index.parse().ok()?;
        request.get(list)?.get(index)
    })?;
    entry.get("lease_id").or_else(|| entry.get("ref"))?.as_str().map(LeaseId::from)
}

/// One span per call, with OpenTelemetry's names. Error texts, leases and bodies are not recorded.
fn span(operation: Operation, queue_id: &str) -> Span {
    tracing::info_span!(
        "cloudflare_queues",
        otel.kind = "client",
        messaging.system = "cloudflare_queues",
        messaging.operation.name = operation.id(),
        messaging.destination.name = queue_id,
        messaging.batch.message_count = field::Empty,
        http.request.method = operation.method(),
        http.request.resend_count = field::Empty,
        http.response.status_code = field::Empty,
        cloudflare.ray_id = field::Empty,
        error.type = field::Empty,
    )
}
