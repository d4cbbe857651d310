//! `consume`: runs a program for each message.

mod program;
#[cfg(all(test, unix))]
mod tests;

use std::{
    collections::HashSet,
    ffi::OsString,
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher},
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use clap::{Args, ValueEnum};
use cloudflare_queues::{
    Consumer, Message, Queue, Verdict,
    consumer::{Report, RetryDelay, Stats},
};
use serde::Serialize;
use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};

use self::program::{Ended, Program};
use crate::{
    backlog,
    common::{Common, delay, queues},
    exit::{Exit, Failure},
    output::{self, Format, Row, counted, messages},
    patience::PATIENCE,
    progress::Progress,
    signals::Signals,
};

/// How long acknowledgements may take after a second ctrl-c.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// After how long it is reported that no outcome is confirmed.
const UNCONFIRMED: Duration = Duration::from_secs(10);
/// How many messages are remembered whose program failed.
const MOST_FAILED: usize = 100_000;

const HELP: &str = "\
The body is on the program's standard input. Its environment has CF_QUEUES_MESSAGE_ID, CF_QUEUES_ATTEMPTS, \
CF_QUEUES_TIMESTAMP (RFC 3339), CF_QUEUES_CONTENT_TYPE, CF_QUEUES_QUEUE_ID and CF_QUEUES_METADATA (JSON), and the \
variables that consume has. The credentials are left out unless --pass-credentials is given.

How the program ends decides:
  0                 the message is acknowledged
  75 (EX_TEMPFAIL)  the message is retried, after --retry-delay if it is given
  any other status  --on-failure decides, also after a signal, and for a body
                    that cannot be decoded, for which no program is started
  cannot be started the message is retried; consume ends, unless the cause
                    passes or concerns this message alone
  over --timeout    the program's process group gets SIGTERM, and SIGKILL when
                    the program has ended or after 10 s; --on-failure decides

Standard output belongs to the programs, so consume reports on standard error; with --output, on standard output.

The lease is extended while a program runs. While more than half of the programs fail, messages are pulled more \
slowly.

Ctrl-c, SIGTERM and SIGHUP end the pulling, and consume waits for the programs that run, each of which has a process \
group of its own. A message that was pulled and not started is delivered again; if this is its last delivery, its \
program is started first. A second signal kills the programs, and their messages are delivered again. After a \
SIGKILL, programs run on, and their messages are delivered again after a minute. A message at its last delivery is \
not delivered again: it goes to the queue's dead-letter queue, or is deleted. consume reports how many these are.

Example:
  cf-queues consume jobs --concurrency 4 -- ./handle.sh --verbose";

