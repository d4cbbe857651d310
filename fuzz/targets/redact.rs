//! No run of eight bytes of a body that was sent is left in the service's words.

#![no_main]

use cloudflare_queues::fuzzing;
use libfuzzer_sys::fuzz_target;
use serde_json::json;

fuzz_target!(|input: (&str, &str)| {
    let (secret, text) = input;
    let request = json!({ "body": { secret: [secret, 7] }, "content_type": "json" }).to_string();
    let shown = fuzzing::redact(request.as_bytes(), text);
    let shown = shown.split("[redacted]").flat_map(|part| part.as_bytes().windows(8)).collect::<Vec<_>>();
    if !fuzzing::is_word(secret) {
        assert!(!secret.as_bytes().windows(8).any(|part| shown.contains(&part)));
    }
});
