//! Requests of any form, and their responses without secrets.

use std::{
    collections::HashSet,
    fmt,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use cloudflare_queues::{
    Queue,
    reqwest::{Client, Method, Response, header::CONTENT_TYPE, redirect},
};
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::recording::{Exchange, PREPARING, Recording};
use crate::{
    account::{Account, install_tls, variable},
    exit::{Exit, Failure},
    output::plain,
};

/// The maximum length of a shown response, in characters.
const MOST_SHOWN: usize = 600;
/// A run of at least this many letters, digits and the like is treated as a secret.
const SECRET: usize = 25;
/// A run of at least this many bytes that is part of a secret is not recorded either.
const PART: usize = 8;
/// A body of one letter is recorded as their number, from this length on.
const LONG: usize = 1000;

pub(super) struct Raw {
    client: Client,
    url: String,
    credentials: Vec<(&'static str, String)>,
    /// Texts that must not be shown, and their replacements.
    secrets: Mutex<Vec<(String, String)>>,
    /// Their parts of [`PART`] bytes, while recording.
    parts: Mutex<HashSet<Vec<u8>>>,
    /// With the name of the queue.
    recording: Option<(Recording, String)>,
    /// The bodies that were pushed while recording. All others are a user's.
    bodies: Mutex<Vec<Value>>,
}

/// A response.
pub(super) struct Reply {
    json: Value,
    text: String,
    /// The response as it can be shown.
    pub(super) shown: String,
}

impl Raw {
    pub(super) fn new(
        account: &Account,
        queue: &Queue,
        recording: Option<(Recording, String)>,
    ) -> Result<Self, Failure> {
        install_tls();
        let base = account.base_url()?;
        let base = base.trim_end_matches('/');
        let url = format!("{base}/accounts/{}/queues/{}/messages", queue.account_id(), queue.id());
        let builder = Client::builder().redirect(redirect::Policy::none()).timeout(Duration::from_secs(30));
        let builder = if base.starts_with("http://") { builder.no_proxy() } else { builder };
        let client = builder.build().map_err(|error| Failure::new(Exit::Service, error.to_string()))?;
        let token = account.profile()?.token_variable.unwrap_or_else(|| "CLOUDFLARE_API_TOKEN".to_owned());
        let credentials = match (variable(&token), variable("CLOUDFLARE_EMAIL"), variable("CLOUDFLARE_API_KEY")) {
            (Some(token), ..) => vec![("authorization", format!("Bearer {token}"))],
            (None, email, key) => {
                let pair = [("x-auth-email", email), ("x-auth-key", key)];
                pair.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
            }
        };
        let mut secrets: Vec<_> = credentials
            .iter()
            .map(|(_, value)| (value.strip_prefix("Bearer ").unwrap_or(value).to_owned(), "<credential>".to_owned()))
            .collect();
        secrets.push((queue.account_id().to_string(), "<account>".to_owned()));
        secrets.push((queue.id().to_string(), "<queue>".to_owned()));
        let parts = secrets.iter().flat_map(|(secret, _)| parts_of(secret)).collect();
        let (secrets, parts, bodies) = (Mutex::new(secrets), Mutex::new(parts), Mutex::default());
        Ok(Self { client, url, credentials, secrets, parts, recording, bodies })
    }

    /// Sends a request that only prepares a question.
    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Reply, Failure> {
        self.ask(PREPARING, path, body).await
    }

    /// Sends a request to an operation of messages: the empty path is a push. Null stands for no body.
    pub(super) async fn ask(&self, asked: &str, path: &str, body: &Value) -> Result<Reply, Failure> {
        let mut request = self.client.request(Method::POST, format!("{}{path}", self.url));
        for (name, value) in &self.credentials {
            request = request.header(*name, value);
        }
        let request = request.header(CONTENT_TYPE, "application/json");
        let request = if body.is_null() { request } else { request.body(body.to_string()) };
        let failed =
            |error: cloudflare_queues::reqwest::Error| Failure::new(Exit::Service, error.without_url().to_string());
        let sent_at = Instant::now();
        let response = request.send().await.map_err(failed)?;
        let (status, headers, recorded) = (response.status().as_u16(), remarkable(&response), recorded(&response));
        let text = response.text().await.map_err(failed)?;
        let json: Value = serde_json::from_str(&text).unwrap_or_default();
        self.learn(&json);
        if let Some((recording, _)) = &self.recording {
            self.learn_bodies(body);
            // The page of a proxy or firewall may name the machine that asked.
            let is_json = serde_json::from_str::<IgnoredAny>(&text).is_ok();
            let response = if is_json { self.recorded(&json) } else { characters(&text).into() };
            let (request, headers) = (self.recorded(body), self.recorded(&recorded));
            recording.add(Exchange { asked, sent_at, path, request, status, headers, response })?;
        }
        let shown = format!("{status}{headers} {}", self.redacted(&text));
        Ok(Reply { json, text, shown })
    }

    /// Remembers the secrets of a response.
    fn learn(&self, json: &Value) {
        match json {
            Value::Object(fields) => {
                for (name, value) in fields {
                    if let (Some(text), "lease_id" | "ref" | "id") = (value.as_str(), name.as_str()) {
                        self.hide(text, name);
                    }
                    self.learn(value);
                }
            }
            Value::Array(values) => values.iter().for_each(|value| self.learn(value)),
            _ => {}
        }
    }

    /// Replaces this secret by a name from now on.
    pub(super) fn hide(&self, secret: &str, name: &str) {
        let mut secrets = self.secrets.lock().unwrap_or_else(PoisonError::into_inner);
        if !secret.is_empty() && !secrets.iter().any(|(known, _)| known == secret) {
            let name = format!("<{name} {}>", secrets.len());
            secrets.push((secret.to_owned(), name));
            if self.recording.is_some() {
                self.parts.lock().unwrap_or_else(PoisonError::into_inner).extend(parts_of(secret));
            }
        }
    }

    /// Remembers the bodies of a push.
    fn learn_bodies(&self, request: &Value) {
        let messages = request["messages"].as_array().map_or(std::slice::from_ref(request), Vec::as_slice);
        let mut bodies = self.bodies.lock().unwrap_or_else(PoisonError::into_inner);
        for body in messages.iter().filter_map(|message| message.get("body")) {
            if !bodies.contains(body) {
                bodies.push(body.clone());
            }
        }
    }

    /// Whether a body is one that was pushed, in any form that is known.
    fn is_pushed(&self, body: &Value) -> bool {
        let decoded = body.as_str().and_then(|text| BASE64_STANDARD.decode(text).ok());
        let forms = [
            Some(body.clone()),
            body.as_str().and_then(|text| serde_json::from_str(text).ok()),
            decoded.as_deref().and_then(|bytes| serde_json::from_slice(bytes).ok()),
            decoded.as_deref().and_then(|bytes| str::from_utf8(bytes).ok()).map(Value::from),
        ];
        let bodies = self.bodies.lock().unwrap_or_else(PoisonError::into_inner);
        forms.iter().flatten().any(|form| bodies.contains(form))
    }

    /// JSON as it is recorded: each secret has the same name in all files.
    fn recorded(&self, json: &Value) -> Value {
        match json {
            Value::Object(fields) => {
                let field = |(name, value): (&String, &Value)| {
                    let value = match (name.as_str(), value) {
                        ("body", Value::String(text)) if self.is_pushed(value) => shortened(text).into(),
                        ("body", _) if self.is_pushed(value) => value.clone(),
                        ("body", _) => "<body>".into(),
                        _ => self.recorded(value),
                    };
                    (self.without_parts(name), value)
                };
                Value::Object(fields.iter().map(field).collect())
            }
            Value::Array(values) => values.iter().map(|value| self.recorded(value)).collect(),
            Value::String(text) => match &self.recording {
                // A text for people may name the queue.
                Some((_, name)) if text.contains(' ') && !name.is_empty() => {
                    self.without_parts(&text.replace(name.as_str(), "<queue>")).into()
                }
                _ => self.without_parts(text).into(),
            },
            _ => json.clone(),
        }
    }

    /// A text without secrets, parts of secrets, and anything that may be one.
    fn without_parts(&self, text: &str) -> String {
        let secrets = self.secrets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, name)) = secrets.iter().find(|(secret, _)| secret == text) {
            return name.clone();
        }
        let parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        let is_secret =
            |word: &str| word.len() >= SECRET || word.as_bytes().windows(PART).any(|part| parts.contains(part));
        without(&named(text, &secrets), is_secret)
    }

    fn redacted(&self, text: &str) -> String {
        let secrets = self.secrets.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let shown = without(&named(text, &secrets), |word| word.len() >= SECRET);
        let cut: String = shown.chars().take(MOST_SHOWN).collect();
        plain(&if cut.len() < shown.len() { format!("{cut} …") } else { cut })
    }
}

