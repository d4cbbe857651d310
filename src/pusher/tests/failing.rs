//! What a message's receipt says after each failure, and what is sent again.

use std::{collections::HashSet, sync::Mutex};

use tokio::time::timeout;

use super::*;

type Response = fn() -> http::Response<String>;

/// How many were pushed, may have arrived, and were not sent.
fn count(outcomes: &[Result<(), PushError>]) -> [usize; 3] {
    let mut counts = [0; 3];
    for outcome in outcomes {
        let kind = match outcome {
            Ok(()) => 0,
            Err(failed) => {
                assert_eq!(failed.message.is_none(), failed.error.may_have_arrived());
                if failed.message.is_none() { 1 } else { 2 }
            }
        };
        counts[kind] += 1;
    }
    counts
}

fn page(status: u16) -> http::Response<String> {
    http::Response::builder().status(status).body("<html>no</html>".to_owned()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn no_request_that_may_have_arrived_is_sent_again() {
    let failures: [Response; 5] =
        [|| refusal(503, 0), || refusal(200, 10026), || page(502), || page(403), || page(200)];
    for fails in failures {
        let world = World::with(0).await;
        world.responds(move |seen| (seen.nth == 0).then(fails));
        let pusher = Pusher::new(world.queue.clone()).unwrap();
        let outcomes = outcomes(push(&pusher, texts(150)).await).await;
        assert_eq!(count(&outcomes), [50, 100, 0]);
        assert_eq!(requests(&world), [100, 50]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_timeout_after_the_request_was_sent_is_not_repeated() {
    let world = World::with(0).await;
    world.takes_by(|seen| if seen.nth == 0 { 100 * SECOND } else { Duration::ZERO });
    let pusher = Pusher::new(world.queue.clone()).unwrap();
    let outcomes = outcomes(push(&pusher, texts(150)).await).await;
    assert_eq!(count(&outcomes), [50, 100, 0]);
    sleep(100 * SECOND).await;
    assert_eq!((requests(&world).len(), world.left()), (2, 150), "it arrived once");
}

#[tokio::test(start_paused = true)]
async fn what_did_not_arrive_is_sent_again() {
    let failures: [Response; 2] = [unsent, || refusal(429, 10250)];
    for fails in failures {
        let world = World::with(0).await;
        let start = Instant::now();
        // Longer than a call tries by itself.
        world.responds(move |_| (start.elapsed() < 30 * SECOND).then(fails));
        let pusher = Pusher::new(world.queue.clone()).unwrap();
        let outcomes = outcomes(push(&pusher, texts(150)).await).await;
        assert_eq!((count(&outcomes), bodies(&world).len()), ([150, 0, 0], 150));
    }
}

#[tokio::test(start_paused = true)]
async fn no_request_is_sent_before_a_retry_after_has_passed() {
    let world = World::with(0).await;
    let start = Instant::now();
    world.responds(move |_| (start.elapsed() < 90 * SECOND).then(|| with_retry_after(refusal(429, 971), "90")));
    let pusher = Pusher::new(world.queue.clone()).unwrap();
    assert!(pusher.push(PushMessage::text("x")).await.unwrap().await.is_ok());
    assert_eq!(world.seen("batch").len(), 2);
    assert!(start.elapsed() >= 90 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_does_not_arrive_is_given_up_and_returned() {
    let cases = [(Duration::ZERO, 0, 2), (20 * SECOND, 5, 20), (Duration::MAX, 3600, 3600)];
    for (give_up_after, at_least, at_most) in cases {
        let world = World::with(0).await;
        world.responds(|_| Some(unsent()));
        let options = PusherOptions::new().give_up_after(give_up_after);
        let (pusher, start) = (Pusher::with_options(world.queue.clone(), options).unwrap(), Instant::now());
        let receipt = pusher.push(PushMessage::text("x")).await.unwrap();
        match timeout(3600 * SECOND, receipt).await {
            Ok(outcome) => assert_eq!(outcome.unwrap_err().message, Some(PushMessage::text("x"))),
            Err(_) => assert_eq!(give_up_after, Duration::MAX),
        }
        assert!((at_least..=at_most).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn messages_are_tried_as_long_as_the_latest_of_their_request() {
    let world = World::with(0).await;
    let start = Instant::now();
    world.responds(move |_| (start.elapsed() < 32 * SECOND).then(unsent));
    let options = PusherOptions::new().linger(30 * SECOND).give_up_after(20 * SECOND);
    let pusher = Pusher::with_options(world.queue.clone(), options).unwrap();
    let mut receipts = push(&pusher, texts(1)).await;
    sleep(29 * SECOND).await;
    receipts.extend(push(&pusher, texts(1)).await);
    assert_eq!(count(&outcomes(receipts).await), [2, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn failures_that_do_not_pass_return_the_messages_at_once() {
    let failures: [Response; 4] =
        [|| refusal(429, 10251), || refusal(404, 11000), || refusal(401, 10000), || refusal(403, 10000)];
    for fails in failures {
        let world = World::with(0).await;
        world.responds(move |_| Some(fails()));
        let pusher = Pusher::new(world.queue.clone()).unwrap();
        let outcomes = outcomes(push(&pusher, texts(3)).await).await;
        assert_eq!((count(&outcomes), requests(&world)), ([0, 0, 3], vec![3]));
    }
}

#[tokio::test(start_paused = true)]
async fn a_rate_limit_does_not_hide_a_later_refusal() {
    let world = World::with(0).await;
    let start = Instant::now();
    let limited = 10 * SECOND;
    let refused = move || if start.elapsed() < limited { refusal(429, 10250) } else { refusal(404, 11000) };
    world.responds(move |_| Some(refused()));
    let pusher = Pusher::new(world.queue.clone()).unwrap();
    assert_eq!(count(&outcomes(push(&pusher, texts(3)).await).await), [0, 0, 3]);
    assert!((limited..3 * limited).contains(&start.elapsed()), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn one_bad_message_does_not_affect_the_others() {
    for status in [400, 413] {
        let world = World::with(0).await;
        world.responds(move |seen| {
            let messages = seen.body["messages"].as_array().unwrap();
            messages.iter().any(|message| message["body"] == "37").then(|| refusal(status, 10026))
        });
        let pusher = Pusher::new(world.queue.clone()).unwrap();
        let outcomes = outcomes(push(&pusher, texts(100)).await).await;
        assert_eq!(count(&outcomes), [99, 0, 1]);
        assert_eq!(outcomes[37].as_ref().unwrap_err().message, Some(PushMessage::text("37")));
        let unique: HashSet<_> = bodies(&world).into_iter().collect();
        assert_eq!((unique.len(), world.left()), (99, 99));
        assert!(requests(&world).len() <= 15, "{:?}", requests(&world));
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_that_refuses_every_content_gets_at_most_32_requests() {
    let log = Log::new();
    crate::test_log::keep_on();
    let _logging = tracing::subscriber::set_default(log.clone());
    let world = World::with(0).await;
    world.responds(|_| Some(refusal(400, 10026)));
    let pusher = Pusher::new(world.queue.clone()).unwrap();
    assert_eq!(count(&outcomes(push(&pusher, texts(100)).await).await), [0, 0, 100]);
    assert!(requests(&world).len() <= 32, "{}", requests(&world).len());
    assert_eq!(log.lines("pushes are refused").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn push_all_ends_at_the_first_failure_and_accounts_for_all() {
    let failures: [(Response, bool); 2] = [(|| refusal(404, 11000), false), (|| refusal(500, 15000), true)];
    for (fails, may_have_arrived) in failures {
        let world = World::with(0).await;
        world.takes(SECOND);
        world.responds(move |seen| (seen.nth == 7).then(fails));
        let pusher = Pusher::with_options(world.queue.clone(), PusherOptions::new().max_bytes(1_000_000)).unwrap();
        let mut messages = texts(5000);
        let failed = pusher.push_all(&mut messages).await.unwrap_err();
        let lens = [failed.may_have_arrived.len(), failed.not_sent.len()];
        assert_eq!(lens, if may_have_arrived { [100, 0] } else { [0, 100] });
        assert_eq!(world.left(), failed.pushed);
        let rest: Vec<_> = messages.collect();
        assert!(!rest.is_empty(), "no more was taken");
        assert_eq!(failed.pushed + 100 + rest.len(), 5000);
        let again = failed.may_have_arrived.into_iter().chain(failed.not_sent).chain(rest);
        pusher.push_all(again).await.unwrap();
        assert_eq!(bodies(&world).into_iter().collect::<HashSet<_>>().len(), 5000);
        assert_eq!(world.left(), 5000);
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_error_of_push_all_covers_what_others_leave_open() {
    let world = World::with(0).await;
    world.takes(SECOND);
    world.responds(|seen| Some(if seen.nth == 0 { refusal(404, 11000) } else { refusal(500, 15000) }));
    let failed = Pusher::new(world.queue.clone()).unwrap().push_all(texts(200)).await.unwrap_err();
    assert_eq!((failed.error.kind(), failed.error.may_have_arrived()), (ErrorKind::NotFound, true));
    assert_eq!((failed.not_sent.len(), failed.may_have_arrived.len()), (100, 100));
}

#[tokio::test(start_paused = true)]
async fn an_invalid_message_of_an_iterator_is_returned() {
    let world = World::with(0).await;
    let pusher = Pusher::new(world.queue.clone()).unwrap();
    let large = PushMessage::text("x".repeat(128_001));
    let failed = pusher.push_all(texts(150).chain([large.clone()]).chain(texts(150))).await.unwrap_err();
    assert_eq!((failed.pushed, failed.not_sent, failed.error.kind()), (150, vec![large], ErrorKind::InvalidInput));
    assert!(failed.error.may_have_arrived(), "others were pushed");

    let options = PusherOptions::new().linger(Duration::MAX).max_bytes(1 << 20);
    let pusher = Pusher::with_options(world.queue.clone(), options).unwrap();
    let larger = PushMessage::text("x".repeat(1 << 20));
    let all = pusher.push_all(texts(50).chain([larger]));
    assert_eq!(timeout(60 * SECOND, all).await.unwrap().unwrap_err().pushed, 50);
}

#[tokio::test(start_paused = true)]
async fn slow_requests_hold_an_iterator_at_the_bound() {
    let world = World::with(0).await;
    let start = Instant::now();
    world.responds(move |seen| {
        (seen.nth == 0 && start.elapsed() < SECOND).then(|| with_retry_after(refusal(429, 10250), "50"))
    });
    let pusher = Pusher::with_options(world.queue.clone(), PusherOptions::new().max_bytes(1_000_000)).unwrap();
    let taken = Arc::new(Mutex::new(0));
    let counting = Arc::clone(&taken);
    let messages = texts(5000).inspect(move |_| *counting.lock().unwrap() += 1);
    let all = tokio::spawn(async move { pusher.push_all(messages).await });
    sleep(40 * SECOND).await;
    let held = *taken.lock().unwrap() * MESSAGE_BYTES;
    assert!((900_000..=1_001_000).contains(&held), "{held}");
    assert_eq!(all.await.unwrap().unwrap(), 5000);
}

#[tokio::test(start_paused = true)]
async fn outages_cost_few_requests_and_lose_nothing() {
    let world = World::with(0).await;
    let start = Instant::now();
    world.responds(move |_| (start.elapsed() < 300 * SECOND).then(unsent));
    let queue = world.queue_with(|client| client.retry(crate::RetryPolicy::new()));
    let options = PusherOptions::new().give_up_after(Duration::MAX);
    let pusher = Pusher::with_options(queue, options).unwrap();
    let receipts = push(&pusher, texts(3000)).await;
    sleep(300 * SECOND).await;
    let during = requests(&world).len();
    println!("{during} requests in 300 s");
    assert!(during < 400, "{during} requests in 300 s");
    assert_eq!(count(&outcomes(receipts).await), [3000, 0, 0]);
    assert_eq!(world.left(), 3000);
    assert!(start.elapsed() < 400 * SECOND, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn failures_of_messages_whose_receipts_were_dropped_are_logged() {
    let log = Log::new();
    crate::test_log::keep_on();
    let _logging = tracing::subscriber::set_default(log.clone());
    let world = World::with(0).await;
    world.responds(|_| Some(refusal(404, 11000)));
    let pusher = Pusher::new(world.queue.clone()).unwrap();
    for message in texts(1000) {
        drop(pusher.push(message).await.unwrap());
    }
    pusher.close().await;
    let lines = log.lines("messages whose receipts were dropped were not pushed");
    // After 100, 200, 300, 600.
    assert_eq!(lines.len(), 4, "{lines:?}");
}
