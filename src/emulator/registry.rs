//! What the emulator keeps of queues beside their messages, and of event subscriptions.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::clock::Time;

/// Four days, in seconds.
pub(super) const DEFAULT_RETENTION: u64 = 345_600;

#[derive(Default)]
pub(super) struct Registry {
    records: BTreeMap<String, Record>,
    pub(super) subscriptions: BTreeMap<String, Map<String, Value>>,
    counter: u64,
}

/// A queue, beside what the delivery of its messages needs.
pub(super) struct Record {
    pub(super) account: String,
    pub(super) name: String,
    pub(super) created: Time,
    pub(super) modified: Time,
    pub(super) jurisdiction: Option<String>,
    pub(super) retention: u64,
    pub(super) consumer: Option<Consumer>,
    /// When the last deletion of all messages began, and ends.
    pub(super) purge: Option<(Time, Time)>,
}

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

impl Registry {
    /// An id that nothing has yet.
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
            retention: DEFAULT_RETENTION,
            consumer: None,
            purge: None,
        })
    }

    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    /// Of whichever account.
    pub(super) fn find(&self, id: &str) -> Option<&Record> {
        self.records.get(id)
    }

    pub(super) fn find_mut(&mut self, id: &str) -> Option<&mut Record> {
        self.records.get_mut(id)
    }

    pub(super) fn remove(&mut self, id: &str) {
        self.records.remove(id);
    }

    pub(super) fn get(&self, account: &str, id: &str) -> Option<&Record> {
        self.records.get(id).filter(|record| record.account == account)
    }

    pub(super) fn get_mut(&mut self, account: &str, id: &str) -> Option<&mut Record> {
        self.records.get_mut(id).filter(|record| record.account == account)
    }

    /// The queues of an account by their names.
    pub(super) fn of_account(&self, account: &str) -> BTreeMap<&str, &str> {
        let records = self.records.iter().filter(|(_, record)| record.account == account);
        records.map(|(id, record)| (record.name.as_str(), id.as_str())).collect()
    }
}
