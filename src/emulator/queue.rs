//! One queue: a state machine that is told the time, and does nothing else.
//!
//! Every operation takes time by what it handles itself, and by the logarithm of how many messages there are.

#[cfg(test)]
mod tests;

// Tests count what is done with them.
#[cfg(not(test))]
use std::collections::{BTreeMap, BTreeSet};
use std::{mem, sync::Arc};

#[cfg(test)]
use self::tests::counted::{BTreeMap, BTreeSet};

use super::{
    behavior::{Behavior, ExtendFrom, UnknownLease},
    clock::{Time, nanos},
    ids::{Lease, Sequence},
    settings::QueueSettings,
};

/// How many delays and leases that have ended are dealt with at a request. It is more than a pull is given, so that none
/// comes out short for that.
const MOST_ENDED: usize = 1000;

pub(super) struct Queue {
    settings: QueueSettings,
    /// In order of arrival.
    messages: BTreeMap<Sequence, Stored>,
    /// The messages that a consumer may be given.
    visible: BTreeSet<Sequence>,
    /// The others, by when that changes: the end of a delay, or of a lease.
    hidden: BTreeSet<(Time, Sequence)>,
    /// What was done by the leases of messages that are still here.
    used: BTreeMap<Lease, Use>,
    /// Messages that used up their retries, and are to go to the dead-letter queue.
    dead: Vec<NewMessage>,
    bytes: u64,
}

#[derive(Clone)]
pub(super) struct Stored {
    pub(super) content: Content,
    pub(super) pushed_at: Time,
    /// What it is filed under, if it is hidden.
    hidden_until: Time,
    /// When it was delivered for the last time.
    delivered_at: Time,
    pub(super) attempts: u32,
    pub(super) is_leased: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Use {
    HandedBack,
    Extended,
}

#[derive(Clone)]
pub(super) struct Content {
    /// The text of a `text` body, the compact JSON text of a `json` body.
    pub(super) body: Arc<str>,
    pub(super) is_text: bool,
}

pub(super) struct NewMessage {
    pub(super) content: Content,
    pub(super) delay: Option<Time>,
}

/// What came of a request about leases or references.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Outcome {
    pub(super) acked: u64,
    pub(super) retried: u64,
    pub(super) extended: u64,
    pub(super) warnings: Vec<(String, &'static str)>,
}

/// Something in the request is not known, and the request is refused for it.
#[derive(Debug, PartialEq)]
pub(super) struct Unknown;

pub(super) struct Metrics {
    pub(super) backlog_count: u64,
    pub(super) backlog_bytes: u64,
    pub(super) oldest_message: Option<Time>,
}

impl Queue {
    pub(super) fn new(settings: QueueSettings) -> Self {
        Self {
            settings,
            messages: BTreeMap::new(),
            visible: BTreeSet::new(),
            hidden: BTreeSet::new(),
            used: BTreeMap::new(),
            dead: Vec::new(),
            bytes: 0,
        }
    }

    pub(super) fn settings(&self) -> &QueueSettings {
        &self.settings
    }

    pub(super) fn configure(&mut self, change: impl FnOnce(QueueSettings) -> QueueSettings) {
        self.settings = change(self.settings.clone());
    }

    /// Deletes all messages. They are given back, since freeing many takes a while, for which the queue need not be
    /// locked.
    pub(super) fn clear(&mut self) -> Self {
        let empty = Self::new(self.settings.clone());
        mem::replace(self, empty)
    }

    /// Does what is due: messages whose delay or lease has ended become visible, or are dead. Returns whether more is due
    /// than one request is to pay for. Everything else expects that it was called at the same time.
    pub(super) fn expire(&mut self, now: Time) -> bool {
        let mut left = MOST_ENDED;
        while let Some((_, sequence)) = self.hidden.first().copied().filter(|(until, _)| *until <= now) {
            let Some(fewer) = left.checked_sub(1) else { return true };
            left = fewer;
            self.expire_one(sequence, now);
        }
        false
    }

    /// Does what is due for one message.
    fn expire_one(&mut self, sequence: Sequence, now: Time) {
        let Some(message) = self.messages.get(&sequence).filter(|message| message.hidden_until <= now) else { return };
        let is_leased = message.is_leased;
        if self.hidden.remove(&(message.hidden_until, sequence)) {
            match is_leased {
                true => self.end_delivery(sequence, now, now),
                false => drop(self.visible.insert(sequence)),
            }
        }
    }

    pub(super) fn push(&mut self, now: Time, sequence: Sequence, message: NewMessage) {
        let delay = message.delay.unwrap_or(nanos(self.settings.delivery_delay));
        let content = message.content;
        self.bytes = self.bytes.saturating_add(content.body.len() as u64);
        let stored =
            Stored { content, pushed_at: now, hidden_until: now, delivered_at: now, attempts: 0, is_leased: false };
        self.messages.insert(sequence, stored);
        self.show(sequence, now, now.saturating_add(delay));
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
            message.hidden_until = until;
            self.hidden.insert((until, sequence));
            pulled.push((Lease { sequence, attempt: message.attempts }, message.clone()));
        }
        pulled
    }

