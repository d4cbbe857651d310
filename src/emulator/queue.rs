//! One queue: a pure state machine that gets the time as an argument.
//!
//! The cost of an operation is proportional to what it handles, times the logarithm of the number of messages.

#[cfg(test)]
mod tests;

// Tests count operations on them.
#[cfg(not(test))]
use std::collections::{BTreeMap, BTreeSet};
use std::{mem, ops::Bound, sync::Arc};

#[cfg(test)]
use self::tests::counted::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{
    behavior::{Behavior, ExtendFrom, UnknownLease},
    clock::{Time, from_secs, nanos},
    content::Content,
    ids::{Lease, Sequence},
    outcome::{Outcome, Unknown},
    settings::EmulatedQueue,
};

/// How many ended delays and leases one request handles. This is more than a pull returns, so that a pull is short
/// because of it only if so many dead letters come first.
const MOST_ENDED: usize = 1000;

pub(super) struct Queue {
    /// For the log. A request that began before the queue got this id is logged under it as well.
    pub(super) id: String,
    settings: EmulatedQueue,
    /// In order of arrival.
    messages: BTreeMap<Sequence, Stored>,
    /// The messages that a pull can return.
    visible: BTreeSet<Sequence>,
    /// The delayed messages, by the end of the delay.
    delayed: BTreeSet<(Time, Sequence)>,
    /// The leased messages, by the end of the lease.
    leased: BTreeSet<(Time, Sequence)>,
    /// What was done with the leases of messages that still exist.
    used: BTreeMap<Lease, Use>,
    /// The messages that arrived with a time of their own, or were restored, by when they arrived.
    aged: BTreeSet<(Time, Sequence)>,
    /// Messages without retries left, to be moved to the dead-letter queue with this id.
    dead: Option<DeadLetters>,
    /// What changed, if that is kept: messages by their numbers, and whether they are new.
    changes: Option<(Vec<(Sequence, bool)>, Changes)>,
    bytes: u64,
    pulls: Allowance,
    pushes: Allowance,
}

/// The id of a dead-letter queue, and messages for it with their numbers in the queue that they come from.
type DeadLetters = (String, Vec<(Sequence, NewMessage)>);

/// Messages at so many a second, of which a second's worth can be saved up.
#[derive(Default)]
struct Allowance {
    /// What was taken is what was earned up to then.
    taken_until: Time,
}

impl Allowance {
    fn left(&mut self, now: Time, per_second: u32) -> usize {
        self.taken_until = self.taken_until.max(now.saturating_sub(from_secs(1)));
        let left = now.saturating_sub(self.taken_until).checked_div(each(per_second)).unwrap_or(u64::MAX);
        left.try_into().unwrap_or(usize::MAX)
    }

    fn take(&mut self, count: usize, per_second: u32) {
        self.taken_until = self.taken_until.saturating_add(each(per_second).saturating_mul(count as u64));
    }
}

/// How long it takes to earn one message.
fn each(per_second: u32) -> Time {
    from_secs(1) / u64::from(per_second.max(1))
}

#[derive(Clone)]
pub(super) struct Stored {
    pub(super) content: Content,
    /// Its id, if that is not the one of its number.
    id: Option<Arc<str>>,
    pub(super) pushed_at: Time,
    /// When it becomes or became visible: its key while it is delayed or leased.
    pub(super) visible_at: Time,
    /// When it was last delivered, or its delay began.
    delivered_at: Time,
    pub(super) attempts: u32,
    pub(super) is_leased: bool,
}

#[derive(Clone, Copy, PartialEq, Serialize, Deserialize)]
enum Use {
    HandedBack,
    Extended,
}

#[derive(Clone)]
pub(super) struct NewMessage {
    pub(super) content: Content,
    pub(super) delay: Option<Time>,
    /// By default, an id of its own.
    pub(super) id: Option<Arc<str>>,
    /// By default, and at the latest, now.
    pub(super) pushed_at: Option<Time>,
    /// How often it was delivered before.
    pub(super) attempts: u32,
}

