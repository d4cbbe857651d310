//! Who waits for the outcomes of all that was submitted before.

use tokio::sync::oneshot;

/// Counts what is submitted. Items wait first, the last ones submitted, and are then in flight.
#[derive(Default)]
pub(crate) struct Flushes {
    submitted: u64,
    /// How many of them do not wait for others to share their request.
    flushed: u64,
    /// Tasks that wait until this many items have their outcome.
    tasks: Vec<(u64, oneshot::Sender<()>)>,
}

impl Flushes {
    pub(crate) fn submit(&mut self) {
        self.submitted = self.submitted.saturating_add(1);
    }

    pub(crate) fn flush(&mut self, done: oneshot::Sender<()>) {
        self.flushed = self.submitted;
        self.tasks.push((self.submitted, done));
    }

    /// How many items were submitted before those that wait.
    pub(crate) fn taken(&self, waiting: usize) -> u64 {
        self.submitted.saturating_sub(waiting as u64)
    }

    /// Whether some of those that wait were flushed.
    pub(crate) fn is_due(&self, waiting: usize) -> bool {
        self.flushed > self.taken(waiting)
    }

    /// Notifies tasks. `first` is how many items were submitted before those in flight.
    pub(crate) fn tell(&mut self, waiting: usize, first: Option<u64>) {
        let settled = first.unwrap_or(u64::MAX).min(self.taken(waiting));
        // A task may have given up, and flush again and again while the service fails.
        for (_, done) in self.tasks.extract_if(.., |(before, done)| *before <= settled || done.is_closed()) {
            let _ = done.send(());
        }
    }

    /// Nothing has an outcome any more.
    pub(crate) fn clear(&mut self) {
        self.tasks.clear();
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.tasks.len()
    }
}
