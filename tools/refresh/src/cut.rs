//! Extracts our operations from Cloudflare's whole document, which is too large to read as a tree.

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

use serde::Deserialize;
use serde_json::{Map, Value, json, value::RawValue};

use crate::places;

/// The document as far as needed. Parts that our operations do not refer to are skipped as text.
#[derive(Deserialize)]
struct Whole<'a> {
    openapi: String,
    #[serde(borrow)]
    paths: BTreeMap<String, &'a RawValue>,
    #[serde(borrow, default)]
    components: BTreeMap<String, BTreeMap<String, &'a RawValue>>,
    servers: Option<Value>,
    security: Option<Value>,
}

/// Extracts the operations of `fragment` from the whole document, with everything that they refer to, without
/// descriptions. Of other Queues operations, only the names.
pub(crate) fn cut(whole: &str, fragment: &Value) -> Result<Value, String> {
    let whole: Whole = serde_json::from_str(whole).map_err(|error| match error.is_eof() {
        true => format!("is cut off: {error}"),
        false => format!(
            "is not an OpenAPI document in JSON: {error} (if it is YAML, convert it first: \
             python3 -c 'import json, sys, yaml; json.dump(yaml.safe_load(sys.stdin), sys.stdout, default=str)' \
             < openapi.yaml > target/openapi.json)"
        ),
    })?;
    let ours: BTreeMap<_, _> = places::paths(fragment)
        .map(|(path, method, _)| (places::key(path, method), places::name(path, method)))
        .collect();
    let groups: BTreeSet<_> = places::paths(fragment).map(|(path, ..)| places::group(path)).collect();
    let mut items: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    let mut beside = BTreeSet::new();
    for (path, item) in whole.paths.iter().filter(|(path, _)| groups.contains(&places::group(path))) {
        let item = json!({ "paths": { path: whole.item(path, item)? } });
        for (path, method, operation) in places::paths(&item) {
            if ours.contains_key(&places::key(path, method)) {
                let shared = |key: &str| Some((key.to_owned(), item.get("paths")?.get(path)?.get(key)?.clone()));
                let path = whole.paths.get_key_value(path).map_or("", |(path, _)| path);
                let cut = items.entry(path).or_default();
                cut.insert(method.to_owned(), operation.clone());
                cut.extend(["parameters", "servers"].into_iter().filter_map(shared));
            } else {
                let id = operation.get("operationId").and_then(Value::as_str).unwrap_or("without an id");
                let deprecated = operation.get("deprecated") == Some(&Value::Bool(true));
                let deprecated = if deprecated { ", deprecated" } else { "" };
                beside.insert(format!("{} ({id}{deprecated})", places::name(path, method)));
            }
        }
    }
    if items.is_empty() {
        let missing: Vec<_> = ours.into_values().collect();
        return Err(format!("has none of the operations that openapi/queues.json calls: {}", missing.join(", ")));
    }
    let mut paths = json!(items);
    strip(&mut paths, true);
    let mut components = referred_to(&paths, &whole)?;
    whole.add_schemes(&paths, &mut components)?;
    let mut upstream = json!({
        "components": components, "openapi": whole.openapi, "paths": paths, "x-beside": beside,
    });
    for (key, value) in [("security", whole.security), ("servers", whole.servers)] {
        if let (Some(mut value), Some(upstream)) = (value, upstream.as_object_mut()) {
            strip(&mut value, false);
            upstream.insert(key.to_owned(), value);
        }
    }
    Ok(upstream)
}

impl Whole<'_> {
    /// The item of a path, or what it refers to.
    fn item(&self, path: &str, raw: &RawValue) -> Result<Value, String> {
        let item = parse(path, raw)?;
        let Some(reference) = item.get("$ref").and_then(Value::as_str) else { return Ok(item) };
        let unescaped = |name: &str| name.replace("~1", "/").replace("~0", "~");
        let found = match reference.strip_prefix("#/").map(|way| way.split('/').collect::<Vec<_>>()).as_deref() {
            Some(["paths", path]) => self.paths.get(&unescaped(path)),
            Some(["components", kind, name]) => self.components.get(*kind).and_then(|of| of.get(&unescaped(name))),
            _ => None,
        };
        parse(path, found.ok_or(format!("refers to {reference}, which it does not have"))?)
    }

    /// Adds the security schemes, which are referenced by name.
    fn add_schemes(&self, paths: &Value, components: &mut Components) -> Result<(), String> {
        let operations = json!({ "paths": paths });
        let securities = places::paths(&operations).filter_map(|(.., operation)| operation.get("security"));
        let alternatives = securities.chain(&self.security).filter_map(Value::as_array).flatten();
        for name in alternatives.filter_map(Value::as_object).flat_map(Map::keys) {
            if let Some(raw) = self.components.get("securitySchemes").and_then(|schemes| schemes.get(name)) {
                let mut scheme = parse(name, raw)?;
                strip(&mut scheme, false);
                components.entry("securitySchemes".to_owned()).or_default().insert(name.clone(), scheme);
            }
        }
        Ok(())
    }
}

type Components = BTreeMap<String, BTreeMap<String, Value>>;

fn parse(name: &str, raw: &RawValue) -> Result<Value, String> {
    serde_json::from_str(raw.get()).map_err(|error| format!("{name} cannot be read: {error}"))
}

/// Every component that is referred to, from the paths or from another component.
fn referred_to(paths: &Value, whole: &Whole) -> Result<Components, String> {
    let mut components = Components::new();
    let mut wanted = BTreeSet::new();
    references(paths, &mut wanted);
    while let Some(reference) = wanted.pop_first() {
        // Whether that is a part of our operations shows when they are read.
        if reference.starts_with("#/paths/") {
            continue;
        }
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

/// Keeps only the structure, in an order that does not depend on the document's. In a map of `names`, no key is a
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