/// Run a program for each message
#[derive(Args, Debug)]
#[command(after_help = HELP)]
pub(crate) struct Consume {
    /// The queue's name or id; it needs a pull consumer
    #[arg(add = queues())]
    queue: String,
    /// The program and its arguments
    #[arg(last = true, required = true, value_name = "PROGRAM")]
    program: Vec<OsString>,
    /// How many programs run at the same time
    #[arg(long, value_name = "NUMBER", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..))]
    concurrency: u16,
    /// What to do with a message whose program failed
    #[arg(long, value_name = "ACTION", default_value = "retry")]
    on_failure: OnFailure,
    /// The queue that --on-failure dead-letter pushes to, by name or id
    #[arg(long, value_name = "QUEUE", required_if_eq("on_failure", "dead-letter"))]
    dead_letters: Option<String>,
    /// How long a retried message waits, up to 24 hours [default: the queue's setting]
    #[arg(long, value_name = "TIME", value_parser = delay)]
    retry_delay: Option<Duration>,
    /// How long a program may take
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// Start programs for at most this many messages, then end
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// End when the queue has nothing available, or if pulls fail for 10 minutes; exit code 5 if a program failed last,
    /// or messages are left
    #[arg(long)]
    until_empty: bool,
    /// Also pass the lease to the program, as CF_QUEUES_LEASE_ID; it allows deleting the message
    #[arg(long)]
    expose_lease: bool,
    /// Leave CLOUDFLARE_API_TOKEN, CLOUDFLARE_API_KEY and CLOUDFLARE_EMAIL in the program's environment
    #[arg(long)]
    pass_credentials: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OnFailure {
    /// Retry the message
    Retry,
    /// Acknowledge the message, which deletes it
    Ack,
    /// Push the message to --dead-letters, and acknowledge it
    DeadLetter,
    /// Retry the message, and end
    Stop,
}

impl Consume {
    pub(crate) async fn run(self, common: &Common) -> Result<(), Failure> {
        let queues = common.account.queues()?;
        let queue = crate::account::find(&queues, &self.queue).await?;
        let consumer = match &self.dead_letters {
            None => self.consumer(queue.clone()),
            Some(name) => self.consumer(queue.clone()).dead_letters(crate::account::find(&queues, name).await?),
        };
        let deliveries = Deliveries::of(&queue).await?;
        let consumer = deliveries.limit(consumer);
        let hidden = if self.pass_credentials { Vec::new() } else { common.account.secret_variables()? };
        let work = self.work(&queue, hidden, deliveries)?;
        work.deliveries.tell(&work.progress);
        let signals = Signals::listen()?;
        let (stats, working) = (consumer.clone(), Arc::clone(&work));
        let is_stopped = AtomicBool::new(false);
        let stop = async {
            tokio::select! {
                () = signals.clone().told(1) => is_stopped.store(true, Ordering::Relaxed),
                () = working.end.notified() => {}
                failure = failing(&stats, &queue, self.until_empty, &working.progress) => working.stop(failure),
                () = going_on(&stats, &working) => {}
            }
        };
        let handling = Arc::clone(&work);
        let handler = move |message| Arc::clone(&handling).handle(message);
        let twice = async {
            signals.clone().told(2).await;
            stats.stats().pulls_in_flight
        };
        let report = tokio::select! {
            report = consumer.run_until(stop, handler) => report?,
            pulls = twice => {
                // The handlers are dropped, which kills their programs. Decisions that were made are still sent.
                drop(consumer);
                sleep(LAST_WORDS).await;
                let stats = stats.stats();
                // What could not be written is of less interest than the interruption.
                let _ = work.tell(&stats, common.output);
                return Err(work.deliveries.add_unseen(Failure::interrupted(), stats.unseen, pulls));
            }
        };
        let told = work.tell(&report.stats, common.output);
        let ended = work.ended.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (handled, unfinished) = (report.stats.pulled, work.unfinished());
        result(report, ended, &work.deliveries)?;
        if self.until_empty && self.limit.is_none_or(|limit| handled < limit) {
            if is_stopped.into_inner() {
                return Err(Failure::new(Exit::Partly, "stopped before the queue was empty"));
            }
            is_empty(&queue, handled, unfinished).await?;
        }
        Ok(told?)
    }

    fn work(&self, queue: &Queue, hidden: Vec<String>, deliveries: Deliveries) -> Result<Arc<Work>, Failure> {
        Ok(Arc::new(Work {
            program: Program::new(&self.program, queue.id(), self.timeout, self.expose_lease, hidden)?,
            on_failure: self.on_failure,
            retry: self.retry_delay.map_or(Verdict::Retry, Verdict::RetryIn),
            progress: Progress::of_lines(),
            deliveries,
            failed: AtomicU64::new(0),
            ended_by_delivery: AtomicU64::new(0),
            unfinished: Mutex::default(),
            ended: Mutex::default(),
            end: Notify::new(),
        }))
    }

    fn consumer(&self, queue: Queue) -> Consumer {
        let never = Duration::MAX;
        let consumer = Consumer::new(queue);
        let consumer = if self.until_empty { consumer.until_empty(Duration::ZERO) } else { consumer };
        consumer
            .concurrency(self.concurrency.into())
            .limit(self.limit.unwrap_or(u64::MAX))
            .retry_delay(self.retry_delay.map_or_else(RetryDelay::queue, RetryDelay::fixed))
            .max_idle(Duration::from_secs(5))
            // A program ends by its own timeout, and its lease lasts until then.
            .max_lease(self.timeout.saturating_add(program::GRACE).saturating_add(Duration::from_secs(60)))
            .shutdown_timeout(never)
    }
}

/// How often the queue delivers a message, if it says so.
#[derive(Default)]
struct Deliveries {
    max_retries: Option<u32>,
    /// What happens to a message after its last one.
    end: String,
    told: Option<String>,
}

impl Deliveries {
    async fn of(queue: &Queue) -> Result<Self, Failure> {
        let consumer = match queue.consumers().await {
            Ok(consumers) => backlog::pulling(consumers)?,
            // The token may do no more than pull.
            Err(error) => {
                let told = format!("it is not known how often the queue delivers a message: {error}");
                return Ok(Self { told: Some(told), ..Self::default() });
            }
        };
        let max_retries = consumer.max_retries();
        let end = backlog::end_of_last_delivery(&consumer);
        let told = (max_retries == Some(0)).then(|| {
            format!(
                "the queue delivers each message once (max_retries is 0): one whose program fails or is killed {end}"
            )
        });
        Ok(Self { max_retries, end, told })
    }

