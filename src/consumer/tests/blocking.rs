//! Runtimes that are starved, machines that are suspended, and panics that panic again.

use std::{
    panic::panic_any,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    time::SystemTime,
};

use super::*;

/// The queue of a client with a clock of the wall that tests set forward by so many seconds.
fn suspended(world: &World) -> (Queue, Arc<AtomicU64>) {
    let suspended = Arc::new(AtomicU64::new(0));
    let (seconds, start, began) = (Arc::clone(&suspended), SystemTime::now(), Instant::now());
    let wall = move || start + began.elapsed() + Duration::from_secs(seconds.load(Ordering::Relaxed));
    (world.queue_with(|client| client.wall_clock(wall)), suspended)
}

#[tokio::test(start_paused = true)]
async fn leases_end_while_the_machine_is_suspended() {
    let world = World::with(2).await;
    let (queue, sleeps) = suspended(&world);
    let batch = queue.pull(crate::PullOptions::new().visibility_timeout(MINUTE)).await.unwrap();
    let message = &batch.messages[0];
    assert_eq!((message.lease_remaining(), message.lease().is_lost()), (MINUTE, false));
    for asleep in [2, 50] {
        sleeps.store(asleep, Ordering::Relaxed);
        assert_eq!((message.lease_remaining().as_secs(), message.lease().is_lost()), (60 - asleep, false));
    }
    let lost = async {
        sleep(SECOND).await;
        sleeps.store(60, Ordering::Relaxed);
    };
    let start = Instant::now();
    let lease = message.lease();
    tokio::join!(lease.lost(), lost);
    assert!(start.elapsed() <= 5 * SECOND, "{:?}", start.elapsed());
    assert!(batch.iter().all(|message| message.lease().is_lost() && message.lease_remaining().is_zero()));
}

#[tokio::test(start_paused = true)]
async fn a_suspension_during_a_pull_counts() {
    let world = World::with(1).await;
    world.takes(20 * SECOND);
    let (queue, sleeps) = suspended(&world);
    let suspend = async {
        sleep(SECOND).await;
        sleeps.store(60, Ordering::Relaxed);
    };
    let (batch, ()) = tokio::join!(queue.pull(crate::PullOptions::new().visibility_timeout(MINUTE)), suspend);
    assert!(batch.unwrap().messages[0].lease().is_lost());
}

#[tokio::test(start_paused = true)]
async fn messages_that_waited_through_a_suspension_are_not_started() {
    let world = World::with(2).await;
    let (queue, sleeps) = suspended(&world);
    let consumer = Consumer::new(queue).max_retries(100).concurrency(1).handler_batch_size(1);
    let mut deliveries = consumer.stream().unwrap();
    let batch = deliveries.next_batch(2, SECOND).await.unwrap().unwrap();
    assert!(batch.iter().all(|delivery| !delivery.message().lease().is_lost()));
    sleeps.store(61, Ordering::Relaxed);
    assert!(batch.iter().all(|delivery| delivery.message().lease().is_lost()));
    for delivery in batch {
        deliveries.source().take_back(delivery.take_back());
    }
    assert!(tokio::time::timeout(SECOND, deliveries.next()).await.is_err(), "their leases are lost");
    assert_eq!(deliveries.stats().expired, 2);
}

#[tokio::test(start_paused = true)]
async fn handlers_that_start_too_late_do_not_count_as_fast() {
    let world = World::with(2).await;
    let (queue, sleeps) = suspended(&world);
    let mut deliveries = Consumer::new(queue).max_retries(100).stream().unwrap();
    let batch = deliveries.next_batch(2, SECOND).await.unwrap().unwrap();
    let (handler, mut took) = (handlers::one(Decoded::nothing(), |(), _| sleep(SECOND)), Vec::new());
    for delivery in batch {
        let work = vec![delivery.take_back()];
        took.push(handlers::handle(Arc::clone(&handler), work, MINUTE, false, tracing::Span::none()).await);
        sleeps.store(61, Ordering::Relaxed);
    }
    assert_eq!((took, deliveries.stats().expired), (vec![Some(SECOND), None], 1));
}

#[tokio::test(start_paused = true)]
async fn handlers_learn_of_leases_that_ended_in_a_suspension() {
    let world = World::with(1).await;
    let (queue, sleeps) = suspended(&world);
    let consumer = Consumer::new(queue).max_retries(100).concurrency(1);
    let lost_after = Arc::new(Mutex::new(None));
    let losing = Arc::clone(&lost_after);
    let report = run(&consumer, sleep(20 * SECOND), move |message: Message| {
        let (losing, sleeps) = (Arc::clone(&losing), Arc::clone(&sleeps));
        async move {
            sleep(SECOND).await;
            sleeps.store(120, Ordering::Relaxed);
            let start = Instant::now();
            message.lease().lost().await;
            *losing.lock().unwrap() = Some(start.elapsed());
        }
    })
    .await;
    assert!(lost_after.lock().unwrap().unwrap() <= 5 * SECOND);
    assert_eq!((report.stats.lost_leases, world.seen("extend").len()), (1, 0), "nor is it extended");
}

