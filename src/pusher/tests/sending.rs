//! When requests go out, and how many.

use std::sync::{Mutex, atomic::AtomicUsize};

use super::*;

/// Messages a second, of the 5,000 that the service allows for a queue.
const WANTED: f64 = 4750.0;

/// How long 1,000 tasks take to push so many messages. A request may be refused.
async fn load(
    messages: usize,
    round_trip: Duration,
    is_refused: impl Fn(&Seen) -> bool + Send + Sync + 'static,
) -> Duration {
    let world = World::with(0).await;
    world.takes(round_trip);
    let taken = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&taken);
    // Without the emulator, which would take most of the time.
    world.responds(move |seen| {
        if is_refused(seen) {
            return Some(refusal(429, 10250));
        }
        counting.fetch_add(size(seen), Ordering::Relaxed);
        Some(success(serde_json::json!({})))
    });
    // Less than all messages, so that tasks wait for room.
    let options = PusherOptions::new().max_bytes(16 << 20);
    let (pusher, start) = (Pusher::with_options(world.queue.clone(), options).unwrap(), Instant::now());
    let tasks = (0..1000).map(|_| {
        let pusher = pusher.clone();
        let messages = (0..messages / 1000).map(|_| PushMessage::text("x".repeat(200)));
        tokio::spawn(async move { outcomes(push(&pusher, messages).await).await })
    });
    for task in tasks.collect::<Vec<_>>() {
        assert!(task.await.unwrap().iter().all(Result::is_ok));
    }
    let (took, sent) = (start.elapsed(), requests(&world).len());
    println!("{round_trip:?}: {messages} messages in {took:?}, {sent} requests");
    assert_eq!(taken.load(Ordering::Relaxed), messages);
    took
}

