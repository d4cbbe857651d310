//! What is counted, and what the health says of a consumer and of its runs.

use super::*;

#[test]
fn quantiles_are_the_bound_of_their_bucket() {
    let mut times = HandlerTimes::default();
    assert_eq!((times.quantile(0.5), times.count()), (Duration::ZERO, 0));
    for (count, time) in [(50, 3 * MILLI), (40, 100 * MILLI), (10, Duration::MAX)] {
        (0..count).for_each(|_| times.record(time));
    }
    assert_eq!(times.count(), 100);
    let longest = 1 << 31;
    for (share, below) in [(-1.0, 4), (0.0, 4), (0.5, 4), (0.51, 128), (0.9, 128), (0.91, longest), (2.0, longest)] {
        assert_eq!(times.quantile(share), below * MILLI, "{share}");
    }
}

#[tokio::test(start_paused = true)]
async fn each_pull_is_counted_by_what_it_returned() {
    let world = World::with(0).await;
    world.responds(|seen| {
        let message = |number: i32| {
            // Every second one has no lease.
            let lease = if number % 2 == 0 { Value::Null } else { format!("lease-{number}").into() };
            serde_json::json!({ "id": number.to_string(), "lease_id": lease, "body": "1", "attempts": 1 })
        };
        match (seen.operation.as_str(), seen.nth) {
            ("pull", 0 | 1) => {
                let messages: Vec<_> = (0..6).map(|number| message(number + 6 * seen.nth as i32)).collect();
                Some(success(serde_json::json!({ "message_backlog_count": 40 + seen.nth, "messages": messages })))
            }
            ("pull", 4) => Some(refusal(401, 10000)),
            _ => None,
        }
    });
    let consumer = world.consumer();
    let report = run(&consumer, pending::<()>(), |_| async { Verdict::Leave }).await;
    for stats in [report.stats, consumer.stats()] {
        assert_eq!((stats.pulls, stats.empty_pulls, stats.pull_failures), (4, 2, 1));
        assert_eq!((stats.pulled, stats.without_lease, stats.left), (6, 6, 6));
        assert!(stats.last_error.unwrap().contains("401"));
    }
}

#[tokio::test(start_paused = true)]
async fn health_tells_how_long_ago_a_pull_last_succeeded() {
    let (world, start) = (World::with(0).await, Instant::now());
    let consumer = world.consumer().max_idle(SECOND);
    assert_eq!(consumer.health().last_pull, None);
    world.responds(move |_| (start.elapsed() > 10 * SECOND).then(|| refusal(503, 0)));
    let mut health = None;
    let stop = async {
        sleep(30 * SECOND).await;
        health = Some(consumer.health());
    };
    let _ = run(&consumer, stop, |_| async {}).await;
    let last = health.unwrap().last_pull.unwrap();
    assert!((19..=21).contains(&last.as_secs()), "{last:?}");
}

#[tokio::test(start_paused = true)]
async fn dropped_and_ended_runs_do_not_count_as_running() {
    let world = World::with(0).await;
    let consumer = world.consumer();
    let other = consumer.clone();
    let lasting = tokio::spawn(async move { run(&other, sleep(10 * SECOND), |_| async {}).await });
    let _ = run(&consumer, sleep(SECOND), |_| async {}).await;
    let dropped = tokio::time::timeout(SECOND, consumer.run_until(pending::<()>(), |_| async {})).await;
    assert!(dropped.is_err());
    assert_eq!(consumer.health().status, Status::Working, "the first one still runs");
    let _ = lasting.await.unwrap();
    assert_eq!(consumer.health().status, Status::Stopped);
}

#[tokio::test(start_paused = true)]
async fn unconfirmed_acknowledgements_show_in_the_health_of_a_run() {
    let world = World::with(3000).await;
    world.responds(|seen| (seen.operation == "ack").then(|| success(serde_json::json!({ "ackCount": 0 }))));
    let consumer = world.consumer();
    let mut health = None;
    let stop = async {
        sleep(60 * SECOND).await;
        health = Some(consumer.health());
    };
    let report = run(&consumer, stop, |_| async {}).await;
    assert!(report.stats.unconfirmed > 0 && report.stats.acknowledged == 0);
    let health = health.unwrap();
    assert_eq!(health.status, Status::AcksFail);
    assert!(health.lasting > 50 * SECOND, "{health:?}");
}

#[tokio::test(start_paused = true)]
async fn all_messages_of_a_batch_have_the_verdict_on_it() {
    for (verdict, parts) in [(Verdict::Ack, (7, 0, 0)), (Verdict::Retry, (0, 7, 0)), (Verdict::Leave, (0, 0, 7))] {
        let world = World::with(7).await;
        let consumer = world.consumer().handler_linger(MILLI).retry_delay(RetryDelay::fixed(3600 * SECOND));
        let consumer = consumer.max_idle(SECOND);
        let is_first = Arc::new(std::sync::atomic::AtomicBool::new(true));
        let report = consumer.run_batches_until(sleep(SECOND / 2), move |_| {
            let is_first = is_first.swap(false, std::sync::atomic::Ordering::Relaxed);
            async move { if is_first { verdict } else { Verdict::Leave } }
        });
        let Stats { acknowledged, retried, left, failed, .. } = report.await.unwrap().stats;
        assert!((acknowledged, retried) == (parts.0, parts.1) && left >= parts.2 && failed == 0);
    }
}
