//! How a run ends.

use std::{
    future::{poll_fn, ready},
    ops::Range,
    pin::pin,
    sync::atomic::{AtomicUsize, Ordering},
};

use tokio::sync::Notify;

use super::*;
use crate::acker::AckerOptions;

#[tokio::test(start_paused = true)]
async fn a_stop_that_is_done_at_the_start_costs_no_request() {
    let world = World::with(3).await;
    let report = run(&world.consumer(), ready(()), |_| async {}).await;
    assert_eq!((world.network.seen.lock().unwrap().len(), world.most_attempts()), (0, 0));
    assert_eq!(report.stats.pulled, 0);
}

#[tokio::test(start_paused = true)]
async fn stopping_during_a_pull_costs_one_attempt_per_message() {
    let world = World::with(3).await;
    world.takes(SECOND);
    let report = run(&world.consumer(), sleep(100 * MILLI), |_| async {}).await;
    assert_eq!((report.stats.pulled, report.stats.retried), (3, 3));
    assert_eq!((world.seen("pull").len(), world.most_attempts()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn shutdown_loses_no_acknowledgement() {
    let world = World::with(200).await;
    for unsettled in [Unsettled::Retry, Unsettled::Leave] {
        let before = world.left();
        let consumer = world.consumer().unsettled(unsettled).concurrency(7);
        let report = run(&consumer, sleep(Duration::from_millis(3400)), |_| async {
            sleep(Duration::from_millis(500)).await;
            Verdict::Ack
        })
        .await;
        // Six rounds finished before, and a seventh was allowed to finish.
        assert_eq!((report.stats.acknowledged, before - world.left()), (49, 49));
        assert_eq!(report.unconfirmed.len(), 0);
        // Pulls take no time, so none was pulled before a handler was free.
        assert_eq!((report.stats.retried, report.stats.left), (0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn acknowledgements_do_not_linger_after_the_last_handler() {
    let world = World::with(3).await;
    let (start, linger) = (Instant::now(), AckerOptions::new().linger(Duration::MAX));
    let report = run(&world.consumer().acker(linger.clone()), sleep(SECOND), |_| async {}).await;
    assert_eq!((report.stats.acknowledged, start.elapsed().as_secs()), (3, 1));
    // Nor if the run is dropped.
    world.push(3).await;
    let consumer = world.consumer().acker(linger);
    assert!(tokio::time::timeout(SECOND, run(&consumer, pending::<()>(), |_| async {})).await.is_err());
    sleep(SECOND).await;
    assert_eq!(world.left(), 0);
}

/// Polls a future except during these times, as if the thread were busy.
async fn busy<F: Future>(times: &[Range<u64>], future: F) -> F::Output {
    let (start, mut future) = (Instant::now(), pin!(future));
    let mut timer = pin!(sleep(Duration::ZERO));
    poll_fn(|context| {
        let now = start.elapsed().as_millis() as u64;
        let Some(busy) = times.iter().find(|busy| busy.contains(&now)) else { return future.as_mut().poll(context) };
        timer.as_mut().reset(start + Duration::from_millis(busy.end));
        timer.as_mut().poll(context).map(|()| unreachable!())
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn finishing_in_time_counts_even_if_noticed_late() {
    let world = World::with(3).await;
    world.takes_by(|seen| if seen.operation == "ack" { 10 * SECOND } else { Duration::ZERO });
    let options = AckerOptions::new().linger(Duration::ZERO);
    let consumer = world.consumer().acker(options).shutdown_timeout(SECOND * 11 / 2).flush_timeout(SECOND * 21 / 2);
    // The handlers finish at 6 s, and their timeout is at 6.5 s; the acknowledgements finish at 17 s, and their timeout
    // is at 17.5 s.
    let busy = busy(&[5500..7000, 16_500..18_000], run(&consumer, sleep(SECOND), |_| sleep(6 * SECOND)));
    let report = busy.await;
    assert_eq!((report.stats.acknowledged, world.left()), (3, 0), "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_never_ends_is_dropped_at_shutdown() {
    let world = World::with(3).await;
    let start = Instant::now();
    let report = run(&world.consumer(), sleep(SECOND), |_| pending::<Verdict>()).await;
    assert_eq!((report.stats.pulled, report.stats.left), (3, 3));
    assert_eq!(start.elapsed().as_secs(), 16);
}

#[tokio::test(start_paused = true)]
async fn no_handler_outlasts_the_shutdown_timeout_while_acknowledgements_hang() {
    let world = World::with(2).await;
    world.takes_by(|seen| if seen.operation == "ack" { MINUTE } else { Duration::ZERO });
    let consumer = world.consumer().shutdown_timeout(5 * SECOND);
    let handler = |message: Message| sleep(10 * SECOND * message.body.json::<u32>().unwrap());
    let report = run(&consumer, sleep(SECOND), handler).await;
    assert_eq!((report.stats.unconfirmed, report.stats.left), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_stop_while_a_pull_hangs_is_bounded() {
    let world = World::with(3).await;
    world.takes(20 * SECOND);
    let start = Instant::now();
    let consumer = world.consumer().shutdown_timeout(5 * SECOND);
    let report = run(&consumer, sleep(SECOND), |_| async {}).await;
    assert_eq!((report.stats.pulled, start.elapsed().as_secs()), (0, 6));
    // Messages that the pull returns afterwards are still handed back.
    sleep(60 * SECOND).await;
    assert_eq!(
        world.emulator.messages(world.emulator.queue_id()).iter().filter(|message| message.is_leased).count(),
        0
    );
    assert_eq!((world.left(), world.most_attempts(), world.seen("ack").len()), (3, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_arrives_during_the_flush_is_handed_back() {
    for (unsettled, expected) in [(Unsettled::Retry, (2, 1, 1, 0)), (Unsettled::Leave, (2, 1, 0, 1))] {
        let world = World::with(2).await;
        world.takes_by(|seen| if seen.operation == "pull" { SECOND / 2 } else { SECOND });
        let consumer =
            world.consumer().batch_size(1).max_pulls(1).unsettled(unsettled).shutdown_timeout(Duration::ZERO);
        // The first message is acknowledged from 0.55 s to 1.55 s, the second one comes at 1 s.
        let report = run(&consumer, sleep(SECOND * 7 / 10), |_| async { Verdict::Ack }).await;
        let Stats { pulled, acknowledged, retried, left, .. } = report.stats;
        assert_eq!((pulled, acknowledged, retried, left), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_dropped_run_hands_back_unstarted_messages() {
    let world = World::with(10).await;
    let started = Arc::new(Notify::new());
    let start = Arc::clone(&started);
    let calls = AtomicUsize::new(0);
    let handler = move |_| {
        if calls.fetch_add(1, Ordering::Relaxed) == 3 {
            start.notify_one();
        }
        let is_first = calls.load(Ordering::Relaxed) < 4;
        async move { if is_first { Verdict::Ack } else { pending().await } }
    };
    let consumer = world.consumer().concurrency(2);
    tokio::select! {
        _ = run(&consumer, pending::<()>(), handler) => unreachable!(),
        () = started.notified() => {}
    }
    sleep(SECOND).await;
    // Two or three were done, one or two were in progress, and no other message waits for its lease to expire.
    let messages = world.emulator.messages(world.emulator.queue_id());
    let left = messages.len() as u64;
    assert!((7..=8).contains(&left), "{messages:?}");
    assert!(messages.iter().filter(|message| message.is_leased).count() <= 2, "{messages:?}");
    sleep(60 * SECOND).await;
    let report = run(&world.consumer(), sleep(5 * SECOND), |_| async {}).await;
    assert_eq!(report.stats.acknowledged, left);
    assert_eq!(consumer.stats().handlers_running, 0);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_run_sends_finished_verdicts() {
    let world = World::with(3).await;
    let consumer = world.consumer();
    let run = busy(&[500..1000, 1000..60_000], run(&consumer, pending::<()>(), |_| sleep(SECOND)));
    assert!(tokio::time::timeout(2 * SECOND, run).await.is_err());
    sleep(SECOND).await;
    assert_eq!(world.left(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_run_accounts_for_every_message() {
    for (unsettled, round_trip) in [(Unsettled::Retry, 20), (Unsettled::Leave, 20), (Unsettled::Retry, 2400)] {
        let world = World::with(100).await;
        world.takes(round_trip * MILLI);
        let consumer = world.consumer().unsettled(unsettled).concurrency(2);
        // It is dropped while two handlers run, two acknowledgements are in flight, and other messages wait.
        let calls = AtomicUsize::new(0);
        let handler = move |_| {
            let is_quick = calls.fetch_add(1, Ordering::Relaxed) < 2;
            sleep(if is_quick { MILLI } else { 3600 * SECOND })
        };
        let dropped = tokio::time::timeout(round_trip * MILLI * 7 / 2, run(&consumer, pending::<()>(), handler));
        assert!(dropped.await.is_err());
        let stats = consumer.stats();
        check_sum(&stats);
        let (is_left, is_retried) = (stats.left > 2, stats.unconfirmed > 2);
        let is_retry = unsettled == Unsettled::Retry;
        assert_eq!((stats.pulled > 4, is_left, is_retried), (true, !is_retry, is_retry), "{stats:?}");
        assert_eq!((stats.waiting, stats.handlers_running), (0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_was_told_to_stop_reports_no_failure_of_its_end() {
    let world = World::with(5).await;
    world.responds(|seen| (seen.operation == "ack").then(|| refusal(401, 10000)));
    let report = run(&world.consumer(), sleep(SECOND), |_| sleep(2 * SECOND)).await;
    assert_eq!((report.error.map(|error| error.kind()), report.unconfirmed.len()), (None, 5));
}
