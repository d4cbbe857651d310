//! Messages as a stream.

use std::{
    fmt,
    future::poll_fn,
    mem,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_core::Stream;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use super::{
    Stats,
    decoding::{Decided, Decoded},
    delivery::Delivery,
    recorder::Total,
    settings::Settings,
    source::{Source, Waiting},
};
use crate::{acker::handle::Acker, error::Error, flow::contained::discard_error, queue::Queue};

/// A stream of messages: see [`Consumer::stream`](crate::Consumer::stream).
///
/// The stream pulls few messages ahead: those that you wait for, or are expected to take within two round trips and
/// half a lease, given how fast you have taken messages so far. It holds at most
/// [`batch_size`](crate::Consumer::batch_size) or [`concurrency`](crate::Consumer::concurrency) messages, whichever is
/// larger, and at most [`max_bytes`](crate::Consumer::max_bytes). The leases of waiting messages are
/// [extended](crate::Consumer::max_lease), like those of [deliveries](Delivery). Messages whose lease is lost while
/// they wait are skipped.
///
/// A failed pull is retried, as in a run. Pulling slows down while acknowledgements are not confirmed, and while more
/// deliveries than [tolerated](crate::Consumer::failure_threshold) are dropped unsettled. If a pull or an
/// acknowledgement fails in a way that needs human intervention, the stream ends.
///
/// When the stream ends or is dropped, waiting messages and those of pulls in flight are
/// [unsettled](crate::Consumer::unsettled).
///
/// ```
/// # use cloudflare_queues::{Consumer, PushMessage, emulator::Emulator};
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// # let emulator = Emulator::start().await?;
/// # let queue = emulator.queue()?;
/// queue.push(&PushMessage::json(&[1, 2])?).await?;
/// let mut deliveries = Consumer::new(queue).json::<Vec<u32>>().stream()?;
/// if let Some(delivery) = deliveries.next().await {
///     let delivery = delivery?;
///     assert_eq!(delivery.body(), &[1, 2]);
///     delivery.ack().await?;
/// }
/// deliveries.acker().close().await;
/// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Deliveries<T = ()> {
    messages: Messages,
    decoding: Decoded<T>,
}

/// The messages of a stream. It does not depend on the type of decoded bodies, so it is compiled with this crate.
struct Messages {
    source: Source,
    /// Decisions on messages that could not be decoded.
    undecodable: JoinSet<()>,
    /// How long the caller takes for a message, and when it took the last one.
    pace: Option<Duration>,
    taken_at: Option<Instant>,
    /// `Some(None)` once the failure that ends the stream was returned.
    end: Option<Option<Error>>,
}

impl<T> Deliveries<T> {
    pub(super) fn new(queue: Queue, settings: Settings, decoding: Decoded<T>, total: &Total) -> Result<Self, Error> {
        Ok(Self { messages: Messages::new(queue, settings, total)?, decoding })
    }

    /// The acker of all deliveries. [Close](Acker::close) it when the last delivery is decided.
    pub fn acker(&self) -> &Acker {
        &self.messages.source.origin().acker
    }

    /// Returns what this stream has done so far.
    pub fn stats(&self) -> Stats {
        self.messages.source.stats()
    }

    /// Waits for the next message, and returns it. `None` after the stream has ended. If the future is dropped, no
    /// message is lost.
    ///
    /// # Errors
    ///
    /// The failure that ends the stream.
    pub async fn next(&mut self) -> Option<Result<Delivery<T>, Error>> {
        poll_fn(|context| self.poll_delivery(context, 1)).await
    }

    /// Returns the next messages: waits for the first one, and then up to `linger` for a total of up to `most`. Zero
    /// counts as one.
    ///
    /// Returns `None` after the stream has ended. If the future is dropped, its messages go back to the front of the
    /// stream.
    ///
    /// # Errors
    ///
    /// The failure that ends the stream.
    pub async fn next_batch(&mut self, most: usize, linger: Duration) -> Option<Result<Vec<Delivery<T>>, Error>> {
        let most = most.max(1);
        let mut batch = Gathered { deliveries: self, batch: Vec::new() };
        match poll_fn(|context| batch.deliveries.poll_delivery(context, most)).await? {
            Ok(first) => batch.batch.push(first),
            Err(error) => return Some(Err(error)),
        }
        let mut timer = pin!(sleep(linger));
        while batch.batch.len() < most {
            let wanted = most.saturating_sub(batch.batch.len());
            let next = poll_fn(|context| match batch.deliveries.poll_if_more(context, wanted) {
                Poll::Ready(next) => Poll::Ready(next),
                // Those of the batch are not settled before it is returned.
                Poll::Pending if batch.deliveries.messages.source.is_all_pulled() => Poll::Ready(None),
                Poll::Pending => timer.as_mut().poll(context).map(|()| None),
            });
            let Some(next) = next.await else { break };
            batch.batch.push(next);
        }
        Some(Ok(mem::take(&mut batch.batch)))
    }

    #[cfg(test)]
    pub(super) fn source(&mut self) -> &mut Source {
        &mut self.messages.source
    }

    fn poll_delivery(&mut self, context: &mut Context<'_>, wanted: usize) -> Poll<Option<Result<Delivery<T>, Error>>> {
        self.messages.learn_pace();
        let delivery = ready!(self.poll_if_more(context, wanted));
        let end = self.messages.go_on(context, delivery.is_some(), wanted);
        Poll::Ready(delivery.map(Ok).or(end.map(Err)))
    }

