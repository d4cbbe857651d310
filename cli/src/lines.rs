//! Pushes a message for each line of a file or a pipe, in order, several requests at a time.

use std::{
    collections::VecDeque,
    future::Future,
    io::{self, BufRead, Read},
    pin::pin,
    thread,
    time::Duration,
};

use cloudflare_queues::{Error, PushMessage, Queue};
use serde::Serialize;
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, error::Elapsed, sleep, sleep_until, timeout},
};

use crate::{
    exit::{Exit, Failure},
    output::Row,
    patience::Failures,
    progress::Progress,
};

/// A longer line or file cannot be a message, whatever white space it has.
pub(crate) const MOST_BYTES: u64 = 1 << 20;
const BATCH: usize = 100;
const BATCH_BYTES: usize = 256_000;
/// How long a line waits for others to be pushed with it.
const LINGER: Duration = Duration::from_millis(100);
const MOST_IN_FLIGHT: usize = 16;

/// What became of the lines.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Pushed {
    /// Messages that were pushed.
    pub(crate) pushed: u64,
    /// Lines that cannot be messages.
    pub(crate) refused: u64,
    /// All lines up to this one were pushed or refused.
    pub(crate) through_line: u64,
    /// Whether a line was not pushed, so that no later line counts as completed.
    #[serde(skip)]
    is_cut: bool,
}

impl Row for Pushed {
    fn head(&self) -> Vec<&'static str> {
        vec!["PUSHED", "REFUSED", "THROUGH LINE"]
    }

    fn cells(&self) -> Vec<String> {
        [self.pushed, self.refused, self.through_line].map(|count| count.to_string()).into()
    }
}

/// Creates a message from a line, or describes what is wrong with it. Returns `None` for a line to skip.
pub(crate) type Parse = fn(&[u8]) -> Result<Option<PushMessage>, String>;

/// A line that was read, by its number.
struct Line {
    number: u64,
    message: Result<Option<PushMessage>, String>,
}

/// Messages that are pushed in one request, and the last line before the next one's.
#[derive(Default)]
struct Batch {
    messages: Vec<PushMessage>,
    bytes: usize,
    refused: u64,
    through_line: u64,
}

impl Batch {
    fn is_full_with(&self, message: &PushMessage, most: usize) -> bool {
        self.messages.len() >= most || self.bytes.saturating_add(message.size()) > BATCH_BYTES
    }
}

pub(crate) struct Lines {
    pub(crate) queue: Queue,
    pub(crate) delay: Option<Duration>,
    /// The number of lines to skip at the start.
    pub(crate) skip: u64,
    pub(crate) parse: Parse,
    /// Messages a second at most.
    pub(crate) rate: u32,
    pub(crate) progress: Progress,
}

impl Lines {
    /// Runs until the end of the source, a failed batch, or the completion of `stop`.
    pub(crate) async fn push(
        self,
        source: impl BufRead + Send + 'static,
        stop: impl Future<Output = ()>,
    ) -> (Pushed, Option<Failure>) {
        let mut lines = self.read(source);
        let (mut done, mut failure) = (Pushed { through_line: self.skip, ..Pushed::default() }, None);
        let mut in_flight: VecDeque<JoinHandle<(Batch, Result<(), Error>)>> = VecDeque::new();
        let (mut next, mut is_open, mut is_cut) = (Batch::default(), true, false);
        let mut turn = Instant::now();
        let mut stop = pin!(stop);
        while is_open && failure.is_none() {
            tokio::select! {
                biased;
                () = &mut stop => {
                    failure = Some(Failure::new(Exit::Partly, "stopped before the end"));
                    is_cut = true;
                }
                joined = async { in_flight.front_mut()?.await.ok() }, if !in_flight.is_empty() => {
                    in_flight.pop_front();
                    failure = done.add(joined, &self.progress);
                    is_cut = failure.is_some();
                }
                // Batches whose turn has not come would delay a stop.
                line = next_line_at(turn, &mut lines), if in_flight.len() < MOST_IN_FLIGHT => match line {
                    Ok(Some(Ok(line))) => {
                        if let Some(full) = self.take(&mut next, line) {
                            in_flight.push_back(tokio::spawn(self.send(full, &mut turn)));
                        }
                    }
                    Ok(Some(Err(error))) => {
                        failure = Some(Failure::new(Exit::Input, format!("the input could not be read: {error}")));
                    }
                    Ok(None) => is_open = false,
                    Err(_) if next.through_line > 0 => {
                        in_flight.push_back(tokio::spawn(self.send(std::mem::take(&mut next), &mut turn)));
                    }
                    Err(_) => {}
                },
            }
        }
        // Lines read before the end, or before a failure of the input, are pushed as well.
        if next.through_line > 0 && !is_cut {
            in_flight.push_back(tokio::spawn(self.send(next, &mut turn)));
        }
        for sent in in_flight {
            let more = done.add(sent.await.ok(), &self.progress);
            failure = failure.or(more);
        }
        (done, failure)
    }

