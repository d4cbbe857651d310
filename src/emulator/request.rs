//! The bodies of requests, parsed as strictly as the service does.

use std::{fmt, marker::PhantomData, ops::RangeInclusive};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::value::RawValue;

use super::{
    behavior::{Behavior, MissingContentType},
    clock::{Time, from_millis, from_secs},
    content::Content,
    queue::NewMessage,
    reply::Refusal,
};
use crate::{
    error::codes,
    message::{
        body::ContentType,
        limits,
        push::{self, PushMessage},
    },
};

type Result<T> = std::result::Result<T, Refusal>;

pub(super) struct Ack {
    pub(super) acks: Vec<String>,
    pub(super) retries: Vec<(String, Option<Time>)>,
}

pub(super) struct Extend {
    pub(super) leases: Vec<String>,
    pub(super) timeout: Option<Time>,
}

pub(super) struct Pull {
    pub(super) batch_size: usize,
    pub(super) timeout: Option<Time>,
}

#[derive(Deserialize)]
struct AckBody {
    #[serde(default)]
    acks: Field<Vec<Object<Entry>>>,
    #[serde(default)]
    retries: Field<Vec<Object<Entry>>>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    lease_id: Field<String>,
    #[serde(default)]
    delay_seconds: Field<f64>,
}

/// An entry without a lease id has an unknown lease.
pub(super) fn ack(behavior: &Behavior, body: &[u8]) -> Result<Ack> {
    let body: AckBody = parse(behavior, body)?;
    let entries = |field: Field<Vec<Object<Entry>>>| {
        let entries = field.get(behavior)?.unwrap_or_default().into_iter();
        let read = |Object(Entry { lease_id, delay_seconds })| {
            Ok((lease_id.get(behavior)?.unwrap_or_default(), delay(behavior, delay_seconds)?))
        };
        entries.map(read).collect::<Result<Vec<_>>>()
    };
    let (acks, retries) = (entries(body.acks)?, entries(body.retries)?);
    check_entries(behavior, acks.len().saturating_add(retries.len()), limits::MAX_LEASES)?;
    Ok(Ack { acks: acks.into_iter().map(|(lease_id, _)| lease_id).collect(), retries })
}

fn check_entries(behavior: &Behavior, count: usize, max: usize) -> Result<()> {
    match count {
        0 if !behavior.empty_requests => Err(Refusal::malformed("the request holds no entry")),
        count if count > max && !behavior.large_requests => {
            Err(Refusal::malformed("the request holds over 100 entries"))
        }
        _ => Ok(()),
    }
}

#[derive(Deserialize)]
struct ExtendBody {
    #[serde(default)]
    extend: Field<Vec<Object<Entry>>>,
    #[serde(default)]
    visibility_timeout_ms: Field<f64>,
}

pub(super) fn extend(behavior: &Behavior, body: &[u8]) -> Result<Extend> {
    let ExtendBody { extend, visibility_timeout_ms } = parse(behavior, body)?;
    let entries = extend.get(behavior)?.unwrap_or_default().into_iter();
    let leases = entries.map(|Object(entry)| Ok(entry.lease_id.get(behavior)?.unwrap_or_default()));
    let leases = leases.collect::<Result<Vec<_>>>()?;
    check_entries(behavior, leases.len(), limits::MAX_EXTENDED)?;
    if behavior.largest_extend.is_some_and(|most| leases.len() > most) {
        return Err(Refusal::malformed("the request holds more entries than `largest_extend` allows"));
    }
    Ok(Extend { leases, timeout: read_timeout(behavior, visibility_timeout_ms)? })
}

#[derive(Deserialize)]
struct PullBody {
    #[serde(default)]
    batch_size: Field<f64>,
    #[serde(default)]
    visibility_timeout_ms: Field<f64>,
}

pub(super) fn pull(behavior: &Behavior, body: &[u8]) -> Result<Pull> {
    let PullBody { batch_size, visibility_timeout_ms } = parse(behavior, body)?;
    let timeout = read_timeout(behavior, visibility_timeout_ms)?;
    Ok(Pull { batch_size: read_batch_size(behavior, batch_size)?, timeout })
}

