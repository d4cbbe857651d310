//! Handlers, their verdicts, and what happens to messages.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

#[tokio::test(start_paused = true)]
async fn messages_are_acknowledged_in_the_background() {
    let world = World::with(1000).await;
    world.takes_by(|seen| if seen.operation == "ack" { SECOND } else { Duration::ZERO });
    let (started, busiest) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counts = (Arc::clone(&started), Arc::clone(&busiest), Arc::new(AtomicUsize::new(0)));
    let report = run(&world.consumer(), sleep(20 * SECOND), move |_| {
        let (started, busiest, now) = counts.clone();
        async move {
            started.fetch_add(1, Ordering::Relaxed);
            busiest.fetch_max(now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
            sleep(Duration::from_millis(100)).await;
            now.fetch_sub(1, Ordering::Relaxed);
            Verdict::Ack
        }
    })
    .await;
    // 1000 messages of 100 ms, ten at a time, take ten seconds, although an acknowledgement takes one.
    assert_eq!((world.left(), report.stats.acknowledged), (0, 1000));
    assert_eq!((started.load(Ordering::Relaxed), busiest.load(Ordering::Relaxed)), (1000, 10));
    assert_eq!(report.stats.handler_times.quantile(0.99), Duration::from_millis(128));
}

#[tokio::test(start_paused = true)]
async fn failed_and_panicked_handlers_are_retried_by_the_policy() {
    let world = World::with(2).await;
    let start = Instant::now();
    let attempts = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&attempts);
    let consumer = world.consumer().retry_delay(RetryDelay::exponential(10 * SECOND, 15 * SECOND)).max_idle(SECOND);
    let report = run(&consumer, sleep(120 * SECOND), move |message| {
        let number: usize = message.body.json().unwrap();
        seen.lock().unwrap().push((number, start.elapsed().as_secs()));
        assert!(number != 1 || message.attempts > Some(1), "a panic before the first await");
        async move { if message.attempts < Some(3) { Err("not yet") } else { Ok(()) } }
    })
    .await;
    let Stats { acknowledged, retried, panicked, failed, .. } = report.stats;
    assert_eq!((acknowledged, retried, panicked, failed), (2, 4, 1, 4));
    let first: Vec<_> = attempts.lock().unwrap().iter().filter(|(number, _)| *number == 0).map(|(_, at)| *at).collect();
    // The delay counts from when the service accepted the retry; a pull may come a second later.
    assert_eq!(first.len(), 3);
    assert!((10..=12).contains(&first[1]) && (25..=29).contains(&first[2]), "{first:?}");
}

#[tokio::test(start_paused = true)]
async fn retry_delay_functions_run_only_after_failures_and_may_panic() {
    let world = World::with(3).await;
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    let delay = RetryDelay::by(move |failed| {
        let number: u32 = failed.message.body.json().unwrap();
        seen.lock().unwrap().push((number, failed.error.map(str::to_owned)));
        assert_ne!(number, 1, "a panic costs the delay of this message alone");
        Some(600 * SECOND)
    });
    let report = run(&world.consumer().retry_delay(delay), sleep(SECOND), |message| async move {
        let number: u32 = message.body.json().unwrap();
        if number < 2 && message.attempts == Some(1) { Err(format!("{number} fails")) } else { Ok(()) }
    })
    .await;
    let mut asked = asked.lock().unwrap().clone();
    asked.sort();
    assert_eq!(asked, [(0, Some("0 fails".to_owned())), (1, Some("1 fails".to_owned()))]);
    // The second message was redelivered at once, by the queue's own delay, and was then done.
    assert_eq!((report.stats.retried, report.stats.acknowledged, world.left()), (2, 2, 1));
}

#[test]
fn errors_of_handlers_are_printed_in_their_alternate_form() {
    // Those of `anyhow` then include their sources.
    let (error, text) = (serde_json::json!([1]), "[\n  1\n]".to_owned());
    assert_eq!(Err::<(), _>(error.clone()).into_verdict(), Err(text.clone()));
    assert_eq!(Err::<(), _>(error).into_verdicts(1), [Err(text)]);
}

