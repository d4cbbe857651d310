//! The error type.

pub(crate) mod api;
pub(crate) mod codes;
pub(crate) mod kind;

use std::{borrow::Cow, error::Error as StdError, fmt, sync::Arc, time::Duration};

use crate::error::{api::ApiError, kind::ErrorKind};

/// The most errors that a call of several requests collects.
const MAX_ERRORS: usize = 16;

/// The end of advice for a request that may have arrived.
const DUPLICATES: &str = ", so a push may be duplicated";

/// Why a call failed.
///
/// Match on [`kind`](Self::kind). Its `Display` output is one line that ends with what to do next. Its `Debug` output,
/// which a `main` that returns it prints, adds the causes, except for errors of your own functions. Neither shows a
/// token, a key, a lease id or a message body: if the service quotes eight bytes or more of a request, or all of a
/// shorter secret of at least four bytes, that part is removed.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// use cloudflare_queues::{ErrorKind, PullOptions, emulator::{Emulator, Fault}};
///
/// let emulator = Emulator::start().await?;
/// emulator.inject(Fault::RateLimited { code: 10252, retry_after: None });
/// let error = emulator.queue()?.pull(PullOptions::new()).await.unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::RateLimited);
/// assert!(error.has_code(10252) && !error.is_transient()); // a quota is used up
/// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    operation: Option<&'static str>,
    message: Cow<'static, str>,
    /// Replaces the advice of the kind.
    advice: Option<&'static str>,
    status: Option<u16>,
    api_errors: Vec<ApiError>,
    ray_id: Option<String>,
    retry_after: Option<Duration>,
    attempts: u32,
    may_have_arrived: bool,
    /// Whether an attempt before the last one may have.
    earlier_may_have_arrived: bool,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Inner {
            kind,
            operation: None,
            message: message.into(),
            advice: None,
            status: None,
            api_errors: Vec::new(),
            ray_id: None,
            retry_after: None,
            attempts: 0,
            may_have_arrived: false,
            earlier_may_have_arrived: false,
            source: None,
        }))
    }

    pub(crate) fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::InvalidInput, message)
    }

    /// Of a request that ended with the runtime, or with a panic.
    pub(crate) fn dropped() -> Self {
        Self::new(ErrorKind::Transport, "the request was dropped before its outcome was known")
            .or_may_have_arrived(true)
    }

    /// Whether another request may succeed. Not if the firewall challenges with 403, since it looks at the sender.
    pub(crate) fn refuses_the_request(&self) -> bool {
        self.0.kind == ErrorKind::Rejected && self.0.status != Some(403)
    }

    pub(crate) fn in_operation(mut self, operation: &'static str, attempts: u32) -> Self {
        self.0.operation = Some(operation);
        self.with_attempts(attempts)
    }

    pub(crate) fn with_attempts(mut self, attempts: u32) -> Self {
        self.0.attempts = attempts;
        self
    }

    pub(crate) fn with_response(mut self, status: u16, ray_id: Option<String>, retry_after: Option<Duration>) -> Self {
        self.0.status = Some(status);
        self.0.ray_id = ray_id;
        self.0.retry_after = retry_after;
        // A request that the service refuses, or its credentials, is not carried out. A 408 leaves that open, and so
        // does the page of a proxy, which may replace the service's response.
        let is_open = matches!(self.0.kind, ErrorKind::Timeout | ErrorKind::ServiceFailure);
        let is_refusal = (400..=499).contains(&status) && !is_open || self.0.kind == ErrorKind::Unauthorized;
        self.0.may_have_arrived = !is_refusal;
        self
    }

    pub(crate) fn with_api_errors(mut self, api_errors: Vec<ApiError>) -> Self {
        self.0.api_errors = api_errors;
        self
    }

    pub(crate) fn with_meaning(mut self, kind: ErrorKind, message: &'static str) -> Self {
        self.0.kind = kind;
        self.0.message = message.into();
        self
    }

    pub(crate) fn with_advice(mut self, advice: Option<&'static str>) -> Self {
        self.0.advice = advice;
        self
    }

    pub(crate) fn with_source(
        mut self,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
        may_have_arrived: bool,
    ) -> Self {
        self.0.source = Some(Arc::from(source.into()));
        self.0.may_have_arrived = may_have_arrived;
        self
    }

    pub(crate) fn or_may_have_arrived(mut self, may_have_arrived: bool) -> Self {
        self.0.may_have_arrived |= may_have_arrived;
        self
    }

    pub(crate) fn after_attempts(mut self, may_have_arrived: bool) -> Self {
        self.0.earlier_may_have_arrived = may_have_arrived;
        self.or_may_have_arrived(may_have_arrived)
    }

    pub(crate) fn earlier_may_have_arrived(&self) -> bool {
        self.0.earlier_may_have_arrived
    }

    pub(crate) fn with_note(mut self, note: &str) -> Self {
        self.0.message = format!("{}; {note}", self.0.message).into();
        self
    }

    /// Combines the last failure of a call of several requests with an earlier one.
    pub(crate) fn after(mut self, earlier: Self) -> Self {
        self.0.may_have_arrived |= earlier.0.may_have_arrived;
        self.0.attempts = self.0.attempts.saturating_add(earlier.0.attempts);
        let known = self.0.api_errors.clone();
        let new = earlier.0.api_errors.into_iter().filter(|error| !known.contains(error));
        // Each repetition of a request may bring others.
        self.0.api_errors.extend(new.take(MAX_ERRORS.saturating_sub(known.len())));
        self
    }

    /// Applies `edit` to every text from the service, all at once.
    pub(crate) fn edit_texts(&mut self, edit: impl FnOnce(Vec<&mut String>)) {
        ApiError::edit_texts(&mut self.0.api_errors, self.0.ray_id.as_mut(), edit);
    }

    /// The kind of failure.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether the same call may succeed later without any intervention: after a failure of the network or the service,
    /// a timeout, or a rate limit, but not if a quota is used up (codes 10251, 10252, 10253).
    ///
    /// This does not mean that the call can be repeated safely: see [`may_have_arrived`](Self::may_have_arrived).
    pub fn is_transient(&self) -> bool {
        match self.0.kind {
            ErrorKind::RateLimited => !self.has_any(codes::QUOTA),
            ErrorKind::CredentialsUnavailable
            | ErrorKind::ServiceFailure
            | ErrorKind::Transport
            | ErrorKind::Timeout => true,
            _ => false,
        }
    }

    /// The operation that failed, by its id in the crate's OpenAPI document, such as `ack_messages`. `None` outside a
    /// call.
    pub fn operation(&self) -> Option<&'static str> {
        self.0.operation
    }

    /// The HTTP status of the last response, if there was one.
    pub fn status(&self) -> Option<u16> {
        self.0.status
    }

    /// The errors that the service listed, with their codes.
    pub fn api_errors(&self) -> &[ApiError] {
        &self.0.api_errors
    }

    /// Whether the service listed an error with this code, directly or as the cause of another.
    pub fn has_code(&self, code: i64) -> bool {
        self.has_any(&[code])
    }

    pub(crate) fn has_any(&self, codes: &[i64]) -> bool {
        self.0.api_errors.iter().any(|error| error.has_any(codes))
    }

    /// The response's `cf-ray`, which identifies the request to Cloudflare's support.
    pub fn ray_id(&self) -> Option<&str> {
        self.0.ray_id.as_deref()
    }

    /// How long the service asked to wait, from the `Retry-After` header in either of its forms.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// How many requests were sent or attempted. 0 if the input was refused.
    pub fn attempts(&self) -> u32 {
        self.0.attempts
    }

    /// Whether a request may have arrived and been carried out, in any attempt or any of the call's requests. If
    /// `false`, the operation had no effect, because nothing arrived or the service refused it.
    pub fn may_have_arrived(&self) -> bool {
        self.0.may_have_arrived
    }

    /// What to do about the failure: the end of the `Display` output. It may name functions of this crate, so a program
    /// with other users removes it from the text, and says what they can do.
    pub fn next_step(&self) -> &'static str {
        let step = match self.0.kind {
            _ if self.0.advice.is_some() => self.0.advice.unwrap_or_default(),
            ErrorKind::Transport | ErrorKind::Timeout | ErrorKind::ServiceFailure | ErrorKind::RateLimited
                if self.0.may_have_arrived && !self.has_any(codes::QUOTA) =>
            {
                "try again, but the request may have arrived, so a push may be duplicated"
            }
            ErrorKind::InvalidInput if self.0.may_have_arrived => "correct the input; other requests may have arrived",
            kind => kind.next_step(),
        };
        let is_push = self.0.operation.is_none_or(|id| id.starts_with("push_"));
        step.strip_suffix(DUPLICATES).filter(|_| !is_push).unwrap_or(step)
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
        write!(f, "{self}")?;
        // Errors of the user's functions may quote a body or a credential.
        let is_of_user = matches!(self.kind(), ErrorKind::UndecodableBody | ErrorKind::CredentialsUnavailable);
        let mut cause = self.source().filter(|_| !is_of_user);
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

