//! Messages per second at long round trips. `cargo bench -p benches --bench round_trips` has the whole table.

use super::*;

#[tokio::test(start_paused = true)]
async fn pulls_in_flight_reach_full_rate_within_ten_round_trips() {
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
    // From half a second to two seconds, in a random-looking order.
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

#[tokio::test(start_paused = true)]
async fn of_ten_consumers_two_are_killed_and_no_message_is_lost() {
    let world = World::with(3000).await;
    world.takes(1200 * MILLI);
    let handled = Arc::new(Mutex::new(vec![0_u32; 3000]));
    let mut consumers = Vec::new();
    for _ in 0..10 {
        let (consumer, handled) = (world.consumer().concurrency(20), Arc::clone(&handled));
        consumers.push(tokio::spawn(async move {
            let handler = move |message: Message| {
                let (number, handled) = (message.body.json::<usize>().unwrap(), Arc::clone(&handled));
                async move {
                    sleep(100 * MILLI).await;
                    handled.lock().unwrap()[number] += 1;
                }
            };
            run(&consumer, sleep(180 * SECOND), handler).await
        }));
    }
    sleep(5 * SECOND).await;
    let killed: Vec<_> = consumers.drain(..2).collect();
    killed.iter().for_each(tokio::task::JoinHandle::abort);
    for consumer in consumers {
        assert!(consumer.await.unwrap().unconfirmed.is_empty());
    }
    let handled = handled.lock().unwrap();
    assert_eq!((handled.iter().filter(|times| **times == 0).count(), world.left()), (0, 0));
    // Only what a killed consumer had done and not yet acknowledged is done twice.
    assert!(handled.iter().filter(|times| **times > 1).count() <= 2 * 20 * 15, "{handled:?}");
}
