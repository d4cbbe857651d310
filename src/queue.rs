//! A handle on one queue, and its operations.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use serde_json::{Map, Value};
use tokio::time::Instant;

use crate::{
    ack::{AckOutcome, AckRequest, Decision, Entry},
    check,
    error::Error,
    generated::types::{
        AckEntry, AckPayload, ContentType, Identifier, PeekPayload, PeekResultMessage, PullPayload, PullResult,
        PulledMessage, PurgeEntry, PurgePayload, PushBatchPayload, PushPayload, RetryEntry,
    },
    lease::MessageRef,
    message::Message,
    peek::{PeekedMessage, PurgeOutcome},
    pull::{Batch, Metrics, PullOptions},
    push::{PushMessage, PushOutcome},
    retry::Operation,
    transport::{Call, Transport},
};

/// Room for a message's body in an answer (128 KB, each byte escaped as six) and for what stands beside it.
const MAX_PULLED_MESSAGE_BYTES: usize = 6 * check::MAX_MESSAGE_BYTES + 4096;

/// A handle on one queue: cheap to clone, and to be shared between tasks.
///
/// Dropping the future of one of its methods gives up waiting for the answer; the request may have arrived by then.
#[derive(Clone, Debug)]
pub struct Queue {
    transport: Arc<Transport>,
    ids: Arc<Ids>,
}

#[derive(Debug)]
struct Ids {
    account: Identifier,
    queue: Identifier,
}

impl Queue {
    pub(crate) fn new(transport: Arc<Transport>, account_id: &str, queue_id: &str) -> Result<Self, Error> {
        let ids = Ids { account: identifier("account_id", account_id)?, queue: identifier("queue_id", queue_id)? };
        Ok(Self { transport, ids: Arc::new(ids) })
    }

    /// Ends leases: acknowledges messages, and hands others back for a retry.
    ///
    /// Every 100 leases take one request, sent one after the other; the client's timeouts hold for each of them. `Ok` means that the service carried out each of them; what it
    /// confirmed is in the outcome, which may be [less than was asked for](AckOutcome::is_complete).
    ///
    /// Dropping the future drops the request: clone it before, which copies no lease, to be able to send it again.
    ///
    /// Operation `POST /accounts/{account_id}/queues/{queue_id}/messages/ack`.
    ///
    /// # Errors
    ///
    /// Every error gives back what was confirmed ([`Error::confirmed`]), and exactly the leases that were not, to be sent again
    /// ([`Error::into_unconfirmed`]). Refused before anything is sent: an empty request, an empty lease, a lease that stands in the
    /// request twice, a delay over 24 hours. A request that the service
    /// [rejects](crate::ErrorKind::Rejected) for itself does not keep the others from being sent; any other failure does.
    pub async fn ack(&self, request: AckRequest) -> Result<AckOutcome, Error> {
        if let Err(error) = check::ack(&request) {
            return Err(error.with_leases(None, request));
        }
        let mut confirmed = AckOutcome::new();
        let mut failure: Option<Error> = None;
        let mut unconfirmed = AckRequest { entries: Vec::new(), deadline: request.deadline };
        for entries in request.entries.chunks(check::MAX_BATCH) {
            if failure.as_ref().is_none_or(Error::refuses_the_request) {
                match self.ack_once(entries, request.deadline, &mut confirmed).await {
                    Ok(()) => continue,
                    Err(error) => failure = Some(error),
                }
            }
            unconfirmed.entries.extend_from_slice(entries);
        }
        match failure {
            None => Ok(confirmed),
            Some(error) => {
                let confirmed = (unconfirmed.len() < request.len()).then_some(confirmed);
                Err(error.with_leases(confirmed, unconfirmed))
            }
        }
    }

    async fn ack_once(
        &self,
        entries: &[Entry],
        deadline: Option<std::time::Instant>,
        confirmed: &mut AckOutcome,
    ) -> Result<(), Error> {
        let mut payload = AckPayload { acks: Vec::with_capacity(entries.len()), retries: Vec::new() };
        for Entry { lease_id, decision } in entries {
            let lease_id = lease_id.clone();
            match decision {
                Decision::Ack => payload.acks.push(AckEntry { lease_id }),
                Decision::Retry(delay) => {
                    payload.retries.push(RetryEntry { lease_id, delay_seconds: delay.map(seconds) });
                }
            }
        }
        let Ids { account, queue } = &*self.ids;
        let call = Arc::new(self.transport.call(Operation::Ack, queue, deadline));
        call.trace_count(entries.len());
        let client = call.client();
        let result = call.run(&payload, || client.ack_messages(account, queue, &payload)).await?;
        let (acks, retries) = (whole(result.ack_count), whole(result.retry_count));
        let warnings = result.warnings.unwrap_or_default().into_list(entries, || self.transport.redactor());
        confirmed.add(entries, acks, retries, warnings);
        Ok(())
    }

