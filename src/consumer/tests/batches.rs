//! Handlers of several messages.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

async fn run_batches<F>(
    consumer: &Consumer,
    stop: impl Future,
    handler: impl Fn(Vec<Message>) -> F + Send + Sync + 'static,
) -> Report
where
    F: Future<Output: IntoVerdicts> + Send + 'static,
{
    let report = consumer.run_batches_until(stop, handler).await.unwrap();
    check(&report);
    report
}

fn number(message: &Message) -> u32 {
    message.body.json().unwrap()
}

#[tokio::test(start_paused = true)]
async fn batch_handlers_get_full_batches_and_lingered_rests() {
    let world = World::with(250).await;
    let (start, sizes) = (Instant::now(), Arc::new(Mutex::new(Vec::new())));
    let seen = Arc::clone(&sizes);
    let consumer = world.consumer().concurrency(1).handler_batch_size(100).handler_linger(3 * SECOND);
    let report = run_batches(&consumer, sleep(20 * SECOND), move |messages| {
        seen.lock().unwrap().push((messages.len(), start.elapsed().as_secs()));
        async {}
    })
    .await;
    assert_eq!(*sizes.lock().unwrap(), [(100, 0), (100, 0), (50, 3)]);
    assert_eq!((report.stats.acknowledged, world.left()), (250, 0));
}

#[tokio::test(start_paused = true)]
async fn a_handler_may_decide_on_each_message() {
    let world = World::with(9).await;
    let consumer = world.consumer().handler_linger(MILLI);
    let report = run_batches(&consumer, sleep(5 * SECOND), |messages| async move {
        let verdict = |message: &Message| match number(message) % 3 {
            0 => Verdict::Ack,
            1 => Verdict::RetryIn(60 * SECOND),
            _ => Verdict::Leave,
        };
        messages.iter().map(verdict).collect::<Vec<_>>()
    })
    .await;
    assert_eq!((report.stats.acknowledged, report.stats.retried, report.stats.left), (3, 3, 3));
}

#[tokio::test(start_paused = true)]
async fn an_error_or_a_panic_fails_the_whole_batch() {
    for way in 0..3 {
        let world = World::with(6).await;
        let consumer = world.consumer().handler_linger(MILLI).retry_delay(RetryDelay::fixed(3600 * SECOND));
        let report = run_batches(&consumer, sleep(5 * SECOND), move |messages| {
            assert_ne!(way, 0, "a panic");
            async move { if way == 1 { Err("all of them") } else { Ok(vec![Verdict::Ack; messages.len() - 1]) } }
        })
        .await;
        let panicked = if way == 0 { 6 } else { 0 };
        assert_eq!((report.stats.failed, report.stats.retried, report.stats.panicked), (6, 6, panicked));
        assert_eq!(world.left(), 6);
    }
}

/// Fewer verdicts than messages, which only a type of the user can give.
struct NoVerdicts;

impl IntoVerdicts for NoVerdicts {
    fn into_verdicts(self, _: usize) -> Vec<Result<Verdict, String>> {
        Vec::new()
    }
}

#[tokio::test(start_paused = true)]
async fn a_handler_without_verdicts_has_failed_and_not_panicked() {
    let world = World::with(6).await;
    let consumer = world.consumer().handler_linger(MILLI).retry_delay(RetryDelay::fixed(3600 * SECOND));
    let report = run_batches(&consumer, sleep(5 * SECOND), |_| async { NoVerdicts }).await;
    assert_eq!((report.stats.failed, report.stats.retried, report.stats.panicked), (6, 6, 0));
}

#[tokio::test(start_paused = true)]
async fn each_message_of_a_batch_counts_towards_the_bytes_held() {
    let world = World::with(500).await;
    let consumer = world.consumer().handler_batch_size(50).max_bytes(60_000).shutdown_timeout(Duration::ZERO);
    let report = run_batches(&consumer, sleep(30 * SECOND), |_| sleep(20 * SECOND)).await;
    // 600 bytes each, in addition to the first pull, which is made before that is known.
    assert!((100..=200).contains(&report.stats.pulled), "{}", report.stats.pulled);
}

#[tokio::test(start_paused = true)]
async fn a_typed_batch_handler_does_not_see_undecodable_messages() {
    let world = World::with(0).await;
    let _ = world.direct.push(&PushMessage::text("no number")).await.unwrap();
    world.push(4).await;
    let consumer = world.consumer().handler_linger(MILLI).json::<u32>().on_undecodable(|message, _| async move {
        assert_eq!(message.body.text().unwrap(), "no number");
        Verdict::Ack
    });
    let handler = |jobs: Vec<(u32, Message)>| async move {
        jobs.iter().map(|(number, _)| if *number == 0 { Verdict::Leave } else { Verdict::Ack }).collect::<Vec<_>>()
    };
    let report = consumer.run_batches_until(sleep(5 * SECOND), handler).await.unwrap();
    check(&report);
    assert_eq!((report.stats.undecodable, report.stats.acknowledged, report.stats.left), (1, 4, 1));
    let left = world.emulator.messages(world.emulator.queue_id());
    assert_eq!(left[0].body.json::<u32>().unwrap(), 0, "each verdict is for its message");
}

