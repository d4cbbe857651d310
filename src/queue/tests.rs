//! Timeouts, on a paused clock.

use std::time::Duration;

use tokio::time::Instant;

use crate::{
    error::kind::ErrorKind,
    message::{ack::AckRequest, push::PushMessage},
    pusher::{PusherOptions, handle::Pusher},
    test_world::{World, refusal, unsent},
};

const SECOND: Duration = Duration::from_secs(1);
const MILLI: Duration = Duration::from_millis(1);

#[tokio::test(start_paused = true)]
async fn a_handles_timeout_applies_to_its_calls_alone() {
    let world = World::with(0).await;
    world.takes(SECOND);
    let (quick, message) = (world.queue.with_timeout(200 * MILLI), PushMessage::text("x"));
    let start = Instant::now();
    let error = quick.push(&message).await.unwrap_err();
    assert_eq!((error.kind(), error.may_have_arrived()), (ErrorKind::Timeout, true));
    assert_eq!(start.elapsed(), 200 * MILLI);
    assert!(quick.describe().await.is_err() && quick.ack(AckRequest::new().ack("a")).await.is_err());
    assert_eq!(start.elapsed(), 600 * MILLI);
    let options = PusherOptions::new().linger(Duration::ZERO).give_up_after(Duration::ZERO);
    let pusher = Pusher::with_options(quick.clone(), options).unwrap();
    assert!(pusher.push(message.clone()).await.unwrap().await.is_err());
    assert_eq!(start.elapsed(), 800 * MILLI);
    world.queue.push(&message).await.unwrap();
    quick.with_timeout(2 * SECOND).push(&message).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_timeout_of_a_handle_includes_all_attempts_and_their_waits() {
    let world = World::with(0).await;
    for fails in [unsent, || refusal(429, 10250)] {
        world.responds(move |_| Some(fails()));
        let start = Instant::now();
        let error = world.queue.with_timeout(400 * MILLI).push(&PushMessage::text("x")).await.unwrap_err();
        assert!(start.elapsed() <= 400 * MILLI && error.attempts() == 2, "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_timeout_of_the_client_still_applies() {
    let world = World::with(0).await;
    world.takes(10 * SECOND);
    let queue = world.queue_with(|client| client.call_timeout(SECOND));
    for (timeout, took) in [(Duration::ZERO, Duration::ZERO), (Duration::MAX, SECOND)] {
        let start = Instant::now();
        let error = queue.with_timeout(timeout).push(&PushMessage::text("x")).await.unwrap_err();
        assert_eq!((error.kind(), start.elapsed()), (ErrorKind::Timeout, took));
    }
}
