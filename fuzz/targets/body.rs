//! A body is never decoded into anything but what it says.

#![no_main]

use cloudflare_queues::{fuzzing, types::PullResult};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

fuzz_target!(|input: (u8, &str)| {
    let (kind, body) = input;
    let kind = ["json", "text", "bytes", "v8", "else"][usize::from(kind) % 5];
    let message = json!({"lease_id": "lease", "body": body, "metadata": {"CF-Content-Type": kind}});
    let result: PullResult = serde_json::from_value(json!({"messages": [message]})).unwrap();
    let batch = fuzzing::batch(result);
    let message = &batch.messages[0];
    let decoded = (message.json::<Value>(), message.text(), message.bytes());
    match (kind, serde_json::from_str::<Value>(body)) {
        ("json", Ok(value)) => assert_eq!(decoded.0.unwrap(), value),
        ("text" | "else", _) => assert_eq!(decoded.1.unwrap(), body),
        ("v8", _) => assert!(decoded.0.is_err()),
        _ => {}
    }
});
