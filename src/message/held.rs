//! How long a message is held for certain, also after its lease was extended.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

use crate::flow::{
    clock::{Clock, Moment},
    contained::lock,
};

/// How often to look whether a lease is lost.
const LOOK: Duration = Duration::from_secs(5);

/// The state of a message's lease: how long it lasts for certain, and when it is lost. See
/// [`Message::lease`](crate::Message::lease).
///
/// A [`Consumer`](crate::Consumer) extends the lease while a handler works. If the service refuses, or an extension
/// does not succeed in time, the lease is lost: another consumer may receive the message, and the work may be done
/// twice.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// # use cloudflare_queues::{PushMessage, testing};
/// # let message = testing::message(PushMessage::text("hello"));
/// # async fn work() {}
/// let lease = message.lease();
/// tokio::select! {
///     () = work() => println!("done"),
///     () = lease.lost() => println!("gave up: another consumer may have the message"),
/// }
/// # });
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct HeldLease {
    first: std::time::Instant,
    extended: Extended,
}

impl HeldLease {
    /// The earliest time at which the lease expires, given what the service has confirmed so far.
    pub fn deadline(&self) -> std::time::Instant {
        self.extended.deadline().unwrap_or(self.first)
    }

    /// Whether the lease may have expired.
    ///
    /// A lease also ends by the wall clock, which runs on while the machine is suspended. If that clock is set forward,
    /// leases count as lost too early.
    pub fn is_lost(&self) -> bool {
        self.remaining().is_zero()
    }

    /// How long it lasts at least, from now, by both clocks.
    pub(crate) fn remaining(&self) -> Duration {
        let by_one = || self.first.saturating_duration_since(Instant::now().into_std());
        self.extended.remaining().unwrap_or_else(by_one)
    }

    /// Waits until the lease may have expired, including all extensions until then.
    ///
    /// This needs a tokio runtime with timers.
    pub async fn lost(&self) {
        while !self.is_lost() {
            // The end of a suspension is noticed by looking.
            sleep_until((Instant::now() + LOOK).min(self.deadline().into())).await;
        }
    }
}

/// When a message's lease ends after its last extension. Clones share it, as the messages of a pull do until a consumer
/// extends their leases, and it does not count when messages are compared. None for a message that was not pulled.
#[derive(Clone, Debug, Default)]
pub(crate) struct Extended(Option<Arc<Until>>);

#[derive(Debug)]
struct Until {
    deadline: Mutex<Moment>,
    clock: Clock,
}

impl Extended {
    /// For a lease, or for all of a pull.
    pub(crate) fn from(deadline: Moment, clock: &Clock) -> Self {
        Self(Some(Arc::new(Until { deadline: Mutex::new(deadline), clock: clock.clone() })))
    }

    pub(crate) fn until(&self) -> Option<Moment> {
        Some(*lock(&self.0.as_ref()?.deadline))
    }

    pub(crate) fn deadline(&self) -> Option<std::time::Instant> {
        Some(self.until()?.instant)
    }

    pub(crate) fn is_lost(&self) -> Option<bool> {
        Some(self.remaining()?.is_zero())
    }

    fn remaining(&self) -> Option<Duration> {
        let Until { clock, .. } = &**self.0.as_ref()?;
        Some(self.until()?.remaining(clock))
    }

    /// An extension never shortens what was certain before.
    pub(crate) fn extend(&self, deadline: Moment) {
        if let Some(until) = &self.0 {
            let mut until = lock(&until.deadline);
            if deadline.instant > until.instant {
                *until = deadline;
            }
        }
    }

    pub(crate) fn held(&self, first: std::time::Instant) -> HeldLease {
        HeldLease { first, extended: self.clone() }
    }
}

impl PartialEq for Extended {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}
