//! The queues themselves: a state machine that is told the time, and does nothing else.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;

use super::{
    behavior::{Behavior, UnknownLease},
    clock::{Time, from_secs, nanos},
    settings::QueueSettings,
};

#[derive(Default)]
pub(super) struct State {
    queues: BTreeMap<String, QueueState>,
    /// Makes ids unique.
    counter: u64,
}

struct QueueState {
    settings: QueueSettings,
    /// In order of arrival.
    messages: BTreeMap<u64, Stored>,
    /// Every lease that was ever given for a message that still exists.
    leases: HashMap<String, u64>,
    /// The messages that are under a lease now, and the size of all: a backlog is too long to look through at each request.
    leased: BTreeSet<u64>,
    bytes: u64,
}

#[derive(Clone)]
pub(super) struct Stored {
    pub(super) id: String,
    pub(super) body: Value,
    pub(super) content_type: String,
    pub(super) bytes: usize,
    pub(super) pushed_at: Time,
    pub(super) attempts: u32,
    /// When a consumer may be given the message: the end of a delay, or of the lease that it is under.
    visible_at: Time,
    pub(super) lease_id: Option<String>,
    /// Every lease that the message was given under.
    leases: Vec<String>,
}

pub(super) struct NewMessage {
    pub(super) body: Value,
    pub(super) content_type: String,
    pub(super) bytes: usize,
    pub(super) delay_seconds: Option<u64>,
}

#[derive(Debug, Default, PartialEq)]
pub(super) struct Acked {
    pub(super) ack_count: u64,
    pub(super) retry_count: u64,
    pub(super) warnings: Vec<(String, &'static str)>,
}

#[derive(Default)]
pub(super) struct QueueMetrics {
    pub(super) backlog_count: u64,
    pub(super) backlog_bytes: u64,
    pub(super) oldest_message: Option<Time>,
}

impl State {
    pub(super) fn create_queue(&mut self, settings: QueueSettings) -> String {
        let queue_id = format!("{:032x}", 0xd1e5_u128 << 64 | u128::from(self.next()));
        let queue = QueueState {
            settings,
            messages: BTreeMap::new(),
            leases: HashMap::new(),
            leased: BTreeSet::new(),
            bytes: 0,
        };
        self.queues.insert(queue_id.clone(), queue);
        queue_id
    }

    pub(super) fn settings(&mut self, queue_id: &str) -> Option<&mut QueueSettings> {
        self.queues.get_mut(queue_id).map(|queue| &mut queue.settings)
    }

    pub(super) fn push(&mut self, now: Time, queue_id: &str, message: NewMessage) {
        let sequence = self.next();
        let Some(queue) = self.queues.get_mut(queue_id) else { return };
        let delay = message.delay_seconds.map_or(nanos(queue.settings.delivery_delay), from_secs);
        let stored = Stored {
            id: format!("{sequence:032x}"),
            body: message.body,
            content_type: message.content_type,
            bytes: message.bytes,
            pushed_at: now,
            attempts: 0,
            visible_at: now.saturating_add(delay),
            lease_id: None,
            leases: Vec::new(),
        };
        queue.bytes += stored.bytes as u64;
        queue.messages.insert(sequence, stored);
    }

    /// Leases up to `count` messages, in the form that they are handed out in.
    pub(super) fn pull(&mut self, now: Time, queue_id: &str, count: usize, timeout: Option<Time>) -> Vec<Stored> {
        self.end_leases(now, queue_id);
        let mut counter = self.counter;
        let Some(queue) = self.queues.get_mut(queue_id) else { return Vec::new() };
        let timeout = timeout.unwrap_or(nanos(queue.settings.visibility_timeout));
        let visible = queue.messages.iter_mut().filter(|(_, message)| message.visible_at <= now);
        let mut pulled = Vec::new();
        for (sequence, message) in visible.take(count) {
            counter += 1;
            let lease_id = lease_id(counter);
            message.attempts += 1;
            message.visible_at = now.saturating_add(timeout);
            message.lease_id = Some(lease_id.clone());
            message.leases.push(lease_id.clone());
            queue.leases.insert(lease_id, *sequence);
            queue.leased.insert(*sequence);
            pulled.push(message.clone());
        }
        self.counter = counter;
        pulled
    }

    /// The messages that are visible, untouched.
    pub(super) fn peek(&mut self, now: Time, queue_id: &str) -> impl Iterator<Item = &Stored> {
        self.end_leases(now, queue_id);
        self.messages(queue_id).filter(move |message| message.visible_at <= now)
    }

    /// Deletes messages, and names the references that are not known; `None` if the request is refused as a whole for one of
    /// them.
    pub(super) fn purge(
        &mut self,
        queue_id: &str,
        behavior: &Behavior,
        refs: &[String],
    ) -> Option<Vec<(String, &'static str)>> {
        let queue = self.queues.get_mut(queue_id)?;
        let found = |queue: &QueueState, wanted: &String| {
            let mut messages = queue.messages.iter();
            messages.find(|(_, message)| message_ref(&message.id) == *wanted).map(|(sequence, _)| *sequence)
        };
        if behavior.unknown_leases == UnknownLease::Reject && refs.iter().any(|wanted| found(queue, wanted).is_none()) {
            return None;
        }
        let mut unknown = Vec::new();
        for wanted in refs {
            match found(queue, wanted) {
                Some(sequence) => drop(queue.remove(sequence)),
                None if behavior.unknown_leases == UnknownLease::Warn => {
                    unknown.push((wanted.clone(), "the reference is not known"));
                }
                None => {}
            }
        }
        Some(unknown)
    }

