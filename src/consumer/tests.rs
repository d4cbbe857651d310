//! On a clock that stands still until nothing else can be done, with a queue in memory.

use std::{
    future::pending,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};

use super::{puller::Source, run::Run, *};
use crate::lease::LeaseId;
use crate::{
    ack::{AckOutcome, AckRequest, Decision},
    acker::Sink,
    error::ErrorKind,
    pull::Batch,
};

const SECOND: Duration = Duration::from_secs(1);

#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    messages: Vec<Stored>,
    /// When each pull came, and how much it asked for.
    pulls: Vec<(Instant, u32)>,
    /// How long a pull takes to be answered.
    pull_takes: Duration,
    fail_pulls: Option<Error>,
    fail_acks: Option<Error>,
}

struct Stored {
    body: serde_json::Value,
    attempts: u32,
    visible_at: Instant,
    is_done: bool,
}

impl Memory {
    fn with(count: usize) -> Self {
        let memory = Self::default();
        (0..count).for_each(|number| memory.push(number.into()));
        memory
    }

    fn push(&self, body: serde_json::Value) {
        let message = Stored { body, attempts: 0, visible_at: Instant::now(), is_done: false };
        self.0.lock().unwrap().messages.push(message);
    }

    fn done(&self) -> usize {
        self.0.lock().unwrap().messages.iter().filter(|message| message.is_done).count()
    }

    fn pulls(&self) -> Vec<(Instant, u32)> {
        self.0.lock().unwrap().pulls.clone()
    }
}

fn lease_id(number: usize, attempts: u32) -> LeaseId {
    LeaseId::from(format!("{number}/{attempts}"))
}

impl Source for Memory {
    async fn pull(&self, options: PullOptions) -> Result<Batch, Error> {
        let now = Instant::now();
        let pull_takes = self.0.lock().unwrap().pull_takes;
        sleep(pull_takes).await;
        let mut inner = self.0.lock().unwrap();
        inner.pulls.push((now, options.batch_size));
        if let Some(error) = &inner.fail_pulls {
            return Err(error.clone());
        }
        let visible =
            inner.messages.iter_mut().enumerate().filter(|(_, message)| !message.is_done && message.visible_at <= now);
        let messages = visible.take(options.batch_size as usize).map(|(number, message)| {
            message.attempts += 1;
            message.visible_at = now + options.visibility_timeout;
            Message {
                id: number.to_string(),
                lease_id: lease_id(number, message.attempts),
                attempts: Some(message.attempts),
                timestamp: None,
                metadata: serde_json::Map::new(),
                lease_deadline: message.visible_at.into_std(),
                body: message.body.to_string().into_body(),
            }
        });
        Ok(Batch { messages: messages.collect(), ..Batch::default() })
    }
}

trait IntoBody {
    fn into_body(self) -> crate::message::MessageBody;
}

impl IntoBody for String {
    fn into_body(self) -> crate::message::MessageBody {
        serde_json::Value::from(self).into()
    }
}

impl Sink for Memory {
    async fn ack(&self, request: AckRequest) -> Result<AckOutcome, Error> {
        sleep(SECOND).await;
        let mut inner = self.0.lock().unwrap();
        if let Some(error) = &inner.fail_acks {
            return Err(error.clone());
        }
        let (mut acks, mut retries) = (0, 0);
        for entry in &request.entries {
            let lease = entry.lease_id.expose_secret();
            let (number, attempts) = lease.split_once('/').unwrap();
            let message = &mut inner.messages[number.parse::<usize>().unwrap()];
            match entry.decision {
                Decision::Ack => {
                    message.is_done = true;
                    acks += 1;
                }
                Decision::Retry(delay) if message.attempts.to_string() == attempts => {
                    message.visible_at = Instant::now() + delay.unwrap_or_default();
                    retries += 1;
                }
                Decision::Retry(_) => {}
            }
        }
        let mut outcome = AckOutcome::new();
        outcome.add(&request.entries, Some(acks), Some(retries), Vec::new());
        Ok(outcome)
    }
}

async fn run<F>(
    memory: &Memory,
    options: ConsumerOptions,
    stop: impl Future,
    handler: impl Fn(Message) -> F + Send + Sync + 'static,
) -> Report
where
    F: Future<Output: IntoVerdict> + Send + 'static,
{
    let report = Run::new(memory.clone(), options, Arc::default()).unwrap().until(stop, Arc::new(handler)).await;
    let stats = &report.stats;
    let accounted = stats.acknowledged + stats.retried + stats.left + stats.expired + report.unconfirmed.len() as u64;
    assert_eq!(stats.pulled, accounted, "every message is accounted for, and once: {report:?}");
    report
}