impl NewMessage {
    pub(super) fn new(content: Content, delay: Option<Time>) -> Self {
        Self { content, delay, id: None, pushed_at: None, attempts: 0 }
    }
}

impl Stored {
    pub(super) fn id(&self, sequence: Sequence) -> String {
        self.id.as_ref().map_or_else(|| sequence.message_id(), |id| id.to_string())
    }
}

/// How many messages are in each state.
pub(super) struct Counts {
    pub(super) visible: usize,
    pub(super) delayed: usize,
    pub(super) leased: usize,
}

pub(super) struct Metrics {
    pub(super) backlog_count: u64,
    pub(super) backlog_bytes: u64,
    pub(super) oldest_message: Option<Time>,
}

impl Queue {
    pub(super) fn new(settings: EmulatedQueue) -> Self {
        Self {
            id: String::new(),
            settings,
            messages: BTreeMap::new(),
            visible: BTreeSet::new(),
            delayed: BTreeSet::new(),
            leased: BTreeSet::new(),
            used: BTreeMap::new(),
            aged: BTreeSet::new(),
            dead: None,
            changes: None,
            bytes: 0,
            pulls: Allowance::default(),
            pushes: Allowance::default(),
        }
    }

    pub(super) fn settings(&self) -> &EmulatedQueue {
        &self.settings
    }

    pub(super) fn configure(&mut self, change: impl FnOnce(EmulatedQueue) -> EmulatedQueue) {
        self.settings = change(self.settings.clone());
        if let Some((_, changes)) = &mut self.changes {
            changes.settings = Some(Box::new(self.settings.clone()));
        }
    }

    /// Deletes and returns all messages, since freeing many takes a while, for which the queue need not be locked.
    pub(super) fn clear(&mut self) -> Self {
        let changes = self.changes.is_some().then(|| (Vec::new(), Changes { clear: true, ..Changes::default() }));
        let empty = Self { id: self.id.clone(), changes, ..Self::new(self.settings.clone()) };
        mem::replace(self, empty)
    }

    /// Handles what is due: messages past their retention are deleted, all of them, since no request may see one, and
    /// messages whose delay or lease has ended become visible or dead. Returns whether more of these are due than one
    /// request should handle. All other methods expect this to be called first, with the same time.
    pub(super) fn expire(&mut self, now: Time) -> bool {
        while let Some((end, sequence)) = self.first_outdated(now) {
            // Its last lease may have ended before: then it is dead.
            self.expire_one(sequence, end);
            self.remove(sequence);
        }
        for _ in 0..MOST_ENDED {
            let due = first_due(&self.leased, now).or_else(|| first_due(&self.delayed, now));
            let Some(sequence) = due else { return false };
            self.expire_one(sequence, now);
        }
        true
    }

    /// Handles the end of the delay or the lease of one message.
    fn expire_one(&mut self, sequence: Sequence, now: Time) {
        let Some(message) = self.messages.get(&sequence).filter(|message| message.visible_at <= now) else { return };
        if message.is_leased {
            self.end_delivery(sequence, now, now);
        } else if self.delayed.remove(&(message.visible_at, sequence)) {
            self.visible.insert(sequence);
        }
    }

    /// The oldest message and the end of its retention, if that is over.
    fn first_outdated(&self, now: Time) -> Option<(Time, Sequence)> {
        let (pushed_at, sequence) = self.oldest()?;
        let end = pushed_at.saturating_add(nanos(self.settings.message_retention));
        (end <= now).then_some((end, sequence))
    }

    fn oldest(&self) -> Option<(Time, Sequence)> {
        let first = self.messages.first_key_value().map(|(sequence, message)| (message.pushed_at, *sequence));
        first.into_iter().chain(self.aged.first().copied()).min()
    }

