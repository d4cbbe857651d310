//! The way to what is private, for `fuzz/`: cargo-fuzz builds with `--cfg fuzzing`.

use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::{envelope::Envelope, error::Error, generated::types::PullResult, pull::Batch, queue};

/// The result of an answer with status 200; `None` if it is no envelope.
pub fn open<T: DeserializeOwned>(answer: &[u8]) -> Option<Result<T, Error>> {
    serde_json::from_slice::<Envelope<T>>(answer).ok().map(Envelope::open)
}

/// The batch that a pull's result becomes.
pub fn batch(result: PullResult) -> Batch {
    queue::batch(result, Instant::now())
}
