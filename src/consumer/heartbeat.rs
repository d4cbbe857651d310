//! Extends leases shortly before they expire, while their messages wait or are handled.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    task::JoinSet,
    time::{Instant, Sleep, sleep_until},
};

use super::{recorder::Counter, settings::Settings};
use crate::{
    error::Error, extend::ExtendOutcome, held::Extended, lease::LeaseId, message::Message, queue::Queue,
    settlement::Lease,
};

/// The maximum number of leases in a request.
const GROUP: usize = 100;
/// The time between two attempts to extend the same lease.
const BETWEEN: Duration = Duration::from_millis(250);
/// A timeout is sent in whole milliseconds.
const ROUNDED: Duration = Duration::from_millis(1);
/// No lease is known to last longer than this, counted from the pull.
const LONGEST: Duration = Duration::from_secs(12 * 60 * 60);

pub(super) struct Heartbeat {
    queue: Queue,
    timeout: Duration,
    /// How long a lease is extended, counted from the pull.
    most: Duration,
    /// How long before its end a lease is extended: enough for several attempts.
    lead: Duration,
    leases: HashMap<u64, Held>,
    due: BTreeSet<(Instant, u64)>,
    next: u64,
    timer: Option<Pin<Box<Sleep>>>,
    requests: JoinSet<(Vec<Beat>, Option<Error>)>,
}

struct Held {
    lease_id: LeaseId,
    extended: Extended,
    deadline: Instant,
    /// When to stop extending the lease.
    until: Instant,
    due: Instant,
    is_worked_on: bool,
    is_under_way: bool,
    /// It is extended separately, since the service's count did not show which lease of its group failed.
    is_alone: bool,
}

/// The outcome of extending a lease.
struct Beat {
    key: u64,
    deadline: Option<std::time::Instant>,
    is_alone: bool,
}

impl Heartbeat {
    pub(super) fn new(queue: Queue, settings: &Settings) -> Self {
        let timeout = settings.pull.visibility_timeout;
        Self {
            queue,
            timeout,
            most: settings.heartbeat.min(LONGEST.saturating_sub(timeout)),
            lead: timeout / 3,
            leases: HashMap::new(),
            due: BTreeSet::new(),
            next: 0,
            timer: None,
            requests: JoinSet::new(),
        }
    }

    /// Keeps extending the lease of a pulled message until the key is used to stop.
    pub(super) fn hold(&mut self, message: &mut Message) -> u64 {
        let key = self.next;
        self.next = self.next.wrapping_add(1);
        message.extended = Extended::from(message.lease_deadline);
        let deadline = Instant::from_std(message.lease_deadline);
        let until = until(deadline, self.timeout, self.most);
        let due = deadline.checked_sub(self.lead).filter(|due| until > *due).unwrap_or(deadline);
        let held = Held {
            lease_id: message.lease_id.clone(),
            extended: message.extended.clone(),
            deadline,
            until,
            due,
            is_worked_on: false,
            is_under_way: false,
            is_alone: false,
        };
        self.leases.insert(key, held);
        self.due.insert((due, key));
        key
    }

    pub(super) fn work_on(&mut self, key: u64) {
        if let Some(held) = self.leases.get_mut(&key) {
            held.is_worked_on = true;
        }
    }

    pub(super) fn release(&mut self, key: u64) {
        if let Some(held) = self.leases.remove(&key) {
            self.due.remove(&(held.due, key));
        }
    }

    /// Does what is due, and ensures that the task is woken for what comes next.
    pub(super) fn poll(&mut self, context: &mut Context<'_>, counter: &Counter) {
        loop {
            while let Poll::Ready(Some(joined)) = self.requests.poll_join_next(context) {
                // A request that panicked has no outcome: its leases are lost when they expire.
                let (beats, error) = joined.unwrap_or_default();
                beats.into_iter().for_each(|beat| self.settle(beat, counter));
                if let Some(error) = error {
                    counter.failed(&error);
                }
            }
            let Some((first, _)) = self.due.first().copied() else { return };
            if first <= Instant::now() {
                self.beat(counter);
                continue;
            }
            if self.timer.as_ref().is_none_or(|timer| timer.is_elapsed() || timer.deadline() > first) {
                self.timer = Some(Box::pin(sleep_until(first)));
            }
            if self.timer.as_mut().is_some_and(|timer| timer.as_mut().poll(context).is_pending()) {
                return;
            }
        }
    }

