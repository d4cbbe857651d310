//! Acknowledgements that fail.

use super::*;
use crate::acker::AckerOptions;
use crate::error::kind::ErrorKind;

#[tokio::test(start_paused = true)]
async fn refused_credentials_for_acknowledgements_end_the_run() {
    for (status, kind) in [(403, ErrorKind::Unauthorized), (401, ErrorKind::Unauthorized), (404, ErrorKind::NotFound)] {
        let world = World::with(5000).await;
        world.takes(20 * MILLI);
        world.responds(move |seen| (seen.operation == "ack").then(|| refusal(status, 10000)));
        let report = run(&world.consumer(), pending::<()>(), |_| async { Verdict::Ack }).await;
        assert_eq!(report.error.as_ref().unwrap().kind(), kind);
        assert_eq!(report.stats.acknowledged, 0);
        assert!(report.stats.unconfirmed > 0 && report.stats.pulled < 2000, "{report:?}");
        assert!(report.stats.last_error.unwrap().contains("ack_messages"));
        assert!(acks(&report.unconfirmed) > 0);
    }
}

#[tokio::test(start_paused = true)]
async fn acknowledgements_without_confirmation_slow_pulling_down() {
    let bare = || Some(success(serde_json::json!({ "ackCount": 0 })));
    let not_success = || {
        let mut refusal = refusal(200, 15000);
        *refusal.status_mut() = http::StatusCode::OK;
        Some(refusal)
    };
    let scripts: [fn() -> Option<http::Response<String>>; 2] = [bare, not_success];
    for script in scripts {
        let world = World::with(5000).await;
        world.takes(20 * MILLI);
        world.responds(move |seen| (seen.operation == "ack").then(script).flatten());
        let consumer = world.consumer();
        let counting = consumer.clone();
        let mut health = None;
        let stop = async {
            sleep(60 * SECOND).await;
            health = Some(counting.health());
        };
        let report = run(&consumer, stop, |_| async { Verdict::Ack }).await;
        assert_eq!(report.stats.acknowledged, 0);
        // At full speed, all of them would have been handled within two seconds.
        assert!(report.stats.pulled < 2000, "{}", report.stats.pulled);
        assert!(report.stats.slowdown > 2, "{report:?}");
        assert_eq!(health.unwrap().status, Status::AcksFail);
    }
}

#[tokio::test(start_paused = true)]
async fn success_without_counts_or_with_warnings_does_not_slow_pulling_down() {
    let uncounted = |_: &serde_json::Value| serde_json::json!({});
    let absent = |_: &serde_json::Value| serde_json::Value::Null;
    let warned = |body: &serde_json::Value| {
        let leases: Vec<_> = body["acks"].as_array().unwrap().iter().map(|entry| &entry["lease_id"]).collect();
        let warnings: serde_json::Map<_, _> =
            leases.iter().map(|lease| (lease.as_str().unwrap().to_owned(), "hm".into())).collect();
        serde_json::json!({ "ackCount": leases.len(), "warnings": warnings })
    };
    let scripts: [fn(&serde_json::Value) -> serde_json::Value; 3] = [uncounted, absent, warned];
    for script in scripts {
        let world = World::with(1500).await;
        world.takes(20 * MILLI);
        world.responds(move |seen| (seen.operation == "ack").then(|| success(script(&seen.body))));
        let consumer = world.consumer();
        let mut health = None;
        let stop = async {
            sleep(5 * SECOND).await;
            health = Some(consumer.health());
        };
        let report = run(&consumer, stop, |_| async { Verdict::Ack }).await;
        let stats = report.stats;
        assert_eq!((stats.pulled, stats.acknowledged + stats.accepted), (1500, 1500), "{stats:?}");
        assert!(stats.acknowledged == 0 || stats.accepted == 0, "{stats:?}");
        assert_eq!((stats.slowdown, report.unconfirmed.len(), health.unwrap().status), (0, 0, Status::Working));
    }
}

#[tokio::test(start_paused = true)]
async fn one_uncounted_lease_of_many_does_not_slow_pulling() {
    // One lease of each request is not counted: the service warns of it, or of none, or of all but it, or of all.
    for warned in [0..1, 0..0, 1..100, 0..100] {
        let world = World::with(800).await;
        world.takes(20 * MILLI);
        let range = warned.clone();
        world.responds(move |seen| {
            let acks = seen.body["acks"].as_array().filter(|_| seen.operation == "ack")?;
            let lease = |entry: &Value| (entry["lease_id"].as_str().unwrap().to_owned(), "hm".into());
            let warnings: serde_json::Map<_, _> = acks.iter().map(lease).collect();
            let warnings: serde_json::Map<_, _> = warnings.into_iter().skip(range.start).take(range.len()).collect();
            let counted = if acks.len() > 3 { acks.len() - 1 } else { acks.len() };
            Some(success(serde_json::json!({ "ackCount": counted, "warnings": warnings })))
        });
        let consumer = world.consumer().concurrency(100);
        let mut health = None;
        let stop = async {
            sleep(5 * SECOND).await;
            health = Some(consumer.health().status);
        };
        let report = run(&consumer, stop, |_| async { Verdict::Ack }).await;
        let Stats { pulled, slowdown, accepted, unconfirmed, .. } = report.stats;
        assert_eq!((pulled, slowdown, health), (800, 0, Some(Status::Working)), "{warned:?}");
        assert!((accepted > 500, unconfirmed > 500) == (warned == (0..1), warned != (0..1)), "{:?}", report.stats);
    }
}

