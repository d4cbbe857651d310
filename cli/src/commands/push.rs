//! `push`: messages from an argument, a file or standard input.

use std::{
    fs::File,
    io::{self, BufReader, IsTerminal, Read},
    path::PathBuf,
    time::Duration,
};

use clap::Args;
use cloudflare_queues::PushMessage;

use crate::{
    common::{Common, delay, queues},
    exit::{Exit, Failure, tell},
    lines::{Lines, MOST_BYTES, Parse, Pushed},
    output::{self, Format},
    parse,
    progress::Progress,
    signals::Signals,
};

const HELP: &str = "\
Without BODY and --file, each line of standard input is a message.

Examples:
  cf-queues push jobs 'hello'
  cf-queues push jobs --json '{\"number\": 7}' --delay 5m
  cf-queues push jobs --file letter.txt
  jq -c '.jobs[]' jobs.json | cf-queues push jobs --json";

/// Push messages: from an argument, a file, or the lines of standard input
#[derive(Args, Debug)]
#[command(after_help = HELP)]
pub(crate) struct Push {
    /// The queue's name or id
    #[arg(add = queues())]
    queue: String,
    /// The body of the message
    body: Option<String>,
    /// Push this file as one message
    #[arg(long, value_name = "PATH", conflicts_with = "body")]
    file: Option<PathBuf>,
    /// The body is JSON, or each line of standard input is (NDJSON); otherwise, it is text
    #[arg(long)]
    json: bool,
    /// Delay the first delivery by up to 24 hours, such as 90s or 2h
    #[arg(long, value_name = "TIME", value_parser = delay)]
    delay: Option<Duration>,
    /// Skip this many lines at the start, which were pushed before
    #[arg(long, value_name = "LINES", default_value_t = 0, conflicts_with_all = ["body", "file"])]
    skip: u64,
    /// Maximum number of messages pushed per second; the service allows 5000 for a queue
    #[arg(long, value_name = "NUMBER", default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
}

impl Push {
    pub(crate) async fn run(self, common: &Common) -> Result<(), Failure> {
        let format = Format::or_fitting(common.output);
        let single = match (&self.body, &self.file) {
            (Some(body), _) => Some(self.message(body)?),
            (None, Some(path)) => Some(self.message(&read(path)?)?),
            (None, None) => None,
        };
        let queue = common.account.queue(&self.queue).await?;
        if let Some(message) = single {
            queue.push(&message).await?;
            return Ok(output::print(format, &[Pushed::one()])?);
        }
        if io::stdin().is_terminal() {
            tell("cf-queues: each line is a message; end with ctrl-d\n");
        }
        let parse: Parse = if self.json { json_line } else { text_line };
        let progress = Progress::new();
        let lines =
            Lines { queue, delay: self.delay, skip: self.skip, parse, rate: self.rate, progress: progress.clone() };
        let (pushed, failure) = lines.push(BufReader::new(io::stdin()), Signals::listen()?.told(1)).await;
        progress.end();
        let printed = output::print(format, &[&pushed]);
        pushed.result(failure)?;
        Ok(printed?)
    }

    fn message(&self, body: &str) -> Result<PushMessage, Failure> {
        let wrong = |what| Failure::new(Exit::Input, format!("the body {what}"));
        let message = if self.json { parse::json(body).map_err(wrong)? } else { PushMessage::text(body) };
        Ok(self.delay.into_iter().fold(message, PushMessage::delay))
    }
}

fn read(path: &PathBuf) -> Result<String, Failure> {
    let wrong = |what: &str| Failure::new(Exit::Input, format!("{}: {what}", path.display()));
    let mut bytes = Vec::new();
    let file = File::open(path).and_then(|file| file.take(MOST_BYTES).read_to_end(&mut bytes));
    match file.map_err(|error| wrong(&error.to_string()))? {
        read if read as u64 >= MOST_BYTES => Err(wrong("is longer than any message")),
        _ => String::from_utf8(bytes).map_err(|_| wrong("is not UTF-8")),
    }
}

fn text_line(line: &[u8]) -> Result<Option<PushMessage>, String> {
    let text = str::from_utf8(line).map_err(|_| "is not UTF-8".to_owned())?;
    fitting(PushMessage::text(text)).map(Some)
}

fn json_line(line: &[u8]) -> Result<Option<PushMessage>, String> {
    if line.trim_ascii().is_empty() {
        return Ok(None);
    }
    let text = str::from_utf8(line).map_err(|_| "is not UTF-8".to_owned())?;
    fitting(parse::json(text)?).map(Some)
}

/// A message that is too large would fail its batch.
pub(crate) fn fitting(message: PushMessage) -> Result<PushMessage, String> {
    if message.size() > PushMessage::MAX_SIZE {
        return Err(format!("has {} bytes, and the service takes {} at most", message.size(), PushMessage::MAX_SIZE));
    }
    Ok(message)
}
