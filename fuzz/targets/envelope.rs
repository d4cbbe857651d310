//! No answer is taken for a success that does not say so, and none makes the parser panic.

#![no_main]

use cloudflare_queues::{fuzzing, types::AckResult};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|answer: &[u8]| {
    match fuzzing::open::<AckResult>(answer) {
        Some(Ok(_)) => {
            let answer: Value = serde_json::from_slice(answer).unwrap();
            assert_eq!(answer["success"], true);
            assert!(answer["result"].is_object());
        }
        Some(Err(error)) => drop(format!("{error} {error:?}")),
        None => {}
    }
});
