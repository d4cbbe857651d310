//! The envelope around every answer, and how an answer or a failure becomes a result or our error.

use std::{fmt, marker::PhantomData};

use reqwest::header::HeaderMap;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, DeserializeOwned, IgnoredAny, MapAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::{Value, value::RawValue};

use crate::{
    error::{ApiError, Error, ErrorKind},
    generated::{self, ResponseValue},
};

/// The envelope of Cloudflare's API: whether the call succeeded, the faults if not, and the result if so.
///
/// Each field may be missing or null. The envelope's `messages` are passed over: they are remarks that nothing depends on.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct Envelope<T> {
    success: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    errors: Option<Vec<ApiError>>,
    result: Option<T>,
}

impl<T> Envelope<T> {
    /// What the service sends when it carried a call out.
    pub fn success(result: T) -> Self {
        Self { success: Some(true), errors: Some(Vec::new()), result: Some(result) }
    }

    /// What the service sends when it did not.
    pub fn failure(errors: Vec<ApiError>) -> Self {
        Self { success: Some(false), errors: Some(errors), result: None }
    }

    pub(crate) fn open(self) -> Result<T, Error> {
        let errors = self.errors.unwrap_or_default();
        let error = match (self.success, self.result) {
            (Some(true), Some(result)) => return Ok(result),
            (Some(true), None) => {
                Error::new(ErrorKind::UnexpectedAnswer, "the answer claims success, but has no result")
            }
            (Some(false), _) => Error::new(ErrorKind::Rejected, "the service did not carry the call out"),
            (None, _) => Error::new(ErrorKind::UnexpectedAnswer, "the answer does not say whether the call succeeded"),
        };
        Err(error.with_api_errors(errors))
    }
}

/// What stands around a fault's pointer on the wire.
#[cfg(feature = "schemars")]
#[derive(schemars::JsonSchema)]
#[expect(dead_code, reason = "only its schema is used")]
pub(crate) struct Source {
    pointer: Option<String>,
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum Field {
    Success,
    Errors,
    Result,
    #[serde(other)]
    Other,
}

/// By hand, because an answer must be an object, and because what comes with a failure must not cost its codes: the result is read only
/// beside `success: true`, wherever in the answer that stands.
impl<'de, T: DeserializeOwned> Deserialize<'de> for Envelope<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EnvelopeVisitor(PhantomData))
    }
}

struct EnvelopeVisitor<T>(PhantomData<T>);

impl<'de, T: DeserializeOwned> Visitor<'de> for EnvelopeVisitor<T> {
    type Value = Envelope<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an envelope")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Envelope<T>, A::Error> {
        let (mut success, mut errors, mut result, mut unread) = (None, None, None, None);
        while let Some(field) = map.next_key()? {
            match field {
                Field::Success if success.is_some() => return Err(de::Error::duplicate_field("success")),
                Field::Result if result.is_some() || unread.is_some() => {
                    return Err(de::Error::duplicate_field("result"));
                }
                Field::Success => success = Some(map.next_value::<Option<bool>>()?),
                Field::Errors => errors = Some(faults(map.next_value()?)),
                Field::Result if success == Some(Some(true)) => result = Some(map.next_value::<Option<Object<T>>>()?),
                Field::Result => unread = Some(map.next_value::<Option<&'de RawValue>>()?),
                Field::Other => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        let (success, mut result) = (success.flatten(), result.flatten());
        if let Some(unread) = unread.flatten().filter(|_| success == Some(true)) {
            let read = serde_json::from_str(unread.get());
            result = Some(read.map_err(|_| de::Error::custom("the result is not of the documented form"))?);
        }
        Ok(Envelope { success, errors, result: result.map(|Object(result)| result) })
    }
}

/// Read from an object alone: a sequence would be taken for the fields in their order.
struct Object<T>(T);

impl<'de, T: DeserializeOwned> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: DeserializeOwned> Visitor<'de> for ObjectVisitor<T> {
    type Value = Object<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a result")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Object)
    }
}

fn faults(errors: Value) -> Vec<ApiError> {
    match errors {
        Value::Null => Vec::new(),
        Value::Array(errors) => errors.into_iter().map(ApiError::from).collect(),
        error => vec![ApiError::from(error)],
    }
}

/// The one way from what a generated method returns to what ours do.
pub(crate) fn open<T>(answer: Result<ResponseValue<Envelope<T>>, generated::Error>) -> Result<T, Error> {
    match answer {
        Ok(envelope) => envelope.into_inner().open(),
        Err(generated::Error::InvalidResponsePayload(body, error)) => {
            Err(Error::new(ErrorKind::UnexpectedAnswer, why_unreadable(&body, &error)))
        }
        Err(_) => Err(Error::new(ErrorKind::UnexpectedAnswer, "the answer could not be read")),
    }
}

/// Says what is wrong with an answer without quoting it, as the parser's own words would.
fn why_unreadable(body: &[u8], error: &serde_json::Error) -> String {
    let what = match body.trim_ascii().first() {
        None => return "the answer is empty".into(),
        Some(b'<') => return "the answer is HTML, not JSON".into(),
        Some(_) if error.is_eof() => "is cut off",
        Some(_) if error.is_data() => "is not of the documented form",
        Some(_) => "is not JSON",
    };
    format!("the answer {what}, at line {} column {}", error.line(), error.column())
}

/// The error for an answer whose status is not 200. Its body is often no envelope: the status stands for itself then.
pub(crate) fn refusal(status: u16, headers: &HeaderMap, body: &[u8]) -> Error {
    let envelope: Option<Envelope<IgnoredAny>> = serde_json::from_slice(body).ok();
    let errors = envelope.and_then(|envelope| envelope.errors).unwrap_or_default();
    let challenged = headers.get("cf-mitigated").is_some_and(|value| value == "challenge");
    let malformed = |error: &ApiError| [6003, 6103, 6111].iter().any(|code| error.has_code(*code));
    let (kind, message) = match status {
        403 if challenged => {
            (ErrorKind::Rejected, "Cloudflare's firewall challenged the request, which only a browser can meet")
        }
        400 if errors.iter().any(malformed) => (ErrorKind::Unauthorized, "the credentials are malformed"),
        401 | 403 => (ErrorKind::Unauthorized, "the service refused the credentials"),
        404 => (ErrorKind::NotFound, "there is no such queue"),
        405 => (ErrorKind::NotPullConsumer, "the queue is not open to HTTP pull consumers"),
        408 => (ErrorKind::Timeout, "the service waited too long for the request"),
        409 => (ErrorKind::DeliveryPaused, "delivery from the queue is paused"),
        429 => (ErrorKind::RateLimited, "the service refused the call for its rate"),
        400..=499 => (ErrorKind::Rejected, "the service refused the request"),
        500..=599 => (ErrorKind::ServiceFailure, "the service failed"),
        300..=399 => (ErrorKind::UnexpectedAnswer, "the answer is a redirect, which is not followed"),
        _ => (ErrorKind::UnexpectedAnswer, "the answer has a status that is not documented"),
    };
    Error::new(kind, message).with_api_errors(errors)
}
