//! The fields of a request that the service ignores, for a log: a misspelled field changes nothing, without a word.

use std::{borrow::Cow, collections::BTreeMap};

use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::document::operation::Operation;

/// The names of the ignored fields of a request about messages, in order, each once. Descriptions of queues, consumers
/// and subscriptions keep fields that are not known.
pub(super) fn fields(operation: Operation, body: &[u8]) -> Vec<String> {
    if !operation.is_on_messages() {
        return Vec::new();
    }
    let (fields, entry_fields) = operation.fields();
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
