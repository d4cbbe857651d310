//! What can go wrong with a request, and with which ones.

use std::{collections::VecDeque, time::Duration};

use crate::operation::Operation;

/// What goes wrong with one request. Delays are by tokio's clock, which tests can pause, not by the emulator's.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Fault {
    /// It is not carried out, and refused with status 429.
    RateLimited {
        /// The service's code, such as 10250.
        code: i64,
        /// The `Retry-After`, if there is to be one, in whole seconds.
        retry_after: Option<Duration>,
    },
    /// It is not carried out, and refused with status 403 and code 9109, as for a token that lacks the permission.
    Forbidden,
    /// It is not carried out: the firewall asks for a browser, with status 403 and a page of HTML.
    Challenged,
    /// It is not carried out, and the response has a status such as 502 and a page of HTML.
    ServerError(u16),
    /// It is not carried out, and the response says `success: false` under status 200.
    NotSuccess,
    /// It is carried out, and the response comes only after a while.
    Delay(Duration),
    /// It is carried out, and the response breaks off half-way.
    CutOff,
    /// It is not carried out, and the connection is reset.
    ResetBefore,
    /// It is carried out, and the connection is reset instead of a response.
    ResetAfter,
    /// The network is slow.
    Slow {
        /// How long the request takes to arrive.
        before: Duration,
        /// How long the response takes to arrive, or the reset in its place.
        after: Duration,
        /// What goes wrong beside that.
        fault: Option<Box<Fault>>,
    },
}

impl Fault {
    /// Has the fault befall a request of this operation, and let others pass.
    pub fn on(self, operation: Operation) -> Injection {
        Injection::from(self).on(operation)
    }

    /// Has the fault befall every request, until it is [removed](super::Emulator::remove_faults).
    pub fn until_removed(self) -> Injection {
        Injection::from(self).until_removed()
    }
}

/// A fault, and the requests that it befalls: the next one of any operation, unless it says otherwise.
///
/// ```
/// use cloudflare_queues::{AckRequest, ErrorKind, PullOptions, PushMessage};
/// use cloudflare_queues::emulator::{Emulator, Fault, Operation};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let emulator = Emulator::in_process();
/// let queue = emulator.queue()?;
/// queue.push(&PushMessage::text("hello")).await?;
///
/// // The token may pull, and not acknowledge.
/// emulator.inject(Fault::Forbidden.on(Operation::AckMessages).until_removed());
/// let request = AckRequest::ack_all(&queue.pull(PullOptions::new()).await?);
/// let failed = queue.ack(request).await.unwrap_err();
/// assert_eq!(failed.error.kind(), ErrorKind::Unauthorized);
///
/// emulator.remove_faults();
/// assert!(queue.ack(failed.unconfirmed).await?.is_complete());
/// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a fault befalls nothing until it is injected"]
pub struct Injection {
    fault: Fault,
    /// Of all operations if there is none.
    operations: Vec<Operation>,
    stays: bool,
}

impl From<Fault> for Injection {
    fn from(fault: Fault) -> Self {
        Self { fault, operations: Vec::new(), stays: false }
    }
}

impl Injection {
    /// Has the fault befall a request of this operation, beside those that were named before.
    pub fn on(mut self, operation: Operation) -> Self {
        self.operations.push(operation);
        self
    }

    /// Has the fault befall every such request, until it is [removed](super::Emulator::remove_faults).
    pub fn until_removed(mut self) -> Self {
        self.stays = true;
        self
    }

    /// `operation`: `None` for a request of none.
    fn is_for(&self, operation: Option<Operation>) -> bool {
        self.operations.is_empty() || operation.is_some_and(|operation| self.operations.contains(&operation))
    }
}

/// The faults that await requests.
#[derive(Default)]
pub(super) struct Faults(VecDeque<Injection>);

impl Faults {
    pub(super) fn add(&mut self, injection: Injection) {
        self.0.push_back(injection);
    }

    pub(super) fn remove_all(&mut self) {
        self.0.clear();
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The first one that befalls such a request.
    pub(super) fn next(&mut self, operation: Option<Operation>) -> Option<Fault> {
        let index = self.0.iter().position(|injection| injection.is_for(operation))?;
        match self.0.get(index) {
            Some(Injection { fault, stays: true, .. }) => Some(fault.clone()),
            _ => self.0.remove(index).map(|injection| injection.fault),
        }
    }
}
