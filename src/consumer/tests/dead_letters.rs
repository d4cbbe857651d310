//! Messages that are moved to another queue.

use serde_json::value::RawValue;

use super::*;
use crate::{
    emulator::JsonBodies,
    message::{body::ContentType, pull::PullOptions},
    queue::ids::QueueId,
};

/// A world, and its dead-letter queue, behind the same network.
async fn world() -> (World, Queue) {
    world_of(Behavior::new())
}

fn world_of(behavior: Behavior) -> (World, Queue) {
    let world = World::of(behavior);
    let dead = world.emulator.create_queue(EmulatedQueue::new());
    let queue = world.queue.queues().queue(dead).unwrap();
    (world, queue)
}

async fn bodies(queue: &Queue) -> Vec<String> {
    let batch = queue.pull(PullOptions::new().batch_size(100)).await.unwrap();
    batch.iter().map(|message| message.body.raw().into_owned()).collect()
}

/// The types and bodies of all messages, as the service has them.
fn stored(world: &World, queue_id: &QueueId) -> Vec<(String, String)> {
    let messages = world.emulator.messages(queue_id).into_iter();
    let content = |body: crate::Body| (body.content_type().to_string(), body.raw().into_owned());
    let mut stored: Vec<_> = messages.map(|message| content(message.body)).collect();
    stored.sort();
    stored
}

