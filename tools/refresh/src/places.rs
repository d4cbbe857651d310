//! The content of a document's operations, place by place: the form in which two documents are compared.
//!
//! A place is an operation's parameter, or a field of its request or of a response, such as `request /acks/*/lease_id`;
//! its facts are the keywords that constrain its value. References are resolved, `allOf` is merged, and `oneOf` and
//! `anyOf` become their union. Which alternatives belong together is lost, so the layout of a document does not matter.
//! Path parameters are identified by position, so their names do not matter.
//!
//! `x-reads` in `openapi/queues.json` replaces its schema: a generated type may accept any JSON where the code reads
//! only numbers.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::shape::{Shape, join, meet, or_null, own};

/// The places of every operation, by `POST /path` without the names of parameters.
pub type Operations = BTreeMap<String, Operation>;

/// The parts of requests and responses.
#[derive(Clone, Debug, Default)]
pub struct Operation {
    pub(crate) id: String,
    /// As `POST /path`.
    pub(crate) name: String,
    /// By name, such as `request /acks/*/lease_id`.
    pub places: BTreeMap<String, Place>,
}

/// What is allowed at a place.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Place {
    /// By keyword.
    pub facts: BTreeMap<String, Value>,
    /// Where in the document it is described, as a JSON pointer.
    pub(crate) at: String,
    /// Whether a value that does not fit is lost without affecting others.
    pub(crate) is_tolerant: bool,
}

const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

/// Every operation of a document, with its path and method.
pub(crate) fn paths(document: &Value) -> impl Iterator<Item = (&str, &str, &Value)> {
    let items = document.get("paths").and_then(Value::as_object).into_iter().flatten();
    items.flat_map(|(path, item)| {
        METHODS.iter().filter_map(move |method| Some((path.as_str(), *method, item.get(method)?)))
    })
}

/// The operation of a document at this path, whatever the path's parameters are called there.
pub fn find<'a>(document: &'a Value, path: &str, method: &str) -> Option<&'a Value> {
    let wanted = key(path, method);
    paths(document).find(|(path, method, _)| key(path, method) == wanted).map(|(.., operation)| operation)
}

pub(crate) fn name(path: &str, method: &str) -> String {
    format!("{} {path}", method.to_uppercase())
}

/// The name without those of the path's parameters.
pub(crate) fn key(path: &str, method: &str) -> String {
    let mut key = name("", method);
    let mut is_within = false;
    for character in path.chars() {
        is_within &= character != '}';
        if !is_within {
            key.push(character);
        }
        is_within |= character == '{';
    }
    key
}

/// What a reference within a document leads to, as a JSON pointer. Bundlers escape the braces of a path.
pub fn pointer(reference: &str) -> Option<String> {
    let pointer = reference.strip_prefix('#')?;
    Some(["{", "}"].iter().zip(["%7B", "%7D"]).fold(pointer.to_owned(), |pointer, (brace, escaped)| {
        pointer.replace(escaped, brace).replace(&escaped.to_lowercase(), brace)
    }))
}

/// The media type without its parameters. Names of media types do not depend on case.
pub fn media_type(key: &str) -> String {
    key.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// The part of a path that all operations on the same thing begin with, such as `/accounts/{}/queues`.
pub(crate) fn group(path: &str) -> String {
    key(path, "").split('/').take(4).collect::<Vec<_>>().join("/")
}

/// The operations of a document.
///
/// # Errors
///
/// A text, if a reference leads nowhere or in a circle.
pub fn read(document: &Value) -> Result<Operations, String> {
    let mut operations = Operations::new();
    for (path, method, operation) in paths(document) {
        let name = name(path, method);
        let at = format!("/paths/{}", escaped(path));
        let read = Reader { document }.operation(path, &format!("{at}/{method}"), operation);
        let read = read.map_err(|error| format!("{name}: {error}"))?;
        operations.insert(key(path, method), Operation { name, ..read });
    }
    Ok(operations)
}

struct Reader<'a> {
    document: &'a Value,
}

