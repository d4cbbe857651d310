//! What a request about queues says.

use std::{sync::MutexGuard, time::Duration};

use http::Response;
use hyper::body::Bytes;
use serde_json::{Map, Value, json};

use super::{Result, show};
use crate::{
    emulator::{
        registry::{Consumer, Record, Registry},
        reply::{self, Refusal},
        request,
        service::Service,
        settings::QueueSettings,
        uri::decode,
    },
    limits::{Bounds, MAX_PER_PAGE},
};

pub(super) struct Request<'a> {
    pub(super) service: &'a Service,
    pub(super) registry: MutexGuard<'a, Registry>,
    pub(super) account: &'a str,
    query: &'a str,
    body: &'a [u8],
}

impl<'a> Request<'a> {
    pub(super) fn new(service: &'a Service, account: &'a str, query: &'a str, body: &'a [u8]) -> Self {
        let mut registry = service.registry();
        sync(service, &mut registry);
        Self { service, registry, account, query, body }
    }

    /// The fields of the body.
    pub(super) fn fields(&self) -> Result<Map<String, Value>> {
        request::parse(&self.service.behavior(), self.body)
    }

    pub(super) fn show_queue(&self, id: &str) -> Value {
        show::queue(self.service, &self.registry, id)
    }

    pub(super) fn show_consumer(&self, id: &str) -> Option<Value> {
        show::consumer(self.service, &self.registry, id)
    }

    /// Adds a queue without a consumer to the account, and gives its id.
    pub(super) fn add_queue(&mut self, name: &str) -> String {
        let id = self.service.queues.create(self.account, QueueSettings::new().http_pull(false)).to_string();
        self.registry.add(self.service.clock.now(), &id, self.account, name);
        id
    }

    /// The queue of this name, made if there is none.
    pub(super) fn find_or_make(&mut self, name: &str) -> String {
        let found = self.registry.of_account(self.account).get(name).map(|id| (*id).to_owned());
        found.unwrap_or_else(|| self.add_queue(name))
    }

    pub(super) fn queue(&self, id: &str) -> Result<&Record> {
        self.registry.get(self.account, id).ok_or_else(Refusal::no_queue)
    }

    pub(super) fn queue_mut(&mut self, id: &str) -> Result<&mut Record> {
        self.registry.get_mut(self.account, id).ok_or_else(Refusal::no_queue)
    }

    /// All values of a parameter of the query.
    pub(super) fn query(&self, name: &str) -> Vec<String> {
        let pairs = self.query.split('&').filter_map(|pair| pair.split_once('='));
        let values = pairs.filter(|(key, _)| *key == name).map(|(_, value)| value.replace('+', " "));
        values.map(|value| decode(&value).map(|value| value.into_owned()).unwrap_or(value)).collect()
    }

    /// The page of a list that is asked for.
    pub(super) fn page(&self, entries: Vec<Value>) -> Result<Response<Bytes>> {
        let number = |name: &str, default: usize| match self.query(name).first() {
            None => Ok(default),
            Some(text) => text.parse().ok().filter(|number| *number > 0).ok_or_else(|| {
                Refusal::malformed("`page` and `per_page` are whole numbers that are greater than zero")
            }),
        };
        let (page, per_page) = (number("page", 1)?, number("per_page", 20)?.min(MAX_PER_PAGE as usize));
        let total = entries.len();
        let first = page.saturating_sub(1).saturating_mul(per_page);
        let shown: Vec<_> = entries.into_iter().skip(first).take(per_page).collect();
        let info = json!({
            "count": shown.len(), "page": page, "per_page": per_page,
            "total_count": total, "total_pages": total.div_ceil(per_page),
        });
        Ok(reply::page(shown.into(), info))
    }
}

/// Takes over what was done to queues beside the operations: by the methods of the emulator.
fn sync(service: &Service, registry: &mut Registry) {
    for (id, account) in service.queues.ids() {
        let Ok((http_pull, now)) = service.with_queue(&id, |queue, now| (queue.settings().http_pull, now)) else {
            continue;
        };
        if registry.find(&id).is_none() {
            let name = format!("queue-{}", registry.len().saturating_add(1));
            registry.add(now, &id, &account, &name);
        }
        let consumer = registry.find(&id).and_then(|record| record.consumer.as_ref());
        let is_pull = consumer.is_some_and(|consumer| consumer.kind() == "http_pull");
        if http_pull == is_pull {
            continue;
        }
        let fields = Map::from_iter([("type".to_owned(), "http_pull".into())]);
        let consumer = http_pull.then(|| Consumer { id: registry.next_id(), created: now, fields });
        if let Some(record) = registry.find_mut(&id) {
            record.consumer = consumer;
        }
    }
}

/// A number among settings, if it is there, within its bounds.
pub(super) fn number(settings: &Map<String, Value>, (name, bounds): &Bounds, refusal: Refusal) -> Result<Option<u64>> {
    match settings.get(*name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_f64() {
            Some(number)
                if number.fract() == 0.0 && (*bounds.start() as f64..=*bounds.end() as f64).contains(&number) =>
            {
                Ok(Some(number as u64))
            }
            _ => Err(refusal),
        },
    }
}

pub(super) fn seconds(number: u64) -> Duration {
    Duration::from_secs(number)
}

pub(super) fn text<'a>(fields: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    fields.get(name).and_then(Value::as_str)
}
