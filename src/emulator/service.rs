//! State shared by all requests.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{
    behavior::Behavior,
    clock::{Clock, Time},
    configuration::Configuration,
    fault::Faults,
    queue::Queue,
    queues::Queues,
    random::Sequence,
    registry::Registry,
    reply::Refusal,
    served::ServedRequest,
};
use crate::{document::operation::Operation, flow::contained::lock};

pub(super) const ACCOUNT_ID: u128 = 0xe41a_7092_c5f3_4b6f_8d2b_1c7a_90f3_d5e8;
pub(super) const EMAIL: &str = "emulator@example.com";
pub(super) const API_KEY: &str = "emulator-key";

/// How many requests are kept to be shown.
const MAX_RECENT: usize = 500;

type Hook = Arc<dyn Fn(&ServedRequest) + Send + Sync>;

pub(super) struct Service {
    pub(super) clock: Clock,
    pub(super) random: Sequence,
    pub(super) queues: Queues,
    /// Whether it is controlled over HTTP.
    pub(super) has_control: bool,
    hook: Mutex<Option<Hook>>,
    /// The last requests with their numbers, if it is controlled over HTTP.
    recent: Mutex<VecDeque<(u64, ServedRequest)>>,
    behavior: Mutex<Behavior>,
    faults: Mutex<Faults>,
    api_token: Mutex<String>,
    tokens: Tokens,
    requests: AtomicU64,
    accounts: Mutex<BTreeSet<String>>,
    registry: Mutex<Registry>,
    pub(super) saved: Mutex<Configuration>,
}

/// The accepted tokens besides the one for all accounts.
#[derive(Clone, Default)]
pub(super) struct Tokens {
    pub(super) any: bool,
    /// The account of each.
    pub(super) of_accounts: BTreeMap<String, String>,
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").finish_non_exhaustive()
    }
}

impl Service {
    /// Without an account.
    pub(super) fn new(clock: Clock, behavior: Behavior, api_token: String, tokens: Tokens, has_control: bool) -> Self {
        Self {
            clock,
            random: Sequence::default(),
            queues: Queues::default(),
            has_control,
            hook: Mutex::default(),
            recent: Mutex::default(),
            behavior: Mutex::new(behavior),
            faults: Mutex::default(),
            api_token: Mutex::new(api_token),
            tokens,
            requests: AtomicU64::new(0),
            accounts: Mutex::default(),
            registry: Mutex::default(),
            saved: Mutex::default(),
        }
    }

    /// Works on a queue in its current state, with the time.
    pub(super) fn with_queue<T>(&self, queue_id: &str, work: impl FnOnce(&mut Queue, Time) -> T) -> Result<T, Refusal> {
        self.queues.with(&self.clock, queue_id, work).ok_or_else(Refusal::no_queue)
    }

    pub(super) fn add_account(&self, account_id: &str) {
        lock(&self.accounts).insert(account_id.to_owned());
    }

    pub(super) fn has_account(&self, account_id: &str) -> bool {
        lock(&self.accounts).contains(account_id)
    }

    /// The queues, apart from their messages. It is locked before a queue, never after, and not at all for messages.
    pub(super) fn registry(&self) -> MutexGuard<'_, Registry> {
        let (mut registry, mut is_changed) = (lock(&self.registry), false);
        // What was done to queues besides the operations, by the methods of the emulator.
        for (id, account) in self.queues.ids() {
            if let Ok((http_pull, now)) = self.with_queue(&id, |queue, now| (queue.settings().http_pull, now)) {
                is_changed |= registry.take_over(now, &id, &account, http_pull);
            }
        }
        if is_changed {
            self.persist_configuration(&registry);
        }
        registry
    }

    pub(super) fn behavior(&self) -> Behavior {
        lock(&self.behavior).clone()
    }

    pub(super) fn configure(&self, change: impl FnOnce(Behavior) -> Behavior) {
        let mut behavior = lock(&self.behavior);
        *behavior = change(behavior.clone());
    }

    pub(super) fn faults(&self) -> MutexGuard<'_, Faults> {
        lock(&self.faults)
    }

    pub(super) fn api_token(&self) -> MutexGuard<'_, String> {
        lock(&self.api_token)
    }

    /// Whether a token is valid at all, and whether for an account. Without an account, it need only be valid.
    pub(super) fn accepts(&self, token: &str, account: Option<&str>) -> (bool, bool) {
        if self.tokens.any || token == *self.api_token() {
            return (true, true);
        }
        let own = self.tokens.of_accounts.get(token);
        (own.is_some(), own.is_some_and(|own| account.is_none_or(|account| account == own)))
    }

    pub(super) fn set_hook(&self, hook: Hook) {
        *lock(&self.hook) = Some(hook);
    }

    pub(super) fn report(&self, request: ServedRequest) {
        // It is not locked while it is called, so that it may be slow, and set another one.
        let hook = lock(&self.hook).clone();
        if let Some(hook) = hook {
            hook(&request);
        }
        if self.has_control {
            let mut recent = lock(&self.recent);
            let number = recent.back().map_or(1, |(number, _)| number.saturating_add(1));
            recent.push_back((number, request));
            if recent.len() > MAX_RECENT {
                recent.pop_front();
            }
        }
    }

    /// Writes changes of the configuration, if it is kept in a file.
    pub(super) fn persist_configuration(&self, registry: &Registry) {
        if let Some(journal) = self.queues.journal.get() {
            journal.write_configuration(registry);
        }
    }

    /// Keeps what a request other than one about messages may have changed.
    pub(super) fn persist(&self, operation: Option<Operation>, is_read: bool) {
        let Some(journal) = self.queues.journal.get() else { return };
        let is_of_messages = operation.is_some_and(|operation| operation.path().contains("/messages"));
        if !is_of_messages && !is_read {
            journal.write_configuration(&self.registry());
        }
        if journal.is_long() {
            // The journal tells of an error itself.
            let _ = journal.shorten(self);
        }
    }

    /// Whether requests are logged or shown.
    pub(super) fn is_reported(&self) -> bool {
        self.has_control || lock(&self.hook).is_some()
    }

    pub(super) fn recent_requests(&self) -> MutexGuard<'_, VecDeque<(u64, ServedRequest)>> {
        lock(&self.recent)
    }

    /// The name of a queue, unless that would take waiting.
    pub(super) fn queue_name(&self, queue_id: &str) -> Option<String> {
        let registry = self.registry.try_lock().ok()?;
        registry.find(queue_id).map(|record| record.name.clone())
    }

    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Counts a request, and returns its number.
    pub(super) fn count_request(&self) -> u64 {
        self.requests.fetch_add(1, Ordering::Relaxed).wrapping_add(1)
    }
}
