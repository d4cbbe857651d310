//! The content of a document's operations, place by place: the form in which two documents are compared.
//!
//! A place is an operation's parameter, or a field of its request or of a response, such as `request /acks/*/lease_id`;
//! its facts are the keywords that constrain its value. References are resolved, `allOf` is merged, and `oneOf` and
//! `anyOf` become their union. Which alternatives belong together is lost, so the layout of a document does not matter.
//! Path parameters are identified by position, and their names are facts.
//!
//! `x-reads` in `openapi/queues.json` replaces its schema: a generated type may accept any JSON where the code reads
//! only numbers.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use crate::{
    compare::within,
    shape::{Shape, inclusive, join, meet, not_null, or_null, own},
};

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
    /// Whether it is marked as a secret.
    pub(crate) is_secret: bool,
}

const JSON: &str = "application/json";
pub(crate) const METHODS: [&str; 9] = ["get", "put", "post", "delete", "options", "head", "patch", "trace", "query"];

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

/// What a reference within a document leads to, as a JSON pointer. As a part of a URL, it may be percent-encoded.
pub fn pointer(reference: &str) -> Option<String> {
    let mut parts = reference.strip_prefix('#')?.split('%');
    let mut decoded = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        match part.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => decoded.extend([&[byte], part.get(2..).unwrap_or_default().as_bytes()].concat()),
            None => decoded.extend(format!("%{part}").as_bytes()),
        }
    }
    String::from_utf8(decoded).ok()
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
            let (parameter, at) = self.resolve_all(parameter, at.to_owned())?;
            self.parameter(path, parameter, &at, &mut places)?;
        }
        if let Some(body) = value.get("requestBody") {
            self.body(body, &format!("{at}/requestBody"), "request", &mut places)?;
        }
        let responses = value.get("responses").and_then(Value::as_object);
        let has_success = responses.is_some_and(|responses| responses.keys().any(|status| status.starts_with('2')));
        for (status, response) in responses.into_iter().flatten().filter(|(status, _)| !status.starts_with("x-")) {
            let at = format!("{at}/responses/{status}");
            let mut status = status.replace("xx", "XX");
            if status == "2XX" && !responses.is_some_and(|responses| responses.contains_key("200")) {
                // 200 is one of them.
                places.insert("response 2XX".to_owned(), Place::default());
                status = "200".to_owned();
            }
            if status == "default" && !has_success {
                self.response(response, &at, "response 200", &mut places)?;
            }
            self.response(response, &at, &format!("response {status}"), &mut places)?;
        }
        if let (Some(operation), Some(callbacks)) = (places.get_mut("operation"), value.get("callbacks")) {
            operation.facts.insert("callbacks".to_owned(), names(callbacks));
        }
        Ok(Operation { id, places, ..Operation::default() })
    }

    /// The required credentials, each alternative as a text. What a scheme is called matters only if nothing else tells
    /// it from others.
    fn security(&self, security: &Value) -> Value {
        let scheme = |name: &String| {
            let scheme = self.document.pointer(&format!("/components/securitySchemes/{}", escaped(name)));
            let of = |key| scheme.map(|scheme| text(scheme, key)).filter(|text| !text.is_empty());
            let is_header = of("in").is_some_and(|place| place == "header");
            let words = ["type", "scheme", "in", "name"].into_iter().filter_map(|key| match of(key)? {
                word if key == "scheme" || key == "name" && is_header => Some(word.to_ascii_lowercase()),
                word => Some(word),
            });
            let words: Vec<_> = words.collect();
            let words = words.join(" ");
            if words.contains(' ') { words } else { format!("{name} {words}").trim_end().to_owned() }
        };
        let with_scopes = |(name, scopes): (&String, &Value)| {
            let scopes: Vec<_> = scopes.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            let scopes = if scopes.is_empty() { String::new() } else { format!(" for {}", scopes.join(" ")) };
            scheme(name) + &scopes
        };
        let alternatives = security.as_array().into_iter().flatten().filter_map(Value::as_object);
        let alternative = |all: &Map<String, Value>| {
            let mut schemes: Vec<_> = all.iter().map(with_scopes).collect();
            schemes.sort();
            schemes.join(" and ")
        };
        let mut alternatives: Vec<_> = alternatives.map(alternative).collect();
        alternatives.sort();
        // One that requires nothing is enough.
        if alternatives.iter().any(String::is_empty) {
            alternatives.clear();
        }
        json!(alternatives)
    }

    fn parameter(
        &self,
        path: &str,
        parameter: &Value,
        at: &str,
        places: &mut BTreeMap<String, Place>,
    ) -> Result<(), String> {
        let (within, name) = (text(parameter, "in"), text(parameter, "name"));
        let is_path = within == "path";
        let place = match within.as_str() {
            "path" => match path.split('{').position(|rest| rest.split('}').next() == Some(&name)) {
                Some(number) => format!("request path {number}"),
                // It is in no part of the path.
                None => return Ok(()),
            },
            "header" => {
                let name = name.to_ascii_lowercase();
                // Those that a parameter cannot describe.
                if ["accept", "authorization", "content-type"].contains(&name.as_str()) {
                    return Ok(());
                }
                format!("request header {name}")
            }
            within => format!("request {within} {name}"),
        };
        // An operation's own parameter replaces that of its path.
        places.retain(|known, _| {
            known.strip_prefix(&place).is_none_or(|rest| !rest.is_empty() && !rest.starts_with(" /"))
        });
        let found = self.schema(parameter, at, &place, parameter.get("required"), places)?;
        let style = if is_path || within == "header" { "simple" } else { "form" };
        let explode = parameter.get("style").map_or(style == "form", |style| style == "form");
        for (keyword, usual) in [
            ("style", json!(style)),
            ("explode", json!(explode)),
            ("allowEmptyValue", json!(false)),
            ("allowReserved", json!(false)),
            ("deprecated", json!(false)),
        ] {
            let value = parameter.get(keyword).filter(|value| **value != usual);
            found.facts.extend(value.map(|value| (keyword.to_owned(), value.clone())));
        }
        found.facts.extend(is_path.then(|| ("name".to_owned(), json!(name))));
        Ok(())
    }

    fn response(
        &self,
        value: &Value,
        at: &str,
        place: &str,
        places: &mut BTreeMap<String, Place>,
    ) -> Result<(), String> {
        let known = places.len();
        self.body(value, at, place, places)?;
        if places.len() == known {
            let facts = BTreeMap::from([("body".to_owned(), json!("none"))]);
            places.insert(place.to_owned(), Place { facts, at: at.to_owned(), ..Place::default() });
        }
        let (response, at) = self.resolve_all(value, at.to_owned())?;
        for (name, header) in response.get("headers").and_then(Value::as_object).into_iter().flatten() {
            let (name, at) = (name.to_ascii_lowercase(), format!("{at}/headers/{}", escaped(name)));
            let (header, at) = self.resolve_all(header, at)?;
            if name != "content-type" {
                self.schema(header, &at, &format!("{place} header {name}"), header.get("required"), places)?;
            }
        }
        if let (Some(found), Some(links)) = (places.get_mut(place), response.get("links")) {
            found.facts.insert("links".to_owned(), names(links));
        }
        Ok(())
    }

    fn body(&self, body: &Value, at: &str, place: &str, places: &mut BTreeMap<String, Place>) -> Result<(), String> {
        let (body, at) = self.resolve_all(body, at.to_owned())?;
        let content = body.get("content").and_then(Value::as_object);
        let keys = content.into_iter().flat_map(|content| content.keys());
        let has_json = keys.into_iter().any(|key| media_type(key) == JSON);
        for (key, content) in content.into_iter().flatten() {
            let at = format!("{at}/content/{}", escaped(key));
            match media_type(key).as_str() {
                JSON => {
                    self.schema(content, &at, place, body.get("required"), places)?;
                }
                // JSON is one of these.
                "application/*" | "*/*" if !has_json => {
                    self.schema(content, &at, place, body.get("required"), places)?;
                }
                // Another form of the same body, which is never required.
                other => {
                    self.schema(content, &at, &format!("{place} {other}"), None, places)?;
                }
            }
        }
        Ok(())
    }

    /// Reads the schema of a body, a parameter or a header.
    fn schema<'p>(
        &self,
        holder: &Value,
        at: &str,
        place: &str,
        required: Option<&Value>,
        places: &'p mut BTreeMap<String, Place>,
    ) -> Result<&'p mut Place, String> {
        // A parameter may have one media type instead.
        let content = holder.get("content").and_then(Value::as_object).and_then(|content| content.iter().next());
        let (media, holder) = content.map_or((None, holder), |(media, holder)| (Some(media), holder));
        let schema = holder.get("schema").unwrap_or(&Value::Null);
        let mut shape = self.shape(schema, format!("{at}/schema"), 0, &mut Vec::new())?;
        // A tolerant type loses what is within it. A result that is none of its form fails the call.
        let result = shape.fields.get_mut("result").filter(|result| place == "response 200" && result.is_tolerant);
        if let Some(result) = result.filter(|result| result.facts.contains_key("type")) {
            result.is_tolerant = false;
            result.facts.entry("type".to_owned()).and_modify(not_null);
        }
        shape.facts.extend(media.map(|media| ("content".to_owned(), json!(media))));
        flatten(shape, place.to_owned(), (required == Some(&json!(true))).then_some(Value::Bool(true)), places);
        Ok(places.entry(place.to_owned()).or_default())
    }

    /// What a reference leads to, and where that is.
    fn resolve<'a>(&'a self, value: &'a Value, at: String) -> Result<(&'a Value, String), String> {
        let Some(reference) = value.get("$ref").and_then(Value::as_str) else { return Ok((value, at)) };
        let nowhere = || format!("{reference} leads nowhere");
        let pointer = pointer(reference).ok_or_else(nowhere)?;
        let found = self.document.pointer(&pointer).ok_or_else(nowhere)?;
        Ok((found, pointer))
    }

    /// What a reference leads to that is no schema, and may be a reference itself.
    fn resolve_all<'a>(&'a self, value: &'a Value, at: String) -> Result<(&'a Value, String), String> {
        let (mut value, mut at, mut passed) = (value, at, BTreeSet::new());
        while value.get("$ref").is_some() {
            (value, at) = self.resolve(value, at)?;
            if !passed.insert(at.clone()) {
                return Err(format!("#{at} refers to itself in a circle"));
            }
        }
        Ok((value, at))
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
            // OpenAPI 3.1 lets other keywords stand next to a reference.
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
            let mut facts = own(found, &at).facts;
            facts.retain(|keyword, _| keyword == "type");
            facts.insert("like".to_owned(), json!(format!("{} levels above", depth - since)));
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
        // The first entries of a list may be of other forms.
        for (index, part) in schema.get("prefixItems").and_then(Value::as_array).into_iter().flatten().enumerate() {
            let part = self.shape(part, format!("{at}/prefixItems/{index}"), depth + 1, trail)?;
            let others = shape.fields.remove("*");
            shape.fields.insert("*".to_owned(), others.map_or(part.clone(), |others| join(others, part)));
        }
        for (keyword, all) in [("allOf", true), ("oneOf", false), ("anyOf", false)] {
            let parts = schema.get(keyword).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            let only_require = |part: &Value| part.as_object().is_some_and(|part| part.keys().eq(["required"]));
            if !all && !parts.is_empty() && parts.iter().all(only_require) {
                shape.facts.insert(format!("{keyword} required"), json!(parts));
                continue;
            }
            let mut merged: Option<Shape> = None;
            for (index, part) in parts.iter().enumerate() {
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

fn flatten(shape: Shape, place: String, required: Option<Value>, places: &mut BTreeMap<String, Place>) {
    let mut facts = shape.facts;
    facts.extend(required.map(|required| ("required".to_owned(), required)));
    inclusive(&mut facts);
    // What only one side decides is no part of what the other sends.
    let other = if place.starts_with("request") { "readOnly" } else { "writeOnly" };
    let is_sent = |field: &Shape| field.facts.get(other) != Some(&json!(true));
    let has_values = |field: &Shape| field.facts.get("type") != Some(&json!([]));
    for (name, field) in shape.fields.into_iter().filter(|(_, field)| is_sent(field) && has_values(field)) {
        let required = shape.required.contains(&name).then_some(Value::Bool(true));
        flatten(field, within(&place, &name), required, places);
    }
    if shape.variants.len() > 1 {
        facts.insert("alternatives".to_owned(), json!(shape.variants));
    }
    facts.retain(|keyword, _| !["readOnly", other].contains(&keyword.as_str()));
    let Shape { at, is_tolerant, is_secret, .. } = shape;
    places.insert(place, Place { facts, at, is_tolerant, is_secret });
}

/// The names in a map, in order.
fn names(map: &Value) -> Value {
    let mut names: Vec<_> = map.as_object().into_iter().flat_map(|map| map.keys()).collect();
    names.sort();
    json!(names)
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
