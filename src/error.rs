//! The one error type, its kinds, and the faults that the service lists.

use std::{borrow::Cow, error::Error as StdError, fmt, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use crate::ack::{AckOutcome, AckRequest};

/// Why a call did not succeed.
///
/// Match on [`kind`](Self::kind). The `Display` form is one line that ends with what to do next. Neither form ever holds a
/// token, a key, a lease id or a message's body, even where the service quotes one of them back as it was sent.
///
/// An error of [`Queue::ack`](crate::Queue::ack) holds the leases that were not confirmed: see
/// [`into_unconfirmed`](Self::into_unconfirmed).
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    operation: Option<&'static str>,
    message: Cow<'static, str>,
    status: Option<u16>,
    api_errors: Vec<ApiError>,
    ray_id: Option<String>,
    retry_after: Option<Duration>,
    attempts: u32,
    may_have_arrived: bool,
    confirmed: Option<AckOutcome>,
    unconfirmed: Option<AckRequest>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

/// What sort of failure an [`Error`] is.
///
/// What is said of sending again assumes the default [`RetryPolicy`](crate::RetryPolicy). Acknowledging twice does no harm, nor
/// does peeking or purging, so they are repeated where a push, which could duplicate a message, and a pull, which could strand a
/// batch, are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The input was refused here, and nothing was sent. The message names the field and its bound.
    InvalidInput,
    /// The credentials are malformed or unknown, or lack a permission. Not sent again.
    Unauthorized,
    /// There is no such account or queue. Not sent again.
    NotFound,
    /// The queue has no HTTP pull consumer (405), or it was made only seconds ago. Not sent again.
    NotPullConsumer,
    /// Delivery from the queue is paused (409). Not sent again.
    DeliveryPaused,
    /// The service refused the call for its rate (429). Every operation is sent again, after `Retry-After` if there is one, unless
    /// the service's code says that a quota is used up (10251, 10252, 10253).
    RateLimited,
    /// The service refused the request for what it asks, or its firewall for where it comes from. Not sent again.
    Rejected,
    /// The service failed (5xx). An acknowledgement, a peek or a purge is sent again.
    ServiceFailure,
    /// The connection could not be made, or broke. An acknowledgement, a peek or a purge is sent again; a push or a pull only if
    /// no connection was made.
    Transport,
    /// An attempt or the whole call took longer than allowed. An attempt that did is sent again as for
    /// [`Transport`](Self::Transport).
    Timeout,
    /// The answer was not what the service documents, so that it is unknown whether the call was carried out. Not sent again.
    UnexpectedAnswer,
    /// A message's body does not decode into the type asked for. The message and its lease are untouched.
    UndecodableBody,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Inner {
            kind,
            operation: None,
            message: message.into(),
            status: None,
            api_errors: Vec::new(),
            ray_id: None,
            retry_after: None,
            attempts: 0,
            may_have_arrived: false,
            confirmed: None,
            unconfirmed: None,
            source: None,
        }))
    }

    pub(crate) fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::InvalidInput, message)
    }

    /// Whether another request may fare better: the firewall, which challenges with 403, looks at where they come from.
    pub(crate) fn refuses_the_request(&self) -> bool {
        self.0.kind == ErrorKind::Rejected && self.0.status != Some(403)
    }

    pub(crate) fn in_operation(mut self, operation: &'static str, attempts: u32) -> Self {
        self.0.operation = Some(operation);
        self.0.attempts = attempts;
        self
    }

    pub(crate) fn with_answer(mut self, status: u16, ray_id: Option<String>, retry_after: Option<Duration>) -> Self {
        self.0.status = Some(status);
        self.0.ray_id = ray_id;
        self.0.retry_after = retry_after;
        // Whoever refuses a request does not carry it out; only a 408 leaves that open.
        self.0.may_have_arrived = !(400..=499).contains(&status) || status == 408;
        self
    }

    pub(crate) fn with_api_errors(mut self, api_errors: Vec<ApiError>) -> Self {
        self.0.api_errors = api_errors;
        self
    }

    pub(crate) fn with_source(mut self, source: impl StdError + Send + Sync + 'static, may_have_arrived: bool) -> Self {
        self.0.source = Some(Arc::new(source));
        self.0.may_have_arrived = may_have_arrived;
        self
    }

    pub(crate) fn that_may_have_arrived(mut self) -> Self {
        self.0.may_have_arrived = true;
        self
    }

    pub(crate) fn with_note(mut self, note: &str) -> Self {
        self.0.message = format!("{}; {note}", self.0.message).into();
        self
    }

    /// Applies `edit` to every text of the service.
    pub(crate) fn edit_texts(&mut self, edit: impl Fn(&mut String)) {
        self.0.api_errors.iter_mut().for_each(|error| error.edit_texts(&edit));
    }

    pub(crate) fn with_leases(mut self, confirmed: Option<AckOutcome>, unconfirmed: AckRequest) -> Self {
        self.0.confirmed = confirmed;
        self.0.unconfirmed = Some(unconfirmed);
        self
    }

    pub(crate) fn without_leases(mut self) -> Self {
        self.0.confirmed = None;
        self.0.unconfirmed = None;
        self
    }

    /// What sort of failure this is.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The operation that failed, by its name in the crate's OpenAPI document: `ack_messages`, `pull_messages`, `push_message`,
    /// `push_messages`, `peek_messages` or `purge_messages`. `None` outside a call.
    pub fn operation(&self) -> Option<&'static str> {
        self.0.operation
    }

    /// The HTTP status of the last answer, if there was one.
    pub fn status(&self) -> Option<u16> {
        self.0.status
    }

    /// The faults that the service listed in its last answer, with their codes.
    pub fn api_errors(&self) -> &[ApiError] {
        &self.0.api_errors
    }

    /// Whether the service listed a fault with this code, directly or as the cause of another.
    pub fn has_code(&self, code: i64) -> bool {
        self.0.api_errors.iter().any(|error| error.has_code(code))
    }

    /// The answer's `cf-ray`, by which Cloudflare's support finds the request.
    pub fn ray_id(&self) -> Option<&str> {
        self.0.ray_id.as_deref()
    }

    /// How long the service asked to wait, by `Retry-After` in either of its forms.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// How many requests were sent, or tried to be; 0 if the input was refused.
    pub fn attempts(&self) -> u32 {
        self.0.attempts
    }

    /// Whether a request may have arrived and been carried out, at any attempt. If not, because nothing arrived or because the service
    /// refused it, the operation surely had no effect.
    pub fn may_have_arrived(&self) -> bool {
        self.0.may_have_arrived
    }

    /// What the service confirmed, where [`Queue::ack`](crate::Queue::ack) took several requests and some were carried out.
    pub fn confirmed(&self) -> Option<&AckOutcome> {
        self.0.confirmed.as_ref()
    }

    /// The leases that an acknowledgement left unconfirmed. `None` for other operations.
    pub fn unconfirmed(&self) -> Option<&AckRequest> {
        self.0.unconfirmed.as_ref()
    }

    /// Takes the leases that an acknowledgement left unconfirmed, as a request that can be sent again as it is.
    pub fn into_unconfirmed(self) -> Option<AckRequest> {
        self.0.unconfirmed
    }

    fn next_step(&self) -> &'static str {
        match self.0.kind {
            ErrorKind::InvalidInput => "correct the input; nothing was sent",
            ErrorKind::Unauthorized => "check the credentials, and that the token has the permission Queues Write",
            ErrorKind::NotFound => "check the account id and the queue id, which is not the queue's name",
            ErrorKind::NotPullConsumer => "enable the HTTP pull consumer of the queue; a new one takes some seconds",
            ErrorKind::DeliveryPaused => "resume delivery from the queue",
            ErrorKind::RateLimited => "try again later, or raise the limit that the code names",
            // Another 403 is about the credentials.
            ErrorKind::Rejected if self.0.status == Some(403) => "call from another network, or ask Cloudflare why",
            ErrorKind::Rejected => "correct the request by what the service says",
            ErrorKind::ServiceFailure => "try again later",
            ErrorKind::Transport | ErrorKind::Timeout if self.0.may_have_arrived => {
                "try again; the request may have arrived, so a push may be doubled by that"
            }
            ErrorKind::Transport => "check the base URL and the network; nothing arrived",
            ErrorKind::Timeout => "try again; the request did not arrive",
            ErrorKind::UnexpectedAnswer => "check the base URL; the request may have been carried out",
            ErrorKind::UndecodableBody => "acknowledge the message, or retry it to bring it to the dead-letter queue",
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &self.0;
        if let Some(operation) = inner.operation {
            write!(f, "{operation}: ")?;
        }
        f.write_str(&inner.message)?;
        for error in &inner.api_errors {
            write!(f, ", {error}")?;
        }
        write!(f, "; {}", self.next_step())?;
        let facts: Vec<String> = [
            inner.status.map(|status| format!("status {status}")),
            inner.ray_id.as_ref().map(|ray_id| format!("cf-ray {ray_id}")),
            inner.retry_after.map(|wait| format!("retry after {} s", wait.as_secs())),
            (inner.attempts > 1).then(|| format!("{} attempts", inner.attempts)),
        ]
        .into_iter()
        .flatten()
        .collect();
        if !facts.is_empty() {
            write!(f, " ({})", facts.join(", "))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &self.0;
        f.debug_struct("Error")
            .field("kind", &inner.kind)
            .field("operation", &inner.operation)
            .field("message", &inner.message)
            .field("status", &inner.status)
            .field("api_errors", &inner.api_errors)
            .field("ray_id", &inner.ray_id)
            .field("retry_after", &inner.retry_after)
            .field("attempts", &inner.attempts)
            .field("may_have_arrived", &inner.may_have_arrived)
            .field("unconfirmed", &inner.unconfirmed.as_ref().map(AckRequest::len))
            .field("source", &inner.source)
            .finish_non_exhaustive()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

/// One fault that the service lists in an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Value")]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema), schemars(!from, default))]
#[non_exhaustive]
pub struct ApiError {
    /// The service's number for the fault; 0 where it has none.
    pub code: i64,
    /// The fault in the service's words, with secrets taken out.
    pub message: String,
    /// Where the fault is explained.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub documentation_url: Option<String>,
    /// The part of the request at fault, as a JSON pointer.
    #[serde(rename = "source", serialize_with = "as_source", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schemars", schemars(with = "Option<crate::envelope::Source>"))]
    pub source_pointer: Option<String>,
    /// The faults behind this one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub error_chain: Vec<ApiError>,
}

fn as_source<S: Serializer>(pointer: &Option<String>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map([("pointer", pointer)])
}

impl ApiError {
    /// A fault with a code and a text, for tests with mocked answers.
    pub fn new(code: i64, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), ..Self::default() }
    }

    pub(crate) fn has_code(&self, code: i64) -> bool {
        self.code == code || self.error_chain.iter().any(|cause| cause.has_code(code))
    }

    fn edit_texts(&mut self, edit: &impl Fn(&mut String)) {
        edit(&mut self.message);
        self.documentation_url.iter_mut().for_each(edit);
        self.source_pointer.iter_mut().for_each(edit);
        self.error_chain.iter_mut().for_each(|cause| cause.edit_texts(edit));
    }
}