fn read_timeout(behavior: &Behavior, visibility_timeout_ms: Field<f64>) -> Result<Option<Time>> {
    let refusal = || Refusal::malformed("visibility_timeout_ms must be a whole number of at most 12 hours");
    Ok(visibility_timeout_ms
        .whole(behavior, 0..=limits::VISIBILITY_TIMEOUT.end().as_millis() as u64, refusal)?
        .map(from_millis))
}

#[derive(Deserialize)]
struct PeekBody {
    #[serde(default)]
    batch_size: Field<f64>,
}

/// The largest number of messages to show.
pub(super) fn peek(behavior: &Behavior, body: &[u8]) -> Result<usize> {
    let PeekBody { batch_size } = parse(behavior, body)?;
    read_batch_size(behavior, batch_size)
}

fn read_batch_size(behavior: &Behavior, batch_size: Field<f64>) -> Result<usize> {
    let refusal = || Refusal::malformed("batch_size must be a whole number from 1 to 100");
    Ok(batch_size.whole(behavior, limits::BATCH_SIZE, refusal)?.unwrap_or(5) as usize)
}

#[derive(Deserialize)]
struct PurgeBody {
    #[serde(default)]
    refs: Field<Vec<Object<PurgeEntry>>>,
}

#[derive(Deserialize)]
struct PurgeEntry {
    #[serde(default, rename = "ref")]
    message_ref: Field<String>,
}

/// The references to the messages to delete.
pub(super) fn purge(behavior: &Behavior, body: &[u8]) -> Result<Vec<String>> {
    let PurgeBody { refs } = parse(behavior, body)?;
    let missing = || Refusal::malformed("the request needs `refs`, each with a `ref`");
    let refs = refs.get(behavior)?.ok_or_else(missing)?;
    check_entries(behavior, refs.len(), *limits::REFS.end() as usize)?;
    refs.into_iter().map(|Object(entry)| entry.message_ref.get(behavior)?.ok_or_else(missing)).collect()
}

#[derive(Deserialize)]
struct PushBody<'a> {
    #[serde(default, borrow, deserialize_with = "present")]
    body: Option<&'a RawValue>,
    #[serde(default)]
    content_type: Field<String>,
    #[serde(default)]
    delay_seconds: Field<f64>,
}

/// A body may be null, which differs from absent.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Option<&'de RawValue>, D::Error> {
    Deserialize::deserialize(deserializer).map(Some)
}

pub(super) fn push(behavior: &Behavior, body: &[u8]) -> Result<NewMessage> {
    new_message(behavior, parse(behavior, body)?, None)
}

#[derive(Deserialize)]
struct PushBatchBody<'a> {
    #[serde(default, borrow)]
    messages: Field<Vec<Object<PushBody<'a>>>>,
    #[serde(default)]
    delay_seconds: Field<f64>,
}

pub(super) fn push_batch(behavior: &Behavior, body: &[u8]) -> Result<Vec<NewMessage>> {
    let PushBatchBody { messages, delay_seconds } = parse(behavior, body)?;
    let messages = messages.get(behavior)?.unwrap_or_default();
    if !(1..=push::MAX_PUSHED).contains(&messages.len()) {
        return Err(Refusal::bad_request(codes::BATCH_COUNT, "a batch holds 1 to 100 messages"));
    }
    let batch_delay = delay(behavior, delay_seconds)?;
    let messages = messages.into_iter().map(|Object(message)| new_message(behavior, message, batch_delay));
    let messages: Vec<_> = messages.collect::<Result<_>>()?;
    if messages.iter().map(|message| message.content.body.len()).sum::<usize>() > push::MAX_PUSHED_BYTES {
        return Err(Refusal::bad_request(codes::BATCH_SIZE, "a batch holds at most 256 KB"));
    }
    Ok(messages)
}

