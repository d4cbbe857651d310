//! Flushing, closing, dropping, and a runtime that stops.

use std::pin::pin;

use tokio::{
    runtime::{Builder, Runtime},
    time::timeout,
};

use super::*;

fn paused() -> Runtime {
    Builder::new_current_thread().enable_all().start_paused(true).build().unwrap()
}

fn lingering(world: &World) -> Pusher {
    Pusher::with_options(world.queue.clone(), PusherOptions::new().linger(Duration::MAX)).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_flush_waits_for_earlier_messages_alone() {
    let world = World::with(0).await;
    world.takes(10 * SECOND);
    let pusher = lingering(&world);
    pusher.flush().await;
    let receipts = push(&pusher, texts(150)).await;
    let start = Instant::now();
    let mut flush = pin!(pusher.flush());
    assert!(timeout(5 * SECOND, flush.as_mut()).await.is_err());
    let mut later = pusher.push(PushMessage::text("later")).await.unwrap();
    flush.await;
    assert_eq!(start.elapsed(), 10 * SECOND);
    assert!(receipts.into_iter().all(|mut receipt| receipt.now().is_some()));
    assert!(later.now().is_none());
    assert_eq!(requests(&world), [100, 50], "later messages linger");
    pusher.flush().await;
    assert!(later.now().is_some_and(|outcome| outcome.is_ok()));
}

#[tokio::test(start_paused = true)]
async fn close_waits_for_all_messages_and_refuses_later_ones() {
    let world = World::with(0).await;
    world.takes(2 * SECOND);
    let pusher = lingering(&world);
    let receipts = push(&pusher, texts(150)).await;
    pusher.close().await;
    assert!(receipts.into_iter().all(|mut receipt| receipt.now().is_some_and(|outcome| outcome.is_ok())));
    let refused = pusher.push(PushMessage::text("late")).await.unwrap_err();
    assert!(refused.error.to_string().contains("pusher: it is closed"), "{}", refused.error);
    assert_eq!(refused.message, Some(PushMessage::text("late")));
    let failed = pusher.push_all(texts(2)).await.unwrap_err();
    assert_eq!((failed.pushed, failed.not_sent.len()), (0, 1));
    pusher.flush().await;
    pusher.close().await;
}

#[tokio::test(start_paused = true)]
async fn close_ends_pushes_that_wait_for_room() {
    let world = World::with(0).await;
    world.takes(10 * SECOND);
    let pusher = Pusher::with_options(world.queue.clone(), PusherOptions::new().max_bytes(0)).unwrap();
    let first = pusher.push(PushMessage::text("first")).await.unwrap();
    let waiting = tokio::spawn({
        let pusher = pusher.clone();
        async move { pusher.push(PushMessage::text("waits")).await.map(drop) }
    });
    sleep(SECOND).await;
    let start = Instant::now();
    let mut close = pin!(pusher.close());
    assert!(timeout(MILLI, close.as_mut()).await.is_err());
    assert_eq!(waiting.await.unwrap().unwrap_err().message, Some(PushMessage::text("waits")));
    assert!(start.elapsed() < SECOND);
    close.await;
    assert_eq!(start.elapsed().as_secs(), 9);
    assert!(first.await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn dropping_the_last_handle_sends_waiting_messages() {
    let world = World::with(0).await;
    let pusher = lingering(&world);
    let receipts = push(&pusher, texts(150)).await;
    drop(pusher);
    assert!(outcomes(receipts).await.iter().all(Result::is_ok));
    // Also without anyone who waits.
    let pusher = lingering(&world);
    drop(push(&pusher, texts(150)).await);
    drop(pusher);
    sleep(SECOND).await;
    assert_eq!(world.left(), 300);
}

#[tokio::test(start_paused = true)]
async fn a_push_that_is_dropped_while_it_waits_sends_nothing() {
    let world = World::with(0).await;
    world.takes(SECOND);
    let pusher = Pusher::with_options(world.queue.clone(), PusherOptions::new().max_bytes(0)).unwrap();
    let first = pusher.push(PushMessage::text("first")).await.unwrap();
    assert!(timeout(MILLI, pusher.push(PushMessage::text("second"))).await.is_err());
    first.await.unwrap();
    pusher.close().await;
    assert_eq!(bodies(&world), ["first"]);
}

#[test]
fn a_stopped_runtime_hangs_nobody_and_says_what_may_have_arrived() {
    let runtime = paused();
    let (world, pusher, sent, waiting) = runtime.block_on(async {
        let world = World::with(0).await;
        world.takes(10 * SECOND);
        let options = PusherOptions::new().linger(Duration::MAX).max_bytes(150 * 600);
        let pusher = Pusher::with_options(world.queue.clone(), options).unwrap();
        let sent = push(&pusher, texts(100)).await;
        sleep(SECOND).await;
        let waiting = push(&pusher, texts(50)).await;
        (world, pusher, sent, waiting)
    });
    let mut blocked = Box::pin(pusher.push(PushMessage::text("x".repeat(100_000))));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(blocked.as_mut().poll(&mut context).is_pending());
    drop(runtime);
    paused().block_on(async {
        assert!(blocked.await.unwrap_err().message.is_some());
        for outcome in outcomes(sent).await {
            let failed = outcome.unwrap_err();
            assert!(failed.error.may_have_arrived() && failed.message.is_none());
        }
        for outcome in outcomes(waiting).await {
            let failed = outcome.unwrap_err();
            assert!(!failed.error.may_have_arrived() && failed.message.is_some(), "{}", failed.error);
        }
        let refused = pusher.push(PushMessage::text("late")).await.unwrap_err();
        assert_eq!((refused.error.kind(), refused.message.is_some()), (ErrorKind::Transport, true));
        pusher.flush().await;
        pusher.close().await;
    });
    assert_eq!(requests(&world), [100]);
}

#[test]
fn without_a_runtime_there_is_no_pusher() {
    let world = paused().block_on(World::with(0));
    assert_eq!(Pusher::new(world.queue.clone()).unwrap_err().kind(), ErrorKind::InvalidInput);
}