    fn tell(&self, progress: &Progress) {
        self.told.iter().for_each(|told| progress.say(told));
    }

    /// What is pulled ahead and not started is handed back at a stop, which a message at its last delivery does not
    /// survive: the consumer starts it instead, if it knows.
    fn limit(&self, consumer: Consumer) -> Consumer {
        let consumer = self.max_retries.into_iter().fold(consumer, Consumer::max_retries);
        if self.max_retries == Some(0) { consumer.batch_size(1) } else { consumer }
    }

    /// Whether the service will not deliver the message again.
    fn is_last(&self, message: &Message) -> bool {
        self.max_retries.zip(message.attempts).is_some_and(|(retries, attempts)| attempts > retries)
    }

    /// Says how many messages no program saw and none will, those that pulls in flight may have leased included.
    fn add_unseen(&self, failure: Failure, unseen: u64, pulls: u64) -> Failure {
        let failure = match unseen {
            0 => failure,
            _ => failure.with_note(&self.unseen(unseen)),
        };
        match self.max_retries {
            Some(0) if pulls > 0 => failure.with_note(&format!(
                "{} leased, and that is not counted, {}",
                counted(
                    pulls,
                    "pull was in flight: a message that it",
                    "pulls were in flight: a message that one of them"
                ),
                self.end
            )),
            _ => failure,
        }
    }

