//! The service's limits, checked before anything is sent. `openapi/queues.json` has the numbers.

use std::{ops::RangeInclusive, time::Duration};

use crate::{
    document::{self, same},
    error::Error,
    message::{
        ack::AckRequest,
        lease::{LeaseId, MessageRef},
        pull::PullOptions,
        push::{MAX_PUSHED, MAX_PUSHED_BYTES, PushMessage},
        settlement::{Decision, Lease, Settlement},
    },
};

/// The messages a second that the service allows for a queue:
/// <https://developers.cloudflare.com/queues/platform/limits/>.
pub(crate) const PER_SECOND: f64 = 5_000.0;
/// However often they are refused, there is a full request a second, or 100 of one message.
pub(crate) const LEAST_PER_SECOND: f64 = 100.0;
/// The maximum number of leases that one request settles.
pub(crate) const MAX_LEASES: usize =
    same(&[document::ACK_PAYLOAD_ACKS_MAX_ITEMS, document::ACK_PAYLOAD_RETRIES_MAX_ITEMS]) as usize;
/// The maximum number of leases that one request extends.
pub(crate) const MAX_EXTENDED: usize = document::EXTEND_PAYLOAD_EXTEND_MAX_ITEMS as usize;
pub(crate) const MAX_DELAY: Duration = Duration::from_secs(same(&[
    document::RETRY_ENTRY_DELAY_SECONDS_MAX,
    document::PUSH_PAYLOAD_DELAY_SECONDS_MAX,
    document::PUSH_BATCH_PAYLOAD_DELAY_SECONDS_MAX,
]));
pub(crate) const BATCH_SIZE: RangeInclusive<u64> =
    same(&[document::PULL_PAYLOAD_BATCH_SIZE_MIN, document::PEEK_PAYLOAD_BATCH_SIZE_MIN])
        ..=same(&[document::PULL_PAYLOAD_BATCH_SIZE_MAX, document::PEEK_PAYLOAD_BATCH_SIZE_MAX]);
pub(crate) const VISIBILITY_TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(same(&[
    document::PULL_PAYLOAD_VISIBILITY_TIMEOUT_MS_MIN,
    document::EXTEND_PAYLOAD_VISIBILITY_TIMEOUT_MS_MIN,
]))
    ..=Duration::from_millis(same(&[
        document::PULL_PAYLOAD_VISIBILITY_TIMEOUT_MS_MAX,
        document::EXTEND_PAYLOAD_VISIBILITY_TIMEOUT_MS_MAX,
    ]));
pub(crate) const REFS: RangeInclusive<u64> =
    document::PURGE_PAYLOAD_REFS_MIN_ITEMS..=document::PURGE_PAYLOAD_REFS_MAX_ITEMS;

pub(crate) fn ack(request: &AckRequest) -> Result<(), Error> {
    if request.is_empty() {
        return Err(Error::invalid("acks, retries: the request must have at least one lease"));
    }
    request.iter().try_for_each(|settlement| decision(settlement.decision))?;
    distinct("lease_id: lease", || request.iter().map(|settlement| settlement.lease.id()))
}

pub(crate) fn extend(leases: &[Lease], timeout: Duration) -> Result<(), Error> {
    visibility_timeout(timeout)?;
    if leases.is_empty() {
        return Err(Error::invalid("extend: the request must have at least one lease"));
    }
    distinct("lease_id: lease", || leases.iter().map(Lease::id))
}

/// Leases or references, none of which may be empty or there twice.
fn distinct<'a, I: Iterator<Item = &'a LeaseId>>(what: &str, ids: impl Fn() -> I) -> Result<(), Error> {
    let refused = |index: usize, why: &str| Err(Error::invalid(format!("{what} {} {why}", index.saturating_add(1))));
    if let Some(index) = ids().position(LeaseId::is_empty) {
        return refused(index, "of the request is empty");
    }
    repeated(ids).map_or(Ok(()), |index| refused(index, "is in the request twice"))
}

