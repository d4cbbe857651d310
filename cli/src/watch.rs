//! Repeats a request, and shows each result.

use std::{io, time::Duration};

use cloudflare_queues::Error;
use tokio::time::sleep;

use crate::{exit::Failure, patience::Failures, progress::Progress};

/// Calls `look` and shows its result, until the output is closed or the service refuses. It reports transient failures,
/// and waits longer after each.
pub(crate) async fn watch<T>(
    interval: Duration,
    look: impl AsyncFn() -> Result<T, Error>,
    mut show: impl AsyncFnMut(T) -> io::Result<()>,
) -> Result<(), Failure> {
    let (mut failures, progress) = (Failures::default(), Progress::hidden());
    loop {
        let wait = match look().await {
            Ok(seen) => {
                failures = Failures::default();
                show(seen).await?;
                interval
            }
            Err(error) if error.is_transient() => {
                progress.remark("look", &error.to_string());
                failures.pause(&error)
            }
            Err(error) => return Err(error.into()),
        };
        sleep(wait).await;
    }
}
