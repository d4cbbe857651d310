//! The envelope of every response, and results that are the same for several operations.

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeOwned, IgnoredAny},
};
use serde_json::Value;

use crate::{
    error::api::ApiError,
    http::{
        response::listed,
        scanner::{NoJson, Scanner},
    },
};

/// The envelope of Cloudflare's API: whether the call succeeded, the errors if not, and the result if so.
///
/// Each field may be missing or null. The envelope's `messages` are ignored: they are only remarks.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct Envelope<T> {
    pub(crate) success: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) errors: Option<Vec<ApiError>>,
    pub(crate) result: Option<T>,
    #[serde(rename = "result_info", skip_deserializing, skip_serializing_if = "Pages::is_unknown")]
    #[cfg_attr(feature = "schemars", schemars(skip))]
    pub(crate) pages: Pages,
}

/// What a response says of the list that its result is a part of.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Pages {
    /// The total number of pages.
    #[serde(rename = "total_pages")]
    pub(crate) count: Option<u64>,
    /// The number of entries of this page, and of all.
    #[serde(skip)]
    pub(crate) here: Option<u64>,
    #[serde(skip)]
    pub(crate) entries: Option<u64>,
    /// Whether it says by a cursor or a flag that this is not all.
    #[serde(skip)]
    pub(crate) has_more: bool,
}

impl Pages {
    fn is_unknown(&self) -> bool {
        self.count.is_none()
    }

    pub(crate) fn of(result_info: &Value) -> Self {
        let number = |name: &str| Some(result_info.get(name)?.as_f64().filter(|number| *number >= 0.0)? as u64);
        let cursors = ["/cursor", "/next_cursor", "/cursors/after"];
        let mut cursors = cursors.iter().filter_map(|way| result_info.pointer(way)?.as_str());
        let mut flags = ["has_more", "is_truncated"].iter().filter_map(|name| result_info.get(name)?.as_bool());
        Self {
            // No pages are none only if this one is empty as well, which ends a list in any case.
            count: number("total_pages").filter(|pages| *pages > 0),
            here: number("count"),
            entries: number("total_count"),
            has_more: cursors.any(|cursor| !cursor.is_empty()) || flags.any(|has_more| has_more),
        }
    }
}

impl<T> Envelope<T> {
    /// The service's response to a successful call. It says that there is one page, so a list is not asked for more.
    pub fn success(result: T) -> Self {
        let pages = Pages { count: Some(1), ..Pages::default() };
        Self { success: Some(true), errors: Some(Vec::new()), result: Some(result), pages }
    }

    /// The service's response to a failed call.
    pub fn failure(errors: Vec<ApiError>) -> Self {
        Self { success: Some(false), errors: Some(errors), result: None, pages: Pages::default() }
    }

    /// Reads a response with `read` for the result, once, wherever it is in the response.
    pub(crate) fn scan(
        scanner: &mut Scanner,
        mut read: impl FnMut(&mut Scanner) -> Result<T, NoJson>,
    ) -> Result<Self, NoJson> {
        let (mut success, mut errors, mut result) = (None, None, None);
        scanner.fields(["success", "errors", "result"], |scanner, name| {
            match name {
                "success" if success.is_none() => success = Some(scanner.read::<Option<bool>>()?.ok_or(NoJson)?),
                "errors" => errors = listed(&String::from_utf8_lossy(scanner.skip()?)).map(api_errors),
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

pub(crate) fn api_errors(errors: Value) -> Vec<ApiError> {
    match errors {
        Value::Null | Value::Bool(false) => Vec::new(),
        Value::Object(none) if none.is_empty() => Vec::new(),
        Value::String(none) if none.is_empty() => Vec::new(),
        Value::Array(errors) => errors.into_iter().map(ApiError::from).collect(),
        // Only a list has codes.
        error => vec![ApiError { code: 0, error_chain: Vec::new(), ..ApiError::from(error) }],
    }
}
