//! Consumers that are paused, or whose concurrency is changed, while they run.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

#[tokio::test(start_paused = true)]
async fn paused_consumers_extend_leases_and_pull_nothing() {
    let world = World::with(5).await;
    world.takes(100 * MILLI);
    let (consumer, pulls) = (world.consumer(), || world.seen("pull").len());
    let control = consumer.clone();
    let stop = async {
        sleep(SECOND).await;
        control.pause();
        world.push(15).await;
        sleep(SECOND).await;
        let sent = pulls();
        sleep(3 * MINUTE).await;
        let (health, stats) = (control.health(), control.stats());
        assert_eq!((health.status, health.is_healthy()), (Status::Paused, true));
        assert_eq!(health.lasting, 3 * MINUTE + SECOND);
        assert!(stats.extended >= 10 && stats.handlers_running == 5, "{stats:?}");
        sleep(60 * MINUTE).await;
        assert_eq!((control.stats().pulled, pulls(), control.stats().acknowledged), (5, sent, 5));
        control.resume();
        sleep(SECOND).await;
        assert_eq!((control.stats().handlers_running, control.health().status), (10, Status::Working));
        sleep(12 * MINUTE).await;
    };
    let report = run(&consumer, stop, |_| sleep(5 * MINUTE)).await;
    assert_eq!((report.stats.lost_leases, report.stats.expired, world.left()), (0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_paused_pulls_nothing_until_it_goes_on() {
    let world = World::with(3).await;
    let consumer = world.consumer();
    consumer.pause();
    let mut deliveries = consumer.clone().stream().unwrap();
    assert!(tokio::time::timeout(MINUTE, deliveries.next()).await.is_err());
    assert_eq!((world.seen("pull").len(), consumer.health().status), (0, Status::Paused));
    let (next, ()) = tokio::join!(deliveries.next(), async { consumer.resume() });
    next.unwrap().unwrap().ack().await.unwrap();
    deliveries.acker().close().await;
    assert_eq!((consumer.stats().acknowledged, consumer.health().status), (1, Status::Working));
}

#[tokio::test(start_paused = true)]
async fn a_paused_consumer_stops_when_it_is_told_to() {
    let world = World::with(3).await;
    let consumer = world.consumer();
    consumer.pause();
    let report = run(&consumer, sleep(MINUTE), |_| async {}).await;
    assert_eq!((report.stats.pulls, consumer.health().status), (0, Status::Stopped));
}

#[tokio::test(start_paused = true)]
async fn the_concurrency_of_a_run_changes_while_it_lasts() {
    let world = World::with(2000).await;
    world.takes(10 * MILLI);
    let consumer = world.consumer().concurrency(10);
    let control = consumer.clone();
    let running = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&running);
    let stop = async {
        for (handlers, expected) in [(None, 10), (Some(3), 3), (Some(0), 1), (Some(usize::MAX), 1000)] {
            handlers.into_iter().for_each(|handlers| control.set_concurrency(handlers));
            sleep(if expected < 1000 { 5 * SECOND } else { SECOND }).await;
            let running = running.load(Ordering::Relaxed);
            let is_expected = if expected < 1000 { running == expected } else { running >= expected };
            let may_run = if expected < 1000 { expected as u64 } else { u32::MAX.into() };
            assert_eq!(control.stats().concurrency, may_run);
            assert!(is_expected, "{running} instead of {expected}");
        }
    };
    let report = run(&consumer, stop, move |_| {
        let running = Arc::clone(&seen);
        async move {
            running.fetch_add(1, Ordering::Relaxed);
            sleep(2 * SECOND).await;
            running.fetch_sub(1, Ordering::Relaxed);
        }
    })
    .await;
    assert_eq!((report.stats.expired, report.stats.lost_leases, consumer.stats().concurrency), (0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn settings_that_do_not_change_end_no_idle_wait() {
    let world = World::with(0).await;
    let consumer = world.consumer().min_idle(10 * SECOND);
    let control = consumer.clone();
    let stop = async {
        for _ in 0..100 {
            control.set_concurrency(3);
            control.resume();
            sleep(50 * MILLI).await;
        }
    };
    let _ = run(&consumer, stop, |_| async {}).await;
    // The first change is one, and is looked at while the first pull is in flight or rests.
    assert!(world.seen("pull").len() <= 2, "{:?}", world.seen("pull"));
}

#[tokio::test(start_paused = true)]
async fn changes_of_control_end_idle_pauses_but_not_a_retry_after() {
    for (asked, acknowledged) in [(None, 1), (Some("61"), 0)] {
        let world = World::with(0).await;
        world.responds(move |seen| {
            let asked = asked.filter(|_| seen.operation == "pull" && seen.nth == 0);
            asked.map(|asked| with_retry_after(refusal(429, 10250), asked))
        });
        let consumer = world.consumer().min_idle(MINUTE).max_idle(MINUTE);
        let stop = async {
            sleep(SECOND).await;
            consumer.pause();
            world.push(1).await;
            consumer.resume();
            sleep(SECOND).await;
        };
        assert_eq!(run(&consumer, stop, |_| async {}).await.stats.acknowledged, acknowledged);
    }
}
