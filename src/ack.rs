//! What is asked for when leases are ended, and what came of it.

use std::{
    cmp::Reverse,
    fmt,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{lease::LeaseId, redact::Redactor};

/// Leases to end: each message either acknowledged, and so deleted, or handed back for a retry.
///
/// Filling it cannot fail; [`Queue::ack`](crate::Queue::ack) checks it as a whole before anything is sent. Any number of leases
/// goes in: they are sent in requests of at most 100.
///
/// ```
/// # use cloudflare_queues::{AckRequest, LeaseId};
/// # use std::time::Duration;
/// # let (done, failed) = (LeaseId::from("a"), LeaseId::from("b"));
/// let mut request = AckRequest::new();
/// request.ack(&done).retry_after(&failed, Duration::from_secs(30));
/// assert_eq!(request.len(), 2);
/// ```
#[derive(Clone, Debug, Default)]
pub struct AckRequest {
    pub(crate) entries: Vec<Entry>,
    pub(crate) deadline: Option<Instant>,
}

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) lease_id: LeaseId,
    pub(crate) decision: Decision,
}

/// What is to become of a message whose lease is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is done, and is deleted.
    Ack,
    /// It is handed back, to be delivered again after this delay, or else after the queue's own.
    Retry(Option<Duration>),
}

impl AckRequest {
    /// An empty request.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty request with room for so many leases, such as all of a batch.
    pub fn with_capacity(leases: usize) -> Self {
        Self { entries: Vec::with_capacity(leases), deadline: None }
    }

    /// Acknowledges a message: it is done, and is deleted.
    pub fn ack(&mut self, lease_id: impl Into<LeaseId>) -> &mut Self {
        self.push(lease_id.into(), Decision::Ack)
    }

    /// Hands a message back, to be delivered again after the queue's own retry delay.
    ///
    /// The delivery counts as an attempt: when the queue's `max_retries` are used up, the message goes to the dead-letter
    /// queue, or is deleted if there is none.
    pub fn retry(&mut self, lease_id: impl Into<LeaseId>) -> &mut Self {
        self.push(lease_id.into(), Decision::Retry(None))
    }

    /// Hands a message back, to be delivered again after `delay`, which is sent in whole seconds, rounded up.
    ///
    /// At most 24 hours: [`Queue::ack`](crate::Queue::ack) refuses more.
    pub fn retry_after(&mut self, lease_id: impl Into<LeaseId>, delay: Duration) -> &mut Self {
        self.push(lease_id.into(), Decision::Retry(Some(delay)))
    }

    /// The moment after which sending this request again is of no use, such as the end of its shortest lease
    /// ([`Message::lease_deadline`](crate::Message::lease_deadline)).
    ///
    /// Once it has passed, a request is still sent, but only once, since the service takes late acknowledgements too. Without a
    /// deadline, the client's own [timeout](crate::ClientBuilder::call_timeout) ends a call.
    pub fn deadline(&mut self, deadline: Instant) -> &mut Self {
        self.deadline = Some(deadline);
        self
    }

    /// How many leases the request holds.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether the request holds no lease. Sending it would be refused.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The leases that the request holds, in the order in which they were added.
    pub fn lease_ids(&self) -> impl Iterator<Item = &LeaseId> {
        self.entries.iter().map(|entry| &entry.lease_id)
    }

    /// The leases with what is to become of each message, in the same order.
    pub fn decisions(&self) -> impl Iterator<Item = (&LeaseId, Decision)> {
        self.entries.iter().map(|entry| (&entry.lease_id, entry.decision))
    }

    /// Adds all leases of another request; the earlier of the two deadlines holds.
    pub fn append(&mut self, other: Self) -> &mut Self {
        self.deadline = self.deadline.into_iter().chain(other.deadline).min();
        self.entries.extend(other.entries);
        self
    }

    fn push(&mut self, lease_id: LeaseId, decision: Decision) -> &mut Self {
        self.entries.push(Entry { lease_id, decision });
        self
    }
}

/// What was asked for when leases were ended, beside what the service confirmed.
///
/// A service that answers `success: true` may still have left some leases alone: ask [`is_complete`](Self::is_complete).
#[must_use = "the service may have confirmed less than was asked for: ask is_complete()"]
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct AckOutcome {
    /// How many messages were to be acknowledged.
    pub acks_requested: u64,
    /// How many the service says were acknowledged; `None` if it did not say, which is not zero.
    pub ack_count: Option<u64>,
    /// How many messages were to be handed back.
    pub retries_requested: u64,
    /// How many the service says were handed back; `None` if it did not say, which is not zero.
    pub retry_count: Option<u64>,
    /// What the service has to say of single leases.
    pub warnings: Vec<Warning>,
    is_complete: bool,
}

