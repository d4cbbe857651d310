//! A body is never decoded into anything but what it says.

#![no_main]

use cloudflare_queues::fuzzing;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|input: (u8, &str)| {
    let (kind, text) = input;
    let kind = ["json", "text", "bytes", "v8", "else"][usize::from(kind) % 5];
    let body = fuzzing::body(kind, text.into());
    let decoded = (body.json::<Value>(), body.text(), body.bytes());
    match (kind, serde_json::from_str::<Value>(text)) {
        ("json", Ok(value)) => assert_eq!(decoded.0.unwrap(), value),
        ("text" | "else", _) => assert_eq!(decoded.1.unwrap(), text),
        ("v8", _) => assert!(decoded.0.is_err()),
        _ => {}
    }
});
