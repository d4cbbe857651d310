//! Faults, and the requests that they apply to.

use std::{collections::VecDeque, time::Duration};

use crate::document::operation::Operation;

/// A fault of one request. Delays follow tokio's clock, which tests can pause, not the emulator's.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Fault {
    /// The request is not carried out, and refused with status 429.
    RateLimited {
        /// The service's code, such as 10250.
        code: i64,
        /// The `Retry-After`, if any, in whole seconds.
        retry_after: Option<Duration>,
    },
    /// The request is not carried out, and refused with status 403 and code 9109, as for a token without the
    /// permission.
    Forbidden,
    /// The request is not carried out: the firewall sends a challenge, with status 403 and an HTML page.
    Challenged,
    /// The request is not carried out, and the response has a status such as 502 and an HTML page.
    ServerError(u16),
    /// The request is not carried out, and the response has `success: false` with status 200.
    NotSuccess,
    /// The request is carried out, and the response is delayed.
    Delay(Duration),
    /// The request is carried out, and the response is cut off half-way.
    CutOff,
    /// The request is not carried out, and the connection is reset.
    ResetBefore,
    /// The request is carried out, and the connection is reset instead of a response.
    ResetAfter,
    /// The network is slow.
    Slow {
        /// How long the request takes to arrive.
        before: Duration,
        /// How long the response, or the reset instead of it, takes to arrive.
        after: Duration,
        /// Another fault of the same request.
        fault: Option<Box<Fault>>,
    },
}

impl Fault {
    /// Applies the fault to a request of this operation instead of any.
    pub fn on(self, operation: Operation) -> Injection {
        Injection::from(self).on(operation)
    }

    /// Applies the fault to every request until it is [removed](super::Emulator::remove_faults).
    pub fn until_removed(self) -> Injection {
        Injection::from(self).until_removed()
    }
}

/// A fault, and the requests that it applies to: by default, the next one of any operation.
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
/// // The token may pull, but not acknowledge.
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
#[must_use = "a fault does nothing until it is injected"]
pub struct Injection {
    fault: Fault,
    /// Empty for all operations.
    operations: Vec<Operation>,
    stays: bool,
}

impl From<Fault> for Injection {
    fn from(fault: Fault) -> Self {
        Self { fault, operations: Vec::new(), stays: false }
    }
}

impl Injection {
    /// Also applies the fault to requests of this operation.
    pub fn on(mut self, operation: Operation) -> Self {
        self.operations.push(operation);
        self
    }

    /// Applies the fault to every such request until it is [removed](super::Emulator::remove_faults).
    pub fn until_removed(mut self) -> Self {
        self.stays = true;
        self
    }

    /// `operation` is `None` for a request to no operation.
    fn is_for(&self, operation: Option<Operation>) -> bool {
        self.operations.is_empty() || operation.is_some_and(|operation| self.operations.contains(&operation))
    }
}

/// The pending faults.
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

    /// The first one that applies to such a request.
    pub(super) fn next(&mut self, operation: Option<Operation>) -> Option<Fault> {
        let index = self.0.iter().position(|injection| injection.is_for(operation))?;
        match self.0.get(index) {
            Some(Injection { fault, stays: true, .. }) => Some(fault.clone()),
            _ => self.0.remove(index).map(|injection| injection.fault),
        }
    }
}
