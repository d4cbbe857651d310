//! Leases that are extended while handlers work.

use super::*;
use crate::emulator::ExtendFrom;

const MINUTE: Duration = Duration::from_secs(60);

fn extending(behavior: Behavior) -> World {
    World::new(Emulator::builder().queue(QueueSettings::new().max_retries(100)).behavior(behavior))
}

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
        let world = extending(behavior);
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

#[tokio::test(start_paused = true)]
async fn no_switch_of_extend_leads_to_an_untrue_confirmation() {
    for number in 0..64 {
        let is = |bit: u32| number >> bit & 1 == 1;
        let behavior = Behavior::new()
            .acks_after_extend(is(0))
            .repeated_extends(is(1))
            .late_extends(is(2))
            .shortening_extends(is(3))
            .extend_from(if is(4) { ExtendFrom::Now } else { ExtendFrom::LeaseEnd })
            .late_acks(is(5));
        let world = extending(behavior);
        world.push(5).await;
        let report = run(&world.consumer(), sleep(10 * MINUTE), move |message| async move {
            if message.attempts == Some(1) {
                sleep(150 * SECOND).await;
            }
        })
        .await;
        // A message that the service did not delete is not reported as acknowledged.
        assert_eq!(report.stats.acknowledged, 5 - world.left() as u64, "{number:b}: {report:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_cannot_be_extended_does_not_affect_others() {
    let world = World::with(10).await;
    // A request with the lease of the first message is refused as a whole.
    let first = Arc::new(Mutex::new(None::<String>));
    let bad = Arc::clone(&first);
    world.responds(move |seen| {
        let bad = bad.lock().unwrap().clone()?;
        let is_bad = seen.operation == "extend" && seen.body.to_string().contains(&bad);
        is_bad.then(|| refusal(400, 10026))
    });
    let report = run(&world.consumer(), sleep(5 * MINUTE), move |message| {
        first.lock().unwrap().get_or_insert_with(|| message.lease_id.expose_secret().into_owned());
        sleep(if message.attempts == Some(1) { 150 * SECOND } else { Duration::ZERO })
    })
    .await;
    assert_eq!((report.stats.lost_leases, world.left()), (1, 0), "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn messages_that_wait_are_covered_too() {
    let world = World::with(100).await;
    let calls = std::sync::atomic::AtomicUsize::new(0);
    let report = run(&world.consumer().concurrency(1), sleep(20 * MINUTE), move |message| {
        assert_eq!(message.attempts, Some(1));
        // Quick at first, so that many are prefetched, and one that is slow.
        let number = calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        sleep(if number == 2 { 5 * MINUTE } else { Duration::ZERO })
    })
    .await;
    assert_eq!((report.stats.acknowledged, report.stats.expired), (100, 0), "{report:?}");
}