    /// Leases a batch of messages.
    ///
    /// It takes one request. There is no long polling: a queue that has nothing to give answers an empty batch at once.
    ///
    /// Operation `POST /accounts/{account_id}/queues/{queue_id}/messages/pull`.
    ///
    /// # Errors
    ///
    /// Refused before anything is sent: options out of their bounds. Where a pull [may have arrived](Error::may_have_arrived), messages
    /// may be under leases that nobody knows; they come again when those end.
    pub async fn pull(&self, options: PullOptions) -> Result<Batch, Error> {
        check::pull(&options)?;
        let visibility_timeout_ms = options.visibility_timeout.as_millis() as u32;
        let payload =
            PullPayload { batch_size: Some(options.batch_size), visibility_timeout_ms: Some(visibility_timeout_ms) };
        let mut call = self.call(Operation::Pull);
        let messages_bytes = options.batch_size as usize * MAX_PULLED_MESSAGE_BYTES;
        call.max_answer_bytes = call.max_answer_bytes.saturating_add(messages_bytes);
        let call = Arc::new(call);
        let Ids { account, queue } = &*self.ids;
        let client = call.client();
        let result = call.run(&payload, || client.pull_messages(account, queue, &payload)).await?;

        let lease_deadline = call.sent_at() + Duration::from_millis(visibility_timeout_ms.into());
        call.trace_count(result.messages.as_ref().map_or(0, Vec::len));
        Ok(batch(result, lease_deadline))
    }

    /// Pushes one message.
    ///
    /// Operation `POST /accounts/{account_id}/queues/{queue_id}/messages`.
    ///
    /// # Errors
    ///
    /// Refused before anything is sent: a body over 128 KB, a delay over 24 hours. Pushing again what
    /// [may have arrived](Error::may_have_arrived) can double the message; this crate does not do it by itself.
    pub async fn push(&self, message: &PushMessage) -> Result<PushOutcome, Error> {
        check::push(message)?;
        let call = Arc::new(self.call(Operation::Push));
        let (Ids { account, queue }, payload) = (&*self.ids, payload(message));
        let client = call.client();
        let result = call.run(&payload, || client.push_message(account, queue, &payload)).await?;
        Ok(PushOutcome { metrics: metrics(result.metadata) })
    }

    /// Pushes up to 100 messages in one request.
    ///
    /// Operation `POST /accounts/{account_id}/queues/{queue_id}/messages/batch`.
    ///
    /// # Errors
    ///
    /// As for [`push`](Self::push). Also refused: no message, more than 100, or more than 256 KB in all.
    pub async fn push_batch(&self, messages: &[PushMessage]) -> Result<PushOutcome, Error> {
        check::push_batch(messages)?;
        let batch = PushBatchPayload { delay_seconds: None, messages: messages.iter().map(payload).collect() };
        let call = Arc::new(self.call(Operation::PushBatch));
        call.trace_count(messages.len());
        let Ids { account, queue } = &*self.ids;
        let client = call.client();
        let result = call.run(&batch, || client.push_messages(account, queue, &batch)).await?;
        Ok(PushOutcome { metrics: metrics(result.metadata) })
    }

    /// Looks at up to `batch_size` messages, 1 to 100, without leasing them.
    ///
    /// It takes one request. The messages stay where they are, for anybody to pull, and no delivery is counted.
    ///
    /// Operation `POST /accounts/{account_id}/queues/{queue_id}/messages/peek`.
    ///
    /// # Errors
    ///
    /// Refused before anything is sent: a batch size out of its bounds.
    pub async fn peek(&self, batch_size: u32) -> Result<Vec<PeekedMessage>, Error> {
        check::batch_size(batch_size)?;
        let mut call = self.call(Operation::Peek);
        let messages_bytes = batch_size as usize * MAX_PULLED_MESSAGE_BYTES;
        call.max_answer_bytes = call.max_answer_bytes.saturating_add(messages_bytes);
        let call = Arc::new(call);
        let payload = PeekPayload { batch_size: Some(batch_size) };
        let Ids { account, queue } = &*self.ids;
        let client = call.client();
        let result = call.run(&payload, || client.peek_messages(account, queue, &payload)).await?;
        let messages = result.messages.unwrap_or_default();
        call.trace_count(messages.len());
        Ok(messages.into_iter().map(peeked).collect())
    }

