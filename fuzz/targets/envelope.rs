//! No response is taken for a success that does not say so, and none makes the parser panic.

#![no_main]

use cloudflare_queues::fuzzing;
use libfuzzer_sys::fuzz_target;
use serde::Deserialize;

#[derive(Deserialize)]
struct Response {
    success: bool,
}

fuzz_target!(|response: &[u8]| {
    match fuzzing::ack(response) {
        Ok(()) => {
            // What is passed over need not even be UTF-8.
            let response = String::from_utf8_lossy(response);
            let response = response.strip_prefix('\u{feff}').unwrap_or(&response);
            let response: Response = serde_json::from_str(response).unwrap();
            // The result may be missing, or of any form.
            assert!(response.success);
        }
        Err(error) => drop(format!("{error} {error:?}")),
    }
});
