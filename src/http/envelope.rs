//! The envelope of every response.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, DeserializeOwned, IgnoredAny, MapAccess, Visitor},
};
use serde_json::{Value, value::RawValue};

use crate::{
    error::api::ApiError,
    http::scanner::{NoJson, Scanner},
};

/// The envelope of Cloudflare's API: whether the call succeeded, the errors if not, and the result if so.
///
/// Each field may be missing or null. The envelope's `messages` are ignored: they are only remarks.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct Envelope<T> {
    success: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    errors: Option<Vec<ApiError>>,
    result: Option<T>,
    #[serde(skip)]
    pages: Pages,
}

/// What a response says of the list that its result is a part of.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pages {
    /// The total number of pages.
    pub(crate) count: Option<u64>,
    /// The number of entries of this page, and of all.
    pub(crate) here: Option<u64>,
    pub(crate) entries: Option<u64>,
    /// Whether the next page is asked for by a cursor.
    pub(crate) has_cursor: bool,
}

impl<T> Envelope<T> {
    /// The service's response to a successful call.
    pub fn success(result: T) -> Self {
        Self { success: Some(true), errors: Some(Vec::new()), result: Some(result), pages: Pages::default() }
    }

    /// The service's response to a failed call.
    pub fn failure(errors: Vec<ApiError>) -> Self {
        Self { success: Some(false), errors: Some(errors), result: None, pages: Pages::default() }
    }

    /// Like serde's implementation, but `read` reads the result, once, wherever it is in the response.
    pub(crate) fn scan(
        scanner: &mut Scanner,
        mut read: impl FnMut(&mut Scanner) -> Result<T, NoJson>,
    ) -> Result<Self, NoJson> {
        let (mut success, mut errors, mut result) = (None, None, None);
        scanner.fields(["success", "errors", "result"], |scanner, name| {
            match name {
                "success" if success.is_none() => success = Some(scanner.read::<Option<bool>>()?.ok_or(NoJson)?),
                "errors" => errors = scanner.read()?.map(api_errors),
                "result" if result.is_none() => {
                    result = Some(if scanner.peek() == Some(b'{') { Some(read(scanner)?) } else { scanner.null()? });
                }
                "success" | "result" => return Err(NoJson),
                _ => drop(scanner.skip()?),
            }
            Ok(())
        })?;
        if scanner.peek().is_some() {
            return Err(NoJson);
        }
        let success = success.flatten();
        Ok(Self {
            success,
            errors,
            result: result.flatten().filter(|_| success == Some(true)),
            pages: Pages::default(),
        })
    }

    pub(crate) fn pages(&self) -> Pages {
        self.pages
    }

    /// Whether the call succeeded, its errors, and its result.
    pub(crate) fn into_parts(self) -> (Option<bool>, Vec<ApiError>, Option<T>) {
        (self.success, self.errors.unwrap_or_default(), self.result)
    }
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Field {
    Success,
    Errors,
    Result,
    ResultInfo,
    #[serde(other)]
    Other,
}

/// Hand-written, because a response must be an object, and because a malformed result must not hide the codes of a
/// failure: the result is read only with `success: true`, wherever in the response that is.
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
        let mut pages = Pages::default();
        while let Some(field) = map.next_key()? {
            match field {
                Field::Success if success.is_some() => return Err(de::Error::duplicate_field("success")),
                Field::Result if result.is_some() || unread.is_some() => {
                    return Err(de::Error::duplicate_field("result"));
                }
                Field::Success => success = Some(map.next_value::<Option<bool>>()?),
                Field::Errors => errors = Some(api_errors(map.next_value()?)),
                Field::Result if success == Some(Some(true)) => result = Some(map.next_value::<Option<Whole<T>>>()?),
                Field::Result => unread = Some(map.next_value::<Option<&'de RawValue>>()?),
                Field::ResultInfo => pages = Pages::of(&map.next_value()?),
                Field::Other => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        let (success, mut result) = (success.flatten(), result.flatten());
        if let Some(unread) = unread.flatten().filter(|_| success == Some(true)) {
            let read = serde_json::from_str(unread.get());
            result = Some(read.map_err(|_| de::Error::custom("the result is not of the documented form"))?);
        }
        let result = result.map(|Whole(result)| result);
        let result = result.or_else(|| (success == Some(true)).then(|| T::deserialize(Absent).ok()).flatten());
        Ok(Envelope { success, errors, result, pages })
    }
}

/// A result, which must be an object: serde would accept a sequence of its fields as well.
struct Whole<T>(T);

impl<'de, T: DeserializeOwned> Deserialize<'de> for Whole<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(FromMaps(deserializer)).map(Self)
    }
}

/// A deserializer that accepts only a map for a struct.
struct FromMaps<D>(D);

impl<'de, D: Deserializer<'de>> Deserializer<'de> for FromMaps<D> {
    type Error = D::Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_map(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_map(visitor)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_seq(visitor)
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_any(visitor)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct tuple tuple_struct enum identifier ignored_any
    }
}

/// Replaces a missing result, which is enough only for [`Nothing`].
struct Absent;

impl<'de> Deserializer<'de> for Absent {
    type Error = de::value::Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
        Err(de::Error::missing_field("result"))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier
    }
}

impl Pages {
    fn of(result_info: &Value) -> Self {
        let number = |name: &str| result_info.get(name)?.as_f64().map(|number| number as u64);
        let cursors = ["/cursor", "/next_cursor", "/cursors/after"];
        let mut cursors = cursors.iter().filter_map(|way| result_info.pointer(way)?.as_str());
        Self {
            count: number("total_pages"),
            here: number("count"),
            entries: number("total_count"),
            has_cursor: cursors.any(|cursor| !cursor.is_empty()),
        }
    }
}

/// The entries of a list. A malformed entry does not affect the others.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct List<T>(pub Vec<T>);

impl<'de, T: DeserializeOwned> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let entries: Vec<Value> = Vec::deserialize(deserializer)?;
        let count = entries.len();
        let read: Vec<T> = entries.into_iter().filter_map(|entry| serde_json::from_value(entry).ok()).collect();
        if read.len() < count {
            tracing::warn!(entries = count - read.len(), "a list has entries that cannot be read, which are left out");
        }
        Ok(Self(read))
    }
}

/// The result of an operation without one, whatever the service sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct Nothing {}

impl<'de> Deserialize<'de> for Nothing {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|IgnoredAny| Self {})
    }
}

fn api_errors(errors: Value) -> Vec<ApiError> {
    match errors {
        Value::Null => Vec::new(),
        Value::Array(errors) => errors.into_iter().map(ApiError::from).collect(),
        error => vec![ApiError::from(error)],
    }
}