    /// As [`poll_delivery`](Self::poll_delivery), but does not take the failure that ends the stream.
    fn poll_if_more(&mut self, context: &mut Context<'_>, wanted: usize) -> Poll<Option<Delivery<T>>> {
        loop {
            let Some(delivery) = ready!(self.messages.poll_if_more(context, wanted)) else { return Poll::Ready(None) };
            match self.decoding.decode(delivery.message()) {
                Ok(job) => {
                    self.messages.taken_at = Some(Instant::now());
                    return Poll::Ready(Some(delivery.give_out(job)));
                }
                Err(error) => {
                    let decided = self.decoding.undecodable(delivery.message(), error);
                    self.messages.undecodable(delivery, decided);
                }
            }
        }
    }
}

impl Messages {
    fn new(queue: Queue, settings: Settings, total: &Total) -> Result<Self, Error> {
        let mut source = Source::new(queue, settings, total, "deliveries are dropped unsettled", None)?;
        source.pulls().is_trusted = true;
        Ok(Self { source, undecodable: JoinSet::new(), pace: None, taken_at: None, end: None })
    }

    fn undecodable(&mut self, delivery: Delivery, decided: Decided) {
        self.source.origin().outcomes.counter().count(|stats| stats.undecodable += 1);
        self.undecodable.spawn(delivery.undecodable(decided));
    }

    fn poll_if_more(&mut self, context: &mut Context<'_>, wanted: usize) -> Poll<Option<Delivery>> {
        loop {
            while self.source.origin().outcomes.poll_changed(context).is_ready() {}
            if let Some(error) = self.source.origin().outcomes.error() {
                // Any work on them would be repeated.
                self.source.release_all();
                self.end_with(error);
            }
            if let Some(Waiting { delivery, .. }) = self.source.next() {
                return Poll::Ready(Some(delivery));
            }
            if self.end.is_some() || self.source.is_exhausted() {
                return Poll::Ready(None);
            }
            ready!(self.poll_pull(context, wanted));
        }
    }

    /// Continues pulls without waiting for them. Returns the failure that ends the stream instead of a delivery, once.
    fn go_on(&mut self, context: &mut Context<'_>, is_delivered: bool, wanted: usize) -> Option<Error> {
        while is_delivered && self.end.is_none() && self.poll_pull(context, wanted.saturating_sub(1)).is_ready() {}
        self.source.gauge(0, 0);
        self.end.as_mut().filter(|_| !is_delivered)?.take()
    }

    /// The time from one message that the caller took to its wish for the next one. It falls fast, since a caller that
    /// became faster waits for pulls until that is known.
    fn learn_pace(&mut self) {
        if let Some(taken_at) = self.taken_at.take() {
            let took = taken_at.elapsed();
            let learn = |pace: Duration| if took < pace { (pace + took) / 2 } else { (pace * 7 + took) / 8 };
            self.pace = Some(self.pace.map_or(took, learn));
        }
    }

    /// How many messages should wait or be on their way, if the caller waits for so many.
    fn target(&mut self, wanted: usize) -> usize {
        let most = self.most();
        self.source.target(wanted, self.pace).min(most)
    }

    fn most(&mut self) -> usize {
        let settings = &self.source.origin().settings;
        let (max_bytes, most) = (settings.max_bytes, settings.handlers().max(settings.pull.batch_size as usize));
        most.min(self.source.pulls().most_in(max_bytes))
    }

    fn poll_pull(&mut self, context: &mut Context<'_>, wanted: usize) -> Poll<()> {
        while let Poll::Ready(Some(decided)) = self.undecodable.poll_join_next(context) {
            decided.unwrap_or_else(discard_error);
        }
        let step = self.source.origin().outcomes.step();
        let (target, most) = (self.target(wanted), self.most());
        let ahead = self.source.ahead();
        // Decisions on undecodable messages do not keep the caller waiting, but are bounded as well.
        let room = target.saturating_sub(ahead).min(most.saturating_sub(self.undecodable.len()));
        let pulls = self.source.pulls();
        pulls.slowdown = step;
        pulls.start(room, if ahead == 0 { room } else { target });
        self.source.gauge(0, 0);
        if let Err(error) = ready!(self.source.poll(context)) {
            self.end_with(error);
        }
        Poll::Ready(())
    }

    fn end_with(&mut self, error: Error) {
        if self.end.is_none() {
            self.end = Some(Some(error));
            self.stop();
        }
    }

    fn stop(&mut self) {
        let origin = self.source.origin();
        origin.acker.outlast(mem::take(&mut self.undecodable), origin.settings.shutdown_timeout);
        self.source.stop();
        self.source.origin().outcomes.end();
    }
}

/// Messages that [`Deliveries::next_batch`] has collected. They go back if it is dropped.
struct Gathered<'a, T> {
    deliveries: &'a mut Deliveries<T>,
    batch: Vec<Delivery<T>>,
}

impl<T> Drop for Gathered<'_, T> {
    fn drop(&mut self) {
        for delivery in self.batch.drain(..).rev() {
            self.deliveries.messages.source.take_back(delivery.take_back());
        }
    }
}

impl<T> Stream for Deliveries<T> {
    type Item = Result<Delivery<T>, Error>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_delivery(context, 1)
    }
}

impl<T> Unpin for Deliveries<T> {}

impl Drop for Messages {
    fn drop(&mut self) {
        self.stop();
    }
}

impl<T> fmt::Debug for Deliveries<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deliveries").field("waiting", &self.messages.source.waiting()).finish_non_exhaustive()
    }
}
