//! Pushes the messages of one request, with as many requests as that takes.

use std::{
    borrow::Borrow,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

use super::worker::Pending;
use crate::{
    error::Error,
    flow::{
        pace::{FIRST_WAIT, LONGEST_WAIT, Pace},
        splitting::Splitting,
    },
    http::{
        retry::{self, jittered},
        transport,
    },
    queue::Queue,
};

pub(super) struct Requests {
    pub(super) queue: Queue,
    pub(super) pace: Pace,
    pub(super) give_up_after: Duration,
    /// How many messages were not pushed whose receipts were dropped.
    pub(super) unheard: AtomicU64,
}

impl Requests {
    /// Pushes these messages, with one request in flight at a time. If the service refuses a request, its halves are
    /// tried.
    pub(super) async fn push(&self, messages: Vec<Pending>) {
        let splitting = Splitting::new();
        let mut groups = vec![messages];
        while let Some(mut group) = groups.pop() {
            let outcome = self.push_group(&group).await;
            if let Err(error) = &outcome
                && error.refuses_the_request()
                && !error.may_have_arrived()
            {
                if let Some(half) = splitting.split_off(&mut group) {
                    groups.extend([half, group]);
                    continue;
                }
                self.pace.refused(error);
            }
            let unheard = group.into_iter().map(|pending| u64::from(!pending.settle(outcome.clone()))).sum();
            if let Err(error) = &outcome {
                self.log_unheard(unheard, error);
            }
        }
    }

    /// Logs failures that nobody hears of, at growing intervals.
    fn log_unheard(&self, messages: u64, error: &Error) {
        let before = self.unheard.fetch_add(messages, Ordering::Relaxed);
        let messages = before.saturating_add(messages);
        if messages.checked_ilog2() > before.checked_ilog2() {
            tracing::warn!(messages, %error, "messages whose receipts were dropped were not pushed");
        }
    }

    /// Sends one request, again only if it did not arrive.
    async fn push_group(&self, group: &[Pending]) -> Result<(), Error> {
        // That of the last one, since it was submitted last.
        let submitted_at = group.last().map_or_else(Instant::now, |pending| pending.submitted_at);
        let left = || self.give_up_after.saturating_sub(submitted_at.elapsed());
        let (mut earlier, mut longest): (Option<Error>, _) = (None, FIRST_WAIT);
        loop {
            let sent_at = Instant::now();
            let error = match self.queue.push_once(group.iter().map(Borrow::borrow)).await {
                Ok((_, setback)) => {
                    self.pace.rate.on_success(group.len(), group.len());
                    self.pace.succeeded(sent_at, setback);
                    return Ok(());
                }
                Err(error) => earlier.take().into_iter().fold(error, Error::after),
            };
            if !error.refuses_the_request() {
                self.pace.failed(&error);
            }
            let mut wait = retry::pause_after(&error).max(jittered(longest, self.queue.random()));
            loop {
                if error.may_have_arrived() || !error.is_transient() || wait > left() {
                    return Err(error);
                }
                sleep_until(transport::after(wait)).await;
                if self.queue.withdraw_retry() || self.pace.may_try() {
                    break;
                }
                wait = jittered(FIRST_WAIT, self.queue.random());
            }
            longest = longest.saturating_mul(2).min(LONGEST_WAIT);
            earlier = Some(error);
        }
    }
}