impl Reader<'_> {
    fn operation(&self, path: &str, at: &str, value: &Value) -> Result<Operation, String> {
        let id = text(value, "operationId");
        let mut places = BTreeMap::new();
        let mut place = |place: &str, facts: &[(&str, Value)], at: String| {
            let facts = facts.iter().map(|(keyword, value)| ((*keyword).to_owned(), value.clone())).collect();
            places.insert(place.to_owned(), Place { facts, at, ..Place::default() });
        };
        let mut facts = vec![("operationId", json!(id))];
        facts.extend((value.get("deprecated") == Some(&json!(true))).then_some(("deprecated", json!(true))));
        place("operation", &facts, at.to_owned());
        if let Some(security) = value.get("security").or_else(|| self.document.get("security")) {
            let facts = [("security", self.security(security)), ("required", json!(true))];
            place("request security", &facts, format!("{at}/security"));
        }
        let item = self.document.pointer(&format!("/paths/{}", escaped(path))).unwrap_or(&Value::Null);
        let servers: Vec<_> = [value, item, self.document].iter().find_map(|of| servers(of)).unwrap_or_default();
        if !servers.is_empty() {
            place("request server", &[("servers", json!(servers))], "/servers".to_owned());
        }
        let shared = item.get("parameters");
        for parameter in shared.into_iter().chain(value.get("parameters")).filter_map(Value::as_array).flatten() {
            let (parameter, at) = self.resolve(parameter, at.to_owned())?;
            let name = text(parameter, "name");
            let number = path.split('{').position(|rest| rest.split('}').next() == Some(&name));
            let name = number.map_or(name, |number| number.to_string());
            let place = format!("request {} {name}", text(parameter, "in"));
            self.schema(parameter, &at, &place, parameter.get("required"), &mut places)?;
        }
        if let Some(body) = value.get("requestBody") {
            self.body(body, &format!("{at}/requestBody"), "request", &mut places)?;
        }
        for (status, response) in value.get("responses").and_then(Value::as_object).into_iter().flatten() {
            let (place, known) = (format!("response {status}"), places.len());
            self.body(response, &format!("{at}/responses/{status}"), &place, &mut places)?;
            if places.len() == known {
                places.insert(place, Place::default());
            }
        }
        Ok(Operation { id, places, ..Operation::default() })
    }

    /// The required credentials, each alternative as a text.
    fn security(&self, security: &Value) -> Value {
        let scheme = |name: &String| {
            let scheme = self.document.pointer(&format!("/components/securitySchemes/{}", escaped(name)));
            let of = |key| scheme.map(|scheme| text(scheme, key)).filter(|text| !text.is_empty());
            let words: Vec<_> = ["type", "scheme", "in", "name"].into_iter().filter_map(of).collect();
            if words.is_empty() { name.clone() } else { format!("{name} ({})", words.join(" ")) }
        };
        let alternatives = security.as_array().into_iter().flatten().filter_map(Value::as_object);
        alternatives.map(|all| json!(all.keys().map(scheme).collect::<Vec<_>>().join(" and "))).collect()
    }

    fn body(&self, body: &Value, at: &str, place: &str, places: &mut BTreeMap<String, Place>) -> Result<(), String> {
        let (body, at) = self.resolve(body, at.to_owned())?;
        for (key, content) in body.get("content").and_then(Value::as_object).into_iter().flatten() {
            let at = format!("{at}/content/{}", escaped(key));
            match media_type(key).as_str() {
                "application/json" => self.schema(content, &at, place, body.get("required"), places)?,
                // Another form of the same body, which is never required.
                other => self.schema(content, &at, &format!("{place} {other}"), None, places)?,
            }
        }
        Ok(())
    }

    fn schema(
        &self,
        holder: &Value,
        at: &str,
        place: &str,
        required: Option<&Value>,
        places: &mut BTreeMap<String, Place>,
    ) -> Result<(), String> {
        let schema = holder.get("schema").unwrap_or(&Value::Null);
        let shape = self.shape(schema, format!("{at}/schema"), 0, &mut Vec::new())?;
        flatten(shape, place.to_owned(), required == Some(&Value::Bool(true)), places);
        Ok(())
    }

    /// What a reference leads to, and where that is.
    fn resolve<'a>(&'a self, value: &'a Value, at: String) -> Result<(&'a Value, String), String> {
        let Some(reference) = value.get("$ref").and_then(Value::as_str) else { return Ok((value, at)) };
        let nowhere = || format!("{reference} leads nowhere");
        let pointer = pointer(reference).ok_or_else(nowhere)?;
        let found = self.document.pointer(&pointer).ok_or_else(nowhere)?;
        Ok((found, pointer))
    }

    /// `trail` holds the references on the way here, each with its depth in fields.
    fn shape(
        &self,
        schema: &Value,
        at: String,
        depth: usize,
        trail: &mut Vec<(String, usize)>,
    ) -> Result<Shape, String> {
        let mut shape = match schema.get("$ref") {
            None => self.parts(schema, at, depth, trail)?,
            // OpenAPI 3.1 lets other keywords stand beside a reference.
            Some(_) => meet(self.referred(schema, at.clone(), depth, trail)?, self.parts(schema, at, depth, trail)?),
        };
        if schema.get("nullable") == Some(&json!(true)) {
            shape.facts.entry("type".to_owned()).and_modify(or_null);
        }
        Ok(shape)
    }

    fn referred(
        &self,
        schema: &Value,
        at: String,
        depth: usize,
        trail: &mut Vec<(String, usize)>,
    ) -> Result<Shape, String> {
        let (found, at) = self.resolve(schema, at)?;
        if let Some((_, since)) = trail.iter().find(|(passed, _)| *passed == at) {
            if *since == depth {
                return Err(format!("#{at} refers to itself in a circle"));
            }
            // A tree of itself, such as an error with its causes, is described once.
            let facts = BTreeMap::from([("like".to_owned(), json!(format!("{} levels above", depth - since)))]);
            return Ok(Shape { facts, at, ..Shape::default() });
        }
        trail.push((at.clone(), depth));
        let shape = self.shape(found, at, depth, trail);
        trail.pop();
        shape
    }

    /// What a schema says without its reference.
    fn parts(
        &self,
        schema: &Value,
        at: String,
        depth: usize,
        trail: &mut Vec<(String, usize)>,
    ) -> Result<Shape, String> {
        if let Some(reads) = schema.get("x-reads") {
            return Ok(self.shape(reads, format!("{at}/x-reads"), depth, trail)?.tolerant());
        }
        let mut shape = own(schema, &at);
        for (name, field) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let at = format!("{at}/properties/{}", escaped(name));
            shape.fields.insert(name.clone(), self.shape(field, at, depth + 1, trail)?);
        }
        for keyword in ["items", "additionalProperties"] {
            // An empty schema says nothing of what may stand there.
            if let Some(field) =
                schema.get(keyword).filter(|field| field.as_object().is_some_and(|map| !map.is_empty()))
            {
                shape.fields.insert("*".to_owned(), self.shape(field, format!("{at}/{keyword}"), depth + 1, trail)?);
            }
        }
        for (keyword, all) in [("allOf", true), ("oneOf", false), ("anyOf", false)] {
            let mut merged: Option<Shape> = None;
            for (index, part) in schema.get(keyword).and_then(Value::as_array).into_iter().flatten().enumerate() {
                let part = self.shape(part, format!("{at}/{keyword}/{index}"), depth, trail)?;
                merged = Some(match merged {
                    None => part,
                    Some(before) if all => meet(before, part),
                    Some(before) => join(before, part),
                });
            }
            shape = merged.into_iter().fold(shape, meet);
        }
        Ok(if schema.get("x-tolerant") == Some(&Value::Bool(true)) { shape.tolerant() } else { shape })
    }
}