/// The position of a repeated lease. Leases are ciphertexts, which differ at their ends, so the ends are compared
/// first, which is much cheaper than hashing.
pub(crate) fn repeated<'a, I: Iterator<Item = &'a LeaseId>>(leases: impl Fn() -> I) -> Option<usize> {
    let end = |lease: &LeaseId| lease.as_json().as_bytes().last_chunk().map_or(0, |end| u64::from_ne_bytes(*end));
    leases().nth(1)?;
    let mut ends: Vec<_> = leases().map(end).collect();
    ends.sort_unstable();
    if ends.iter().zip(ends.iter().skip(1)).all(|(one, other)| one != other) {
        return None;
    }
    let mut sorted: Vec<_> = leases().map(LeaseId::as_json).collect();
    sorted.sort_unstable();
    let mut pairs = sorted.iter().zip(sorted.iter().skip(1));
    let (text, _) = pairs.find(|(one, other)| one == other)?;
    leases().enumerate().filter(|(_, lease)| lease.as_json() == *text).map(|(at, _)| at).nth(1)
}

pub(crate) fn settlement(settlement: &Settlement) -> Result<(), Error> {
    if settlement.lease.id().is_empty() {
        return Err(Error::invalid("lease_id: must not be empty"));
    }
    decision(settlement.decision)
}

fn decision(decision: Decision) -> Result<(), Error> {
    match decision {
        Decision::RetryIn(wait) => delay(wait),
        Decision::Retry | Decision::Ack => Ok(()),
    }
}

/// A number that must be within its bounds.
pub(crate) fn within(name: &str, bounds: &RangeInclusive<u64>, number: u64) -> Result<(), Error> {
    if bounds.contains(&number) {
        return Ok(());
    }
    Err(Error::invalid(format!("{name}: must be {} to {}, but is {number}", bounds.start(), bounds.end())))
}

pub(crate) fn batch_size(batch_size: u32) -> Result<(), Error> {
    within("batch_size", &BATCH_SIZE, batch_size.into())
}

pub(crate) fn refs(refs: &[MessageRef]) -> Result<(), Error> {
    within("number of refs", &REFS, refs.len() as u64)?;
    distinct("ref: reference", || refs.iter().map(|message_ref| &message_ref.0))
}

pub(crate) fn pull(options: &PullOptions) -> Result<(), Error> {
    batch_size(options.batch_size)?;
    visibility_timeout(options.visibility_timeout)
}

pub(crate) fn visibility_timeout(timeout: Duration) -> Result<(), Error> {
    if !VISIBILITY_TIMEOUT.contains(&timeout) {
        let (least, most) = (VISIBILITY_TIMEOUT.start().as_millis(), hours(*VISIBILITY_TIMEOUT.end()));
        return Err(Error::invalid(format!(
            "visibility_timeout: must be {least} ms to {most} hours, but is {timeout:?}"
        )));
    }
    Ok(())
}

pub(crate) fn push(message: &PushMessage) -> Result<(), Error> {
    if message.size() > PushMessage::MAX_SIZE {
        return Err(Error::invalid(format!(
            "body: must have at most {} bytes ({} KB), but has {}",
            PushMessage::MAX_SIZE,
            PushMessage::MAX_SIZE / 1000,
            message.size()
        )));
    }
    message.delay.map_or(Ok(()), delay)
}

pub(crate) fn push_batch(messages: &[PushMessage]) -> Result<(), Error> {
    within("number of messages", &(1..=MAX_PUSHED as u64), messages.len() as u64)?;
    messages.iter().try_for_each(push)?;
    let bytes = messages.iter().fold(0, |bytes: usize, message| bytes.saturating_add(message.size()));
    if bytes > MAX_PUSHED_BYTES {
        return Err(Error::invalid(format!(
            "messages: must have at most {MAX_PUSHED_BYTES} bytes ({} KB) in total, but have {bytes}",
            MAX_PUSHED_BYTES / 1000
        )));
    }
    Ok(())
}

fn delay(delay: Duration) -> Result<(), Error> {
    if delay > MAX_DELAY {
        return Err(Error::invalid(format!("delay: must be at most {} hours, but is {delay:?}", hours(MAX_DELAY))));
    }
    Ok(())
}

fn hours(bound: Duration) -> u64 {
    bound.as_secs() / 3600
}
