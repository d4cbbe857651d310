//! Messages that cannot be decoded have the same outcome in a run and in a stream.

use futures_core::Stream;
use std::{error::Error as _, future::poll_fn, pin::Pin};

use super::*;

/// What a consumer does with this many undecodable messages in a minute: as a run, and as a stream.
async fn both(
    messages: usize,
    is_pushed: bool,
    set: impl Fn(Consumer, Queue) -> Consumer<Decoded<u32>>,
) -> [(Stats, usize); 2] {
    let mut both = Vec::new();
    for is_stream in [false, true] {
        let world = World::of(Behavior::new());
        world.takes(1200 * MILLI);
        world.responds(move |seen| (!is_pushed && seen.operation == "messages").then(|| refusal(503, 0)));
        let _ = world.direct.push_all(&vec![PushMessage::text("no number"); messages]).await.unwrap();
        let dead = world.emulator.create_queue(EmulatedQueue::new());
        let consumer = set(world.consumer(), world.queue.queues().queue(dead.clone()).unwrap());
        let stats = if is_stream {
            let mut deliveries = consumer.stream().unwrap();
            let next = poll_fn(|context| Pin::new(&mut deliveries).poll_next(context));
            assert!(tokio::time::timeout(60 * SECOND, next).await.is_err());
            deliveries.acker().close().await;
            sleep(10 * SECOND).await;
            deliveries.stats()
        } else {
            consumer.run_until(sleep(60 * SECOND), |_, _| async {}).await.unwrap().stats
        };
        check_sum(&stats);
        both.push((stats, world.emulator.messages(&dead).len()));
    }
    both.try_into().unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_undecodable_message_becomes_a_dead_letter() {
    for (stats, dead) in both(1, true, |consumer, dead| consumer.dead_letters(dead).json()).await {
        let Stats { undecodable, dead_lettered, acknowledged, failed, .. } = stats;
        assert_eq!((undecodable, dead_lettered, acknowledged, failed, dead), (1, 1, 0, 0, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn dead_letters_without_a_queue_are_retried_after_the_delay() {
    let set = |consumer: Consumer, _| {
        let consumer = consumer.retry_delay(RetryDelay::fixed(3600 * SECOND)).json();
        consumer.on_undecodable(|_, _| async { Verdict::DeadLetter })
    };
    for (stats, dead) in both(1, true, set).await {
        assert_eq!((stats.undecodable, stats.retried, dead), (1, 1, 0), "{stats:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn failing_on_undecodable_is_a_failure_and_counts_attempts() {
    let set = |consumer: Consumer, dead| {
        let consumer = consumer.dead_letters(dead).max_attempts(3).json();
        consumer.on_undecodable(|_, _| async { Err::<(), _>("not now") })
    };
    for (stats, dead) in both(1, true, set).await {
        let Stats { undecodable, failed, retried, dead_lettered, .. } = stats;
        assert_eq!((undecodable, failed, retried, dead_lettered, dead), (3, 3, 2, 1, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn failed_dead_letters_are_counted_and_slow_pulling() {
    for (stats, dead) in both(500, false, |consumer, dead| consumer.dead_letters(dead).json()).await {
        let Stats { undecodable, left, dead_letter_failures, slowdown, last_error, .. } = stats;
        assert!(left > 16 && left == dead_letter_failures && undecodable == left, "{left} {dead_letter_failures}");
        assert!(slowdown > 0 && last_error.unwrap().contains("push_message"), "{slowdown}");
        assert_eq!(dead, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_ends_still_moves_its_dead_letters() {
    for (ends, closes) in [(false, false), (false, true), (true, true)] {
        let world = World::of(Behavior::new());
        world.takes(2400 * MILLI);
        world.responds(move |seen| (ends && seen.operation == "pull" && seen.nth > 0).then(|| refusal(401, 10000)));
        let _ = world.direct.push(&PushMessage::text("no number")).await.unwrap();
        let dead = world.emulator.create_queue(EmulatedQueue::new());
        let consumer = world.consumer().dead_letters(world.queue.queues().queue(dead.clone()).unwrap()).json::<u32>();
        let mut deliveries = consumer.stream().unwrap();
        // The message arrives after 2.4 s, and its push takes as long again.
        let next = poll_fn(|context| Pin::new(&mut deliveries).poll_next(context));
        assert!(tokio::time::timeout(3 * SECOND, next).await.is_err());
        assert_eq!((world.seen("messages").len(), world.left()), (1, 1));
        if ends {
            let next = poll_fn(|context| Pin::new(&mut deliveries).poll_next(context));
            assert!(next.await.unwrap().is_err());
        }
        let acker = deliveries.acker().clone();
        drop(deliveries);
        if closes {
            acker.close().await;
        } else {
            drop(acker);
            sleep(10 * SECOND).await;
        }
        assert_eq!((world.left(), world.emulator.messages(&dead).len()), (0, 1));
        assert_eq!(consumer.stats().dead_lettered, 1);
        check_sum(&consumer.stats());
    }
}

#[tokio::test(start_paused = true)]
async fn close_waits_for_decisions_as_for_handlers() {
    let world = World::of(Behavior::new());
    let _ = world.direct.push(&PushMessage::text("no number")).await.unwrap();
    let consumer = world.consumer().shutdown_timeout(5 * SECOND).json::<u32>();
    let consumer = consumer.on_undecodable(|_, _| pending::<()>());
    let mut deliveries = consumer.stream().unwrap();
    let next = poll_fn(|context| Pin::new(&mut deliveries).poll_next(context));
    assert!(tokio::time::timeout(SECOND, next).await.is_err());
    let (acker, start) = (deliveries.acker().clone(), Instant::now());
    drop(deliveries);
    assert!(tokio::time::timeout(60 * SECOND, acker.close()).await.is_ok());
    assert_eq!(start.elapsed().as_secs(), 5);
    check_sum(&consumer.stats());
    // It is not decided on, so it is handed back, although the acker is closed.
    let messages = world.emulator.messages(world.emulator.queue_id());
    assert_eq!((consumer.stats().retried, messages[0].is_leased), (1, false));
}

#[tokio::test(start_paused = true)]
async fn a_stream_holds_one_batch_of_messages_whose_decisions_hang() {
    let world = World::with(0).await;
    let _ = world.direct.push_all(&vec![PushMessage::text("no number"); 300]).await.unwrap();
    let consumer = world.consumer().json::<u32>().on_undecodable(|_, _| pending::<()>());
    let mut deliveries = consumer.stream().unwrap();
    assert!(tokio::time::timeout(MINUTE, deliveries.next()).await.is_err());
    assert_eq!(deliveries.stats().pulled, 100);
}

#[tokio::test(start_paused = true)]
async fn decisions_that_never_start_are_handed_back_as_drops() {
    let world = World::with(20).await;
    let consumer = world.consumer();
    let mut deliveries = consumer.stream().unwrap();
    let mut waiting = Vec::new();
    while waiting.len() < 20 {
        waiting.extend(deliveries.next_batch(20, SECOND).await.unwrap().unwrap());
    }
    let acker = deliveries.acker().clone();
    acker.close().await;
    for delivery in waiting {
        drop(delivery.take_back().undecodable(Box::pin(pending())));
    }
    acker.flush().await;
    let Stats { retried, unconfirmed, slowdown, .. } = consumer.stats();
    assert_eq!((retried, unconfirmed, slowdown), (20, 0, 1));
}

/// Bodies of base64, of which the bytes are UTF-8 and a number. One of them makes the function panic.
fn read(body: &Body) -> Result<u32, Box<dyn std::error::Error + Send + Sync>> {
    let bytes = body.base64()?;
    assert_ne!(bytes, b"panic");
    Ok(str::from_utf8(&bytes)?.parse()?)
}

#[tokio::test(start_paused = true)]
async fn decoding_functions_decode_and_their_errors_are_sources() {
    for is_stream in [false, true] {
        let world = World::of(Behavior::new());
        let bodies: [&[u8]; 5] = [b"7", b"8", b"panic", b"secret", &[0xff]];
        let pushed: Vec<_> = bodies.iter().map(PushMessage::base64).chain([PushMessage::text("no base64")]).collect();
        let _ = world.direct.push_all(&pushed).await.unwrap();
        let (seen, numbers) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
        let undecodable = Arc::clone(&seen);
        let consumer = world.consumer().decode(read).on_undecodable(move |_, error: Error| {
            undecodable.lock().unwrap().push((
                error.kind(),
                error.to_string(),
                error.source().map(ToString::to_string),
            ));
            async { Verdict::Ack }
        });
        if is_stream {
            let mut deliveries = consumer.stream().unwrap();
            for _ in 0..2 {
                let delivery = deliveries.next().await.unwrap().unwrap();
                numbers.lock().unwrap().push(*delivery.body());
                drop(delivery.ack().await.unwrap());
            }
            assert!(tokio::time::timeout(SECOND, deliveries.next()).await.is_err());
            deliveries.acker().close().await;
        } else {
            let numbers = Arc::clone(&numbers);
            let handler = move |number, _| {
                numbers.lock().unwrap().push(number);
                async {}
            };
            let _ = consumer.run_until(sleep(SECOND), handler).await.unwrap();
        }
        assert_eq!((consumer.stats().undecodable, world.left()), (4, 0));
        numbers.lock().unwrap().sort_unstable();
        assert_eq!(*numbers.lock().unwrap(), [7, 8]);
        let seen = seen.lock().unwrap();
        assert!(seen.iter().all(|(kind, text, _)| *kind == ErrorKind::UndecodableBody && !text.contains("secret")));
        let sources: Vec<_> = seen.iter().filter_map(|(_, _, source)| source.as_deref()).collect();
        assert_eq!(sources.len(), 2, "a panic and an error of the body have none: {seen:?}");
        assert!(sources.contains(&"invalid digit found in string"));
        assert!(seen.iter().any(|(_, text, _)| text.contains("the body is not base64")));
    }
}

#[tokio::test(start_paused = true)]
async fn decisions_that_hang_do_not_keep_a_stream_from_pulling() {
    let world = World::with(0).await;
    world.direct.push_all(&vec![PushMessage::text("no number"); 60]).await.unwrap();
    let consumer = world.consumer().json::<usize>().on_undecodable(|_, _| pending::<Verdict>());
    let mut deliveries = consumer.stream().unwrap();
    assert!(tokio::time::timeout(SECOND, deliveries.next_batch(100, SECOND)).await.is_err());
    world.push(10).await;
    let batch = tokio::time::timeout(MINUTE, deliveries.next_batch(100, SECOND)).await.unwrap();
    assert_eq!(batch.unwrap().unwrap().len(), 10);
}