#[tokio::test(start_paused = true)]
async fn extensions_from_before_a_suspension_do_not_count() {
    let world = World::with(1).await;
    world.takes_by(|seen| if seen.operation == "extend" { 10 * SECOND } else { Duration::ZERO });
    let (queue, sleeps) = suspended(&world);
    let consumer = Consumer::new(queue).max_retries(100).concurrency(1);
    let report = run(&consumer, sleep(90 * SECOND), move |message: Message| {
        let sleeps = Arc::clone(&sleeps);
        async move {
            // The lease is extended from 40 s to 50 s.
            sleep(45 * SECOND).await;
            sleeps.store(300, Ordering::Relaxed);
            sleep(10 * SECOND).await;
            assert!(message.lease().is_lost());
        }
    })
    .await;
    assert_eq!((report.stats.panicked, report.stats.lost_leases), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn lost_leases_are_counted_even_of_instant_handlers() {
    let world = World::with(50).await;
    let consumer = world.consumer().concurrency(50).max_lease(Duration::ZERO).max_idle(SECOND);
    let report = run(&consumer, sleep(65 * SECOND), |message: Message| async move {
        if message.attempts == Some(1) {
            message.lease().lost().await;
        }
    })
    .await;
    assert_eq!(report.stats.lost_leases, 50);
}

#[test]
fn a_handler_that_blocks_its_thread_is_noticed_and_counted() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (log, _guard) = observing::keep().await;
        let world = World::with(2).await;
        let consumer = world.consumer().concurrency(2).visibility_timeout(SECOND).max_idle(10 * MILLI);
        let calls = Arc::new(AtomicUsize::new(0));
        let stop = {
            let calls = Arc::clone(&calls);
            async move {
                while calls.load(Ordering::Relaxed) < 2 {
                    sleep(MILLI).await;
                }
            }
        };
        let report = run(&consumer, stop, move |message| {
            if calls.fetch_add(1, Ordering::Relaxed) == 0 {
                // It blocks its thread until its lease has ended, whatever the machine's speed.
                let left = message.lease_deadline.saturating_duration_since(std::time::Instant::now());
                std::thread::sleep(left + MILLI);
            }
            async {}
        })
        .await;
        assert_eq!(report.stats.lost_leases, 1, "{:?}", report.stats);
        // The other message was pulled with the first one, and could not be started in time.
        assert_eq!(report.stats.expired, 1, "{:?}", report.stats);
        let warned = ["outlasts the lease", "spawn_blocking"].map(|text| log.lines(text).len());
        assert_eq!(warned, [1, 1]);
    });
}

#[tokio::test(start_paused = true)]
async fn late_responses_are_not_logged_as_blocking_handlers() {
    for (late, takes) in [("pull", 1600 * MILLI), ("extend", 5 * SECOND)] {
        let (log, _guard) = observing::keep().await;
        let world = World::with(1).await;
        world.takes_by(move |seen| if seen.operation == late { takes } else { Duration::ZERO });
        let _ = run(&world.consumer().visibility_timeout(2 * SECOND), sleep(5 * SECOND), |_| sleep(8 * SECOND)).await;
        assert!(!world.seen("extend").is_empty());
        assert_eq!(log.lines("spawn_blocking"), Vec::<String>::new(), "{late}");
    }
}

/// Panics when it is dropped, so many times.
struct Bomb(u32);

