//! The content of a request about queues.

use std::sync::MutexGuard;

use http::Response;
use hyper::body::Bytes;
use serde_json::{Map, Value, json};

use super::{Result, show};
use crate::{
    emulator::{
        registry::{Record, Registry},
        reply::{self, Refusal},
        request,
        service::Service,
        settings::EmulatedQueue,
        uri,
    },
    error::codes,
    manage::limits::{Bounds, MAX_PER_PAGE},
};

pub(in crate::emulator) struct Request<'a> {
    pub(super) service: &'a Service,
    pub(super) registry: MutexGuard<'a, Registry>,
    pub(super) account: &'a str,
    query: &'a str,
    body: &'a [u8],
}

impl<'a> Request<'a> {
    pub(in crate::emulator) fn new(service: &'a Service, account: &'a str, query: &'a str, body: &'a [u8]) -> Self {
        Self { service, registry: service.registry(), account, query, body }
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

    /// Adds a queue without a consumer to the account, and returns its id.
    pub(super) fn add_queue(&mut self, name: &str, jurisdiction: Option<String>) -> String {
        let id = self.service.queues.new_id().to_string();
        self.registry.add(self.service.clock.now(), &id, self.account, name).jurisdiction = jurisdiction;
        // Before the queue, which is restored with its name then, or not at all.
        self.service.persist_configuration(&self.registry);
        self.service.queues.put(&id, self.account, EmulatedQueue::new().http_pull(false));
        id
    }

    /// The queue with this name, created if it does not exist, in the jurisdiction of its source.
    pub(super) fn dead_letter_queue(&mut self, source: &str, name: &str) -> Result<String> {
        let jurisdiction = self.queue(source)?.jurisdiction.clone();
        match self.registry.of_account(self.account).get(name).map(|id| (*id).to_owned()) {
            Some(found) if self.queue(&found)?.jurisdiction == jurisdiction => Ok(found),
            Some(_) => {
                Err(Refusal::bad_request(codes::CONSUMER_SETTINGS, "the dead-letter queue has another jurisdiction"))
            }
            None => Ok(self.add_queue(name, jurisdiction)),
        }
    }

    pub(super) fn queue(&self, id: &str) -> Result<&Record> {
        self.registry.get(self.account, id).ok_or_else(Refusal::no_queue)
    }

    pub(super) fn queue_mut(&mut self, id: &str) -> Result<&mut Record> {
        self.registry.get_mut(self.account, id).ok_or_else(Refusal::no_queue)
    }

    /// All values of a query parameter.
    pub(super) fn query(&self, name: &str) -> Vec<String> {
        uri::query(self.query).filter(|(key, _)| *key == name).map(|(_, value)| value).collect()
    }

    /// The requested page of a list.
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

/// A number in the settings, if present, within its bounds.
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

pub(super) fn text<'a>(fields: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    fields.get(name).and_then(Value::as_str)
}
