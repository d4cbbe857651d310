//! Extracts our operations from Cloudflare's whole document, which is too large to read as a tree.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
};

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json, value::RawValue};

use crate::{places, rules, unreadable};

type Parts<'a> = BTreeMap<Cow<'a, str>, &'a RawValue>;

/// The document as far as needed. Parts that our operations do not refer to are skipped as text.
#[derive(Deserialize)]
struct Whole<'a> {
    openapi: String,
    #[serde(borrow, default)]
    paths: Parts<'a>,
    #[serde(borrow, default)]
    components: Components<'a>,
    servers: Option<Value>,
    security: Option<Value>,
}

/// The components of each kind. An extension may have any form.
#[derive(Default)]
struct Components<'a>(BTreeMap<String, Parts<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for Components<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let kinds = Parts::deserialize(deserializer)?.into_iter();
        let read = |raw: &'a RawValue| serde_json::from_str(raw.get()).ok();
        Ok(Self(kinds.filter_map(|(kind, raw)| Some((kind.into_owned(), read(raw)?))).collect()))
    }
}

/// What tells whether another operation is about queues.
#[derive(Deserialize)]
struct Named<'a> {
    #[serde(borrow, default, rename = "operationId")]
    id: Cow<'a, str>,
    #[serde(borrow, default)]
    tags: Vec<Cow<'a, str>>,
    #[serde(default)]
    deprecated: bool,
}

/// Extracts the operations of `fragment` from the whole document, with everything that they refer to, without
/// descriptions. Of other Queues operations, only the names.
pub(crate) fn cut(whole: &str, fragment: &Value) -> Result<Value, String> {
    // Some editors begin a text with a byte order mark.
    let whole = whole.trim_start_matches('\u{feff}');
    let whole: Whole = serde_json::from_str(whole).map_err(|error| unreadable::why(whole, &error))?;
    let ours: BTreeMap<_, _> = places::paths(fragment)
        .map(|(path, method, _)| (places::key(path, method), places::name(path, method)))
        .collect();
    let groups: BTreeSet<_> = places::paths(fragment).map(|(path, ..)| places::group(path)).collect();
    let mut paths: Vec<_> = whole.paths.iter().map(|(path, raw)| (path.as_ref(), *raw)).collect();
    // Two paths may differ only in the names of their parameters. Then ours is the one that has our names.
    paths.sort_by_key(|(path, _)| fragment.pointer("/paths").and_then(|paths| paths.get(path)).is_none());
    let mut items: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    let (mut found, mut words) = (BTreeSet::new(), BTreeSet::from(["queue".to_owned()]));
    let mut others: Vec<(&str, &RawValue, BTreeSet<&str>)> = Vec::new();
    for (path, raw) in paths {
        let mut methods = BTreeSet::new();
        if groups.contains(&places::group(path)) {
            let item = json!({ "paths": { path: whole.item(path, raw)? } });
            for (_, method, operation) in places::paths(&item) {
                let key = places::key(path, method);
                if !ours.contains_key(&key) || !found.insert(key) {
                    continue;
                }
                let tags = operation.get("tags").and_then(Value::as_array).into_iter().flatten();
                words.extend(tags.filter_map(Value::as_str).map(stem));
                let shared = |key: &str| Some((key.to_owned(), item.get("paths")?.get(path)?.get(key)?.clone()));
                let cut = items.entry(path).or_default();
                cut.insert(method.to_owned(), operation.clone());
                cut.extend(["parameters", "servers"].into_iter().filter_map(shared));
                methods.extend(places::METHODS.iter().find(|known| **known == method));
            }
        }
        others.push((path, raw, methods));
    }
    if items.is_empty() {
        let missing: Vec<_> = ours.into_values().collect();
        return Err(format!(
            "has none of the operations that openapi/queues.json calls: is it Cloudflare's? They are {}",
            missing.join(", ")
        ));
    }
    let mut other_operations = BTreeSet::new();
    for (path, raw, methods) in others {
        other_operations.extend(whole.others(path, raw, &methods, groups.contains(&places::group(path)), &words));
    }
    let mut paths = json!(items);
    let (mut wanted, mut elsewhere) = (BTreeSet::new(), BTreeMap::new());
    strip(&mut paths, Kind::Names, &mut wanted);
    let mut components = whole.referred_to(&paths, wanted, &mut elsewhere)?;
    whole.add_schemes(&paths, &mut components)?;
    let mut upstream = json!({
        "components": components, "openapi": whole.openapi, "paths": paths, "x-others": other_operations,
    });
    for (key, value) in [("security", whole.security), ("servers", whole.servers)] {
        if let (Some(mut value), Some(upstream)) = (value, upstream.as_object_mut()) {
            strip(&mut value, Kind::Keywords, &mut BTreeSet::new());
            upstream.insert(key.to_owned(), value);
        }
    }
    redirect(&mut upstream, &elsewhere);
    Ok(upstream)
}

type Found = BTreeMap<String, BTreeMap<String, Value>>;