    pub(super) fn push(&mut self, now: Time, sequence: Sequence, message: NewMessage) {
        let delay = message.delay.unwrap_or(nanos(self.settings.delivery_delay));
        let NewMessage { content, id, attempts, .. } = message;
        self.bytes = self.bytes.saturating_add(content.bytes() as u64);
        let pushed_at = message.pushed_at.map_or(now, |time| time.min(now));
        if pushed_at < now {
            self.aged.insert((pushed_at, sequence));
        }
        let stored = Stored { content, id, pushed_at, visible_at: now, delivered_at: now, attempts, is_leased: false };
        self.messages.insert(sequence, stored);
        self.note(sequence, true);
        self.show(sequence, now, now.saturating_add(delay));
    }

    /// How many of `count` messages may be pulled now, at so many a second.
    pub(super) fn may_pull(&mut self, now: Time, count: usize, per_second: u32) -> usize {
        let allowed = count.min(self.pulls.left(now, per_second));
        self.pulls.take(allowed.min(self.visible.len()), per_second);
        allowed
    }

    /// Whether `count` messages may be pushed now, at so many a second. A batch may take what is earned later.
    pub(super) fn may_push(&mut self, now: Time, count: usize, per_second: u32) -> bool {
        let is_allowed = self.pushes.left(now, per_second) > 0;
        self.pushes.take(if is_allowed { count } else { 0 }, per_second);
        is_allowed
    }

    /// Leases up to `count` messages.
    pub(super) fn pull(&mut self, now: Time, count: usize, timeout: Option<Time>) -> Vec<(Lease, Stored)> {
        let until = now.saturating_add(timeout.unwrap_or(nanos(self.settings.visibility_timeout)));
        let mut pulled = Vec::new();
        while pulled.len() < count
            && let Some(sequence) = self.visible.pop_first()
        {
            let Some(message) = self.messages.get_mut(&sequence) else { continue };
            message.attempts = message.attempts.saturating_add(1);
            message.is_leased = true;
            message.delivered_at = now;
            message.visible_at = until;
            self.leased.insert((until, sequence));
            pulled.push((Lease { sequence, attempt: message.attempts }, message.clone()));
        }
        pulled.iter().for_each(|(lease, _)| self.note(lease.sequence, false));
        pulled
    }

    /// The visible messages, without changing them.
    pub(super) fn peek(&self, count: usize) -> Vec<(Sequence, Stored)> {
        let visible = self.visible.iter().take(count);
        visible.filter_map(|sequence| Some((*sequence, self.messages.get(sequence)?.clone()))).collect()
    }

    /// Deletes messages.
    pub(super) fn purge(&mut self, now: Time, behavior: &Behavior, refs: &[String]) -> Result<Outcome, Unknown> {
        let found: Vec<_> = refs.iter().map(|wanted| Sequence::from_ref(wanted)).collect();
        found.iter().flatten().for_each(|sequence| self.expire_one(*sequence, now));
        let is_unknown = |found: &Option<Sequence>| !found.is_some_and(|found| self.messages.contains_key(&found));
        if behavior.unknown_leases == UnknownLease::Reject && found.iter().any(is_unknown) {
            return Err(Unknown);
        }
        let mut outcome = Outcome::default();
        for (wanted, found) in refs.iter().zip(found) {
            match found.and_then(|sequence| self.remove(sequence)) {
                Some(_) => outcome.inform(behavior, wanted),
                None => outcome.warn(behavior, wanted, "the reference is not known"),
            }
        }
        Ok(outcome)
    }

