//! Takes secrets out of the service's words, which may quote what was sent.

use serde::Serialize;
use serde_json::Value;

/// Shorter strings are words that say nothing, and taking them out would leave nothing to read.
const MIN_SECRET: usize = 4;

/// As much of a longer secret is taken out where it is quoted in part.
const MIN_QUOTE: usize = 12;

pub(crate) struct Redactor {
    secrets: Vec<String>,
    /// What was sent cannot be told, so nothing of the service's words is shown.
    is_blind: bool,
}

impl Redactor {
    pub(crate) fn new<'a>(secrets: impl Iterator<Item = &'a str>) -> Self {
        let mut redactor = Self { secrets: Vec::new(), is_blind: false };
        secrets.for_each(|secret| redactor.add(secret));
        redactor
    }

    /// Adds the lease ids, the references and the bodies of a request.
    pub(crate) fn add_request(&mut self, request: &impl Serialize) {
        let sent = serde_json::to_string(request).unwrap_or_default();
        match serde_json::from_str::<Value>(&sent) {
            Ok(request) if characters(&request.to_string()) == characters(&sent) => self.add_members(&request),
            // It is nested deeper than the parser goes, or a key repeats, or a number or a string is spelt in another way than ours.
            _ => self.is_blind = true,
        }
    }

    pub(crate) fn redact(&self, text: &mut String) {
        if self.is_blind {
            *text = "[redacted]".to_owned();
            return;
        }
        let mut redacted = String::with_capacity(text.len());
        let mut rest = text.as_str();
        while let Some(character) = rest.chars().next() {
            // One secret can begin like another: the longest quote counts.
            let quoted = self.secrets.iter().filter_map(|secret| quoted(secret, rest)).max();
            match quoted {
                Some(_) => redacted.push_str("[redacted]"),
                None => redacted.push(character),
            }
            rest = rest.get(quoted.unwrap_or(character.len_utf8())..).unwrap_or_default();
        }
        *text = redacted;
    }

    pub(crate) fn add(&mut self, secret: &str) {
        if secret.len() >= MIN_SECRET {
            self.secrets.push(secret.to_owned());
        }
    }

    fn add_members(&mut self, value: &Value) {
        match value {
            Value::Object(map) => map.iter().for_each(|(key, value)| match key.as_str() {
                "lease_id" | "ref" | "body" => self.add_value(value),
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

/// What a JSON text is made of, whatever its order.
fn characters(json: &str) -> Vec<u8> {
    let mut characters: Vec<_> = json.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    characters.sort_unstable();
    characters
}

/// How much of a secret a text begins with, in bytes, if that is enough to tell.
fn quoted(secret: &str, text: &str) -> Option<usize> {
    let common = secret.chars().zip(text.chars()).take_while(|(secret, text)| secret == text).map(|(secret, _)| secret);
    let (characters, bytes) =
        common.fold((0, 0), |(characters, bytes), next| (characters + 1, bytes + next.len_utf8()));
    (bytes == secret.len() || characters >= MIN_QUOTE).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;

    #[test]
    fn a_secret_is_taken_out_also_where_it_is_quoted_in_part() {
        let redactor = Redactor::new(["lease-0123456789", "lease-0123456789-and-more", "key7"].into_iter());
        let mut text = "no lease-0123456789-and-m\u{2026}, no lease-012345, no key7 for a lease, no key".to_owned();
        redactor.redact(&mut text);
        assert_eq!(text, "no [redacted]\u{2026}, no [redacted], no [redacted] for a lease, no key");
    }

    #[test]
    fn a_request_that_cannot_be_read_leaves_nothing_of_the_services_words() {
        let deep = format!("{}7{}", "[".repeat(200), "]".repeat(200));
        let bodies = [&deep, r#"{"a":"first","a":"last"}"#, "12345678901234567890123", r#""caf\u00e9""#, r#""a\/b""#];
        for body in bodies {
            let mut redactor = Redactor::new(std::iter::empty());
            redactor.add_request(&RawValue::from_string(format!("{{\"body\":{body}}}")).unwrap());
            let mut text = format!("bad body {body}");
            redactor.redact(&mut text);
            assert_eq!(text, "[redacted]", "{body}");
        }
    }
}
