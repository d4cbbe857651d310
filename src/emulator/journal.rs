//! A file by which queues survive a restart: a log of what changed, which is replaced by a snapshot when it is long.
//!
//! Lines about one queue are written under its lock, so they are in order. What a line says is the state after a
//! change, so replaying the log needs no rules of delivery.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader, Read, Seek, Write},
    iter,
    path::{Path, PathBuf},
    sync::Mutex,
};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::sync::watch;

use super::{
    clock::Clock,
    queue::Changes,
    queues::Queues,
    registry::{Record, Registry},
    service::Service,
    settings::EmulatedQueue,
};
use crate::flow::contained::lock;

/// The log is replaced by a snapshot when it is longer than this, and than four snapshots.
const LONG: u64 = 64 << 20;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Record {
        id: String,
        record: Box<Record>,
    },
    Deleted(String),
    Renamed {
        old: String,
        new: String,
    },
    Subscriptions {
        /// Ids up to the one of this number are used, also for consumers.
        used: u64,
        by_id: BTreeMap<String, Map<String, Value>>,
    },
    Changes {
        queue: String,
        /// The queue's account, if this is all of the queue, which may be new.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        account: Option<String>,
        changes: Changes,
    },
    /// Numbers up to this one are used.
    Counter(u64),
}

pub(super) struct Journal {
    path: PathBuf,
    log: Mutex<Log>,
    /// Locked while a snapshot is written.
    shortening: Mutex<()>,
    failure: watch::Sender<Option<String>>,
}

struct Log {
    file: File,
    /// What was written last as each queue's record, and about subscriptions under the empty id.
    written: BTreeMap<String, String>,
    bytes: u64,
    snapshot_bytes: u64,
}

impl Log {
    /// What was written about a queue, and about subscriptions to it, holds no more.
    fn forget(&mut self, queue_id: &str) {
        self.written.remove(queue_id);
        self.written.remove("");
    }
}

impl Journal {
    /// Reads the state in a file, if it exists, and returns it with a journal that goes on there.
    pub(super) fn open(path: &Path, clock: &Clock) -> io::Result<(Self, Queues, Registry)> {
        let newer = newer(path);
        if path.exists() && !path.is_file() {
            return Err(io::Error::other("this is not a regular file"));
        }
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
        file.set_len(whole(&file)?)?;
        // A snapshot that was not finished continues the log.
        if newer.exists() {
            let rest = File::open(&newer)?;
            io::copy(&mut (&rest).take(whole(&rest)?), &mut file)?;
            fs::remove_file(&newer)?;
        }
        let (queues, registry) = restore(path, clock)?;
        // Refused now rather than when the log is long.
        File::create(&newer)?;
        let log = Log { file, written: BTreeMap::new(), bytes: 0, snapshot_bytes: 0 };
        let journal = Self {
            path: path.to_owned(),
            log: Mutex::new(log),
            shortening: Mutex::new(()),
            failure: watch::Sender::new(None),
        };
        Ok((journal, queues, registry))
    }

    /// Writes what changed in a queue, which must be locked: with the account, all of it.
    pub(super) fn write(&self, queue_id: &str, account: Option<&str>, changes: Changes) {
        if !changes.is_empty() {
            let (queue, account) = (queue_id.to_owned(), account.map(str::to_owned));
            self.append(&mut lock(&self.log), &Line::Changes { queue, account, changes });
        }
    }

    pub(super) fn write_deleted(&self, queue_id: &str) {
        let mut log = lock(&self.log);
        log.forget(queue_id);
        self.append(&mut log, &Line::Deleted(queue_id.to_owned()));
    }

    /// Writes that a queue, which must be locked, has another id from now on.
    pub(super) fn write_renamed(&self, old: &str, new: &str) {
        let mut log = lock(&self.log);
        log.forget(old);
        self.append(&mut log, &Line::Renamed { old: old.to_owned(), new: new.to_owned() });
    }

    /// Writes the last number that is used.
    pub(super) fn write_count(&self, used: u64) {
        self.append(&mut lock(&self.log), &Line::Counter(used));
    }

    /// Writes what changed in the configuration. The registry is locked, so that no older state comes later.
    pub(super) fn write_configuration(&self, registry: &Registry) {
        let subscriptions = Line::Subscriptions { used: registry.used(), by_id: registry.subscriptions.clone() };
        let record = |(id, record): (&str, &Record)| {
            (id.to_owned(), Line::Record { id: id.to_owned(), record: Box::new(record.clone()) })
        };
        let mut log = lock(&self.log);
        for (id, line) in iter::once((String::new(), subscriptions)).chain(registry.records().map(record)) {
            let text = serde_json::to_string(&line).unwrap_or_default();
            if log.written.get(&id) != Some(&text) {
                self.append(&mut log, &line);
                log.written.insert(id, text);
            }
        }
    }

