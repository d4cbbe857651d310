//! `import`: pushes what `export` wrote.

use std::{
    fs::File,
    io::{self, BufReader, Read},
    path::PathBuf,
    time::Duration,
};

use clap::Args;
use cloudflare_queues::PushMessage;

use super::push::fitting;
use crate::{
    common::{Common, delay, queues},
    exit::{Exit, Failure},
    lines::Lines,
    output::{self, Format},
    parse,
    progress::Progress,
    record,
    signals::Signals,
};

const HELP: &str = "\
Every byte of a `text` body is restored. Of a `json` body, the value is restored: as with every push, the service \
may change its white space. The service takes no other type over HTTP, and no bare string as `json`, so such lines \
are reported and skipped.

Example:
  cf-queues import jobs jobs.ndjson";

/// Push the messages that export wrote
#[derive(Args, Debug)]
#[command(after_help = format!("{}\n{HELP}", record::FORMAT))]
pub(crate) struct Import {
    /// The queue's name or id
    #[arg(add = queues())]
    queue: String,
    /// The file to read; otherwise, standard input
    file: Option<PathBuf>,
    /// Delay the first deliveries by up to 24 hours, such as 90s or 2h
    #[arg(long, value_name = "TIME", value_parser = delay)]
    delay: Option<Duration>,
    /// Skip this many lines at the start, which were pushed before
    #[arg(long, value_name = "LINES", default_value_t = 0)]
    skip: u64,
    /// Maximum number of messages pushed per second; the service allows 5000 for a queue
    #[arg(long, value_name = "NUMBER", default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
}

impl Import {
    pub(crate) async fn run(self, common: &Common) -> Result<(), Failure> {
        let source: Box<dyn Read + Send> = match &self.file {
            None => Box::new(io::stdin()),
            Some(path) => Box::new(
                File::open(path).map_err(|error| Failure::new(Exit::Input, format!("{}: {error}", path.display())))?,
            ),
        };
        let queue = common.account.queue(&self.queue).await?;
        let progress = Progress::new();
        let lines =
            Lines { queue, delay: self.delay, skip: self.skip, parse, rate: self.rate, progress: progress.clone() };
        let (pushed, failure) = lines.push(BufReader::new(source), Signals::listen()?.told(1)).await;
        progress.end();
        let printed = output::print(Format::or_fitting(common.output), &[&pushed]);
        pushed.result(failure)?;
        Ok(printed?)
    }
}

fn parse(line: &[u8]) -> Result<Option<PushMessage>, String> {
    if line.trim_ascii().is_empty() {
        return Ok(None);
    }
    fitting(parse::message(line)?).map(Some)
}