    /// Settles leases.
    pub(super) fn ack(
        &mut self,
        now: Time,
        behavior: &Behavior,
        acks: &[String],
        retries: &[(String, Option<Time>)],
    ) -> Result<Outcome, Unknown> {
        let again = behavior.acks_after_extend;
        let mut leases = acks.iter().chain(retries.iter().map(|(lease_id, _)| lease_id));
        if behavior.unknown_leases == UnknownLease::Reject
            && leases.any(|lease_id| self.find(now, lease_id, again).is_none())
        {
            return Err(Unknown);
        }
        let mut outcome = Outcome::default();
        for lease_id in acks {
            match self.find(now, lease_id, again) {
                Some((lease, is_held)) if is_held || behavior.late_acks => {
                    self.remove(lease.sequence);
                    outcome.acked = outcome.acked.saturating_add(1);
                    outcome.inform(behavior, lease_id);
                }
                found => outcome.warn_of_lease(behavior, lease_id, found.is_some()),
            }
        }
        for (lease_id, delay) in retries {
            match self.find(now, lease_id, again) {
                Some((lease, true)) => {
                    let delay = delay.unwrap_or(nanos(self.settings.retry_delay));
                    self.used.insert(lease, Use::HandedBack);
                    self.end_delivery(lease.sequence, now, now.saturating_add(delay));
                    outcome.retried = outcome.retried.saturating_add(1);
                    outcome.inform(behavior, lease_id);
                }
                // The message is visible again, or leased by another consumer: there is nothing left to hand back.
                Some((_, false)) if behavior.late_retries => outcome.retried = outcome.retried.saturating_add(1),
                found => outcome.warn_of_lease(behavior, lease_id, found.is_some()),
            }
        }
        Ok(outcome)
    }

    /// Extends leases.
    pub(super) fn extend(
        &mut self,
        now: Time,
        behavior: &Behavior,
        leases: &[String],
        timeout: Option<Time>,
    ) -> Result<Outcome, Unknown> {
        let again = behavior.repeated_extends;
        if behavior.unknown_leases == UnknownLease::Reject
            && leases.iter().any(|lease_id| self.find(now, lease_id, again).is_none())
        {
            return Err(Unknown);
        }
        let timeout = timeout.unwrap_or(nanos(self.settings.visibility_timeout));
        let mut outcome = Outcome::default();
        for lease_id in leases {
            match self.find(now, lease_id, again) {
                Some((lease, is_held)) if is_held || behavior.late_extends && self.revive(lease, now) => {
                    self.extend_lease(now, behavior, lease, timeout);
                    outcome.extended = outcome.extended.saturating_add(1);
                    outcome.inform(behavior, lease_id);
                }
                found => outcome.warn_of_lease(behavior, lease_id, found.is_some()),
            }
        }
        Ok(outcome)
    }

    fn extend_lease(&mut self, now: Time, behavior: &Behavior, lease: Lease, timeout: Time) {
        let sequence = lease.sequence;
        let Some(message) = self.messages.get_mut(&sequence) else { return };
        let end = message.visible_at;
        let from = if behavior.extend_from == ExtendFrom::Now { now } else { end };
        let cap = message.delivered_at.saturating_add(nanos(behavior.max_lease));
        let until = from.saturating_add(timeout).min(cap);
        message.visible_at = if behavior.shortening_extends { until } else { until.max(end) };
        self.leased.remove(&(end, sequence));
        self.leased.insert((message.visible_at, sequence));
        self.used.insert(lease, Use::Extended);
        self.note(sequence, false);
    }

    /// Leases a message again that nobody received since its lease expired.
    fn revive(&mut self, lease: Lease, now: Time) -> bool {
        let Some(message) = self.messages.get_mut(&lease.sequence) else { return false };
        let is_free = lease.attempt == message.attempts && self.visible.remove(&lease.sequence);
        if is_free {
            message.is_leased = true;
            message.visible_at = now;
        }
        is_free
    }

    pub(super) fn metrics(&self) -> Metrics {
        Metrics {
            backlog_count: self.messages.len() as u64,
            backlog_bytes: self.bytes,
            oldest_message: self.oldest().map(|(time, _)| time),
        }
    }

