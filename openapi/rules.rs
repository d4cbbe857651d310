//! What `queues.json` may state: every bound becomes a constant, which has to be used, and every secret is marked. The
//! build and the refresh use the same lists.

use std::collections::BTreeSet;

use serde_json::Value;

/// The keywords of bounds that become constants, and what each is called in a constant's name.
const BOUNDS: [(&str, &str); 7] = [
    ("minimum", "MIN"),
    ("maximum", "MAX"),
    ("minItems", "MIN_ITEMS"),
    ("maxItems", "MAX_ITEMS"),
    ("minLength", "MIN_LENGTH"),
    ("maxLength", "MAX_LENGTH"),
    ("x-max-bytes", "MAX_BYTES"),
];

/// The other keywords: they bound nothing, or become a type.
const OTHERS: [&str; 15] = [
    "$ref",
    "additionalProperties",
    "allOf",
    "description",
    "enum",
    "format",
    "items",
    "nullable",
    "oneOf",
    "properties",
    "required",
    "type",
    "x-reads",
    "x-secret",
    "x-tolerant",
];

/// The formats that choose the Rust type of a number.
const FORMATS: [&str; 6] = ["int32", "int64", "uint32", "uint64", "float", "double"];

/// Parts of the names that secrets have.
const SECRET_WORDS: [&str; 8] =
    ["credential", "key", "passphrase", "passwd", "password", "secret", "signature", "token"];

/// The keyword by which Cloudflare marks secrets, besides those of OpenAPI.
pub const SENSITIVE: &str = "x-sensitive";

/// Fields that are called like secrets, and why they are none.
const NO_SECRETS: [(&str, &str); 0] = [];

/// What the document states.
#[derive(Debug, Default)]
pub struct Stated {
    /// The bounds, each with the name of its constant.
    pub bounds: Vec<(String, u64)>,
    /// The fields that hold a secret.
    pub secrets: BTreeSet<String>,
    /// What breaks a rule.
    pub faults: Vec<String>,
}

/// Reads the bounds and secrets of a document.
pub fn stated(document: &Value) -> Stated {
    let schemas = document.pointer("/components/schemas").unwrap_or(&Value::Null);
    let mut reader = Reader { schemas, stated: Stated::default() };
    for (name, schema) in schemas.as_object().into_iter().flatten() {
        let at = format!("/components/schemas/{name}");
        reader.schema(schema, &at, Some(name));
        if schema.get("x-secret").is_some_and(|secret| *secret != true) {
            reader.fault(&at, "`x-secret` is true, or left out");
        }
        if schema.get("properties").is_none() && schema.get("type").is_none_or(|kind| kind == "string") {
            reader.secret(name, schema, &at);
        }
    }
    for (part, content) in document.as_object().into_iter().flatten() {
        reader.others(content, &format!("/{part}"));
    }
    reader.stated
}

/// Whether the document can state this keyword.
pub fn is_stated(keyword: &str) -> bool {
    BOUNDS.iter().any(|(bound, _)| *bound == keyword) || OTHERS.contains(&keyword)
}

/// Whether a name is one that secrets have.
pub fn is_named_like_a_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET_WORDS.iter().any(|word| name.contains(word)) && !NO_SECRETS.iter().any(|(other, _)| *other == name)
}

/// Whether a schema says by itself that its value is a secret.
pub fn is_described_like_a_secret(schema: &Value) -> bool {
    schema.get("format").is_some_and(|format| format == "password")
        || ["writeOnly", SENSITIVE].iter().any(|keyword| schema.get(*keyword).is_some_and(|only| *only == true))
}

struct Reader<'a> {
    schemas: &'a Value,
    stated: Stated,
}

