//! Messages per second at long round trips. `cargo bench -p benches --bench round_trips` has the whole table.

use super::*;

/// Messages a second, of the 5,000 that the service allows for a queue.
const WANTED: f64 = 4750.0;

/// Handles all messages with 1,000 handlers of 10 ms, and checks that this takes no longer than at the rate that is
/// wanted and ten round trips, and that no message is given twice.
async fn drain(world: &World, messages: usize, round_trip: Duration) {
    world.takes(round_trip);
    drain_within(world, messages, Duration::from_secs_f64(messages as f64 / WANTED) + 10 * round_trip).await;
}

async fn drain_within(world: &World, messages: usize, most: Duration) {
    world.push(messages).await;
    let (consumer, start) = (world.consumer().concurrency(1000), Instant::now());
    let stop = async {
        while consumer.stats().acknowledged < messages as u64 {
            sleep(10 * MILLI).await;
        }
    };
    let report = run(&consumer, stop, |message| async move {
        assert_eq!(message.attempts, Some(1));
        sleep(10 * MILLI).await;
    })
    .await;
    assert!(start.elapsed() <= most, "{messages} in {:?} instead of {most:?}", start.elapsed());
    assert_eq!((report.stats.panicked, report.stats.lost_leases, world.left()), (0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn the_rate_is_reached_within_ten_round_trips_of_any_length() {
    let short = [(3000, 20), (3000, 50), (3000, 100), (5000, 200), (5000, 600)];
    let long = [(10_000, 2400), (10_000, 1200), (30_000, 2400)];
    for (messages, round_trip) in cases(short, 1).chain(cases(long, 1)) {
        drain(&World::with(0).await, messages, round_trip * MILLI).await;
    }
}

#[tokio::test(start_paused = true)]
async fn half_full_pulls_reach_the_rate() {
    for (messages, round_trip, late) in cases([(10_000, 600, 3300), (30_000, 2400, 19_200)], 1) {
        let world = World::of(Behavior::new().largest_pull(50));
        world.takes(round_trip * MILLI);
        drain_within(&world, messages, Duration::from_secs_f64(messages as f64 / WANTED) + late * MILLI).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_unsent_first_pull_delays_others_only_by_its_duration() {
    for (messages, round_trip, failing) in [(2500, 200, 10 * MILLI), (5000, 600, 10 * SECOND)] {
        let (world, round_trip) = (World::with(0).await, round_trip * MILLI);
        world
            .takes_by(move |seen| if (seen.operation == "pull", seen.nth) == (true, 0) { failing } else { round_trip });
        world.responds(|seen| (seen.operation == "pull" && seen.nth == 0).then(unsent));
        // And the wait before the next attempt.
        let most = Duration::from_secs_f64(messages as f64 / WANTED) + 10 * round_trip + failing + 250 * MILLI;
        drain_within(&world, messages, most).await;
    }
}

#[tokio::test(start_paused = true)]
async fn one_rate_limit_does_not_hold_back_half_full_pulls() {
    let world = World::of(Behavior::new().largest_pull(50));
    world.takes(600 * MILLI);
    world.responds(|seen| (seen.operation == "pull" && seen.nth == 4).then(|| refusal(429, 10250)));
    drain_within(&world, 6000, Duration::from_secs_f64(6000.0 / WANTED) + 16 * 600 * MILLI).await;
}

#[tokio::test(start_paused = true)]
async fn an_outage_costs_few_requests_and_is_soon_over() {
    // Every request fails, or every second one, from when 70 pulls are in flight.
    for (messages, nth, most_pulls, most_time) in cases([(18_000, 1, 24, 65), (30_000, 2, 180, 60)], 1) {
        let world = World::with(messages).await;
        world.takes(2400 * MILLI);
        let start = Instant::now();
        let ails = move || (10 * SECOND..70 * SECOND).contains(&start.elapsed());
        world.responds(move |seen| (ails() && seen.nth % nth == 0).then(|| refusal(503, 0)));
        let consumer = world.consumer().concurrency(1000);
        let stop = async {
            while consumer.stats().acknowledged < messages as u64 {
                sleep(100 * MILLI).await;
            }
        };
        let _ = run(&consumer, stop, |_| sleep(10 * MILLI)).await;
        let seen = world.seen("pull");
        let pulls = seen.iter().filter(|seen| (10 * SECOND..70 * SECOND).contains(&(seen.at - start))).count();
        let took = start.elapsed() - 70 * SECOND;
        assert!(pulls <= most_pulls, "{pulls}");
        assert!(took <= most_time * SECOND, "{took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_rate_is_reached_although_single_requests_fail() {
    for (messages, round_trip) in cases([(5000, 600), (10_000, 1200), (30_000, 2400)], 1) {
        let world = World::with(0).await;
        world.responds(|seen| (seen.nth % 20 == 7).then(|| refusal(503, 0)));
        drain(&world, messages, round_trip * MILLI).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_rate_that_a_queue_allows_is_reached() {
    for (messages, round_trip) in cases([(10_000, 200), (10_000, 20), (30_000, 2400)], 1) {
        drain(&World::of(Behavior::new().messages_per_second(5000)), messages, round_trip * MILLI).await;
    }
}

#[tokio::test(start_paused = true)]
async fn jitter_and_failing_requests_neither_lose_nor_duplicate() {
    let world = World::with(5000).await;
    // From half a second to two seconds, in a random-looking order.
    world.takes_by(|seen| MILLI * (500 + (seen.nth as u32).wrapping_mul(2_654_435_761) % 1500));
    world.responds(|seen| (seen.nth % 20 == 7).then(|| refusal(503, 0)));
    let start = Instant::now();
    let consumer = world.consumer().concurrency(1000);
    let counting = consumer.clone();
    let stop = async move {
        while counting.stats().acknowledged < 5000 {
            sleep(10 * MILLI).await;
        }
    };
    let report = run(&consumer, stop, |message| async move {
        assert_eq!(message.attempts, Some(1));
        sleep(10 * MILLI).await;
    })
    .await;
    assert_eq!((report.stats.acknowledged, report.stats.panicked, world.left()), (5000, 0, 0));
    assert!(start.elapsed() < 40 * SECOND, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn acknowledgements_go_out_in_full_requests_under_load() {
    let world = World::with(3000).await;
    world.takes(200 * MILLI);
    let consumer = world.consumer().concurrency(1000);
    let counting = consumer.clone();
    let stop = async move {
        while counting.stats().acknowledged < 3000 {
            sleep(10 * MILLI).await;
        }
    };
    let _ = run(&consumer, stop, |_| sleep(10 * MILLI)).await;
    let requests = world.seen("ack").len();
    assert!(requests <= 45, "{requests} for 3,000 messages");
}

#[tokio::test(start_paused = true)]
async fn two_killed_consumers_of_ten_redeliver_only_what_they_held() {
    let world = World::with(3000).await;
    world.takes(1200 * MILLI);
    // Which consumers were given each message.
    let given = Arc::new(Mutex::new(vec![Vec::new(); 3000]));
    let (watched, mut consumers) = (Arc::clone(&given), Vec::new());
    for id in 0..10 {
        let (consumer, given) = (world.consumer().concurrency(20), Arc::clone(&given));
        consumers.push(tokio::spawn(async move {
            let handler = move |message: Message| {
                given.lock().unwrap()[message.body.json::<usize>().unwrap()].push(id);
                sleep(100 * MILLI)
            };
            run(&consumer, sleep(180 * SECOND), handler).await
        }));
    }
    // Each of the two works on more than its first messages.
    let count = |id| watched.lock().unwrap().iter().filter(|ids| ids.contains(&id)).count();
    while count(0) < 30 || count(1) < 30 {
        sleep(10 * MILLI).await;
    }
    let killed: Vec<_> = consumers.drain(..2).collect();
    killed.iter().for_each(tokio::task::JoinHandle::abort);
    for consumer in consumers {
        assert!(consumer.await.unwrap().unconfirmed.is_empty());
    }
    let given = given.lock().unwrap();
    assert!(given.iter().all(|ids| !ids.is_empty()));
    assert_eq!(world.left(), 0);
    let again: Vec<_> = given.iter().filter(|ids| ids.len() > 1).collect();
    assert!(!again.is_empty() && again.iter().all(|ids| ids[0] < 2), "{again:?}");
}
