//! What a schema allows, and what two schemas allow together.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

/// Keywords without effect on the wire, or with an effect that is compared separately.
const NO_FACTS: [&str; 21] = [
    "$anchor",
    "$comment",
    "$defs",
    "$id",
    "$ref",
    "$schema",
    "additionalProperties",
    "allOf",
    "anyOf",
    "default",
    "description",
    "discriminator",
    "example",
    "externalDocs",
    "items",
    "nullable",
    "oneOf",
    "properties",
    "required",
    "title",
    "xml",
];

/// A schema with everything that it refers to.
#[derive(Clone, Default)]
pub(crate) struct Shape {
    pub(crate) facts: BTreeMap<String, Value>,
    pub(crate) fields: BTreeMap<String, Shape>,
    pub(crate) required: BTreeSet<String>,
    pub(crate) at: String,
    pub(crate) is_tolerant: bool,
}

impl Shape {
    /// A value that does not fit is lost, here and within; so is null, which has no information.
    pub(crate) fn tolerant(mut self) -> Self {
        self.facts.entry("type".to_owned()).and_modify(or_null);
        let fields = self.fields.into_iter().map(|(name, field)| (name, field.tolerant()));
        Self { fields: fields.collect(), is_tolerant: true, ..self }
    }
}

/// The constraints of a schema without its references.
pub(crate) fn own(schema: &Value, at: &str) -> Shape {
    let keywords = schema.as_object().into_iter().flatten();
    let mut facts: BTreeMap<_, _> = keywords
        .filter(|(keyword, _)| !NO_FACTS.contains(&keyword.as_str()) && !keyword.starts_with("x-"))
        .map(|(keyword, value)| (keyword.clone(), value.clone()))
        .collect();
    if let Some(value) = facts.remove("const") {
        facts.insert("enum".to_owned(), json!([value]));
    }
    // Such as `deprecated: false`, which says nothing.
    facts.retain(|_, value| *value != json!(false));
    if let Some(kind) = facts.get_mut("type") {
        *kind = values(set(kind));
    }
    if schema.get("additionalProperties") == Some(&json!(false)) {
        facts.insert("additionalProperties".to_owned(), json!(false));
    }
    let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
    let required = required.filter_map(Value::as_str).map(str::to_owned).collect();
    Shape { facts, required, at: at.to_owned(), ..Shape::default() }
}

/// What both allow.
pub(crate) fn meet(mut left: Shape, right: Shape) -> Shape {
    for (keyword, value) in right.facts {
        let both = match left.facts.get(&keyword) {
            Some(other) if ["type", "enum"].contains(&keyword.as_str()) => {
                values(set(other).intersection(&set(&value)).cloned().collect())
            }
            Some(other) if allows(&keyword, Some(other), Some(&value)) => other.clone(),
            _ => value,
        };
        left.facts.insert(keyword, both);
    }
    for (name, field) in right.fields {
        let both = match left.fields.remove(&name) {
            Some(other) => meet(other, field),
            None => field,
        };
        left.fields.insert(name, both);
    }
    left.required.extend(right.required);
    left.is_tolerant |= right.is_tolerant;
    left
}

/// What either allows.
pub(crate) fn join(mut left: Shape, mut right: Shape) -> Shape {
    let is_null = |shape: &Shape| shape.facts.get("type") == Some(&json!(["null"]));
    if is_null(&left) {
        std::mem::swap(&mut left, &mut right);
    }
    if is_null(&right) {
        left.facts.entry("type".to_owned()).and_modify(or_null);
        return left;
    }
    let facts = left.facts.into_iter().filter_map(|(keyword, value)| {
        let other = right.facts.get(&keyword)?;
        let either = match keyword.as_str() {
            "type" | "enum" => values(set(&value).union(&set(other)).cloned().collect()),
            _ if allows(&keyword, Some(&value), Some(other)) => other.clone(),
            _ if allows(&keyword, Some(other), Some(&value)) => value,
            _ => return None,
        };
        Some((keyword, either))
    });
    left.facts = facts.collect();
    for (name, field) in left.fields {
        let either = match right.fields.remove(&name) {
            Some(other) => join(field, other),
            None => field,
        };
        right.fields.insert(name, either);
    }
    let required = left.required.intersection(&right.required).cloned().collect();
    let is_tolerant = left.is_tolerant || right.is_tolerant;
    Shape { facts: left.facts, fields: right.fields, required, at: left.at, is_tolerant }
}

/// Whether `wide` allows everything that `narrow` does, for one keyword. An absent keyword allows everything.
pub(crate) fn allows(keyword: &str, narrow: Option<&Value>, wide: Option<&Value>) -> bool {
    let (narrow, wide) = match (narrow, wide) {
        (_, None) => return true,
        (None, Some(_)) => return ["deprecated", "additionalProperties"].contains(&keyword),
        (Some(narrow), Some(wide)) => (narrow, wide),
    };
    let number = |value: &Value| value.as_f64().unwrap_or_default();
    match keyword {
        "type" => {
            let wide = set(wide);
            let number = wide.contains("\"number\"");
            set(narrow).iter().all(|kind| wide.contains(kind) || number && kind == "\"integer\"")
        }
        "enum" | "servers" => set(narrow).is_subset(&set(wide)),
        // What is sent beyond the published fields is compared by itself.
        "deprecated" | "additionalProperties" => true,
        "minimum" | "minItems" | "minLength" | "minProperties" => number(narrow) >= number(wide),
        "maximum" | "maxItems" | "maxLength" | "maxProperties" => number(narrow) <= number(wide),
        _ => narrow == wide,
    }
}

/// Lets a type be null as well.
pub(crate) fn or_null(kinds: &mut Value) {
    let mut set = set(kinds);
    set.insert(json!("null").to_string());
    *kinds = values(set);
}

/// The values of a list, or the one value, as JSON texts.
fn set(value: &Value) -> BTreeSet<String> {
    match value {
        Value::Array(values) => values.iter().map(Value::to_string).collect(),
        value => BTreeSet::from([value.to_string()]),
    }
}

fn values(set: BTreeSet<String>) -> Value {
    set.iter().filter_map(|text| serde_json::from_str::<Value>(text).ok()).collect()
}
