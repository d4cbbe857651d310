//! A queue's description and its settings are written as they were read, what is not known of them included.

#![no_main]

use cloudflare_queues::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|json: &[u8]| {
    if let Some([once, twice]) = fuzzing::description(json) {
        assert_eq!(once, twice);
    }
});
