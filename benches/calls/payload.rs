//! Leases and messages, as both ends know them.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::load::Result;

/// As the service makes them: 210 characters, which differ at their ends.
pub(crate) fn lease(number: usize) -> String {
    format!("{number:0>210}")
}

/// What a message of the benchmarks holds.
#[derive(Serialize, Deserialize)]
pub(crate) struct Job {
    number: u32,
    items: Vec<Item>,
}

#[derive(Serialize, Deserialize)]
struct Item {
    name: String,
    price: f64,
}

impl Job {
    pub(crate) fn of_size(bytes: usize) -> Self {
        let item = |number: usize| Item { name: format!("item {number:03}"), price: number as f64 + 0.5 };
        // An item takes some 35 bytes.
        Self { number: 7, items: (0..bytes / 35).map(item).collect() }
    }
}

/// The result of a pull.
pub(crate) fn pulled(is_base64: bool, messages: usize, size: usize) -> Result<Value> {
    let text = serde_json::to_string(&Job::of_size(size))?;
    let body = if is_base64 { STANDARD.encode(text) } else { text };
    let message = |number| {
        json!({
            "id": format!("{number:032x}"),
            "timestamp_ms": 1_760_000_000_000_u64,
            "attempts": 1,
            "metadata": { "CF-sourceMessageSource": "http", "CF-Content-Type": "json" },
            "lease_id": lease(number),
            "body": body,
        })
    };
    Ok(json!({ "message_backlog_count": messages, "messages": (0..messages).map(message).collect::<Vec<_>>() }))
}

/// The response around a result.
pub(crate) fn enveloped(result: &Value, is_last: bool) -> String {
    if is_last {
        format!(r#"{{"result":{result},"success":true,"errors":[],"messages":[]}}"#)
    } else {
        // The order of Cloudflare's documentation.
        format!(r#"{{"success":true,"errors":[],"messages":[],"result":{result}}}"#)
    }
}
