//! How often the queue delivers a message, and raising that for the time of a sweep.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use cloudflare_queues::{
    Error, Queue,
    manage::{ConsumerDescription, ConsumerSettings},
};
use tokio::sync::Mutex;

use crate::{
    backlog,
    exit::{Exit, Failure},
    progress::Progress,
};

/// The service's default.
const DEFAULT_RETRIES: u32 = 3;
/// The service's maximum.
const MOST_RETRIES: u32 = 100;

pub(super) struct Allowance {
    queue: Queue,
    consumer: ConsumerDescription,
    /// What the queue allows now.
    retries: AtomicU32,
    /// What it may allow now, if the response to a raise was lost.
    may_be: AtomicU32,
    /// Whether the user allows raising it.
    pub(super) may_raise: bool,
    /// Whether a message was seen whose next delivery is its last one, or was.
    is_scarce: AtomicBool,
    raising: Mutex<()>,
}

impl Allowance {
    pub(super) async fn of(queue: &Queue, may_raise: bool) -> Result<Self, Failure> {
        let consumer = backlog::pull_consumer(queue).await?;
        let before = consumer.max_retries().unwrap_or(DEFAULT_RETRIES);
        let (retries, may_be) = (before.into(), before.into());
        let (is_scarce, raising) = (AtomicBool::new(false), Mutex::default());
        Ok(Self { queue: queue.clone(), consumer, retries, may_be, may_raise, is_scarce, raising })
    }

    /// Whether to look at messages before they are pulled, since some have no delivery to spare.
    pub(super) fn is_scarce(&self) -> bool {
        !self.may_raise && self.is_scarce.load(Ordering::Relaxed)
    }

    pub(super) fn note_scarcity(&self) {
        self.is_scarce.store(true, Ordering::Relaxed);
    }

    pub(super) fn retries(&self) -> u32 {
        self.retries.load(Ordering::Relaxed)
    }

    /// What the queue allowed at the start.
    fn before(&self) -> u32 {
        self.consumer.max_retries().unwrap_or(DEFAULT_RETRIES)
    }

    pub(super) fn consumer(&self) -> &ConsumerDescription {
        &self.consumer
    }

    /// What happens to a message after its last delivery.
    pub(super) fn end(&self) -> String {
        backlog::end_of_last_delivery(&self.consumer)
    }

    /// Whether a message that was delivered so often is delivered again.
    pub(super) fn allows(&self, attempts: Option<u32>) -> bool {
        attempts.is_none_or(|attempts| attempts <= self.retries())
    }

    /// Has the queue deliver messages again that were delivered so often.
    pub(super) async fn raise(&self, attempts: Option<u32>, progress: &Progress) -> Result<(), Failure> {
        let _raising = self.raising.lock().await;
        let Some(attempts) = attempts.filter(|attempts| !self.allows(Some(*attempts))) else { return Ok(()) };
        if attempts > MOST_RETRIES {
            let what = format!("max_retries cannot be raised to {attempts}: the service takes {MOST_RETRIES} at most");
            return Err(Failure::new(Exit::Refused, what));
        }
        // Told before, since the program may be killed, or the response lost.
        let what = format!("max_retries of the queue is being raised from {} to {attempts}", self.before());
        progress.remark("raised", &format!("{what}; if this is killed, set it back"));
        let raised = self.set(attempts).await;
        if raised.as_ref().map_or_else(Error::may_have_arrived, |()| true) {
            self.may_be.store(attempts, Ordering::Relaxed);
        }
        raised?;
        self.retries.store(attempts, Ordering::Relaxed);
        Ok(())
    }

    /// Sets it back if it may be raised. A message that has been delivered more often by then is delivered once more.
    pub(super) async fn restore(&self) -> Result<(), Failure> {
        let (before, may_be) = (self.before(), self.may_be.load(Ordering::Relaxed));
        if may_be != before {
            let note = format!("max_retries of the queue may be {may_be} now; set it back to {before}");
            self.set(before).await.map_err(|error| Failure::from(error).with_note(&note))?;
        }
        Ok(())
    }

    async fn set(&self, retries: u32) -> Result<(), Error> {
        let settings = ConsumerSettings::from(&self.consumer).max_retries(retries);
        let _ = self.queue.update_consumer(&self.consumer.id()?, &settings).await?;
        Ok(())
    }
}
