//! Turns the status and the envelope of a response into a result or an error.

use reqwest::header::HeaderMap;
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::{
    document::{
        generated::{self, ResponseValue},
        operation::Operation,
    },
    error::{Error, api::ApiError, kind::ErrorKind},
    http::envelope::{Envelope, Pages},
};

/// What a generated method returns.
pub(crate) type Returned<T> = Result<ResponseValue<Envelope<T>>, generated::Error>;

/// A result, with the errors that came with `success: true`.
pub(crate) struct Success<T> {
    pub(crate) result: T,
    /// Of a list, what part of it the result is.
    pub(crate) pages: Pages,
    pub(crate) beside: Vec<ApiError>,
}

/// Reads a response as the document describes it.
pub(crate) fn read<T: DeserializeOwned>(body: Vec<u8>) -> Result<Envelope<T>, Error> {
    serde_json::from_slice(&body)
        .map_err(|error| Error::new(ErrorKind::UnexpectedResponse, why_unreadable(&body, &error)))
}

/// Reads a response that could not be read in another way, in which a part of it may have been freed.
pub(crate) fn read_rest<T: DeserializeOwned>(body: Option<Vec<u8>>) -> Result<Envelope<T>, Error> {
    // Where the text is wrong is not known any more.
    let freed = || Error::new(ErrorKind::UnexpectedResponse, "the response is not JSON of the documented form");
    body.ok_or_else(freed).and_then(read)
}

/// The longest response that is checked for a failure before it is read.
const FAILURE_BYTES: usize = 4096;

/// The failure in a response with status 200, if any. A long response that also has a result is left to [`open`], where
/// it is too late to retry.
pub(crate) fn failure(body: &[u8]) -> Option<Error> {
    if body.len() > FAILURE_BYTES || !has_false(body) {
        return None;
    }
    let envelope: Envelope<IgnoredAny> = serde_json::from_slice(body).ok()?;
    let (success, errors, _) = envelope.into_parts();
    (success == Some(false)).then(|| not_done(errors))
}

/// Most responses have no `f`, which is found faster than a word.
fn has_false(body: &[u8]) -> bool {
    body.contains(&b'f') && body.windows(5).any(|word| word == b"false")
}

/// A failure with status 200 has the kind of its code, as with the code's own status.
fn not_done(errors: Vec<ApiError>) -> Error {
    Error::new(kind_by_code(&errors), "the service did not carry out the call").with_api_errors(errors)
}

/// Interprets an envelope. `empty` is the result of a success that has none, if there may be none.
pub(crate) fn open<T>(envelope: Envelope<T>, empty: Option<T>) -> Result<Success<T>, Error> {
    let pages = envelope.pages();
    let (success, errors, result) = envelope.into_parts();
    let error = match (success, result.or(empty)) {
        (Some(true), Some(result)) => return Ok(Success { result, pages, beside: errors }),
        (Some(true), None) => {
            Error::new(ErrorKind::UnexpectedResponse, "the response claims success, but has no result")
        }
        (Some(false), _) => return Err(not_done(errors)),
        (None, _) => Error::new(ErrorKind::UnexpectedResponse, "the response does not say whether the call succeeded"),
    };
    Err(error.with_api_errors(errors))
}

fn kind_by_code(errors: &[ApiError]) -> ErrorKind {
    let has = |codes: &[i64]| errors.iter().any(|error| codes.iter().any(|code| error.has_code(*code)));
    if has(&[6003, 6103, 6111, 9109, 10000]) {
        ErrorKind::Unauthorized
    } else if has(&[971, 10250, 10251, 10252, 10253, 10429]) {
        ErrorKind::RateLimited
    } else if has(&[7003, 10104, 11000]) {
        ErrorKind::NotFound
    } else if has(&[15000]) {
        ErrorKind::ServiceFailure
    } else {
        ErrorKind::Rejected
    }
}

/// Describes what is wrong with a response without quoting it, as the parser's text would.
fn why_unreadable(body: &[u8], error: &serde_json::Error) -> String {
    let what = match body.trim_ascii().first() {
        None => return "the response is empty".into(),
        Some(b'<') => return "the response is HTML, not JSON".into(),
        Some(_) if error.is_eof() => "is cut off",
        Some(_) if error.is_data() => "is not of the documented form",
        Some(_) => "is not JSON",
    };
    format!("the response {what}, at line {} column {}", error.line(), error.column())
}

/// The error for a response whose status is not 200. If the body is not an envelope, which is common, the status is
/// enough.
pub(crate) fn refusal(status: u16, headers: &HeaderMap, body: &[u8]) -> Error {
    let envelope: Option<Envelope<IgnoredAny>> = serde_json::from_slice(body).ok();
    let is_enveloped = envelope.is_some();
    let errors = envelope.map(|envelope| envelope.into_parts().1).unwrap_or_default();
    let challenged = headers.get("cf-mitigated").is_some_and(|value| value == "challenge");
    let malformed = |error: &ApiError| [6003, 6103, 6111].iter().any(|code| error.has_code(*code));
    let mut advice = None;
    let (kind, message) = match status {
        403 if challenged => {
            advice = Some("call from another network, or ask Cloudflare why");
            (ErrorKind::Rejected, "Cloudflare's firewall sent a challenge, which only a browser can pass")
        }
        400 if errors.iter().any(malformed) => (ErrorKind::Unauthorized, "the credentials are malformed"),
        401 | 403 => (ErrorKind::Unauthorized, "the service refused the credentials"),
        404 if !is_enveloped => {
            advice = Some("check the base URL: the service's own error would say what does not exist");
            (ErrorKind::NotFound, "there is nothing at this URL")
        }
        404 => (ErrorKind::NotFound, "there is no such queue"),
        405 => (ErrorKind::NotPullConsumer, "the queue has no HTTP pull consumer"),
        408 => (ErrorKind::Timeout, "the service waited too long for the request"),
        409 => (ErrorKind::DeliveryPaused, "delivery from the queue is paused"),
        429 => (ErrorKind::RateLimited, "the rate limit was exceeded"),
        400..=499 => (ErrorKind::Rejected, "the service refused the request"),
        500..=599 => (ErrorKind::ServiceFailure, "the service failed"),
        300..=399 => (ErrorKind::UnexpectedResponse, "the response is a redirect, which is not followed"),
        _ => (ErrorKind::UnexpectedResponse, "the response has a status that is not documented"),
    };
    Error::new(kind, message).with_api_errors(errors).with_advice(advice)
}