    /// Takes a line into the batch, or begins another with it.
    fn take(&self, batch: &mut Batch, line: Line) -> Option<Batch> {
        let mut full = None;
        match line.message {
            Ok(Some(message)) => {
                if batch.is_full_with(&message, BATCH.min(self.rate as usize)) {
                    full = Some(std::mem::take(batch));
                }
                batch.bytes = batch.bytes.saturating_add(message.size());
                batch.messages.push(self.delay.into_iter().fold(message, PushMessage::delay));
            }
            Ok(None) => {}
            Err(what) => {
                batch.refused += 1;
                self.progress.remark_on_message("line", &format!("line {} {what}", line.number));
            }
        }
        batch.through_line = line.number;
        full
    }

    /// Pushes a batch when it is its turn, until the push succeeds. A batch that may have arrived is pushed again, as
    /// another run would do.
    fn send(
        &self,
        batch: Batch,
        turn: &mut Instant,
    ) -> impl Future<Output = (Batch, Result<(), Error>)> + Send + use<> {
        let (queue, progress, mut failures) = (self.queue.clone(), self.progress.clone(), Failures::default());
        let at = Instant::now().max(*turn);
        *turn = at + Duration::from_secs_f64(batch.messages.len() as f64 / f64::from(self.rate.max(1)));
        async move {
            sleep_until(at).await;
            while !batch.messages.is_empty() {
                let Err(error) = queue.push_batch(&batch.messages).await else { break };
                let Some(pause) = failures.bounded_pause(&error) else { return (batch, Err(error)) };
                progress.remark("push", &format!("a push failed, and is retried: {error}"));
                sleep(pause).await;
            }
            (batch, Ok(()))
        }
    }

    /// Reads on a thread of its own, which exits at the end of the source, or when the receiver is dropped.
    fn read(&self, mut source: impl BufRead + Send + 'static) -> mpsc::Receiver<io::Result<Line>> {
        let (read, lines) = mpsc::channel(4 * BATCH);
        let (skip, parse) = (self.skip, self.parse);
        thread::spawn(move || {
            for number in 1_u64.. {
                let line = match next_line(&mut source) {
                    Ok(None) => return,
                    Ok(Some(_)) if number <= skip => continue,
                    Ok(Some(line)) => Ok(Line { number, message: line.and_then(|line| parse(&line)) }),
                    Err(error) => Err(error),
                };
                let is_last = line.is_err();
                if read.blocking_send(line).is_err() || is_last {
                    return;
                }
            }
        });
        lines
    }
}

impl Pushed {
    /// The result of pushing a single message.
    pub(crate) fn one() -> Self {
        Self { pushed: 1, ..Self::default() }
    }

    /// Says how to go on if not every line was pushed.
    pub(crate) fn result(self, failure: Option<Failure>) -> Result<(), Failure> {
        match failure {
            Some(failure) => {
                let line = self.through_line;
                Err(failure.with_note(&format!("lines up to {line} are pushed: go on with --skip {line}")))
            }
            None if self.refused > 0 => {
                Err(Failure::new(Exit::Partly, format!("lines skipped that are not valid messages: {}", self.refused)))
            }
            None => Ok(()),
        }
    }

    /// Counts a completed batch. A line counts as completed only if all lines before it were.
    fn add(&mut self, sent: Option<(Batch, Result<(), Error>)>, progress: &Progress) -> Option<Failure> {
        let failure = match sent {
            None => Failure::new(Exit::Service, "a task panicked"),
            Some((_, Err(error))) => error.into(),
            Some((batch, Ok(()))) => return self.count(&batch, progress),
        };
        self.is_cut = true;
        Some(failure)
    }

    fn count(&mut self, batch: &Batch, progress: &Progress) -> Option<Failure> {
        self.pushed += batch.messages.len() as u64;
        self.refused += batch.refused;
        if !self.is_cut {
            self.through_line = batch.through_line;
        }
        progress.at(self.pushed);
        None
    }
}

/// The next line when it is the turn of the next batch, or that there is none yet.
async fn next_line_at<T>(turn: Instant, lines: &mut mpsc::Receiver<T>) -> Result<Option<T>, Elapsed> {
    if turn > Instant::now() {
        sleep_until(turn).await;
    }
    timeout(LINGER, lines.recv()).await
}

/// The next line without its end; what is wrong with it if it is too long. `None` at the end.
fn next_line(source: &mut impl BufRead) -> io::Result<Option<Result<Vec<u8>, String>>> {
    let mut line = Vec::new();
    if source.by_ref().take(MOST_BYTES).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    if line.ends_with(b"\n") {
        line.pop();
    } else if line.len() as u64 >= MOST_BYTES {
        source.skip_until(b'\n')?;
        return Ok(Some(Err("is longer than any message".to_owned())));
    }
    Ok(Some(Ok(line)))
}
