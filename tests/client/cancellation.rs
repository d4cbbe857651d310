//! A future dropped at any moment loses no lease and affects no later call.

use std::{
    future::{Future, pending, poll_fn},
    pin::{Pin, pin},
    sync::{Arc, Mutex},
    task::Poll,
    time::Duration,
};

use cloudflare_queues::{
    AckRequest, Acker, Batch, Client, Consumer, LeaseId, Message, PullOptions, PushMessage, Queue, QueueId,
    RetryPolicy, Verdict,
    acker::{AckerOptions, Confirmation},
    emulator::{EmulatedQueue, Emulator, QueuedMessage},
    manage::{EventSource, NewSubscription},
};
use futures_core::Stream;
use tokio::{
    select,
    time::{Instant, timeout},
};

use support::Op;

const LEASE: Duration = Duration::from_secs(60);

/// Drops a future at one of its moments: before its first poll, right after it, when it is woken, right after its
/// second poll, and so on. `None` if it was not ready by then.
async fn drop_at<F: Future>(moment: usize, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut passed = 0;
    poll_fn(|context| {
        if passed == moment {
            return Poll::Ready(None);
        }
        passed += 2;
        match future.as_mut().poll(context) {
            Poll::Pending if passed > moment => Poll::Ready(None),
            polled => polled.map(Some),
        }
    })
    .await
}

/// For tests that hang if a dropped future took something with it. A `timeout` polls once more at its end, which would
/// hide that nothing woke the future.
async fn in_time<F: Future>(future: F) -> F::Output {
    let (start, limit) = (Instant::now(), Duration::from_secs(300));
    let output = timeout(limit, future).await.expect("it hangs");
    assert!(start.elapsed() < limit, "nothing woke it");
    output
}

/// Runs `check` with every moment at which a future can be dropped, until that future completes, as `check` returns.
async fn at_each_moment(mut check: impl AsyncFnMut(usize) -> bool) {
    for moment in 0.. {
        if in_time(check(moment)).await {
            assert!(moment > 2, "there was nothing to drop");
            return;
        }
    }
}

struct World {
    emulator: Emulator,
    queue: Queue,
    /// Another queue of the same client.
    other: Queue,
}

impl World {
    async fn new() -> Self {
        let endless = EmulatedQueue::new().max_retries(u32::MAX);
        let emulator = Emulator::builder().queue(endless).start().await.unwrap();
        let client = Client::builder(emulator.credentials().unwrap()).base_url(emulator.base_url());
        // If a dropped call kept anything, the next one would lack it.
        let client = client.retry(RetryPolicy::none()).max_in_flight(1).build().unwrap();
        let queue = |queue_id: &QueueId| client.queue(emulator.account_id(), queue_id).unwrap();
        let (queue, other) = (queue(emulator.queue_id()), queue(&emulator.create_queue(EmulatedQueue::default())));
        Self { emulator, queue, other }
    }

    async fn push(&self, messages: usize) {
        let messages = vec![PushMessage::text("hello"); messages];
        for messages in messages.chunks(100) {
            self.queue.push_batch(messages).await.unwrap();
        }
    }

    async fn pull(&self) -> Batch {
        self.queue.pull(PullOptions::new().batch_size(100).visibility_timeout(LEASE)).await.unwrap()
    }

    async fn lease(&self, messages: usize) -> Vec<LeaseId> {
        self.push(messages).await;
        let mut leases = Vec::new();
        while leases.len() < messages {
            leases.extend(self.pull().await.into_iter().map(|message| message.lease_id));
        }
        leases
    }

    fn messages(&self) -> Vec<QueuedMessage> {
        self.emulator.messages(self.emulator.queue_id())
    }

