//! A future that is dropped, at whichever poll, costs no lease and no later call.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::Duration,
};

use cloudflare_queues::{
    Acker, AckerOptions, Batch, Client, Confirmation, Consumer, ConsumerOptions, LeaseId, PullOptions, PushMessage,
    Queue, RetryPolicy, Verdict,
    emulator::{Emulator, QueueSettings},
};
use futures_core::Stream;

use crate::support::acks;

const LEASE: Duration = Duration::from_secs(60);

/// Polls so many times and drops the future; `None` unless it was ready by then.
async fn poll_times<F: Future>(times: usize, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut polls = 0;
    poll_fn(|context| {
        if polls == times {
            return Poll::Ready(None);
        }
        polls += 1;
        future.as_mut().poll(context).map(Some)
    })
    .await
}

/// Drops what `make` gives at its first poll, at its second, and so on, until it ends by itself.
async fn drop_at_each_poll<F: Future>(world: &World, make: impl Fn() -> F) -> F::Output {
    for times in 0.. {
        if let Some(output) = poll_times(times, make()).await {
            assert!(times > 1, "there was nothing to drop");
            return output;
        }
        world.assert_usable().await;
    }
    unreachable!()
}

struct World {
    emulator: Emulator,
    queue: Queue,
}

impl World {
    async fn new() -> Self {
        let endless = QueueSettings { max_retries: u32::MAX, ..QueueSettings::default() };
        let emulator = Emulator::builder().queue(endless).start().await.unwrap();
        let client = Client::builder(emulator.credentials().unwrap()).base_url(emulator.base_url());
        let client = client.retry(RetryPolicy::none()).build().unwrap();
        let queue = client.queue(emulator.account_id(), emulator.queue_id()).unwrap();
        queue.push(&PushMessage::text("hello")).await.unwrap();
        Self { emulator, queue }
    }

    async fn pull(&self) -> Batch {
        self.emulator.advance(LEASE);
        self.queue.pull(PullOptions { batch_size: 100, visibility_timeout: LEASE }).await.unwrap()
    }

    /// The same client still pulls, and the message comes again once its lease ends, or was acknowledged.
    async fn assert_usable(&self) {
        let there = self.emulator.messages(self.emulator.queue_id()).len();
        assert!(self.pull().await.len() <= there);
        if there == 0 {
            self.queue.push(&PushMessage::text("hello")).await.unwrap();
        }
    }

    async fn lease(&self) -> LeaseId {
        loop {
            if let Some(message) = self.pull().await.messages.pop() {
                return message.lease_id;
            }
            self.queue.push(&PushMessage::text("hello")).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_dropped_pull_loses_no_message() {
    let world = World::new().await;
    let pull = || {
        world.emulator.advance(LEASE);
        world.queue.pull(PullOptions { batch_size: 100, visibility_timeout: LEASE })
    };
    assert_eq!(drop_at_each_poll(&world, pull).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_dropped_ack_leaves_its_lease_to_be_acknowledged_again() {
    let world = World::new().await;
    for times in 0.. {
        let lease = world.lease().await;
        let lease = lease.expose_secret();
        let ended = poll_times(times, world.queue.ack(acks([&*lease]))).await.is_some();
        // Once more: it was carried out, and is now unknown, or it is carried out now.
        let _ = world.queue.ack(acks([&*lease])).await.unwrap();
        assert_eq!(world.emulator.messages(world.emulator.queue_id()), [], "dropped at poll {times}");
        if ended {
            assert!(times > 1);
            return;
        }
    }
}

#[tokio::test]
async fn a_dropped_push_leaves_the_client_usable() {
    let world = World::new().await;
    let message = PushMessage::text("hello");
    drop_at_each_poll(&world, || world.queue.push(&message)).await.unwrap();
    let messages = [message.clone(), message.clone()];
    drop_at_each_poll(&world, || world.queue.push_batch(&messages)).await.unwrap();
}

#[tokio::test]
async fn a_lease_is_acknowledged_although_its_receipt_the_flush_and_the_close_are_dropped() {
    let world = World::new().await;
    for times in 0..20 {
        let options = AckerOptions { linger: Duration::ZERO, ..AckerOptions::default() };
        let acker = Acker::with_options(world.queue.clone(), options).unwrap();
        let lease = world.lease().await;
        if let Some(receipt) = poll_times(times, acker.ack(&lease)).await {
            poll_times(times, receipt.unwrap()).await;
        } else {
            // It was not submitted, and can be.
            assert_eq!(acker.ack(&lease).await.unwrap().await.unwrap(), Confirmation::Confirmed);
        }
        poll_times(times, acker.flush()).await;
        poll_times(times, acker.close()).await;
        acker.close().await;
        assert_eq!(world.emulator.messages(world.emulator.queue_id()), [], "dropped at poll {times}");
    }
}

fn options() -> ConsumerOptions {
    ConsumerOptions {
        pull: PullOptions { batch_size: 10, visibility_timeout: LEASE },
        min_idle: Duration::from_millis(1),
        max_idle: Duration::from_millis(1),
        acker: AckerOptions { linger: Duration::ZERO, ..AckerOptions::default() },
        ..ConsumerOptions::default()
    }
}

#[tokio::test]
async fn a_dropped_consumer_loses_no_message() {
    for times in 0..30 {
        // A new one, since what a consumer of before had acknowledged may still be on its way.
        let world = World::new().await;
        let consumer = Consumer::with_options(world.queue.clone(), options());
        let handled = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&handled);
        let handler = move |_| {
            seen.store(true, Ordering::SeqCst);
            async { Verdict::Ack }
        };
        poll_times(times, consumer.run_until(std::future::pending::<()>(), handler)).await;
        let is_there = !world.emulator.messages(world.emulator.queue_id()).is_empty();
        assert!(is_there || handled.load(Ordering::SeqCst), "dropped at poll {times}");
        world.assert_usable().await;
    }
}

#[tokio::test]
async fn a_dropped_wait_for_a_streams_next_message_loses_none() {
    let world = World::new().await;
    for times in 0.. {
        let mut deliveries = Consumer::with_options(world.queue.clone(), options()).stream().unwrap();
        world.emulator.advance(LEASE);
        let mut next = async || poll_fn(|context| Pin::new(&mut deliveries).poll_next(context)).await;
        let first = poll_times(times, next()).await;
        let is_ended = first.is_some();
        let delivery = match first {
            Some(delivery) => delivery,
            // The pull goes on where it was.
            None => next().await,
        };
        delivery.unwrap().unwrap().leave();
        if is_ended {
            assert!(times > 1);
            return;
        }
    }
}
