//! The envelope around every response.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, DeserializeOwned, IgnoredAny, MapAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::{Value, value::RawValue};

use crate::api_error::ApiError;

/// The envelope of Cloudflare's API: whether the call succeeded, the errors if not, and the result if so.
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

    /// Whether the call succeeded, why not, and its result.
    pub(crate) fn into_parts(self) -> (Option<bool>, Vec<ApiError>, Option<T>) {
        (self.success, self.errors.unwrap_or_default(), self.result)
    }
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

/// By hand, because a response must be an object, and because what comes with a failure must not cost its codes: the result is read
/// only beside `success: true`, wherever in the response that is.
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
                Field::Errors => errors = Some(api_errors(map.next_value()?)),
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

fn api_errors(errors: Value) -> Vec<ApiError> {
    match errors {
        Value::Null => Vec::new(),
        Value::Array(errors) => errors.into_iter().map(ApiError::from).collect(),
        error => vec![ApiError::from(error)],
    }
}
