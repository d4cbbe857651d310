//! Leases that are extended by the same request, of which some cannot be.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::{
    emulator::UnknownLease,
    message::{pull::PullOptions, settlement::Lease},
};

/// Refuses extensions that include one of `bad` messages, which are this far apart among those that handlers see, and
/// ends handlers late.
async fn run_with_bad_leases(apart: usize, bad: usize, round_trip: Duration) -> (World, Report) {
    let world = World::with(100).await;
    world.takes(round_trip);
    let found = Arc::new(Mutex::new(Vec::new()));
    let refused = Arc::clone(&found);
    world.responds(move |seen| {
        let refused: std::sync::MutexGuard<'_, Vec<String>> = refused.lock().unwrap();
        let is_bad = || refused.iter().any(|lease| seen.body.to_string().contains(lease));
        let is_bad = seen.operation == "extend" && is_bad();
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
async fn leases_are_extended_together_again_once_the_skipped_one_is_known() {
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
async fn only_the_refused_lease_of_an_extension_is_sent_again() {
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
async fn leases_are_extended_though_every_request_has_one_that_cannot_be() {
    let seconds = if is_every_case_wanted() { 150 } else { 25 };
    for informs in [false, true] {
        for unknown in [UnknownLease::Warn, UnknownLease::Ignore] {
            let world = World::of(Behavior::new().unknown_leases(unknown).informing_warnings(informs));
            world.takes(600 * MILLI);
            let is_bad = |message: &Message| message.body.json::<u32>().unwrap() == 0;
            let gone = world.direct.clone();
            let stop = async {
                for _ in 0..seconds {
                    world.push(5).await;
                    sleep(SECOND).await;
                }
                sleep(90 * SECOND).await;
            };
            let consumer = world.consumer().concurrency(1000).max_idle(SECOND);
            let report = run(&consumer, stop, move |message| {
                let gone = gone.clone();
                async move {
                    if is_bad(&message) {
                        let _ = gone.ack(AckRequest::ack_all([&message])).await.unwrap();
                    }
                    sleep(70 * SECOND).await;
                    if is_bad(&message) { Verdict::Leave } else { Verdict::Ack }
                }
            })
            .await;
            let Stats { lost_leases, left, slowdown, .. } = report.stats;
            assert_eq!((lost_leases, left, slowdown, world.left()), (seconds, seconds, 0, 0), "{unknown:?}, {informs}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_extension_under_way_outlasts_a_short_lease_of_its_request() {
    let world = World::with(2).await;
    let start = Instant::now();
    let messages = world.queue.pull(PullOptions::new()).await.unwrap().messages;
    let leases = [400 * MILLI, 20 * SECOND].map(|left| (start + left).into_std());
    let leases: Vec<_> = messages.iter().zip(leases).map(|(message, end)| Lease::new(&message.lease_id, end)).collect();
    world.takes(700 * MILLI);
    let outcome = world.queue.extend(leases, MINUTE).await.unwrap();
    assert_eq!((outcome.is_complete(), world.seen("extend").len(), start.elapsed()), (true, 1, 700 * MILLI));
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
async fn leases_are_kept_among_many_bad_ones() {
    // As far apart as can be, so that each half of a request has some of them.
    for bad in [16, 20] {
        let (world, report) = run_with_bad_leases(100 / bad, bad, 20 * MILLI).await;
        let lost = report.stats.lost_leases as usize;
        assert!((bad..bad + 10).contains(&lost), "{bad}: {lost} {}", world.left());
    }
}

#[tokio::test(start_paused = true)]
async fn leases_due_within_a_sixth_of_the_timeout_are_extended_together() {
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
