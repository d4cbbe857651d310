//! JSON objects from the service: kept as received, and read field by field.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use toml_datetime::{Datetime, Offset};

use crate::document;

/// The fields of an object. A field that is missing, null or of the wrong type reads as `None`, and does not affect the
/// others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub(crate) struct Fields(pub(crate) Map<String, Value>);

impl Fields {
    /// The value at a path such as `settings/retry_delay`.
    fn at(&self, path: &str) -> Option<&Value> {
        let (name, rest) = path.split_once('/').unwrap_or((path, ""));
        let value = self.0.get(name)?;
        if rest.is_empty() { Some(value) } else { value.get(rest) }
    }

    /// A text that is not empty.
    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        self.at(path)?.as_str().filter(|text| !text.is_empty())
    }

    pub(crate) fn flag(&self, path: &str) -> Option<bool> {
        self.at(path)?.as_bool()
    }

    pub(crate) fn count(&self, path: &str) -> Option<u64> {
        whole(self.at(path)?)
    }

    pub(crate) fn small_count(&self, path: &str) -> Option<u32> {
        self.count(path)?.try_into().ok()
    }

    pub(crate) fn seconds(&self, path: &str) -> Option<Duration> {
        self.count(path).map(Duration::from_secs)
    }

    pub(crate) fn millis(&self, path: &str) -> Option<Duration> {
        self.count(path).map(Duration::from_millis)
    }

    pub(crate) fn time(&self, path: &str) -> Option<SystemTime> {
        parse_time(self.text(path)?)
    }

    pub(crate) fn list(&self, name: &str) -> &[Value] {
        self.0.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    /// The object in a field; empty if there is none.
    pub(crate) fn object(&self, name: &str) -> Self {
        self.0.get(name).and_then(Value::as_object).cloned().map(Self).unwrap_or_default()
    }

    pub(crate) fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.0.insert(name.to_owned(), value.into());
    }

    /// Sets a field of the object in a field.
    pub(crate) fn set_within(&mut self, object: &str, name: &str, value: impl Into<Value>) {
        let mut within = self.object(object);
        within.set(name, value);
        self.0.insert(object.to_owned(), within.0.into());
    }

    /// Takes over the fields of the other, recursively, and keeps the rest.
    pub(crate) fn overlay(&mut self, other: &Self) {
        for (name, value) in &other.0 {
            match (self.0.get_mut(name), value) {
                (Some(Value::Object(old)), Value::Object(new)) => {
                    let mut fields = Self(std::mem::take(old));
                    fields.overlay(&Self(new.clone()));
                    *old = fields.0;
                }
                _ => drop(self.0.insert(name.clone(), value.clone())),
            }
        }
    }
}

/// For `Debug`: the values of the fields that the document describes, without what it calls a secret. What it does not
/// describe may be one.
pub(crate) fn without_secrets(fields: &Map<String, Value>) -> Value {
    let is_shown = |name: &str| document::WORDS.contains(&name) && !document::SECRETS.contains(&name);
    let shown = fields.iter().map(|(name, value)| {
        let shown = if is_shown(name) { of_described(value) } else { "..".into() };
        (name.clone(), shown)
    });
    shown.collect::<Map<_, _>>().into()
}

/// The value of a field that the document describes.
fn of_described(value: &Value) -> Value {
    match value {
        Value::Object(fields) => without_secrets(fields),
        Value::Array(values) => values.iter().map(of_described).collect(),
        value => value.clone(),
    }
}

/// For `Debug` of the generated types: a field of any JSON. `build.rs` puts it around each.
pub(crate) struct Described<'a, T>(pub(crate) &'a T);

impl<T: Serialize> fmt::Debug for Described<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = serde_json::to_value(self.0).map_err(|_| fmt::Error)?;
        write!(f, "{}", of_described(&value))
    }
}

/// The service's counts are JSON numbers: 5 and 5.0 are five. Anything else is unknown.
pub(crate) fn whole(number: &Value) -> Option<u64> {
    number.as_u64().or_else(|| {
        let number = number.as_f64().filter(|number| *number >= 0.0 && number.fract() == 0.0)?;
        Some(number as u64)
    })
}

/// Whole seconds, rounded up, so that nothing comes earlier than asked.
pub(crate) fn seconds(duration: Duration) -> u64 {
    duration.as_secs().saturating_add(u64::from(duration.subsec_nanos() > 0))
}

pub(crate) fn millis(duration: Duration) -> u64 {
    duration.as_nanos().div_ceil(1_000_000).try_into().unwrap_or(u64::MAX)
}

/// Reads a time of RFC 3339, such as `2026-11-05T08:30:00.25Z`. Without an offset, it is one of UTC.
///
/// One library reads the form, and another counts the seconds. jiff does both, and takes 8 s of a release build instead
/// of one.
pub(crate) fn parse_time(text: &str) -> Option<SystemTime> {
    let Datetime { date: Some(date), time, offset } = text.parse().ok()? else { return None };
    let time = time.map_or("00:00:00".to_owned(), |time| time.to_string());
    let local = humantime::parse_rfc3339(&format!("{date}T{time}Z")).ok()?;
    let Some(Offset::Custom { minutes }) = offset else { return Some(local) };
    let ahead = Duration::from_secs(60).saturating_mul(minutes.unsigned_abs().into());
    let time = if minutes > 0 { local.checked_sub(ahead)? } else { local.checked_add(ahead)? };
    // Until the year 9999, since most libraries write no later time.
    let since = time.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    (since.as_secs() <= 253_402_300_799).then_some(time)
}

