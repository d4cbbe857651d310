//! The task behind a pusher: sends due requests, as the limit in flight allows.

use std::{
    borrow::Borrow,
    collections::VecDeque,
    future::{Future, poll_fn},
    pin::pin,
    sync::{Arc, atomic::AtomicU64},
    task::Poll,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch},
    time::Instant,
};

use super::{
    PushError, PusherOptions,
    handle::MESSAGE_BYTES,
    receipt::{Outcome, stopped},
    request::Requests,
};
use crate::{
    error::Error,
    flow::{
        flushes::Flushes,
        pace::{self, Pace},
        tasks::Tasks,
    },
    message::{
        limits,
        push::{self, MAX_PUSHED, MAX_PUSHED_BYTES, PushMessage},
    },
    queue::Queue,
};

/// 5,000 messages a second of 5 s round trips.
const MAX_IN_FLIGHT: usize = 256;
/// The permits of the largest message.
pub(super) const LARGEST: usize = PushMessage::MAX_SIZE + MESSAGE_BYTES;

/// A message on its way to its outcome.
pub(super) struct Pending {
    message: PushMessage,
    pub(super) submitted_at: Instant,
    /// `None` once it has its outcome.
    reply: Option<oneshot::Sender<Outcome>>,
    is_sent: bool,
    _room: OwnedSemaphorePermit,
}

impl Pending {
    pub(super) fn new(message: PushMessage, reply: oneshot::Sender<Outcome>, room: OwnedSemaphorePermit) -> Self {
        Self { message, submitted_at: Instant::now(), reply: Some(reply), is_sent: false, _room: room }
    }

    /// Returns whether anybody hears of the outcome.
    pub(super) fn settle(mut self, outcome: Result<(), Error>) -> bool {
        let outcome = outcome.map_err(|error| Box::new(PushError::new(error, self.message.clone())));
        self.reply.take().is_some_and(|reply| reply.send(outcome).is_ok())
    }

    /// It was not submitted.
    pub(super) fn take_back(mut self) -> PushMessage {
        self.reply = None;
        self.message.clone()
    }
}

impl Borrow<PushMessage> for Pending {
    fn borrow(&self) -> &PushMessage {
        &self.message
    }
}

/// The worker has ended. If it was sent, its receipt says that it may have arrived.
impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(reply) = self.reply.take().filter(|_| !self.is_sent) {
            // The receipt may be ignored.
            let _ = reply.send(Err(Box::new(PushError::new(stopped(), self.message.clone()))));
        }
    }
}

pub(super) enum Command {
    Push(Pending),
    /// Sends waiting messages, and replies when all earlier ones have their outcome.
    Flush(oneshot::Sender<()>),
    Close,
}

pub(super) struct Worker {
    requests: Arc<Requests>,
    options: PusherOptions,
    commands: mpsc::UnboundedReceiver<Command>,
    room: Arc<Semaphore>,
    /// In order of arrival, with their size.
    waiting: VecDeque<Pending>,
    waiting_bytes: usize,
    /// With how many messages arrived before those of each request.
    in_flight: Tasks<u64, ()>,
    flushes: Flushes,
    is_open: bool,
    /// Tells the handles that it ends.
    _alive: watch::Sender<()>,
}

impl Worker {
    pub(super) fn new(
        queue: Queue,
        options: PusherOptions,
        commands: mpsc::UnboundedReceiver<Command>,
        room: Arc<Semaphore>,
        alive: watch::Sender<()>,
    ) -> Self {
        let pace = Pace::new("pushes", MAX_IN_FLIGHT, limits::PER_SECOND, limits::LEAST_PER_SECOND);
        let queue = queue.with_rate(Arc::clone(&pace.rate));
        let requests = Requests { queue, pace, give_up_after: options.give_up_after, unheard: AtomicU64::new(0) };
        Self {
            requests: Arc::new(requests),
            options,
            commands,
            room,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            in_flight: Tasks::new(),
            flushes: Flushes::default(),
            is_open: true,
            _alive: alive,
        }
    }

    /// Runs until the pusher is closed or dropped, and every message has its outcome.
    pub(super) async fn run(mut self) {
        while self.is_open || !self.waiting.is_empty() || self.in_flight.len() > 0 {
            let pace = &self.requests.pace;
            let wake_at = match (self.is_due(), self.in_flight.len() < pace.limit()) {
                (false, true) => self.due(),
                (false, false) => None,
                (true, false) => {
                    pace.hold_back();
                    None
                }
                (true, true) => {
                    let Some(wait) = pace.rate.wait() else {
                        self.send();
                        continue;
                    };
                    Some(wait)
                }
            };
            self.flushes.tell(self.waiting.len(), self.in_flight.known().copied().min());
            self.next(wake_at).await;
        }
    }