    /// Ends leases as asked. `None` if the request is refused as a whole for a lease that is not known.
    pub(super) fn ack(
        &mut self,
        now: Time,
        queue_id: &str,
        behavior: &Behavior,
        acks: &[String],
        retries: &[(String, Option<u64>)],
    ) -> Option<Acked> {
        self.end_leases(now, queue_id);
        let queue = self.queues.get_mut(queue_id)?;
        let mut leases = acks.iter().chain(retries.iter().map(|(lease_id, _)| lease_id));
        if behavior.unknown_leases == UnknownLease::Reject
            && leases.any(|lease_id| !queue.leases.contains_key(lease_id))
        {
            return None;
        }
        let mut acked = Acked::default();
        for lease_id in acks {
            match queue.find(lease_id) {
                Some((sequence, is_held)) if is_held || behavior.late_acks => {
                    queue.remove(sequence);
                    acked.ack_count += 1;
                }
                found => acked.warn(behavior, lease_id, found.is_some()),
            }
        }
        let mut dead = Vec::new();
        for (lease_id, delay_seconds) in retries {
            match queue.find(lease_id) {
                Some((sequence, true)) => {
                    let delay = delay_seconds.map_or(nanos(queue.settings.retry_delay), from_secs);
                    dead.extend(queue.release(sequence, now.saturating_add(delay)));
                    queue.leases.remove(lease_id);
                    acked.retry_count += 1;
                }
                // The message is visible again, or with another consumer: there is nothing left to hand back.
                Some((_, false)) if behavior.late_retries => acked.retry_count += 1,
                found => acked.warn(behavior, lease_id, found.is_some()),
            }
        }
        self.bury(now, queue_id, dead);
        Some(acked)
    }

    pub(super) fn metrics(&self, queue_id: &str) -> QueueMetrics {
        let Some(queue) = self.queues.get(queue_id) else { return QueueMetrics::default() };
        QueueMetrics {
            backlog_count: queue.messages.len() as u64,
            backlog_bytes: queue.bytes,
            oldest_message: queue.messages.values().next().map(|message| message.pushed_at),
        }
    }

    pub(super) fn messages(&self, queue_id: &str) -> impl Iterator<Item = &Stored> {
        self.queues.get(queue_id).into_iter().flat_map(|queue| queue.messages.values())
    }

    /// Makes messages visible whose leases have run out.
    pub(super) fn end_leases(&mut self, now: Time, queue_id: &str) {
        let Some(queue) = self.queues.get_mut(queue_id) else { return };
        let leased =
            queue.leased.iter().filter_map(|sequence| Some((*sequence, queue.messages.get(sequence)?.visible_at)));
        let ended: Vec<_> = leased.filter(|(_, visible_at)| *visible_at <= now).collect();
        let dead = ended.into_iter().filter_map(|(sequence, visible_at)| queue.release(sequence, visible_at)).collect();
        self.bury(now, queue_id, dead);
    }

    /// Messages that used up their retries go to the dead-letter queue, or are lost.
    fn bury(&mut self, now: Time, queue_id: &str, dead: Vec<NewMessage>) {
        let Some(dead_letter_queue) = self.settings(queue_id).and_then(|settings| settings.dead_letter_queue.clone())
        else {
            return;
        };
        for message in dead {
            self.push(now, &dead_letter_queue, message);
        }
    }

    fn next(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }
}

impl QueueState {
    /// The message that a lease was given for, and whether the lease still holds.
    fn find(&self, lease_id: &str) -> Option<(u64, bool)> {
        let sequence = *self.leases.get(lease_id)?;
        let message = self.messages.get(&sequence)?;
        Some((sequence, message.lease_id.as_deref() == Some(lease_id)))
    }

    /// Ends a delivery that failed; gives the message back if it has used up its retries.
    fn release(&mut self, sequence: u64, visible_at: Time) -> Option<NewMessage> {
        self.leased.remove(&sequence);
        let message = self.messages.get_mut(&sequence)?;
        message.lease_id = None;
        message.visible_at = visible_at;
        if message.attempts <= self.settings.max_retries {
            return None;
        }
        let message = self.remove(sequence)?;
        let Stored { body, content_type, bytes, .. } = message;
        Some(NewMessage { body, content_type, bytes, delay_seconds: None })
    }

    fn remove(&mut self, sequence: u64) -> Option<Stored> {
        let message = self.messages.remove(&sequence)?;
        self.leased.remove(&sequence);
        self.bytes -= message.bytes as u64;
        for lease_id in &message.leases {
            self.leases.remove(lease_id);
        }
        Some(message)
    }
}

impl Acked {
    fn warn(&mut self, behavior: &Behavior, lease_id: &str, has_expired: bool) {
        let text = if has_expired { "the lease has expired" } else { "the lease is not known" };
        if has_expired || behavior.unknown_leases == UnknownLease::Warn {
            self.warnings.push((lease_id.to_owned(), text));
        }
    }
}

/// What names a message to a purge, for as long as it exists.
pub(super) fn message_ref(id: &str) -> String {
    format!("eyJhbGciOiJkaXIiLCJlbmMiOiJBMjU2Q0JDLUhTNTEyIn0..ref.{id}.")
}

/// In the shape of the service's own: five parts, the second one empty, 150 characters.
fn lease_id(number: u64) -> String {
    format!("eyJhbGciOiJkaXIiLCJlbmMiOiJBMjU2Q0JDLUhTNTEyIn0..{number:022x}.{number:032x}.{number:043x}")
}