#[tokio::test(start_paused = true)]
async fn retry_delays_are_reduced_to_a_day() {
    let (fixed, by) = (RetryDelay::fixed(Duration::MAX), RetryDelay::by(|_| Some(Duration::MAX)));
    let cases = [(fixed, Err("no")), (by, Err("no")), (RetryDelay::queue(), Ok(Verdict::RetryIn(Duration::MAX)))];
    for (delay, returned) in cases {
        let world = World::with(1).await;
        let consumer = world.consumer().retry_delay(delay);
        let report = run(&consumer, sleep(SECOND), move |_| async move { returned }).await;
        assert_eq!((report.stats.retried, report.stats.unconfirmed), (1, 0));
        assert_eq!(world.seen("ack")[0].body["retries"][0]["delay_seconds"], 86_400);
    }
}

#[tokio::test(start_paused = true)]
async fn leaving_a_message_sends_nothing() {
    let world = World::with(1).await;
    let report = run(&world.consumer(), sleep(30 * SECOND), |_| async { Verdict::Leave }).await;
    assert_eq!((report.stats.left, world.left(), world.seen("ack").len()), (1, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_report_covers_one_run_and_the_stats_cover_all() {
    let world = World::with(10).await;
    let consumer = world.consumer();
    let first = run(&consumer, sleep(SECOND), |_| async {}).await;
    world.push(5).await;
    let second = run(&consumer.clone(), sleep(SECOND), |_| async {}).await;
    assert_eq!((first.stats.acknowledged, second.stats.acknowledged), (10, 5));
    assert_eq!((consumer.stats().acknowledged, consumer.stats().pulled), (15, 15));
    assert_eq!(consumer.stats().handler_times.count(), 15);
}

#[test]
fn every_setting_has_its_documented_default() {
    let set = settings::Settings::default();
    let times = [set.pull.visibility_timeout, set.min_idle, set.max_idle, set.shutdown_timeout, set.flush_timeout];
    assert_eq!(times, [60_000, 100, 10_000, 15_000, 10_000].map(Duration::from_millis));
    assert_eq!([set.max_lease, set.handler_linger, set.handler_timeout], [60 * MINUTE, SECOND, Duration::MAX]);
    assert_eq!([set.concurrency, set.max_bytes, set.handler_batch, set.max_pulls], [10, 64 << 20, 100, 256]);
    assert_eq!((set.pull.batch_size, set.limit, set.failure_threshold), (100, u64::MAX, 0.5));
    assert_eq!((set.max_attempts, set.max_retries, set.until_empty), (None, None, None));
    assert_eq!((set.unsettled, format!("{:?}", set.retry_delay)), (Unsettled::Retry, "Queue".to_owned()));
    assert!(set.dead_letters.is_none() && set.dead_letter_as.is_none() && set.span.is_none());
}

#[tokio::test(start_paused = true)]
async fn every_setting_takes_zero_and_the_maximum() {
    for (number, bytes, time) in [(0, 0, Duration::ZERO), (usize::MAX, usize::MAX, Duration::MAX)] {
        let world = World::with(250).await;
        let consumer = world
            .consumer()
            .concurrency(number)
            .max_pulls(number)
            .max_bytes(bytes)
            .min_idle(time)
            .max_idle(time)
            .max_lease(time)
            .handler_batch_size(number)
            .handler_linger(time)
            .handler_timeout(time)
            .retry_delay(RetryDelay::exponential(time, time))
            .max_attempts(u32::try_from(number).unwrap_or(u32::MAX))
            .failure_threshold(if number == 0 { 0.0 } else { f64::MAX });
        let stop = async {
            while consumer.stats().acknowledged < 250 {
                sleep(10 * MILLI).await;
            }
        };
        let report = run(&consumer, stop, |_| async {}).await;
        assert_eq!((report.stats.acknowledged, world.left()), (250, 0), "{report:?}");
        let stopping = consumer.shutdown_timeout(time).flush_timeout(time);
        let report = run(&stopping, sleep(SECOND), |_| async {}).await;
        assert_eq!(report.stats.pulled, 0);
    }
    let world = World::with(0).await;
    for batch_size in [0, 101, u32::MAX] {
        let refused = world.consumer().batch_size(batch_size).run_until(pending::<()>(), |_| async {}).await;
        assert_eq!(refused.unwrap_err().kind(), crate::ErrorKind::InvalidInput);
    }
    for timeout in [Duration::ZERO, Duration::MAX] {
        let refused = world.consumer().visibility_timeout(timeout).run_until(pending::<()>(), |_| async {}).await;
        assert_eq!(refused.unwrap_err().kind(), crate::ErrorKind::InvalidInput);
    }
    assert!(world.seen("pull").is_empty());
}

#[tokio::test(start_paused = true)]
async fn failing_handlers_slow_down_pulling() {
    let world = World::with(2000).await;
    let consumer = world.consumer().retry_delay(RetryDelay::fixed(3600 * SECOND));
    let start = Instant::now();
    let counting = consumer.clone();
    let slowest = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&slowest);
    let report = run(&consumer, sleep(600 * SECOND), move |_| {
        seen.fetch_max(counting.stats().slowdown as usize, Ordering::Relaxed);
        async move {
            sleep(MILLI).await;
            if start.elapsed() < 60 * SECOND { Err("the database is down") } else { Ok(()) }
        }
    })
    .await;
    // At full speed, all of them would have failed within a second.
    assert!(report.stats.failed < 500, "{report:?}");
    assert_eq!(report.stats.acknowledged + report.stats.failed, 2000);
    assert!(slowest.load(Ordering::Relaxed) > 2);
    assert_eq!(report.stats.slowdown, 0);
}

#[tokio::test(start_paused = true)]
async fn handlers_over_their_timeout_are_dropped_as_failures() {
    for is_batched in [false, true] {
        let world = World::with(3).await;
        let dead = world.emulator.create_queue(EmulatedQueue::new());
        let texts = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&texts);
        let consumer = world
            .consumer()
            .handler_timeout(20 * SECOND)
            .max_attempts(2)
            .dead_letters(world.queue.queues().queue(dead.clone()).unwrap())
            .retry_delay(RetryDelay::by(move |failed| {
                seen.lock().unwrap().push(failed.error.map(str::to_owned));
                Some(Duration::ZERO)
            }));
        let start = Instant::now();
        let stop = async {
            while consumer.stats().dead_lettered < 3 {
                sleep(100 * MILLI).await;
            }
        };
        let report = if is_batched {
            consumer.run_batches_until(stop, |_| sleep(3600 * SECOND)).await.unwrap()
        } else {
            consumer.run_until(stop, |_| sleep(3600 * SECOND)).await.unwrap()
        };
        check(&report);
        assert_eq!((report.stats.failed, report.stats.dead_lettered, report.stats.panicked), (6, 3, 0));
        assert_eq!((world.left(), world.emulator.messages(&dead).len()), (0, 3));
        assert!((40..46).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
        let text = Some("the handler took longer than 20s".to_owned());
        assert_eq!(*texts.lock().unwrap(), [text.clone(), text.clone(), text]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_panics_when_its_timeout_drops_it_is_contained() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("dropped");
        }
    }
    let world = World::with(1).await;
    let consumer = world.consumer().handler_timeout(SECOND).retry_delay(RetryDelay::fixed(3600 * SECOND));
    let report = run(&consumer, sleep(10 * SECOND), |_| async {
        let _bomb = Bomb;
        sleep(3600 * SECOND).await;
    })
    .await;
    assert_eq!((report.stats.panicked, report.stats.retried), (1, 1));
}
