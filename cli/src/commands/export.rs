//! `export`: the messages of a queue as lines.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use clap::Args;
use cloudflare_queues::{Body, Error, Message, PushMessage};
use tokio::sync::Mutex;

use crate::{
    common::{Common, queues},
    exit::{Exit, Failure},
    filter::{self, Condition},
    output::{self, aside, counted},
    progress::Progress,
    record::{self, Record},
    signals::Signals,
    sweep::{Held, Outcome, Plan, Sink, Sweep, Swept, Taken},
};

const HELP: &str = "\
It writes the messages that are there at the start, and says how many arrived since. Each message stays. It is leased \
while the export runs, which is one of its deliveries, and is available again when the export ends or is told to \
stop. A message that would not be delivered again is pushed as a new one. Where that is impossible (bytes, v8, bare \
JSON strings), export refuses to begin, or ends before it pulls the message, unless --raise-retries is given.

With --remove, a message is acknowledged once its line is written or, with --to, once the line is on the disk. Lines \
that the reader of a pipe never reads are lost; --to avoids that. Messages that import cannot push back (bytes, v8, \
bare JSON strings) are left, unless --all-types is given.

An export that is killed loses nothing: run it again. Messages that were in flight may then be in the file twice, \
with the same id. One loss cannot be avoided by any client: a message in flight at its last delivery goes to the \
queue's dead-letter queue, or is deleted if there is none.

It says how many messages import could not push back: a purge after the export would delete these for good.

Examples:
  cf-queues export jobs > jobs.ndjson
  cf-queues export jobs-failed --filter 'age>7d' --to old.ndjson --remove";

/// Write the messages of a queue as lines of JSON, with the exact bytes of their bodies
#[derive(Args, Debug)]
#[command(after_help = format!("{}\n\n{}\n\n{HELP}", record::FORMAT, filter::HELP))]
pub(crate) struct Export {
    /// The queue's name or id; it needs a pull consumer
    #[arg(add = queues())]
    queue: String,
    /// Append to this file; otherwise, write to standard output
    #[arg(long, value_name = "PATH")]
    to: Option<PathBuf>,
    /// Delete the written messages from the queue
    #[arg(long)]
    remove: bool,
    /// Also delete messages that import cannot push back
    #[arg(long, requires = "remove")]
    all_types: bool,
    /// Export only messages that meet this condition; repeat it for more
    #[arg(long, value_name = "CONDITION")]
    filter: Vec<Condition>,
    /// Export at most this many messages
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Maximum number of messages written per second
    #[arg(long, value_name = "NUMBER", default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    /// Export messages that come meanwhile as well, until the queue is empty
    #[arg(long)]
    until_empty: bool,
    /// Raise max_retries of the queue's pull consumer while this runs, if a message would not be delivered again
    #[arg(long)]
    raise_retries: bool,
}

impl Export {
    pub(crate) async fn run(self, common: &Common) -> Result<(), Failure> {
        common.has_no_format("export, which writes lines of JSON")?;
        let sink = match &self.to {
            Some(path) => Writing::to_file(path),
            None if self.remove && is_nowhere() => {
                let what = "nothing was exported: standard output is closed or /dev/null, and --remove would delete \
                            what nobody has";
                return Err(Failure::new(Exit::Output, what));
            }
            None => Writing::to_stdout(),
        }?;
        let queue = common.account.queue(&self.queue).await?;
        let signals = Signals::listen()?;
        let progress = Progress::new();
        if let Some(path) = self.to.as_ref().filter(|_| sink.lines_before > 0) {
            let before = counted(sink.lines_before, "line", "lines");
            progress.say(&format!("{} has {before} already, and is appended to", path.display()));
        }
        let plan = Plan {
            filter: self.filter.into(),
            keep: !self.remove,
            limit: self.limit,
            rate: self.rate.into(),
            until_empty: self.until_empty,
            raise_retries: self.raise_retries,
            ..Plan::default()
        };
        let sink = Writing { only_importable: self.remove && !self.all_types, progress: progress.clone(), ..sink };
        let foreign = Arc::clone(&sink.foreign);
        let sweep = Sweep::prepare(queue, sink, plan, progress.clone()).await?;
        let swept: Swept = tokio::select! {
            swept = sweep.run(signals.clone().told(1)) => swept,
            () = signals.told(2) => {
                progress.end();
                return Err(Failure::interrupted_with_leases(self.raise_retries));
            }
        };
        let removed = match swept.counts.undeleted {
            _ if !self.remove => String::new(),
            0 => ", and deleted".to_owned(),
            undeleted => {
                let (deleted, doubtful) = (swept.counts.deleted(), counted(undeleted, "deletion", "deletions"));
                format!(", and {deleted} deleted; the service did not confirm {doubtful}")
            }
        };
        let written = counted(swept.counts.taken, "message was", "messages were");
        progress.say(&format!("{written} written{removed}"));
        let foreign = foreign.load(Ordering::Relaxed);
        if foreign > 0 {
            progress.say(&format!("import cannot push {foreign} of these back (bytes, v8, bare JSON strings)"));
        }
        let is_appended_to = self.to.is_some() && !self.remove;
        swept.result().map_err(|failure| match is_appended_to {
            true => {
                failure.with_note("another export appends to the file, which then has messages twice: move it away")
            }
            false => failure,
        })
    }
}

/// Writes a line for each message.
struct Writing {
    /// `None` once a write or a sync has failed: what came before may be half a line, or not be on the disk.
    out: Arc<Mutex<Option<File>>>,
    /// Whether lines have to reach the disk.
    is_file: bool,
    /// How many lines the file had before.
    lines_before: u64,
    /// Whether messages that cannot be imported are left.
    only_importable: bool,
    /// How many messages were written that cannot be imported.
    foreign: Arc<AtomicU64>,
    progress: Progress,
}

