//! Leases of messages that stay in the queue: extended while the sweep runs, so that each message is delivered to it
//! once, and given back at its end.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use cloudflare_queues::{Acker, Error, LeaseId, Message, Queue};
use tokio::{
    sync::Notify,
    task::JoinSet,
    time::{Instant, sleep},
};

use super::{LEASE, settle::settle};
use crate::progress::Progress;

/// How many leases a request holds.
const CHUNK: usize = 100;
/// So many chunks are kept in memory, and all others in a file.
const MOST_IN_MEMORY: usize = 200;
/// With more messages, leases are longer, so that extending them takes some six requests a second.
const MESSAGES_PER_SECOND: u64 = 300;
/// How long messages are hidden at most if the sweep is killed.
const LONGEST: Duration = Duration::from_secs(60 * 60);
const MOST_EXTENSIONS: usize = 16;
const MOST_RETURNS: usize = 32;
/// With less than this left, a lease that could not be extended is handed back.
const TOO_LATE: Duration = Duration::from_secs(10);
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(super) struct Kept {
    chunks: Mutex<Chunks>,
    messages: AtomicU64,
    /// Leases that may have expired, so that their messages may have been delivered again.
    lost: AtomicU64,
    /// Messages that were handed back with a delay, since their leases could not be extended.
    hidden: AtomicU64,
    is_ending: AtomicBool,
    ending: Notify,
}

#[derive(Default)]
struct Chunks {
    /// Not full yet.
    open: Chunk,
    /// By the time when the first of their leases expires.
    closed: BTreeMap<(Instant, u64), Stored>,
    next: u64,
    in_memory: usize,
    /// It has no name, so that nothing is left of it.
    file: Option<File>,
}

enum Stored {
    InMemory(Vec<LeaseId>),
    InFile(Position),
}

#[derive(Clone, Copy)]
struct Position {
    at: u64,
    bytes: usize,
    leases: u64,
}

/// Leases that are extended or handed back together.
#[derive(Default)]
struct Chunk {
    leases: Vec<LeaseId>,
    /// When the first of them expires.
    until: Option<Instant>,
    /// Where they are in the file, if they are.
    position: Option<Position>,
}

impl Chunk {
    fn is_due(&self, by: Option<Instant>) -> bool {
        self.until.is_some_and(|until| by.is_none_or(|by| until <= by))
    }

    fn left(&self) -> Duration {
        self.until.map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()))
    }
}

impl Kept {
    /// How long to lease messages.
    pub(super) fn lease(&self) -> Duration {
        Duration::from_secs(self.messages() / MESSAGES_PER_SECOND).clamp(LEASE, LONGEST)
    }

    pub(super) fn messages(&self) -> u64 {
        self.messages.load(Ordering::Relaxed)
    }

    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    pub(super) fn hidden(&self) -> u64 {
        self.hidden.load(Ordering::Relaxed)
    }

