//! Leases and messages, as both ends know them.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::load::Result;

/// As the service makes them: 210 characters.
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

/// A hundred messages.
pub(crate) fn pulled(encoding: &str, size: usize) -> Result<Value> {
    let text = serde_json::to_string(&Job::of_size(size))?;
    let body = match encoding {
        "base64" => STANDARD.encode(text),
        _ => text,
    };
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
    Ok(json!({ "message_backlog_count": 100, "messages": (0..100).map(message).collect::<Vec<_>>() }))
}
