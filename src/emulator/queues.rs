//! All queues. Each has its own lock, and no thread ever holds two.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{
    clock::{Clock, Time},
    ids::{self, Sequence},
    journal::Journal,
    queue::{Changes, Queue},
    settings::EmulatedQueue,
};
use crate::{flow::contained::lock, queue::ids::QueueId};

/// The first half of the ids of queues; a counter is the other one.
const OWN: u128 = 0xd1e5 << 64;

#[derive(Default)]
pub(super) struct Queues {
    by_id: RwLock<BTreeMap<String, Owned>>,
    /// The queues whose messages each dead-letter queue receives, or received.
    sources: RwLock<HashMap<String, BTreeSet<String>>>,
    /// Where changes are kept, if they are.
    pub(super) journal: OnceLock<Journal>,
    /// Makes ids unique.
    counter: AtomicU64,
}

struct Owned {
    account_id: String,
    queue: Arc<Mutex<Queue>>,
}

impl Queues {
    pub(super) fn create(&self, account_id: &str, settings: EmulatedQueue) -> QueueId {
        let queue_id = self.new_id();
        self.put(queue_id.as_str(), account_id, settings);
        queue_id
    }

    /// An id that no queue has.
    pub(super) fn new_id(&self) -> QueueId {
        let new_id = || ids::numbered::<QueueId>(OWN | u128::from(self.next()));
        let mut queue_id = new_id();
        // Queues can be given any id.
        while self.get(queue_id.as_str()).is_some() {
            queue_id = new_id();
        }
        queue_id
    }

    /// Puts an empty queue where there is none, or in place of the one there is.
    pub(super) fn put(&self, queue_id: &str, account_id: &str, settings: EmulatedQueue) {
        self.add_source(queue_id, settings.dead_letter_queue.as_deref());
        let mut queue = Queue::new(settings);
        queue_id.clone_into(&mut queue.id);
        let mut queues = self.by_id.write().unwrap_or_else(PoisonError::into_inner);
        // In the log before anything else about the queue, and if that is being shortened, in the list or in the rest.
        if let Some(journal) = self.journal.get() {
            queue.keep_changes();
            journal.write_count(self.count());
            journal.write(queue_id, Some(account_id), queue.snapshot());
        }
        let queue = Arc::new(Mutex::new(queue));
        let replaced = queues.insert(queue_id.to_owned(), Owned { account_id: account_id.to_owned(), queue });
        // Freeing many messages takes a while, for which other queues are not locked.
        drop(queues);
        drop(replaced);
    }

    /// Adds these queues, in place of those with the same ids.
    pub(super) fn adopt(&self, restored: Self) {
        self.count_on(restored.count());
        let sources = restored.sources.into_inner().unwrap_or_else(PoisonError::into_inner);
        for (dead_letter_queue, sources) in sources {
            sources.iter().for_each(|source| self.add_source(source, Some(&dead_letter_queue)));
        }
        let restored = restored.by_id.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut queues = self.by_id.write().unwrap_or_else(PoisonError::into_inner);
        let replaced: Vec<_> = restored.into_iter().filter_map(|(id, owned)| queues.insert(id, owned)).collect();
        drop(queues);
        drop(replaced);
    }

    /// Creates a queue with this id and these settings, or changes the settings of the one there is.
    pub(super) fn restore(&self, clock: &Clock, queue_id: &str, account_id: &str, settings: EmulatedQueue) {
        if self.exists(account_id, queue_id) {
            self.configure(clock, queue_id, |_| settings);
        } else {
            self.put(queue_id, account_id, settings);
        }
    }