fn new_message(behavior: &Behavior, message: PushBody<'_>, batch_delay: Option<Time>) -> Result<NewMessage> {
    let body = message.body.ok_or(Refusal::bad_request(codes::MESSAGE_BODY, "a message needs a body"))?.get();
    let is_string = body.starts_with('"');
    let is_text = match message.content_type.get(behavior)?.as_deref() {
        Some("text") => true,
        Some("json") => false,
        None => is_string && behavior.missing_content_type == MissingContentType::ByBody,
        Some(_) => return Err(Refusal::bad_request(codes::MESSAGE_METADATA, "the content type is `text` or `json`")),
    };
    let body = match (is_text, is_string) {
        (true, true) => serde_json::from_str(body).map_err(|_| malformed())?,
        (true, false) => {
            return Err(Refusal::bad_request(codes::MESSAGE_BODY, "the body of a text message is a string"));
        }
        (false, true) => {
            return Err(Refusal::bad_request(codes::MESSAGE_BODY, "the body of a json message is no string"));
        }
        (false, false) => compact(body),
    };
    if body.len() > PushMessage::MAX_SIZE {
        return Err(Refusal::bad_request(codes::MESSAGE_SIZE, "a message holds at most 128 KB"));
    }
    let delay = delay(behavior, message.delay_seconds)?.or(batch_delay);
    let content_type = if is_text { ContentType::Text } else { ContentType::Json };
    Ok(NewMessage::new(Content { body: body.into(), content_type, source: "http".into() }, delay))
}

/// JSON text without the white space between its tokens.
fn compact(json: &str) -> String {
    let (mut in_string, mut is_escaped) = (false, false);
    let is_part = |character: &char| {
        let is_quote = *character == '"' && !is_escaped;
        is_escaped = in_string && *character == '\\' && !is_escaped;
        in_string ^= is_quote;
        in_string || is_quote || !character.is_ascii_whitespace()
    };
    json.chars().filter(is_part).collect()
}

fn delay(behavior: &Behavior, seconds: Field<f64>) -> Result<Option<Time>> {
    let refusal = || Refusal::bad_request(codes::DELAY, "a delay is a whole number of seconds of at most 24 hours");
    Ok(seconds.whole(behavior, 0..=limits::MAX_DELAY.as_secs(), refusal)?.map(from_secs))
}

pub(super) fn parse<'a, T: Deserialize<'a>>(behavior: &Behavior, body: &'a [u8]) -> Result<T> {
    let body = if body.is_empty() && behavior.empty_bodies { b"{}" } else { body };
    let Object(parsed) = serde_json::from_slice(body).map_err(|_| malformed())?;
    Ok(parsed)
}

fn malformed() -> Refusal {
    Refusal::malformed("the request's body is not of the documented form")
}

/// A field that may be absent, or null, which may count as absent.
#[derive(Default)]
enum Field<T> {
    #[default]
    Absent,
    Null,
    Value(T),
}

impl<T> Field<T> {
    fn get(self, behavior: &Behavior) -> Result<Option<T>> {
        match self {
            Self::Value(value) => Ok(Some(value)),
            Self::Null if !behavior.nulls => Err(Refusal::malformed("a field is null")),
            Self::Null | Self::Absent => Ok(None),
        }
    }
}

impl Field<f64> {
    fn whole(
        self,
        behavior: &Behavior,
        range: RangeInclusive<u64>,
        refusal: impl Fn() -> Refusal,
    ) -> Result<Option<u64>> {
        let range = *range.start() as f64..=*range.end() as f64;
        match self.get(behavior)? {
            Some(number) if !range.contains(&number) => Err(refusal()),
            Some(number) if number.fract() != 0.0 && !behavior.fractions => Err(refusal()),
            number => Ok(number.map(|number| number as u64)),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Field<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        Option::deserialize(deserializer).map(|value| value.map_or(Self::Null, Self::Value))
    }
}

/// A JSON object: what serde derives for a struct accepts an array as well.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = Object<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> std::result::Result<Object<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Object)
    }
}
