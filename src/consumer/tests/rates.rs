//! Messages a second at long round trips. `cargo bench -p benches --bench round_trips` has the whole table.

use super::*;

#[tokio::test(start_paused = true)]
async fn as_many_pulls_are_in_flight_as_a_round_trip_needs_within_ten_round_trips() {
    let round_trip = 2400 * MILLI;
    let world = World::with(30_000).await;
    world.takes(round_trip);
    let consumer = world.consumer().concurrency(1000);
    let counting = consumer.clone();
    let mut in_flight = 0;
    let stop = async {
        sleep(round_trip * 9).await;
        in_flight = counting.stats().pulls_in_flight;
    };
    let report = run(&consumer, stop, |_| sleep(10 * MILLI)).await;
    // 114 pulls of 100 messages in 2.4 s are 4,750 a second.
    assert!(in_flight >= 114, "{in_flight}");
    assert_eq!((report.stats.lost_leases, report.stats.expired, world.most_attempts() <= 1), (0, 0, true));
}

#[tokio::test(start_paused = true)]
async fn jitter_and_failing_requests_neither_lose_nor_duplicate() {
    let world = World::with(10_000).await;
    // From half to twice of a second, in an order that looks like chance.
    world.takes_by(|seen| MILLI * (500 + (seen.nth as u32).wrapping_mul(2_654_435_761) % 1500));
    world.responds(|seen| (seen.nth % 20 == 7).then(|| refusal(503, 0)));
    let start = Instant::now();
    let consumer = world.consumer().concurrency(1000);
    let counting = consumer.clone();
    let stop = async move {
        while counting.stats().acknowledged < 10_000 {
            sleep(10 * MILLI).await;
        }
    };
    let report = run(&consumer, stop, |message| async move {
        assert_eq!(message.attempts, Some(1));
        sleep(10 * MILLI).await;
    })
    .await;
    assert_eq!((report.stats.acknowledged, report.stats.panicked, world.left()), (10_000, 0, 0));
    assert!(start.elapsed() < 40 * SECOND, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn acknowledgements_go_out_in_full_requests_under_load() {
    let world = World::with(10_000).await;
    world.takes(200 * MILLI);
    let consumer = world.consumer().concurrency(1000);
    let counting = consumer.clone();
    let stop = async move {
        while counting.stats().acknowledged < 10_000 {
            sleep(10 * MILLI).await;
        }
    };
    let _ = run(&consumer, stop, |_| sleep(10 * MILLI)).await;
    let requests = world.seen("ack").len();
    assert!(requests <= 120, "{requests} for 10,000 messages");
}
