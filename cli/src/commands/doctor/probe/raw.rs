//! Requests of any form, and their responses without secrets.

use std::{
    fmt::{self, Write as _},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use cloudflare_queues::{
    Queue,
    reqwest::{Client, Method, Response, header::CONTENT_TYPE, redirect},
};
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};
use serde_json::Value;

use crate::{
    account::{Account, install_tls, variable},
    exit::{Exit, Failure},
    output::plain,
};

/// The maximum length of a shown response, in characters.
const MOST_SHOWN: usize = 600;
/// A run of at least this many letters, digits and the like is treated as a secret.
const SECRET: usize = 25;

pub(super) struct Raw {
    client: Client,
    url: String,
    credentials: Vec<(&'static str, String)>,
    /// Texts that must not be shown, and their replacements.
    secrets: Mutex<Vec<(String, String)>>,
}

/// A response.
pub(super) struct Reply {
    json: Value,
    text: String,
    /// The response as it can be shown.
    pub(super) shown: String,
}

impl Raw {
    pub(super) fn new(account: &Account, queue: &Queue) -> Result<Self, Failure> {
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
        Ok(Self { client, url, credentials, secrets: Mutex::new(secrets) })
    }

    /// Sends a request to an operation of messages: the empty path is a push. Null stands for no body.
    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Reply, Failure> {
        let mut request = self.client.request(Method::POST, format!("{}{path}", self.url));
        for (name, value) in &self.credentials {
            request = request.header(*name, value);
        }
        let request = request.header(CONTENT_TYPE, "application/json");
        let request = if body.is_null() { request } else { request.body(body.to_string()) };
        let failed =
            |error: cloudflare_queues::reqwest::Error| Failure::new(Exit::Service, error.without_url().to_string());
        let response = request.send().await.map_err(failed)?;
        let (status, headers) = (response.status().as_u16(), remarkable(&response));
        let text = response.text().await.map_err(failed)?;
        let json: Value = serde_json::from_str(&text).unwrap_or_default();
        self.learn(&json);
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
    fn hide(&self, secret: &str, name: &str) {
        let mut secrets = self.secrets.lock().unwrap_or_else(PoisonError::into_inner);
        if !secret.is_empty() && !secrets.iter().any(|(known, _)| known == secret) {
            let name = format!("<{name} {}>", secrets.len());
            secrets.push((secret.to_owned(), name));
        }
    }

    fn redacted(&self, text: &str) -> String {
        let mut text = text.to_owned();
        let mut secrets = self.secrets.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // The longest first, since one may start with another.
        secrets.sort_by_key(|(secret, _)| std::cmp::Reverse(secret.len()));
        for (secret, name) in &secrets {
            text = text.replace(secret.as_str(), name);
        }
        let mut shown = String::new();
        for run in text.split_inclusive(|character: char| !is_of_secrets(character)) {
            let (word, end) = match run.char_indices().last() {
                Some((at, last)) if !is_of_secrets(last) => run.split_at(at),
                _ => (run, ""),
            };
            if word.len() >= SECRET {
                let _ = write!(shown, "<{} characters>", word.len());
            } else {
                shown.push_str(word);
            }
            shown.push_str(end);
        }
        let cut: String = shown.chars().take(MOST_SHOWN).collect();
        plain(&if cut.len() < shown.len() { format!("{cut} …") } else { cut })
    }
}

fn is_of_secrets(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '-' | '.' | '+' | '/' | '=')
}

/// Headers about rate limits.
fn remarkable(response: &Response) -> String {
    let headers = response.headers().iter();
    let said = headers.filter(|(name, _)| name.as_str() == "retry-after" || name.as_str().contains("ratelimit"));
    said.filter_map(|(name, value)| Some(format!(" ({name}: {})", plain(value.to_str().ok()?)))).collect()
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
