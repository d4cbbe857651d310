//! Random values of the form of a published schema.

use proptest::{collection, option, prelude::*, sample};
use refresh::places;
use serde_json::{Map, Value, json};

/// The operation of a document at a path, whatever the path's parameters are called there.
pub(crate) fn operation<'a>(document: &'a Value, path: &str, method: &str) -> &'a Value {
    places::find(document, path, method).unwrap_or_else(|| panic!("{method} {path} is not published"))
}

/// The schema of a request's or a response's body.
pub(crate) fn content(document: &Value, holder: &Value) -> Value {
    let mut holder = holder;
    while holder.get("$ref").is_some() {
        holder = resolved(document, holder);
    }
    let contents = holder["content"].as_object();
    let of = |kind: &str| contents?.iter().find(|(key, _)| places::media_type(key) == kind);
    let json = ["application/json", "application/*", "*/*"].iter().find_map(|kind| of(kind));
    json.map_or(Value::Null, |(_, content)| content["schema"].clone())
}

fn resolved<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    value["$ref"].as_str().map_or(value, |reference| document.pointer(&places::pointer(reference).unwrap()).unwrap())
}

/// A strategy for the values that `schema` allows, of `document`'s components.
pub(crate) fn values(document: &Value, schema: &Value) -> BoxedStrategy<Value> {
    if schema.get("$ref").is_some() {
        return values(document, resolved(document, schema));
    }
    if let Some(kinds) = schema["type"].as_array() {
        let of = |kind: &Value| {
            let mut schema = schema.clone();
            schema["type"] = kind.clone();
            values(document, &schema)
        };
        let forms: Vec<_> = kinds.iter().map(of).collect();
        return (0..forms.len()).prop_flat_map(move |chosen| forms[chosen].clone()).boxed();
    }
    if let Some(value) = schema.get("const") {
        return Just(value.clone()).boxed();
    }
    if let Some(parts) = schema["allOf"].as_array() {
        let says_what = |part: &&Value| {
            ["$ref", "type", "properties", "allOf", "oneOf", "anyOf"].iter().any(|key| part.get(key).is_some())
        };
        let parts: Vec<_> = parts.iter().filter(says_what).map(|part| values(document, part)).collect();
        return parts
            .prop_map(|parts| match parts.iter().all(Value::is_object) {
                true => parts.into_iter().flat_map(|part| part.as_object().unwrap().clone()).collect(),
                false => parts[0].clone(),
            })
            .boxed();
    }
    if let Some(forms) = schema["oneOf"].as_array().or_else(|| schema["anyOf"].as_array()) {
        let forms: Vec<_> = forms.iter().map(|form| values(document, form)).collect();
        return (0..forms.len()).prop_flat_map(move |chosen| forms[chosen].clone()).boxed();
    }
    if schema["nullable"] == true {
        let mut schema = schema.clone();
        schema["nullable"] = false.into();
        return prop_oneof![Just(Value::Null), values(document, &schema)].boxed();
    }
    if let Some(values) = schema["enum"].as_array() {
        return sample::select(values.clone()).boxed();
    }
    match schema["type"].as_str() {
        Some("string") => text().prop_map(Value::from).boxed(),
        Some("null") => Just(Value::Null).boxed(),
        Some("boolean") => any::<bool>().prop_map(Value::from).boxed(),
        Some("integer") => {
            (schema["minimum"].as_f64().map_or(i64::MIN, |least| least as i64)..).prop_map(Value::from).boxed()
        }
        Some("number") => prop_oneof![
            (0..1000_u32).prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(|number| json!(number)).prop_filter("JSON has finite numbers", Value::is_number),
        ]
        .boxed(),
        Some("array") => collection::vec(values(document, &schema["items"]), 0..4).prop_map(Value::from).boxed(),
        Some("object") if schema["properties"].is_object() => object(document, schema),
        Some("object") if schema["additionalProperties"].is_object() => {
            let field = values(document, &schema["additionalProperties"]);
            collection::btree_map(text(), field, 0..4).prop_map(|map| json!(map)).boxed()
        }
        None if schema["properties"].is_object() => object(document, schema),
        None => anything(),
        Some("object") => collection::btree_map(text(), anything(), 0..4).prop_map(|map| json!(map)).boxed(),
        other => panic!("no values of type {other:?}"),
    }
}

/// The described fields, optional ones at random, and sometimes an unknown one.
fn object(document: &Value, schema: &Value) -> BoxedStrategy<Value> {
    let is_required = |name: &str| schema["required"].as_array().is_some_and(|names| names.contains(&name.into()));
    let fields = schema["properties"].as_object().unwrap().iter().map(|(name, field)| {
        let field = values(document, field);
        let field = if is_required(name) { field.prop_map(Some).boxed() } else { option::weighted(0.8, field).boxed() };
        (Just(name.clone()), field)
    });
    let more = option::weighted(0.1, anything()).prop_map(|value| ("added_since".to_owned(), value));
    let fields = (fields.collect::<Vec<_>>(), more);
    let present = |(name, value): (String, Option<Value>)| Some((name, value?));
    fields
        .prop_map(move |(fields, more)| {
            fields.into_iter().chain([more]).filter_map(present).collect::<Map<_, _>>().into()
        })
        .boxed()
}

fn text() -> BoxedStrategy<String> {
    collection::vec(any::<char>(), 0..8).prop_map(|characters| characters.into_iter().collect()).boxed()
}

fn anything() -> BoxedStrategy<Value> {
    prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        text().prop_map(Value::from),
        Just(json!([{}]))
    ]
    .boxed()
}