fn flatten(shape: Shape, place: String, required: bool, places: &mut BTreeMap<String, Place>) {
    let mut facts = shape.facts;
    if required {
        facts.insert("required".to_owned(), json!(true));
    }
    // What only one side decides is no part of what the other sends.
    let other = if place.starts_with("request") { "readOnly" } else { "writeOnly" };
    for (name, field) in shape.fields.into_iter().filter(|(_, field)| field.facts.get(other) != Some(&json!(true))) {
        let separator = if place.contains(" /") { "/" } else { " /" };
        flatten(field, format!("{place}{separator}{name}"), shape.required.contains(&name), places);
    }
    facts.retain(|keyword, _| !["readOnly", "writeOnly"].contains(&keyword.as_str()));
    places.insert(place, Place { facts, at: shape.at, is_tolerant: shape.is_tolerant });
}

/// The addresses of the servers of a document, a path or an operation.
fn servers(of: &Value) -> Option<Vec<String>> {
    let address = |server: &Value| {
        let variables = server.get("variables").and_then(Value::as_object).into_iter().flatten();
        let address = variables.fold(text(server, "url"), |url, (name, variable)| {
            url.replace(&format!("{{{name}}}"), &text(variable, "default"))
        });
        address.trim_end_matches('/').to_owned()
    };
    Some(of.get("servers")?.as_array()?.iter().map(address).collect())
}

fn text(value: &Value, key: &str) -> String {
    value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn escaped(segment: &str) -> String {
    segment.replace('~', "~0").replace('/', "~1")
}
