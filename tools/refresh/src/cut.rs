//! Cuts our operations out of Cloudflare's whole document, which is too large to be read as a tree.

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

use serde::Deserialize;
use serde_json::{Map, Value, json, value::RawValue};

use crate::places;

/// The document as far as it has to be looked at; what our operations do not refer to is passed over as text.
#[derive(Deserialize)]
struct Whole<'a> {
    openapi: String,
    #[serde(borrow)]
    paths: BTreeMap<String, &'a RawValue>,
    #[serde(borrow, default)]
    components: BTreeMap<String, BTreeMap<String, &'a RawValue>>,
}

/// What was cut out, and what was found on the way.
pub(crate) struct Cut {
    pub(crate) upstream: Value,
    /// Operations beside ours, as `POST /path (id)`.
    pub(crate) beside: Vec<String>,
}

/// Takes the operations that `fragment` has out of the whole document, with all that they refer to and without words.
pub(crate) fn cut(whole: &str, fragment: &Value) -> Result<Cut, String> {
    let whole: Whole = serde_json::from_str(whole).map_err(|error| match error.is_eof() {
        true => format!("is cut off: {error}"),
        false => format!("is not an OpenAPI document in JSON: {error}"),
    })?;
    let mut items: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    let mut missing = Vec::new();
    for (path, method, _) in places::paths(fragment) {
        let mut item = whole.paths.get(path).map_or(Ok(json!({})), |item| parse(path, item))?;
        let Some(operation) = item.get_mut(method).map(Value::take) else {
            missing.push(places::name(path, method));
            continue;
        };
        let cut = items.entry(path).or_default();
        cut.insert(method.to_owned(), operation);
        cut.extend(item.get_mut("parameters").map(|parameters| ("parameters".to_owned(), parameters.take())));
    }
    if items.is_empty() {
        return Err(format!("has none of the operations that openapi/queues.json calls: {}", missing.join(", ")));
    }
    let mut paths = json!(items);
    strip(&mut paths, true);
    let components = referred_to(&paths, &whole)?;
    let upstream = json!({ "components": components, "openapi": whole.openapi, "paths": paths });
    let beside = beside(&whole, fragment)?;
    Ok(Cut { upstream, beside })
}

fn parse(name: &str, raw: &RawValue) -> Result<Value, String> {
    serde_json::from_str(raw.get()).map_err(|error| format!("{name} cannot be read: {error}"))
}

/// Every component that is referred to, from the paths or from another component.
fn referred_to(paths: &Value, whole: &Whole) -> Result<BTreeMap<String, BTreeMap<String, Value>>, String> {
    let mut components: BTreeMap<String, BTreeMap<String, Value>> = BTreeMap::new();
    let mut wanted = BTreeSet::new();
    references(paths, &mut wanted);
    while let Some(reference) = wanted.pop_first() {
        let mut segments = reference.strip_prefix("#/components/").unwrap_or_default().split('/');
        let (Some(kind), Some(name)) = (segments.next(), segments.next()) else {
            return Err(format!("refers to {reference}, which is no component of it"));
        };
        let name = name.replace("~1", "/").replace("~0", "~");
        let known = components.entry(kind.to_owned()).or_default();
        if let Entry::Vacant(vacant) = known.entry(name) {
            let name = vacant.key();
            let raw = whole.components.get(kind).and_then(|components| components.get(name));
            let mut component = parse(name, raw.ok_or(format!("refers to {reference}, which it does not have"))?)?;
            strip(&mut component, false);
            references(&component, &mut wanted);
            vacant.insert(component);
        }
    }
    Ok(components)
}

fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            found.extend(map.get("$ref").and_then(Value::as_str).map(str::to_owned));
            map.values().for_each(|value| references(value, found));
        }
        Value::Array(values) => values.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

/// Leaves the structure alone, in an order that does not depend on the document's. In a map of `names`, no key is a
/// keyword.
fn strip(value: &mut Value, names: bool) {
    const WORDS: [&str; 7] = ["description", "example", "examples", "externalDocs", "summary", "tags", "title"];
    match value {
        Value::Object(map) => {
            let mut sorted: BTreeMap<_, _> = std::mem::take(map).into_iter().collect();
            sorted.retain(|key, _| names || !(WORDS.contains(&key.as_str()) || key.starts_with("x-")));
            for (key, value) in &mut sorted {
                strip(value, !names && ["properties", "content", "responses"].contains(&key.as_str()));
            }
            map.extend(sorted);
        }
        Value::Array(values) => {
            values.iter_mut().for_each(|value| strip(value, false));
            if values.iter().all(Value::is_string) {
                values.sort_by(|left, right| left.as_str().cmp(&right.as_str()));
            }
        }
        _ => {}
    }
}

/// Operations that the client does not call, of paths that begin as all of ours do.
fn beside(whole: &Whole, fragment: &Value) -> Result<Vec<String>, String> {
    let ours: BTreeSet<_> = places::paths(fragment).map(|(path, method, _)| places::name(path, method)).collect();
    let common = |left: &str, right: &str| -> String {
        left.chars().zip(right.chars()).take_while(|(left, right)| left == right).map(|(left, _)| left).collect()
    };
    let base = places::paths(fragment).map(|(path, ..)| path.to_owned()).reduce(|left, right| common(&left, &right));
    let base = base.unwrap_or_default();
    let mut beside = Vec::new();
    for (path, item) in whole.paths.iter().filter(|(path, _)| path.starts_with(&base)) {
        let item = json!({ "paths": { path: parse(path, item)? } });
        for (path, method, operation) in places::paths(&item) {
            let name = places::name(path, method);
            if !ours.contains(&name) {
                beside.push(format!("{name} ({})", operation["operationId"].as_str().unwrap_or("without an id")));
            }
        }
    }
    Ok(beside)
}
