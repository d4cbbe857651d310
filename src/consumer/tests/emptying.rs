//! Runs and streams that end once the queue is empty.

use super::*;
use crate::message::pull::PullOptions;

#[tokio::test(start_paused = true)]
async fn until_empty_counts_from_the_last_settlement() {
    for (idle, most) in [(Duration::ZERO, Duration::ZERO), (5 * SECOND, 500 * MILLI), (MINUTE, 5 * SECOND)] {
        let world = World::with(250).await;
        world.takes(100 * MILLI);
        // Others are pulled, and none comes, while one is still handled.
        let handler =
            |message: Message| sleep(if message.body.json::<usize>().unwrap() == 7 { 2 * MINUTE } else { MILLI });
        let consumer = world.consumer().until_empty(idle);
        let start = Instant::now();
        let report = run(&consumer, pending::<()>(), handler).await;
        assert_eq!((report.stats.acknowledged, report.stats.backlog_count, world.left()), (250, Some(0), 0));
        let settled = world.seen("ack").last().unwrap().at + 100 * MILLI;
        assert!(settled - start > 2 * MINUTE);
        // A pull is sent `idle` after that, or as much later as pauses last, and returns.
        let took = Instant::now() - settled;
        assert!((idle + 100 * MILLI..=idle + most + 150 * MILLI).contains(&took), "{took:?} {idle:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn pulls_sent_before_the_last_settlement_show_no_empty_queue() {
    let world = World::with(1).await;
    world.takes_by(|seen| if seen.operation == "pull" { SECOND } else { Duration::ZERO });
    // The message returns while a pull is on its way back that was sent at 1 s.
    let handler = |message: Message| async move {
        sleep(700 * MILLI).await;
        if message.attempts == Some(1) { Verdict::Retry } else { Verdict::Ack }
    };
    let report = run(&world.consumer().until_empty(Duration::ZERO), pending::<()>(), handler).await;
    assert_eq!((report.stats.retried, report.stats.acknowledged, world.left()), (1, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn until_empty_counts_from_settlements_between_calls_for_messages() {
    let world = World::with(1).await;
    let mut deliveries = world.consumer().until_empty(5 * SECOND).stream().unwrap();
    let delivery = deliveries.next().await.unwrap().unwrap();
    sleep(MINUTE).await;
    delivery.ack().await.unwrap().await.unwrap();
    let settled = Instant::now();
    assert!(deliveries.next().await.is_none());
    assert!((5..7).contains(&settled.elapsed().as_secs()), "{:?}", settled.elapsed());
}

#[tokio::test(start_paused = true)]
async fn messages_that_arrive_or_return_in_time_are_handled() {
    let world = World::with(1).await;
    let stop = async {
        sleep(4 * SECOND).await;
        world.push(1).await;
        pending::<()>().await;
    };
    let is_first = |message: &Message| message.attempts == Some(1);
    let handler = move |message: Message| async move {
        if is_first(&message) { Verdict::RetryIn(3 * SECOND) } else { Verdict::Ack }
    };
    let start = Instant::now();
    let report = run(&world.consumer().until_empty(5 * SECOND), stop, handler).await;
    assert_eq!((report.stats.retried, report.stats.acknowledged, world.left()), (2, 2, 0));
    assert!((12 * SECOND..13 * SECOND).contains(&start.elapsed()), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn delayed_and_otherwise_leased_messages_are_counted_not_awaited() {
    let world = World::with(3).await;
    let _leased = world.direct.pull(PullOptions::new().batch_size(1)).await.unwrap();
    world.direct.push(&PushMessage::text("later").delay(MINUTE)).await.unwrap();
    let report = run(&world.consumer().until_empty(SECOND), pending::<()>(), |_| async {}).await;
    assert_eq!((report.stats.acknowledged, report.stats.backlog_count), (2, Some(2)));
    // The service may not say.
    world.responds(|seen| (seen.operation == "pull").then(|| success(serde_json::json!({ "messages": [] }))));
    let report = run(&world.consumer().until_empty(SECOND), pending::<()>(), |_| async {}).await;
    assert_eq!((report.stats.pulled, report.stats.backlog_count), (0, None));
}

#[tokio::test(start_paused = true)]
async fn failed_pulls_are_not_an_empty_queue_and_stops_still_work() {
    let world = World::with(10).await;
    let start = Instant::now();
    world.responds(move |_| (start.elapsed() < MINUTE).then(|| refusal(503, 0)));
    let report = run(&world.consumer().until_empty(Duration::ZERO), pending::<()>(), |_| async {}).await;
    assert_eq!((report.stats.acknowledged, world.left()), (10, 0));
    let report = run(&world.consumer().until_empty(Duration::MAX), sleep(MINUTE), |_| async {}).await;
    assert_eq!(report.stats.pulled, 0);
}

#[tokio::test(start_paused = true)]
async fn batches_end_with_an_empty_queue_as_well() {
    let world = World::with(25).await;
    let consumer = world.consumer().until_empty(SECOND).handler_batch_size(10).handler_linger(MINUTE);
    let report = consumer.run_batches_until(pending::<()>(), |_| async {}).await.unwrap();
    assert_eq!((report.stats.acknowledged, world.left()), (25, 0));
}

#[tokio::test(start_paused = true)]
async fn a_batch_of_a_stream_ends_with_an_empty_queue_as_well() {
    let mut deliveries = World::with(25).await.consumer().until_empty(SECOND).stream().unwrap();
    let batch = tokio::time::timeout(MINUTE, deliveries.next_batch(100, Duration::MAX)).await.unwrap();
    assert_eq!(batch.unwrap().unwrap().len(), 25);
}

#[tokio::test(start_paused = true)]
async fn until_empty_ends_a_stream_once_all_is_settled() {
    let world = World::with(25).await;
    let mut deliveries = world.consumer().until_empty(SECOND).json::<usize>().stream().unwrap();
    let (start, mut count) = (Instant::now(), 0);
    while let Some(delivery) = deliveries.next().await {
        let delivery = delivery.unwrap();
        count += 1;
        tokio::spawn(async move {
            sleep(if *delivery.body() == 7 { MINUTE } else { MILLI }).await;
            delivery.ack().await.unwrap();
        });
    }
    assert_eq!((count, world.left()), (25, 0));
    assert!((61 * SECOND..63 * SECOND).contains(&start.elapsed()), "{:?}", start.elapsed());
    assert!(deliveries.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn until_empty_counts_from_a_message_that_is_left() {
    let world = World::with(1).await;
    let consumer = world.consumer().visibility_timeout(60 * MINUTE).until_empty(SECOND);
    let consumer = consumer.min_idle(MINUTE).max_idle(10 * MINUTE);
    let mut deliveries = consumer.stream().unwrap();
    let delivery = deliveries.next().await.unwrap().unwrap();
    let (start, leave) = (Instant::now(), sleep(10 * SECOND));
    let left = async {
        leave.await;
        delivery.leave();
    };
    let (next, ()) = tokio::join!(deliveries.next(), left);
    assert!(next.is_none() && start.elapsed() < 2 * MINUTE, "{:?}", start.elapsed());
}