impl AckOutcome {
    pub(crate) fn new() -> Self {
        Self {
            acks_requested: 0,
            ack_count: None,
            retries_requested: 0,
            retry_count: None,
            warnings: Vec::new(),
            is_complete: true,
        }
    }

    /// Whether the service confirmed everything that was asked for: in the answer to each request, both counts are as requested, and
    /// no lease has a warning.
    ///
    /// The service does not say which lease a count falls short by, so what is incomplete is best treated as not done: the
    /// messages come again when their leases end, unless they were deleted.
    pub fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Adds the answer to one of several requests.
    pub(crate) fn add(
        &mut self,
        entries: &[Entry],
        ack_count: Option<u64>,
        retry_count: Option<u64>,
        warnings: Vec<Warning>,
    ) {
        let acks = entries.iter().filter(|entry| entry.decision == Decision::Ack).count() as u64;
        let retries = entries.len() as u64 - acks;
        let said = |requested, count| requested == 0 || count == Some(requested);
        self.is_complete &= said(acks, ack_count) && said(retries, retry_count) && warnings.is_empty();
        tally(&mut self.acks_requested, &mut self.ack_count, acks, ack_count);
        tally(&mut self.retries_requested, &mut self.retry_count, retries, retry_count);
        self.warnings.extend(warnings);
    }
}

/// A total is unknown as soon as one request that asked for something was given no count.
fn tally(requested: &mut u64, total: &mut Option<u64>, more: u64, count: Option<u64>) {
    *total = match (*total, count) {
        (Some(total), Some(count)) => Some(total.saturating_add(count)),
        (None, Some(count)) if *requested == 0 => Some(count),
        (total, None) if more == 0 => total,
        _ => None,
    };
    *requested += more;
}

/// The service's remark on a lease that was to be ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Warning {
    /// The lease that the remark is about, if the service names it.
    pub lease_id: Option<LeaseId>,
    /// The remark, with secrets taken out of it.
    pub message: String,
}

/// Warnings as they stand on the wire: a map of lease id or reference to text, or a list of texts.
///
/// Whatever else comes is kept as a warning too, since the acknowledgement or the purge that it comes with is done.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(transparent)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct Warnings(Value);

impl Warnings {
    pub(crate) fn into_list(self, entries: &[Entry], redactor: impl FnOnce() -> Redactor) -> Vec<Warning> {
        let remarks = self.into_remarks(entries.iter().map(|entry| &entry.lease_id), redactor);
        remarks.into_iter().map(|(lease_id, message)| Warning { lease_id, message }).collect()
    }

    /// A list names leases only within its texts: find them, and leave no secret there for a log to show.
    pub(crate) fn into_remarks<'a>(
        self,
        leases: impl Iterator<Item = &'a LeaseId>,
        redactor: impl FnOnce() -> Redactor,
    ) -> Vec<(Option<LeaseId>, String)> {
        let texts: Vec<(Option<LeaseId>, Value)> = match self.0 {
            Value::Null => return Vec::new(),
            Value::Array(texts) => texts.into_iter().map(|text| (None, text)).collect(),
            Value::Object(map) => map.into_iter().map(|(lease, text)| (Some(lease.into()), text)).collect(),
            other => vec![(None, other)],
        };
        if texts.is_empty() {
            return Vec::new();
        }
        let mut redactor = redactor();
        let mut leases: Vec<_> = leases.map(|lease| (lease, lease.expose_secret())).collect();
        // The longest first: one lease can begin like another.
        leases.sort_by_key(|(_, secret)| Reverse(secret.len()));
        leases.iter().for_each(|(_, secret)| redactor.add(secret));
        let warnings = texts.into_iter().map(|(lease_id, text)| {
            let mut message = match text {
                Value::String(text) => text,
                other => alone(&other).map_or_else(|| other.to_string(), str::to_owned),
            };
            let named = || {
                leases.iter().find(|(_, secret)| message.contains(secret.as_ref())).map(|(lease, _)| (*lease).clone())
            };
            let lease_id = lease_id.or_else(named);
            redactor.redact(&mut message);
            (lease_id, message)
        });
        warnings.collect()
    }
}

/// The text of `{"message": text}`, the form of a purge's errors. Where more stands beside it, all of it is kept.
fn alone(remark: &Value) -> Option<&str> {
    let fields = remark.as_object().filter(|fields| fields.len() == 1)?;
    fields.get("message")?.as_str()
}

impl From<Value> for Warnings {
    fn from(value: Value) -> Self {
        Self(value)
    }
}

impl fmt::Debug for Warnings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Warnings(..)")
    }
}
