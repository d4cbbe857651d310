//! The form of responses, and which requests are accepted.

use serde_json::{Value, json};

use super::{Probe, entry};
use crate::exit::Failure;

impl Probe {
    /// Fields, their order, and how bodies arrive.
    pub(super) async fn form(&mut self) -> Result<(), Failure> {
        const TOPIC: &str = "Responses and bodies";
        self.empty().await?;
        let pushed = self
            .tell(TOPIC, "push of a `json` body", "", &json!({ "body": { "a": [1, "b"] }, "content_type": "json" }))
            .await?;
        self.note(TOPIC, "fields of the response to a push, in order", &pushed.order())?;
        self.tell(TOPIC, "push of a `text` body", "", &json!({ "body": "plain", "content_type": "text" })).await?;
        let mut left = 2;
        for _ in 0..super::PULLS {
            let reply =
                self.raw.post("/pull", &json!({ "batch_size": 2, "visibility_timeout_ms": self.lease_ms() })).await?;
            if !reply.messages().is_empty() {
                left -= reply.messages().len().min(left);
                self.note(TOPIC, "fields of the response to a pull, in order", &reply.order())?;
                self.note(TOPIC, "pull of these", &reply.shown)?;
                for message in reply.messages() {
                    self.note(TOPIC, "form of the body", form(&message["body"]))?;
                    let lease = message["lease_id"].as_str().unwrap_or_default();
                    let (length, dots) = (lease.len(), lease.matches('.').count());
                    self.note(TOPIC, "form of the lease id", &format!("{length} characters, {dots} dots"))?;
                }
            }
            if left == 0 {
                break;
            }
            tokio::time::sleep(super::BETWEEN_PULLS).await;
        }
        Ok(())
    }

    pub(super) async fn pushes(&mut self) -> Result<(), Failure> {
        const TOPIC: &str = "Pushes";
        let message = json!({ "body": "x", "content_type": "text" });
        let sized = |bytes: usize| json!({ "body": "x".repeat(bytes), "content_type": "text" });
        for (asked, path, body) in [
            ("a string without a content type", "", json!({ "body": "x" })),
            ("an object without a content type", "", json!({ "body": {} })),
            ("a string as `json`", "", json!({ "body": "x", "content_type": "json" })),
            ("an object as `text`", "", json!({ "body": {}, "content_type": "text" })),
            ("base64 as `bytes`", "", json!({ "body": "eA==", "content_type": "bytes" })),
            ("a string as `v8`", "", json!({ "body": "eA==", "content_type": "v8" })),
            ("an empty text", "", json!({ "body": "", "content_type": "text" })),
            ("128,000 bytes", "", sized(128_000)),
            ("128,001 bytes", "", sized(128_001)),
            ("131,073 bytes", "", sized(131_073)),
            ("a delay of 24 h", "", json!({ "body": "x", "content_type": "text", "delay_seconds": 86_400 })),
            ("a delay of 24 h and 1 s", "", json!({ "body": "x", "content_type": "text", "delay_seconds": 86_401 })),
            ("a delay of half a second", "", json!({ "body": "x", "content_type": "text", "delay_seconds": 0.5 })),
            ("a batch of none", "/batch", json!({ "messages": [] })),
            ("a batch of 101", "/batch", json!({ "messages": vec![message; 101] })),
            ("a batch of 3 times 100,000 bytes", "/batch", json!({ "messages": vec![sized(100_000); 3] })),
            ("an unknown field", "", json!({ "body": "x", "content_type": "text", "probe": 1 })),
        ] {
            self.tell(TOPIC, asked, path, &body).await?;
        }
        Ok(())
    }

    pub(super) async fn pulls(&mut self) -> Result<(), Failure> {
        const TOPIC: &str = "Pulls";
        self.empty().await?;
        for (asked, body) in [
            ("of 0", json!({ "batch_size": 0, "visibility_timeout_ms": 1000 })),
            ("of 101", json!({ "batch_size": 101, "visibility_timeout_ms": 1000 })),
            ("of 1.5", json!({ "batch_size": 1.5, "visibility_timeout_ms": 1000 })),
            ("for 0 ms", json!({ "batch_size": 1, "visibility_timeout_ms": 0 })),
            ("for 12 h", json!({ "batch_size": 1, "visibility_timeout_ms": 43_200_000 })),
            ("for 12 h and 1 ms", json!({ "batch_size": 1, "visibility_timeout_ms": 43_200_001 })),
            ("without a field", json!({})),
            ("of null", json!({ "batch_size": null })),
            ("without a body", Value::Null),
        ] {
            self.tell(TOPIC, asked, "/pull", &body).await?;
        }
        Ok(())
    }