/// A text with the names of secrets instead of them.
fn named(text: &str, secrets: &[(String, String)]) -> String {
    let mut secrets: Vec<_> = secrets.iter().filter(|(secret, _)| text.contains(secret.as_str())).collect();
    // The longest first, since one may start with another.
    secrets.sort_by_key(|(secret, _)| std::cmp::Reverse(secret.len()));
    secrets.into_iter().fold(text.to_owned(), |text, (secret, name)| text.replace(secret.as_str(), name))
}

/// A text with the lengths of such words instead of them.
fn without(text: &str, is_secret: impl Fn(&str) -> bool) -> String {
    let mut shown = String::new();
    for run in text.split_inclusive(|character: char| !is_of_secrets(character)) {
        let (word, end) = match run.char_indices().last() {
            Some((at, last)) if !is_of_secrets(last) => run.split_at(at),
            _ => (run, ""),
        };
        if is_secret(word) {
            shown.push_str(&characters(word));
        } else {
            shown.push_str(word);
        }
        shown.push_str(end);
    }
    shown
}

fn parts_of(secret: &str) -> impl Iterator<Item = Vec<u8>> {
    secret.as_bytes().windows(PART).map(<[u8]>::to_vec)
}

fn characters(text: &str) -> String {
    format!("<{} characters>", text.len())
}

