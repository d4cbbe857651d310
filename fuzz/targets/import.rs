//! A line of NDJSON becomes a message with the body that it has, or an error that does not quote it.

#![no_main]

#[path = "../../cli/src/parse.rs"]
mod parse;

use libfuzzer_sys::fuzz_target;
use serde::Deserialize;
use serde_json::value::RawValue;

#[derive(Deserialize)]
struct Line {
    body: Option<Box<RawValue>>,
}

const NUMBER: &str = "73501946";

fuzz_target!(|line: &[u8]| {
    match parse::message(line) {
        Ok(message) => {
            // What is passed over need not even be UTF-8.
            let line: Line = serde_json::from_str(&String::from_utf8_lossy(line)).unwrap();
            let text = message.body().text().unwrap();
            if let Some(body) = line.body {
                assert!(body.get() == text || serde_json::from_str::<String>(body.get()).unwrap() == text);
            }
        }
        Err(_) => {
            // Put a number somewhere that no text of an error has. An unknown content type is quoted.
            let (start, end) = line.split_at(line.len() / 2);
            let error = parse::message(&[start, NUMBER.as_bytes(), end].concat()).err().unwrap_or_default();
            assert!(!error.contains(NUMBER) || error.starts_with("is of type"), "{error}");
        }
    }
});
