//! When pulls are sent, and how many messages they request.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::error::kind::ErrorKind;

fn sizes(world: &World) -> Vec<u64> {
    world.seen("pull").iter().map(|seen| seen.body["batch_size"].as_u64().unwrap()).collect()
}

#[tokio::test(start_paused = true)]
async fn an_empty_queue_is_polled_less_and_less_often() {
    let world = World::with(0).await;
    let start = Instant::now();
    let stop = async {
        sleep(4 * SECOND).await;
        world.push(300).await;
        sleep(SECOND).await;
    };
    let _ = run(&world.consumer().max_idle(200 * MILLI), stop, |_| async { Verdict::Ack }).await;
    let at: Vec<_> = world.seen("pull").iter().map(|seen| (seen.at - start).as_millis()).collect();
    // A sixteenth of the time without a message.
    let is_expected = |at: &[u128]| (at[1] - at[0]).abs_diff((at[0] / 16).clamp(100, 200)) < 10;
    assert!(at.windows(2).take_while(|at| at[1] < 4000).all(is_expected), "{at:?}");
    assert!(at.iter().filter(|at| (4000..4210).contains(*at)).count() >= 4, "{at:?}");
    assert_eq!(world.left(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_empty_queue_is_polled_every_ten_seconds() {
    // The growing pauses of the first 160 s, and then one pull every 10 or 11.2 s.
    for (round_trip, least, most) in [(1200, 330, 350), (20, 420, 440)] {
        let world = World::with(0).await;
        world.takes(round_trip * MILLI);
        let report = run(&world.consumer().concurrency(1000), sleep(3600 * SECOND), |_| async {}).await;
        let pulls = world.seen("pull").len();
        assert!((least..=most).contains(&pulls), "{pulls}");
        assert_eq!(report.stats.empty_pulls, report.stats.pulls);
    }
}

/// How long it takes at the median until a message is handled that arrives so long after the last one.
async fn noticed_after(idle: Duration) -> Duration {
    let mut times = Vec::new();
    for moment in 0..10 {
        let world = World::with(1).await;
        world.takes(20 * MILLI);
        let (handled, mut is_handled) = tokio::sync::mpsc::unbounded_channel();
        let stop = async {
            is_handled.recv().await;
            sleep(idle + SECOND * moment).await;
            let pushed = Instant::now();
            world.push(1).await;
            is_handled.recv().await;
            times.push(pushed.elapsed());
        };
        let handler = move |_| {
            handled.send(()).unwrap();
            async {}
        };
        let _ = run(&world.consumer(), stop, handler).await;
    }
    times.sort();
    times[5]
}

#[tokio::test(start_paused = true)]
async fn messages_a_minute_apart_are_noticed_within_two_seconds() {
    for idle in [5, 50] {
        let noticed = noticed_after(idle * SECOND).await;
        assert!(noticed <= 2 * SECOND, "{noticed:?} after {idle} s");
    }
}

#[tokio::test(start_paused = true)]
async fn only_what_can_start_within_its_lease_is_leased() {
    let world = World::with(500).await;
    let consumer = world.consumer().concurrency(2);
    let report = run(&consumer, sleep(600 * SECOND), |_| async {
        sleep(20 * SECOND).await;
        Verdict::Ack
    })
    .await;
    assert_eq!((report.stats.expired, report.stats.lost_leases), (0, 0));
    assert!(sizes(&world).iter().all(|size| *size <= 3), "{:?}", sizes(&world));
    assert!((58..=62).contains(&report.stats.acknowledged), "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn a_message_whose_lease_expired_before_its_start_is_skipped() {
    let world = World::with(100).await;
    world.takes(SECOND);
    let calls = AtomicUsize::new(0);
    let consumer = world.consumer().concurrency(1).shutdown_timeout(Duration::ZERO).max_lease(Duration::ZERO);
    let report = run(&consumer, sleep(100 * SECOND), move |_| {
        // Quick at first, so that many are prefetched, and then slow.
        let time = if calls.fetch_add(1, Ordering::Relaxed) < 4 { Duration::ZERO } else { 90 * SECOND };
        async move {
            sleep(time).await;
            Verdict::Ack
        }
    })
    .await;
    assert!(report.stats.expired > 1, "{report:?}");
    assert_eq!(report.stats.lost_leases, 1);
}

#[tokio::test(start_paused = true)]
async fn only_a_permanent_failure_ends_the_run() {
    let world = World::with(1).await;
    let start = Instant::now();
    world.responds(move |seen| match (seen.operation.as_str(), start.elapsed().as_secs()) {
        ("pull", 0) => Some(with_retry_after(refusal(429, 10250), "61")),
        ("pull", 130..) => Some(refusal(401, 10000)),
        _ => None,
    });
    let report = run(&world.consumer(), pending::<()>(), |_| async {}).await;
    assert_eq!((report.stats.acknowledged, report.stats.pull_failures), (1, 2));
    assert_eq!(report.stats.rate_limited_pulls, 1);
    assert_eq!(report.error.unwrap().kind(), ErrorKind::Unauthorized);
    let pulls = world.seen("pull");
    assert!(pulls[1].at - pulls[0].at >= 61 * SECOND, "the service asked for that");
}

#[tokio::test(start_paused = true)]
async fn few_pulls_after_a_backlog_are_empty() {
    let world = World::with(8000).await;
    world.takes(1200 * MILLI);
    let consumer = world.consumer().concurrency(1000);
    let most = Arc::new(AtomicUsize::new(0));
    let (seen, counting) = (Arc::clone(&most), consumer.clone());
    let stats = consumer.clone();
    let stop = async move {
        while stats.stats().handler_times.count() < 8000 {
            seen.fetch_max(counting.stats().pulls_in_flight as usize, Ordering::Relaxed);
            sleep(10 * MILLI).await;
        }
        sleep(10 * MILLI).await;
        seen.fetch_max(counting.stats().pulls_in_flight as usize, Ordering::Relaxed);
        // Until the last of the pulls that were in flight is back.
        sleep(1140 * MILLI).await;
    };
    let report = run(&consumer, stop, |_| sleep(10 * MILLI)).await;
    assert_eq!(report.stats.acknowledged, 8000);
    let most = most.load(Ordering::Relaxed) as u64;
    assert!(report.stats.empty_pulls <= most * 9 / 8, "{} empty, {most} in flight", report.stats.empty_pulls);
}

#[tokio::test(start_paused = true)]
async fn large_messages_are_held_within_the_bound_of_bytes() {
    let world = World::with(0).await;
    let large = PushMessage::text("x".repeat(5000));
    for _ in 0..40 {
        let _ = world.direct.push_all(&vec![large.clone(); 10]).await.unwrap();
    }
    world.takes(1200 * MILLI);
    let consumer = world.consumer().concurrency(1000).max_bytes(1 << 19);
    let held = Arc::new(AtomicUsize::new(0));
    let most = Arc::clone(&held);
    let counting = consumer.clone();
    let report = run(&consumer, sleep(60 * SECOND), move |_| {
        let stats = counting.stats();
        most.fetch_max((stats.waiting + stats.handlers_running) as usize, Ordering::Relaxed);
        sleep(100 * MILLI)
    })
    .await;
    let held = held.load(Ordering::Relaxed) * 5000;
    assert!(held <= 1 << 19, "{held}");
    assert_eq!(report.stats.acknowledged, 400);
}

#[tokio::test(start_paused = true)]
async fn slow_handlers_with_half_the_bytes_idle_no_other() {
    let world = World::with(100).await;
    world.takes(100 * MILLI);
    // Nine messages fit, of which five stay for long.
    let consumer = world.consumer().concurrency(10).max_bytes(9 * 610).shutdown_timeout(Duration::ZERO);
    let report = run(&consumer, sleep(60 * SECOND), |message| {
        let is_slow = message.body.json::<usize>().unwrap() < 5;
        sleep(if is_slow { 600 * SECOND } else { SECOND })
    })
    .await;
    assert_eq!(report.stats.acknowledged, 95);
}

#[tokio::test(start_paused = true)]
async fn a_rate_limit_inside_a_pull_makes_later_ones_rarer() {
    for is_limited in [false, true] {
        let world = World::with(16_000).await;
        world.takes(200 * MILLI);
        let start = Instant::now();
        world.responds(move |request| {
            let is_late = request.operation == "pull" && (600..800).contains(&start.elapsed().as_millis());
            (is_limited && is_late).then(|| refusal(429, 10250))
        });
        let report = run(&world.consumer().concurrency(1000), sleep(2400 * MILLI), |_| sleep(10 * MILLI)).await;
        assert_eq!(report.stats.rate_limited_pulls > report.stats.pull_failures, is_limited, "{report:?}");
        let late = world.seen("pull").iter().filter(|seen| seen.at - start >= 1400 * MILLI).count();
        // 50 a second, or at first four fifths of that.
        assert_eq!(late < 47, is_limited, "{late}");
    }
}

#[tokio::test(start_paused = true)]
async fn instant_handlers_do_not_cause_unbounded_prefetch() {
    let world = World::with(20_000).await;
    world.takes(10 * MILLI);
    let consumer = world.consumer().concurrency(10);
    let (counting, most, calls) = (consumer.clone(), Arc::new(AtomicUsize::new(0)), AtomicUsize::new(0));
    let seen = Arc::clone(&most);
    let _ = run(&consumer, sleep(5 * SECOND), move |_| {
        seen.fetch_max(counting.stats().waiting as usize, Ordering::Relaxed);
        // How long the others take is known only after a second.
        let is_first = calls.fetch_add(1, Ordering::Relaxed) < 300;
        sleep(if is_first { Duration::ZERO } else { SECOND })
    })
    .await;
    let most = most.load(Ordering::Relaxed);
    assert!((100..=2000).contains(&most), "{most}");
}

#[tokio::test(start_paused = true)]
async fn messages_for_two_round_trips_are_prefetched() {
    let world = World::with(2000).await;
    world.takes(500 * MILLI);
    // 100 messages a second.
    let consumer = world.consumer().concurrency(10);
    let (most, seen, counting) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)), consumer.clone());
    let counted = Arc::clone(&most);
    let _ = run(&consumer, sleep(15 * SECOND), move |_| {
        // Not those at the start, when the time of a handler is not known.
        if seen.fetch_add(1, Ordering::Relaxed) > 500 {
            most.fetch_max(counting.stats().waiting as usize, Ordering::Relaxed);
        }
        sleep(100 * MILLI)
    })
    .await;
    // Half of them wait, and the others are on their way.
    let most = counted.load(Ordering::Relaxed);
    assert!((50..=110).contains(&most), "{most}");
}

#[tokio::test(start_paused = true)]
async fn further_pulls_ask_for_at_least_half_of_what_is_wanted() {
    let world = World::with(2000).await;
    world.takes(500 * MILLI);
    let _ = run(&world.consumer().concurrency(10), sleep(15 * SECOND), |_| sleep(100 * MILLI)).await;
    // Not those at the start, when it is not known how fast handlers are.
    let (first, later) = (sizes(&world)[0], sizes(&world).split_off(8));
    assert!(first == 10 && later.iter().all(|size| *size >= 50), "{later:?}");

    let world = World::with(200).await;
    // Fifteen messages fit, of which handlers hold ten.
    let consumer = world.consumer().concurrency(10).max_bytes(15 * 605);
    let (counting, busy) = (consumer.clone(), Arc::new(Mutex::new(Vec::new())));
    let asked = Arc::clone(&busy);
    world.responds(move |seen| {
        if seen.operation == "pull" && counting.stats().handlers_running == 10 {
            asked.lock().unwrap().push(seen.body["batch_size"].as_u64().unwrap());
        }
        None
    });
    let report = run(&consumer, sleep(60 * SECOND), |_| sleep(SECOND)).await;
    assert_eq!((report.stats.acknowledged, busy.lock().unwrap().as_slice()), (200, [].as_slice()));
}

#[tokio::test(start_paused = true)]
async fn messages_over_max_bytes_are_handled_one_by_one() {
    let world = World::with(20).await;
    world.takes_by(|seen| if seen.operation == "ack" { SECOND } else { 20 * MILLI });
    let consumer = world.consumer().concurrency(5).max_bytes(1);
    let (counting, calls, most) = (consumer.clone(), AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
    let held = Arc::clone(&most);
    let report = run(&consumer, sleep(120 * SECOND), move |_| {
        let stats = counting.stats();
        // The sizes of the first ones are not known.
        if calls.fetch_add(1, Ordering::Relaxed) >= 5 {
            held.fetch_max((stats.pulled - stats.acknowledged) as usize, Ordering::Relaxed);
        }
        sleep(SECOND)
    })
    .await;
    assert_eq!((report.stats.acknowledged, most.load(Ordering::Relaxed)), (20, 1));
}

#[tokio::test(start_paused = true)]
async fn an_empty_pull_makes_pauses_after_failures_short_again() {
    let world = World::with(0).await;
    let fails = |nth| nth < 12 || nth == 14;
    world.responds(move |seen| (seen.operation == "pull" && fails(seen.nth)).then(|| refusal(503, 0)));
    let _ = run(&world.consumer().max_idle(60 * MINUTE), sleep(30 * MINUTE), |_| async {}).await;
    let pulls = world.seen("pull");
    assert!(pulls[15].at - pulls[14].at < MINUTE, "{:?}", pulls[15].at - pulls[14].at);
}
