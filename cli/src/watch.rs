//! Repeats a request, and shows each result.

use std::{io, time::Duration};

use cloudflare_queues::Error;
use tokio::time::sleep;

use crate::{exit::Failure, patience::Failures, progress::Progress};

/// Calls `look` and shows its result, until the output is closed or the service refuses. It reports transient failures,
/// and waits longer after each; if it is bounded, it ends when they last too long.
pub(crate) async fn watch<T>(
    interval: Duration,
    is_bounded: bool,
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
            Err(error) => {
                let pause = match is_bounded {
                    true => failures.bounded_pause(&error),
                    false => error.is_transient().then(|| failures.pause(&error)),
                };
                let Some(pause) = pause else { return Err(error.into()) };
                progress.remark("look", &error.to_string());
                pause
            }
        };
        sleep(wait).await;
    }
}

#[cfg(test)]
mod tests {
    use cloudflare_queues::emulator::{EmulatedQueue, Emulator, Fault};
    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_a_bounded_watch_ends_during_an_outage() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        for is_bounded in [true, false] {
            let emulator = Emulator::builder().queue(EmulatedQueue::new()).in_process();
            let queue = emulator.queue().unwrap();
            emulator.inject(Fault::ServerError(503).until_removed());
            let watching = watch(Duration::from_secs(1), is_bounded, async || queue.metrics().await, async |_| Ok(()));
            let ended = timeout(Duration::from_secs(3600), watching).await;
            assert_eq!(ended.is_ok_and(|ended| ended.is_err()), is_bounded);
        }
    }
}
