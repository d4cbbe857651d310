//! Event subscriptions: list, create, get, change, delete.

use http::StatusCode;
use serde_json::{Map, Value};

use super::{
    Result,
    request::{Request, text},
};
use crate::{
    emulator::{
        clock::timestamp,
        registry::destination,
        reply::{Refusal, success},
    },
    error::codes,
};

/// The account of a subscription; not shown.
const ACCOUNT: &str = "account_id";

pub(in crate::emulator) fn list(request: &mut Request) -> Result {
    let order = one_of(request, "order", &["name", "created_at", "enabled", "source"])?;
    let direction = one_of(request, "direction", &["asc", "desc"])?;
    // Not documented, but wrangler sends it.
    let queue_id = request.query("queue_id").into_iter().next();
    let subscriptions = request.registry.subscriptions.values();
    let mut shown: Vec<_> = subscriptions.filter(|found| text(found, ACCOUNT) == Some(request.account)).collect();
    shown.retain(|found| queue_id.as_deref().is_none_or(|id| destination(found) == id));
    shown.sort_by_cached_key(|found| found.get(order).map(Value::to_string));
    if direction == "desc" {
        shown.reverse();
    }
    let shown = shown.into_iter().map(show).collect();
    request.page(shown)
}

/// A query parameter that is one of these; the first if it is missing.
fn one_of<'a>(request: &Request, name: &str, values: &[&'a str]) -> Result<&'a str> {
    let given = request.query(name).into_iter().next();
    let found = values.iter().find(|value| given.as_deref().is_none_or(|given| given == **value));
    found.copied().ok_or_else(|| Refusal::malformed("`order` and `direction` have documented values"))
}

pub(in crate::emulator) fn create(request: &mut Request) -> Result {
    let mut fields = valid(request)?;
    if ["name", "events", "source", "destination"].iter().any(|name| !fields.contains_key(*name)) {
        return Err(Refusal::malformed("a subscription needs a name, events, a source and a destination"));
    }
    let source = fields.get("source");
    let mut others = request.registry.subscriptions.values();
    if others.any(|other| text(other, ACCOUNT) == Some(request.account) && other.get("source") == source) {
        return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, codes::NONE, "the resource has a subscription"));
    }
    let id = request.registry.next_id();
    let now = timestamp(request.service.clock.now());
    for (name, value) in [("id", &*id), (ACCOUNT, request.account), ("created_at", &*now), ("modified_at", &*now)] {
        fields.insert(name.to_owned(), value.into());
    }
    fields.entry("enabled").or_insert(true.into());
    request.registry.subscriptions.insert(id.clone(), fields);
    get(request, &id)
}

pub(in crate::emulator) fn get(request: &mut Request, id: &str) -> Result {
    Ok(success(show(find(request, id)?)))
}

pub(in crate::emulator) fn update(request: &mut Request, id: &str) -> Result {
    find(request, id)?;
    let mut changes = valid(request)?;
    changes.retain(|name, _| ["name", "enabled", "events", "destination"].contains(&name.as_str()));
    let now = timestamp(request.service.clock.now());
    changes.insert("modified_at".to_owned(), now.into());
    request.registry.subscriptions.entry(id.to_owned()).or_default().extend(changes);
    get(request, id)
}

pub(in crate::emulator) fn delete(request: &mut Request, id: &str) -> Result {
    let shown = show(find(request, id)?);
    request.registry.subscriptions.remove(id);
    Ok(success(shown))
}

fn find<'a>(request: &'a Request, id: &str) -> Result<&'a Map<String, Value>> {
    let found = request.registry.subscriptions.get(id).filter(|found| text(found, ACCOUNT) == Some(request.account));
    found.ok_or(Refusal::new(StatusCode::NOT_FOUND, codes::NOT_THERE, "No subscription with this ID"))
}

fn show(subscription: &Map<String, Value>) -> Value {
    let mut shown = subscription.clone();
    shown.remove(ACCOUNT);
    shown.into()
}

fn valid(request: &Request) -> Result<Map<String, Value>> {
    let fields = request.fields()?;
    let is_word = |value: &Value| value.as_str().is_some_and(|text| !text.is_empty());
    let are_words = |events: &Vec<Value>| !events.is_empty() && events.iter().all(is_word);
    if fields.get("events").is_some_and(|events| !events.as_array().is_some_and(are_words)) {
        return Err(Refusal::malformed("a subscription names at least one event"));
    }
    if fields.get("source").is_some_and(|source| !source.get("type").is_some_and(is_word)) {
        return Err(Refusal::malformed("a source has a type"));
    }
    if fields.contains_key("destination") {
        request.queue(destination(&fields))?;
    }
    Ok(fields)
}