    /// After any drop, the same client still works.
    async fn assert_usable(&self) {
        for op in Op::MESSAGES {
            op.call(&self.other).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_client_is_usable_whenever_a_call_is_dropped() {
    let world = World::new().await;
    for op in Op::ALL {
        at_each_moment(async |moment| {
            let result = drop_at(moment, op.call(&world.queue)).await;
            world.assert_usable().await;
            // A managed object may be missing, or exist already.
            result.map(|result| assert!(result.is_ok() || !Op::MESSAGES.contains(&op), "{op:?}: {result:?}")).is_some()
        })
        .await;
    }
}

#[tokio::test]
async fn a_dropped_create_creates_at_most_once() {
    for op in [Op::CreateQueue, Op::CreateConsumer, Op::CreateSubscription] {
        at_each_moment(async |moment| {
            let world = World::new().await;
            let (queue, queues) = (world.queue.clone(), world.queue.queues());
            world.emulator.configure_queue(queue.id(), |settings| settings.http_pull(false));
            let count = async || {
                let subscriptions = queues.subscriptions().list().all().await.unwrap().len();
                queues.list().all().await.unwrap().len() + queue.consumers().await.unwrap().len() + subscriptions
            };
            let before = count().await;
            // Its queue is of another account.
            let call = async {
                if op == Op::CreateSubscription {
                    let source = EventSource::new("r2");
                    let new = NewSubscription::new("uploads", source, queue.id()).event("created");
                    return queues.subscriptions().create(&new).await.map(drop);
                }
                op.call(&queue).await
            };
            let result = drop_at(moment, call).await.map(Result::unwrap);
            world.assert_usable().await;
            let made = count().await - before;
            assert!(made == 1 || result.is_none() && made == 0, "{op:?}, moment {moment}: {made}");
            result.is_some()
        })
        .await;
    }
}

#[tokio::test]
async fn a_dropped_pull_loses_no_message() {
    let world = World::new().await;
    in_time(world.push(3)).await;
    at_each_moment(async |moment| {
        let pulled = drop_at(moment, world.pull()).await;
        // They may be under unknown leases, and again if the dropped request arrives late.
        world.emulator.advance(LEASE);
        while world.pull().await.len() < 3 {
            world.emulator.advance(LEASE);
        }
        world.emulator.advance(LEASE);
        pulled.is_some()
    })
    .await;
}

#[tokio::test]
async fn a_dropped_ack_leaves_its_leases_to_be_acknowledged_again() {
    let world = World::new().await;
    at_each_moment(async |moment| {
        // Two requests.
        let leases = world.lease(101).await;
        let acked = drop_at(moment, world.queue.ack(acks_of(&leases))).await;
        // Again: each was carried out and is now unknown, or is carried out now.
        let _ = world.queue.ack(acks_of(&leases)).await.unwrap();
        assert_eq!(world.messages(), [], "moment {moment}");
        acked.map(Result::unwrap).is_some()
    })
    .await;
}

#[tokio::test]
async fn a_dropped_push_is_carried_out_once_or_not_at_all() {
    for op in [Op::Push, Op::PushBatch] {
        at_each_moment(async |moment| {
            let world = World::new().await;
            let result = drop_at(moment, op.call(&world.queue)).await;
            world.assert_usable().await;
            let pushed = world.messages().len();
            assert!(pushed == 1 || result.is_none() && pushed == 0, "{op:?}, moment {moment}: {pushed} messages");
            result.is_some()
        })
        .await;
    }
}

#[tokio::test]
async fn a_dropped_purge_can_be_repeated() {
    let world = World::new().await;
    at_each_moment(async |moment| {
        world.push(2).await;
        let peeked = drop_at(moment, world.queue.peek(100)).await;
        assert!(world.messages().iter().all(|message| message.attempts == 0 && !message.is_leased));
        let refs: Vec<_> =
            world.queue.peek(100).await.unwrap().into_iter().flat_map(|peeked| peeked.message_ref).collect();
        let purged = drop_at(moment, world.queue.delete_messages(&refs)).await;
        let _ = world.queue.delete_messages(&refs).await.unwrap();
        assert_eq!((world.messages().as_slice(), refs.len()), ([].as_slice(), 2), "moment {moment}");
        peeked.map(Result::unwrap).is_some() && purged.map(Result::unwrap).is_some()
    })
    .await;
}

fn acks_of(leases: &[LeaseId]) -> AckRequest {
    let mut request = AckRequest::new();
    for lease in leases {
        request = request.ack(lease);
    }
    request
}

/// Nothing lingers, and there is room for one lease, so the second one waits.
fn narrow() -> AckerOptions {
    AckerOptions::new().linger(Duration::ZERO).max_in_flight(2).buffer(1)
}

#[tokio::test]
async fn a_lease_is_acknowledged_although_its_receipt_is_dropped() {
    let world = World::new().await;
    at_each_moment(async |moment| {
        let acker = Acker::with_options(world.queue.clone(), narrow()).unwrap();
        let leases = world.lease(2).await;
        // With a caller that waits for it; it takes the room.
        let first = acker.ack(&leases[0]).await.unwrap();
        let submitted = match drop_at(moment, acker.ack(&leases[1])).await {
            Some(receipt) => receipt,
            // It was not submitted, and can be.
            None => acker.ack(&leases[1]).await,
        };
        let receipt = drop_at(moment, submitted.unwrap()).await;
        assert_eq!(first.await.unwrap(), Confirmation::Confirmed, "moment {moment}");
        acker.close().await;
        assert_eq!(world.messages(), [], "moment {moment}");
        receipt.is_some()
    })
    .await;
}

#[tokio::test]
async fn a_lease_is_acknowledged_even_if_flush_and_close_are_dropped() {
    let world = World::new().await;
    at_each_moment(async |moment| {
        let acker = Acker::with_options(world.queue.clone(), narrow()).unwrap();
        let leases = world.lease(3).await;
        let first = acker.ack(&leases[0]).await.unwrap();
        let second = acker.ack(&leases[1]).await.unwrap();
        let flushed = drop_at(moment, acker.flush()).await;
        for receipt in [first, second] {
            assert_eq!(receipt.await.unwrap(), Confirmation::Confirmed, "moment {moment}");
        }
        let third = acker.ack(&leases[2]).await.unwrap();
        let closed = drop_at(moment, acker.close()).await;
        assert_eq!(third.await.unwrap(), Confirmation::Confirmed, "moment {moment}");
        acker.close().await;
        flushed.is_some() && closed.is_some()
    })
    .await;
}

fn consumer(queue: Queue) -> Consumer {
    let (moment, consumer) = (Duration::from_millis(1), Consumer::new(queue).batch_size(10).visibility_timeout(LEASE));
    consumer.concurrency(1).max_idle(moment).acker(narrow())
}

#[tokio::test]
async fn a_dropped_consumer_loses_no_unfinished_message() {
    at_each_moment(async |moment| {
        // A new one, since acknowledgements of an earlier consumer may still be on their way.
        let world = World::new().await;
        world.push(3).await;
        let consumer = consumer(world.queue.clone());
        let ended = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&ended);
        let handler = move |message: Message| {
            let ended = Arc::clone(&seen);
            async move {
                // The first finishes soon, and the second never.
                if !ended.lock().unwrap().is_empty() {
                    pending::<()>().await;
                }
                ended.lock().unwrap().push(message.id);
                Verdict::Ack
            }
        };
        let run = async {
            select! {
                report = consumer.run_until(pending::<()>(), handler) => panic!("{report:?}"),
                // Enough time for everything that the consumer can do.
                () = world.assert_usable() => {}
            }
        };
        let run = drop_at(moment, run).await;
        world.assert_usable().await;
        let left: Vec<_> = world.messages().into_iter().map(|message| message.id).collect();
        let ended = ended.lock().unwrap();
        assert!(
            left.len() == 3 || left.len() == 2 && !left.contains(&ended[0]),
            "moment {moment}: {left:?}, {ended:?}"
        );
        run.is_some()
    })
    .await;
}

#[tokio::test]
async fn a_dropped_wait_for_a_streams_next_message_loses_none() {
    let world = World::new().await;
    in_time(world.push(1)).await;
    at_each_moment(async |moment| {
        let mut deliveries = consumer(world.queue.clone()).stream().unwrap();
        world.emulator.advance(LEASE);
        let mut next = async || poll_fn(|context| Pin::new(&mut deliveries).poll_next(context)).await;
        let first = drop_at(moment, next()).await;
        let is_ended = first.is_some();
        let delivery = match first {
            Some(delivery) => delivery,
            // The pull continues.
            None => next().await,
        };
        delivery.unwrap().unwrap().leave();
        is_ended
    })
    .await;
}

#[tokio::test]
async fn a_dropped_decision_is_still_sent() {
    at_each_moment(async |moment| {
        let world = World::new().await;
        world.push(2).await;
        let mut deliveries = consumer(world.queue.clone()).stream().unwrap();
        let mut next = async || poll_fn(|context| Pin::new(&mut deliveries).poll_next(context)).await.unwrap().unwrap();
        let (first, second) = (next().await, next().await);
        // It takes the room.
        drop(first.ack().await.unwrap());
        let is_decided = drop_at(moment, second.ack()).await.is_some();
        in_time(async {
            while world.messages().iter().any(|message| message.is_leased) {
                deliveries.acker().flush().await;
            }
        })
        .await;
        assert_eq!(world.messages().len(), 0, "moment {moment}");
        is_decided
    })
    .await;
}
