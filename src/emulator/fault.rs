//! Faults, and the requests that they apply to.

use std::{collections::BTreeMap, time::Duration};

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
    /// The name of the fault over HTTP and in a log.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::RateLimited { .. } => "rate_limited",
            Self::Forbidden => "forbidden",
            Self::Challenged => "challenged",
            Self::ServerError(_) => "server_error",
            Self::NotSuccess => "not_success",
            Self::Delay(_) => "delay",
            Self::CutOff => "cut_off",
            Self::ResetBefore => "reset_before",
            Self::ResetAfter => "reset_after",
            Self::Slow { .. } => "slow",
        }
    }

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
    /// How many requests it still applies to; `None` until it is removed.
    left: Option<usize>,
}

impl From<Fault> for Injection {
    fn from(fault: Fault) -> Self {
        Self { fault, operations: Vec::new(), left: Some(1) }
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
        self.left = None;
        self
    }

    /// Applies the fault to the next requests of this number.
    pub fn times(mut self, requests: usize) -> Self {
        self.left = Some(requests);
        self
    }

    pub(super) fn fault(&self) -> &Fault {
        &self.fault
    }

    pub(super) fn operations(&self) -> &[Operation] {
        &self.operations
    }

    pub(super) fn left(&self) -> Option<usize> {
        self.left
    }

    /// `operation` is `None` for a request to no operation.
    fn is_for(&self, operation: Option<Operation>) -> bool {
        self.operations.is_empty() || operation.is_some_and(|operation| self.operations.contains(&operation))
    }
}

/// The pending faults by their ids, in order.
#[derive(Default)]
pub(super) struct Faults {
    pending: BTreeMap<u64, Injection>,
    last: u64,
}

impl Faults {
    /// Adds a fault, and returns its id.
    pub(super) fn add(&mut self, injection: Injection) -> u64 {
        self.last = self.last.saturating_add(1);
        if injection.left != Some(0) {
            self.pending.insert(self.last, injection);
        }
        self.last
    }

    pub(super) fn remove_all(&mut self) {
        self.pending.clear();
    }

    pub(super) fn remove(&mut self, id: u64) -> Option<Injection> {
        self.pending.remove(&id)
    }

    pub(super) fn pending(&self) -> impl Iterator<Item = (u64, &Injection)> {
        self.pending.iter().map(|(id, injection)| (*id, injection))
    }

    /// How many requests they apply to; one until it is removed counts as one.
    pub(super) fn len(&self) -> usize {
        let left = self.pending.values().map(|injection| injection.left.unwrap_or(1));
        left.fold(0, usize::saturating_add)
    }

    /// The first one that applies to such a request.
    pub(super) fn next(&mut self, operation: Option<Operation>) -> Option<Fault> {
        let (id, injection) = self.pending.iter_mut().find(|(_, injection)| injection.is_for(operation))?;
        injection.left = injection.left.map(|left| left.saturating_sub(1));
        let (id, fault) = (*id, injection.fault.clone());
        if injection.left == Some(0) {
            self.pending.remove(&id);
        }
        Some(fault)
    }
}
