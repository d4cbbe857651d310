//! Every message of a pull's response is returned or counted, and is the same however it is read; none makes a decoder
//! panic.

#![no_main]

use cloudflare_queues::fuzzing;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|response: &[u8]| {
    let [by_document, whole, freed] = fuzzing::pull(response);
    assert_eq!(whole, freed);
    if by_document.is_some() {
        assert_eq!(whole, by_document);
    }
    if let Some((batch, entries)) = whole {
        assert_eq!(batch.len() + batch.without_lease + batch.duplicates, entries);
        for message in &batch {
            assert!(!message.lease_id.expose_secret().is_empty());
            let _ = (message.body.json::<Value>(), message.body.text(), message.body.bytes());
        }
    }
});