impl<'a> Whole<'a> {
    /// The item of a path, with what it refers to.
    fn item(&self, path: &str, raw: &RawValue) -> Result<Value, String> {
        self.followed(path, parse(path, raw)?)
    }

    /// An object with what it refers to.
    fn followed(&self, name: &str, mut object: Value) -> Result<Value, String> {
        let mut passed = BTreeSet::new();
        while let Some(Value::String(reference)) = object.as_object_mut().and_then(|object| object.remove("$ref")) {
            if !passed.insert(reference.clone()) {
                return Err(format!("{name} refers to itself in a circle"));
            }
            if let (Some(object), Value::Object(mut found)) = (object.as_object_mut(), self.at(&reference)?) {
                // What stands next to the reference wins.
                found.extend(std::mem::take(object));
                *object = found;
            }
        }
        Ok(object)
    }

    /// What a reference leads to.
    fn at(&self, reference: &str) -> Result<Value, String> {
        let pointer = places::pointer(reference).unwrap_or_default();
        let unescaped = |name: &str| name.replace("~1", "/").replace("~0", "~");
        let mut segments = pointer.strip_prefix('/').unwrap_or_default().splitn(4, '/');
        let (part, kind) = (segments.next(), segments.next().map(unescaped));
        let raw = match (part, kind.as_deref()) {
            (Some("paths"), Some(path)) => self.paths.get(path).copied(),
            (Some("components"), Some(kind)) => match (self.components.0.get(kind), segments.next()) {
                (Some(parts), Some(name)) => parts.get(unescaped(name).as_str()).copied(),
                _ => None,
            },
            _ => return Err(outside(reference)),
        };
        let missing = || format!("refers to {reference}, which it does not have");
        let value: Value = parse(reference, raw.ok_or_else(missing)?)?;
        let rest: Vec<_> = segments.collect();
        let rest = if rest.is_empty() { String::new() } else { format!("/{}", rest.join("/")) };
        value.pointer(&rest).cloned().ok_or_else(missing)
    }

    /// Every component that is referred to, from the paths or from another component. What is referred to within a path
    /// of others is kept as a component, by which it is called in `elsewhere`.
    fn referred_to(
        &self,
        paths: &Value,
        mut wanted: BTreeSet<String>,
        elsewhere: &mut BTreeMap<String, String>,
    ) -> Result<Found, String> {
        let mut components = Found::new();
        let within = json!({ "paths": paths });
        while let Some(reference) = wanted.pop_first() {
            let pointer = places::pointer(&reference).ok_or_else(|| outside(&reference))?;
            let segments: Vec<_> = pointer.split('/').collect();
            let (kind, name, whole) = match segments.as_slice() {
                ["", "components", kind, name, ..] => (
                    (*kind).to_owned(),
                    name.replace("~1", "/").replace("~0", "~"),
                    format!("#/components/{kind}/{name}"),
                ),
                ["", "paths", ..] if within.pointer(&pointer).is_some() => continue,
                ["", "paths", ..] => {
                    let name = format!("elsewhere_{}", pointer.replace(|other: char| !other.is_alphanumeric(), "_"));
                    elsewhere.insert(reference.clone(), format!("#/components/schemas/{name}"));
                    ("schemas".to_owned(), name, reference)
                }
                _ => return Err(outside(&reference)),
            };
            let known = components.entry(kind).or_default();
            if let Entry::Vacant(vacant) = known.entry(name) {
                let mut component = self.at(&whole)?;
                strip(&mut component, Kind::Keywords, &mut wanted);
                vacant.insert(component);
            }
        }
        Ok(components)
    }

    /// Adds the security schemes, which are referenced by name.
    fn add_schemes(&self, paths: &Value, components: &mut Found) -> Result<(), String> {
        let operations = json!({ "paths": paths });
        let securities = places::paths(&operations).filter_map(|(.., operation)| operation.get("security"));
        let alternatives = securities.chain(&self.security).filter_map(Value::as_array).flatten();
        for name in alternatives.filter_map(Value::as_object).flat_map(Map::keys) {
            let reference = json!({ "$ref": format!("#/components/securitySchemes/{name}") });
            if let Ok(mut scheme) = self.followed(name, reference) {
                strip(&mut scheme, Kind::Keywords, &mut BTreeSet::new());
                components.entry("securitySchemes".to_owned()).or_default().insert(name.clone(), scheme);
            }
        }
        Ok(())
    }

