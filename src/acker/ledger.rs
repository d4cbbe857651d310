//! The leases that are waiting to be sent, and those whose outcome is not known yet.

use std::{
    collections::{HashSet, VecDeque},
    future::Future,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Notify, Semaphore, oneshot, watch},
    time::Instant,
};

use super::receipt::{Observer, stopped};
use crate::{
    error::Error,
    flow::flushes::Flushes,
    http::transport,
    message::{
        confirmation::Confirmation,
        lease::LeaseId,
        limits::{self, MAX_LEASES},
        settlement::Settlement,
    },
};

/// A lease is sent this long before it expires, whatever the linger, since an acknowledgement is known to take up to
/// 2.4 s. A lease with less than twice that time left is sent halfway through its remaining time.
const BEFORE_LEASE_END: Duration = Duration::from_secs(5);
/// The maximum number of waiting leases without a caller: about three megabytes.
const MAX_DETACHED: usize = 10_000;

/// A lease on its way to its outcome.
pub(super) struct Pending {
    pub(super) settlement: Settlement,
    send_by: Instant,
    observer: Option<Observer>,
    /// `None` if nobody waits for the outcome, or waited for room in the buffer.
    reply: Option<oneshot::Sender<Result<Confirmation, Error>>>,
}

impl Pending {
    pub(super) fn new(
        settlement: Settlement,
        linger: Duration,
        observer: Option<Observer>,
        reply: Option<oneshot::Sender<Result<Confirmation, Error>>>,
    ) -> Self {
        let (now, lingered) = (Instant::now(), transport::after(linger));
        let left = settlement.lease.deadline().map(|deadline| Instant::from_std(deadline).duration_since(now));
        let urgent = left.map(|left| match left.saturating_sub(BEFORE_LEASE_END).max(left / 2) {
            // An expired lease is late anyway, and waits for others, but not for long.
            Duration::ZERO => now + BEFORE_LEASE_END,
            wait => now + wait,
        });
        Self { settlement, send_by: urgent.map_or(lingered, |urgent| urgent.min(lingered)), observer, reply }
    }

    pub(super) fn reply(mut self, outcome: Result<Confirmation, Error>) {
        if let Some(observe) = self.observer.take() {
            observe(&outcome);
        }
        if let Some(reply) = self.reply.take() {
            // Receipts may be ignored.
            let _ = reply.send(outcome);
        }
    }
}

/// Its request was dropped with the runtime, or has panicked.
impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(observe) = self.observer.take() {
            observe(&Err(Error::dropped()));
        }
    }
}

/// State shared by an acker's handles and its worker.
pub(super) struct Ledger {
    entries: Mutex<Entries>,
    /// Tells the worker that there may be work.
    pub(super) changed: Notify,
    /// A permit for each waiting lease. Closed when the worker is gone.
    pub(super) room: Semaphore,
    /// The number of sources that add leases even after the acker is closed.
    late: watch::Sender<usize>,
}

#[derive(Default)]
struct Entries {
    /// Waiting or in flight.
    claimed: HashSet<LeaseId>,
    /// In order of arrival.
    waiting: VecDeque<Pending>,
    /// How many of them have no caller.
    detached: usize,
    /// How many were left to expire.
    left: u64,
    /// When to send waiting leases that do not fill a request.
    due: Option<Instant>,
    flushes: Flushes,
    is_closed: bool,
    /// Waiting leases do not wait for others to share their request.
    is_hurried: bool,
    /// No handle is left.
    is_abandoned: bool,
    is_stopped: bool,
}

impl Entries {
    /// Claims a lease, unless it is refused. The first decision counts until its outcome is known.
    fn claim(&mut self, pending: &Pending, is_late: bool) -> Result<(), Error> {
        limits::settlement(&pending.settlement)?;
        if self.is_stopped {
            return Err(stopped());
        }
        if self.is_closed && !is_late {
            return Err(Error::invalid("acker: it is closed"));
        }
        // What is late is bounded where it comes from.
        if pending.reply.is_none() && !is_late && self.detached >= MAX_DETACHED {
            return Err(Error::invalid("acker: too many dropped leases are waiting"));
        }
        if !self.claimed.insert(pending.settlement.lease.id().clone()) {
            return Err(Error::invalid("lease_id: the lease is being acknowledged or retried already"));
        }
        Ok(())
    }

    /// Whether to send waiting leases, with this much room left for more.
    fn is_due(&self, room: usize) -> bool {
        !self.waiting.is_empty()
            && (self.waiting.len() >= MAX_LEASES
                || room == 0
                || self.is_abandoned
                || self.is_hurried
                || self.flushes.is_due(self.waiting.len())
                || self.due.is_none_or(|due| due <= Instant::now()))
    }
}

/// What the worker has to do.
pub(super) enum Work {
    /// A request for these leases is due. This many leases were added before them.
    Send(u64, Vec<Pending>),
    /// Waiting leases are due then.
    Wait(Option<Instant>),
    /// All handles are gone, and nothing waits.
    Done,
}

impl Ledger {
    pub(super) fn new(buffer: usize) -> Self {
        Self {
            entries: Mutex::default(),
            changed: Notify::new(),
            room: Semaphore::new(buffer.clamp(1, Semaphore::MAX_PERMITS)),
            late: watch::Sender::new(0),
        }
    }