    pub(super) fn keep<'a>(&self, messages: impl IntoIterator<Item = &'a Message>) {
        let mut chunks = self.chunks();
        for message in messages {
            self.messages.fetch_add(1, Ordering::Relaxed);
            let (open, until) = (&mut chunks.open, Instant::from(message.lease_deadline));
            open.leases.push(message.lease_id.clone());
            open.until = Some(open.until.map_or(until, |first| first.min(until)));
            if open.leases.len() >= CHUNK {
                chunks.close();
            }
        }
    }

    fn chunks(&self) -> MutexGuard<'_, Chunks> {
        self.chunks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// [`extend`](Self::extend) is to end after the requests that it has sent.
    pub(super) fn end(&self) {
        self.is_ending.store(true, Ordering::Relaxed);
        self.ending.notify_one();
    }

    /// Extends leases before they expire, until [`end`](Self::end) is called. Those that cannot be extended are handed
    /// back with a delay.
    pub(super) async fn extend(&self, queue: &Queue, acker: &Acker, delay: impl Fn() -> Duration) {
        while !self.is_ending.load(Ordering::Relaxed) {
            let lease = self.lease();
            let mut extensions = JoinSet::new();
            while extensions.len() < MOST_EXTENSIONS
                && let Some(chunk) = self.take(Some(Instant::now() + lease / 2))
            {
                let queue = queue.clone();
                extensions.spawn(async move { (extend(&queue, &chunk.leases, lease).await, chunk) });
            }
            let mut is_waiting = extensions.is_empty();
            while let Some(Ok((extended, mut chunk))) = extensions.join_next().await {
                match extended {
                    Ok(Some(until)) => {
                        chunk.until = chunk.until.max(Some(until));
                        self.chunks().add(chunk);
                    }
                    Err(error) if error.is_transient() && chunk.left() > TOO_LATE => {
                        is_waiting = true;
                        self.chunks().add(chunk);
                    }
                    _ => self.hide(acker, &chunk.leases, delay()).await,
                }
            }
            if is_waiting {
                tokio::select! {
                    () = sleep(BETWEEN_LOOKS) => {}
                    () = self.ending.notified() => {}
                }
            }
        }
    }

    async fn hide(&self, acker: &Acker, leases: &[LeaseId], delay: Duration) {
        let settled = settle(acker, leases, Some(delay)).await;
        self.hidden.fetch_add(leases.len() as u64 - settled.unconfirmed, Ordering::Relaxed);
        self.lost.fetch_add(settled.unconfirmed, Ordering::Relaxed);
    }

    /// Hands all messages back, to be delivered at once. Returns how many of these were not confirmed: they are hidden
    /// until their leases expire.
    pub(super) async fn give_back(&self, acker: &Acker, progress: &Progress) -> u64 {
        let (mut returns, mut unconfirmed, mut done) = (JoinSet::new(), 0, 0_u64);
        if self.messages() > 0 {
            progress.begin("messages made available again", Some(self.messages()));
        }
        loop {
            while returns.len() < MOST_RETURNS
                && let Some(Chunk { leases, .. }) = self.take(None)
            {
                let acker = acker.clone();
                returns.spawn(async move {
                    let settled = settle(&acker, &leases, Some(Duration::ZERO)).await;
                    (leases.len() as u64, settled.unconfirmed)
                });
            }
            let Some(returned) = returns.join_next().await else { return unconfirmed };
            let (messages, failed) = returned.unwrap_or((0, CHUNK as u64));
            unconfirmed += failed;
            done += messages;
            progress.at(done);
        }
    }

    /// The leases that expire first, if they do by then.
    fn take(&self, by: Option<Instant>) -> Option<Chunk> {
        let mut chunks = self.chunks();
        if chunks.open.is_due(by) {
            chunks.close();
        }
        loop {
            let first = chunks.closed.first_entry()?;
            let until = Some(first.key().0);
            if by.is_some_and(|by| until > Some(by)) {
                return None;
            }
            match first.remove() {
                Stored::InMemory(leases) => {
                    chunks.in_memory -= 1;
                    return Some(Chunk { leases, until, position: None });
                }
                Stored::InFile(position) => match chunks.load(position) {
                    Ok(leases) => return Some(Chunk { leases, until, position: Some(position) }),
                    Err(_) => self.lost.fetch_add(position.leases, Ordering::Relaxed),
                },
            };
        }
    }
}

/// Returns when the leases expire, or `None` if some may not have been extended.
async fn extend(queue: &Queue, leases: &[LeaseId], lease: Duration) -> Result<Option<Instant>, Error> {
    let sent = Instant::now();
    let outcome = queue.extend(leases, lease).await?;
    // A response without a count is no evidence of a failure.
    let is_done = outcome.extensions.doubtful() == 0;
    Ok(is_done.then(|| sent + lease))
}

impl Chunks {
    fn close(&mut self) {
        let open = std::mem::take(&mut self.open);
        self.add(open);
    }

    fn add(&mut self, chunk: Chunk) {
        let Some(until) = chunk.until else { return };
        let position = match chunk.position {
            None if self.in_memory >= MOST_IN_MEMORY => self.store(&chunk.leases).ok(),
            position => position,
        };
        // Where no file can be written, they stay in memory.
        self.in_memory += usize::from(position.is_none());
        self.next += 1;
        self.closed.insert((until, self.next), position.map_or(Stored::InMemory(chunk.leases), Stored::InFile));
    }

    fn store(&mut self, leases: &[LeaseId]) -> io::Result<Position> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(tempfile::tempfile()?),
        };
        let lines = serde_json::to_vec(leases)?;
        let at = file.seek(SeekFrom::End(0))?;
        file.write_all(&lines)?;
        Ok(Position { at, bytes: lines.len(), leases: leases.len() as u64 })
    }

    fn load(&mut self, position: Position) -> io::Result<Vec<LeaseId>> {
        let file = self.file.as_mut().ok_or(io::ErrorKind::NotFound)?;
        let mut lines = vec![0; position.bytes];
        file.seek(SeekFrom::Start(position.at))?;
        file.read_exact(&mut lines)?;
        Ok(serde_json::from_slice(&lines)?)
    }
}
