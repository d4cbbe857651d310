//! One call of an operation: the hook of every generated method, the retry loop, and the span.

use std::{
    fmt,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use progenitor_client::{ClientHooks, ClientInfo, OperationInfo};
use reqwest::{Request, header::HeaderValue};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::{Instrument, Span, field};

use crate::{
    document::{generated, operation::Operation},
    error::{Error, api::ApiError, kind::ErrorKind},
    flow::adaptive::Setback,
    http::{
        credentials::Headers,
        envelope::Envelope,
        redact::Redactor,
        response::{self, Returned, Success},
        retry::{self, Next},
        transport::{self, Bytes, Received, Transport},
    },
    message::{
        lease::LeaseId,
        warning::{Warning, Warnings},
    },
};

/// One call of an operation, with any number of attempts. It is the generated client's inner value.
pub(crate) struct Call {
    transport: Arc<Transport>,
    operation: Operation,
    /// The end of the call: its own deadline, or the caller's if that is earlier.
    end: Instant,
    deadline: Instant,
    max_response_bytes: usize,
    span: Span,
    /// The body of a response with status 200, or the error.
    ended: Mutex<Option<Result<Vec<u8>, Error>>>,
    /// What accompanies that body. Set once.
    beside: OnceLock<Beside>,
}

struct Beside {
    sent_at: Instant,
    attempts: u32,
    setback: Setback,
    ray_id: Option<HeaderValue>,
    /// The body of the request, to remove it from the service's texts.
    sent: Option<Bytes>,
    credentials: Arc<Headers>,
}

impl Transport {
    /// A call that starts now and ends at the caller's deadline, if that comes first. The response may exceed the
    /// client's size limit by `more_bytes`.
    pub(crate) fn call(
        self: &Arc<Self>,
        operation: Operation,
        queue_id: &str,
        deadline: Option<std::time::Instant>,
        more_bytes: usize,
    ) -> Arc<Call> {
        let end = transport::after(self.call_timeout);
        Arc::new(Call {
            transport: Arc::clone(self),
            operation,
            end,
            deadline: deadline.map_or(end, |deadline| end.min(deadline.into())),
            max_response_bytes: self.max_response_bytes.saturating_add(more_bytes),
            span: span(operation, queue_id),
            ended: Mutex::default(),
            beside: OnceLock::new(),
        })
    }
}

impl Call {
    /// The generated client for this call.
    pub(crate) fn client(self: &Arc<Self>) -> generated::Client {
        let Transport { base_url, builder, .. } = &*self.transport;
        generated::Client::new_with_client(base_url, builder.clone(), Arc::clone(self))
    }

    /// Makes the call: `send` is the generated method.
    pub(crate) fn run<T: DeserializeOwned>(
        &self,
        send: impl Future<Output = Returned<T>>,
    ) -> impl Future<Output = Result<Success<T>, Error>> {
        self.run_as(send, response::read, None)
    }

    /// Like [`run`](Self::run), for a result of counts and warnings: the service may leave it out of a success.
    pub(crate) fn run_counted<T: DeserializeOwned + Default>(
        &self,
        send: impl Future<Output = Returned<T>>,
    ) -> impl Future<Output = Result<Success<T>, Error>> {
        self.run_as(send, response::read, Some(T::default()))
    }

    /// Like [`run`](Self::run), but `read` reads the response.
    pub(crate) async fn run_as<T>(
        &self,
        send: impl Future<Output = Returned<T>>,
        read: impl FnOnce(Vec<u8>) -> Result<Envelope<T>, Error>,
        empty: Option<T>,
    ) -> Result<Success<T>, Error> {
        transport::require_runtime()?;
        // The generated method's result is meaningless; see the hook.
        let _ = send.instrument(self.span.clone()).await;
        let ended = self.ended().take();
        let opened = ended.unwrap_or_else(|| Err(Error::invalid("the request could not be built")));
        let opened = opened.and_then(read).and_then(|envelope| response::open(envelope, empty));
        let result = match (opened, self.beside.get()) {
            (Err(error), Some(beside)) => Err(self.unfit(error, beside)),
            (opened, _) => opened,
        };
        match &result {
            Ok(success) => {
                if let Some(error) = success.beside.first() {
                    tracing::warn!(parent: &self.span, code = error.code, "a successful response has errors");
                }
                self.trace_end(200.into(), self.attempts(), None);
            }
            Err(error) => {
                self.span.record("error.type", field::debug(error.kind()));
                self.trace_end(error.status(), error.attempts(), error.ray_id());
            }
        }
        result
    }

    fn ended(&self) -> MutexGuard<'_, Option<Result<Vec<u8>, Error>>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When the successful attempt started.
    pub(crate) fn sent_at(&self) -> Instant {
        self.beside.get().map_or_else(Instant::now, |beside| beside.sent_at)
    }

    /// How many attempts the call took.
    pub(crate) fn attempts(&self) -> u32 {
        self.beside.get().map_or(1, |beside| beside.attempts)
    }

    /// What the call met before the attempt that succeeded.
    pub(crate) fn setback(&self) -> Setback {
        self.beside.get().map(|beside| beside.setback).unwrap_or_default()
    }

    /// Removes secrets from the texts of a successful response.
    pub(crate) fn redactor(&self) -> Redactor {
        self.beside.get().map(|beside| redactor(&beside.credentials, beside.sent.as_ref())).unwrap_or_default()
    }

    /// The service's warnings about single leases or references.
    pub(crate) fn warnings<'a, T>(
        &self,
        said: Option<Warnings>,
        subjects: impl Iterator<Item = &'a LeaseId>,
        subject: impl Fn(LeaseId) -> T,
    ) -> Vec<Warning<T>> {
        let said = said.filter(|said| !said.is_empty());
        let mut warnings = said.map(|said| said.read(subjects, subject)).unwrap_or_default();
        if !warnings.is_empty() {
            self.redactor().redact_all(warnings.iter_mut().map(|warning| &mut warning.message));
        }
        warnings
    }

    /// The errors that came with `success: true`, as warnings.
    pub(crate) fn beside<T>(&self, errors: Vec<ApiError>) -> impl Iterator<Item = Warning<T>> {
        let redactor = if errors.is_empty() { Redactor::default() } else { self.redactor() };
        errors.into_iter().map(move |error| {
            let mut message = error.to_string();
            redactor.redact(&mut message);
            Warning { subject: None, message }
        })
    }

    /// Records the number of messages in the span.
    pub(crate) fn trace_count(&self, messages: usize) {
        self.span.record("messaging.batch.message_count", messages);
    }

    /// The error for a response with status 200 that is not a success.
    fn unfit(&self, error: Error, beside: &Beside) -> Error {
        let ray_id = beside.ray_id.as_ref().and_then(transport::ray_id_of);
        let mut error = error.with_response(200, ray_id.map(str::to_owned), None);
        error.edit_texts(|text| redactor(&beside.credentials, beside.sent.as_ref()).redact(text));
        response::meaning(self.operation, error).in_operation(self.operation.id(), beside.attempts)
    }

    fn trace_end(&self, status: Option<u16>, attempts: u32, ray_id: Option<&str>) {
        if self.span.is_none() {
            return;
        }
        let beside = self.beside.get().and_then(|beside| transport::ray_id_of(beside.ray_id.as_ref()?));
        self.span.record("http.request.resend_count", attempts.saturating_sub(1));
        self.span.record("http.response.status_code", status);
        self.span.record("cloudflare.ray_id", ray_id.or(beside));
    }

    /// Sends the request, and retries it as the policy allows.
    async fn send(&self, request: &mut Request) -> Result<Vec<u8>, Error> {
        self.transport.budget.deposit();
        let sent = request.body_mut().take().map(transport::bytes).transpose()?;
        let (mut may_have_arrived, mut setback) = (false, Setback::None);
        let mut attempts: u32 = 0;
        let mut has_renewed = false;
        let mut credentials = self.credentials(None).await?;
        loop {
            attempts = attempts.saturating_add(1);
            let sent_at = Instant::now();
            let error = match self.attempt(request, sent.clone(), &credentials, attempts == 1).await {
                Ok(Received { body, ray_id }) => {
                    let _ = self.beside.set(Beside { sent_at, attempts, setback, ray_id, sent, credentials });
                    return Ok(body);
                }
                Err(error) => self.own(error, &credentials, sent.as_ref(), attempts),
            };
            may_have_arrived |= error.may_have_arrived();
            setback = setback.max(Setback::of(&error));
            if error.kind() == ErrorKind::Unauthorized && !has_renewed && self.remaining() > Duration::ZERO {
                has_renewed = true;
                let renewed = self.credentials(Some(&credentials)).await;
                let renewed = renewed.map_err(|error| error.or_may_have_arrived(may_have_arrived))?;
                if *renewed != *credentials {
                    credentials = renewed;
                    continue;
                }
            }
            let stopped = match self.next(&error, attempts) {
                Next::Wait(wait) => {
                    tracing::info!(attempts, ?wait, %error, "sending the request again");
                    sleep(wait).await;
                    if !self.remaining().is_zero() {
                        continue;
                    }
                    Some(retry::NO_TIME)
                }
                Next::Stop(note) => note,
            };
            // The last attempt cannot undo what an earlier one may have done.
            break Err(stopped.into_iter().fold(error, Error::with_note).or_may_have_arrived(may_have_arrived));
        }
    }

    async fn attempt(
        &self,
        request: &Request,
        body: Option<Bytes>,
        credentials: &Headers,
        is_first: bool,
    ) -> Result<Received, Error> {
        let _place = self.transport.place(if is_first { self.end } else { self.deadline }).await?;
        // The service accepts late acknowledgements, so their deadline prevents retries, but cuts off no attempt. Other
        // leases may belong to another consumer after it.
        let is_late = is_first && self.remaining().is_zero();
        let end = if is_late || self.operation == Operation::AckMessages { self.end } else { self.deadline };
        let received = self.transport.attempt(request, body, credentials, end, self.max_response_bytes).await;
        self.transport.free().await;
        received
    }

    /// The credentials, or new ones if the service refused these.
    async fn credentials(&self, refused: Option<&Arc<Headers>>) -> Result<Arc<Headers>, Error> {
        let source = &self.transport.credentials;
        // Without a timer, which only a provider needs.
        if let Some(fixed) = source.fixed() {
            return Ok(fixed);
        }
        let in_operation = |error: Error| error.in_operation(self.operation.id(), u32::from(refused.is_some()));
        let late = |_| Err(Error::new(ErrorKind::CredentialsUnavailable, "the credentials were not provided in time"));
        timeout_at(self.end, source.get(refused)).await.unwrap_or_else(late).map_err(in_operation)
    }

    fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    fn next(&self, error: &Error, attempts: u32) -> Next {
        let Transport { retry, budget, random, .. } = &*self.transport;
        match retry.after(self.operation, error, attempts, self.remaining(), random()) {
            Next::Wait(_) if !budget.withdraw() => Next::Stop(Some("the client's retry budget is used up")),
            next => next,
        }
    }

    /// Turns the error of an attempt into an error of this call, without secrets.
    fn own(&self, mut error: Error, credentials: &Headers, sent: Option<&Bytes>, attempts: u32) -> Error {
        let redactor = redactor(credentials, sent);
        error.edit_texts(|text| redactor.redact(text));
        response::meaning(self.operation, error).in_operation(self.operation.id(), attempts)
    }
}

/// The generated client wants it, and derives its own from it: without the request, which holds leases and bodies.
impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("operation", &self.operation).finish_non_exhaustive()
    }
}

fn redactor(credentials: &Headers, sent: Option<&Bytes>) -> Redactor {
    let mut redactor = Redactor::new(credentials.secrets());
    if let Some(sent) = sent {
        redactor.add_request(sent);
    }
    redactor
}

impl ClientHooks<Arc<Call>> for generated::Client {
    /// Makes the call with the request that the generated method built. The outcome is stored in the call, which costs
    /// a tenth of a stand-in response. The method gets an error instead, so that it ends here.
    async fn pre<E>(&self, request: &mut Request, _: &OperationInfo) -> Result<(), progenitor_client::Error<E>> {
        let call = self.inner();
        // On the heap, since the surrounding futures are moved several times before they are polled.
        let ended = Box::pin(call.send(request)).await;
        *call.ended() = Some(ended);
        Err(progenitor_client::Error::Custom(String::new()))
    }
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
