//! What a schema allows, and what two schemas allow together.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::rules;

/// Keywords without effect on the wire, or with an effect that is compared separately.
const NO_FACTS: [&str; 22] = [
    "$anchor",
    "$comment",
    "$defs",
    "$id",
    "$ref",
    "$schema",
    "additionalProperties",
    "allOf",
    "anyOf",
    "definitions",
    "description",
    "discriminator",
    "example",
    "examples",
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
    /// What alternatives that are objects require, each as a text. One text if all require the same.
    pub(crate) variants: BTreeSet<String>,
    pub(crate) at: String,
    pub(crate) is_tolerant: bool,
    /// Whether the schema says that the value is a secret.
    pub(crate) is_secret: bool,
}

impl Shape {
    /// A value that does not fit is lost, here and within; so is null, which has no information.
    pub(crate) fn tolerant(mut self) -> Self {
        self.facts.entry("type".to_owned()).and_modify(or_null);
        let fields = self.fields.into_iter().map(|(name, field)| (name, field.tolerant()));
        Self { fields: fields.collect(), is_tolerant: true, ..self }
    }

    /// Whether only some alternatives of what it is a field of have it.
    fn is_partial(&self) -> bool {
        self.facts.contains_key("partial")
    }

    fn partial(mut self) -> Self {
        self.facts.insert("partial".to_owned(), json!(true));
        self
    }

    /// What the alternatives of an object require, or the one form of it.
    fn variants(&self) -> BTreeSet<String> {
        let is_object = self.facts.get("type").is_some_and(|kinds| set(kinds).contains("\"object\""));
        if !self.variants.is_empty() || !is_object {
            return self.variants.clone();
        }
        let mut required: Vec<_> = self.required.iter().map(String::as_str).collect();
        let others = self.facts.iter().filter(|(keyword, _)| !["type", "enum", "partial"].contains(&keyword.as_str()));
        let others: Vec<_> = others.map(|(keyword, value)| format!("{keyword} {value}")).collect();
        required.extend(others.iter().map(String::as_str));
        BTreeSet::from([format!("({})", required.join(" "))])
    }
}

/// The constraints of a schema without its references.
pub(crate) fn own(schema: &Value, at: &str) -> Shape {
    if *schema == json!(false) {
        // No value at all.
        let facts = BTreeMap::from([("type".to_owned(), json!([]))]);
        return Shape { facts, at: at.to_owned(), ..Shape::default() };
    }
    let keywords = schema.as_object().into_iter().flatten();
    let mut facts: BTreeMap<_, _> = keywords
        .filter(|(keyword, _)| {
            let is_extension = keyword.starts_with("x-") && *keyword != rules::SENSITIVE;
            !NO_FACTS.contains(&keyword.as_str()) && !is_extension
        })
        .map(|(keyword, value)| (keyword.clone(), plain(value)))
        .collect();
    for (bound, other, word) in [("maximum", "exclusiveMaximum", "below"), ("minimum", "exclusiveMinimum", "above")] {
        let exclusive = match facts.remove(other) {
            // So OpenAPI 3.0 says it, where the bound itself is next to it.
            Some(Value::Bool(true)) => facts.remove(bound),
            Some(Value::Bool(false)) | None => None,
            number => number,
        };
        if let Some(number) = exclusive {
            let exclusive = json!(format!("{word} {number}"));
            if allows(bound, Some(&exclusive), facts.get(bound)) {
                facts.insert(bound.to_owned(), exclusive);
            }
        }
    }
    if let Some(name) = schema.pointer("/discriminator/propertyName").and_then(Value::as_str) {
        let mapping = schema.pointer("/discriminator/mapping").and_then(Value::as_object);
        let values: Vec<_> = mapping.into_iter().flat_map(|mapping| mapping.keys()).map(String::as_str).collect();
        let values = if values.is_empty() { String::new() } else { format!(" ({})", values.join(", ")) };
        facts.insert("discriminator".to_owned(), json!(format!("{name}{values}")));
    }
    if let Some(value) = facts.remove("const") {
        facts.insert("enum".to_owned(), json!([value]));
    }
    // Such as `deprecated: false` and `minLength: 0`, which say nothing.
    let counts = ["minItems", "minLength", "minProperties"];
    facts.retain(|keyword, value| match keyword.as_str() {
        "default" => true,
        keyword => *value != false && !(counts.contains(&keyword) && *value == 0),
    });
    // The values have types.
    let of_values = facts.get("enum").and_then(Value::as_array).map(|values| values.iter().map(kind).collect());
    if let Some(kind) = facts.get("type").cloned().or(of_values) {
        facts.insert("type".to_owned(), values(set(&kind)));
    }
    if ["additionalProperties", "unevaluatedProperties"].iter().any(|other| schema.get(*other) == Some(&json!(false))) {
        facts.insert("additionalProperties".to_owned(), json!(false));
    }
    let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
    let required = required.filter_map(Value::as_str).map(str::to_owned).collect();
    let is_secret = schema.get("x-secret").is_some() || rules::is_described_like_a_secret(schema);
    Shape { facts, required, at: at.to_owned(), is_secret, ..Shape::default() }
}