#[tokio::test(start_paused = true)]
async fn undecodable_messages_and_the_others_of_a_batch_are_settled_apart() {
    // How long the handler takes, or that it panics, how long each decision takes, and the timeout of both.
    for (handler, decision, timeout, expected) in [
        (Some(5 * SECOND), SECOND, 20 * SECOND, (22, 0, 0)),
        (Some(5 * SECOND), Duration::MAX, Duration::MAX, (2, 0, 0)),
        (Some(5 * SECOND), Duration::MAX, 20 * SECOND, (2, 20, 0)),
        (Some(Duration::MAX), SECOND, 20 * SECOND, (20, 2, 0)),
        (None, SECOND, 20 * SECOND, (20, 2, 2)),
    ] {
        let world = World::with(2).await;
        let _ = world.direct.push_all(&vec![PushMessage::text("no number"); 20]).await.unwrap();
        let consumer = world.consumer().handler_linger(MILLI).handler_timeout(timeout);
        let consumer = consumer.retry_delay(RetryDelay::fixed(3600 * SECOND)).json::<u32>();
        let consumer = consumer.on_undecodable(move |_, _| sleep(decision));
        let report = consumer.run_batches_until(sleep(50 * SECOND), move |jobs| {
            assert_eq!(jobs.len(), 2);
            sleep(handler.expect("a panic"))
        });
        let report = report.await.unwrap();
        check(&report);
        let Stats { acknowledged, failed, panicked, left, .. } = report.stats;
        assert_eq!((acknowledged, failed, panicked), expected, "{handler:?} {decision:?} {timeout:?}");
        assert_eq!(left, 22 - acknowledged - failed);
    }
}

#[tokio::test(start_paused = true)]
async fn a_lingered_batch_does_not_wait_for_the_next_pull() {
    let world = World::with(3).await;
    let (start, at) = (Instant::now(), Arc::new(Mutex::new(None)));
    let seen = Arc::clone(&at);
    let consumer = world.consumer().handler_linger(3 * SECOND).min_idle(600 * SECOND).max_idle(600 * SECOND);
    let _ = run_batches(&consumer, sleep(60 * SECOND), move |_| {
        *seen.lock().unwrap() = Some(start.elapsed().as_secs());
        async {}
    })
    .await;
    assert_eq!(*at.lock().unwrap(), Some(3));
}

#[tokio::test(start_paused = true)]
async fn a_typed_batch_handler_is_not_called_without_a_message() {
    let world = World::with(0).await;
    let _ = world.direct.push(&PushMessage::text("no number")).await.unwrap();
    let calls = Arc::new(AtomicUsize::new(0));
    let called = Arc::clone(&calls);
    let consumer = world.consumer().handler_linger(MILLI).json::<u32>();
    let consumer = consumer.on_undecodable(|_, _| async { Verdict::Ack });
    let report = consumer.run_batches_until(sleep(5 * SECOND), move |_: Vec<(u32, Message)>| {
        called.fetch_add(1, Ordering::Relaxed);
        async {}
    });
    let report = report.await.unwrap();
    assert_eq!((report.stats.undecodable, report.stats.left, calls.load(Ordering::Relaxed)), (1, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn each_batch_lingers_from_its_own_first_message() {
    let world = World::with(1).await;
    let (start, at) = (Instant::now(), Arc::new(Mutex::new(Vec::new())));
    let seen = Arc::clone(&at);
    let consumer = world.consumer().handler_linger(3 * SECOND).min_idle(SECOND).max_idle(SECOND);
    let later = async {
        sleep(Duration::from_millis(10_500)).await;
        let _ = world.direct.push(&PushMessage::text("1")).await.unwrap();
        sleep(20 * SECOND).await;
    };
    let _ = run_batches(&consumer, later, move |_| {
        seen.lock().unwrap().push(start.elapsed().as_secs());
        async {}
    })
    .await;
    assert!(matches!(at.lock().unwrap()[..], [3, 13 | 14]), "{at:?}");
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_no_message_can_join_does_not_linger() {
    let bounds: [fn(Consumer) -> Consumer; 3] =
        [|consumer| consumer.limit(25), |consumer| consumer.until_empty(SECOND), |consumer| consumer.max_bytes(0)];
    for bound in bounds {
        let world = World::with(25).await;
        let consumer = bound(world.consumer()).handler_batch_size(100).handler_linger(Duration::MAX);
        let report = run_batches(&consumer, sleep(MINUTE), |_| async {}).await;
        assert_eq!((report.stats.acknowledged, world.left()), (25, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_filled_by_as_many_pulls_as_it_takes() {
    let world = World::with(100).await;
    let consumer = world.consumer().concurrency(1).batch_size(80).handler_linger(Duration::MAX);
    let report = run_batches(&consumer, sleep(10 * SECOND), |_| async {}).await;
    assert_eq!((report.stats.acknowledged, report.stats.pulls.min(3)), (100, 3));
}