#[tokio::test(start_paused = true)]
async fn every_message_is_handled_once_and_acknowledged_beside_the_work() {
    let memory = Memory::with(1000);
    let (started, busiest) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counts = (Arc::clone(&started), Arc::clone(&busiest), Arc::new(AtomicUsize::new(0)));
    let report = run(&memory, ConsumerOptions::default(), sleep(20 * SECOND), move |_| {
        let (started, busiest, now) = counts.clone();
        async move {
            started.fetch_add(1, Ordering::Relaxed);
            busiest.fetch_max(now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
            sleep(Duration::from_millis(100)).await;
            now.fetch_sub(1, Ordering::Relaxed);
            Verdict::Ack
        }
    })
    .await;
    // 1000 messages of 100 ms, ten at a time, take ten seconds, although an acknowledgement takes one.
    assert_eq!((memory.done(), report.stats.acknowledged), (1000, 1000));
    assert_eq!((started.load(Ordering::Relaxed), busiest.load(Ordering::Relaxed)), (1000, 10));
    assert_eq!(report.stats.handler_times.quantile(0.99), Duration::from_millis(128));
}

#[tokio::test(start_paused = true)]
async fn an_empty_queue_is_asked_ever_more_seldom_and_a_full_one_at_once() {
    let memory = Memory::default();
    let start = Instant::now();
    let fill = memory.clone();
    let options = ConsumerOptions { max_idle: SECOND, ..ConsumerOptions::default() };
    let stop = async {
        sleep(4 * SECOND).await;
        (0..300).for_each(|number| fill.push(number.into()));
        sleep(SECOND).await;
    };
    let _ = run(&memory, options, stop, |_| async { Verdict::Ack }).await;
    let at: Vec<_> = memory.pulls().iter().map(|(at, _)| (*at - start).as_millis()).collect();
    assert_eq!(at[..7], [0, 100, 300, 700, 1500, 2500, 3500]);
    let full: Vec<_> = at.iter().filter(|at| **at == 4500).collect();
    assert!(full.len() >= 4, "{at:?}");
    assert_eq!(memory.done(), 300);
}

#[tokio::test(start_paused = true)]
async fn no_more_is_leased_than_can_be_started_before_the_lease_ends() {
    let memory = Memory::with(500);
    let options = ConsumerOptions { concurrency: 2, ..ConsumerOptions::default() };
    let report = run(&memory, options, sleep(600 * SECOND), |_| async {
        sleep(20 * SECOND).await;
        Verdict::Ack
    })
    .await;
    assert_eq!((report.stats.expired, report.stats.overran), (0, 0));
    assert!(memory.pulls().iter().all(|(_, size)| *size <= 3), "{:?}", memory.pulls());
    assert!((58..=62).contains(&report.stats.acknowledged), "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn a_message_whose_lease_ran_out_before_it_was_started_is_left_to_others() {
    let memory = Memory::with(100);
    let calls = AtomicUsize::new(0);
    let options = ConsumerOptions { concurrency: 1, shutdown_timeout: Duration::ZERO, ..ConsumerOptions::default() };
    let report = run(&memory, options, sleep(100 * SECOND), move |_| {
        // Quick at first, so that many are pulled ahead, and then slow.
        let time = if calls.fetch_add(1, Ordering::Relaxed) < 2 { Duration::ZERO } else { 90 * SECOND };
        async move {
            sleep(time).await;
            Verdict::Ack
        }
    })
    .await;
    assert!(report.stats.expired > 50, "{report:?}");
    assert_eq!(report.stats.overran, 1);
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_fails_or_panics_is_a_retry_by_the_policy() {
    let memory = Memory::with(2);
    let start = Instant::now();
    let attempts = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&attempts);
    let options = ConsumerOptions {
        retry_delay: RetryDelay::Exponential { initial: 10 * SECOND, max: 15 * SECOND },
        max_idle: SECOND,
        ..ConsumerOptions::default()
    };
    let report = run(&memory, options, sleep(120 * SECOND), move |message| {
        seen.lock().unwrap().push((message.id.clone(), start.elapsed().as_secs()));
        assert!(message.id != "1" || message.attempts > Some(1), "a panic before the first await");
        async move { if message.attempts < Some(3) { Err("not yet") } else { Ok(()) } }
    })
    .await;
    assert_eq!((report.stats.acknowledged, report.stats.retried, report.stats.panicked), (2, 4, 1));
    let first: Vec<_> = attempts.lock().unwrap().iter().filter(|(id, _)| id == "0").map(|(_, at)| *at).collect();
    // The delay is counted from when the service took the retry; a poll may come a second later.
    assert_eq!(first.len(), 3);
    assert!((11..=13).contains(&first[1]) && (27..=30).contains(&first[2]), "{first:?}");
}

#[tokio::test(start_paused = true)]
async fn shutdown_loses_no_acknowledgement() {
    let memory = Memory::with(200);
    for undecided in [Undecided::Retry, Undecided::Leave] {
        let options = ConsumerOptions { undecided, concurrency: 7, ..ConsumerOptions::default() };
        let before = memory.done();
        let report = run(&memory, options, sleep(Duration::from_millis(3400)), |_| async {
            sleep(Duration::from_millis(500)).await;
            Verdict::Ack
        })
        .await;
        // Six rounds ended before, and a seventh was let end.
        assert_eq!((report.stats.acknowledged, memory.done() - before), (49, 49));
        assert_eq!(report.unconfirmed.len(), 0);
        let (handed_back, left) = (report.stats.retried, report.stats.left);
        assert!(if undecided == Undecided::Retry {
            handed_back > 0 && left == 0
        } else {
            handed_back == 0 && left > 0
        });
    }
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_never_ends_is_dropped_and_its_message_left() {
    let memory = Memory::with(3);
    let start = Instant::now();
    let report = run(&memory, ConsumerOptions::default(), sleep(SECOND), |_| pending::<Verdict>()).await;
    assert_eq!((report.stats.pulled, report.stats.left), (3, 3));
    assert_eq!(start.elapsed(), 31 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_comes_while_acknowledgements_are_waited_for_is_given_back() {
    for (undecided, expected) in [(Undecided::Retry, (2, 1, 1, 0)), (Undecided::Leave, (2, 1, 0, 1))] {
        let memory = Memory::with(2);
        memory.0.lock().unwrap().pull_takes = SECOND / 2;
        let pull = PullOptions { batch_size: 1, ..ConsumerOptions::default().pull };
        let shutdown_timeout = Duration::ZERO;
        let options = ConsumerOptions { pull, undecided, shutdown_timeout, ..ConsumerOptions::default() };
        // The first message is acknowledged from 0.55 s to 1.55 s, the second one comes at 1 s.
        let report = run(&memory, options, sleep(SECOND * 7 / 10), |_| async { Verdict::Ack }).await;
        let Stats { pulled, acknowledged, retried, left, .. } = report.stats;
        assert_eq!((pulled, acknowledged, retried, left), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_acknowledged_is_in_the_report() {
    let memory = Memory::with(3);
    let refused = Error::new(ErrorKind::Unauthorized, "no").with_answer(403, None, None);
    memory.0.lock().unwrap().fail_acks = Some(refused);
    let report = run(&memory, ConsumerOptions::default(), sleep(5 * SECOND), |_| async { Verdict::Ack }).await;
    assert_eq!((report.stats.acknowledged, report.unconfirmed.len()), (0, 3));
    assert!(report.unconfirmed.lease_ids().any(|lease| *lease == lease_id(0, 1)));
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_passes_is_waited_out_and_one_that_does_not_ends_the_run() {
    let memory = Memory::with(1);
    let limited = Error::new(ErrorKind::RateLimited, "no").with_answer(429, None, Some(30 * SECOND));
    memory.0.lock().unwrap().fail_pulls = Some(limited);
    let healed = memory.clone();
    let stop = async {
        sleep(SECOND).await;
        healed.0.lock().unwrap().fail_pulls = None;
        sleep(60 * SECOND).await;
        let refused = Error::new(ErrorKind::Unauthorized, "no").with_answer(401, None, None);
        healed.0.lock().unwrap().fail_pulls = Some(refused);
        pending::<()>().await
    };
    let report = run(&memory, ConsumerOptions::default(), stop, |_| async {}).await;
    assert_eq!((report.stats.acknowledged, report.stats.pull_failures), (1, 2));
    assert_eq!(report.error.unwrap().kind(), ErrorKind::Unauthorized);
    let pulls = memory.pulls();
    assert!(pulls[1].0 - pulls[0].0 >= 30 * SECOND, "the service asked for that");
}

#[tokio::test(start_paused = true)]
async fn leaving_a_message_says_nothing_of_it() {
    let memory = Memory::with(1);
    let report = run(&memory, ConsumerOptions::default(), sleep(30 * SECOND), |_| async { Verdict::Leave }).await;
    assert_eq!((report.stats.left, memory.done()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn dropping_a_run_half_way_leaves_the_queue_usable() {
    let memory = Memory::with(10);
    let started = Arc::new(Notify::new());
    let start = Arc::clone(&started);
    let handler = move |_| {
        start.notify_one();
        pending::<Verdict>()
    };
    tokio::select! {
        _ = run(&memory, ConsumerOptions::default(), pending::<()>(), handler) => unreachable!(),
        () = started.notified() => {}
    }
    sleep(60 * SECOND).await;
    let report = run(&memory, ConsumerOptions::default(), sleep(5 * SECOND), |_| async {}).await;
    assert_eq!(report.stats.acknowledged, 10);
}
