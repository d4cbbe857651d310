//! No answer is taken for a success that does not say so, and none makes the parser panic.

#![no_main]

use cloudflare_queues::{fuzzing, types::AckResult};
use libfuzzer_sys::fuzz_target;
use serde::Deserialize;
use serde_json::value::RawValue;

#[derive(Deserialize)]
struct Answer<'a> {
    success: bool,
    #[serde(borrow)]
    result: &'a RawValue,
}

fuzz_target!(|answer: &[u8]| {
    match fuzzing::open::<AckResult>(answer) {
        Some(Ok(_)) => {
            // What is passed over need not even be UTF-8.
            let answer = String::from_utf8_lossy(answer);
            let answer: Answer<'_> = serde_json::from_str(&answer).unwrap();
            assert!(answer.success);
            assert!(answer.result.get().starts_with('{'));
        }
        Some(Err(error)) => drop(format!("{error} {error:?}")),
        None => {}
    }
});