    /// The operations at a path that are about queues, by their path, their tags or their ids, without those that are
    /// ours.
    fn others(
        &self,
        path: &str,
        raw: &'a RawValue,
        ours: &BTreeSet<&str>,
        is_in_group: bool,
        words: &BTreeSet<String>,
    ) -> Vec<String> {
        // Nothing is wrong with the document if it has another form at a path of others.
        let mut item = serde_json::from_str::<Parts>(raw.get()).unwrap_or_default();
        let referred = item.get("$ref").and_then(|_| self.item(path, raw).ok());
        let referred = referred.and_then(|item| serde_json::value::to_raw_value(&item).ok());
        if let Some(raw) = &referred {
            item = serde_json::from_str(raw.get()).unwrap_or_default();
        }
        let is_about = |named: &Named| {
            let is_about = |word: &str| words.contains(&stem(word));
            let mut id = id_words(&named.id).into_iter();
            is_in_group
                || path.split('/').any(|segment| stem(segment) == "queue")
                || named.tags.iter().any(|tag| is_about(tag) || tag.split(' ').any(|word| stem(word) == "queue"))
                || id.next().is_some_and(|word| is_about(&word))
                || id.any(|word| stem(&word) == "queue")
        };
        let mut names = Vec::new();
        for (method, raw) in item.iter().filter(|(method, _)| !ours.contains(method.as_ref())) {
            if !places::METHODS.contains(&method.as_ref()) {
                continue;
            }
            let Some(named) = serde_json::from_str::<Named>(raw.get()).ok().filter(is_about) else { continue };
            let id = if named.id.is_empty() { "without an id" } else { &named.id };
            let deprecated = if named.deprecated { ", deprecated" } else { "" };
            names.push(format!("{} ({id}{deprecated})", places::name(path, method)));
        }
        names
    }
}

fn parse<'a, T: Deserialize<'a>>(name: &str, raw: &'a RawValue) -> Result<T, String> {
    serde_json::from_str(raw.get()).map_err(|error| format!("{name} cannot be read: {error}"))
}

fn outside(reference: &str) -> String {
    if reference.starts_with('#') {
        return format!(
            "refers to {reference}, which is no way to a part of it: replace such names (`$anchor`, `$id`) by ways \
             first, such as with `npx @redocly/cli bundle --dereferenced`"
        );
    }
    format!(
        "refers to {reference}, which is no component of it: put everything into one file first, such as with \
         `npx @redocly/cli bundle`"
    )
}

/// `Queues` is `queue`.
fn stem(word: &str) -> String {
    word.to_lowercase().trim_end_matches('s').to_owned()
}

/// The words of an id such as `queues-list`, `queues_list` or `queuesList`.
fn id_words(id: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for character in id.chars() {
        if character.is_uppercase() || !character.is_alphanumeric() {
            words.push(String::new());
        }
        words.last_mut().into_iter().for_each(|word| word.extend(Some(character).filter(|it| it.is_alphanumeric())));
    }
    words.retain(|word| !word.is_empty());
    words
}

/// What the keys of an object are.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Keywords,
    /// Such as those of fields: no key is a keyword.
    Names,
    /// A value, of which nothing is left out.
    Data,
}

/// Keeps only the structure, in an order that does not depend on the document's, and finds the references.
fn strip(value: &mut Value, kind: Kind, found: &mut BTreeSet<String>) {
    const WORDS: [&str; 7] = ["description", "example", "examples", "externalDocs", "summary", "tags", "title"];
    const NAMES: [&str; 13] = [
        "$defs",
        "callbacks",
        "content",
        "definitions",
        "dependentRequired",
        "dependentSchemas",
        "encoding",
        "headers",
        "links",
        "patternProperties",
        "properties",
        "responses",
        "variables",
    ];
    match value {
        Value::Object(map) => {
            let mut sorted: BTreeMap<_, _> = std::mem::take(map).into_iter().collect();
            if kind == Kind::Keywords {
                let is_word = |key: &str| WORDS.contains(&key) || key.starts_with("x-") && key != rules::SENSITIVE;
                sorted.retain(|key, _| !is_word(key));
                found.extend(sorted.get("$ref").and_then(Value::as_str).map(str::to_owned));
            }
            for (key, value) in &mut sorted {
                let within = match (kind, key.as_str()) {
                    (Kind::Data, _) | (Kind::Keywords, "const" | "default" | "enum") => Kind::Data,
                    (Kind::Keywords, key) if NAMES.contains(&key) => Kind::Names,
                    _ => Kind::Keywords,
                };
                if let (Kind::Keywords, "enum" | "required" | "type", Value::Array(values)) =
                    (kind, key.as_str(), &mut *value)
                {
                    values.sort_by_cached_key(|value| (value.as_str().map(str::to_owned), value.to_string()));
                }
                if let (Kind::Keywords, "responses", Value::Object(statuses)) = (kind, key.as_str(), &mut *value) {
                    statuses.retain(|status, _| !status.starts_with("x-"));
                }
                strip(value, within, found);
            }
            map.extend(sorted);
        }
        Value::Array(values) => values.iter_mut().for_each(|value| strip(value, kind, found)),
        _ => {}
    }
}

/// Gives references their new addresses.
fn redirect(value: &mut Value, elsewhere: &BTreeMap<String, String>) {
    match value {
        Value::Object(map) => {
            if let Some(Value::String(reference)) = map.get_mut("$ref") {
                elsewhere.get(reference).into_iter().for_each(|new| reference.clone_from(new));
            }
            map.values_mut().for_each(|value| redirect(value, elsewhere));
        }
        Value::Array(values) => values.iter_mut().for_each(|value| redirect(value, elsewhere)),
        _ => {}
    }
}
