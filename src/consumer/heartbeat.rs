//! Extends leases shortly before they expire, while their messages wait or are handled.

use std::{
    collections::{BTreeSet, HashMap},
    future::{Future, poll_fn},
    mem,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    time::{Duration, Instant as StdInstant},
};

use tokio::{
    sync::oneshot,
    task::AbortHandle,
    time::{Instant, Sleep, sleep_until},
};

use super::{
    extension::{Beat, Extension, Peers, Sent},
    recorder::Counter,
    settings::Settings,
};
use crate::{
    flow::{
        clock::{Clock, Moment},
        contained::lock,
        outage::Outage,
        tasks::Tasks,
    },
    message::{
        Message,
        held::Extended,
        lease::LeaseId,
        limits::{self, MAX_EXTENDED},
        settlement::Lease,
    },
    queue::Queue,
};

/// The shortest time between two attempts to extend the same lease, and how many fit between the first and its end.
const BETWEEN: Duration = Duration::from_millis(250);
const ATTEMPTS: u32 = 8;
/// What is late by no more than this is not late.
const NOISE: Duration = Duration::from_millis(10);
/// No lease is known to last longer than this, counted from the pull.
const LONGEST: Duration = *limits::VISIBILITY_TIMEOUT.end();

/// A task that extends leases until the last clone is dropped, or until the lease is released. Nobody else polls for
/// messages that a stream has given out, or for dead letters of a run that was dropped.
#[derive(Clone)]
pub(super) struct Heartbeat(Arc<Beating>);

struct Beating {
    leases: Arc<Mutex<Leases>>,
    task: AbortHandle,
}

impl Heartbeat {
    pub(super) fn new(queue: Queue, settings: &Settings, counter: Counter) -> Self {
        let leases = Arc::new(Mutex::new(Leases::new(queue, settings, counter)));
        let beating = Arc::clone(&leases);
        let beat = poll_fn(move |context| {
            lock(&beating).poll(context);
            Poll::<()>::Pending
        });
        Self(Arc::new(Beating { leases, task: tokio::spawn(beat).abort_handle() }))
    }

    /// Holds the lease of a message that was pulled.
    pub(super) fn hold(&self, message: &mut Message) -> Hold {
        let mut leases = lock(&self.0.leases);
        let (key, waker) = (leases.hold(message), leases.waker.take());
        drop(leases);
        if let Some(waker) = waker {
            waker.wake();
        }
        Hold { heartbeat: self.clone(), key }
    }

    /// The lease is extended no more. If an extension is under way, the returned future completes when it has ended,
    /// with the new deadline if it is confirmed. It keeps the task: a request that is dropped may be carried out all
    /// the same.
    pub(super) fn release(&self, key: u64) -> Option<impl Future<Output = Option<StdInstant>> + Send + use<>> {
        let has_ended = lock(&self.0.leases).release(key)?;
        let heartbeat = self.clone();
        Some(async move {
            let deadline = has_ended.await.ok();
            drop(heartbeat);
            deadline
        })
    }
}

/// The lease of a message, which is extended until it is released, or this is dropped.
pub(super) struct Hold {
    heartbeat: Heartbeat,
    pub(super) key: u64,
}

impl Hold {
    pub(super) fn work_on(&self, is_worked_on: bool) {
        lock(&self.heartbeat.0.leases).work_on(self.key, is_worked_on);
    }

    /// As [`Heartbeat::release`].
    pub(super) fn release(&self) -> Option<impl Future<Output = Option<StdInstant>> + Send + use<>> {
        self.heartbeat.release(self.key)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        drop(self.release());
    }
}

impl Drop for Beating {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The leases of one run or stream.
struct Leases {
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
    /// With the keys of their leases.
    requests: Tasks<Vec<u64>, Sent>,
    /// Leases that were released while an extension of them was under way, with when they end at the latest.
    ending: HashMap<u64, (Instant, oneshot::Sender<StdInstant>)>,
    clock: Clock,
    lateness: Outage,
    counter: Counter,
    /// Wakes the task, unless it is awake already.
    waker: Option<Waker>,
}

struct Held {
    lease_id: LeaseId,
    extended: Extended,
    /// Until when the lease certainly lasts.
    deadline: Instant,
    /// Until when it lasts if the service did what it accepted without confirming it. Up to then it is extended, even
    /// if it counts as lost: otherwise, the message is received again, and takes a second handler.
    end: Moment,
    /// When to stop extending the lease.
    until: Instant,
    /// When the lease ends at the latest: an extension may be sent again after `until`.
    last: Instant,
    due: Instant,
    is_worked_on: bool,
    is_under_way: bool,
    peers: Peers,
}

impl Held {
    /// Counts the loss of a lease while someone works on the message: once, even if an extension in flight fails later.
    fn note_loss(&mut self, counter: &Counter) {
        if self.is_lost() && mem::take(&mut self.is_worked_on) {
            counter.count(|stats| stats.lost_leases += 1);
            tracing::warn!("a handler outlasts the lease of its message: another consumer may receive it");
        }
    }