    /// Gives a queue another id, unless that is taken. Returns whether it did.
    pub(super) fn rename(&self, clock: &Clock, old: &str, new: &str) -> bool {
        let Some(queue) = self.get(old) else { return false };
        let mut locked = lock(&queue);
        let mut queues = self.by_id.write().unwrap_or_else(PoisonError::into_inner);
        let Some(Owned { account_id, .. }) = queues.get(old).filter(|_| !queues.contains_key(new)) else {
            return false;
        };
        let owned = Owned { account_id: account_id.clone(), queue: Arc::clone(&queue) };
        queues.insert(new.to_owned(), owned);
        new.clone_into(&mut locked.id);
        if let Some(journal) = self.journal.get() {
            journal.write_renamed(old, new);
        }
        drop((queues, locked));
        for (id, _) in self.ids() {
            self.configure(clock, &id, |settings| settings.with_renamed(old, new));
        }
        // Only now, so that dead letters that go by the settings before arrive.
        self.by_id.write().unwrap_or_else(PoisonError::into_inner).remove(old);
        true
    }

    /// Gives a queue another id, as the log says, without the rules of delivery.
    pub(super) fn restore_renamed(&self, old: &str, new: &str) {
        let mut queues = self.by_id.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(owned) = queues.remove(old) {
            queues.insert(new.to_owned(), owned);
        }
        drop(queues);
        for (id, _) in self.ids() {
            let Some(queue) = self.get(&id) else { continue };
            let mut queue = lock(&queue);
            queue.configure(|settings| settings.with_renamed(old, new));
            self.add_source(&id, queue.settings().dead_letter_queue.as_deref());
            queue.id = id;
        }
    }

    /// Deletes a queue with its messages.
    pub(super) fn remove(&self, queue_id: &str) {
        let mut queues = self.by_id.write().unwrap_or_else(PoisonError::into_inner);
        let removed = queues.remove(queue_id);
        if let Some(journal) = self.journal.get() {
            journal.write_deleted(queue_id);
        }
        drop(queues);
        drop(removed);
    }

    /// All ids, and the account of each.
    pub(super) fn ids(&self) -> Vec<(String, String)> {
        let queues = self.by_id.read().unwrap_or_else(PoisonError::into_inner);
        queues.iter().map(|(id, owned)| (id.clone(), owned.account_id.clone())).collect()
    }

    pub(super) fn exists(&self, account_id: &str, queue_id: &str) -> bool {
        let queues = self.by_id.read().unwrap_or_else(PoisonError::into_inner);
        queues.get(queue_id).is_some_and(|owned| owned.account_id == account_id)
    }

    /// Works on a queue in its current state, with the time. `None` if the queue does not exist.
    pub(super) fn with<T>(&self, clock: &Clock, queue_id: &str, work: impl FnOnce(&mut Queue, Time) -> T) -> Option<T> {
        self.settle_sources(clock, queue_id);
        let queue = self.get(queue_id)?;
        let (mut locked, now) = current(&queue, clock);
        let result = work(&mut locked, now);
        self.settle(clock, &queue, locked);
        Some(result)
    }

    /// Dead letters of another queue belong here, even if nobody uses that queue.
    fn settle_sources(&self, clock: &Clock, queue_id: &str) {
        let sources = self.sources.read().unwrap_or_else(PoisonError::into_inner).get(queue_id).cloned();
        for source in sources.into_iter().flatten().filter(|source| source != queue_id) {
            if let Some(queue) = self.get(&source) {
                self.settle(clock, &queue, current(&queue, clock).0);
            }
        }
    }

    pub(super) fn configure(&self, clock: &Clock, queue_id: &str, change: impl FnOnce(EmulatedQueue) -> EmulatedQueue) {
        // What has ended goes by the settings before, also in the log.
        self.with(clock, queue_id, |queue, now| while queue.expire(now) {});
        let dead_letter_queue = self.with(clock, queue_id, |queue, _| {
            queue.configure(change);
            queue.settings().dead_letter_queue.clone()
        });
        self.add_source(queue_id, dead_letter_queue.flatten().as_deref());
    }

    /// The number of a new message. Call it while the queue is locked, so that later messages have greater numbers.
    pub(super) fn next_sequence(&self) -> Sequence {
        Sequence::new(self.next())
    }

