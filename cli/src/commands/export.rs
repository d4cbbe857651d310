//! `export`: the messages of a queue as lines.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use clap::Args;
use cloudflare_queues::Message;

use crate::{
    arguments::Common,
    exit::{Exit, Failure},
    filter::{self, Condition},
    output,
    progress::Progress,
    record::{self, Record},
    signals::Signals,
    sweep::{Fate, Held, Plan, Sink, Sweep, Swept, Taken},
};

const HELP: &str = "\
Every message is delivered once by that, which counts as an attempt, and is then hidden until the
export has likely ended; one that would not be delivered again is pushed anew. With --remove, it is
acknowledged instead, but only after its line is written: to a file, after the disk has it.

An export that is killed loses nothing: run it again, and messages that were in flight may be there
twice, by the same id.

Examples:
  cf-queues export jobs > jobs.ndjson
  cf-queues export jobs-failed --filter 'age>7d' --to old.ndjson --remove";

/// Write the messages of a queue as lines of JSON, with the exact bytes of their bodies
#[derive(Args, Debug)]
#[command(after_help = format!("{}\n\n{}\n\n{HELP}", record::FORMAT, filter::HELP))]
pub(crate) struct Export {
    /// The queue's name or id; it needs a pull consumer
    queue: String,
    /// Append to this file; otherwise, write to standard output
    #[arg(long, value_name = "PATH")]
    to: Option<PathBuf>,
    /// Delete the written messages from the queue
    #[arg(long)]
    remove: bool,
    /// Export only messages that meet this condition; repeat it for more
    #[arg(long, value_name = "CONDITION")]
    filter: Vec<Condition>,
    /// Export at most this many messages
    #[arg(long, value_name = "NUMBER")]
    limit: Option<u64>,
}

impl Export {
    pub(crate) async fn run(self, common: &Common) -> Result<(), Failure> {
        let sink = match &self.to {
            Some(path) => Writing::to_file(path),
            None => Writing::to_stdout(),
        }?;
        let queue = common.account.queue(&self.queue).await?;
        let signals = Signals::listen()?;
        let progress = Progress::of(queue.metrics().await?.backlog_count);
        let plan =
            Plan { conditions: self.filter, keep: !self.remove, limit: self.limit, rate: 5000.0, most_batches: 200 };
        let sweep = Sweep::prepare(queue, sink, plan, progress.clone()).await?;
        let hold = sweep.hold();
        let swept: Swept = tokio::select! {
            swept = sweep.run(signals.clone().told(1)) => swept,
            () = signals.told(2) => return Err(Failure::interrupted()),
        };
        progress.end();
        let stays =
            if self.remove { String::new() } else { format!("; hidden for {}", humantime::format_duration(hold)) };
        progress.say(&format!("{} messages{stays}", swept.counts.taken));
        swept.result()
    }
}

/// Writes a line for each message.
struct Writing {
    out: Mutex<Box<dyn Write + Send>>,
    /// The file that has to reach the disk.
    file: Option<File>,
}

impl Writing {
    fn to_file(path: &Path) -> Result<Self, Failure> {
        let open = || {
            let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
            end_last_line(&mut file)?;
            Ok(file)
        };
        let file =
            open().map_err(|error: io::Error| Failure::new(Exit::Output, format!("{}: {error}", path.display())))?;
        Ok(Self { out: Mutex::new(Box::new(file.try_clone()?)), file: Some(file) })
    }

    /// A file that standard output was led to is one, too.
    #[cfg(unix)]
    fn to_stdout() -> Result<Self, Failure> {
        use std::os::fd::AsFd;

        let file = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        let is_file = file.metadata()?.is_file();
        Ok(Self { out: Mutex::new(Box::new(file.try_clone()?)), file: is_file.then_some(file) })
    }

    #[cfg(not(unix))]
    fn to_stdout() -> Result<Self, Failure> {
        Ok(Self { out: Mutex::new(Box::new(io::stdout())), file: None })
    }

    fn write(&self, messages: &[Message]) -> io::Result<()> {
        let mut lines = String::new();
        for message in messages {
            lines.push_str(&output::json(&Record::of_pulled(message))?);
            lines.push('\n');
        }
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        out.write_all(lines.as_bytes())?;
        out.flush()?;
        drop(out);
        self.file.as_ref().map_or(Ok(()), File::sync_data)
    }
}

impl Sink for Writing {
    async fn take(&self, messages: &[Message], _: &mut Held<'_>) -> Taken {
        let (fate, failure) = match self.write(messages) {
            _ if messages.is_empty() => (Fate::Taken, None),
            Ok(()) => (Fate::Taken, None),
            Err(error) => (Fate::Failed, Some(Failure::output(&error))),
        };
        Taken { fates: vec![fate; messages.len()], failure }
    }
}

/// An export that was killed may have left half a line.
fn end_last_line(file: &mut File) -> io::Result<()> {
    let mut last = [b'\n'];
    if file.metadata()?.is_file() && file.seek(SeekFrom::End(0))? > 0 {
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
    }
    if last == [b'\n'] { Ok(()) } else { file.write_all(b"\n") }
}
