//! Statistics, health, logs and spans of a consumer.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
};

use tokio::sync::MutexGuard;
use tracing::{
    Event, Id, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Record},
};

use super::*;
use crate::acker::AckerOptions;

/// The lines logged in the meantime: spans and events, with their fields.
#[derive(Clone, Default)]
pub(super) struct Log(Arc<Mutex<Vec<String>>>);

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        write!(self.0, " {field}={value:?}").unwrap();
    }
}

impl Log {
    pub(super) fn lines(&self, with: &str) -> Vec<String> {
        self.0.lock().unwrap().iter().filter(|line| line.contains(with)).cloned().collect()
    }

    fn add(&self, line: Line) {
        self.0.lock().unwrap().push(line.0);
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("cloudflare_queues")
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut line = Line(format!("span {}", span.metadata().name()));
        span.record(&mut line);
        self.add(line);
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        let mut line = Line("record".to_owned());
        values.record(&mut line);
        self.add(line);
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {
        self.add(Line("follows".to_owned()));
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(format!("event {}", event.metadata().level()));
        event.record(&mut line);
        self.add(line);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// Only one test at a time records a log.
static LOGGING: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// From now on, records what is logged on this thread, until the guards are dropped.
pub(super) async fn keep() -> (Log, impl Drop) {
    struct Guards(
        #[expect(dead_code, reason = "they are dropped")] (tracing::subscriber::DefaultGuard, MutexGuard<'static, ()>),
    );
    impl Drop for Guards {
        fn drop(&mut self) {}
    }
    crate::test_log::keep_on();
    let lock = LOGGING.lock().await;
    // A log statement that is first reached on a thread without a subscriber would stay disabled.
    let world = World::with(1).await;
    world.responds(|seen| (seen.operation == "pull" && seen.nth == 0).then(|| refusal(503, 0)));
    let fail = |message: Message| async move { if message.attempts == Some(1) { Err("no") } else { Ok(()) } };
    let _ = run(&world.consumer(), sleep(SECOND), fail).await;
    let log = Log::default();
    let guard = tracing::subscriber::set_default(log.clone());
    (log, Guards((guard, lock)))
}

#[tokio::test(start_paused = true)]
async fn handler_errors_are_warnings_in_their_span() {
    let (log, guard) = keep().await;
    let world = World::with(1).await;
    let report = run(&world.consumer(), sleep(SECOND), |message| async move {
        if message.attempts == Some(1) { Err("the card was declined") } else { Ok(()) }
    })
    .await;
    drop(guard);
    assert_eq!(report.stats.failed, 1);
    let spans = log.lines("span process");
    assert_eq!(spans.len(), 2);
    for field in
        ["otel.kind=\"consumer\"", "messaging.system=\"cloudflare_queues\"", "messaging.message.id=", "attempts=1"]
    {
        assert!(spans[0].contains(field), "{}", spans[0]);
    }
    assert_eq!(log.lines("error=the card was declined").len(), 1);
    assert_eq!((log.lines("otel.status_code").len(), log.lines("error.type=\"handler\"").len()), (1, 1));
    assert_eq!(log.lines("follows").len(), 2, "each span is linked to its pull");
}

#[tokio::test(start_paused = true)]
async fn a_panic_marks_the_span_of_its_handler() {
    let (log, guard) = keep().await;
    let world = World::with(1).await;
    let stop = async {
        while world.seen("ack").is_empty() {
            sleep(MILLI).await
        }
    };
    let _ = run(&world.consumer(), stop, |_| async { panic!("a bug in a handler") as () }).await;
    drop(guard);
    assert_eq!((log.lines("otel.status_code").len(), log.lines("error.type=\"panic\"").len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_failure_of_a_whole_batch_is_logged_once() {
    let (log, guard) = keep().await;
    let world = World::with(6).await;
    let consumer = world.consumer().handler_linger(MILLI).retry_delay(RetryDelay::fixed(3600 * SECOND));
    let report = consumer.run_batches_until(sleep(SECOND), |_| async { Err::<(), _>("the disk is full") }).await;
    drop(guard);
    assert_eq!(report.unwrap().stats.failed, 6);
    assert_eq!(log.lines("error=the disk is full").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_span_can_be_the_users_own() {
    let (log, guard) = keep().await;
    let world = World::with(1).await;
    let consumer = world.consumer().span(|message| {
        let trace: u32 = message.body.json().unwrap();
        tracing::info_span!(target: "cloudflare_queues", "mine", trace)
    });
    let _ = run(&consumer, sleep(SECOND), |_| async {}).await;
    drop(guard);
    assert_eq!((log.lines("span mine trace=0").len(), log.lines("span process").len()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn failing_pulls_are_logged_at_growing_intervals_and_their_end_once() {
    for (status, code) in [(405, 0), (409, 10000), (503, 0)] {
        let (log, guard) = keep().await;
        let world = World::with(1).await;
        let start = Instant::now();
        world.responds(move |_| (start.elapsed() < 3600 * SECOND).then(|| refusal(status, code)));
        let consumer = world.consumer();
        let mut health = None;
        let stop = async {
            sleep(3000 * SECOND).await;
            health = Some(consumer.health());
            sleep(1000 * SECOND).await;
        };
        let report = run(&consumer, stop, |_| async {}).await;
        drop(guard);
        let warnings = log.lines("pulling fails").len();
        assert!((5..=20).contains(&warnings), "{warnings}");
        assert_eq!(log.lines("pulling works again").len(), 1);
        let health = health.unwrap();
        assert_eq!(health.status, Status::PullsFail);
        assert!(health.lasting > 2900 * SECOND && health.last_error.is_some());
        assert_eq!((report.stats.acknowledged, report.stats.last_pull.is_some()), (1, true));
    }
}

#[tokio::test(start_paused = true)]
async fn refusals_for_their_rate_are_logged_once_until_there_are_none_for_30_seconds() {
    let (log, guard) = keep().await;
    let world = World::with(1).await;
    let start = Instant::now();
    // Two outages of 20 s, a minute apart.
    world.responds(move |_| (start.elapsed().as_secs() % 80 < 20).then(|| refusal(429, 10250)));
    let _ = run(&world.consumer(), sleep(160 * SECOND), |_| async {}).await;
    drop(guard);
    let lines = log.lines("requests are refused for their rate");
    assert!(lines.len() == 2 && lines.iter().all(|line| line.contains("pulls")), "{lines:?}");
}

#[tokio::test(start_paused = true)]
async fn each_step_of_slowing_down_is_logged_and_its_end_once() {
    let (log, guard) = keep().await;
    let mut brake = brake::Brake::new("handlers fail", 0.5);
    (0..16).for_each(|_| brake.record(false));
    assert_eq!(log.lines("event").len(), 0);
    (0..33).for_each(|_| brake.record(true));
    assert_eq!(log.lines("pulling is slowed down").len(), 2);
    assert!(log.lines("slowdown=2")[0].starts_with("event WARN") && log.lines("what=\"handlers fail\"").len() == 2);
    (0..30).for_each(|_| brake.record(false));
    assert_eq!(log.lines("pulling is slowed down").len(), 3, "the step back to the first one");
    assert_eq!(log.lines("pulling at full speed again").len(), 1);
    drop(guard);
}

#[tokio::test(start_paused = true)]
async fn messages_of_a_dropped_wait_are_no_failures() {
    let (log, guard) = keep().await;
    let world = World::with(100).await;
    let mut deliveries = world.consumer().stream().unwrap();
    for _ in 0..10 {
        assert!(tokio::time::timeout(SECOND, deliveries.next_batch(1000, 60 * SECOND)).await.is_err());
    }
    assert!(deliveries.stats().pulled > 30);
    drop(deliveries);
    drop(guard);
    assert!(log.lines("pulling is slowed down").is_empty());
}

#[tokio::test(start_paused = true)]
async fn health_distinguishes_working_from_stuck() {
    let world = World::with(10).await;
    let consumer = world.consumer().concurrency(2);
    assert_eq!(consumer.health().status, Status::Stopped);
    let mut seen = Vec::new();
    let stop = async {
        sleep(30 * SECOND).await;
        seen.push(consumer.health());
        sleep(300 * SECOND).await;
        seen.push(consumer.health());
    };
    let _ = run(&consumer, stop, |_| pending::<()>()).await;
    assert_eq!((seen[0].status, seen[0].is_healthy()), (Status::Working, true));
    assert_eq!((seen[1].status, seen[1].is_healthy()), (Status::Stuck, false));
    assert!(seen[1].lasting >= 265 * SECOND, "{:?}", seen[1]);
    assert_eq!(consumer.health().status, Status::Stopped);
}

#[tokio::test(start_paused = true)]
async fn busy_handlers_that_finish_are_not_stuck() {
    let world = World::with(1000).await;
    let consumer = world.consumer().concurrency(2);
    let mut health = None;
    let stop = async {
        sleep(300 * SECOND).await;
        health = Some(consumer.health());
    };
    let _ = run(&consumer, stop, |_| sleep(SECOND)).await;
    assert_eq!(health.unwrap().status, Status::Working);
}

#[tokio::test(start_paused = true)]
async fn the_worst_of_several_runs_is_the_health_of_a_consumer() {
    let world = World::with(2000).await;
    world.takes(20 * MILLI);
    let consumer = world.consumer().concurrency(2).max_idle(SECOND);
    // One run is stuck, one is slowed down, and one works: whichever was the last to record something.
    let stuck = tokio::spawn({
        let consumer = consumer.clone();
        async move { run(&consumer, sleep(400 * SECOND), |_| pending::<()>()).await }
    });
    let slowed = tokio::spawn({
        let consumer = consumer.clone();
        async move { run(&consumer, sleep(600 * SECOND), |_| async { Err::<(), _>("no") }).await }
    });
    let working = tokio::spawn({
        let consumer = consumer.clone();
        async move { run(&consumer, sleep(900 * SECOND), |_| sleep(3 * SECOND)).await }
    });
    let mut seen = Vec::new();
    for _ in 0..20 {
        sleep(50 * SECOND).await;
        seen.push((consumer.health().status, consumer.stats().slowdown > 0));
    }
    let both = |status, is_slow| (status, is_slow);
    assert!(seen[2..7].iter().all(|seen| *seen == both(Status::Stuck, true)), "{seen:?}");
    assert!(seen[8..11].iter().all(|seen| *seen == both(Status::Slowed, true)), "{seen:?}");
    assert!(seen[12..17].iter().all(|seen| *seen == both(Status::Working, false)), "{seen:?}");
    assert_eq!(seen[19], both(Status::Stopped, false));
    for ended in [stuck, slowed, working] {
        assert!(ended.await.unwrap().error.is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn stats_have_a_histogram_and_gauges() {
    let world = World::with(20).await;
    let consumer = world.consumer().concurrency(4).acker(AckerOptions::new().linger(MILLI));
    let mut running = 0;
    let stop = async {
        sleep(150 * MILLI).await;
        running = consumer.stats().handlers_running;
        sleep(10 * SECOND).await;
    };
    let report = run(&consumer, stop, |_| sleep(100 * MILLI)).await;
    assert_eq!(running, 4);
    let times = &report.stats.handler_times;
    assert_eq!((times.count(), times.sum().as_millis() / 10), (20, 200));
    let filled: Vec<_> = times.buckets().filter(|(_, count)| *count > 0).collect();
    assert_eq!(filled, [(128 * MILLI, 20)]);
    let json = serde_json::to_value(&report.stats).unwrap();
    assert_eq!((&json["pulled"], &json["pulls_in_flight"]), (&20.into(), &0.into()));
}

/// The arguments of each use of a macro in the consumer's code, and in that of its rate.
fn uses(of: &str) -> Vec<Vec<String>> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/consumer");
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).filter(|path| path.is_file());
    let files = files.chain([concat!(env!("CARGO_MANIFEST_DIR"), "/src/flow/rate.rs").into()]);
    let code = files.map(|path| std::fs::read_to_string(path).unwrap()).collect::<String>();
    let code: String = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    code.split(of).skip(1).map(arguments).collect()
}

/// Splits at commas, unless they are within a string or parentheses, up to the closing one.
fn arguments(text: &str) -> Vec<String> {
    let (mut depth, mut in_string, mut arguments) = (0, false, vec![String::new()]);
    for character in text.chars() {
        match character {
            '"' => in_string = !in_string,
            '(' if !in_string => depth += 1,
            ')' if !in_string && depth == 0 => break,
            ')' if !in_string => depth -= 1,
            ',' if !in_string && depth == 0 => {
                arguments.push(String::new());
                continue;
            }
            _ => {}
        }
        arguments.last_mut().unwrap().push(character);
    }
    arguments.iter().map(|argument| argument.trim().to_owned()).filter(|argument| !argument.is_empty()).collect()
}

/// What is named in backticks in an entry of the section of the documentation on tracing: a span or an event, and its
/// fields.
fn documented() -> BTreeMap<String, BTreeSet<String>> {
    let code = include_str!("../handle.rs");
    let section = code.split("/// # Tracing").nth(1).unwrap().split("/// # Metrics").next().unwrap();
    let text = section.lines().map(|line| line.trim_start_matches("///")).collect::<String>();
    let text = text.split("None has a body").next().unwrap();
    let entries = text.split(" - `").skip(1).map(|entry| {
        let (name, rest) = entry.split_once('`').unwrap();
        let fields = rest.split_once("Fields:").map_or("", |(_, fields)| fields);
        let fields = fields.split('`').skip(1).step_by(2).filter(|field| !["client", "consumer"].contains(field));
        (name.split_whitespace().collect::<Vec<_>>().join(" "), fields.map(str::to_owned).collect())
    });
    entries.collect()
}

#[test]
fn the_documented_spans_events_and_fields_are_those_of_the_code() {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let events = ["tracing::warn!(", "tracing::info!("].map(uses).concat();
    for mut arguments in [uses("tracing::info_span!("), events].concat() {
        let is_name = |argument: &String| argument.starts_with('"');
        let name = arguments.iter().position(is_name).unwrap_or_else(|| panic!("{arguments:?}"));
        let name = arguments.remove(name);
        let fields = arguments.iter().filter(|argument| !argument.starts_with("parent:"));
        let fields = fields.map(|field| field.split(" = ").next().unwrap().trim_start_matches(['%', '?']).to_owned());
        found.entry(name.trim_matches('"').to_owned()).or_default().extend(fields);
    }
    assert_eq!(found, documented());
    assert!(found.len() > 15, "{found:?}");
}

#[test]
fn each_metric_of_the_crate_is_the_statistic_of_its_name() {
    let code = include_str!("../metrics.rs");
    let metrics: Vec<_> = code.split("\"cloudflare_queues_consumer_").skip(1).collect();
    for metric in &metrics {
        let (name, rest) = metric.split_once("\",").unwrap();
        let read = rest.split_once("|stats| stats.").unwrap().1;
        assert_eq!(read.split([',', '.']).next().unwrap(), name.trim_end_matches("_total"));
    }
    assert!(metrics.len() > 20, "{metrics:?}");
}

#[test]
fn stats_tell_all_that_is_asked_of_a_consumer() {
    let stats = serde_json::to_value(Stats::default()).unwrap();
    for name in [
        "pulls",
        "empty_pulls",
        "pulls_in_flight",
        "handlers_running",
        "concurrency",
        "rate_limited_pulls",
        "failed",
        "undecodable",
        "dead_lettered",
        "extended",
        "lost_leases",
        "last_pull",
        "last_error",
        "handler_times",
        "slowdown",
        "unconfirmed",
    ] {
        assert!(stats.get(name).is_some(), "{name}");
    }
}
