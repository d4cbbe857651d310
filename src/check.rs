//! The bounds that the service sets, checked before anything is sent.

use std::time::Duration;

use crate::{
    ack::{AckRequest, Decision, Entry},
    error::Error,
    lease::{LeaseId, MessageRef},
    pull::PullOptions,
    push::PushMessage,
};

pub(crate) const MAX_BATCH: usize = 100;
pub(crate) const MAX_MESSAGE_BYTES: usize = 128_000;
const MAX_PUSH_BATCH_BYTES: usize = 256_000;
const MAX_ID_CHARACTERS: usize = 32;
pub(crate) const MAX_DELAY: Duration = Duration::from_secs(24 * 60 * 60);
const MAX_VISIBILITY_TIMEOUT: Duration = Duration::from_secs(12 * 60 * 60);

/// An id goes into the path, where `.` and `..` would lead elsewhere with the credentials attached.
pub(crate) fn id(field: &str, id: &str) -> Result<(), Error> {
    if !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')) {
        return Err(Error::invalid(format!("{field}: may hold only letters, digits, `_` and `-`")));
    }
    if !(1..=MAX_ID_CHARACTERS).contains(&id.len()) {
        return Err(Error::invalid(format!(
            "{field}: must have 1 to {MAX_ID_CHARACTERS} characters, but has {}",
            id.len()
        )));
    }
    Ok(())
}

pub(crate) fn ack(request: &AckRequest) -> Result<(), Error> {
    if request.is_empty() {
        return Err(Error::invalid("acks, retries: the request holds no lease, but must hold at least one"));
    }
    for (index, Entry { lease_id, decision }) in request.entries.iter().enumerate() {
        if lease_id.is_empty() {
            return Err(Error::invalid(format!("lease_id: lease {} of the request is empty", index + 1)));
        }
        entry(lease_id, *decision)?;
    }
    match repeated(|| request.lease_ids()) {
        Some(index) => Err(Error::invalid(format!(
            "lease_id: lease {} of the request stands in it already, but each lease may stand there once",
            index + 1
        ))),
        None => Ok(()),
    }
}

/// The place of a lease that is given already. Leases are ciphertexts, which differ at their ends: those are compared first, at a
/// small part of what it would cost to hash all of each.
fn repeated<'a, I: Iterator<Item = &'a LeaseId>>(leases: impl Fn() -> I) -> Option<usize> {
    let end = |text: &str| text.as_bytes().last_chunk().map_or(0, |end| u64::from_ne_bytes(*end));
    let mut sorted: Vec<_> = leases().map(LeaseId::as_json).map(|text| (end(text), text)).collect();
    sorted.sort_unstable();
    let mut pairs = sorted.iter().zip(sorted.iter().skip(1));
    let ((_, text), _) = pairs.find(|(one, other)| one == other)?;
    leases().enumerate().filter(|(_, lease)| lease.as_json() == *text).map(|(at, _)| at).nth(1)
}

pub(crate) fn entry(lease_id: &LeaseId, decision: Decision) -> Result<(), Error> {
    if lease_id.is_empty() {
        return Err(Error::invalid("lease_id: must not be empty"));
    }
    match decision {
        Decision::Retry(Some(wait)) => delay(wait),
        Decision::Retry(None) | Decision::Ack => Ok(()),
    }
}

pub(crate) fn batch_size(batch_size: u32) -> Result<(), Error> {
    if !(1..=MAX_BATCH).contains(&(batch_size as usize)) {
        return Err(Error::invalid(format!("batch_size: must be 1 to {MAX_BATCH}, but is {batch_size}")));
    }
    Ok(())
}

pub(crate) fn purge(refs: &[MessageRef]) -> Result<(), Error> {
    if !(1..=MAX_BATCH).contains(&refs.len()) {
        return Err(Error::invalid(format!("refs: must be 1 to {MAX_BATCH}, but are {}", refs.len())));
    }
    let refs = || refs.iter().map(|message_ref| &message_ref.0);
    if let Some(index) = refs().position(LeaseId::is_empty) {
        return Err(Error::invalid(format!("ref: reference {} is empty", index + 1)));
    }
    match repeated(refs) {
        Some(index) => {
            Err(Error::invalid(format!("ref: reference {} is given already, but each may be given once", index + 1)))
        }
        None => Ok(()),
    }
}

pub(crate) fn pull(options: &PullOptions) -> Result<(), Error> {
    batch_size(options.batch_size)?;
    if !(Duration::from_millis(1)..=MAX_VISIBILITY_TIMEOUT).contains(&options.visibility_timeout) {
        return Err(Error::invalid(format!(
            "visibility_timeout: must be 1 ms to 12 hours, but is {:?}",
            options.visibility_timeout
        )));
    }
    Ok(())
}

pub(crate) fn push(message: &PushMessage) -> Result<(), Error> {
    if message.bytes > MAX_MESSAGE_BYTES {
        return Err(Error::invalid(format!(
            "body: must have at most {MAX_MESSAGE_BYTES} bytes (128 KB), but has {}",
            message.bytes
        )));
    }
    message.delay.map_or(Ok(()), delay)
}

pub(crate) fn push_batch(messages: &[PushMessage]) -> Result<(), Error> {
    if !(1..=MAX_BATCH).contains(&messages.len()) {
        return Err(Error::invalid(format!("messages: must be 1 to {MAX_BATCH}, but are {}", messages.len())));
    }
    messages.iter().try_for_each(push)?;
    let bytes: usize = messages.iter().map(|message| message.bytes).sum();
    if bytes > MAX_PUSH_BATCH_BYTES {
        return Err(Error::invalid(format!(
            "messages: must have at most {MAX_PUSH_BATCH_BYTES} bytes (256 KB) together, but have {bytes}"
        )));
    }
    Ok(())
}

fn delay(delay: Duration) -> Result<(), Error> {
    if delay > MAX_DELAY {
        return Err(Error::invalid(format!("delay: must be at most 24 hours, but is {delay:?}")));
    }
    Ok(())
}