/// The type of a value.
fn kind(value: &Value) -> Value {
    json!(match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    })
}

/// A value in which 5.0 is 5.
fn plain(value: &Value) -> Value {
    match value {
        Value::Number(number) => {
            let whole = number.as_f64().filter(|number| number.fract() == 0.0 && number.abs() < 1e15);
            whole.map_or_else(|| value.clone(), |number| json!(number as i64))
        }
        Value::Array(values) => values.iter().map(plain).collect(),
        Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), plain(value))).collect(),
        value => value.clone(),
    }
}

/// A bound of whole numbers that is exclusive, as the inclusive one.
pub(crate) fn inclusive(facts: &mut BTreeMap<String, Value>) {
    if facts.get("type") == Some(&json!(["integer"])) {
        for bound in ["maximum", "minimum"] {
            let Some((number, side)) = facts.get(bound).filter(|bound| bound.is_string()).map(number) else { continue };
            let number = if side < 0 { number.ceil() - 1.0 } else { number.floor() + 1.0 };
            facts.insert(bound.to_owned(), plain(&json!(number)));
        }
    }
}

/// A bound, and -1 or 1 if a value has to be below or above it.
fn number(bound: &Value) -> (f64, i8) {
    let text = bound.as_str().unwrap_or_default();
    let side = if text.starts_with("below") { -1 } else { i8::from(text.starts_with("above")) };
    let number = text.split(' ').nth(1).and_then(|number| number.parse().ok());
    (number.or(bound.as_f64()).unwrap_or_default(), side)
}

/// What both allow.
pub(crate) fn meet(mut left: Shape, right: Shape) -> Shape {
    let is_partial = left.is_partial() && right.is_partial();
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
    if !is_partial {
        left.facts.remove("partial");
    }
    for (name, field) in right.fields {
        let both = match left.fields.remove(&name) {
            Some(other) => meet(other, field),
            None => field,
        };
        left.fields.insert(name, both);
    }
    left.required.extend(right.required);
    left.variants.extend(right.variants);
    left.is_tolerant |= right.is_tolerant;
    left.is_secret |= right.is_secret;
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
    let variants = left.variants().into_iter().chain(right.variants()).collect();
    // What is stated of the values of one type holds next to a type that has none of them.
    let are_disjoint = match (left.facts.get("type"), right.facts.get("type")) {
        (Some(left), Some(right)) => kinds(left).is_disjoint(&kinds(right)),
        _ => false,
    };
    let mut facts = BTreeMap::new();
    for (keyword, value) in left.facts {
        let either = match (keyword.as_str(), right.facts.remove(&keyword)) {
            ("type" | "enum", Some(other)) => values(set(&value).union(&set(&other)).cloned().collect()),
            (_, Some(other)) if allows(&keyword, Some(&value), Some(&other)) => other,
            (_, Some(other)) if allows(&keyword, Some(&other), Some(&value)) => value,
            (_, Some(other)) if are_disjoint => values(set(&value).union(&set(&other)).cloned().collect()),
            ("type" | "enum", None) => continue,
            (_, None) if are_disjoint => value,
            _ => continue,
        };
        facts.insert(keyword, either);
    }
    facts.extend(right.facts.into_iter().filter(|(keyword, _)| are_disjoint && keyword != "enum"));
    let mut fields = BTreeMap::new();
    for (name, field) in left.fields {
        let either = match right.fields.remove(&name) {
            Some(other) if field.is_partial() || other.is_partial() => join(field, other).partial(),
            Some(other) => join(field, other),
            None => field.partial(),
        };
        fields.insert(name, either);
    }
    fields.extend(right.fields.into_iter().map(|(name, field)| (name, field.partial())));
    let required = left.required.intersection(&right.required).cloned().collect();
    let is_tolerant = left.is_tolerant || right.is_tolerant;
    let is_secret = left.is_secret || right.is_secret;
    Shape { facts, fields, required, variants, at: left.at, is_tolerant, is_secret }
}