#[tokio::test(start_paused = true)]
async fn reports_hold_ten_thousand_leases_and_count_the_rest() {
    let world = World::with(12_000).await;
    // After the first one, responses are late, and count nothing.
    let is_late = |seen: &Seen| seen.operation == "ack" && seen.nth > 0;
    world.responds(move |seen| is_late(seen).then(|| success(serde_json::json!({ "ackCount": 0 }))));
    world.takes_by(move |seen| if is_late(seen) { 20 * SECOND } else { 10 * MILLI });
    let report = run(&world.consumer().concurrency(1000), sleep(15 * SECOND), |_| async { Verdict::Ack }).await;
    assert!(report.stats.unconfirmed > 10_000, "{}", report.stats.unconfirmed);
    assert_eq!(report.unconfirmed.len(), 10_000);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_acknowledgement_slows_nothing_down() {
    let world = World::with(2000).await;
    world.takes(20 * MILLI);
    world.responds(|seen| (seen.operation == "ack" && seen.nth % 10 == 0).then(|| refusal(503, 0)));
    let report = run(&world.consumer(), sleep(60 * SECOND), |_| async { Verdict::Ack }).await;
    assert_eq!((report.stats.acknowledged, report.stats.slowdown), (2000, 0));
}

#[tokio::test(start_paused = true)]
async fn acknowledgements_that_hang_slow_pulling_down() {
    let world = World::with(10_000).await;
    world.takes_by(|seen| if seen.operation == "ack" { 3600 * SECOND } else { 20 * MILLI });
    let consumer = world.consumer().concurrency(1000);
    let counting = consumer.clone();
    let mut seen = Vec::new();
    let stop = async {
        for _ in 0..2 {
            sleep(40 * SECOND).await;
            seen.push((counting.stats().pulled, counting.health().status));
        }
    };
    let report = run(&consumer, stop, |_| async {}).await;
    assert_eq!(seen.iter().map(|(_, status)| *status).collect::<Vec<_>>(), [Status::AcksFail; 2]);
    assert!(report.stats.pulled < 3000, "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn proxy_pages_for_a_third_of_a_lease_only_delay_acks() {
    for status in [200, 204, 302, 401, 403, 404, 405, 409, 451, 502, 530] {
        let (world, start) = (World::with(50).await, Instant::now());
        world.responds(move |_| {
            let page = || http::Response::builder().status(status).body("<html>log in</html>".to_owned()).unwrap();
            (5..25).contains(&start.elapsed().as_secs()).then(page)
        });
        let handled = Arc::new(Mutex::new(0));
        let counting = Arc::clone(&handled);
        let consumer = Consumer::new(world.queue.clone()).concurrency(5);
        let report = run(&consumer, sleep(3 * MINUTE), move |_| {
            *counting.lock().unwrap() += 1;
            sleep(SECOND)
        })
        .await;
        assert!(report.error.is_none(), "{status}: {:?}", report.error);
        assert_eq!((report.stats.acknowledged, *handled.lock().unwrap(), world.left()), (50, 50, 0), "{status}");
        assert!(report.stats.pull_failures > 0, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn acknowledgements_that_linger_for_long_slow_nothing_down() {
    for linger in [12 * SECOND, Duration::MAX] {
        let world = World::with(50).await;
        let consumer = world.consumer().acker(AckerOptions::new().linger(linger));
        let control = consumer.clone();
        let stop = async {
            for _ in 0..40 {
                sleep(SECOND).await;
                let health = control.health();
                assert_eq!((health.status, control.stats().slowdown), (Status::Working, 0), "{linger:?}");
            }
        };
        assert_eq!(run(&consumer, stop, |_| async {}).await.stats.acknowledged, 50);
    }
    // Full requests do not linger.
    let world = World::with(200).await;
    world.takes_by(|seen| if seen.operation == "ack" { MINUTE } else { 10 * MILLI });
    let consumer = world.consumer().acker(AckerOptions::new().linger(Duration::MAX));
    let control = consumer.clone();
    let stop = async {
        sleep(6 * SECOND).await;
        assert_eq!((control.health().status, control.stats().slowdown), (Status::AcksFail, 1));
    };
    let _ = run(&consumer, stop, |_| async {}).await;
}