    fn is_lost(&self) -> bool {
        self.extended.is_lost().unwrap_or(true)
    }

    fn has_ended(&self, clock: &Clock) -> bool {
        self.is_lost() && self.end.has_passed(clock)
    }

    fn end(&self) -> Instant {
        self.end.instant.into()
    }
}

impl Leases {
    fn new(queue: Queue, settings: &Settings, counter: Counter) -> Self {
        let timeout = settings.pull.visibility_timeout;
        Self {
            clock: queue.transport().clock.clone(),
            queue,
            timeout,
            most: settings.max_lease.min(LONGEST.saturating_sub(timeout)),
            lead: timeout / 3,
            leases: HashMap::new(),
            due: BTreeSet::new(),
            next: 0,
            timer: None,
            requests: Tasks::new(),
            ending: HashMap::new(),
            lateness: Outage::default(),
            counter,
            waker: None,
        }
    }

    /// Keeps extending the lease of a pulled message until the key is used to stop.
    fn hold(&mut self, message: &mut Message) -> u64 {
        let key = self.next;
        self.next = self.next.wrapping_add(1);
        let end = message.extended.until().unwrap_or_else(|| self.clock.now().at(message.lease_deadline));
        message.extended = Extended::from(end, &self.clock);
        let deadline = Instant::from_std(message.lease_deadline);
        let last = until(deadline, self.timeout, LONGEST);
        let until = until(deadline, self.timeout, self.most);
        let due = deadline.checked_sub(self.lead).filter(|due| until > *due).unwrap_or(deadline);
        // A response that was late is no lateness of the task.
        let due = due.max(Instant::now());
        let held = Held {
            lease_id: message.lease_id.clone(),
            extended: message.extended.clone(),
            deadline,
            end,
            until,
            last,
            due,
            is_worked_on: false,
            is_under_way: false,
            peers: Peers::Any,
        };
        self.leases.insert(key, held);
        self.due.insert((due, key));
        key
    }

    /// Whether the loss of a lease concerns someone who works on the message.
    fn work_on(&mut self, key: u64, is_worked_on: bool) {
        if let Some(held) = self.leases.get_mut(&key) {
            held.is_worked_on = is_worked_on;
        }
    }

    fn release(&mut self, key: u64) -> Option<oneshot::Receiver<StdInstant>> {
        let mut held = self.leases.remove(&key)?;
        // A lease that is not extended any more is not late.
        if self.due.remove(&(held.due, key)) {
            self.note_lateness(Instant::now().saturating_duration_since(held.due));
        }
        held.note_loss(&self.counter);
        if !held.is_under_way {
            return None;
        }
        let (ended, has_ended) = oneshot::channel();
        self.ending.insert(key, (held.last, ended));
        Some(has_ended)
    }