    /// Moves a queue's dead letters to where they belong. It takes the lock, since no thread ever holds two.
    fn settle(&self, clock: &Clock, source: &Mutex<Queue>, mut locked: MutexGuard<'_, Queue>) {
        // Under the lock, since the dead-letter queue keeps an id until all sources know the other one.
        let dead = locked.take_dead().map(|(dead_letter_queue, messages)| (self.get(&dead_letter_queue), messages));
        self.keep(&mut locked);
        drop(locked);
        let Some((dead_letter_queue, messages)) = dead else { return };
        let gone = messages.iter().map(|(sequence, _)| *sequence).collect();
        if let Some(queue) = dead_letter_queue {
            let mut locked = lock(&queue);
            messages.into_iter().for_each(|(_, message)| locked.push(clock.now(), self.next_sequence(), message));
            self.keep(&mut locked);
        }
        // Only now, so that no dead letter is lost between two lines.
        if let Some(journal) = self.journal.get() {
            journal.write(&lock(source).id, None, Changes::removed(gone));
        }
    }

    /// Writes what changed in a locked queue, under the id that it has now.
    fn keep(&self, queue: &mut Queue) {
        if let Some(journal) = self.journal.get() {
            let changes = queue.take_changes();
            journal.write(&queue.id, None, changes);
        }
    }

    /// Writes all of a queue.
    pub(super) fn write_snapshot(&self, journal: &Journal, queue_id: &str) {
        let Some(queue) = self.get(queue_id) else { return };
        let locked = lock(&queue);
        let snapshot = locked.snapshot();
        // If the queue was deleted in the meantime, that is in the log, and must be the last word.
        let queues = self.by_id.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(owned) = queues.get(queue_id).filter(|owned| Arc::ptr_eq(&owned.queue, &queue)) {
            journal.write(queue_id, Some(&owned.account_id), snapshot);
        }
    }

    /// The last number that is used.
    pub(super) fn count(&self) -> u64 {
        self.counter.load(Ordering::Relaxed)
    }

    /// Goes on with the number behind this one.
    pub(super) fn count_on(&self, used: u64) {
        self.counter.fetch_max(used, Ordering::Relaxed);
    }

    /// Makes all queues note what changes.
    pub(super) fn keep_changes(&self) {
        for (id, _) in self.ids() {
            self.get(&id).iter().for_each(|queue| lock(queue).keep_changes());
        }
    }

    /// Restores what was kept.
    pub(super) fn apply(&self, clock: &Clock, queue_id: &str, changes: Changes) {
        self.count_on(changes.last());
        self.add_source(queue_id, changes.settings.as_ref().and_then(|settings| settings.dead_letter_queue.as_deref()));
        if let Some(queue) = self.get(queue_id) {
            lock(&queue).apply(clock.now(), changes);
        }
    }

    fn add_source(&self, queue_id: &str, dead_letter_queue: Option<&str>) {
        if let Some(dead_letter_queue) = dead_letter_queue {
            let mut sources = self.sources.write().unwrap_or_else(PoisonError::into_inner);
            sources.entry(dead_letter_queue.to_owned()).or_default().insert(queue_id.to_owned());
        }
    }

    fn get(&self, queue_id: &str) -> Option<Arc<Mutex<Queue>>> {
        let queues = self.by_id.read().unwrap_or_else(PoisonError::into_inner);
        queues.get(queue_id).map(|owned| Arc::clone(&owned.queue))
    }

    fn next(&self) -> u64 {
        self.counter.fetch_add(1, Ordering::Relaxed).wrapping_add(1)
    }
}

/// A queue in its current state, and the time.
fn current<'a>(queue: &'a Mutex<Queue>, clock: &Clock) -> (MutexGuard<'a, Queue>, Time) {
    let mut locked = lock(queue);
    let now = clock.now();
    locked.expire(now);
    (locked, now)
}
