//! No response is taken for a success that does not say so, and none makes the parser panic.

#![no_main]

use cloudflare_queues::fuzzing;
use libfuzzer_sys::fuzz_target;
use serde::Deserialize;
use serde_json::value::RawValue;

#[derive(Deserialize)]
struct Response<'a> {
    success: bool,
    #[serde(borrow)]
    result: &'a RawValue,
}

fuzz_target!(|response: &[u8]| {
    match fuzzing::ack(response) {
        Some(Ok(())) => {
            // What is passed over need not even be UTF-8.
            let response = String::from_utf8_lossy(response);
            let response: Response<'_> = serde_json::from_str(&response).unwrap();
            assert!(response.success);
            assert!(response.result.get().starts_with('{'));
        }
        Some(Err(error)) => drop(format!("{error} {error:?}")),
        None => {}
    }
});
