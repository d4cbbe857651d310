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
    result: Option<&'a RawValue>,
}

fuzz_target!(|response: &[u8]| {
    match fuzzing::ack(response) {
        Ok(()) => {
            // What is passed over need not even be UTF-8.
            let response = String::from_utf8_lossy(response);
            let response = response.strip_prefix('\u{feff}').unwrap_or(&response);
            let response: Response<'_> = serde_json::from_str(response).unwrap();
            assert!(response.success);
            // Counts and warnings may be missing.
            assert!(response.result.is_none_or(|result| result.get().starts_with('{')));
        }
        Err(error) => drop(format!("{error} {error:?}")),
    }
});
