//! What `cf-queues doctor --probe --record` wrote, replayed through the emulator.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs,
    path::Path,
    time::Duration,
};

use cloudflare_queues::{
    emulator::{Behavior, Emulator},
    reqwest::{Client, header::CONTENT_TYPE},
};
use serde_json::{Value, json};

/// A request and its response.
pub struct Exchange {
    /// The name of its file.
    pub file: String,
    pub fields: Value,
}

/// All exchanges of a recording, in order.
pub fn read(folder: &Path) -> Vec<Exchange> {
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|end| end == "json"));
    files.sort();
    let exchange = |file: &std::path::PathBuf| Exchange {
        file: file.file_name().unwrap().to_str().unwrap().to_owned(),
        fields: serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap(),
    };
    files.iter().map(exchange).collect()
}

impl Exchange {
    pub fn status(&self) -> u16 {
        self.fields["status"].as_u64().unwrap().try_into().unwrap()
    }

    fn is_for(&self, purpose: &str) -> bool {
        self.fields["asked"] == purpose
    }
}

/// Where the emulator answers otherwise: a line for each difference.
pub async fn differences(exchanges: &[Exchange], behavior: Behavior) -> Vec<String> {
    // Its clock stands still, and follows the recording's.
    let emulator = Emulator::builder().frozen().behavior(behavior).start().await.unwrap();
    let queue = format!("/accounts/{}/queues/{}", emulator.account_id(), emulator.queue_id());
    let mut replay = Replay {
        client: Client::builder().no_proxy().build().unwrap(),
        token: emulator.api_token(),
        url: format!("{}{queue}", emulator.base_url()),
        given: HashMap::new(),
    };
    let (mut now, mut differences) = (0, Vec::new());
    for exchange in exchanges {
        let at = exchange.fields["at_ms"].as_u64().unwrap();
        emulator.advance(Duration::from_millis(at.saturating_sub(now)));
        now = now.max(at);
        if exchange.is_for("emptying") {
            let (status, _) = replay.send("/purge", &json!({ "delete_messages_permanently": true })).await;
            assert_eq!(status, 200);
        } else {
            let Exchange { file, fields } = exchange;
            let differs = replay.exchange(exchange).await.into_iter();
            differences.extend(differs.map(|differs| format!("{file}, {}: {differs}", fields["asked"])));
        }
    }
    differences
}

/// The switches of the emulator that explain most of the differences, and what is left then.
pub async fn explained(exchanges: &[Exchange]) -> (BTreeSet<String>, Vec<String>) {
    let (mut behavior, mut explaining) = (Behavior::new(), BTreeSet::new());
    let mut left = differences(exchanges, behavior.clone()).await;
    while !left.is_empty() {
        let mut best = None;
        for (name, value) in switches() {
            let turned = behavior.clone().set(&name, value.clone()).unwrap();
            let differences = differences(exchanges, turned.clone()).await;
            if differences.len() < left.len() {
                left = differences;
                best = Some((turned, format!("{name}={value}")));
            }
        }
        let Some((turned, switch)) = best else { break };
        behavior = turned;
        explaining.insert(switch);
    }
    (explaining, left)
}

/// Every other value of the switches that are no numbers.
fn switches() -> Vec<(String, Value)> {
    let Ok(Value::Object(switches)) = serde_json::to_value(Behavior::new()) else { panic!("a map of switches") };
    let values = |(name, default): (String, Value)| {
        let values = match &default {
            Value::Bool(value) => vec![json!(!value)],
            // The error lists them.
            Value::String(_) => {
                let error = Behavior::new().set(&name, "no such value").unwrap_err().to_string();
                let (_, listed) = error.split_once("expected ").unwrap();
                listed.split('`').skip(1).step_by(2).map(Value::from).collect()
            }
            _ => Vec::new(),
        };
        values.into_iter().filter(move |value| *value != default).map(move |value| (name.clone(), value))
    };
    switches.into_iter().flat_map(values).collect()
}

struct Replay {
    client: Client,
    token: String,
    url: String,
    /// The leases, references and ids of the emulator, by their names in the recording.
    given: HashMap<String, String>,
}

impl Replay {
    async fn send(&self, path: &str, body: &Value) -> (u16, Value) {
        let request = self.client.post(format!("{}{path}", self.url)).bearer_auth(&self.token);
        let request = request.header(CONTENT_TYPE, "application/json");
        let request = if body.is_null() { request } else { request.body(body.to_string()) };
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        (status, serde_json::from_str(&response.text().await.unwrap()).unwrap_or_default())
    }

