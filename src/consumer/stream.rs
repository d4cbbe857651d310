//! Messages as a stream, each with the means to decide on it.

use std::{
    collections::VecDeque,
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_core::Stream;
use tokio::time::Instant;

use super::{
    Settings, Undecided,
    puller::{Puller, is_final},
};
use crate::{
    acker::{Acker, Receipt},
    error::Error,
    limits,
    message::Message,
    queue::Queue,
    settlement::{Decision, Settlement},
};

/// Messages, one after the other: see [`Consumer::stream`](super::Consumer::stream).
///
/// A batch is pulled when the one before is used up, so that what waits within the stream is at most one batch. Messages whose lease
/// runs out while they wait are passed over. Dropping the stream treats those that wait as [undecided](super::Consumer::undecided).
pub struct Deliveries {
    puller: Puller,
    options: Settings,
    acker: Acker,
    waiting: VecDeque<Delivery>,
    is_ended: bool,
}

impl Deliveries {
    pub(super) fn new(queue: Queue, options: Settings) -> Result<Self, Error> {
        limits::pull(&options.pull)?;
        Ok(Self {
            acker: Acker::with_options(queue.clone(), options.acker.clone())?,
            puller: Puller::new(queue, &options),
            options,
            waiting: VecDeque::new(),
            is_ended: false,
        })
    }

    /// The acker that all deliveries go through, to [close](Acker::close) it when the last of them is decided.
    pub fn acker(&self) -> &Acker {
        &self.acker
    }

    fn next_waiting(&mut self) -> Option<Delivery> {
        while let Some(mut delivery) = self.waiting.pop_front() {
            if Instant::from_std(delivery.message.lease_deadline) > Instant::now() {
                return Some(delivery);
            }
            // Another consumer may have it by now: it is not ours to decide on.
            delivery.is_decided = true;
        }
        None
    }
}

impl Stream for Deliveries {
    type Item = Result<Delivery, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if let Some(delivery) = this.next_waiting() {
                return Poll::Ready(Some(Ok(delivery)));
            }
            if this.is_ended {
                return Poll::Ready(None);
            }
            if this.puller.is_ready() {
                this.puller.start(this.options.pull);
            }
            match ready!(this.puller.poll(context)) {
                Some(Err(error)) => {
                    this.is_ended = is_final(&error);
                    return Poll::Ready(Some(Err(error)));
                }
                Some(Ok(batch)) => this.waiting.extend(batch.into_iter().map(|message| Delivery {
                    message,
                    acker: this.acker.clone(),
                    undecided: this.options.undecided,
                    is_decided: false,
                })),
                None => {}
            }
        }
    }
}

impl fmt::Debug for Deliveries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deliveries").field("waiting", &self.waiting.len()).finish_non_exhaustive()
    }
}

/// A message that is to be decided on. One that is dropped undecided is handed back, or left, by
/// [`Consumer::undecided`](super::Consumer::undecided).
#[derive(Debug)]
pub struct Delivery {
    message: Message,
    acker: Acker,
    undecided: Undecided,
    is_decided: bool,
}

impl Delivery {
    /// The message.
    pub fn message(&self) -> &Message {
        &self.message
    }

    /// Acknowledges the message.
    ///
    /// # Errors
    ///
    /// As [`Acker::ack`].
    pub async fn ack(self) -> Result<Receipt, Error> {
        self.decide(Decision::Ack).await
    }

    /// Hands the message back, to be delivered again after the queue's own retry delay.
    ///
    /// # Errors
    ///
    /// As [`Acker::retry`].
    pub async fn retry(self) -> Result<Receipt, Error> {
        self.decide(Decision::Retry).await
    }

    /// Hands the message back, to be delivered again after `delay`, of at most 24 hours.
    ///
    /// # Errors
    ///
    /// As [`Acker::retry_in`].
    pub async fn retry_in(self, delay: Duration) -> Result<Receipt, Error> {
        self.decide(Decision::RetryIn(delay)).await
    }

    /// Leaves the message: it comes again when its lease ends.
    pub fn leave(mut self) {
        self.is_decided = true;
    }

    async fn decide(mut self, decision: Decision) -> Result<Receipt, Error> {
        let receipt = self.acker.submit(Settlement::new(&self.message, decision)).await;
        self.is_decided = true;
        receipt
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if !self.is_decided && self.undecided == Undecided::Retry {
            self.acker.submit_detached(Settlement::retry_in(&self.message, Duration::ZERO));
        }
    }
}
