//! The bounds of what a queue, a consumer or a subscription can be set to, checked before anything is sent.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use crate::{
    document::{self, fields::whole},
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
    // What is no number may be the service's own description, which is sent back as it is.
    let numbers = bounds.iter().filter_map(|(name, bounds)| Some((name, bounds, settings.get(*name)?)));
    numbers.filter(|(.., value)| value.is_number()).try_for_each(|(name, bounds, value)| match whole(value) {
        Some(number) => limits::within(name, bounds, number),
        None => Err(Error::invalid(format!("{name}: must be a whole number, and is {value}"))),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_number_that_is_not_whole_is_out_of_bounds() {
        let is_taken = |value: &Value| {
            let of_queue = queue_settings(&QueueSettings::new().setting("message_retention_period", value.clone()));
            let of_consumer = consumer_settings(&ConsumerSettings::pull().setting("max_retries", value.clone()));
            assert_eq!(of_queue.is_ok(), of_consumer.is_ok(), "{value}: {of_queue:?} {of_consumer:?}");
            of_queue.is_ok()
        };
        assert!([json!(-1), json!(59.9), json!(-0.5), json!(1e30), json!(u64::MAX)].iter().all(|odd| !is_taken(odd)));
        // As the service may describe it: it is sent back as it is.
        assert!([json!(null), json!(75.0), json!("60")].iter().all(is_taken));
    }
}
