//! Calls with a limit on the requests in flight.

use std::time::Duration;

use cloudflare_queues::{
    AckRequest, ErrorKind, PullOptions, PushMessage, Queue,
    emulator::{Emulator, Fault, Operation},
};
use tokio::time::{Instant, sleep, timeout};

const SECOND: Duration = Duration::from_secs(1);

/// A queue with a message, and room for one request.
async fn narrow() -> (Emulator, Queue) {
    let emulator = Emulator::start().await.unwrap();
    let client = emulator.in_process_builder().unwrap().max_in_flight(1).build().unwrap();
    let queue = client.queue(emulator.account_id(), emulator.queue_id()).unwrap();
    queue.push(&PushMessage::text("hello")).await.unwrap();
    (emulator, queue)
}

#[tokio::test(start_paused = true)]
async fn a_call_that_never_got_a_permit_was_not_sent() {
    let (emulator, queue) = narrow().await;
    emulator.inject(Fault::Delay(10 * SECOND));
    let mut first = Box::pin(queue.peek(1));
    assert!(timeout(SECOND, &mut first).await.is_err());
    // It is not polled any more, and keeps its permit.
    let requests = emulator.requests();
    let error = queue.push(&PushMessage::text("hello")).await.unwrap_err();
    assert_eq!((error.kind(), error.may_have_arrived()), (ErrorKind::Timeout, false), "{error}");
    assert!(error.to_string().contains("max_in_flight"), "{error}");
    assert_eq!(emulator.requests(), requests);
    drop(first);
    queue.push(&PushMessage::text("hello")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_ack_whose_deadline_passes_in_the_queue_is_sent_once() {
    let (emulator, queue) = narrow().await;
    let batch = queue.pull(PullOptions::default()).await.unwrap();
    emulator.inject(Fault::Delay(10 * SECOND));
    let other = queue.clone();
    let first = tokio::spawn(async move { other.peek(1).await });
    tokio::time::sleep(SECOND).await;

    let request = AckRequest::new().ack(&batch.messages[0].lease_id).deadline((Instant::now() + SECOND).into_std());
    assert!(queue.ack(request).await.unwrap().is_complete());
    first.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_ack_whose_deadline_passes_in_the_queue_is_not_repeated() {
    let (emulator, queue) = narrow().await;
    emulator.inject(Fault::ServerError(503).on(Operation::AckMessages));
    emulator.inject(Fault::Delay(10 * SECOND).on(Operation::PeekMessages));
    let request = AckRequest::new().ack("a-lease").deadline((Instant::now() + SECOND).into_std());
    let peek = async {
        sleep(SECOND / 10).await;
        queue.peek(1).await
    };
    let before = emulator.requests();
    let (failed, peeked) = tokio::join!(queue.ack(request), peek);
    assert!(failed.is_err() && peeked.is_ok(), "{failed:?}");
    assert_eq!(emulator.requests() - before, 2);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_to_retry_releases_its_permit() {
    let (emulator, queue) = narrow().await;
    emulator.inject(Fault::RateLimited { code: 10250, retry_after: Some(10 * SECOND) });
    let (other, started) = (queue.clone(), Instant::now());
    let first = tokio::spawn(async move { other.peek(1).await });
    tokio::time::sleep(SECOND).await;
    queue.push(&PushMessage::text("hello")).await.unwrap();
    assert_eq!(started.elapsed(), SECOND);
    first.await.unwrap().unwrap();
    assert_eq!(started.elapsed(), 10 * SECOND);
}