    /// Does what is due, and ensures that the task is woken for what comes next.
    fn poll(&mut self, context: &mut Context<'_>) {
        self.waker = Some(context.waker().clone());
        loop {
            while let Poll::Ready(Some((keys, sent))) = self.requests.poll_ended(context) {
                // A request that panicked has failed.
                let Sent { beats, halves, error } = sent.unwrap_or_else(|| Sent::failed(keys));
                beats.into_iter().for_each(|beat| self.settle(beat));
                halves.into_iter().for_each(|half| self.send_again(half));
                if let Some(error) = error {
                    self.counter.failed(&error);
                }
            }
            let Some((first, _)) = self.due.first().copied() else { return };
            let now = Instant::now();
            if first <= now {
                self.note_lateness(now.duration_since(first));
                self.beat();
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

    /// Nobody polled for long: handlers that block their threads keep leases from being extended.
    fn note_lateness(&mut self, late: Duration) {
        if late > (self.lead / 4).max(NOISE)
            && let Some(times) = self.lateness.on_failure(Instant::now())
        {
            let late = late.as_secs_f64();
            tracing::warn!(late, times, "leases are extended late: run blocking work with spawn_blocking");
        }
    }

    /// Extends all leases that are due now or soon, in few requests.
    fn beat(&mut self) {
        let now = Instant::now();
        let soon = now + self.lead / 2;
        let (mut group, mut later) = (Vec::new(), Vec::new());
        while let Some((due, key)) = self.due.first().copied().filter(|(due, _)| *due <= soon) {
            self.due.remove(&(due, key));
            let Some(held) = self.leases.get_mut(&key) else { continue };
            held.note_loss(&self.counter);
            if held.has_ended(&self.clock) {
                continue;
            }
            if held.until > now && !held.is_under_way {
                held.is_under_way = true;
                group.push((key, Lease::new(&held.lease_id, held.end.instant), held.peers));
            }
            held.due = if held.is_lost() { held.end() } else { held.deadline };
            later.push((held.due, key));
        }
        self.due.extend(later);
        self.send(group);
    }

    fn send(&mut self, mut leases: Vec<(u64, Lease, Peers)>) {
        // Shuffled, so that a lease which shared every refused part with a bad one is next sent with others.
        leases.sort_by_cached_key(|(.., peers)| (*peers, self.queue.random()));
        for together in leases.chunk_by(|(.., one), (.., other)| one == other) {
            let is_alone = together.iter().any(|(.., peers)| *peers == Peers::None);
            for group in together.chunks(if is_alone { 1 } else { MAX_EXTENDED }) {
                let leases = group.iter().map(|(key, lease, _)| (*key, lease.clone())).collect();
                self.spawn(Extension::new(leases));
            }
        }
    }

    fn spawn(&mut self, extension: Extension) {
        let keys = extension.leases.iter().map(|(key, _)| *key).collect();
        self.requests.spawn(keys, extension.send(self.queue.clone(), self.timeout, self.clock.now()));
    }

    /// Sends a part of a refused request, without the leases that have ended or were released in the meantime.
    fn send_again(&mut self, mut part: Extension) {
        part.leases.retain(|(key, _)| {
            let held = self.leases.get_mut(key);
            if held.as_ref().is_some_and(|held| !held.has_ended(&self.clock)) {
                return true;
            }
            // What is not sent again is not under way: a retry would wait for its end.
            held.into_iter().for_each(|held| held.is_under_way = false);
            self.ending.remove(key);
            false
        });
        if !part.leases.is_empty() {
            self.spawn(part);
        }
    }

    fn settle(&mut self, beat: Beat) {
        let (now, lead) = (Instant::now(), self.lead);
        // An extension of the lease is not under way any more. Whoever waits for that learns of it.
        if let Some((last, ended)) = self.ending.remove(&beat.key)
            && let Some((_, deadline)) = beat.deadline.filter(|_| beat.is_confirmed)
        {
            // Nobody may wait.
            let _ = ended.send(deadline.min(last.into_std()));
        }
        let Some(held) = self.leases.get_mut(&beat.key) else { return };
        self.due.remove(&(held.due, beat.key));
        held.is_under_way = false;
        // Until it is extended: another failure does not say that it may be sent with others again.
        if beat.deadline.is_some() || held.peers != Peers::None && beat.peers != Peers::Any {
            held.peers = beat.peers;
        }
        let wait = if let Some((sent, deadline)) = beat.deadline {
            let deadline = deadline.min(held.last.into_std());
            if deadline > held.end.instant {
                held.end = sent.at(deadline);
            }
            // A lease that is lost stays lost, since its holder may have been told so.
            if beat.is_confirmed && !held.is_lost() {
                self.counter.count(|stats| stats.extended += 1);
                held.extended.extend(sent.at(deadline));
                held.deadline = held.deadline.max(deadline.into());
            }
            held.end().saturating_duration_since(now).saturating_sub(lead)
        } else {
            held.end().saturating_duration_since(now) / 4
        };
        // With other peers, the next response may be certain before the lease is lost.
        let is_urgent = !beat.is_confirmed && beat.peers != Peers::Any && !held.is_lost();
        let wait = if is_urgent { held.deadline.saturating_duration_since(now) / 4 } else { wait };
        // At the deadline in any case, since the lease may be lost then.
        let last = if held.is_lost() { held.end() } else { held.deadline };
        held.due = (now + wait.max(lead / ATTEMPTS).max(BETWEEN)).min(last).max(now);
        self.due.insert((held.due, beat.key));
    }
}

/// Until when a lease is extended, counted from when its pull was sent: the service may count from any time after that.
pub(crate) fn until(deadline: Instant, timeout: Duration, most: Duration) -> Instant {
    deadline.checked_sub(timeout).unwrap_or(deadline) + most
}
