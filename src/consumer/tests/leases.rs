//! Leases that are extended while handlers work.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::time::timeout;

use super::*;
use crate::emulator::{ExtendFrom, UnknownLease};

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn a_handler_of_ten_minutes_gets_its_message_once() {
    for fails in [false, true] {
        let world = World::with(20).await;
        world.takes(1200 * MILLI);
        world
            .responds(move |seen| (fails && seen.operation == "extend" && seen.nth % 10 == 0).then(|| refusal(400, 1)));
        let handled = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&handled);
        let report = run(&world.consumer().concurrency(20), sleep(30 * MINUTE), move |message| {
            seen.lock().unwrap().push(message.attempts);
            async move {
                sleep(10 * MINUTE).await;
                assert!(!message.lease().is_lost());
            }
        })
        .await;
        assert_eq!((report.stats.acknowledged, report.stats.lost_leases, world.left()), (20, 0, 0));
        assert_eq!(*handled.lock().unwrap(), [Some(1); 20]);
        assert!(report.stats.extended >= 20 * 10, "{}", report.stats.extended);
        // Each time, all of them in one request, and a few more where one is refused.
        let requests = world.seen("extend").len();
        assert!((10..=if fails { 100 } else { 25 }).contains(&requests), "{requests}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_extension_that_panics_costs_no_lease() {
    let world = World::with(20).await;
    world.responds(|seen| {
        assert!(seen.operation != "extend" || seen.nth > 0, "a panic");
        None
    });
    let report = run(&world.consumer().concurrency(20), sleep(5 * MINUTE), |_| sleep(3 * MINUTE)).await;
    assert_eq!((report.stats.acknowledged, report.stats.lost_leases, world.left()), (20, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_extended_for_as_long_as_the_heartbeat_allows() {
    for (heartbeat, lost_after) in [(Duration::ZERO, 60), (5 * MINUTE, 340)] {
        let world = World::with(1).await;
        let lost_at = Arc::new(Mutex::new(None));
        let (seen, start) = (Arc::clone(&lost_at), Instant::now());
        let consumer = world.consumer().concurrency(1).heartbeat(heartbeat);
        let report = run(&consumer, sleep(9 * MINUTE), move |message| {
            let seen = Arc::clone(&seen);
            async move {
                if message.attempts == Some(1) {
                    message.lease().lost().await;
                    seen.lock().unwrap().get_or_insert(start.elapsed().as_secs());
                    pending::<()>().await;
                }
            }
        })
        .await;
        let lost_at = lost_at.lock().unwrap().unwrap();
        assert!(lost_at.abs_diff(lost_after) <= 20, "{heartbeat:?}: {lost_at}");
        assert_eq!(report.stats.lost_leases, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_handler_learns_of_a_refused_extension() {
    let behaviors =
        [Behavior::new().repeated_extends(false), Behavior::new().repeated_extends(false).acks_after_extend(false)];
    for behavior in behaviors {
        let world = World::of(behavior);
        world.push(1).await;
        let consumer = world.consumer();
        let start = Instant::now();
        let report = run(&consumer, sleep(8 * MINUTE), move |message| async move {
            if message.attempts == Some(1) {
                message.lease().lost().await;
                // As long as was certain, and no longer.
                assert!(start.elapsed() < 3 * MINUTE, "{:?}", start.elapsed());
            }
        })
        .await;
        assert_eq!((report.stats.lost_leases, report.stats.panicked), (1, 0), "{report:?}");
    }
}

/// What is not known of extensions, each of it one way or the other.
#[derive(Debug)]
struct Switches {
    acks_after_extend: bool,
    repeated_extends: bool,
    counts: bool,
    is_capped: bool,
    behavior: Behavior,
}

fn switches() -> impl Iterator<Item = Switches> {
    let unknown = [UnknownLease::Warn, UnknownLease::Ignore, UnknownLease::Reject];
    (0..1 << 8).flat_map(move |number: u32| unknown.map(|unknown| (number, unknown))).map(|(number, unknown)| {
        let is = |bit: u32| number >> bit & 1 == 1;
        let (acks_after_extend, repeated_extends, counts, is_capped) = (is(0), is(1), is(2), is(3));
        let behavior = Behavior::new()
            .acks_after_extend(acks_after_extend)
            .repeated_extends(repeated_extends)
            .counts(counts)
            .max_lease(if is_capped { 2 * MINUTE } else { 720 * MINUTE })
            .late_extends(is(4))
            .shortening_extends(is(5))
            .late_acks(is(6))
            .extend_from(if is(7) { ExtendFrom::Now } else { ExtendFrom::LeaseEnd })
            .unknown_leases(unknown);
        Switches { acks_after_extend, repeated_extends, counts, is_capped, behavior }
    })
}

#[tokio::test(start_paused = true)]
async fn under_every_switch_of_extend_a_lease_is_kept_or_known_to_be_lost() {
    for switches in switches() {
        let world = World::of(switches.behavior.clone());
        world.push(1).await;
        world.takes(1200 * MILLI);
        let (given, told) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (gives, tells) = (Arc::clone(&given), Arc::clone(&told));
        let consumer = world.consumer().min_idle(15 * SECOND).max_idle(MINUTE);
        let report = run(&consumer, sleep(5 * MINUTE), move |message| {
            gives.fetch_add(1, Ordering::Relaxed);
            let tells = Arc::clone(&tells);
            async move {
                if message.attempts == Some(1) && timeout(150 * SECOND, message.lease().lost()).await.is_ok() {
                    tells.fetch_add(1, Ordering::Relaxed);
                }
            }
        })
        .await;
        let (given, told) = (given.load(Ordering::Relaxed), told.load(Ordering::Relaxed));
        let Switches { acks_after_extend, repeated_extends, counts, is_capped, .. } = switches;
        assert!(report.stats.acknowledged <= 1 - world.left() as u64, "an untrue one: {switches:?} {report:?}");
        // Without the count, it is not certain that a lease was extended.
        let is_certain = repeated_extends && counts;
        assert!(is_capped || (told == 0) == is_certain, "{switches:?} {report:?}");
        if is_certain && acks_after_extend && !is_capped {
            assert_eq!((given, report.stats.acknowledged), (1, 1), "{switches:?} {report:?}");
        }
    }
}

/// Refuses extensions that include one of `bad` messages, which are this far apart among those that handlers see, and
/// ends handlers late.
async fn run_with_bad_leases(apart: usize, bad: usize, round_trip: Duration) -> (World, Report) {
    let world = World::with(100).await;
    world.takes(round_trip);
    let found = Arc::new(Mutex::new(Vec::new()));
    let refused = Arc::clone(&found);
    world.responds(move |seen| {
        let refused: std::sync::MutexGuard<'_, Vec<String>> = refused.lock().unwrap();
        let body = seen.body.to_string();
        let is_bad = seen.operation == "extend" && refused.iter().any(|lease| body.contains(lease));
        is_bad.then(|| refusal(400, 10026))
    });
    let consumer = world.consumer().concurrency(100);
    let handled = AtomicUsize::new(0);
    let report = run(&consumer, sleep(8 * MINUTE), move |message| {
        let mut found = found.lock().unwrap();
        if handled.fetch_add(1, Ordering::Relaxed).is_multiple_of(apart) && found.len() < bad {
            found.push(message.lease_id.expose_secret().into_owned());
        }
        sleep(if message.attempts == Some(1) { 150 * SECOND } else { Duration::ZERO })
    })
    .await;
    (world, report)
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_cannot_be_extended_does_not_affect_others() {
    for round_trip in [Duration::ZERO, 20 * MILLI, 600 * MILLI, 2400 * MILLI] {
        for bad in [1, 2] {
            let (world, report) = run_with_bad_leases(1, bad, round_trip).await;
            let Stats { lost_leases, unconfirmed, pulled, .. } = report.stats;
            let expected = (bad as u64, bad as u64, 100 + bad as u64, 0);
            assert_eq!((lost_leases, unconfirmed, pulled, world.left()), expected, "{round_trip:?} {:?}", report.stats);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn refused_extensions_take_few_requests_and_end_with_the_leases() {
    for round_trip in [Duration::ZERO, 1200 * MILLI, 2400 * MILLI] {
        let world = World::with(100).await;
        world.takes(round_trip);
        world.responds(|seen| (seen.operation == "extend").then(|| refusal(400, 10026)));
        let consumer = world.consumer().concurrency(100).shutdown_timeout(Duration::ZERO);
        let start = Instant::now();
        let report = run(&consumer, sleep(100 * SECOND), |_| pending::<()>()).await;
        assert_eq!((report.stats.left, report.stats.lost_leases), (100, 100));
        let sent: Vec<_> = world.seen("extend").iter().map(|seen| seen.at - start).collect();
        // At most 8 times 31 requests, and none for a lease that has ended.
        assert!(
            sent.len() <= 8 * 31 && sent.last() < Some(&MINUTE),
            "{round_trip:?}: {} {:?}",
            sent.len(),
            sent.last()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn leases_are_extended_together_again_once_it_is_known_which_one_was_passed_over() {
    let world = World::of(Behavior::new().unknown_leases(UnknownLease::Ignore));
    world.push(100).await;
    world.takes(600 * MILLI);
    let (direct, is_first) = (world.direct.clone(), AtomicUsize::new(0));
    let consumer = world.consumer().concurrency(100);
    let report = run(&consumer, sleep(4 * MINUTE), move |message| {
        let is_first = is_first.fetch_add(1, Ordering::Relaxed) == 0;
        let direct = direct.clone();
        async move {
            if is_first {
                let _ = direct.ack(AckRequest::ack_all([&message])).await.unwrap();
            }
            sleep(190 * SECOND).await;
            if is_first { Verdict::Leave } else { Verdict::Ack }
        }
    })
    .await;
    assert_eq!((report.stats.lost_leases, report.stats.acknowledged, world.left()), (1, 99, 0), "{:?}", report.stats);
    // One for all, one for each, a few more for the one, and three more for the others.
    let requests = world.seen("extend").len();
    assert!((101..=115).contains(&requests), "{requests}");
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_was_extended_beside_one_that_was_not_is_not_extended_again_at_once() {
    let world = World::of(Behavior::new().unknown_leases(UnknownLease::Warn));
    world.push(2).await;
    let gone = world.direct.clone();
    let report = run(&world.consumer(), sleep(75 * SECOND), move |message| {
        let gone = gone.clone();
        async move {
            if message.body.json::<u32>().unwrap() == 0 {
                let _ = gone.ack(AckRequest::ack_all([&message])).await.unwrap();
            }
            sleep(70 * SECOND).await;
        }
    })
    .await;
    let extended = world.seen("extend").into_iter().map(|seen| seen.body["extend"].as_array().unwrap().len());
    assert_eq!(extended.collect::<Vec<_>>()[..2], [2, 1]);
    assert_eq!((report.stats.extended, report.stats.lost_leases), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn messages_that_wait_are_covered_too() {
    let world = World::with(100).await;
    let calls = AtomicUsize::new(0);
    let report = run(&world.consumer().concurrency(1), sleep(20 * MINUTE), move |message| {
        assert_eq!(message.attempts, Some(1));
        // Quick at first, so that many are prefetched, and one that is slow.
        let number = calls.fetch_add(1, Ordering::Relaxed);
        sleep(if number == 2 { 5 * MINUTE } else { Duration::ZERO })
    })
    .await;
    assert_eq!((report.stats.acknowledged, report.stats.expired), (100, 0), "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn extensions_are_counted_from_when_the_pull_was_sent() {
    let world = World::with(1).await;
    world.takes_by(|seen| if seen.operation == "pull" { 20 * SECOND } else { Duration::ZERO });
    let consumer = world.consumer().concurrency(1).heartbeat(110 * SECOND);
    let sent_at = Instant::now();
    let _report = run(&consumer, sleep(5 * MINUTE), |_| sleep(4 * MINUTE)).await;
    let extended: Vec<_> = world.seen("extend").iter().map(|seen| (seen.at - sent_at).as_secs()).collect();
    assert_eq!(extended, [40, 80]);
}

#[tokio::test(start_paused = true)]
async fn a_lost_lease_is_not_held_again_by_a_late_extension() {
    let world = World::of(Behavior::new().late_extends(true));
    world.push(1).await;
    world.takes_by(|seen| if seen.operation == "peek" { 20 * SECOND } else { Duration::ZERO });
    // While it peeks, the client has no place for an extension.
    let busy = world.queue_with(|builder| builder.max_in_flight(1));
    let consumer = Consumer::new(busy.clone()).visibility_timeout(10 * SECOND);
    let consumer = consumer.min_idle(3600 * SECOND).max_idle(3600 * SECOND);
    let stop = async {
        sleep(5 * SECOND).await;
        busy.peek(1).await.unwrap();
        sleep(5 * SECOND).await;
    };
    let was_lost = Arc::new(Mutex::new(Vec::new()));
    let looks = Arc::clone(&was_lost);
    let report = run(&consumer, stop, move |message| {
        let looks = Arc::clone(&looks);
        async move {
            message.lease().lost().await;
            sleep(18 * SECOND).await;
            looks.lock().unwrap().push(message.lease().is_lost());
        }
    })
    .await;
    assert_eq!((*was_lost.lock().unwrap()).as_slice(), [true]);
    assert_eq!((report.stats.lost_leases, report.stats.extended), (1, 0));
    assert_eq!(world.seen("extend").len(), 1, "{:?}", world.seen("extend"));
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_was_refused_alone_is_extended_alone() {
    for fails in [false, true] {
        let world = World::of(Behavior::new());
        world.takes(20 * MILLI);
        let leases = |seen: &Seen| seen.body["extend"].as_array().map_or(0, Vec::len);
        let bad = Arc::new(Mutex::new(None::<String>));
        let refused = Arc::clone(&bad);
        let is_bad = move |seen: &Seen| {
            let bad = refused.lock().unwrap();
            seen.operation == "extend" && bad.as_ref().is_some_and(|lease| seen.body.to_string().contains(lease))
        };
        let (refuses, alone) = (is_bad.clone(), AtomicUsize::new(0));
        world.responds(move |seen| {
            // Every other refusal of the lease alone is a failure that says nothing about it.
            let is_alone = || leases(seen) == 1 && alone.fetch_add(1, Ordering::Relaxed) % 2 == 1;
            refuses(seen).then(|| if fails && is_alone() { refusal(503, 0) } else { refusal(400, 10026) })
        });
        let stop = async {
            for _ in 0..45 {
                world.push(1).await;
                sleep(2 * SECOND).await;
            }
        };
        let consumer = Consumer::new(world.queue_with(|builder| builder.retry(RetryPolicy::none())));
        let consumer = consumer.concurrency(100).max_idle(SECOND).shutdown_timeout(Duration::ZERO);
        let report = run(&consumer, stop, move |message| {
            bad.lock().unwrap().get_or_insert_with(|| message.lease_id.expose_secret().into_owned());
            pending::<()>()
        })
        .await;
        assert_eq!(report.stats.lost_leases, 1);
        let refused: Vec<_> = world.seen("extend").iter().filter(|seen| is_bad(seen)).map(leases).collect();
        let found = refused.iter().position(|leases| *leases == 1).unwrap();
        assert!(refused[0] > 1 && refused[found..].iter().all(|leases| *leases == 1), "{fails}: {refused:?}");
        assert!(refused.len() > found + 2, "{refused:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn leases_are_kept_beside_many_bad_ones() {
    // As far apart as can be, so that each half of a request has some of them.
    for bad in [16, 20] {
        let (world, report) = run_with_bad_leases(100 / bad, bad, 20 * MILLI).await;
        let lost = report.stats.lost_leases as usize;
        assert!((bad..bad + 10).contains(&lost), "{bad}: {lost} {}", world.left());
    }
}

#[tokio::test(start_paused = true)]
async fn leases_are_extended_together_if_they_are_due_within_a_sixth_of_the_timeout() {
    for (apart, expected) in [(5, vec![(40, 2)]), (15, vec![(40, 1), (55, 1)])] {
        let world = World::with(1).await;
        let start = Instant::now();
        let consumer = world.consumer().min_idle(apart * SECOND).max_idle(apart * SECOND);
        let stop = async {
            sleep(SECOND).await;
            world.push(1).await;
            sleep(65 * SECOND).await;
        };
        let consumer = consumer.shutdown_timeout(Duration::ZERO);
        let _ = run(&consumer, stop, |_| pending::<()>()).await;
        let leases = |seen: &Seen| seen.body["extend"].as_array().unwrap().len();
        let extended: Vec<_> =
            world.seen("extend").iter().map(|seen| ((seen.at - start).as_secs(), leases(seen))).collect();
        assert_eq!(extended, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_extension_is_repeated_in_time_and_said_to_have_failed() {
    let (world, start) = (World::with(1).await, Instant::now());
    world.responds(move |seen| (seen.operation == "extend" && start.elapsed() < 50 * SECOND).then(|| refusal(403, 1)));
    let report = run(&world.consumer().concurrency(1), sleep(5 * MINUTE), |_| sleep(3 * MINUTE)).await;
    assert_eq!((report.stats.acknowledged, report.stats.lost_leases), (1, 0));
    assert!(report.stats.last_error.unwrap().contains("extend"));
}
