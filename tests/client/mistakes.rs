//! Mistakes that are easy to make in a consumer, an acker or a retry, and that few tests would notice.

use std::{
    future::{Future, pending, poll_fn},
    pin::{Pin, pin},
    task::Poll,
    time::Duration,
};

use cloudflare_queues::{
    Acker, Client, Consumer, Credentials, ErrorKind, Lease, PullOptions, PushMessage, Queue, RetryPolicy,
    acker::{AckerOptions, Confirmation},
    consumer::{Deliveries, Delivery},
    emulator::{EmulatedQueue, Emulator, Fault, Operation},
};
use futures_core::Stream;
use tokio::{
    runtime::{Builder, Runtime},
    time::{Instant, sleep, timeout},
};

use support::{Act, Server};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

/// An emulator in process whose messages have many attempts, and a client without retries.
async fn emulated(settings: EmulatedQueue, messages: usize) -> (Emulator, Queue) {
    let emulator = Emulator::in_process();
    let queue_id = emulator.create_queue(settings.max_retries(1000));
    let client = emulator.in_process_builder().unwrap().retry(RetryPolicy::none()).build().unwrap();
    let queue = client.queue(emulator.account_id(), &queue_id).unwrap();
    queue.push_all(&vec![PushMessage::text("hello"); messages]).await.unwrap();
    (emulator, queue)
}

async fn next(deliveries: &mut Deliveries) -> Option<Result<Delivery, cloudflare_queues::Error>> {
    poll_fn(|context| Pin::new(&mut *deliveries).poll_next(context)).await
}

async fn visible(queue: &Queue) -> usize {
    queue.pull(PullOptions::new().batch_size(100)).await.unwrap().len()
}

#[tokio::test(start_paused = true)]
async fn unsettled_messages_are_handed_back_without_the_queues_retry_delay() {
    let settings = EmulatedQueue::new().retry_delay(HOUR);
    let (_emulator, queue) = emulated(settings.clone(), 1).await;
    let mut deliveries = Consumer::new(queue.clone()).stream().unwrap();
    drop(next(&mut deliveries).await.unwrap().unwrap());
    deliveries.acker().close().await;
    drop(deliveries);
    assert_eq!(visible(&queue).await, 1, "a delivery that was dropped");

    let (_emulator, queue) = emulated(settings, 50).await;
    let consumer = Consumer::new(queue.clone()).concurrency(1);
    let report = consumer.run_until(sleep(SECOND), |_| sleep(SECOND / 10)).await.unwrap();
    assert!(report.error.is_none() && report.unconfirmed.is_empty(), "{report:?}");
    assert_eq!(visible(&queue).await as u64, 50 - report.stats.acknowledged, "messages that no handler started");
}