    /// The messages that are visible, untouched.
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
            if found.and_then(|sequence| self.remove(sequence)).is_none() {
                outcome.warn(behavior, wanted, "the reference is not known");
            }
        }
        Ok(outcome)
    }

    /// Ends leases as asked.
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
                }
                // The message is visible again, or with another consumer: there is nothing left to hand back.
                Some((_, false)) if behavior.late_retries => outcome.retried = outcome.retried.saturating_add(1),
                found => outcome.warn_of_lease(behavior, lease_id, found.is_some()),
            }
        }
        Ok(outcome)
    }

    /// Moves the end of leases.
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
                }
                found => outcome.warn_of_lease(behavior, lease_id, found.is_some()),
            }
        }
        Ok(outcome)
    }

    fn extend_lease(&mut self, now: Time, behavior: &Behavior, lease: Lease, timeout: Time) {
        let sequence = lease.sequence;
        let Some(message) = self.messages.get_mut(&sequence) else { return };
        let end = message.hidden_until;
        let from = if behavior.extend_from == ExtendFrom::Now { now } else { end };
        let cap = message.delivered_at.saturating_add(nanos(behavior.max_lease));
        let until = from.saturating_add(timeout).min(cap);
        message.hidden_until = if behavior.shortening_extends { until } else { until.max(end) };
        self.hidden.remove(&(end, sequence));
        self.hidden.insert((message.hidden_until, sequence));
        self.used.insert(lease, Use::Extended);
    }

    /// Leases a message again that nobody was given since its lease expired.
    fn revive(&mut self, lease: Lease, now: Time) -> bool {
        let Some(message) = self.messages.get_mut(&lease.sequence) else { return false };
        let is_free = lease.attempt == message.attempts && self.visible.remove(&lease.sequence);
        if is_free {
            message.is_leased = true;
            message.hidden_until = now;
        }
        is_free
    }

    pub(super) fn metrics(&self) -> Metrics {
        Metrics {
            backlog_count: self.messages.len() as u64,
            backlog_bytes: self.bytes,
            oldest_message: self.messages.first_key_value().map(|(_, message)| message.pushed_at),
        }
    }

    pub(super) fn messages(&self) -> impl Iterator<Item = (Sequence, &Stored)> {
        self.messages.iter().map(|(sequence, message)| (*sequence, message))
    }

    /// The messages that are to go to the dead-letter queue, and its id.
    pub(super) fn take_dead(&mut self) -> Option<(String, Vec<NewMessage>)> {
        let dead = mem::take(&mut self.dead);
        let dead_letter_queue = self.settings.dead_letter_queue.clone().filter(|_| !dead.is_empty())?;
        Some((dead_letter_queue, dead))
    }

    /// A lease that was given for a message that is here, and whether it is still held. `extended`: also if it was
    /// extended.
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

    /// Makes a message that was not acknowledged visible at a time, if it has retries left.
    fn end_delivery(&mut self, sequence: Sequence, now: Time, visible_at: Time) {
        let Some(message) = self.messages.get_mut(&sequence) else { return };
        message.is_leased = false;
        if message.attempts <= self.settings.max_retries {
            self.hidden.remove(&(message.hidden_until, sequence));
            self.show(sequence, now, visible_at);
        } else if let Some(Stored { content, .. }) = self.remove(sequence)
            && self.settings.dead_letter_queue.is_some()
        {
            self.dead.push(NewMessage { content, delay: None });
        }
    }

    /// Makes a message visible at a time, which may be now.
    fn show(&mut self, sequence: Sequence, now: Time, visible_at: Time) {
        if visible_at <= now {
            self.visible.insert(sequence);
        } else if let Some(message) = self.messages.get_mut(&sequence) {
            message.hidden_until = visible_at;
            self.hidden.insert((visible_at, sequence));
        }
    }

    fn remove(&mut self, sequence: Sequence) -> Option<Stored> {
        let message = self.messages.remove(&sequence)?;
        if !self.visible.remove(&sequence) {
            self.hidden.remove(&(message.hidden_until, sequence));
        }
        let all = Lease { sequence, attempt: 0 }..=Lease { sequence, attempt: u32::MAX };
        let used: Vec<_> = self.used.range(all).map(|(lease, _)| *lease).collect();
        for lease in used {
            self.used.remove(&lease);
        }
        self.bytes = self.bytes.saturating_sub(message.content.body.len() as u64);
        Some(message)
    }
}

impl Outcome {
    fn warn_of_lease(&mut self, behavior: &Behavior, lease_id: &str, has_expired: bool) {
        if has_expired {
            self.warnings.push((lease_id.to_owned(), "the lease has expired"));
        } else {
            self.warn(behavior, lease_id, "the lease is not known");
        }
    }

    /// Of something that is not known.
    fn warn(&mut self, behavior: &Behavior, subject: &str, text: &'static str) {
        if behavior.unknown_leases == UnknownLease::Warn {
            self.warnings.push((subject.to_owned(), text));
        }
    }
}