/// A public type that is such an object, with what all of them have. A row is a field to read: by which method of
/// [`Fields`], and where.
macro_rules! described {
    ($(#[$meta:meta])* $name:ident $({ $($(#[$doc:meta])* $read:ident: $type:ty = $way:ident $field:literal;)* })?) => {
        $(#[$meta])*
        #[derive(Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        #[serde(transparent)]
        #[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
        pub struct $name($crate::document::fields::Fields);

        impl $name {
            /// All fields as on the wire, including those that this crate does not know.
            pub fn fields(&self) -> &serde_json::Map<String, serde_json::Value> {
                &self.0.0
            }
            $($(
                $(#[$doc])*
                pub fn $read(&self) -> Option<$type> {
                    self.0.$way($field)
                }
            )*)?
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), $crate::document::fields::without_secrets(self.fields()))
            }
        }
    };
}

/// A public enum of names that the service may add to. An unknown name is kept, shown, and sent back as received.
macro_rules! open_names {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$doc])* $variant,)*
            /// A name that this crate does not know.
            Other(String),
        }

        impl $name {
            /// The name on the wire.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $text,)*
                    Self::Other(name) => name,
                }
            }
        }

        impl From<&str> for $name {
            fn from(name: &str) -> Self {
                match name {
                    $($text => Self::$variant,)*
                    name => Self::Other(name.to_owned()),
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

pub(crate) use {described, open_names};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_every_form_of_rfc_3339() {
        let at = |seconds, nanos| SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos);
        assert_eq!(parse_time("1970-01-01T00:00:00Z"), Some(at(0, 0)));
        assert_eq!(parse_time("2024-02-29T23:59:59.25Z"), Some(at(1_709_251_199, 250_000_000)));
        assert_eq!(parse_time("2026-11-05T08:30:00.123456+02:00"), Some(at(1_793_860_200, 123_456_000)));
        assert_eq!(parse_time("2026-11-05 01:00:00-05:30"), Some(at(1_793_860_200, 0)));
        for odd in ["", "soon", "2026-11", "2026-13-05T00:00:00Z", "2026-11-05T24:00:00Z", "1969-12-31T23:59:59Z"] {
            assert_eq!(parse_time(odd), None, "{odd}");
        }
        for odd in ["2026-11-05T23:60:00Z", "2026-11-05T23:59:61Z", "2026-00-05T23:59:59Z", "2026-11-00T23:59:59Z"] {
            assert_eq!(parse_time(odd), None, "{odd}");
        }
        assert_eq!(parse_time("9999-12-31T23:59:59Z"), Some(at(253_402_300_799, 0)));
        assert_eq!(parse_time("9999-12-31T23:59:59-01:00"), None, "most libraries write no later time");
        for odd in ["99999-01-01T00:00:00Z", "2026-11-05T08:30:00.x5Z", "2026-11-05T08:30:00+2", "é2026-1-1T0:0:0Z"] {
            assert_eq!(parse_time(odd), None, "{odd}");
        }
    }

    #[test]
    fn a_time_without_a_zone_is_that_of_utc() {
        assert_eq!(parse_time("2026-11-05T08:30:00.25"), parse_time("2026-11-05T08:30:00.25Z"));
        assert_eq!(parse_time("2026-11-05"), parse_time("2026-11-05T00:00:00Z"));
    }

    #[test]
    fn debug_shows_the_values_of_described_fields_that_are_no_secrets() {
        let text = r#"{"name":"shown","settings":{"email":[{"lease_id":"hidden"}],"body":["hidden"]},
            "events":["seen"],"of_tomorrow":{"name":"hidden"},"more":["hidden"]}"#;
        let shown = without_secrets(&serde_json::from_str::<Fields>(text).unwrap().0).to_string();
        assert!(["shown", "seen", "of_tomorrow"].iter().all(|word| shown.contains(word)), "{shown}");
        assert!(!shown.contains("hidden"), "{shown}");
    }

    #[test]
    fn a_count_is_a_whole_number_of_at_least_zero() {
        let count = |json: &str| serde_json::from_str::<Fields>(json).unwrap().count("of");
        assert_eq!((count(r#"{"of":5}"#), count(r#"{"of":5.0}"#), count(r#"{"of":0.0}"#)), (Some(5), Some(5), Some(0)));
        for odd in ["5.5", "-1", "-1.0", "-0.5", "true", "null", r#""5""#] {
            assert_eq!(count(&format!(r#"{{"of":{odd}}}"#)), None, "{odd}");
        }
    }

    #[test]
    fn an_overlay_keeps_other_fields() {
        let fields = |json: &str| serde_json::from_str::<Fields>(json).unwrap();
        let mut settings = fields(r#"{"type":"http_pull","settings":{"batch_size":5,"of_tomorrow":[1]}}"#);
        settings.overlay(&fields(r#"{"settings":{"batch_size":50}}"#));
        assert_eq!(settings, fields(r#"{"type":"http_pull","settings":{"batch_size":50,"of_tomorrow":[1]}}"#));
    }
}