#[tokio::test(start_paused = true)]
async fn later_failures_do_not_replace_the_error_of_a_run() {
    let (emulator, queue) = emulated(EmulatedQueue::new(), 1).await;
    let handler = move |_| {
        // The next pull ends the consumer, and the acknowledgement fails in another way after it.
        emulator.inject(Fault::Forbidden.on(Operation::PullMessages));
        emulator.inject(Fault::Challenged.on(Operation::AckMessages));
        sleep(5 * SECOND)
    };
    let report = Consumer::new(queue).run_until(pending::<()>(), handler).await.unwrap();
    assert_eq!(report.error.map(|error| error.kind()), Some(ErrorKind::Unauthorized));
    assert_eq!(report.unconfirmed.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stream_sends_and_returns_nothing_after_its_final_failure() {
    let (emulator, queue) = emulated(EmulatedQueue::new(), 500).await;
    emulator.inject(Fault::Forbidden.on(Operation::AckMessages).until_removed());
    let mut deliveries = Consumer::new(queue).stream().unwrap();
    let error = loop {
        match next(&mut deliveries).await.unwrap() {
            Ok(delivery) => drop(delivery.ack().await),
            Err(error) => break error,
        }
        sleep(SECOND / 10).await;
    };
    assert_eq!(error.kind(), ErrorKind::Unauthorized);
    emulator.remove_faults();
    sleep(HOUR).await;
    let requests = emulator.requests();
    for _ in 0..3 {
        assert!(next(&mut deliveries).await.is_none());
        sleep(HOUR).await;
    }
    assert_eq!(emulator.requests(), requests);
}

#[tokio::test(start_paused = true)]
async fn messages_that_expire_before_a_handler_starts_free_their_bytes() {
    let (emulator, queue) = emulated(EmulatedQueue::new(), 0).await;
    queue.push_all(&vec![PushMessage::text("x".repeat(10_000)); 100]).await.unwrap();
    // Their leases are over when the response arrives.
    let late = Fault::Slow { before: Duration::ZERO, after: 5 * SECOND, fault: None };
    emulator.inject(late.on(Operation::PullMessages).until_removed());
    let consumer = Consumer::new(queue).concurrency(100).visibility_timeout(SECOND).max_bytes(2_000_000);
    let (watched, mut before) = (consumer.clone(), 0);
    let stop = async {
        while watched.stats().expired < 1000 {
            sleep(SECOND).await;
        }
        emulator.remove_faults();
        before = emulator.requests();
        while watched.stats().acknowledged < 100 {
            sleep(SECOND).await;
        }
    };
    let report = consumer.run_until(stop, |_| async {}).await.unwrap();
    assert_eq!(report.stats.acknowledged, 100);
    let requests = emulator.requests() - before;
    assert!(requests < 100, "one message at a time: {requests} requests");
}

#[tokio::test]
async fn counts_confirm_only_what_they_count() {
    // Two acks and a retry. The second count is that of the acks.
    let server = Server::playing([support::ok(r#"{"success":true,"result":{"ackCount":2,"retryCount":2}}"#)]);
    let request = support::acks(["a", "b"]).retry("c");
    assert!(!support::queue(&server.url).ack(request).await.unwrap().is_complete());

    let options = AckerOptions::new().linger(HOUR);
    let acker = Acker::with_options(support::queue(&server.url), options).unwrap();
    let first = acker.ack("a").await.unwrap();
    let second = acker.ack("b").await.unwrap();
    let retried = acker.retry("c").await.unwrap();
    acker.close().await;
    assert_eq!(server.requests().len(), 2);
    assert_ne!(retried.await.ok(), Some(Confirmation::Confirmed));
    assert_eq!([first.await.unwrap(), second.await.unwrap()], [Confirmation::Confirmed, Confirmation::Confirmed]);
}

#[tokio::test]
async fn a_short_retry_after_does_not_shorten_the_backoff() {
    let busy = Act::Respond(support::response(429, &[("retry-after", "1")], "{}"));
    let server = Server::playing([busy, support::bare_success()]);
    let policy = RetryPolicy::new().initial_backoff(HOUR);
    let queue = support::open(support::builder(&server.url).retry(policy));
    let error = queue.push(&PushMessage::text("hello")).await.unwrap_err();
    assert!(error.to_string().contains("deadline leaves no time for another attempt"), "{error}");
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn short_retry_afters_do_not_prevent_backoff() {
    let (emulator, queue) = emulated(EmulatedQueue::new(), 0).await;
    emulator.inject(Fault::RateLimited { code: 10250, retry_after: Some(SECOND) }.until_removed());
    let before = emulator.requests();
    let acker = Acker::with_options(queue, AckerOptions::new().linger(Duration::ZERO)).unwrap();
    let lease = Lease::new("a-lease", (Instant::now() + 600 * SECOND).into_std());
    let receipt = acker.ack(lease).await.unwrap();
    assert_eq!(receipt.await.unwrap_err().kind(), ErrorKind::RateLimited);
    let requests = emulator.requests() - before;
    assert!((5..100).contains(&requests), "{requests} requests in ten minutes");
}

#[tokio::test]
async fn a_failed_renewal_of_credentials_does_not_hide_an_earlier_attempt() {
    let server = Server::playing([support::refused(500, 0), support::refused(401, 10000)]);
    let mut tokens = vec!["t0ken"].into_iter();
    let tokens = std::sync::Mutex::new(move || tokens.next().ok_or("the vault is sealed"));
    let credentials = Credentials::from_provider(move || {
        let token = (tokens.lock().unwrap())();
        async move { Ok(Credentials::api_token(token?)?) }
    });
    let builder = Client::builder(credentials).base_url(&server.url).retry(support::quick(3));
    let error = support::open(builder).ack(support::acks(["a"])).await.unwrap_err().error;
    assert_eq!(server.requests().len(), 2);
    assert!(error.may_have_arrived(), "the first of two attempts may have: {error}");
}

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// An acker with little room, whose requests get no response.
fn stalled(server: &Server) -> Acker {
    let options = AckerOptions::new().linger(Duration::ZERO).max_in_flight(1).buffer(1);
    Acker::with_options(support::queue(&server.url), options).unwrap()
}

/// How many leases are accepted without a wait.
async fn accepted(acker: &Acker, first: usize) -> usize {
    let mut count = 0;
    loop {
        let mut ack = pin!(acker.ack(format!("lease-{}", first + count)));
        if poll_fn(|context| Poll::Ready(ack.as_mut().poll(context).is_pending())).await {
            return count;
        }
        count += 1;
    }
}

#[test]
fn callers_do_not_wait_for_an_acker_of_a_stopped_runtime() {
    let server = Server::playing([Act::Stall(Vec::new())]);
    let (of_acker, of_callers) = (runtime(), runtime());
    let acker = of_acker.block_on(async { stalled(&server) });
    let (submitting, flushing) = (acker.clone(), acker);
    let submitting = of_callers.spawn(async move {
        let mut receipts = Vec::new();
        // Until there is no room.
        for lease in 0.. {
            match submitting.ack(format!("lease-{lease}")).await {
                Ok(receipt) => receipts.push(receipt),
                Err(error) => return error,
            }
        }
        unreachable!()
    });
    server.arrivals().wait_beyond(0);
    let flushing = of_callers.spawn(async move { flushing.flush().await });
    of_acker.shutdown_background();
    // A `timeout` polls once more at its end: that of a task's handle does not poll the task, which has to be woken.
    of_callers.block_on(async {
        let error = timeout(600 * SECOND, submitting).await.expect("a caller waits for room").unwrap();
        assert!(!error.to_string().is_empty());
        timeout(600 * SECOND, flushing).await.expect("a caller waits for a flush").unwrap();
    });
}

#[tokio::test(start_paused = true)]
async fn dropped_deliveries_and_callers_give_their_permits_back() {
    let (_emulator, queue) = emulated(EmulatedQueue::new(), 20).await;
    let consumer = Consumer::new(queue).acker(AckerOptions::new().linger(Duration::ZERO).buffer(5));
    let mut deliveries = consumer.stream().unwrap();
    assert_eq!(accepted(deliveries.acker(), 0).await, 5);
    for first in [100, 200, 300] {
        for _ in 0..10 {
            let acker = deliveries.acker().clone();
            let mut waiting = pin!(acker.ack("of a caller that does not wait"));
            let _ = poll_fn(|context| Poll::Ready(waiting.as_mut().poll(context).is_pending())).await;
        }
        for _ in 0..10 {
            drop(next(&mut deliveries).await.unwrap().unwrap());
        }
        deliveries.acker().flush().await;
        assert_eq!(accepted(deliveries.acker(), first).await, 5);
        deliveries.acker().flush().await;
    }
}
