//! What the emulator stores about queues, apart from messages, and about event subscriptions.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::clock::Time;

#[derive(Clone, Default)]
pub(super) struct Registry {
    records: BTreeMap<String, Record>,
    pub(super) subscriptions: BTreeMap<String, Map<String, Value>>,
    counter: u64,
}

/// A queue, apart from what delivery needs.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) account: String,
    pub(super) name: String,
    pub(super) created: Time,
    pub(super) modified: Time,
    pub(super) jurisdiction: Option<String>,
    pub(super) consumer: Option<Consumer>,
    /// When the last deletion of all messages began, and ends.
    pub(super) purge: Option<(Time, Time)>,
}

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Consumer {
    pub(super) id: String,
    pub(super) created: Time,
    /// As it was sent.
    pub(super) fields: Map<String, Value>,
}

impl Consumer {
    pub(super) fn kind(&self) -> &str {
        self.fields.get("type").and_then(Value::as_str).unwrap_or_default()
    }
}

/// The queue that receives the events of a subscription.
pub(super) fn destination(fields: &Map<String, Value>) -> &str {
    fields.get("destination").and_then(|queue| queue.get("queue_id")?.as_str()).unwrap_or_default()
}

impl Registry {
    /// An unused id.
    pub(super) fn next_id(&mut self) -> String {
        self.counter = self.counter.wrapping_add(1);
        format!("{:032x}", 0xc0_u128 << 112 | u128::from(self.counter))
    }

    pub(super) fn add(&mut self, now: Time, id: &str, account: &str, name: &str) -> &mut Record {
        self.records.entry(id.to_owned()).or_insert(Record {
            account: account.to_owned(),
            name: name.to_owned(),
            created: now,
            modified: now,
            jurisdiction: None,
            consumer: None,
            purge: None,
        })
    }

    /// What was stored before.
    pub(super) fn put(&mut self, id: String, record: Record) {
        self.records.insert(id, record);
    }

    /// Keeps the records for which this returns true.
    pub(super) fn retain(&mut self, is_kept: impl Fn(&str, &Record) -> bool) {
        self.records.retain(|id, record| is_kept(id, record));
    }

    /// All event subscriptions that were stored before, and the number of the last id.
    pub(super) fn put_subscriptions(&mut self, used: u64, by_id: BTreeMap<String, Map<String, Value>>) {
        (self.counter, self.subscriptions) = (used, by_id);
    }

    /// Adds what was stored before, in place of what has the same ids. A queue that has one of the names gets another.
    pub(super) fn adopt(&mut self, restored: Self) {
        self.counter = self.counter.max(restored.counter);
        let is_taken = |record: &Record| restored.of_account(&record.account).contains_key(record.name.as_str());
        self.records.retain(|_, record| !is_taken(record));
        self.records.extend(restored.records);
        self.subscriptions.extend(restored.subscriptions);
    }

    /// The number of the last id.
    pub(super) fn used(&self) -> u64 {
        self.counter
    }

    /// Makes a record of a queue that has none, and a consumer of its setting. Returns whether anything changed.
    pub(super) fn take_over(&mut self, now: Time, id: &str, account: &str, http_pull: bool) -> bool {
        let is_new = !self.records.contains_key(id);
        if is_new {
            let mut names = (self.records.len()..).map(|others| format!("queue-{}", others.saturating_add(1)));
            let is_free = |name: &String| self.records.values().all(|record| record.name != *name);
            let name = names.find(is_free).unwrap_or_default();
            self.add(now, id, account, &name);
        }
        let consumer = self.find(id).and_then(|record| record.consumer.as_ref());
        if http_pull == consumer.is_some_and(|consumer| consumer.kind() == "http_pull") {
            return is_new;
        }
        let fields = Map::from_iter([("type".to_owned(), "http_pull".into())]);
        let consumer = http_pull.then(|| Consumer { id: self.next_id(), created: now, fields });
        if let Some(record) = self.records.get_mut(id) {
            record.consumer = consumer;
        }
        true
    }

    /// All queues, by their ids.
    pub(super) fn records(&self) -> impl Iterator<Item = (&str, &Record)> {
        self.records.iter().map(|(id, record)| (id.as_str(), record))
    }

    /// Of any account.
    pub(super) fn find(&self, id: &str) -> Option<&Record> {
        self.records.get(id)
    }

    /// Removes a queue, and the subscriptions whose events it receives.
    pub(super) fn remove(&mut self, id: &str) {
        self.records.remove(id);
        self.subscriptions.retain(|_, fields| destination(fields) != id);
    }

    /// Gives a queue another id.
    pub(super) fn rename(&mut self, old: &str, new: &str) {
        if let Some(record) = self.records.remove(old) {
            self.records.insert(new.to_owned(), record);
        }
        for fields in self.subscriptions.values_mut().filter(|fields| destination(fields) == old) {
            if let Some(Value::Object(queue)) = fields.get_mut("destination") {
                queue.insert("queue_id".to_owned(), new.into());
            }
        }
    }

    /// Ids stay unique.
    pub(super) fn restore(&mut self, saved: Self) {
        *self = Self { counter: self.counter, ..saved };
    }

    pub(super) fn get(&self, account: &str, id: &str) -> Option<&Record> {
        self.records.get(id).filter(|record| record.account == account)
    }

    pub(super) fn get_mut(&mut self, account: &str, id: &str) -> Option<&mut Record> {
        self.records.get_mut(id).filter(|record| record.account == account)
    }

    /// The queues of an account by name.
    pub(super) fn of_account(&self, account: &str) -> BTreeMap<&str, &str> {
        let records = self.records.iter().filter(|(_, record)| record.account == account);
        records.map(|(id, record)| (record.name.as_str(), id.as_str())).collect()
    }
}