#[tokio::test(start_paused = true)]
async fn dead_letters_are_pushed_unchanged_before_they_are_acknowledged() {
    for form in [JsonBodies::Text, JsonBodies::Base64] {
        let (world, dead) = world_of(Behavior::new().json_bodies(form));
        world.takes(SECOND);
        let json = |json: &str| PushMessage::json(&serde_json::from_str::<Box<RawValue>>(json).unwrap()).unwrap();
        let texts = ["t\u{e9}\"\\\n\u{1f980}xt", "", "bm90IGpzb24="].map(PushMessage::text);
        let jsons = [r#"{"b":1.50,"a":[],"b":"\u00e9"}"#, "12345678901234567890.10", "null", "[1e5,-0.0]"].map(json);
        let _ = world.direct.push_all(&[&texts[..], &jsons[..]].concat()).await.unwrap();
        let before = stored(&world, world.emulator.queue_id());
        let consumer = world.consumer().dead_letters(dead.clone());
        let report = run(&consumer, sleep(20 * SECOND), |_| async { Verdict::DeadLetter }).await;
        assert_eq!((report.stats.dead_lettered, report.stats.acknowledged, world.left()), (7, 0, 0));
        assert_eq!((before.len(), stored(&world, dead.id())), (7, before));
        let (pushes, acks) = (world.seen("messages"), world.seen("ack"));
        assert!(acks.iter().all(|ack| pushes.iter().all(|push| ack.at >= push.at + SECOND)), "{acks:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn messages_that_cannot_be_pushed_over_http_are_left_and_counted() {
    for (content_type, body) in [("bytes", "AAEC"), ("v8", "/w8="), ("odd", "x"), ("json", "\"text\"")] {
        let (world, dead) = world().await;
        world.responds(move |seen| {
            let message = serde_json::json!({ "id": "1", "body": body, "attempts": 1, "timestamp_ms": 0,
                "lease_id": "a-lease", "metadata": { "CF-Content-Type": content_type } });
            (seen.operation == "pull" && seen.nth == 0).then(|| success(serde_json::json!({ "messages": [message] })))
        });
        let report = run(&world.consumer().dead_letters(dead), sleep(SECOND), |_| async { Verdict::DeadLetter }).await;
        assert_eq!((report.stats.dead_letter_failures, report.stats.left), (1, 1), "{content_type}");
        assert!(report.stats.last_error.is_some());
        assert_eq!((world.seen("messages").len(), world.seen("ack").len()), (0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_that_cannot_be_pushed_is_not_acknowledged() {
    let (world, dead) = world().await;
    world.push(1).await;
    world.responds(|seen| (seen.operation == "messages").then(|| refusal(503, 0)));
    let consumer = world.consumer().dead_letters(dead);
    let report = run(&consumer, sleep(30 * SECOND), |_| async { Verdict::DeadLetter }).await;
    assert_eq!((report.stats.dead_letter_failures, report.stats.left, world.left()), (1, 1, 1));
    assert!(world.seen("ack").is_empty());
}

#[tokio::test(start_paused = true)]
async fn failed_and_undecodable_messages_become_dead_letters() {
    let (world, dead) = world().await;
    world.push(1).await;
    let _ = world.direct.push(&PushMessage::text("no number")).await.unwrap();
    let consumer = world.consumer().dead_letters(dead.clone()).max_attempts(3).json::<u32>();
    let report = consumer.run_until(sleep(60 * SECOND), |_, _| async { Err::<(), _>("never") }).await.unwrap();
    check(&report);
    let Stats { failed, retried, dead_lettered, undecodable, .. } = report.stats;
    assert_eq!((failed, retried, dead_lettered, undecodable), (3, 2, 2, 1));
    assert_eq!((world.left(), bodies(&dead).await.len()), (0, 2));
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_without_a_queue_is_retried() {
    let (world, _) = world().await;
    world.push(1).await;
    let consumer = world.consumer().retry_delay(RetryDelay::fixed(3600 * SECOND));
    let report = run(&consumer, sleep(5 * SECOND), |_| async { Verdict::DeadLetter }).await;
    assert_eq!((report.stats.retried, world.left()), (1, 1));
}

/// Runs a consumer for which all messages are dead letters, or reads its stream, and looks at it after `looked_at` and
/// at the end.
async fn dead_letter(
    world: &World,
    consumer: Consumer,
    is_stream: bool,
    looked_at: Duration,
    time: Duration,
) -> [(Stats, Status); 2] {
    let look = |consumer: &Consumer<Decoded<u32>>| (consumer.stats(), consumer.health().status);
    let consumer = consumer.json::<u32>();
    let (watched, seen) = (consumer.clone(), Arc::new(Mutex::new(None)));
    let looks = Arc::clone(&seen);
    let stop = async move {
        sleep(looked_at).await;
        *looks.lock().unwrap() = Some(look(&watched));
        sleep(time - looked_at).await;
    };
    if is_stream {
        let mut deliveries = consumer.stream().unwrap();
        tokio::select! {
            next = deliveries.next_batch(1, Duration::ZERO) => panic!("{}", next.is_some()),
            () = stop => {}
        }
        let _ = tokio::time::timeout(4 * SECOND, deliveries.acker().close()).await;
    } else {
        let report = consumer.run_until(stop, |_, _| async {}).await.unwrap();
        check(&report);
    }
    assert!(!world.seen("messages").is_empty());
    let at_the_time = seen.lock().unwrap().take().unwrap();
    [at_the_time, look(&consumer)]
}

#[tokio::test(start_paused = true)]
async fn leases_of_dead_letters_are_extended_until_the_push() {
    for is_stream in [false, true] {
        let (world, dead) = world_of(Behavior::new().late_acks(false));
        world.takes_by(|seen| if seen.operation == "messages" { 25 * SECOND } else { SECOND });
        let _ = world.direct.push(&PushMessage::text("no number")).await.unwrap();
        let consumer = world.consumer().dead_letters(dead.clone()).visibility_timeout(10 * SECOND);
        let [(before, _), (after, _)] = dead_letter(&world, consumer, is_stream, 20 * SECOND, 60 * SECOND).await;
        assert!(before.extended >= 2 && before.undecodable == 1, "{is_stream}: {before:?}");
        assert_eq!((after.pulled, after.dead_lettered, after.lost_leases), (1, 1, 0), "{is_stream}: {after:?}");
        assert_eq!((world.left(), bodies(&dead).await.len()), (0, 1));
        // The acknowledgement was sent as one of a lease that is held.
        let ack = world.seen("ack").pop().unwrap().at;
        assert!(world.seen("extend").iter().all(|extend| extend.at < ack), "{is_stream}");
    }
}

#[tokio::test(start_paused = true)]
async fn dead_letters_whose_push_hangs_are_unsettled() {
    for is_stream in [false, true] {
        let (world, dead) = world().await;
        world.takes_by(|seen| if seen.operation == "messages" { 25 * SECOND } else { Duration::ZERO });
        let _ = world.direct.push(&PushMessage::text("no number")).await.unwrap();
        let consumer = world.consumer().dead_letters(dead);
        let [(hanging, status), (_, after)] =
            dead_letter(&world, consumer.clone(), is_stream, 20 * SECOND, 60 * SECOND).await;
        assert_eq!((hanging.dead_lettered, status), (0, Status::AcksFail), "{is_stream}: {hanging:?}");
        assert!(hanging.slowdown > 0 && consumer.stats().slowdown == 0, "{is_stream}: {hanging:?}");
        assert_ne!(after, Status::AcksFail);
        check_sum(&consumer.stats());
    }
}

#[tokio::test(start_paused = true)]
async fn dead_letters_that_are_being_pushed_count_towards_the_bytes_held() {
    let (world, dead) = world().await;
    world.takes_by(|seen| if seen.operation == "messages" { 25 * SECOND } else { 20 * MILLI });
    let _ = world.direct.push_all(&vec![PushMessage::text("x".repeat(10_000)); 200]).await.unwrap();
    let consumer = world.consumer().dead_letters(dead).max_bytes(100_000);
    let [(hanging, _), (after, _)] = dead_letter(&world, consumer, false, 20 * SECOND, 600 * SECOND).await;
    // The first pull is made before the size of a message is known.
    assert!((5..=15).contains(&hanging.pulled), "{}", hanging.pulled);
    assert_eq!((after.dead_lettered, world.left()), (after.pulled, 200 - after.pulled as usize));
    assert!(after.pulled > 100, "{}", after.pulled);
}

#[tokio::test(start_paused = true)]
async fn each_dead_letter_counts_once_towards_the_bytes_held() {
    let (world, dead) = world().await;
    world.takes_by(|seen| if seen.operation == "messages" { 60 * SECOND } else { 20 * MILLI });
    let _ = world.direct.push_all(&vec![PushMessage::text("no number"); 100]).await.unwrap();
    let _ = world.direct.push_all(&vec![PushMessage::text("no number"); 100]).await.unwrap();
    // Each is taken to have 609 bytes.
    let consumer = world.consumer().dead_letters(dead).max_bytes(100 * 609).batch_size(10).max_pulls(1);
    let [(hanging, _), _] = dead_letter(&world, consumer, false, 30 * SECOND, 90 * SECOND).await;
    assert!((90..=110).contains(&hanging.pulled), "{}", hanging.pulled);
}

#[tokio::test(start_paused = true)]
async fn a_push_that_has_begun_outlasts_a_run_and_a_stream() {
    for is_stream in [false, true] {
        let (world, dead) = world().await;
        world.takes_by(|seen| if seen.operation == "messages" { 25 * SECOND } else { Duration::ZERO });
        let _ = world.direct.push(&PushMessage::text("no number")).await.unwrap();
        let consumer = world.consumer().dead_letters(dead.clone()).visibility_timeout(10 * SECOND);
        let consumer = consumer.shutdown_timeout(2 * SECOND).flush_timeout(2 * SECOND);
        let [_, (stopped, _)] = dead_letter(&world, consumer.clone(), is_stream, SECOND, 2 * SECOND).await;
        assert_eq!((stopped.dead_lettered, world.left(), world.seen("ack").len()), (0, 1, 0), "{is_stream}");
        sleep(30 * SECOND).await;
        assert_eq!((world.left(), bodies(&dead).await.len()), (0, 1), "{is_stream}");
        // The report of a run is final.
        let Stats { left, dead_lettered, lost_leases, .. } = consumer.stats();
        assert_eq!((left, dead_lettered, lost_leases), if is_stream { (0, 1, 0) } else { (1, 0, 0) });
        check_sum(&consumer.stats());
    }
}

#[tokio::test(start_paused = true)]
async fn dropped_runs_finish_dead_letters_and_extend_nothing_else() {
    let (world, dead) = world().await;
    world.takes_by(|seen| if seen.operation == "messages" { 25 * SECOND } else { Duration::ZERO });
    world.push(30).await;
    let calls = std::sync::atomic::AtomicUsize::new(0);
    let handler = move |_| {
        let is_first = calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0;
        async move { if is_first { Verdict::DeadLetter } else { pending().await } }
    };
    let consumer = world.consumer().concurrency(2).unsettled(Unsettled::Leave).visibility_timeout(10 * SECOND);
    let consumer = consumer.dead_letters(dead.clone());
    assert!(tokio::time::timeout(SECOND, run(&consumer, pending::<()>(), handler)).await.is_err());
    check_sum(&consumer.stats());
    sleep(60 * SECOND).await;
    let extended = world.seen("extend");
    let leases = |seen: &Seen| seen.body["extend"].as_array().map_or(0, Vec::len);
    assert!(!extended.is_empty() && extended.iter().all(|seen| leases(seen) <= 1), "{extended:?}");
    assert_eq!((world.left(), bodies(&dead).await.len()), (29, 1));
}

/// The dead letters of these messages, each handled as its body says.
async fn letters(
    world: &World,
    messages: impl IntoIterator<Item = PushMessage>,
    set: impl Fn(Consumer) -> Consumer,
) -> Vec<Body> {
    let messages: Vec<_> = messages.into_iter().collect();
    let _ = world.direct.push_all(&messages).await.unwrap();
    let dead = world.emulator.create_queue(EmulatedQueue::new());
    let queue = world.direct.queues().queue(dead.clone()).unwrap();
    let consumer = set(world.consumer().max_attempts(1).dead_letters(queue.clone()));
    let handler = |number: u32, _message| async move {
        match number {
            0 => Ok(Verdict::DeadLetter),
            1 => panic!("on purpose"),
            _ => Err("no such customer".repeat(1000)),
        }
    };
    let report = consumer.json().run_until(sleep(10 * SECOND), handler).await.unwrap();
    check(&report);
    assert_eq!((report.stats.dead_lettered, world.left()), (messages.len() as u64, 0));
    let pulled = queue.pull(PullOptions::new().batch_size(100)).await.unwrap();
    pulled.into_iter().map(|message| message.body).collect()
}

fn each_reason() -> [PushMessage; 4] {
    let numbers = [0, 1, 2].map(|number| PushMessage::json(&number).unwrap());
    let [verdict, panics, fails] = numbers;
    [verdict, panics, fails, PushMessage::text("no \"number\"")]
}

#[tokio::test(start_paused = true)]
async fn a_wrapped_dead_letter_says_why_and_holds_the_original() {
    for json_bodies in [JsonBodies::Text, JsonBodies::Base64] {
        let world = World::of(Behavior::new().json_bodies(json_bodies));
        let bodies = letters(&world, each_reason(), |consumer| consumer.dead_letter_as(DeadLetter::wrap)).await;
        let letters: Vec<_> = bodies.iter().map(|body| DeadLetter::read(body).unwrap()).collect();
        for (original, reason) in each_reason().iter().zip(["verdict", "panicked", "failed", "undecodable"]) {
            let letter = letters.iter().find(|letter| letter.reason == reason).unwrap();
            assert_eq!(&PushMessage::from_body(&letter.body).unwrap(), original);
            assert!(!letter.id.is_empty() && letter.attempts == Some(1));
            match letter.error.as_deref() {
                None => assert!(["verdict", "panicked"].contains(&reason)),
                Some(error) if reason == "failed" => {
                    assert!(error.starts_with("no such customer") && error.len() == 1000);
                }
                Some(error) => assert!(error.contains("the body is not JSON"), "{error}"),
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn letters_of_undecodable_messages_say_why_whatever_was_decided() {
    for returned in [Ok(Verdict::DeadLetter), Err("not now")] {
        let (world, dead) = world().await;
        world.push(1).await;
        let consumer = world.consumer().max_attempts(1).dead_letters(dead.clone()).dead_letter_as(DeadLetter::wrap);
        let consumer = consumer.decode::<u32>(|_| Err("of another version".into()));
        let consumer = consumer.on_undecodable(move |_, _| async move { returned });
        check(&consumer.run_until(sleep(SECOND), |_, _| async {}).await.unwrap());
        let letter = DeadLetter::read(&dead.pull(PullOptions::new()).await.unwrap().messages[0].body).unwrap();
        assert_eq!(letter.reason, "undecodable");
        assert!(letter.error.as_ref().unwrap().contains("of another version"), "{:?}", letter.error);
    }
}

#[tokio::test(start_paused = true)]
async fn dead_letters_are_unchanged_without_a_function() {
    let world = World::with(0).await;
    let bodies = letters(&world, each_reason(), |consumer| consumer).await;
    let letters: Vec<_> = bodies.iter().map(|body| PushMessage::from_body(body).unwrap()).collect();
    assert!(each_reason().iter().all(|message| letters.contains(message)), "{letters:?}");
    assert!(bodies.iter().all(|body| DeadLetter::read(body).is_none()));
}

#[tokio::test(start_paused = true)]
async fn dead_letters_too_large_to_wrap_are_pushed_unwrapped() {
    let world = World::with(0).await;
    let large = PushMessage::text("x".repeat(127_990));
    let bodies = letters(&world, [large.clone()], |consumer| consumer.dead_letter_as(DeadLetter::wrap)).await;
    assert_eq!(bodies, [large.body().clone()]);
}

#[tokio::test(start_paused = true)]
async fn a_function_that_panics_loses_no_dead_letter() {
    let world = World::with(0).await;
    let bodies = letters(&world, each_reason(), |consumer| consumer.dead_letter_as(|_, _| panic!("on purpose"))).await;
    assert_eq!(bodies.len(), 4);
}

#[test]
fn bodies_that_cannot_be_pushed_can_be_wrapped() {
    for content_type in [ContentType::Bytes, ContentType::V8] {
        let mut message = crate::testing::message(PushMessage::text("AQ=="));
        message.body = Body::new(message.body.wire().clone(), content_type.clone());
        assert!(PushMessage::from_body(&message.body).is_err());
        let letter = DeadLetter::wrap(&message, &Reason::Verdict).unwrap();
        assert_eq!(DeadLetter::read(letter.body()).unwrap().body, message.body);
    }
    for other in ["7", "{}", r#"{"cloudflare_queues_dead_letter":7}"#] {
        let other = PushMessage::json(&serde_json::value::RawValue::from_string(other.to_owned()).unwrap()).unwrap();
        assert!(DeadLetter::read(other.body()).is_none());
    }
}