    /// When the first waiting message has lingered, if ever.
    fn due(&self) -> Option<Instant> {
        self.waiting.front()?.submitted_at.checked_add(self.options.linger)
    }

    fn is_due(&self) -> bool {
        // What is in flight makes room. If nothing is, those who wait for room wait for the waiting messages.
        let is_full = || self.in_flight.len() == 0 && self.room.available_permits() < LARGEST;
        !self.waiting.is_empty()
            && (!self.is_open
                || self.waiting.len() >= MAX_PUSHED
                || self.waiting_bytes >= MAX_PUSHED_BYTES
                || self.flushes.is_due(self.waiting.len())
                || self.due().is_some_and(|due| due <= Instant::now())
                || is_full())
    }

    fn send(&mut self) {
        let first = self.flushes.taken(self.waiting.len());
        let count = push::fitting(self.waiting.iter().map(Borrow::borrow));
        let mut group: Vec<Pending> = self.waiting.drain(..count).collect();
        for pending in &mut group {
            pending.is_sent = true;
            self.waiting_bytes = self.waiting_bytes.saturating_sub(pending.message.size());
        }
        let requests = Arc::clone(&self.requests);
        requests.pace.rate.request(count);
        self.in_flight.spawn(first, async move { requests.push(group).await });
    }

    /// Waits until something changes: a command, the end of a request, or that messages can be sent at `wake_at`.
    async fn next(&mut self, wake_at: Option<Instant>) {
        let mut timer = pin!(pace::due(wake_at));
        poll_fn(|context| {
            let mut has_changed = false;
            while let Poll::Ready(Some(_)) = self.in_flight.poll_ended(context) {
                has_changed = true;
            }
            while self.is_open
                && let Poll::Ready(command) = self.commands.poll_recv(context)
            {
                self.receive(command);
                has_changed = true;
            }
            if has_changed { Poll::Ready(()) } else { timer.as_mut().poll(context) }
        })
        .await;
    }

    fn receive(&mut self, command: Option<Command>) {
        match command {
            Some(Command::Push(pending)) => {
                self.flushes.submit();
                self.waiting_bytes = self.waiting_bytes.saturating_add(pending.message.size());
                self.waiting.push_back(pending);
            }
            Some(Command::Flush(done)) => self.flushes.flush(done),
            // What was sent before is still received.
            Some(Command::Close) => self.commands.close(),
            // The last handle is gone, or the pusher is closed.
            None => self.is_open = false,
        }
    }
}

/// The runtime stops, or there is nothing left to do.
impl Drop for Worker {
    fn drop(&mut self) {
        // Those who wait for room get it when the messages are dropped, and then find the channel closed.
        self.commands.close();
        while let Ok(command) = self.commands.try_recv() {
            self.receive(Some(command));
        }
        let (waiting, requests) = (self.waiting.len(), self.in_flight.len());
        if waiting > 0 || requests > 0 {
            tracing::warn!(waiting, requests, "the runtime stopped before all messages of a pusher had their outcome");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::emulator::Emulator;

    type Receipt = oneshot::Receiver<Outcome>;

    /// A worker whose messages linger, and its commands.
    fn worker(queue: Queue) -> (Worker, mpsc::UnboundedSender<Command>) {
        let ((commands, received), (alive, _)) = (mpsc::unbounded_channel(), watch::channel(()));
        let options = PusherOptions::new().linger(Duration::MAX);
        (Worker::new(queue, options, received, Arc::new(Semaphore::new(LARGEST)), alive), commands)
    }

    fn push(worker: &Worker) -> (Command, Receipt) {
        let (reply, receipt) = oneshot::channel();
        let room = Arc::clone(&worker.room).try_acquire_many_owned(0).unwrap();
        (Command::Push(Pending::new(PushMessage::text("x"), reply, room)), receipt)
    }

    #[tokio::test]
    async fn flushes_that_were_given_up_are_not_kept_and_still_hurry() {
        let (mut worker, _commands) = worker(Emulator::in_process().queue().unwrap());
        let (message, _receipt) = push(&worker);
        worker.receive(Some(message));
        assert!(!worker.is_due());
        for _ in 0..10 {
            worker.receive(Some(Command::Flush(oneshot::channel().0)));
            worker.flushes.tell(1, None);
        }
        assert!(worker.flushes.len() == 0 && worker.is_due());
    }

    #[tokio::test]
    async fn a_message_that_arrives_after_a_close_is_sent() {
        let emulator = Emulator::in_process();
        let (worker, commands) = worker(emulator.queue().unwrap());
        let (message, receipt) = push(&worker);
        assert!(commands.send(Command::Close).is_ok() && commands.send(message).is_ok());
        worker.run().await;
        receipt.await.unwrap().unwrap();
        assert_eq!(emulator.messages(emulator.queue_id()).len(), 1);
    }
}
