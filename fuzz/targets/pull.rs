//! Every message of a pull's response is returned or counted, however it is read, and none makes a decoder panic.

#![no_main]

use cloudflare_queues::fuzzing;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|response: &[u8]| {
    for (batch, entries) in fuzzing::pull(response).into_iter().flatten() {
        assert_eq!(batch.len() + batch.without_lease + batch.duplicates, entries);
        for message in &batch {
            assert!(!message.lease_id.expose_secret().is_empty());
            let _ = (message.body.json::<Value>(), message.body.text(), message.body.bytes());
        }
    }
});