    /// What differs.
    async fn exchange(&mut self, exchange: &Exchange) -> Vec<String> {
        let (is_prepared, fields) = (exchange.is_for("preparing"), &exchange.fields);
        let recorded = messages(&fields["response"]);
        // The emulator did not deliver the message, which is a difference that is named already.
        let Some(mut request) = self.meant(&fields["request"]) else { return Vec::new() };
        if is_prepared && fields["request"]["batch_size"].is_u64() {
            // The service takes its time until a message can be pulled, the emulator does not.
            if recorded.is_empty() {
                return Vec::new();
            }
            request["batch_size"] = recorded.len().into();
        }
        let (_, path) = fields["path"].as_str().unwrap().split_once("<queue>").unwrap();
        let (status, response) = self.send(path, &request).await;
        for (recorded, given) in recorded.iter().zip(&messages(&response)) {
            for name in ["lease_id", "ref", "id"] {
                if let (Some(name), Some(value)) = (recorded[name].as_str(), given[name].as_str()) {
                    self.given.insert(name.to_owned(), value.to_owned());
                }
            }
        }
        let (recorded, given) = (facts(exchange.status(), &fields["response"]), facts(status, &response));
        let names: BTreeSet<_> = recorded.keys().chain(given.keys()).collect();
        let of = |facts: &BTreeMap<String, String>, name| facts.get(name).map_or("absent", String::as_str).to_owned();
        let is_in_both = |path: &str| recorded.contains_key(path) && given.contains_key(path);
        names
            .into_iter()
            .filter(|name| recorded.get(*name) != given.get(*name))
            .filter(|name| name.rsplit_once('.').is_none_or(|(parent, _)| is_in_both(parent)))
            .map(|name| format!("{name} is {}, with the emulator {}", of(&recorded, name), of(&given, name)))
            .collect()
    }

    /// A recorded request with the emulator's leases. None if one of them was not given.
    fn meant(&self, request: &Value) -> Option<Value> {
        Some(match request {
            Value::Object(fields) => {
                let fields: Option<_> =
                    fields.iter().map(|(name, value)| Some((name.clone(), self.meant(value)?))).collect();
                Value::Object(fields?)
            }
            Value::Array(values) => Value::Array(values.iter().map(|value| self.meant(value)).collect::<Option<_>>()?),
            Value::String(text) => match text.strip_prefix('<').and_then(|text| text.strip_suffix('>')) {
                Some(name) if name.contains(" times ") => {
                    let (times, letter) = name.split_once(" times ").unwrap();
                    letter.repeat(times.parse().unwrap()).into()
                }
                // It is made of a real one, and known to no one.
                Some(name) if name.starts_with("another lease ") => "another lease".into(),
                Some(_) => self.given.get(text)?.as_str().into(),
                None => request.clone(),
            },
            _ => request.clone(),
        })
    }
}

/// The messages of a response, in an order of their own: a queue has none.
fn messages(response: &Value) -> Vec<Value> {
    let mut messages = response["result"]["messages"].as_array().cloned().unwrap_or_default();
    messages.sort_by_key(|message| [message["metadata"].to_string(), message["body"].to_string()]);
    messages
}

/// What has to be the same: the status, codes, the fields that there are, counts, and bodies.
fn facts(status: u16, response: &Value) -> BTreeMap<String, String> {
    let mut response = response.clone();
    if response["result"]["messages"].is_array() {
        response["result"]["messages"] = messages(&response).into();
    }
    let mut facts = BTreeMap::from([("status".to_owned(), status.to_string())]);
    add_facts(&mut facts, "", &response);
    facts
}

fn add_facts(facts: &mut BTreeMap<String, String>, path: &str, value: &Value) {
    let name = path.rsplit('.').next().unwrap_or_default();
    let fact = match value {
        Value::Object(warnings) if name == "warnings" => format!("a map of {}", warnings.len()),
        Value::Array(warnings) if name == "warnings" => format!("a list of {}", warnings.len()),
        Value::Object(fields) => {
            fields.iter().for_each(|(name, value)| add_facts(facts, &format!("{path}.{name}"), value));
            "an object".to_owned()
        }
        Value::Array(values) => {
            values.iter().enumerate().for_each(|(at, value)| add_facts(facts, &format!("{path}.{at}"), value));
            format!("a list of {}", values.len())
        }
        Value::Bool(value) => value.to_string(),
        Value::Number(_) if name.ends_with("Count") || ["attempts", "code"].contains(&name) => value.to_string(),
        Value::Number(_) => "a number".to_owned(),
        Value::String(text) if name == "body" && text.len() < 1000 && !text.contains(" times ") => format!("`{text}`"),
        Value::String(_) => "a string".to_owned(),
        Value::Null => "null".to_owned(),
    };
    facts.insert(path.trim_start_matches('.').to_owned(), fact);
}
