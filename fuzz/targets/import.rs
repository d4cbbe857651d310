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
        Err(error) => {
            let quoted = error.as_bytes().windows(12).find(|part| line.windows(12).any(|run| run == *part));
            // The names of fields may be in both.
            assert!(
                quoted.is_none_or(|part| b"content_type body_base64".windows(12).any(|word| word == part)),
                "{error}"
            );
        }
    }
});