/// Takes what there is: one entry of an odd shape must not cost the others, or the status.
impl From<Value> for ApiError {
    fn from(value: Value) -> Self {
        let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        Self {
            code: value.get("code").and_then(as_code).unwrap_or_default(),
            message: text("/message").or_else(|| value.as_str().map(str::to_owned)).unwrap_or_default(),
            documentation_url: text("/documentation_url"),
            source_pointer: text("/source/pointer"),
            error_chain: match value.get("error_chain") {
                Some(Value::Array(chain)) => chain.iter().cloned().map(Self::from).collect(),
                _ => Vec::new(),
            },
        }
    }
}

fn as_code(code: &Value) -> Option<i64> {
    code.as_i64().or_else(|| code.as_f64().map(|code| code as i64)).or_else(|| code.as_str()?.parse().ok())
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "code {}", self.code)?;
        if !self.message.is_empty() {
            write!(f, " \"{}\"", self.message.escape_debug())?;
        }
        for cause in &self.error_chain {
            write!(f, " because of {cause}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const _: () = {
        const fn send_sync<T: Send + Sync + 'static>() {}
        send_sync::<Error>();
        assert!(size_of::<Error>() == size_of::<usize>());
    };

    #[test]
    fn an_entry_of_any_shape_keeps_what_it_has() {
        let errors: Vec<ApiError> = serde_json::from_str(
            r#"[{"code": 100128, "message": "a", "source": {"pointer": "/acks/0"}, "error_chain": [{"code": 6111}]},
                "plain", {"code": "7003"}, {"code": 5.0, "message": null}, null, [1]]"#,
        )
        .unwrap();
        assert_eq!(errors.iter().map(|error| error.code).collect::<Vec<_>>(), [100128, 0, 7003, 5, 0, 0]);
        assert_eq!(errors[0].source_pointer.as_deref(), Some("/acks/0"));
        assert!(errors[0].has_code(6111));
        assert_eq!(errors[1].message, "plain");
    }

    #[test]
    fn an_error_prints_one_line_that_ends_with_what_to_do() {
        let error = Error::new(ErrorKind::RateLimited, "too many requests")
            .with_answer(429, Some("8a1".into()), Some(Duration::from_secs(7)))
            .with_api_errors(vec![ApiError::new(10250, "Queue\nis overloaded")])
            .in_operation("ack_messages", 3);
        assert_eq!(
            error.to_string(),
            "ack_messages: too many requests, code 10250 \"Queue\\nis overloaded\"; try again later, or raise the limit \
             that the code names (status 429, cf-ray 8a1, retry after 7 s, 3 attempts)"
        );
    }
}
