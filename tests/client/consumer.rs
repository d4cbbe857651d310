//! The acker and the consumer over HTTP, on the emulator.

use std::{
    collections::HashMap,
    future::poll_fn,
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use cloudflare_queues::{
    Acker, Consumer, ErrorKind, LeaseId, PullOptions, PushMessage, Queue, Verdict,
    acker::{AckerOptions, Confirmation},
    consumer::{Deliveries, Delivery, Unsettled},
    emulator::{EmulatedQueue, Emulator},
};
use futures_core::Stream;
use tokio::sync::Notify;

const MINUTE: Duration = Duration::from_secs(60);

async fn emulator_with(count: usize) -> (Emulator, Queue) {
    let endless = EmulatedQueue::new().max_retries(100);
    let emulator = Emulator::builder().queue(endless).start().await.unwrap();
    let queue = emulator.queue().unwrap();
    fill(&queue, count).await;
    (emulator, queue)
}

async fn fill(queue: &Queue, count: usize) {
    let messages: Vec<_> = (0..count).map(|number| PushMessage::json(&number).unwrap()).collect();
    for messages in messages.chunks(100) {
        queue.push_batch(messages).await.unwrap();
    }
}

fn consumer(queue: Queue) -> Consumer {
    let moment = Duration::from_millis(1);
    Consumer::new(queue).batch_size(10).visibility_timeout(MINUTE).max_idle(moment)
}

async fn next(deliveries: &mut Deliveries) -> Delivery {
    poll_fn(|context| Pin::new(&mut *deliveries).poll_next(context)).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_thousand_single_acks_make_ten_requests() {
    let (emulator, queue) = emulator_with(1000).await;
    let acker = Acker::with_options(queue.clone(), AckerOptions::new().linger(MINUTE)).unwrap();
    let mut receipts = Vec::new();
    for _ in 0..10 {
        for message in queue.pull(PullOptions::new().batch_size(100).visibility_timeout(MINUTE)).await.unwrap() {
            receipts.push(acker.ack(&message).await.unwrap());
        }
    }
    acker.close().await;
    for receipt in receipts {
        assert_eq!(receipt.await.unwrap(), Confirmation::Confirmed);
    }
    // Ten pushes, ten pulls, and ten acknowledgements.
    assert_eq!((emulator.requests(), emulator.messages(emulator.queue_id()).len()), (30, 0));
}

#[tokio::test]
async fn an_unknown_lease_gets_its_own_warning() {
    let (_emulator, queue) = emulator_with(1).await;
    let acker = Acker::new(queue.clone()).unwrap();
    let message = queue.pull(PullOptions::default()).await.unwrap().messages.remove(0);
    let good = acker.ack(&message).await.unwrap();
    let bad = acker.ack(LeaseId::from("never-given")).await.unwrap();
    assert_eq!(good.await.unwrap(), Confirmation::Accepted);
    let warned = Confirmation::Warned { text: "the lease is not known".to_owned(), counted: Some(1), requested: 2 };
    assert_eq!(bad.await.unwrap(), warned);
}

#[tokio::test]
async fn ten_consumers_of_one_queue_handle_each_message_once() {
    let (emulator, queue) = emulator_with(500).await;
    let handled: Arc<Mutex<HashMap<u32, u32>>> = Arc::default();
    let done = Arc::new(Notify::new());
    let consumers: Vec<_> = (0..10)
        .map(|_| {
            let (queue, handled, done) = (queue.clone(), Arc::clone(&handled), Arc::clone(&done));
            tokio::spawn(async move {
                let stop = Arc::clone(&done);
                let handler = move |number, _| {
                    let mut handled = handled.lock().unwrap();
                    *handled.entry(number).or_default() += 1;
                    if handled.len() == 500 {
                        done.notify_waiters();
                        done.notify_one();
                    }
                    async {}
                };
                let stop = async move {
                    stop.notified().await;
                    stop.notify_one();
                };
                consumer(queue).json::<u32>().run_until(stop, handler).await.unwrap()
            })
        })
        .collect();
    let mut acknowledged = 0;
    for consumer in consumers {
        let report = consumer.await.unwrap();
        acknowledged += report.stats.acknowledged;
        assert!(report.unconfirmed.is_empty());
    }
    assert_eq!(acknowledged, 500);
    assert!(handled.lock().unwrap().values().all(|times| *times == 1));
    assert_eq!(emulator.messages(emulator.queue_id()), []);
}

#[tokio::test(start_paused = true)]
async fn no_message_is_lost_while_consumers_are_killed_at_random() {
    let emulator = Emulator::builder().queue(EmulatedQueue::new().max_retries(100)).in_process();
    let queue = emulator.queue().unwrap();
    fill(&queue, 300).await;
    let handled: Arc<Mutex<HashMap<u32, u32>>> = Arc::default();
    let mut random: usize = 7;
    while !emulator.messages(emulator.queue_id()).is_empty() {
        let mut consumers = Vec::new();
        for _ in 0..10 {
            random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let lives = random >> 59;
            let (queue, handled, killed) = (queue.clone(), Arc::clone(&handled), Arc::new(Notify::new()));
            let kill = Arc::clone(&killed);
            let life = Mutex::new(lives);
            let handler = move |number, _| {
                *handled.lock().unwrap().entry(number).or_default() += 1;
                let mut life = life.lock().unwrap();
                *life = life.saturating_sub(1);
                if *life == 0 {
                    kill.notify_one();
                }
                async {}
            };
            let consumer = tokio::spawn(async move {
                let _ = consumer(queue).json::<u32>().run_until(std::future::pending::<()>(), handler).await;
            });
            consumers.push((consumer, killed));
        }
        for (consumer, killed) in consumers {
            let _ = tokio::time::timeout(Duration::from_millis(200), killed.notified()).await;
            consumer.abort();
        }
        emulator.advance(MINUTE);
    }
    assert_eq!(handled.lock().unwrap().len(), 300);
}

#[tokio::test]
async fn undecodable_messages_follow_on_undecodable() {
    let (emulator, queue) = emulator_with(0).await;
    queue.push(&PushMessage::text("no number")).await.unwrap();
    let (decided, stop) = tokio::sync::oneshot::channel();
    let decided = Mutex::new(Some(decided));
    let consumer = consumer(queue).json::<u32>().on_undecodable(move |message, error| {
        assert_eq!((message.body.text().unwrap().as_ref(), error.kind()), ("no number", ErrorKind::UndecodableBody));
        let _ = decided.lock().unwrap().take().unwrap().send(());
        async { Verdict::Ack }
    });
    let report = consumer.run_until(stop, |_, _| async { Verdict::Retry }).await.unwrap();
    assert_eq!((report.stats.undecodable, report.stats.acknowledged, report.stats.panicked), (1, 1, 0));
    assert_eq!(emulator.messages(emulator.queue_id()), []);
}

#[tokio::test]
async fn a_stream_hands_back_dropped_messages() {
    let (emulator, queue) = emulator_with(4).await;
    let mut deliveries = consumer(queue.clone()).stream().unwrap();
    let acked = next(&mut deliveries).await.ack().await.unwrap();
    let retried = next(&mut deliveries).await.retry_in(MINUTE).await.unwrap();
    next(&mut deliveries).await.leave();
    let dropped = next(&mut deliveries).await;
    let id = dropped.message().id.clone();
    drop(dropped);
    assert_eq!(acked.await.unwrap(), Confirmation::Confirmed);
    assert_eq!(retried.await.unwrap(), Confirmation::Confirmed);
    // Only the dropped one is there again.
    let again = next(&mut deliveries).await;
    assert_eq!((&again.message().id, again.message().attempts), (&id, Some(2)));
    again.ack().await.unwrap();
    deliveries.acker().close().await;
    assert_eq!(emulator.messages(emulator.queue_id()).len(), 2);

    emulator.advance(MINUTE);
    let mut deliveries = consumer(queue).unsettled(Unsettled::Leave).stream().unwrap();
    drop(next(&mut deliveries).await);
    drop(deliveries);
    assert_eq!(emulator.messages(emulator.queue_id()).iter().filter(|message| message.is_leased).count(), 1);
}

#[tokio::test]
async fn a_stream_ends_after_a_permanent_failure() {
    let emulator = Emulator::start().await.unwrap();
    let missing = emulator.queue().unwrap().queues().queue("no-such-queue").unwrap();
    let mut deliveries = Consumer::new(missing).stream().unwrap();
    let mut poll = async || poll_fn(|context| Pin::new(&mut deliveries).poll_next(context)).await;
    assert_eq!(poll().await.unwrap().unwrap_err().kind(), ErrorKind::NotFound);
    assert!(poll().await.is_none());
}
