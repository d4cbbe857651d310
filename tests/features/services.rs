//! Services of the tower ecosystem as handlers.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use cloudflare_queues::{Consumer, Message, PushMessage, consumer::RetryDelay, emulator::Emulator};
use tokio::time::sleep;
use tower::{limit::ConcurrencyLimit, service_fn, timeout::Timeout};

/// Counts a call until it is dropped.
struct Working(Arc<AtomicUsize>);

impl Drop for Working {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

#[tokio::test(start_paused = true)]
async fn a_timeout_and_a_concurrency_limit_apply_to_the_messages() {
    let emulator = Emulator::builder().real_time().in_process();
    let queue = emulator.queue().unwrap();
    queue.push_batch(&vec![PushMessage::text("x"); 20]).await.unwrap();
    let (count, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let seen = Arc::clone(&most);
    let service = service_fn(move |message: Message| {
        seen.fetch_max(count.fetch_add(1, Relaxed) + 1, Relaxed);
        let working = Working(Arc::clone(&count));
        async move {
            sleep(Duration::from_secs(if message.attempts == Some(1) { 60 } else { 1 })).await;
            drop(working);
            Ok::<_, Infallible>(())
        }
    });
    let service = Timeout::new(ConcurrencyLimit::new(service, 4), Duration::from_secs(2));
    let consumer = Consumer::new(queue).retry_delay(RetryDelay::fixed(Duration::ZERO)).failure_threshold(1.0);
    let report = consumer.run_service_until(sleep(Duration::from_secs(120)), service).await.unwrap();
    // The first attempt of each takes too long.
    assert_eq!((report.stats.failed, report.stats.acknowledged), (20, 20), "{report:?}");
    assert_eq!(most.load(Relaxed), 4);
}
