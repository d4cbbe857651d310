//! Takes secrets out of the service's words, which may quote what was sent.

use serde_json::Value;

/// Shorter strings are words that say nothing, and taking them out would leave nothing to read.
const MIN_SECRET: usize = 4;

pub(crate) struct Redactor(Vec<String>);

impl Redactor {
    pub(crate) fn new<'a>(secrets: impl Iterator<Item = &'a str>) -> Self {
        let mut redactor = Self(Vec::new());
        secrets.for_each(|secret| redactor.add(secret));
        redactor
    }

    /// Adds the lease ids and the bodies of a request.
    pub(crate) fn add_request(&mut self, request: &[u8]) {
        if let Ok(request) = serde_json::from_slice(request) {
            self.add_members(&request);
        }
    }

    pub(crate) fn redact(&self, text: &mut String) {
        let mut quoted: Vec<_> = self.0.iter().filter(|secret| text.contains(secret.as_str())).collect();
        // The longest first: one secret can begin like another.
        quoted.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        for secret in quoted {
            *text = text.replace(secret.as_str(), "[redacted]");
        }
    }

    pub(crate) fn add(&mut self, secret: &str) {
        if secret.len() >= MIN_SECRET {
            self.0.push(secret.to_owned());
        }
    }

    fn add_members(&mut self, value: &Value) {
        match value {
            Value::Object(map) => map.iter().for_each(|(key, value)| match key.as_str() {
                "lease_id" | "body" => self.add_value(value),
                _ => self.add_members(value),
            }),
            Value::Array(values) => values.iter().for_each(|value| self.add_members(value)),
            _ => {}
        }
    }

    /// Each part of a value, plain and as it stood in the request.
    fn add_value(&mut self, value: &Value) {
        let json = value.to_string();
        match value {
            Value::String(text) => {
                self.add(text);
                self.add(json.trim_matches('"'));
            }
            Value::Array(values) => values.iter().for_each(|value| self.add_value(value)),
            Value::Object(map) => map.iter().for_each(|(key, value)| {
                self.add_value(&Value::from(key.as_str()));
                self.add_value(value);
            }),
            Value::Number(_) => self.add(&json),
            Value::Null | Value::Bool(_) => {}
        }
    }
}
