//! A handle on one queue, and its operations.

pub(crate) mod ids;
mod settle;
#[cfg(test)]
mod tests;
pub(crate) mod wire;

use std::{sync::Arc, time::Duration};

use serde::de::DeserializeOwned;

use crate::{
    document::generated::{
        self,
        types::{Identifier, PeekPayload, PurgeEntry, PurgePayload, PushBatchPayload},
    },
    error::Error,
    flow::{adaptive::Setback, rate::Rate},
    http::{
        call::{Call, Returned},
        response::{self, Success},
        transport::Transport,
    },
    message::{
        delete::DeleteOutcome,
        held::Extended,
        lease::MessageRef,
        limits,
        peek::PeekedMessage,
        pull::{Batch, PullOptions, Trip},
        push::{PushAllError, PushMessage, PushOutcome},
    },
    queue::ids::{AccountId, QueueId},
};

/// Room for a message in a response: its body (128 KB, each byte escaped as six) and its other fields.
const MAX_PULLED_MESSAGE_BYTES: usize = 6 * PushMessage::MAX_SIZE + 4096;

/// A handle to one queue. It is cheap to clone and can be shared between tasks.
///
/// | to | call |
/// |---|---|
/// | push messages | [`push`](Self::push), [`push_all`](Self::push_all), [`push_batch`](Self::push_batch) |
/// | receive them under leases | [`pull`](Self::pull) |
/// | acknowledge or retry them | [`ack`](Self::ack) |
/// | make leases last longer | [`extend`](Self::extend) |
/// | look at messages, and delete them | [`peek`](Self::peek), [`delete_messages`](Self::delete_messages) |
/// | see the queue's settings and backlog | [`describe`](Self::describe), [`metrics`](Self::metrics) |
///
/// A [`Consumer`](crate::Consumer) does the second to the fourth for you. The other methods change the queue, its
/// settings and its consumers.
///
/// Dropping the future of one of its methods stops waiting for the response. The request may have arrived by then.
/// Outside a tokio runtime with timers, every method fails with [`InvalidInput`](crate::ErrorKind::InvalidInput).
///
/// ```no_run
/// # async fn example() -> Result<(), cloudflare_queues::Error> {
/// use cloudflare_queues::{PullOptions, PushMessage, Queue};
///
/// let queue = Queue::from_env()?;
/// queue.push(&PushMessage::text("hello")).await?;
/// let batch = queue.pull(PullOptions::new().batch_size(100)).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Queue {
    transport: Arc<Transport>,
    ids: Arc<Ids>,
    /// In addition to that of the client.
    timeout: Duration,
    /// Is told of calls that the service refuses for their rate.
    rate: Option<Arc<Rate>>,
}

#[derive(Debug)]
struct Ids {
    account: AccountId,
    queue: QueueId,
}

/// Messages.
impl Queue {
    pub(crate) fn new(transport: Arc<Transport>, account: AccountId, queue: QueueId) -> Self {
        Self { transport, ids: Arc::new(Ids { account, queue }), timeout: Duration::MAX, rate: None }
    }

