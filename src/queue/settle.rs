//! What a queue does with leases: acknowledge, retry, extend.

use std::time::Duration;

use tokio::time::Instant;

use crate::{
    error::Error,
    flow::adaptive::Setback,
    http::response::{self, Success},
    message::{
        ack::{AckError, AckOutcome, AckRequest},
        extend::{ExtendError, ExtendOutcome},
        limits,
        settlement::{self, Lease, Settlement},
    },
    queue::{Queue, wire},
};

/// Leases.
impl Queue {
    /// Settles leases: acknowledges messages, and retries others.
    ///
    /// Sends one request per 100 leases, one after the other. The client's timeouts apply to each request. `Ok` means
    /// that the service reported success for every request, but it may have confirmed less than you asked for: check
    /// [`is_complete`](AckOutcome::is_complete).
    ///
    /// Dropping the future drops the request. To be able to send it again, clone it first; a clone copies no lease.
    ///
    /// Operation `POST /accounts/{account_id}/queues/{queue_id}/messages/ack`.
    ///
    /// # Errors
    ///
    /// [`AckError`] holds the outcome of the requests that succeeded, and the other leases, so that you can send those
    /// again. Refused before anything is sent: an empty request, an empty lease, the same lease twice, a delay over 24
    /// hours. If the service [rejects](crate::ErrorKind::Rejected) one of several requests, the others are still sent.
    /// Any other failure ends the call.
    pub async fn ack(&self, request: AckRequest) -> Result<AckOutcome, AckError> {
        let mut outcome = AckOutcome::default();
        if let Err(error) = limits::ack(&request) {
            return Err(AckError { error, outcome, unconfirmed: request });
        }
        let mut failure: Option<Error> = None;
        let mut unconfirmed = AckRequest { settlements: Vec::new(), deadline: request.deadline };
        for settlements in request.settlements.chunks(limits::MAX_LEASES) {
            if failure.as_ref().is_none_or(Error::refuses_the_request) {
                match self.ack_once(settlements.iter(), request.deadline).await {
                    Ok((settled, _)) => {
                        outcome.add(settled);
                        continue;
                    }
                    Err(error) => failure = Some(failure.into_iter().fold(error, Error::after)),
                }
            }
            unconfirmed.settlements.extend_from_slice(settlements);
        }
        match failure {
            None => Ok(outcome),
            Some(error) => {
                let error = error.or_may_have_arrived(unconfirmed.len() < request.len());
                Err(AckError { error, outcome, unconfirmed })
            }
        }
    }

    /// Sends one request, of at most 100 leases, each there once. Returns its outcome, and the failures before it.
    pub(crate) async fn ack_once<'a>(
        &self,
        settlements: impl ExactSizeIterator<Item = &'a Settlement> + Clone,
        deadline: Option<std::time::Instant>,
    ) -> Result<(AckOutcome, Setback), Error> {
        let now = Instant::now().into_std();
        let leases = settlements.clone().map(|settlement| &settlement.lease);
        let deadline = deadline.or_else(|| settlement::deadline(leases, now));
        let payload = wire::ack_payload(settlements.clone());
        let call = self.call(async |client, account, queue| client.ack_messages(account, queue, &payload).await)?;
        let call = call.until(deadline).read_by(response::read_counts);
        call.trace_count(settlements.len());
        let (Success { result, errors, .. }, sent) = call.send().await?;
        let leases = settlements.clone().map(|settlement| settlement.lease.id());
        let warnings = sent.warnings(result.warnings, &errors, leases, |id| id);
        let counts = [result.ack_count, result.retry_count].map(wire::number);
        Ok((AckOutcome::new(settlements, counts, warnings), sent.setback))
    }

    /// Extends leases by `visibility_timeout` from now, 1 ms to 12 hours. No attempt is counted.
    ///
    /// Sends one request per 100 leases, one after the other.
    ///
    /// Cloudflare documents one sentence about this operation: it "extends message leases without incrementing the
    /// messages' attempts counters; each message receives a new lease identifier". But the response has no lease
    /// identifiers. So keep the ids from the pull: a message can only be acknowledged with those. If the service took
    /// only the new ones, an acknowledgement after an extension would not be counted.
    /// [`AckOutcome::is_complete`](crate::AckOutcome::is_complete) would be `false`, and the message would be delivered
    /// again.
    ///
    /// It is also not known whether the time counts from now or from the end of the lease, whether a lease can be
    /// extended twice, be shortened, or last for more than 12 hours in all, and what happens to an expired lease. Rely
    /// on an extension only if the outcome [is complete](ExtendOutcome::is_complete), only until
    /// [`ExtendOutcome::deadline`], and no longer than 12 hours after the pull.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// # use cloudflare_queues::{PullOptions, PushMessage, emulator::Emulator};
    /// # use std::time::Duration;
    /// # let emulator = Emulator::start().await?;
    /// # let queue = emulator.queue()?;
    /// # queue.push(&PushMessage::text("hello")).await?;
    /// let batch = queue.pull(PullOptions::new()).await?;
    /// let outcome = queue.extend(&batch, Duration::from_secs(600)).await?;
    /// assert!(outcome.is_complete());
    /// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// Operation `POST /accounts/{account_id}/queues/{queue_id}/messages/extend`.
    ///
    /// # Errors
    ///
    /// A failed request is retried until the first of its leases expires; an attempt that is under way then is not cut
    /// off. [`ExtendError`] holds the outcome of the requests that succeeded, and the other leases. Refused before
    /// anything is sent: no lease, an empty lease, the same lease twice, a visibility timeout out of bounds. After a
    /// failure, no further request is sent.
    pub async fn extend(
        &self,
        leases: impl IntoIterator<Item = impl Into<Lease>>,
        visibility_timeout: Duration,
    ) -> Result<ExtendOutcome, ExtendError> {
        let mut leases: Vec<Lease> = leases.into_iter().map(Into::into).collect();
        let mut outcome = ExtendOutcome::default();
        if let Err(error) = limits::extend(&leases, visibility_timeout) {
            return Err(ExtendError { error, outcome, unconfirmed: leases });
        }
        let mut done: usize = 0;
        for chunk in leases.chunks(limits::MAX_EXTENDED) {
            match self.extend_once(chunk, visibility_timeout).await {
                Ok(extended) => outcome.add(extended),
                Err(error) => {
                    let error = error.or_may_have_arrived(done > 0);
                    return Err(ExtendError { error, outcome, unconfirmed: leases.split_off(done) });
                }
            }
            done = done.saturating_add(chunk.len());
        }
        Ok(outcome)
    }

    async fn extend_once(&self, leases: &[Lease], visibility_timeout: Duration) -> Result<ExtendOutcome, Error> {
        // An expired lease may belong to another consumer by now.
        let deadline = settlement::deadline(leases.iter(), Instant::now().into_std());
        let payload = wire::extend_payload(leases, visibility_timeout);
        let call = self.call(async |client, account, queue| client.extend_messages(account, queue, &payload).await)?;
        let call = call.until(deadline).read_by(response::read_counts);
        call.trace_count(leases.len());
        let (Success { result, errors, .. }, sent) = call.send().await?;
        let warnings = sent.warnings(result.warnings, &errors, leases.iter().map(Lease::id), |id| id);
        let lasts = Duration::from_millis(wire::milliseconds(visibility_timeout).into());
        let until = (sent.at + lasts).into_std();
        Ok(ExtendOutcome::new(leases, wire::number(result.extend_count), warnings, until))
    }
}