    /// Unknown, malformed, repeated and too many leases.
    pub(super) async fn acknowledgements(&mut self) -> Result<(), Failure> {
        const TOPIC: &str = "Acknowledgements";
        let leases = self.leased(5, 1).await?;
        let [one, two, three, four, five] = [0, 1, 2, 3, 4].map(|at| leases.get(at).map_or("", String::as_str));
        let other = one.replace(['a', 'A'], "b");
        self.raw.hide(&other, "another lease");
        let many: Vec<Value> = (0..101).map(|number| entry(&format!("probe-{number}"))).collect();
        for (asked, body) in [
            ("a lease", json!({ "acks": [entry(one)] })),
            ("the same again", json!({ "acks": [entry(one)] })),
            ("a lease twice in a request", json!({ "acks": [entry(two), entry(two)] })),
            ("a lease in both lists", json!({ "acks": [entry(three)], "retries": [entry(three)] })),
            ("a lease that is made up", json!({ "acks": [entry("probe")] })),
            ("a lease with letters changed", json!({ "acks": [entry(&other)] })),
            ("a made-up lease alongside a good one", json!({ "acks": [entry("probe"), entry(four)] })),
            ("a lease of null alongside a good one", json!({ "acks": [{ "lease_id": null }, entry(five)] })),
            ("an empty lease", json!({ "acks": [entry("")] })),
            ("leases as strings", json!({ "acks": ["probe"] })),
            ("a retry of a made-up lease", json!({ "retries": [entry("probe")] })),
            ("two empty lists", json!({ "acks": [], "retries": [] })),
            ("an empty object", json!({})),
            ("no body at all", Value::Null),
            ("101 made-up leases", json!({ "acks": many })),
        ] {
            self.tell(TOPIC, asked, "/ack", &body).await?;
        }
        let lease = self.lease().await?;
        let late = json!({ "retries": [{ "lease_id": lease, "delay_seconds": 86_401 }] });
        self.tell(TOPIC, "a retry in 24 h and 1 s", "/ack", &late).await?;
        Ok(())
    }

    pub(super) async fn references(&mut self) -> Result<(), Failure> {
        const TOPIC: &str = "Peeks and deletions by reference";
        self.empty().await?;
        self.raw.post("", &json!({ "body": "probe", "content_type": "text" })).await?;
        let mut found = None;
        for _ in 0..super::PULLS {
            let peeked = self.raw.post("/peek", &json!({ "batch_size": 1 })).await?;
            found = peeked.messages().first().and_then(|message| message.get("ref")?.as_str().map(str::to_owned));
            if found.is_some() {
                self.note(TOPIC, "peek at a message", &peeked.shown)?;
                break;
            }
            tokio::time::sleep(super::BETWEEN_PULLS).await;
        }
        let lease = self.given().await?.unwrap_or_default();
        self.tell(TOPIC, "peek at a leased message", "/peek", &json!({ "batch_size": 1 })).await?;
        let refs = json!({ "refs": [{ "ref": found.unwrap_or_default() }] });
        self.tell(TOPIC, "deletion of a leased message", "/purge", &refs).await?;
        self.tell(TOPIC, "the same again", "/purge", &refs).await?;
        let ack = json!({ "acks": [entry(&lease)] });
        self.tell(TOPIC, "acknowledgement of a message that is deleted", "/ack", &ack).await?;
        self.tell(TOPIC, "deletion by a made-up reference", "/purge", &json!({ "refs": [{ "ref": "probe" }] })).await?;
        self.tell(TOPIC, "deletion of none", "/purge", &json!({ "refs": [] })).await?;
        self.tell(TOPIC, "peek at 101", "/peek", &json!({ "batch_size": 101 })).await?;
        Ok(())
    }
}

fn form(body: &Value) -> &'static str {
    match body {
        Value::String(text) if text.trim_start().starts_with(['{', '[']) => "a string of JSON text",
        Value::String(text) if text == "plain" => "the text",
        Value::String(_) => "another string, such as base64",
        Value::Object(_) | Value::Array(_) => "a JSON value",
        _ => "something else",
    }
}
