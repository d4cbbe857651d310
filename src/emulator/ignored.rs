//! The fields of a request that the service ignores, for a log: a misspelled field changes nothing, without a word.

use std::{borrow::Cow, collections::BTreeMap};

use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::document::operation::Operation;

/// The known fields of a body, and of the entries of its lists.
fn known(operation: Operation) -> Option<(&'static [&'static str], &'static [&'static str])> {
    Some(match operation {
        Operation::PullMessages => (&["batch_size", "visibility_timeout_ms"], &[]),
        Operation::AckMessages => (&["acks", "retries"], &["lease_id", "delay_seconds"]),
        Operation::ExtendMessages => (&["extend", "visibility_timeout_ms"], &["lease_id"]),
        Operation::PeekMessages => (&["batch_size"], &[]),
        Operation::PurgeMessages => (&["refs"], &["ref"]),
        Operation::PushMessage => (&["body", "content_type", "delay_seconds"], &[]),
        Operation::PushMessages => (&["messages", "delay_seconds"], &["body", "content_type", "delay_seconds"]),
        _ => return None,
    })
}

/// The names of the ignored fields of a request, in order, each once.
pub(super) fn fields(operation: Operation, body: &[u8]) -> Vec<String> {
    let Some((fields, entry_fields)) = known(operation) else { return Vec::new() };
    let Ok(body) = serde_json::from_slice::<BTreeMap<Cow<'_, str>, &RawValue>>(body) else { return Vec::new() };
    let entries = body.iter().filter(|(name, _)| fields.contains(&name.as_ref()) && !entry_fields.is_empty());
    let entries = entries
        .filter_map(|(_, value)| serde_json::from_str::<Vec<BTreeMap<Cow<'_, str>, IgnoredAny>>>(value.get()).ok());
    let of_entries = entries.flatten().flat_map(BTreeMap::into_keys);
    let ignored = of_entries.filter(|name| !entry_fields.contains(&name.as_ref())).map(Cow::into_owned);
    let top = body.keys().filter(|name| !fields.contains(&name.as_ref())).map(|name| name.clone().into_owned());
    let mut ignored: Vec<_> = top.chain(ignored).collect();
    ignored.sort();
    ignored.dedup();
    ignored
}
