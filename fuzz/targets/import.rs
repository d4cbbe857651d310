//! A line of NDJSON becomes a message with the body that it has, or an error that does not quote it.

#![no_main]

#[path = "../../cli/src/parse.rs"]
mod parse;

use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|line: &[u8]| {
    match parse::message(line) {
        Ok(message) => {
            let line: Value = serde_json::from_str(&String::from_utf8_lossy(line)).unwrap();
            if let Some(body) = line.get("body") {
                let read = message.body().json().or_else(|_| message.body().text().map(|text| text.as_ref().into()));
                assert_eq!(&read.unwrap(), body);
            }
        }
        Err(error) => {
            let quoted = error.as_bytes().windows(12).find(|part| line.windows(12).any(|run| run == *part));
            // The names of fields may be in both.
            assert!(quoted.is_none_or(|part| b"content_type body_base64".windows(12).any(|word| word == part)), "{error}");
        }
    }
});