#[tokio::test(start_paused = true)]
async fn a_thousand_tasks_push_5000_messages_a_second() {
    let every = [(40_000, 1200), (100_000, 2400), (40_000, 200), (40_000, 20)];
    for (messages, round_trip) in cases(every, 1) {
        let took = load(messages, round_trip * MILLI, |_| false).await;
        // The rate is that of the documentation, so that what the first round trips miss is not made up for.
        assert!(took < Duration::from_secs_f64(messages as f64 / WANTED) + 2 * round_trip * MILLI, "{took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_rate_that_a_queue_allows_is_reached() {
    for round_trip in cases([200, 20, 2400], 1) {
        let allowance = Mutex::new((0, Instant::now()));
        // 5,000 a second, which can be saved up for a second.
        let is_refused = move |seen: &Seen| {
            let (tokens, at) = &mut *allowance.lock().unwrap();
            let more = (at.elapsed().as_secs_f64() * 5000.0) as usize;
            *at += Duration::from_secs_f64(more as f64 / 5000.0);
            *tokens = (*tokens + more).min(5000);
            let is_allowed = *tokens >= size(seen);
            *tokens -= if is_allowed { size(seen) } else { 0 };
            !is_allowed
        };
        let took = load(40_000, round_trip * MILLI, is_refused).await;
        // The time until the limit is found, and for what is refused at the end.
        let most = Duration::from_secs_f64(40_000.0 / WANTED) + 8 * round_trip * MILLI + 250 * MILLI;
        assert!(took < most, "{took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn messages_of_many_tasks_share_requests() {
    let world = World::with(0).await;
    let pusher = Pusher::new(world.queue.clone()).unwrap();
    let receipts = push(&pusher, texts(250)).await;
    assert!(outcomes(receipts).await.iter().all(Result::is_ok));
    assert_eq!(requests(&world), [100, 100, 50]);
    assert_eq!(bodies(&world).len(), 250);
}

#[tokio::test(start_paused = true)]
async fn requests_hold_at_most_256_kilobytes_and_linger_unless_full() {
    let world = World::with(0).await;
    let pusher = Pusher::new(world.queue.clone()).unwrap();
    let receipts = push(&pusher, (0..5).map(|_| PushMessage::text("x".repeat(100_000)))).await;
    assert!(outcomes(receipts).await.iter().all(Result::is_ok));
    assert_eq!(requests(&world), [2, 2, 1]);
    let start = Instant::now();
    let receipts = push(&pusher, (0..2).map(|_| PushMessage::text("x".repeat(128_000)))).await;
    assert!(outcomes(receipts).await.iter().all(Result::is_ok));
    assert_eq!((requests(&world).len(), start.elapsed()), (4, Duration::ZERO));
    // What was sent does not fill the next one.
    assert!(outcomes(push(&pusher, texts(1)).await).await[0].is_ok());
    assert!(start.elapsed() >= 50 * MILLI);
}

#[tokio::test(start_paused = true)]
async fn a_message_lingers_as_long_as_it_should() {
    let world = World::with(0).await;
    for linger in [Duration::ZERO, 50 * MILLI, 20 * SECOND] {
        let pusher = Pusher::with_options(world.queue.clone(), PusherOptions::new().linger(linger)).unwrap();
        let start = Instant::now();
        let mut receipts = push(&pusher, texts(2)).await;
        sleep(linger / 2).await;
        receipts.extend(push(&pusher, texts(1)).await);
        let earlier = requests(&world).len();
        assert!(outcomes(receipts).await.iter().all(Result::is_ok));
        assert!((linger..linger + 3 * MILLI).contains(&start.elapsed()), "{:?}", start.elapsed());
        assert_eq!(requests(&world).len(), earlier + 1);
    }
}

#[tokio::test(start_paused = true)]
async fn the_delay_of_each_message_is_sent() {
    let world = World::with(0).await;
    let pusher = Pusher::new(world.queue.clone()).unwrap();
    push(&pusher, texts(1).chain(texts(1).map(|message| message.delay(90 * SECOND)))).await;
    pusher.close().await;
    let seen = world.seen("batch");
    let delays: Vec<_> =
        seen[0].body["messages"].as_array().unwrap().iter().map(|it| it["delay_seconds"].as_u64()).collect();
    assert_eq!(delays, [None, Some(90)]);
}

#[tokio::test(start_paused = true)]
async fn an_invalid_message_is_refused_at_once_and_returned() {
    let world = World::with(0).await;
    let pusher = Pusher::new(world.queue.clone()).unwrap();
    let large = PushMessage::text("x".repeat(128_001));
    let refused = pusher.push(large.clone()).await.unwrap_err();
    assert_eq!((refused.error.kind(), refused.message), (ErrorKind::InvalidInput, Some(large)));
    assert!(refused.error.to_string().contains("body: must have at most 128000 bytes"), "{}", refused.error);
    let late = PushMessage::text("x").delay(Duration::from_secs(86_401));
    let refused = pusher.push(late).await.unwrap_err();
    assert!(refused.error.to_string().contains("delay: must be at most 24 hours"), "{}", refused.error);
}

#[tokio::test(start_paused = true)]
async fn no_more_than_the_bound_is_held_and_push_waits() {
    const SIZE: usize = 4488 + MESSAGE_BYTES;
    for bytes in [0, SIZE, 10 * SIZE, 70 * SIZE] {
        let world = World::with(0).await;
        world.takes(SECOND);
        // Only those that wait for room let it send.
        let options = PusherOptions::new().max_bytes(bytes).linger(Duration::MAX);
        let pusher = Pusher::with_options(world.queue.clone(), options).unwrap();
        let held = Arc::new(Mutex::new((0, 0)));
        let pushes = (0..100).map(|_| {
            let (pusher, held) = (pusher.clone(), Arc::clone(&held));
            tokio::spawn(async move {
                let receipt = pusher.push(PushMessage::text("x".repeat(SIZE - MESSAGE_BYTES))).await.unwrap();
                {
                    let (now, most) = &mut *held.lock().unwrap();
                    *now += SIZE;
                    *most = (*most).max(*now);
                }
                receipt.await.unwrap();
                held.lock().unwrap().0 -= SIZE;
            })
        });
        let pushes: Vec<_> = pushes.collect();
        sleep(10 * MILLI).await;
        assert_eq!(held.lock().unwrap().1, bytes.max(SIZE));
        while world.left() < 100 - bytes / SIZE {
            sleep(10 * SECOND).await;
        }
        pusher.flush().await;
        for push in pushes {
            push.await.unwrap();
        }
        assert!(held.lock().unwrap().1 <= bytes.max(SIZE));
        assert_eq!(world.left(), 100);
    }
}

#[test]
fn every_option_has_its_documented_default() {
    let (linger, max_bytes, give_up_after) = (50 * MILLI, 32 << 20, 120 * SECOND);
    assert_eq!(PusherOptions::default(), PusherOptions { linger, max_bytes, give_up_after });
}

#[tokio::test(start_paused = true)]
async fn every_option_takes_zero_and_its_largest_value() {
    for (time, bytes) in [(Duration::ZERO, 0), (Duration::MAX, usize::MAX)] {
        let world = World::with(0).await;
        let options = PusherOptions::new().linger(time).max_bytes(bytes).give_up_after(time);
        let pusher = Pusher::with_options(world.queue.clone(), options).unwrap();
        let receipts = push(&pusher, texts(250)).await;
        pusher.flush().await;
        assert!(outcomes(receipts).await.iter().all(Result::is_ok));
        assert_eq!(pusher.push_all(texts(250)).await.unwrap(), 250);
        assert_eq!(world.left(), 500);
    }
}

#[tokio::test(start_paused = true)]
async fn push_all_keeps_several_requests_in_flight() {
    let world = World::with(0).await;
    world.takes(200 * MILLI);
    let (pusher, start) = (Pusher::new(world.queue.clone()).unwrap(), Instant::now());
    assert_eq!(pusher.push_all(texts(20_000)).await.unwrap(), 20_000);
    let took = start.elapsed();
    println!("20000 messages in {took:?}");
    // What can be sent at once is no part of the rate.
    assert!(took < Duration::from_secs_f64(15_000.0 / WANTED) + 2 * 200 * MILLI, "{took:?}");
    let mut all: Vec<_> = (0..20_000).map(|number| number.to_string()).collect();
    all.sort_unstable();
    assert_eq!(bodies(&world), all);
    assert_eq!(pusher.push_all([]).await.unwrap(), 0);
}