    /// Deletes messages that were peeked, 1 to 100, by their references.
    ///
    /// It takes one request. `Ok` means that the service carried it out; what it left is in the outcome, which may be
    /// [incomplete](PurgeOutcome::is_complete). What another consumer holds under a lease may be deleted too.
    ///
    /// Operation `POST /accounts/{account_id}/queues/{queue_id}/messages/purge`.
    ///
    /// # Errors
    ///
    /// Refused before anything is sent: no reference, more than 100, an empty one, or one that is given twice.
    pub async fn purge(&self, refs: impl IntoIterator<Item = impl Into<MessageRef>>) -> Result<PurgeOutcome, Error> {
        let refs: Vec<MessageRef> = refs.into_iter().map(Into::into).collect();
        check::purge(&refs)?;
        let entries = refs.iter().map(|message_ref| PurgeEntry { ref_: message_ref.clone() });
        let payload = PurgePayload { refs: entries.collect() };
        let call = Arc::new(self.call(Operation::Purge));
        call.trace_count(refs.len());
        let Ids { account, queue } = &*self.ids;
        let client = call.client();
        let result = call.run(&payload, || client.purge_messages(account, queue, &payload)).await?;
        Ok(PurgeOutcome::new(&refs, result.errors, result.warnings, || self.transport.redactor()))
    }

    fn call(&self, operation: Operation) -> Call {
        self.transport.call(operation, &self.ids.queue, None)
    }
}

fn identifier(field: &str, id: &str) -> Result<Identifier, Error> {
    check::id(field, id)?;
    Identifier::try_from(id).map_err(|error| Error::invalid(format!("{field}: {error}")))
}

/// Rounded up: a message is never delivered earlier than asked. The bounds were checked, so that it fits.
fn seconds(delay: Duration) -> u32 {
    delay.as_secs() as u32 + u32::from(delay.subsec_nanos() > 0)
}

fn payload(message: &PushMessage) -> PushPayload {
    PushPayload {
        body: message.body.clone(),
        content_type: if message.is_json { ContentType::Json } else { ContentType::Text },
        delay_seconds: message.delay.map(seconds),
    }
}

pub(crate) fn batch(result: PullResult, lease_deadline: Instant) -> Batch {
    let pulled = result.messages.unwrap_or_default();
    let count = pulled.len();
    let messages: Vec<_> = pulled.into_iter().filter_map(|pulled| message(pulled, lease_deadline)).collect();
    Batch {
        without_lease: count - messages.len(),
        messages,
        backlog_count: whole(number(result.message_backlog_count)),
        metrics: metrics(result.metadata),
    }
}

/// A message without a lease can be neither acknowledged nor handed back: it is left to the caller's count.
fn message(pulled: PulledMessage, lease_deadline: Instant) -> Option<Message> {
    Some(Message {
        lease_id: pulled.lease_id.filter(|lease_id| !lease_id.is_empty())?,
        id: id(pulled.id),
        attempts: attempts(pulled.attempts),
        timestamp: time(number(pulled.timestamp_ms)),
        metadata: properties(pulled.metadata),
        lease_deadline: lease_deadline.into_std(),
        body: pulled.body.unwrap_or_default(),
    })
}

fn peeked(peeked: PeekResultMessage) -> PeekedMessage {
    PeekedMessage {
        id: id(peeked.id),
        message_ref: peeked.ref_.filter(|message_ref| !message_ref.0.is_empty()),
        attempts: attempts(peeked.attempts),
        timestamp: time(number(peeked.timestamp_ms)),
        metadata: properties(peeked.metadata),
        body: peeked.body.unwrap_or_default(),
    }
}

/// What comes beside a result that is there already must not cost it, whatever its form.
fn metrics(metadata: Option<Value>) -> Option<Metrics> {
    let metrics = metadata?.get_mut("metrics").map(Value::take).filter(Value::is_object)?;
    let read = |field| metrics.get(field).and_then(Value::as_f64);
    Some(Metrics {
        backlog_count: whole(read("backlog_count")),
        backlog_bytes: whole(read("backlog_bytes")),
        // The service says 0 where it does not know.
        oldest_message: time(read("oldest_message_timestamp_ms").filter(|ms| *ms != 0.0)),
    })
}

fn number(value: Option<Value>) -> Option<f64> {
    value?.as_f64()
}

/// The service's counts are JSON numbers: 5 and 5.0 are five, and what is no count is unknown.
fn whole(number: Option<f64>) -> Option<u64> {
    number.filter(|number| *number >= 0.0 && number.fract() == 0.0).map(|number| number as u64)
}

fn attempts(value: Option<Value>) -> Option<u32> {
    whole(number(value))?.try_into().ok()
}

/// An id of an odd type is kept as its JSON.
fn id(value: Option<Value>) -> String {
    match value {
        Some(Value::String(id)) => id,
        id => id.filter(|id| !id.is_null()).map(|id| id.to_string()).unwrap_or_default(),
    }
}

fn properties(value: Option<Value>) -> Map<String, Value> {
    match value {
        Some(Value::Object(metadata)) => metadata,
        _ => Map::new(),
    }
}

fn time(milliseconds: Option<f64>) -> Option<SystemTime> {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(whole(milliseconds)?))
}
