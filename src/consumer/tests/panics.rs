//! Panics in user code: each affects only one message.

use serde::{Deserialize, Deserializer};

use super::*;

/// A number whose type panics on 1.
struct Moody(u32);

impl<'de> Deserialize<'de> for Moody {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u32::deserialize(deserializer)?;
        assert_ne!(number, 1, "a bug in a type");
        Ok(Self(number))
    }
}

#[tokio::test(start_paused = true)]
async fn a_type_that_panics_on_a_body_cannot_decode_it() {
    for is_batched in [false, true] {
        let world = World::with(3).await;
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        let consumer = world.consumer().json::<Moody>().on_undecodable(move |message, error| {
            log.lock().unwrap().push((message.body.json::<u32>().ok(), error.kind()));
            async { Verdict::Ack }
        });
        let report = if is_batched {
            consumer.run_batches_until(sleep(5 * SECOND), |jobs| async move { assert_eq!(jobs.len(), 2) }).await
        } else {
            consumer.run_until(sleep(5 * SECOND), |job, _| async move { assert_ne!(job.0, 1) }).await
        };
        let stats = report.unwrap().stats;
        assert_eq!((stats.acknowledged, stats.undecodable, stats.panicked, world.left()), (3, 1, 0, 0));
        assert_eq!(*seen.lock().unwrap(), [(Some(1), crate::ErrorKind::UndecodableBody)]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_type_that_panics_costs_a_stream_that_message_alone() {
    let world = World::with(3).await;
    let mut deliveries = world.consumer().json::<Moody>().stream().unwrap();
    let batch = deliveries.next_batch(3, SECOND).await.unwrap().unwrap();
    assert_eq!(batch.iter().map(|delivery| delivery.body().0).collect::<Vec<_>>(), [0, 2]);
    assert_eq!(deliveries.stats().undecodable, 1);
}

#[tokio::test(start_paused = true)]
async fn a_panic_while_deciding_on_an_undecodable_message_is_contained() {
    for is_batched in [false, true] {
        let world = World::with(3).await;
        let consumer = world.consumer().json::<Moody>().retry_delay(RetryDelay::fixed(600 * SECOND));
        let consumer = consumer.on_undecodable(|_, _| -> std::future::Ready<()> { panic!("a bug in a function") });
        let report = if is_batched {
            consumer.run_batches_until(sleep(5 * SECOND), |_| async {}).await
        } else {
            consumer.run_until(sleep(5 * SECOND), |_, _| async {}).await
        };
        let stats = report.unwrap().stats;
        assert_eq!((stats.acknowledged, stats.retried, stats.failed, world.left()), (2, 1, 1, 1));
    }
    let world = World::with(3).await;
    let consumer = world.consumer().json::<Moody>().retry_delay(RetryDelay::fixed(600 * SECOND));
    let consumer = consumer.on_undecodable(|_, _| -> std::future::Ready<()> { panic!("a bug in a function") });
    let mut deliveries = consumer.stream().unwrap();
    for delivery in deliveries.next_batch(3, 5 * SECOND).await.unwrap().unwrap() {
        delivery.ack().await.unwrap();
    }
    deliveries.acker().close().await;
    let stats = deliveries.stats();
    assert_eq!((stats.acknowledged, stats.retried, world.left()), (2, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_function_of_the_span_that_panics_costs_no_message() {
    let world = World::with(3).await;
    let consumer = world.consumer().span(|message| {
        assert_ne!(message.body.json::<u32>().unwrap(), 1, "a bug in a function");
        tracing::Span::none()
    });
    let report = run(&consumer, sleep(5 * SECOND), |_| async {}).await;
    assert_eq!((report.stats.acknowledged, report.stats.failed), (3, 0));
}