    /// A handle to the same queue whose calls take at most `timeout` each, all attempts included. The client's
    /// [`call_timeout`](crate::ClientBuilder::call_timeout) still applies.
    ///
    /// As there, it applies to each request of an operation that takes several. A push that takes longer [may have
    /// arrived](Error::may_have_arrived).
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// use cloudflare_queues::{ErrorKind, PushMessage, emulator::{Emulator, Fault}};
    /// use std::time::Duration;
    ///
    /// let emulator = Emulator::in_process();
    /// let queue = emulator.queue()?;
    /// emulator.inject(Fault::Slow { before: Duration::from_secs(10), after: Duration::ZERO, fault: None });
    /// let job = PushMessage::text("hello");
    /// let error = queue.with_timeout(Duration::from_millis(200)).push(&job).await.unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::Timeout); // time for the fallback
    /// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self { timeout, ..self.clone() }
    }

    pub(crate) fn with_rate(&self, rate: Arc<Rate>) -> Self {
        Self { rate: Some(rate), ..self.clone() }
    }

    /// The queue's id.
    pub fn id(&self) -> &QueueId {
        &self.ids.queue
    }

    /// The id of the account that owns the queue.
    pub fn account_id(&self) -> &AccountId {
        &self.ids.account
    }

    /// Leases a batch of messages.
    ///
    /// This takes one request. There is no long polling: an empty queue returns an empty batch at once.
    ///
    /// An entry that is not of the documented form does not affect the other messages. An entry without a lease is only
    /// [counted](Batch::without_lease). Leases that expired before the response arrived are logged as a warning: set a
    /// longer visibility timeout.
    ///
    /// Operation `POST /accounts/{account_id}/queues/{queue_id}/messages/pull`.
    ///
    /// # Errors
    ///
    /// Refused before anything is sent: options out of their bounds. If the pull [may have
    /// arrived](Error::may_have_arrived), messages may be leased that you did not receive. They are delivered again
    /// when the leases expire.
    pub async fn pull(&self, options: PullOptions) -> Result<Batch, Error> {
        limits::pull(&options)?;
        let payload = wire::pull_payload(options);
        let call = self.call(async |client, account, queue| client.pull_messages(account, queue, &payload).await)?;
        let call = call.with_room(room_for(options.batch_size)).read_by(wire::read_pull);
        let clock = &self.transport.clock;
        let start = clock.now();
        let (Success { result, .. }, sent) = call.send().await?;
        let lasts = Duration::from_millis(wire::milliseconds(options.visibility_timeout).into());
        let lease_deadline = sent.at + lasts;
        let ends = start.at(lease_deadline.into_std());
        let mut batch = wire::batch(result, lease_deadline);
        if !batch.is_empty() {
            let held = Extended::from(ends, clock);
            batch.messages.iter_mut().for_each(|message| message.extended = held.clone());
        }
        batch.trip = Trip { sent_at: Some(sent.at), setback: sent.setback };
        call.trace_count(batch.len());
        if !batch.is_empty() && ends.has_passed(clock) {
            tracing::warn!(
                messages = batch.len(),
                visibility_timeout = ?options.visibility_timeout,
                "the leases expired before the response to the pull arrived"
            );
        }
        Ok(batch)
    }

    /// Pushes one message.
    ///
    /// Operation `POST /accounts/{account_id}/queues/{queue_id}/messages`.
    ///
    /// # Errors
    ///
    /// Refused before anything is sent: a body over 128 KB, a delay over 24 hours. If the push [may have
    /// arrived](Error::may_have_arrived), pushing again can duplicate the message, so it is not retried automatically.
    pub async fn push(&self, message: &PushMessage) -> Result<PushOutcome, Error> {
        limits::push(message)?;
        let payload = wire::push_payload(message);
        let call = self.call(async |client, account, queue| client.push_message(account, queue, &payload).await)?;
        let result = call.read_by(response::read_counts).result().await?;
        Ok(PushOutcome { metrics: wire::metrics(result.metadata) })
    }

    /// Pushes up to 100 messages in one request.
    ///
    /// Operation `POST /accounts/{account_id}/queues/{queue_id}/messages/batch`.
    ///
    /// # Errors
    ///
    /// As for [`push`](Self::push). Also refused: no message, more than 100 messages, or more than 256 KB in total.
    pub async fn push_batch(&self, messages: &[PushMessage]) -> Result<PushOutcome, Error> {
        limits::push_batch(messages)?;
        Ok(self.push_once(messages.iter()).await?.0)
    }

    /// Sends one request, of messages that were checked. Returns its outcome, and the failures before it.
    pub(crate) async fn push_once(
        &self,
        messages: impl Iterator<Item = &PushMessage>,
    ) -> Result<(PushOutcome, Setback), Error> {
        let payload = PushBatchPayload { delay_seconds: None, messages: messages.map(wire::push_payload).collect() };
        let call = self.call(async |client, account, queue| client.push_messages(account, queue, &payload).await)?;
        let call = call.read_by(response::read_counts);
        call.trace_count(payload.messages.len());
        let (Success { result, .. }, sent) = call.send().await?;
        Ok((PushOutcome { metrics: wire::metrics(result.metadata) }, sent.setback))
    }

    /// Pushes any number of messages in order, in sequential requests of up to 100 messages and 256 KB.
    ///
    /// Without messages, nothing is sent.
    ///
    /// # Errors
    ///
    /// As for [`push`](Self::push). All messages are checked before the first request. [`PushAllError`] reports how
    /// many messages were accepted, and how many more may have been.
    pub async fn push_all(&self, messages: &[PushMessage]) -> Result<PushOutcome, PushAllError> {
        let refused = |error| PushAllError { error, accepted: 0, may_have_arrived: 0 };
        messages.iter().try_for_each(limits::push).map_err(refused)?;
        let (mut outcome, mut accepted) = (PushOutcome::default(), 0);
        for batch in PushMessage::batches(messages) {
            let failed = |error: Error| {
                let may_have_arrived = if error.may_have_arrived() { batch.len() } else { 0 };
                PushAllError { error: error.or_may_have_arrived(accepted > 0), accepted, may_have_arrived }
            };
            outcome = self.push_batch(batch).await.map_err(failed)?;
            accepted = accepted.saturating_add(batch.len());
        }
        Ok(outcome)
    }

    /// Looks at up to `batch_size` messages, 1 to 100, without leasing them.
    ///
    /// This takes one request. The messages stay in the queue, and no attempt is counted.
    ///
    /// Operation `POST /accounts/{account_id}/queues/{queue_id}/messages/peek`.
    ///
    /// # Errors
    ///
    /// Refused before anything is sent: a batch size out of its bounds.
    pub async fn peek(&self, batch_size: u32) -> Result<Vec<PeekedMessage>, Error> {
        limits::batch_size(batch_size)?;
        let payload = PeekPayload { batch_size: batch_size.try_into().ok() };
        let call = self.call(async |client, account, queue| client.peek_messages(account, queue, &payload).await)?;
        let call = call.with_room(room_for(batch_size)).read_by(wire::read_peek);
        let (peeked, _) = call.send().await?;
        let messages = peeked.result.messages.unwrap_or_default();
        call.trace_count(messages.len());
        Ok(messages.into_iter().map(wire::peeked).collect())
    }

    /// Deletes 1 to 100 peeked messages by their references.
    ///
    /// This takes one request. `Ok` means that the service carried it out, but it may have skipped messages: check
    /// [`is_complete`](DeleteOutcome::is_complete). A message that another consumer has leased may be deleted as well.
    ///
    /// Operation `POST /accounts/{account_id}/queues/{queue_id}/messages/purge`.
    ///
    /// # Errors
    ///
    /// Refused before anything is sent: no reference, more than 100, an empty reference, or the same one twice.
    pub async fn delete_messages(
        &self,
        refs: impl IntoIterator<Item = impl Into<MessageRef>>,
    ) -> Result<DeleteOutcome, Error> {
        let refs: Vec<MessageRef> = refs.into_iter().map(Into::into).collect();
        limits::refs(&refs)?;
        let entries = refs.iter().map(|message_ref| PurgeEntry { ref_: message_ref.clone() });
        let payload = PurgePayload { refs: entries.collect() };
        let call = self.call(async |client, account, queue| client.purge_messages(account, queue, &payload).await)?;
        let call = call.read_by(response::read_counts);
        call.trace_count(refs.len());
        let (Success { result, errors, .. }, sent) = call.send().await?;
        let read = |warnings, errors: &[_]| {
            sent.warnings(warnings, errors, refs.iter().map(|message_ref| &message_ref.0), MessageRef)
        };
        let (errors, warnings) = (read(result.errors, &errors), read(result.warnings, &[]));
        Ok(DeleteOutcome::new(&refs, errors, warnings))
    }

    /// A call with the request of a generated method.
    pub(crate) fn call<T: DeserializeOwned>(
        &self,
        method: impl AsyncFnOnce(&generated::Client, &Identifier, &Identifier) -> Returned<T>,
    ) -> Result<Call<'_, T>, Error> {
        let Ids { account, queue } = &*self.ids;
        let method = async |client: &_| method(client, account.wire(), queue.wire()).await;
        Ok(self.transport.call(queue.as_str(), self.timeout, method)?.told_to(self.rate.as_deref()))
    }

    /// Takes a retry from the budget that all calls on the client share, if one is left.
    pub(crate) fn withdraw_retry(&self) -> bool {
        self.transport.budget.withdraw()
    }

    /// Draws a random number from the client's source.
    pub(crate) fn random(&self) -> u64 {
        (self.transport.random)()
    }

    pub(crate) fn transport(&self) -> &Arc<Transport> {
        &self.transport
    }
}

/// By how much a response with so many messages may exceed the client's limit.
fn room_for(messages: u32) -> usize {
    (messages as usize).saturating_mul(MAX_PULLED_MESSAGE_BYTES)
}