    /// Extends all leases that are due now or soon, in few requests.
    fn beat(&mut self, counter: &Counter) {
        let now = Instant::now();
        let soon = now + self.lead / 2;
        let (mut group, mut later) = (Vec::new(), Vec::new());
        while let Some((due, key)) = self.due.first().copied().filter(|(due, _)| *due <= soon) {
            self.due.remove(&(due, key));
            let Some(held) = self.leases.get_mut(&key) else { continue };
            if held.deadline <= now {
                if held.is_worked_on {
                    counter.count(|stats| stats.lost_leases += 1);
                    tracing::warn!("a handler outlasts the lease of its message: another consumer may receive it");
                }
                continue;
            }
            if held.until > now && !held.is_under_way {
                held.is_under_way = true;
                group.push((key, Lease::new(&held.lease_id, held.deadline.into_std()), held.is_alone));
            }
            held.due = held.deadline;
            later.push((held.due, key));
        }
        self.due.extend(later);
        self.send(group);
    }

    fn send(&mut self, group: Vec<(u64, Lease, bool)>) {
        let (alone, together): (Vec<_>, Vec<_>) = group.into_iter().partition(|(.., is_alone)| *is_alone);
        let groups = alone.chunks(1).chain(together.chunks(GROUP));
        for group in groups {
            let leases = group.iter().map(|(key, lease, _)| (*key, lease.clone())).collect();
            self.requests.spawn(extend(self.queue.clone(), leases, self.timeout));
        }
    }

    fn settle(&mut self, beat: Beat, counter: &Counter) {
        let (now, lead) = (Instant::now(), self.lead);
        let Some(held) = self.leases.get_mut(&beat.key) else { return };
        self.due.remove(&(held.due, beat.key));
        held.is_under_way = false;
        held.is_alone |= beat.is_alone;
        let wait = if let Some(deadline) = beat.deadline {
            counter.count(|stats| stats.extended += 1);
            held.extended.extend(deadline);
            held.deadline = held.deadline.max(deadline.into());
            held.deadline.saturating_duration_since(now).saturating_sub(lead)
        } else {
            held.deadline.saturating_duration_since(now) / 4
        };
        held.due = (now + wait.max(BETWEEN)).min(held.deadline);
        self.due.insert((held.due, beat.key));
    }
}

/// Until when a lease is extended, counted from when its pull was sent: the service may count from any time after that.
pub(crate) fn until(deadline: Instant, timeout: Duration, most: Duration) -> Instant {
    deadline.checked_sub(timeout).unwrap_or(deadline) + most
}

/// Extends leases. A refused request is split, so that one bad lease does not affect the others.
async fn extend(queue: Queue, leases: Vec<(u64, Lease)>, timeout: Duration) -> (Vec<Beat>, Option<Error>) {
    let (mut groups, mut beats, mut error) = (vec![leases], Vec::new(), None);
    while let Some(mut group) = groups.pop() {
        let now = Instant::now().into_std();
        match queue.extend(group.iter().map(|(_, lease)| lease), timeout).await {
            Ok(outcome) => {
                let until = outcome.deadline().unwrap_or(now + timeout.saturating_sub(ROUNDED));
                beats.extend(read(group, &outcome, until));
            }
            Err(failed) if failed.error.refuses_the_request() && group.len() > 1 => {
                groups.push(group.split_off(group.len() / 2));
                groups.push(group);
            }
            Err(failed) => {
                tracing::warn!(error = %failed.error, leases = group.len(), "leases could not be extended");
                beats.extend(group.into_iter().map(|(key, _)| Beat { key, deadline: None, is_alone: false }));
                error = Some(failed.error);
            }
        }
    }
    (beats, error)
}

/// A lease without a warning is extended only if the count leaves no other possibility.
fn read(group: Vec<(u64, Lease)>, outcome: &ExtendOutcome, until: std::time::Instant) -> Vec<Beat> {
    let warned: HashSet<&LeaseId> = outcome.warnings.iter().filter_map(|warning| warning.subject.as_ref()).collect();
    let unwarned = group.iter().filter(|(_, lease)| !warned.contains(lease.id())).count() as u64;
    let is_clear = outcome.extend_count == Some(unwarned) && outcome.warnings.len() == warned.len();
    let beat = |(key, lease): (u64, Lease)| {
        let is_warned = warned.contains(lease.id());
        Beat { key, deadline: (is_clear && !is_warned).then_some(until), is_alone: !is_clear && !is_warned }
    };
    group.into_iter().map(beat).collect()
}

/// Until when each of these leases lasts, by what the service said.
#[cfg(fuzzing)]
pub(crate) fn extended(
    leases: Vec<Lease>,
    outcome: &ExtendOutcome,
    until: std::time::Instant,
) -> Vec<Option<std::time::Instant>> {
    let group = leases.into_iter().map(|lease| (0, lease)).collect();
    read(group, outcome, until).into_iter().map(|beat| beat.deadline).collect()
}