/// What a refusal means for this operation, if that is more than its status says.
pub(crate) fn meaning(operation: Operation, error: Error) -> Error {
    use ErrorKind::{
        AlreadyExists, DeliveryPaused, InUse, InvalidName, NoSuchConsumer, NotFound, NotPullConsumer, Rejected,
    };
    use Operation as Op;
    if !matches!(error.kind(), Rejected | NotFound | NotPullConsumer | DeliveryPaused) {
        return error;
    }
    let has = |codes: &[i64]| codes.iter().any(|code| error.has_code(*code));
    let is_missing = error.kind() == NotFound && !error.api_errors().is_empty() && !has(&[7003]);
    // These two are about pulls.
    let is_conflict = matches!(error.kind(), DeliveryPaused | NotPullConsumer);
    let (kind, message, advice) = match operation {
        Op::AckMessages
        | Op::ExtendMessages
        | Op::PeekMessages
        | Op::PullMessages
        | Op::PurgeMessages
        | Op::PushMessage
        | Op::PushMessages => return error,
        _ if has(&[11009]) => (AlreadyExists, "the account already has a queue with this name", None),
        _ if has(&[11004]) => (AlreadyExists, "the queue already has a consumer", None),
        _ if has(&[11003]) => (InvalidName, "the name is not valid for a queue", None),
        _ if has(&[11005]) => (InUse, "a Worker is bound to the queue", None),
        _ if has(&[11017]) => (InUse, "event notifications are sent to the queue", None),
        Op::CreateConsumer | Op::UpdateConsumer if has(&[10007]) => {
            (Rejected, "there is no such Worker", Some("deploy the Worker first"))
        }
        Op::GetConsumer | Op::UpdateConsumer | Op::DeleteConsumer
            if has(&[10013, 10105, 11006]) || is_missing && !has(&[10104, 11000]) =>
        {
            (NoSuchConsumer, "the queue has no such consumer", None)
        }
        Op::CreateSubscription if is_conflict => (AlreadyExists, "the source already has an event subscription", None),
        Op::GetSubscription | Op::UpdateSubscription | Op::DeleteSubscription if is_missing => {
            (NotFound, "there is no such event subscription", Some("list the account's event subscriptions"))
        }
        Op::ListQueues | Op::CreateQueue | Op::ListSubscriptions | Op::CreateSubscription if is_missing => {
            (NotFound, "there is no such account", Some("check the account id"))
        }
        Op::CreateQueue | Op::CreateConsumer if is_conflict => (AlreadyExists, "it already exists", None),
        _ if is_conflict => (Rejected, "the service refused the request", None),
        _ => return error,
    };
    error.with_meaning(kind, message).with_advice(advice)
}

/// "Not found" counts as deleted if an earlier attempt may have done it.
pub(crate) fn gone(deleted: Result<(), Error>, missing: ErrorKind) -> Result<(), Error> {
    deleted.or_else(|error| if error.kind() == missing && error.may_have_arrived() { Ok(()) } else { Err(error) })
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn a_refusal_says_what_its_status_means() {
        let of = |status, body: &[u8]| refusal(status, &HeaderMap::new(), body);
        assert_eq!(of(408, b"").kind(), ErrorKind::Timeout);
        assert!(of(302, b"").to_string().starts_with("the response is a redirect"));
        let missing = of(404, br#"{"success":false,"errors":[{"code":10001,"message":""}]}"#);
        let missing = meaning(Operation::ListQueues, missing).to_string();
        assert!(missing.starts_with("there is no such account"), "{missing}");
        let elsewhere = meaning(Operation::ListQueues, of(404, b"")).to_string();
        assert!(elsewhere.starts_with("there is nothing at this URL"), "{elsewhere}");
    }

    #[test]
    fn a_failure_is_none_less_for_its_length() {
        let of = |message: &str| {
            format!(r#"{{"success":false,"errors":[{{"code":11009,"message":"{message}"}}],"result":{{}}}}"#)
        };
        let most = FAILURE_BYTES - of("").len();
        for length in [0, most, most + 1, 2 * most] {
            let body = of(&"a".repeat(length));
            // A long one is found only once it is read.
            assert_eq!(failure(body.as_bytes()).is_some(), length <= most);
            let error = open(read::<Value>(body.into()).unwrap(), None).err().unwrap();
            assert_eq!((error.kind(), error.has_code(11009)), (ErrorKind::Rejected, true));
        }
    }
}
