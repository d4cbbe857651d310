//! What the emulator keeps of accounts, queues, consumers and event subscriptions.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use crate::emulator::{
    clock::Time,
    service::{ACCOUNT_ID, Service},
    settings::QueueSettings,
};

/// Four days, in seconds.
const DEFAULT_RETENTION: u64 = 345_600;

pub(in crate::emulator) struct Registry {
    accounts: BTreeSet<String>,
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
    pub(in crate::emulator) fn new(account: &str) -> Self {
        Self {
            accounts: BTreeSet::from([account.to_owned()]),
            records: BTreeMap::new(),
            subscriptions: BTreeMap::new(),
            counter: 0,
        }
    }

    pub(in crate::emulator) fn add_account(&mut self, account: &str) {
        self.accounts.insert(account.to_owned());
    }

    /// Whether there is such an account, and whether such a queue would be its.
    pub(in crate::emulator) fn knows(&self, account: &str, queue_id: Option<&str>) -> (bool, bool) {
        let owner = queue_id.and_then(|id| self.records.get(id)).map_or(ACCOUNT_ID, |record| &record.account);
        (self.accounts.contains(account), owner == account)
    }

    /// An id that nothing has yet.
    pub(super) fn next_id(&mut self) -> String {
        self.counter = self.counter.wrapping_add(1);
        format!("{:032x}", 0xc0_u128 << 112 | u128::from(self.counter))
    }

    /// Takes over what was done to queues beside the operations: by the methods of the emulator.
    pub(super) fn sync(&mut self, service: &Service) {
        for id in service.queues.ids() {
            let Ok(settings) = service.with_queue(&id, |queue, _| queue.settings().clone()) else { continue };
            if !self.records.contains_key(&id) {
                let name = format!("queue-{}", self.records.len().saturating_add(1));
                self.add(service, &id, ACCOUNT_ID, &name);
            }
            let consumer_id = self.next_id();
            let Some(record) = self.records.get_mut(&id) else { continue };
            let is_pull = record.consumer.as_ref().is_some_and(|consumer| consumer.kind() == "http_pull");
            if settings.http_pull && !is_pull {
                let fields = Map::from_iter([("type".to_owned(), "http_pull".into())]);
                record.consumer = Some(Consumer { id: consumer_id, created: service.clock.now(), fields });
            } else if !settings.http_pull && is_pull {
                record.consumer = None;
            }
        }
    }

    pub(super) fn add(&mut self, service: &Service, id: &str, account: &str, name: &str) -> &mut Record {
        let now = service.clock.now();
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

    /// The queue of this name, made if there is none, without a consumer.
    pub(super) fn find_or_make(&mut self, service: &Service, account: &str, name: &str) -> String {
        if let Some(id) = self.of_account(account).get(name) {
            return (*id).to_owned();
        }
        let id = service.queues.create(QueueSettings::new().http_pull(false));
        self.add(service, &id, account, name);
        id
    }

    /// A queue as the service describes it.
    pub(super) fn show_queue(&self, service: &Service, id: &str) -> Value {
        let (Some(record), Ok(settings)) =
            (self.records.get(id), service.with_queue(id, |queue, _| queue.settings().clone()))
        else {
            return Value::Null;
        };
        let consumers: Vec<_> = self.show_consumer(service, id).into_iter().collect();
        let mut shown = json!({
            "queue_id": id,
            "queue_name": record.name,
            "created_on": timestamp(service, record.created),
            "modified_on": timestamp(service, record.modified),
            "consumers_total_count": consumers.len(),
            "consumers": consumers,
            "producers": [],
            "producers_total_count": 0,
            "settings": {
                "delivery_delay": settings.delivery_delay.as_secs(),
                "delivery_paused": settings.delivery_paused,
                "message_retention_period": record.retention,
            },
        });
        if let (Some(jurisdiction), Some(fields)) = (&record.jurisdiction, shown.as_object_mut()) {
            fields.insert("jurisdiction".to_owned(), jurisdiction.as_str().into());
        }
        shown
    }

    /// A queue's consumer as the service describes it: a Worker is called `script`, which no document says.
    pub(super) fn show_consumer(&self, service: &Service, id: &str) -> Option<Value> {
        let record = self.records.get(id)?;
        let consumer = record.consumer.as_ref()?;
        let queue = service.with_queue(id, |queue, _| queue.settings().clone()).ok()?;
        let dead_letter_queue =
            queue.dead_letter_queue.as_ref().and_then(|id| self.records.get(id)).map_or("", |record| &record.name);
        let mut settings = consumer.fields.get("settings").and_then(Value::as_object).cloned().unwrap_or_default();
        if consumer.kind() != "notification" {
            settings.insert("max_retries".to_owned(), queue.max_retries.into());
            settings.insert("retry_delay".to_owned(), queue.retry_delay.as_secs().into());
            settings.entry("batch_size").or_insert(10.into());
        }
        if consumer.kind() == "http_pull" {
            let timeout = u64::try_from(queue.visibility_timeout.as_millis()).unwrap_or(u64::MAX);
            settings.insert("visibility_timeout_ms".to_owned(), timeout.into());
        }
        let mut shown = consumer.fields.clone();
        if let Some(script) = shown.remove("script_name") {
            shown.insert("script".to_owned(), script);
        }
        let more = [
            ("consumer_id", consumer.id.as_str().into()),
            ("created_on", timestamp(service, consumer.created).into()),
            ("queue_name", record.name.as_str().into()),
            ("dead_letter_queue", dead_letter_queue.into()),
            ("settings", settings.into()),
        ];
        shown.extend(more.map(|(name, value): (_, Value)| (name.to_owned(), value)));
        Some(shown.into())
    }
}

/// A time as RFC 3339 has it.
pub(super) fn timestamp(service: &Service, time: Time) -> String {
    let millis = service.clock.unix_millis(time);
    let (seconds, millis) = (millis / 1000, millis % 1000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Days are counted in eras of 400 years that begin in March, so that a leap day is a year's last.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (year, month) = if month < 10 { (year, month + 3) } else { (year + 1, month - 9) };
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z", year + era * 400)
}
