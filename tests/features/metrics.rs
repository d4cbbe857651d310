//! What a consumer records through the facade of the crate `metrics`.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use cloudflare_queues::{Consumer, PushMessage, Verdict, emulator::Emulator};
use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};

const CONSUMED: &str = "messaging_client_consumed_messages_total";
const DURATION: &str = "messaging_process_duration_seconds";

/// The sum of what was recorded by each name and queue, and the number of recorded values.
#[derive(Clone, Debug, Default)]
struct Recorded(Arc<Mutex<BTreeMap<String, (f64, u32)>>>, Described);

/// The unit of each name.
type Described = Arc<Mutex<BTreeMap<String, Option<Unit>>>>;

struct Handle(Recorded, String);

impl Handle {
    fn add(&self, value: f64) {
        let mut recorded = self.0.0.lock().unwrap();
        let (sum, count) = recorded.entry(self.1.clone()).or_default();
        *sum += value;
        *count += 1;
    }
}

impl CounterFn for Handle {
    fn increment(&self, value: u64) {
        assert_ne!(value, 0, "only changes are recorded");
        self.add(value as f64);
    }

    fn absolute(&self, _: u64) {
        unreachable!("several consumers of a queue would overwrite each other")
    }
}

impl GaugeFn for Handle {
    fn increment(&self, value: f64) {
        assert_ne!(value, 0.0, "only changes are recorded");
        self.add(value);
    }

    fn decrement(&self, value: f64) {
        self.add(-value);
    }

    fn set(&self, _: f64) {
        unreachable!("several consumers of a queue would overwrite each other")
    }
}

impl HistogramFn for Handle {
    fn record(&self, value: f64) {
        self.add(value);
    }
}

impl Recorded {
    fn handle(&self, key: &Key) -> Arc<Handle> {
        let label = |name: &str| key.labels().find(|label| label.key() == name).map(|label| label.value().to_owned());
        assert_eq!(label("messaging_system").unwrap(), "cloudflare_queues");
        let operation = match key.name() {
            CONSUMED => Some("receive"),
            DURATION => Some("process"),
            _ => None,
        };
        assert_eq!(label("messaging_operation_name").as_deref(), operation);
        assert!(self.1.lock().unwrap().contains_key(key.name()), "{key} is not described");
        let name = key.name().trim_start_matches("cloudflare_queues_consumer_");
        let name = format!("{name} {}", label("messaging_destination_name").unwrap());
        self.0.lock().unwrap().entry(name.clone()).or_default();
        Arc::new(Handle(self.clone(), name))
    }

    fn describe(&self, name: &KeyName, unit: Option<Unit>, text: &str) {
        assert!(!text.is_empty(), "{name:?}");
        self.1.lock().unwrap().insert(name.as_str().to_owned(), unit);
    }
}

impl Recorder for Recorded {
    fn describe_counter(&self, name: KeyName, unit: Option<Unit>, text: SharedString) {
        self.describe(&name, unit, &text);
    }

    fn describe_gauge(&self, name: KeyName, unit: Option<Unit>, text: SharedString) {
        self.describe(&name, unit, &text);
    }

    fn describe_histogram(&self, name: KeyName, unit: Option<Unit>, text: SharedString) {
        self.describe(&name, unit, &text);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        self.handle(key).into()
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        self.handle(key).into()
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        self.handle(key).into()
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_consumer_does_is_recorded_by_queue() {
    let recorded = Recorded::default();
    let guard = metrics::set_default_local_recorder(&recorded);
    let emulator = Emulator::builder().real_time().in_process();
    let queue = emulator.queue().unwrap();
    queue.push_batch(&vec![PushMessage::text("x"); 10]).await.unwrap();
    let consumer = Consumer::new(queue).concurrency(2);
    drop(consumer.run_until(std::future::ready(()), |_| async {}).await.unwrap());
    let present = recorded.0.lock().unwrap().len();
    assert_eq!(present, 26, "20 counters, 5 gauges and a histogram are there before anything happens");
    let described = recorded.1.lock().unwrap().clone();
    assert_eq!(described.len(), present);
    for (name, unit) in described {
        assert_eq!(unit, Some(if name.ends_with("_seconds") { Unit::Seconds } else { Unit::Count }), "{name}");
    }
    let stop = || tokio::time::sleep(Duration::from_secs(5));
    for _ in 0..2 {
        let report = consumer.run_until(stop(), |message| async move {
            tokio::time::sleep(Duration::from_millis(100)).await;
            if message.attempts == Some(1) { Verdict::Retry } else { Verdict::Ack }
        });
        assert!(report.await.unwrap().error.is_none());
    }
    drop(guard);
    let recorded = recorded.0.lock().unwrap();
    let of = |name: &str| recorded.get(&format!("{name} {}", emulator.queue_id())).copied().unwrap_or_default();
    let stats = consumer.stats();
    assert_eq!((of(CONSUMED).0, of("acknowledged_total").0, of("retried_total").0), (20.0, 10.0, 10.0));
    assert_eq!((of("pulls_total").0, of("empty_pulls_total").0), (stats.pulls as f64, stats.empty_pulls as f64));
    assert_eq!(of(DURATION).1, 20);
    assert!((of(DURATION).0 - stats.handler_times.sum().as_secs_f64()).abs() < 1e-6);
    for gauge in ["pulls_in_flight", "handlers_running", "concurrency"] {
        assert!(of(gauge).0 == 0.0 && of(gauge).1 > 0, "{gauge}: {:?}", of(gauge));
    }
}

#[tokio::test(start_paused = true)]
async fn the_histogram_has_handlers_that_took_no_time() {
    let recorded = Recorded::default();
    let guard = metrics::set_default_local_recorder(&recorded);
    let emulator = Emulator::builder().real_time().in_process();
    let queue = emulator.queue().unwrap();
    queue.push_batch(&vec![PushMessage::text("x"); 10]).await.unwrap();
    let stop = tokio::time::sleep(Duration::from_secs(5));
    let report = Consumer::new(queue).run_until(stop, |_| async {}).await.unwrap();
    drop(guard);
    assert_eq!((report.stats.acknowledged, report.stats.handler_times.sum()), (10, Duration::ZERO));
    let recorded = recorded.0.lock().unwrap();
    let of = |name: &str| recorded.get(&format!("{name} {}", emulator.queue_id())).copied().unwrap_or_default();
    assert_eq!(of(DURATION).1, 10);
}