impl Writing {
    fn to_file(path: &Path) -> Result<Self, Failure> {
        let open = || {
            let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
            end_last_line(&mut file)?;
            sync_folder(path);
            let lines_before = lines_of(&mut file)?;
            Ok(Self { lines_before, ..Self::new(file)? })
        };
        open().map_err(|error: io::Error| Failure::new(Exit::Output, format!("{}: {error}", path.display())))
    }

    #[cfg(unix)]
    fn to_stdout() -> Result<Self, Failure> {
        use std::os::fd::AsFd;

        let mut file = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        // It cannot be read, and the last line of a file that is appended to may be half a one.
        if file.metadata()?.is_file() && file.metadata()?.len() > 0 {
            file.write_all(b"\n")?;
        }
        Ok(Self::new(file)?)
    }

    #[cfg(windows)]
    fn to_stdout() -> Result<Self, Failure> {
        use std::os::windows::io::AsHandle;

        Ok(Self::new(File::from(io::stdout().as_handle().try_clone_to_owned()?))?)
    }

    fn new(file: File) -> io::Result<Self> {
        let is_file = file.metadata().is_ok_and(|metadata| metadata.is_file());
        let out = Arc::new(Mutex::new(Some(file)));
        Ok(Self {
            out,
            is_file,
            lines_before: 0,
            only_importable: false,
            foreign: Arc::default(),
            progress: Progress::hidden(),
        })
    }

    /// Returns whether lines are still written.
    async fn write(&self, messages: &[&Message]) -> io::Result<bool> {
        let mut lines = String::new();
        for message in messages {
            lines.push_str(&output::json(&Record::of_pulled(message))?);
            lines.push('\n');
        }
        let (mut out, is_file) = (Arc::clone(&self.out).lock_owned().await, self.is_file);
        aside(move || {
            let Some(mut file) = out.take() else { return Ok(false) };
            file.write_all(lines.as_bytes())?;
            // Under the lock: Linux reports an error once for each open file, so that a later sync may hide it.
            if is_file {
                file.sync_data()?;
            }
            *out = Some(file);
            Ok(true)
        })
        .await
    }
}

impl Sink for Writing {
    fn fits(&self, body: &Body) -> bool {
        // What cannot be pushed cannot be imported.
        !self.only_importable || PushMessage::from_body(body).is_ok()
    }

    async fn take(&self, messages: &[Message], leases: &mut Held<'_>) -> Taken {
        // Each body is parsed for it.
        let errors: Vec<_> = messages.iter().map(|message| PushMessage::from_body(&message.body).err()).collect();
        let is_fitting = |error: &Option<Error>| error.is_none() || !self.only_importable;
        let fitting = messages.iter().zip(&errors).filter(|(_, error)| is_fitting(error));
        let fitting: Vec<_> = fitting.map(|(message, _)| message).collect();
        let (written, failure) = match leases.during(self.write(&fitting)).await {
            Ok(true) => {
                let foreign = errors.iter().filter(|error| error.is_some() && is_fitting(error)).count();
                self.foreign.fetch_add(foreign as u64, Ordering::Relaxed);
                (Outcome::Taken, None)
            }
            Ok(false) => (Outcome::Failed, None),
            Err(error) => (Outcome::Failed, Some(Failure::output(&error))),
        };
        let outcome = |(message, error): (&Message, &Option<Error>)| match error {
            Some(error) if self.only_importable => {
                let (id, why) = (&message.id, Failure::described(error));
                self.progress.remark_on_message("unfit", &format!("message {id} stays: {why}"));
                Outcome::Unfit
            }
            _ => written,
        };
        Taken { outcomes: messages.iter().zip(&errors).map(outcome).collect(), failure }
    }
}

/// Whether standard output keeps nothing. Where it is closed, the program is started with `/dev/null` instead.
#[cfg(unix)]
fn is_nowhere() -> bool {
    use std::os::{fd::AsFd, unix::fs::MetadataExt};

    let device = |file: File| file.metadata().map(|metadata| metadata.rdev());
    let output = io::stdout().as_fd().try_clone_to_owned().map(File::from).and_then(device);
    match (output, File::open("/dev/null").and_then(device)) {
        (Ok(output), Ok(null)) => output == null,
        (Err(_), _) => true,
        _ => false,
    }
}

#[cfg(not(unix))]
fn is_nowhere() -> bool {
    false
}

/// A new file is on the disk only if the entry in its folder is.
fn sync_folder(path: &Path) {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Not every system supports this.
    let _ = File::open(folder).and_then(|folder| folder.sync_all());
}

/// How many lines a file has. Only a file can be read: a pipe or a device has none.
fn lines_of(file: &mut File) -> io::Result<u64> {
    if !file.metadata()?.is_file() {
        return Ok(0);
    }
    file.rewind()?;
    let (mut reader, mut lines) = (BufReader::new(file), 0_u64);
    loop {
        let part = reader.fill_buf()?;
        if part.is_empty() {
            return Ok(lines);
        }
        let (length, ends) = (part.len(), part.iter().filter(|byte| **byte == b'\n').count());
        lines = lines.saturating_add(ends as u64);
        reader.consume(length);
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

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use cloudflare_queues::{PushMessage, testing};

    use super::*;

    #[tokio::test]
    async fn no_line_counts_as_written_once_a_sync_has_failed() {
        let message = testing::message(PushMessage::text("hello"));
        // It takes what is written, and has no disk.
        let file = File::options().write(true).open("/proc/thread-self/comm").unwrap();
        let writing = Writing::new(file).unwrap();
        assert_eq!(writing.write(&[&message]).await.unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert!(!writing.write(&[&message]).await.unwrap());
    }
}
