//! What can be changed while a consumer runs.

use std::{future::Future, mem, pin::Pin};

use tokio::sync::watch;

use super::handle::Consumer;

/// Shared by a consumer with its clones, their runs and their streams.
#[derive(Clone, Debug, Default)]
pub(super) struct Control(watch::Sender<Wanted>);

#[derive(Debug, Default)]
struct Wanted {
    is_paused: bool,
    /// Instead of what was set.
    concurrency: Option<usize>,
}

pub(super) type Changed = Pin<Box<dyn Future<Output = ()> + Send + Sync>>;

impl Control {
    pub(super) fn is_paused(&self) -> bool {
        self.0.borrow().is_paused
    }

    pub(super) fn concurrency(&self) -> Option<usize> {
        self.0.borrow().concurrency
    }

    /// Completes with the first change after this call.
    pub(super) fn changed(&self) -> Changed {
        let mut wanted = self.0.subscribe();
        Box::pin(async move { drop(wanted.changed().await) })
    }
}

/// Control of what runs: by any clone of the consumer, for all its clones, in all their runs and streams.
///
/// ```
/// # use cloudflare_queues::{Consumer, PushMessage, consumer::Status, emulator::Emulator};
/// # use std::time::Duration;
/// # tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build()?.block_on(async {
/// # let queue = Emulator::in_process().queue()?;
/// # queue.push(&PushMessage::text("a job")).await?;
/// let consumer = Consumer::new(queue).concurrency(20);
/// let control = consumer.clone(); // for a signal, or an endpoint of yours
/// let stop = async move {
///     control.pause(); // while a database is down, for example
///     tokio::time::sleep(Duration::from_millis(20)).await;
///     assert_eq!((control.health().status, control.stats().pulls), (Status::Paused, 0));
///     control.set_concurrency(2); // it has to be treated with care
///     control.resume();
///     tokio::time::sleep(Duration::from_millis(20)).await;
/// };
/// let report = consumer.run_until(stop, |_message| async {}).await?;
/// assert_eq!(report.stats.acknowledged, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
impl<D> Consumer<D> {
    /// Pulls nothing until [`resume`](Self::resume) is called. A run that starts meanwhile pulls nothing either.
    ///
    /// Messages that were pulled before are still handled, and their leases extended. The [health](Self::health) is
    /// [`Paused`](super::Status::Paused), which counts as healthy: a restart would end the pause.
    pub fn pause(&self) {
        self.settings.control.0.send_if_modified(|wanted| !mem::replace(&mut wanted.is_paused, true));
    }

    /// Ends a [pause](Self::pause).
    pub fn resume(&self) {
        self.settings.control.0.send_if_modified(|wanted| mem::take(&mut wanted.is_paused));
    }

    /// Changes how many handlers run at the same time, instead of [`concurrency`](Self::concurrency). Zero counts as
    /// one.
    ///
    /// Handlers that run already are not dropped. Messages that were prefetched for more handlers wait longer, while
    /// their leases are extended.
    pub fn set_concurrency(&self, handlers: usize) {
        let is_new = |wanted: &mut Wanted| wanted.concurrency.replace(handlers) != Some(handlers);
        self.settings.control.0.send_if_modified(is_new);
    }
}