    fn unseen(&self, unseen: u64) -> String {
        // It became known only later, from elsewhere.
        let end = if self.end.is_empty() { "is not delivered again" } else { &self.end };
        let one = "message was pulled at its last delivery, and no program was started for it: it";
        let many = "messages were pulled at their last delivery, and no program was started for them: each";
        format!("{} {end}", counted(unseen, one, many))
    }
}

/// Fails if programs failed last for messages, or messages are left.
async fn is_empty(queue: &Queue, handled: u64, unfinished: u64) -> Result<(), Failure> {
    let Some(count) = backlog::count(queue, 0).await? else {
        let what = "nothing was available; it is not known whether messages are left: the service does not count them";
        return Err(Failure::new(Exit::Partly, what));
    };
    let hidden = "leased by others, delayed, or hidden until a retry";
    let message = match (unfinished, count, handled) {
        (0, 0, _) => return Ok(()),
        (0, _, 0) => format!("nothing was available; {} {hidden}", counted(count, "message is", "messages are")),
        (0, ..) => format!("{} left: {hidden}", counted(count, "message is", "messages are")),
        (_, 0, _) => {
            let failed = counted(unfinished, "message, which is", "messages, which are");
            format!("the program failed last for {failed} no longer in the queue")
        }
        _ => {
            let (failed, left) = (messages(unfinished), counted(count, "is", "are"));
            format!("the program failed last for {failed}; {left} left: {hidden}")
        }
    };
    Err(Failure::new(Exit::Partly, message))
}

/// Tells every ten seconds what was done, if that is wanted and something was.
async fn going_on(consumer: &Consumer, work: &Work) {
    let mut before = None;
    loop {
        sleep(Duration::from_secs(1)).await;
        let counts = Summary::new(&consumer.stats(), work.failed.load(Ordering::Relaxed)).counts();
        if before.as_ref() != Some(&counts) && work.progress.line(|| format!("so far: {counts}")) {
            before = Some(counts);
        }
    }
}

/// Tells when pulls fail, and when they succeed again. If the run is to end with the queue, completes once it cannot.
async fn failing(consumer: &Consumer, queue: &Queue, is_bounded: bool, progress: &Progress) -> Failure {
    let (mut before, mut since) = (consumer.stats(), None);
    let mut settled_at = (0, Instant::now());
    loop {
        sleep(Duration::from_secs(1)).await;
        let now = consumer.stats();
        let (settled, settling) = settling(&now);
        if settled != settled_at.0 || settling == 0 {
            settled_at = (settled, Instant::now());
        } else if settled_at.1.elapsed() >= UNCONFIRMED {
            settled_at.1 = Instant::now();
            let what = format!("the outcome of {} is not confirmed yet: requests are retried", messages(settling));
            progress.remark("outcomes", &what);
        }
        let error = || now.last_error.clone().unwrap_or_default();
        let failures = now.pull_failures.saturating_sub(before.pull_failures);
        if failures > 0 {
            progress.remark_of("pulls", failures, &format!("pulls fail, and are retried: {}", error()));
        } else if now.last_error != before.last_error {
            progress.remark("requests", &format!("requests fail: {}", error()));
        }
        if now.pulls > before.pulls {
            if since.take().is_some() {
                progress.catch_up("pulls");
                progress.say("pulls succeed again");
            }
        } else if failures > 0 && since.is_none() {
            since = Some(Instant::now());
            if is_bounded && queue.describe().await.is_ok_and(|queue| queue.delivery_paused() == Some(true)) {
                return Failure::new(Exit::Refused, "the queue is paused");
            }
        }
        if is_bounded && since.is_some_and(|since: Instant| since.elapsed() > PATIENCE) {
            return Failure::new(Exit::Service, error());
        }
        before = now;
    }
}

/// How many messages have an outcome that the service knows, or never will, and how many have one that it may not know.
fn settling(stats: &Stats) -> (u64, u64) {
    let Stats { acknowledged, retried, left, expired, dead_lettered, accepted, unconfirmed, .. } = *stats;
    let settled = [acknowledged, retried, left, expired, dead_lettered, accepted, unconfirmed];
    let settled = settled.into_iter().fold(0, u64::saturating_add);
    let others = settled.saturating_add(stats.waiting).saturating_add(stats.handlers_running);
    (settled, stats.pulled.saturating_sub(others))
}

fn result(report: Report, ended: Option<Failure>, deliveries: &Deliveries) -> Result<(), Failure> {
    let unseen = report.stats.unseen;
    if let Some(failure) = ended.or_else(|| report.error.map(Failure::from)) {
        return Err(deliveries.add_unseen(failure, unseen, 0));
    }
    if report.stats.unconfirmed > 0 {
        let (one, many) = ("message is not confirmed: it", "messages are not confirmed: they");
        let message = format!("{} may be delivered again", counted(report.stats.unconfirmed, one, many));
        return Err(deliveries.add_unseen(Failure::new(Exit::Partly, message), unseen, 0));
    }
    if unseen > 0 {
        return Err(Failure::new(Exit::Partly, deliveries.unseen(unseen)));
    }
    Ok(())
}

/// The handler of messages.
struct Work {
    program: Program,
    on_failure: OnFailure,
    retry: Verdict,
    progress: Progress,
    deliveries: Deliveries,
    failed: AtomicU64,
    /// Messages at their last delivery whose program has not succeeded yet.
    ended_by_delivery: AtomicU64,
    /// Hashes of the ids of messages whose program failed last, and are to be delivered again.
    unfinished: Mutex<HashSet<u64>>,
    /// Why consuming ended by itself.
    ended: Mutex<Option<Failure>>,
    end: Notify,
}

impl Work {
    async fn handle(self: Arc<Self>, message: Message) -> Result<Verdict, String> {
        let is_last = u64::from(self.deliveries.is_last(&message));
        // If this future is dropped, the message stays counted.
        self.ended_by_delivery.fetch_add(is_last, Ordering::Relaxed);
        let verdict = self.verdict(&message).await;
        let is_done = matches!(verdict, Ok(Verdict::Ack | Verdict::DeadLetter));
        if is_done {
            self.ended_by_delivery.fetch_sub(is_last, Ordering::Relaxed);
        }
        self.remember(&message, !is_done);
        verdict
    }