/// Failures with an `error` and more: each displays as its error, has the same source, and converts into it.
macro_rules! is_its_error {
    ($($failure:ty),+) => {$(
        impl std::fmt::Display for $failure {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.error.fmt(f)
            }
        }

        impl std::error::Error for $failure {
            fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
                self.error.source()
            }
        }

        impl From<$failure> for $crate::error::Error {
            fn from(failed: $failure) -> Self {
                failed.error
            }
        }
    )+};
}

pub(crate) use is_its_error;

#[cfg(test)]
mod tests {
    use super::*;

    const _: () = {
        const fn send_sync<T: Send + Sync + 'static>() {}
        send_sync::<Error>();
        assert!(size_of::<Error>() == size_of::<usize>());
    };

    #[test]
    fn an_error_displays_what_is_known_and_what_to_do() {
        let error = |attempts| Error::new(ErrorKind::Timeout, "late").in_operation("push_messages", attempts);
        assert_eq!(error(0).to_string(), format!("push_messages: late; {}", ErrorKind::Timeout.next_step()));
        assert_eq!(error(1).to_string(), error(0).to_string());
        assert!(error(2).to_string().ends_with(" (2 attempts)"), "{}", error(2));
        let arrived = error(2).or_may_have_arrived(true).with_response(503, Some("a-ray".into()), None);
        assert!(arrived.to_string().contains("a push may be duplicated"), "{arrived}");
        assert!(arrived.to_string().ends_with(" (status 503, cf-ray a-ray, 2 attempts)"), "{arrived}");
    }

    #[test]
    fn the_errors_of_earlier_requests_are_bounded() {
        let of = |code| Error::new(ErrorKind::RateLimited, "no").with_api_errors(vec![ApiError::new(code, "no")]);
        let last = (1..1000).map(of).fold(of(0), |earlier, error| error.after(earlier));
        assert_eq!((last.api_errors().len(), last.has_code(999)), (MAX_ERRORS, true));
    }

    #[test]
    fn errors_returned_from_main_print_advice_and_causes() {
        let error = Error::new(ErrorKind::Transport, "no connection").with_source("refused", false);
        assert_eq!(format!("{error:?}"), format!("{error}: refused"));
        assert!(format!("{error:?}").contains(ErrorKind::Transport.next_step()));
        for kind in [ErrorKind::UndecodableBody, ErrorKind::CredentialsUnavailable] {
            let error = Error::new(kind, "a function failed").with_source("a secret", false);
            assert!(!format!("{error:?}").contains("a secret") && error.source().is_some(), "{error:?}");
        }
    }
}