    /// Whether the log is so long that a snapshot pays.
    pub(super) fn is_long(&self) -> bool {
        let log = lock(&self.log);
        log.bytes > LONG.max(log.snapshot_bytes.saturating_mul(4))
    }

    /// Replaces the log by a snapshot. Meanwhile, requests about messages are carried out, and logged behind what is
    /// there. Those about queues wait.
    pub(super) fn shorten(&self, service: &Service) -> io::Result<()> {
        // Another request does it already.
        let Ok(_shortening) = self.shortening.try_lock() else { return Ok(()) };
        self.intact()?;
        // Locked to the end, so that no queue gets another id after the list of all was made.
        let registry = service.registry();
        let newer = newer(&self.path);
        let shortened = File::create(&newer).and_then(|file| {
            let mut log = lock(&self.log);
            (log.file, log.bytes) = (file, 0);
            log.written.clear();
            self.append(&mut log, &Line::Counter(service.queues.count()));
            drop(log);
            self.write_configuration(&registry);
            for (id, _) in service.queues.ids() {
                service.queues.write_snapshot(self, &id);
            }
            let mut log = lock(&self.log);
            log.snapshot_bytes = log.bytes;
            // Half a snapshot replaces nothing.
            self.intact()?;
            fs::rename(&newer, &self.path)
        });
        shortened.inspect_err(|error| self.fail(error))
    }

    /// An error if something could not be written.
    fn intact(&self) -> io::Result<()> {
        self.failure.borrow().as_ref().map_or(Ok(()), |failure| Err(io::Error::other(failure.clone())))
    }

    /// Completes when the file cannot be written any more.
    pub(super) async fn failed(&self) -> String {
        let mut failure = self.failure.subscribe();
        match failure.wait_for(Option::is_some).await {
            Ok(failure) => failure.clone().unwrap_or_default(),
            Err(_) => std::future::pending().await,
        }
    }

    /// Writes a line, but none behind one that was cut, which it would continue.
    fn append(&self, log: &mut Log, line: &Line) {
        if self.intact().is_err() {
            return;
        }
        let written = serde_json::to_vec(line).map_err(io::Error::from).and_then(|mut text| {
            text.push(b'\n');
            log.bytes = log.bytes.saturating_add(text.len() as u64);
            log.file.write_all(&text)
        });
        if let Err(error) = written {
            self.fail(&error);
        }
    }

    fn fail(&self, error: &io::Error) {
        tracing::error!(%error, "the emulator cannot write its state");
        self.failure.send_replace(Some(error.to_string()));
    }
}

pub(super) fn newer(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

/// The length of a file's complete lines. The last line is incomplete if the program was killed while it was written,
/// or the disk was full, and what follows must not continue it.
fn whole(file: &File) -> io::Result<u64> {
    let (mut lines, mut text, mut length) = (BufReader::new(file), Vec::new(), 0_u64);
    while lines.read_until(b'\n', &mut text)? > 0 && text.last() == Some(&b'\n') {
        length = length.saturating_add(text.len() as u64);
        text.clear();
    }
    (&*file).rewind()?;
    Ok(length)
}

/// What the log says, apart from the queues that requests use, since those apply the rules.
fn restore(path: &Path, clock: &Clock) -> io::Result<(Queues, Registry)> {
    let (queues, mut registry) = (Queues::default(), Registry::default());
    let mut lines = BufReader::new(File::open(path)?);
    let (mut text, mut number) = (Vec::new(), 0_u64);
    loop {
        text.clear();
        number = number.saturating_add(1);
        if lines.read_until(b'\n', &mut text)? == 0 {
            // A queue is written behind its record, and may not have been.
            registry.retain(|id, record| queues.exists(&record.account, id));
            return Ok((queues, registry));
        }
        let line =
            serde_json::from_slice(&text).map_err(|error| io::Error::other(format!("line {number}: {error}")))?;
        match line {
            Line::Record { id, record } => registry.put(id, *record),
            Line::Deleted(id) => {
                queues.remove(&id);
                registry.remove(&id);
            }
            Line::Renamed { old, new } => {
                queues.restore_renamed(&old, &new);
                registry.rename(&old, &new);
            }
            Line::Subscriptions { used, by_id } => registry.put_subscriptions(used, by_id),
            Line::Counter(used) => queues.count_on(used),
            Line::Changes { queue, account, changes } => {
                if let Some(account) = account {
                    queues.put(&queue, &account, EmulatedQueue::new());
                }
                queues.apply(clock, &queue, changes);
            }
        }
    }
}