/// A text, or how often it has its letter.
fn shortened(text: &str) -> String {
    match text.chars().next() {
        Some(letter) if text.len() >= LONG && text.chars().all(|other| other == letter) => {
            format!("<{} times {letter}>", text.chars().count())
        }
        _ => text.to_owned(),
    }
}

fn is_of_secrets(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '-' | '.' | '+' | '/' | '=')
}

/// Headers about rate limits.
fn remarkable(response: &Response) -> String {
    let headers = response.headers().iter();
    let limits = headers.filter(|(name, _)| name.as_str() == "retry-after" || name.as_str().contains("ratelimit"));
    limits.filter_map(|(name, value)| Some(format!(" ({name}: {})", plain(value.to_str().ok()?)))).collect()
}

/// Headers that a client goes by.
fn recorded(response: &Response) -> Value {
    let is_read =
        |name: &str| ["content-type", "retry-after", "cf-mitigated"].contains(&name) || name.contains("ratelimit");
    let headers = response.headers().iter().filter(|(name, _)| is_read(name.as_str()));
    let headers = headers.filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.into())));
    Value::Object(headers.collect::<Map<_, _>>())
}

impl Reply {
    /// The names of the response's fields, in order.
    pub(super) fn order(&self) -> String {
        serde_json::from_str::<Names>(&self.text).map_or_else(|_| "no object".to_owned(), |names| names.0.join(", "))
    }

    pub(super) fn messages(&self) -> &[Value] {
        self.json.pointer("/result/messages").and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }
}

/// The names of an object's fields.
struct Names(Vec<String>);

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Names;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Names, M::Error> {
                let mut names = Vec::new();
                while let Some((name, IgnoredAny)) = map.next_entry()? {
                    names.push(name);
                }
                Ok(Names(names))
            }
        }

        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail")]

    use serde_json::json;

    use super::*;

    fn raw(recording: Recording) -> Raw {
        install_tls();
        let secrets = [("t0ken-that-nobody-may-see".to_owned(), "<credential>".to_owned())];
        Raw {
            client: Client::new(),
            url: String::new(),
            credentials: Vec::new(),
            parts: Mutex::new(parts_of(&secrets[0].0).collect()),
            secrets: Mutex::new(secrets.into()),
            recording: Some((recording, "invoices".to_owned())),
            bodies: Mutex::default(),
        }
    }

    #[test]
    fn a_recorded_text_quotes_no_part_of_a_secret() {
        let folder = tempfile::tempdir().unwrap();
        let raw = raw(Recording::create(folder.path()).unwrap());
        raw.learn(&json!({ "result": { "messages": [{ "lease_id": "eyJhbGciOiJkaXIifQ..abc", "id": "4fd1" }] } }));
        for (text, recorded) in [
            ("the lease eyJhbGciOiJkaXIifQ..abc is used", "the lease <lease_id 2> is used"),
            ("the lease eyJhbGciOi… is used", "the lease <10 characters>… is used"),
            ("no `nobody-may`", "no `<10 characters>`"),
            ("the queue invoices is paused", "the queue <queue> is paused"),
            ("of message 4fd1", "of message <id 1>"),
            ("0123456789012345678901234 from another request", "<25 characters> from another request"),
            ("a lease is not known", "a lease is not known"),
        ] {
            assert_eq!(raw.recorded(&json!([{ "message": text }])), json!([{ "message": recorded }]));
        }
        let warnings = raw.recorded(&json!({ "eyJhbGciOiJkaXIifQ..abc": "late" }));
        assert_eq!(warnings, json!({ "<lease_id 2>": "late" }));
    }

    #[test]
    fn only_bodies_that_were_pushed_are_recorded() {
        let folder = tempfile::tempdir().unwrap();
        let raw = raw(Recording::create(folder.path()).unwrap());
        raw.learn_bodies(&json!({ "body": { "a": [1, "b"] } }));
        raw.learn_bodies(&json!({ "messages": [{ "body": "x".repeat(2000) }, { "body": "probe" }] }));
        for (body, recorded) in [
            (json!({ "a": [1, "b"] }), json!({ "a": [1, "b"] })),
            (json!(r#"{"a": [1,"b"]}"#), json!(r#"{"a": [1,"b"]}"#)),
            (json!("eyJhIjpbMSwiYiJdfQ=="), json!("eyJhIjpbMSwiYiJdfQ==")),
            (json!("x".repeat(2000)), json!("<2000 times x>")),
            (json!("probe of a user"), json!("<body>")),
            (json!({ "a": [2] }), json!("<body>")),
            (json!("aGVsbG8="), json!("<body>")),
        ] {
            assert_eq!(raw.recorded(&json!({ "body": body })), json!({ "body": recorded }));
        }
    }
}