    /// The messages that arrived after another one, or all, in order of arrival.
    pub(super) fn messages(&self, after: Option<Sequence>) -> impl Iterator<Item = (Sequence, &Stored)> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.messages.range((start, Bound::Unbounded)).map(|(sequence, message)| (*sequence, message))
    }

    /// The leased messages, in the order in which their leases end.
    pub(super) fn leased(&self) -> impl Iterator<Item = (Lease, &Stored)> {
        self.leased.iter().filter_map(|(_, sequence)| {
            let message = self.messages.get(sequence)?;
            Some((Lease { sequence: *sequence, attempt: message.attempts }, message))
        })
    }

    pub(super) fn counts(&self) -> Counts {
        Counts { visible: self.visible.len(), delayed: self.delayed.len(), leased: self.leased.len() }
    }

    pub(super) fn take_dead(&mut self) -> Option<DeadLetters> {
        self.dead.take()
    }

    /// A lease of an existing message, and whether it is still held. With `extended`, also if it was extended.
    fn find(&mut self, now: Time, lease_id: &str, extended: bool) -> Option<(Lease, bool)> {
        let lease = Lease::from_id(lease_id)?;
        self.expire_one(lease.sequence, now);
        let message = self.messages.get(&lease.sequence)?;
        let is_good = match self.used.get(&lease) {
            None => (1..=message.attempts).contains(&lease.attempt),
            Some(Use::Extended) => extended,
            Some(Use::HandedBack) => false,
        };
        is_good.then_some((lease, message.is_leased && lease.attempt == message.attempts))
    }

    /// Makes an unacknowledged message visible at a time, if it has retries left.
    fn end_delivery(&mut self, sequence: Sequence, now: Time, visible_at: Time) {
        let Some(message) = self.messages.get_mut(&sequence) else { return };
        message.is_leased = false;
        self.leased.remove(&(message.visible_at, sequence));
        if message.attempts <= self.settings.max_retries {
            self.show(sequence, now, visible_at);
        } else if let Some(dead_letter_queue) = self.settings.dead_letter_queue.clone() {
            let Some(Stored { content, .. }) = self.take(sequence) else { return };
            let (_, dead) = self.dead.get_or_insert_with(|| (dead_letter_queue, Vec::new()));
            dead.push((sequence, NewMessage::new(content, None)));
        } else {
            self.remove(sequence);
        }
    }

    /// Makes a message visible at a time, which may be now.
    fn show(&mut self, sequence: Sequence, now: Time, visible_at: Time) {
        let Some(message) = self.messages.get_mut(&sequence) else { return };
        message.visible_at = visible_at;
        if visible_at <= now {
            self.visible.insert(sequence);
        } else {
            message.delivered_at = now;
            self.delayed.insert((visible_at, sequence));
        }
        self.note(sequence, false);
    }

    fn remove(&mut self, sequence: Sequence) -> Option<Stored> {
        let removed = self.take(sequence)?;
        if let Some((_, changes)) = &mut self.changes {
            changes.removed.push(sequence.number());
        }
        Some(removed)
    }

    /// Removes a message without noting that.
    fn take(&mut self, sequence: Sequence) -> Option<Stored> {
        let message = self.messages.remove(&sequence)?;
        self.aged.remove(&(message.pushed_at, sequence));
        if !self.visible.remove(&sequence) {
            let hidden = if message.is_leased { &mut self.leased } else { &mut self.delayed };
            hidden.remove(&(message.visible_at, sequence));
        }
        let all = Lease { sequence, attempt: 0 }..=Lease { sequence, attempt: u32::MAX };
        let used: Vec<_> = self.used.range(all).map(|(lease, _)| *lease).collect();
        for lease in used {
            self.used.remove(&lease);
        }
        self.bytes = self.bytes.saturating_sub(message.content.bytes() as u64);
        Some(message)
    }
}

/// What changed in a queue since a moment, as the state of what changed.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Changes {
    /// All messages were deleted before.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    clear: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) settings: Option<Box<EmulatedQueue>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    messages: Vec<Kept>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    removed: Vec<u64>,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    sequence: u64,
    /// What never changes, if the message is new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    new: Option<(Content, Option<Arc<str>>, Time)>,
    visible_at: Time,
    delivered_at: Time,
    attempts: u32,
    is_leased: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    used: Vec<(u32, Use)>,
}