/// What is stated without restricting a value.
const REMARKS: [&str; 8] =
    ["allowEmptyValue", "default", "deprecated", "discriminator", "name", "partial", rules::SENSITIVE, "writeOnly"];

/// Whether `wide` allows everything that `narrow` does, for one keyword. An absent keyword allows everything.
pub(crate) fn allows(keyword: &str, narrow: Option<&Value>, wide: Option<&Value>) -> bool {
    let (narrow, wide) = match (narrow, wide) {
        // What is sent beyond the published fields is compared by itself.
        _ if REMARKS.contains(&keyword) => return true,
        // Otherwise than usual.
        (Some(_), None) if ["allowReserved", "explode", "style"].contains(&keyword) => return false,
        (_, None) => return true,
        // Numbers are sent as integers.
        (None, Some(wide)) if keyword == "multipleOf" => return (1.0 / number(wide).0).fract() == 0.0,
        (None, Some(wide)) => return keyword == "format" && wide == "password",
        (Some(narrow), Some(wide)) => (narrow, wide),
    };
    match keyword {
        "type" => {
            let wide = kinds(wide);
            set(narrow).iter().all(|kind| wide.contains(kind))
        }
        "enum" | "servers" => set(narrow).is_subset(&set(wide)),
        // Each alternative is enough, and none means that nothing is required.
        "security" => set(narrow).is_subset(&set(wide)) || set(wide).is_empty(),
        "format" => {
            narrow == wide || wide == "password" || narrow == "uint32" && FORMATS_OF_NUMBERS.contains(&wide.as_str())
        }
        "minimum" | "minItems" | "minLength" | "minProperties" => number(narrow) >= number(wide),
        "maximum" | "maxItems" | "maxLength" | "maxProperties" => number(narrow) <= number(wide),
        "multipleOf" => {
            let times = number(narrow).0 / number(wide).0;
            times.fract() == 0.0
        }
        _ => narrow == wide,
    }
}

/// Which hold every number that is sent.
const FORMATS_OF_NUMBERS: [Option<&str>; 5] =
    [Some("int32"), Some("int64"), Some("uint64"), Some("float"), Some("double")];

/// The types, with `integer` wherever there is `number`.
fn kinds(value: &Value) -> BTreeSet<String> {
    let mut kinds = set(value);
    if kinds.contains("\"number\"") {
        kinds.insert("\"integer\"".to_owned());
    }
    kinds
}

/// Lets a type be null as well.
pub(crate) fn or_null(kinds: &mut Value) {
    let mut set = set(kinds);
    set.insert(json!("null").to_string());
    *kinds = values(set);
}

/// Lets a type not be null.
pub(crate) fn not_null(kinds: &mut Value) {
    let mut set = set(kinds);
    set.remove(&json!("null").to_string());
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