    /// Registers a lease, or one that `is_late` even if the acker is closed. A refusal is an outcome as well.
    pub(super) fn add(&self, pending: Pending, is_late: bool) -> Result<(), Error> {
        let mut entries = self.entries();
        if let Err(error) = entries.claim(&pending, is_late) {
            drop(entries);
            pending.reply(Err(error.clone()));
            return Err(error);
        }
        let is_earlier = entries.due.is_none_or(|due| pending.send_by < due);
        if is_earlier {
            entries.due = Some(pending.send_by);
        }
        entries.detached = entries.detached.saturating_add(usize::from(pending.reply.is_none()));
        entries.flushes.submit();
        entries.waiting.push_back(pending);
        let is_full = entries.waiting.len() == MAX_LEASES || entries.is_hurried || self.room.available_permits() == 0;
        drop(entries);
        // Otherwise, nothing changes for the worker.
        if is_earlier || is_full {
            self.changed.notify_one();
        }
        Ok(())
    }

    /// Counts a lease that is left to expire, and returns how many there were.
    pub(super) fn leave(&self) -> u64 {
        let mut entries = self.entries();
        entries.left = entries.left.saturating_add(1);
        entries.left
    }

    /// Takes the leases of the next request, if one is due and `has_room`.
    pub(super) fn take(&self, has_room: bool) -> Work {
        let mut entries = self.entries();
        if entries.waiting.is_empty() && entries.is_abandoned {
            return Work::Done;
        }
        if !entries.is_due(self.room.available_permits()) {
            return Work::Wait(entries.due);
        }
        if !has_room {
            return Work::Wait(None);
        }
        let waiting = entries.waiting.len();
        let (first, count) = (entries.flushes.taken(waiting), waiting.min(MAX_LEASES));
        let group: Vec<Pending> = entries.waiting.drain(..count).collect();
        let detached = group.iter().filter(|pending| pending.reply.is_none()).count();
        entries.detached = entries.detached.saturating_sub(detached);
        // If more than one request is waiting, the time of the rest does not matter.
        entries.due = entries.waiting.iter().take(MAX_LEASES).map(|pending| pending.send_by).min();
        drop(entries);
        self.room.add_permits(count.saturating_sub(detached));
        Work::Send(first, group)
    }

    /// Whether a request is due.
    pub(super) fn is_due(&self) -> bool {
        self.entries().is_due(self.room.available_permits())
    }

    /// Lets leases be submitted again.
    pub(super) fn release<'a>(&self, group: impl Iterator<Item = &'a Pending>) {
        let mut entries = self.entries();
        for pending in group {
            entries.claimed.remove(pending.settlement.lease.id());
        }
    }

    /// Accepts no more leases.
    pub(super) fn close(&self) {
        self.entries().is_closed = true;
    }

    /// Sends waiting leases, and from now on each lease as soon as requests in flight allow.
    pub(super) fn hurry(&self) {
        self.entries().is_hurried = true;
        self.changed.notify_one();
    }

    /// A source of leases starts or ends.
    pub(super) fn count_late(&self, change: impl FnOnce(usize) -> usize) {
        self.late.send_modify(|late| *late = change(*late));
    }

    /// Completes when there is no source of leases any more. `None` if there is none.
    pub(super) fn late(&self) -> Option<impl Future<Output = ()>> {
        let mut late = self.late.subscribe();
        if *late.borrow() == 0 {
            return None;
        }
        Some(async move {
            // The channel lives as long as the acker.
            let _ = late.wait_for(|late| *late == 0).await;
        })
    }

    /// Sends waiting leases, and completes when all leases added so far have their outcome.
    pub(super) fn flush(&self) -> oneshot::Receiver<()> {
        let (done, flushed) = oneshot::channel();
        let mut entries = self.entries();
        // If the worker is gone, nothing is left to send, and the channel is closed.
        if !entries.is_stopped {
            entries.flushes.flush(done);
        }
        drop(entries);
        self.changed.notify_one();
        flushed
    }

    /// Notifies tasks that flushed. `first` is the number of leases before the first request in flight.
    pub(super) fn tell_flushed(&self, first: Option<u64>) {
        let mut entries = self.entries();
        let waiting = entries.waiting.len();
        entries.flushes.tell(waiting, first);
    }

    /// The last handle is gone.
    pub(super) fn abandon(&self) {
        self.entries().is_abandoned = true;
        self.changed.notify_one();
    }

    /// The worker is gone: waiting leases were not sent, and will not be.
    pub(super) fn stop(&self) {
        self.room.close();
        let mut entries = self.entries();
        entries.is_stopped = true;
        entries.flushes.clear();
        let waiting = std::mem::take(&mut entries.waiting);
        drop(entries);
        waiting.into_iter().for_each(|pending| pending.reply(Err(stopped())));
    }

    #[cfg(test)]
    pub(super) fn flushes(&self) -> usize {
        self.entries().flushes.len()
    }

    #[cfg(test)]
    pub(super) fn claimed_leases(&self) -> Vec<LeaseId> {
        self.entries().claimed.iter().cloned().collect()
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
