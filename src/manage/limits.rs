//! The bounds of what a queue, a consumer or a subscription can be set to, checked before anything is sent.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use crate::{
    document,
    error::Error,
    manage::{consumers::ConsumerSettings, settings::QueueSettings},
    message::limits,
};

/// The maximum number of list entries that one request asks for.
pub(crate) const MAX_PER_PAGE: u32 = document::PER_PAGE_MAX as u32;

pub(crate) fn queue_name(name: &str) -> Result<(), Error> {
    if name.is_empty() { Err(Error::invalid("name: must not be empty")) } else { Ok(()) }
}

pub(crate) fn events(events: &[String]) -> Result<(), Error> {
    if events.is_empty() { Err(Error::invalid("events: must name at least one")) } else { Ok(()) }
}

/// The bounds of a setting, in the unit in which it is sent.
pub(crate) type Bounds = (&'static str, RangeInclusive<u64>);

pub(crate) const QUEUE_SETTINGS: [Bounds; 2] = [
    ("delivery_delay", 0..=document::QUEUE_SETTINGS_PAYLOAD_DELIVERY_DELAY_MAX),
    (
        "message_retention_period",
        document::QUEUE_SETTINGS_PAYLOAD_MESSAGE_RETENTION_PERIOD_MIN
            ..=document::QUEUE_SETTINGS_PAYLOAD_MESSAGE_RETENTION_PERIOD_MAX,
    ),
];

pub(crate) const CONSUMER_SETTINGS: [Bounds; 6] = [
    (
        "batch_size",
        document::CONSUMER_SETTINGS_PAYLOAD_BATCH_SIZE_MIN..=document::CONSUMER_SETTINGS_PAYLOAD_BATCH_SIZE_MAX,
    ),
    (
        "max_concurrency",
        document::CONSUMER_SETTINGS_PAYLOAD_MAX_CONCURRENCY_MIN
            ..=document::CONSUMER_SETTINGS_PAYLOAD_MAX_CONCURRENCY_MAX,
    ),
    ("max_retries", 0..=document::CONSUMER_SETTINGS_PAYLOAD_MAX_RETRIES_MAX),
    ("max_wait_time_ms", 0..=document::CONSUMER_SETTINGS_PAYLOAD_MAX_WAIT_TIME_MS_MAX),
    ("retry_delay", 0..=document::CONSUMER_SETTINGS_PAYLOAD_RETRY_DELAY_MAX),
    (
        "visibility_timeout_ms",
        document::CONSUMER_SETTINGS_PAYLOAD_VISIBILITY_TIMEOUT_MS_MIN
            ..=document::CONSUMER_SETTINGS_PAYLOAD_VISIBILITY_TIMEOUT_MS_MAX,
    ),
];

pub(crate) fn queue_settings(settings: &QueueSettings) -> Result<(), Error> {
    within(settings.fields(), &QUEUE_SETTINGS)
}

pub(crate) fn consumer_settings(settings: &ConsumerSettings) -> Result<(), Error> {
    within(&settings.settings().0, &CONSUMER_SETTINGS)
}

fn within(settings: &Map<String, Value>, bounds: &[Bounds]) -> Result<(), Error> {
    bounds.iter().try_for_each(|(name, bounds)| {
        settings.get(*name).and_then(Value::as_u64).map_or(Ok(()), |value| limits::within(name, bounds, value))
    })
}
