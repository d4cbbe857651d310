//! The way to what is private, for `fuzz/`: cargo-fuzz builds with `--cfg fuzzing`.

use serde_json::Value;
use tokio::time::Instant;

use crate::{
    body::Body,
    envelope::Envelope,
    error::Error,
    generated::types::{AckResult, PullResult},
    pull::Batch,
    redact::Redactor,
    response, wire,
};

/// Whether an acknowledgement's response is a success; `None` if it is no envelope.
pub fn ack(response: &[u8]) -> Option<Result<(), Error>> {
    let envelope = serde_json::from_slice::<Envelope<AckResult>>(response).ok()?;
    Some(response::open_envelope(envelope).map(drop))
}

/// The batch of a pull's response and how many entries it had, as read at once and as read entry by entry.
pub fn pull(response: &[u8]) -> [Option<(Batch, usize)>; 2] {
    let at_once = serde_json::from_slice::<Envelope<PullResult>>(response).ok();
    [at_once, wire::recover_pull(response)].map(|envelope| {
        let result = response::open_envelope(envelope?).ok()?.result;
        let entries = result.messages.as_ref().map_or(0, Vec::len);
        Some((wire::batch(result, Instant::now()), entries))
    })
}

/// A body of this content type, as it is on the wire.
pub fn body(content_type: &str, raw: Value) -> Body {
    Body::new(raw.into(), content_type.to_owned().into())
}

/// A text of the service, after a request was sent.
pub fn redact(request: &[u8], text: &str) -> String {
    let mut redactor = Redactor::new(None);
    redactor.add_request(request);
    let mut text = text.to_owned();
    redactor.redact(&mut text);
    text
}
