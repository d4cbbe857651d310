//! How long a message is held for certain, also after its lease was extended.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use tokio::time::sleep_until;

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
    first: Instant,
    extended: Extended,
}

impl HeldLease {
    /// The earliest time at which the lease expires, given what the service has confirmed so far.
    pub fn deadline(&self) -> Instant {
        self.extended.deadline().unwrap_or(self.first)
    }

    /// Whether the lease may have expired.
    pub fn is_lost(&self) -> bool {
        self.deadline() <= tokio::time::Instant::now().into_std()
    }

    /// Waits until the lease may have expired, including all extensions until then.
    ///
    /// This needs a tokio runtime with timers.
    pub async fn lost(&self) {
        while !self.is_lost() {
            sleep_until(self.deadline().into()).await;
        }
    }
}

/// When a message's lease ends after its last extension. Clones share it, and it does not count when messages are
/// compared.
#[derive(Clone, Debug, Default)]
pub(crate) struct Extended(Option<Arc<Mutex<Instant>>>);

impl Extended {
    /// For a lease that will be extended.
    pub(crate) fn from(deadline: Instant) -> Self {
        Self(Some(Arc::new(Mutex::new(deadline))))
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        Some(*self.0.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// An extension never shortens what was certain before.
    pub(crate) fn extend(&self, deadline: Instant) {
        if let Some(extended) = &self.0 {
            let mut extended = extended.lock().unwrap_or_else(PoisonError::into_inner);
            *extended = deadline.max(*extended);
        }
    }

    pub(crate) fn held(&self, first: Instant) -> HeldLease {
        HeldLease { first, extended: self.clone() }
    }
}

impl PartialEq for Extended {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}
