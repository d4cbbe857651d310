//! Every message of a pull's answer is handed out or counted, and none makes a decoder panic.

#![no_main]

use cloudflare_queues::{fuzzing, types::PullResult};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|answer: &[u8]| {
    let Some(Ok(result)) = fuzzing::open::<PullResult>(answer) else { return };
    let sent = result.messages.as_ref().map_or(0, Vec::len);
    let batch = fuzzing::batch(result);
    assert_eq!(batch.len() + batch.without_lease, sent);
    for message in &batch {
        assert!(!message.lease_id.expose_secret().is_empty());
        let _ = (message.json::<Value>(), message.text(), message.bytes());
    }
});