impl Drop for Bomb {
    fn drop(&mut self) {
        if let Some(left) = self.0.checked_sub(1) {
            panic_any(Bomb(left));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_whose_payload_panics_when_dropped_costs_one_message() {
    for case in 0..4 {
        let world = World::with(3).await;
        let bomb = move |message: &Message, in_case| {
            if case == in_case && message.body.json::<u32>().unwrap() == 1 {
                panic_any(Bomb(2));
            }
        };
        let delay = RetryDelay::by(move |failed| {
            bomb(failed.message, 1);
            Some(3600 * SECOND)
        });
        let consumer = world.consumer().retry_delay(delay).span(move |message| {
            bomb(message, 2);
            tracing::Span::none()
        });
        let report = run(&consumer, sleep(5 * SECOND), move |message: Message| {
            bomb(&message, 0);
            let held = Bomb(u32::from(case == 3 && message.body.json::<u32>().unwrap() == 1));
            async move {
                let _held = &held;
                let is_first = message.attempts == Some(1);
                if case == 1 && is_first && message.body.json::<u32>().unwrap() == 1 { Err("failed") } else { Ok(()) }
            }
        })
        .await;
        // A retry without a delay has succeeded.
        let expected = [(2, 1), (3, 1), (3, 0), (2, 1)];
        assert_eq!((report.stats.acknowledged, report.stats.failed), expected[case], "{case}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_provider_of_credentials_that_panics_so_costs_one_request() {
    for operation in ["ack", "extend", "consumers", "pull"] {
        let world = World::with(3).await;
        let calls = AtomicUsize::new(0);
        let token = world.emulator.api_token();
        let credentials = crate::Credentials::from_provider(move || {
            if calls.fetch_add(1, Ordering::Relaxed) == 1 {
                panic_any(Bomb(2));
            }
            let token = token.clone();
            async move { Ok(crate::Credentials::api_token(token)?) }
        });
        let queue = world.queue_with(|client| client.credentials(credentials));
        // The credentials are refused once, so that the provider is asked again.
        world.responds(move |seen| (seen.operation == operation && seen.nth == 0).then(|| refusal(401, 10000)));
        let consumer = Consumer::new(queue).concurrency(1).max_idle(SECOND);
        let report = run(&consumer, sleep(5 * MINUTE), |_| sleep(50 * SECOND)).await;
        if operation == "pull" {
            assert_eq!(report.error.unwrap().to_string().split(';').next(), Some("the pull panicked"));
            continue;
        }
        assert!(report.error.is_none(), "{operation}: {:?}", report.error);
        assert!(report.stats.acknowledged >= 2, "{operation}: {:?}", report.stats);
        assert_eq!(world.left() as u64, 3 - report.stats.acknowledged.min(3), "{operation}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_retry_is_sent_after_the_extension_that_is_under_way() {
    for way in 0..3 {
        let world = World::with(8).await;
        // The lease is extended from 40 s to 50 s.
        world.takes_by(|seen| if seen.operation == "extend" { 10 * SECOND } else { 100 * MILLI });
        let consumer = world.consumer().concurrency(8).shutdown_timeout(20 * SECOND);
        let (extended, retried) = if way == 2 {
            let mut deliveries = consumer.stream().unwrap();
            let batch = deliveries.next_batch(8, SECOND).await.unwrap().unwrap();
            sleep(44 * SECOND).await;
            drop(batch);
            deliveries.acker().close().await;
            (world.seen("extend"), world.seen("ack"))
        } else {
            let report = run(&consumer, sleep(60 * SECOND), move |_| async move {
                sleep(44 * SECOND).await;
                if way == 0 { Verdict::RetryIn(600 * SECOND) } else { Verdict::Ack }
            })
            .await;
            assert_eq!(report.stats.retried + report.stats.acknowledged, 8);
            (world.seen("extend"), world.seen("ack"))
        };
        let (extended, settled) = (extended[0].at, retried[0].at);
        let waits = settled.duration_since(extended) >= 10 * SECOND;
        assert_eq!(waits, way != 1, "a message that is deleted cannot be extended: {:?}", settled - extended);
        assert_eq!(world.seen("extend").len(), 1, "no lease is extended after that");
    }
}

#[tokio::test(start_paused = true)]
async fn hand_backs_wait_for_extensions_of_a_dropped_stream() {
    // The message is taken, or its pull ends while nobody polls the stream.
    for patience in [SECOND, 50 * MILLI] {
        let world = World::with(1).await;
        // The lease is extended from 40 s to 50 s.
        world.takes_by(|seen| if seen.operation == "extend" { 10 * SECOND } else { 100 * MILLI });
        let mut deliveries = world.consumer().stream().unwrap();
        let delivery = tokio::time::timeout(patience, deliveries.next()).await;
        sleep(44 * SECOND).await;
        drop(deliveries);
        drop(delivery);
        sleep(20 * SECOND).await;
        let waited = world.seen("ack")[0].at - world.seen("extend")[0].at;
        assert!((10 * SECOND..11 * SECOND).contains(&waited), "{waited:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_retry_after_an_extension_has_the_deadline_of_that() {
    let world = World::with(1).await;
    // The lease is extended from 40 s to 62 s, and lasts until 100 s.
    world.takes_by(|seen| if seen.operation == "extend" { 22 * SECOND } else { Duration::ZERO });
    world.responds(|seen| (seen.operation == "ack" && seen.nth == 0).then(|| refusal(503, 0)));
    let report = run(&world.consumer(), sleep(80 * SECOND), |_| async {
        sleep(41 * SECOND).await;
        Verdict::RetryIn(600 * SECOND)
    })
    .await;
    assert_eq!((report.stats.retried, report.stats.unconfirmed), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn retries_do_not_wait_for_abandoned_extensions() {
    let world = World::with(2).await;
    // The leases are extended from 40 s to 50 s, and end in between: no half of the refused request is sent.
    world.takes_by(|seen| if seen.operation == "extend" { 10 * SECOND } else { 100 * MILLI });
    world.responds(|seen| (seen.operation == "extend").then(|| refusal(400, 10_026)));
    let (queue, sleeps) = suspended(&world);
    let consumer = Consumer::new(queue).max_retries(100).concurrency(2);
    let start = Instant::now();
    let report = run(&consumer, sleep(80 * SECOND), move |_| {
        let sleeps = Arc::clone(&sleeps);
        async move {
            sleep(45 * SECOND).await;
            sleeps.store(120, Ordering::Relaxed);
            sleep(10 * SECOND).await;
            Verdict::Retry
        }
    })
    .await;
    assert_eq!((world.seen("extend").len(), report.stats.lost_leases), (1, 2));
    assert!(world.seen("ack")[0].at - start < 60 * SECOND, "{:?}", world.seen("ack")[0].at - start);
}

#[tokio::test(start_paused = true)]
async fn a_stop_is_bounded_while_a_retry_awaits_an_extension() {
    let world = World::with(1).await;
    // The lease is extended from 40 s on, and the attempt is given up after 30 s.
    world.takes_by(|seen| if seen.operation == "extend" { 60 * MINUTE } else { Duration::ZERO });
    let consumer = world.consumer().shutdown_timeout(5 * SECOND).flush_timeout(5 * SECOND);
    let start = Instant::now();
    let report = run(&consumer, sleep(50 * SECOND), |_| async {
        sleep(52 * SECOND).await;
        Verdict::RetryIn(600 * SECOND)
    })
    .await;
    assert_eq!((start.elapsed().as_secs(), report.unconfirmed.len(), world.seen("ack").len()), (57, 1, 0));
    sleep(MINUTE).await;
    let (extended, settled) = (world.seen("extend"), world.seen("ack"));
    assert_eq!((extended.len(), settled.len()), (1, 1), "the decision stands");
    assert_eq!((settled[0].at - extended[0].at).as_secs(), 30);
}

#[tokio::test(start_paused = true)]
async fn the_consumers_own_queue_cannot_have_its_dead_letters() {
    let world = World::with(1).await;
    let consumer = world.consumer().dead_letters(world.direct.clone());
    let refused = consumer.run_until(pending::<()>(), |_| async {}).await.unwrap_err();
    assert!(refused.to_string().contains("dead_letters"), "{refused}");
    assert!(consumer.stream().is_err());
    let (account, id) = (world.emulator.account_id(), world.queue.id().as_str().to_uppercase());
    let spelled = world.queue_with(|client| client).queues().queue(&*id).unwrap();
    assert_eq!(spelled.account_id(), account);
    assert!(world.consumer().dead_letters(spelled).stream().is_err(), "in another spelling");
    assert!(world.network.seen.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn health_lasts_since_its_status_began() {
    let (world, start) = (World::with(0).await, Instant::now());
    world.responds(move |_| (start.elapsed() < 60 * SECOND).then(|| refusal(503, 0)));
    let consumer = world.consumer().max_idle(SECOND);
    let stop = async {
        sleep(50 * SECOND).await;
        let health = consumer.health();
        assert_eq!((health.status, health.lasting.as_secs() / 10), (Status::PullsFail, 5));
        sleep(20 * SECOND).await;
        let health = consumer.health();
        assert_eq!((health.status, health.lasting.as_secs() / 10), (Status::Working, 0), "{health:?}");
    };
    let _ = run(&consumer, stop, |_| async {}).await;
    // Stuck only once handlers have been busy for as long as a lease.
    let world = World::with(1).await;
    let consumer = world.consumer().concurrency(1);
    let stop = async {
        sleep(70 * SECOND).await;
        let health = consumer.health();
        assert_eq!((health.status, health.lasting.as_secs()), (Status::Stuck, 10));
        sleep(30 * SECOND).await;
        let health = consumer.health();
        assert_eq!((health.status, health.lasting.as_secs()), (Status::Working, 10));
    };
    let _ = run(&consumer, stop, |_| sleep(90 * SECOND)).await;
}