impl Changes {
    pub(super) fn removed(sequences: Vec<Sequence>) -> Self {
        Self { removed: sequences.into_iter().map(Sequence::number).collect(), ..Self::default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.clear && self.settings.is_none() && self.messages.is_empty() && self.removed.is_empty()
    }

    /// The greatest number of a message.
    pub(super) fn last(&self) -> u64 {
        self.messages.iter().map(|message| message.sequence).max().unwrap_or_default()
    }
}

impl Queue {
    /// From now on, notes what changes.
    pub(super) fn keep_changes(&mut self) {
        self.changes = Some(Default::default());
    }

    fn note(&mut self, sequence: Sequence, is_new: bool) {
        if let Some((noted, _)) = &mut self.changes {
            noted.push((sequence, is_new));
        }
    }

    pub(super) fn take_changes(&mut self) -> Changes {
        let Some((mut noted, mut changes)) = self.changes.as_mut().map(mem::take) else { return Changes::default() };
        // A new message first, since it is noted again when it becomes visible.
        noted.sort_by_key(|(sequence, is_new)| (*sequence, !is_new));
        noted.dedup_by_key(|(sequence, _)| *sequence);
        changes.messages = noted.into_iter().filter_map(|(sequence, is_new)| self.kept(sequence, is_new)).collect();
        changes
    }

    /// The whole state.
    pub(super) fn snapshot(&self) -> Changes {
        let messages = self.messages(None).filter_map(|(sequence, _)| self.kept(sequence, true));
        let settings = Some(Box::new(self.settings.clone()));
        Changes { settings, messages: messages.collect(), ..Changes::default() }
    }

    fn kept(&self, sequence: Sequence, is_new: bool) -> Option<Kept> {
        let message = self.messages.get(&sequence)?;
        let all = Lease { sequence, attempt: 0 }..=Lease { sequence, attempt: u32::MAX };
        Some(Kept {
            sequence: sequence.number(),
            new: is_new.then(|| (message.content.clone(), message.id.clone(), message.pushed_at)),
            // A visible message stays so, even if that is later than the clock after a restart.
            visible_at: if self.visible.contains(&sequence) { 0 } else { message.visible_at },
            delivered_at: message.delivered_at,
            attempts: message.attempts,
            is_leased: message.is_leased,
            used: self.used.range(all).map(|(lease, used)| (lease.attempt, *used)).collect(),
        })
    }

    /// Restores what was kept. Nothing of it is noted as a change.
    pub(super) fn apply(&mut self, now: Time, changes: Changes) {
        if changes.clear {
            self.clear();
        }
        if let Some(settings) = changes.settings {
            self.settings = *settings;
        }
        for kept in changes.messages {
            let sequence = Sequence::new(kept.sequence);
            let before = self.take(sequence).map(|message| (message.content, message.id, message.pushed_at));
            let Some((content, id, pushed_at)) = kept.new.or(before) else { continue };
            let Kept { visible_at, delivered_at, attempts, is_leased, .. } = kept;
            self.bytes = self.bytes.saturating_add(content.bytes() as u64);
            // As in a push, at the latest now: the clock may have been advanced before. Leases and delays last as long.
            let pushed_at = pushed_at.min(now);
            let ahead = delivered_at.saturating_sub(now);
            let [visible_at, delivered_at] = [visible_at, delivered_at].map(|time| time.saturating_sub(ahead));
            self.aged.insert((pushed_at, sequence));
            let stored = Stored { content, id, pushed_at, visible_at, delivered_at, attempts, is_leased };
            self.messages.insert(sequence, stored);
            for (attempt, used) in kept.used {
                self.used.insert(Lease { sequence, attempt }, used);
            }
            match is_leased {
                true => drop(self.leased.insert((visible_at, sequence))),
                false if visible_at <= now => drop(self.visible.insert(sequence)),
                false => drop(self.delayed.insert((visible_at, sequence))),
            }
        }
        for number in changes.removed {
            self.take(Sequence::new(number));
        }
    }
}

/// The next one that is due.
fn first_due(hidden: &BTreeSet<(Time, Sequence)>, now: Time) -> Option<Sequence> {
    hidden.first().filter(|(until, _)| *until <= now).map(|(_, sequence)| *sequence)
}