impl Reader<'_> {
    fn fault(&mut self, at: &str, words: &str) {
        self.stated.faults.push(format!("openapi/queues.json#{at}: {words}"));
    }

    /// `name` begins the constants' names. Schemas within a list or an alternative have none.
    fn schema(&mut self, schema: &Value, at: &str, name: Option<&str>) {
        for (keyword, value) in schema.as_object().into_iter().flatten() {
            let bound = BOUNDS.iter().find(|(bound, _)| bound == keyword);
            match (bound, keyword.as_str()) {
                (Some((_, suffix)), _) => match (name, value.as_u64()) {
                    (Some(name), Some(value)) => {
                        self.stated.bounds.push((format!("{}_{suffix}", snake_case(name).to_uppercase()), value));
                    }
                    (None, _) => self.fault(at, &format!("`{keyword}` is checked only in a component, or its field")),
                    (_, None) => self.fault(at, &format!("`{keyword}` is checked only if it is a whole number")),
                },
                (_, "x-secret") if at.matches('/').count() != 3 => {
                    self.fault(at, "`x-secret` is for a component, to which the field refers");
                }
                (_, "format") if !FORMATS.iter().any(|format| value == format) => {
                    self.fault(at, &format!("nothing checks the format {value}"));
                }
                (_, "additionalProperties") if *value == false => {
                    self.fault(at, "nothing checks `additionalProperties: false`");
                }
                (None, keyword) if !is_stated(keyword) => {
                    self.fault(at, &format!("no check is made of `{keyword}`"));
                }
                _ => {}
            }
        }
        for (field, content) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let at = format!("{at}/properties/{field}");
            let is_component = at.matches('/').count() == 5;
            let name = name.filter(|_| is_component).map(|name| format!("{name}_{field}"));
            self.schema(content, &at, name.as_deref());
            self.secret(field, content, &at);
        }
        for keyword in ["items", "additionalProperties"] {
            schema.get(keyword).into_iter().for_each(|part| self.schema(part, &format!("{at}/{keyword}"), None));
        }
        for keyword in ["allOf", "oneOf"] {
            for (index, part) in schema.get(keyword).and_then(Value::as_array).into_iter().flatten().enumerate() {
                self.schema(part, &format!("{at}/{keyword}/{index}"), None);
            }
        }
    }

    /// Notes a field that is secret, or finds that it should be.
    fn secret(&mut self, name: &str, schema: &Value, at: &str) {
        if schema.get("x-secret").is_some() {
        } else if self.is_secret(schema) {
            self.stated.secrets.insert(name.to_owned());
        } else if is_named_like_a_secret(name) || is_described_like_a_secret(schema) {
            let words = "looks like a secret: let it refer to a component with `x-secret`, or give the reason why it \
                         is none in `NO_SECRETS` of openapi/rules.rs";
            self.fault(at, words);
        }
    }

    fn is_secret(&self, schema: &Value) -> bool {
        let name = schema.get("$ref").and_then(Value::as_str).and_then(|reference| reference.rsplit('/').next());
        let component = name.and_then(|name| self.schemas.get(name));
        let parts = ["allOf", "oneOf"].iter().filter_map(|keyword| schema.get(*keyword)?.as_array()).flatten();
        component.is_some_and(|component| component.get("x-secret").is_some())
            || parts.chain(schema.get("items")).any(|part| self.is_secret(part))
    }

    /// Everything that is no component: only a parameter that is a component has constants.
    fn others(&mut self, value: &Value, at: &str) {
        match value {
            _ if at == "/components/schemas" => {}
            Value::Object(fields) => {
                if let Some(schema) = fields.get("schema") {
                    let name = at.strip_prefix("/components/parameters/");
                    self.schema(schema, &format!("{at}/schema"), name);
                    let parameter = fields.get("name").and_then(Value::as_str);
                    parameter.into_iter().for_each(|name| self.secret(name, schema, at));
                }
                fields.iter().for_each(|(key, value)| self.others(value, &format!("{at}/{key}")));
            }
            Value::Array(values) => values.iter().for_each(|value| self.others(value, at)),
            _ => {}
        }
    }
}

/// `PullPayload` is `pull_payload`.
pub fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for character in name.chars() {
        if character.is_uppercase() && !snake.is_empty() && !snake.ends_with('_') {
            snake.push('_');
        }
        snake.push(character.to_ascii_lowercase());
    }
    snake
}