    async fn verdict(&self, message: &Message) -> Result<Verdict, String> {
        let failed = match self.program.run(message).await {
            Ended::Status(0) => return Ok(Verdict::Ack),
            Ended::Status(75) => return Ok(self.retry),
            Ended::NotStarted { error, is_final } => {
                self.failed.fetch_add(1, Ordering::Relaxed);
                let what = format!("the program {} could not be started: {error}", self.program.name());
                match is_final {
                    true => self.stop(Failure::new(Exit::Input, what.clone())),
                    false => self.say(message, &what),
                }
                // The program did not fail, so --on-failure, which may delete the message, does not apply.
                return Err(what);
            }
            Ended::Undecodable(error) => error.to_string(),
            Ended::Status(status) => format!("the program failed with status {status}"),
            Ended::Killed => "the program was ended by a signal".to_owned(),
            Ended::TimedOut => "the program took too long".to_owned(),
        };
        self.failed.fetch_add(1, Ordering::Relaxed);
        self.say(message, &failed);
        match self.on_failure {
            OnFailure::Ack => Ok(Verdict::Ack),
            OnFailure::DeadLetter => Ok(Verdict::DeadLetter),
            OnFailure::Retry => Err(failed),
            OnFailure::Stop => {
                self.stop(Failure::new(Exit::Partly, failed));
                Ok(self.retry)
            }
        }
    }

    fn remember(&self, message: &Message, is_unfinished: bool) {
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(&message.id);
        let mut unfinished = self.unfinished.lock().unwrap_or_else(PoisonError::into_inner);
        if !is_unfinished {
            unfinished.remove(&hash);
        } else if unfinished.len() < MOST_FAILED {
            unfinished.insert(hash);
        }
    }

    fn unfinished(&self) -> u64 {
        self.unfinished.lock().unwrap_or_else(PoisonError::into_inner).len() as u64
    }

    /// Says what was done, at the end.
    fn tell(&self, stats: &Stats, asked: Option<Format>) -> io::Result<()> {
        self.progress.end();
        let told = Summary::new(stats, self.failed.load(Ordering::Relaxed)).tell(asked, &self.progress);
        let ended = self.ended_by_delivery.load(Ordering::Relaxed);
        if ended > 0 {
            let ended = counted(ended, "message at its last delivery: it", "messages at their last delivery: each");
            self.progress.say(&format!("the program did not succeed for {ended} {}", self.deliveries.end));
        }
        told
    }

    fn say(&self, message: &Message, what: &str) {
        self.progress.say(&format!("message {}: {what}", message.id));
    }

    fn stop(&self, failure: Failure) {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(failure);
        self.end.notify_one();
    }
}

#[derive(Serialize)]
struct Summary {
    acknowledged: u64,
    retried: u64,
    dead_lettered: u64,
    failed: u64,
    left: u64,
    unconfirmed: u64,
    /// The service did not refuse their acknowledgement or retry, and did not confirm it.
    accepted: u64,
    /// They were at their last delivery, and no program was started for them.
    unseen: u64,
}

impl Summary {
    fn new(stats: &Stats, failed: u64) -> Self {
        Self {
            acknowledged: stats.acknowledged,
            retried: stats.retried,
            dead_lettered: stats.dead_lettered,
            failed,
            left: stats.left.saturating_add(stats.expired),
            unconfirmed: stats.unconfirmed,
            accepted: stats.accepted,
            unseen: stats.unseen,
        }
    }

    fn counts(&self) -> String {
        let counts = self.head().into_iter().map(str::to_lowercase).zip(self.cells());
        counts.map(|(name, count)| format!("{count} {name}")).collect::<Vec<_>>().join(", ")
    }

    /// Standard output belongs to the programs, unless the summary is requested there.
    fn tell(self, asked: Option<Format>, progress: &Progress) -> io::Result<()> {
        if let Some(format) = asked {
            return output::print(format, &[self]);
        }
        progress.say(&self.counts());
        Ok(())
    }
}

impl Row for Summary {
    fn head(&self) -> Vec<&'static str> {
        vec!["ACKNOWLEDGED", "RETRIED", "DEAD LETTERS", "FAILED", "LEFT", "UNCONFIRMED", "ACCEPTED", "UNSEEN"]
    }

    fn cells(&self) -> Vec<String> {
        let Self { acknowledged, retried, dead_lettered, failed, left, unconfirmed, accepted, unseen } = self;
        let counts = [acknowledged, retried, dead_lettered, failed, left, unconfirmed, accepted, unseen];
        counts.map(ToString::to_string).into()
    }
}
