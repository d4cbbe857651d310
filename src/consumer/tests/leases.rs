//! Leases that are extended while handlers work.

use std::{
    collections::HashSet,
    sync::atomic::{AtomicUsize, Ordering},
};

use tokio::time::timeout;

use super::*;
use crate::{
    emulator::{ExtendFrom, UnknownLease},
    message::settlement::Lease,
};

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
                let deadline = Some(message.lease().deadline());
                assert_eq!([Lease::from(&message).deadline(), Lease::from(message).deadline()], [deadline; 2]);
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
async fn leases_are_extended_for_as_long_as_max_lease_allows() {
    for (heartbeat, lost_after) in [(Duration::ZERO, 60), (5 * MINUTE, 340)] {
        let world = World::with(1).await;
        let lost_at = Arc::new(Mutex::new(None));
        let (seen, start) = (Arc::clone(&lost_at), Instant::now());
        let consumer = world.consumer().concurrency(1).max_lease(heartbeat);
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
async fn no_lease_is_extended_once_max_lease_has_passed() {
    // Leases are due at 40 s and 45 s, and then together at 80 s, when only the second one may still be extended.
    for (heartbeat, extended) in [(40, 0), (80, 3)] {
        let world = World::with(1).await;
        let consumer = world.consumer().concurrency(2).max_lease(heartbeat * SECOND).max_idle(SECOND);
        let stop = async {
            sleep(5 * SECOND).await;
            world.push(1).await;
            sleep(100 * SECOND).await;
        };
        let consumer = consumer.shutdown_timeout(Duration::ZERO);
        let report = run(&consumer, stop, |_| pending::<()>()).await;
        assert_eq!(report.stats.extended, extended, "{:?}", world.seen("extend"));
    }
}

#[tokio::test(start_paused = true)]
async fn retried_extensions_last_as_long_as_confirmed() {
    let (world, start) = (World::with(1).await, Instant::now());
    // It is sent at 40 s, and once more at 50 s, which is after the heartbeat.
    world.takes_by(|seen| if seen.operation == "extend" && seen.nth == 0 { 10 * SECOND } else { Duration::ZERO });
    world.responds(|seen| (seen.operation == "extend" && seen.nth == 0).then(|| refusal(503, 0)));
    let consumer = world.consumer().concurrency(1).max_lease(41 * SECOND);
    let report = run(&consumer, sleep(3 * MINUTE), move |message: Message| async move {
        if message.attempts == Some(1) {
            message.lease().lost().await;
            assert_eq!(start.elapsed().as_secs(), 110);
        }
    })
    .await;
    assert_eq!((report.stats.lost_leases, report.stats.panicked), (1, 0));
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

/// With `EVERY_SWITCH`, all 768 combinations, which take a minute; else enough for every two values to come together.
fn switches() -> impl Iterator<Item = Switches> {
    let unknown = [UnknownLease::Warn, UnknownLease::Ignore, UnknownLease::Reject];
    let (is_every, mut pairs) = (is_every_case_wanted(), HashSet::new());
    let combinations = (0..1 << 8).flat_map(move |number: u32| (0..3).map(move |unknown| (number, unknown)));
    let is_wanted = move |&(number, unknown): &(u32, usize)| {
        let values: Vec<_> = (0..8).map(|bit| (bit, number as usize >> bit & 1)).chain([(8, unknown)]).collect();
        let all = values.iter().flat_map(|one| values.iter().map(move |other| (*one, *other)));
        // Each is inserted, whether an earlier one is new or not.
        is_every | (all.filter(|pair| pairs.insert(*pair)).count() > 0)
    };
    combinations.filter(is_wanted).map(move |(number, index)| {
        let (unknown, is) = (unknown[index], |bit: u32| number >> bit & 1 == 1);
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
async fn leases_are_kept_or_known_lost_under_every_extend_switch() {
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
    let consumer = world.consumer().concurrency(1).max_lease(110 * SECOND);
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
    // While it peeks, the client has no permit for an extension.
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
async fn a_failed_extension_is_repeated_in_time_and_reported() {
    let (world, start) = (World::with(1).await, Instant::now());
    world.responds(move |seen| (seen.operation == "extend" && start.elapsed() < 50 * SECOND).then(|| refusal(403, 1)));
    let report = run(&world.consumer().concurrency(1), sleep(5 * MINUTE), |_| sleep(3 * MINUTE)).await;
    assert_eq!((report.stats.acknowledged, report.stats.lost_leases), (1, 0));
    assert!(report.stats.last_error.unwrap().contains("extend"));
}

#[tokio::test(start_paused = true)]
async fn no_lease_is_believed_to_last_longer_than_it_can() {
    let world = World::with(1).await;
    // The second extension is due 10 s before the heartbeat stops. Its first attempt times out.
    world.takes_by(|seen| if seen.operation == "extend" && seen.nth == 1 { 100 * SECOND } else { Duration::ZERO });
    let consumer = world.consumer().concurrency(1).visibility_timeout(18_510 * SECOND).max_lease(720 * MINUTE);
    let direct = world.direct.clone();
    let report = run(&consumer, sleep(721 * MINUTE), move |message: Message| {
        let direct = direct.clone();
        async move {
            if message.attempts == Some(1) {
                sleep(720 * MINUTE + 5 * SECOND).await;
                assert_eq!(direct.pull(crate::PullOptions::new()).await.unwrap().len(), 1, "another consumer has it");
                assert!(message.lease().is_lost());
            }
        }
    })
    .await;
    assert_eq!((report.stats.lost_leases, report.stats.panicked), (1, 0));
}
