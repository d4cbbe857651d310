//! No lease is taken to be extended unless the response says success, and counts it.

#![no_main]

use cloudflare_queues::fuzzing;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|response: &[u8]| {
    let Some(extended) = fuzzing::extend(response) else { return };
    let extended = extended.into_iter().filter(|is_extended| *is_extended).count();
    if extended > 0 {
        let response: Value = serde_json::from_str(&String::from_utf8_lossy(response)).unwrap();
        assert_eq!(response["success"], true);
        assert_eq!(response["result"]["extendCount"].as_f64(), Some(extended as f64));
    }
});
