//! The way to what is private, for `fuzz/`: cargo-fuzz builds with `--cfg fuzzing`.

use tokio::time::Instant;

use crate::{generated::types::PullResult, pull::Batch, wire};

pub use crate::{body::MessageBody, envelope::Envelope};

/// The batch that a pull's result becomes.
pub fn batch(result: PullResult) -> Batch {
    wire::batch(result, Instant::now())
}

/// The batch of a response that does not fit the document.
pub fn recover_batch(response: &[u8]) -> Option<Batch> {
    wire::recover_pull(response)?.into_parts().2.map(batch)
}
