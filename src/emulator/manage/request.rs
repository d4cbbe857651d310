//! What a request about queues says.

use std::{sync::MutexGuard, time::Duration};

use http::Response;
use hyper::body::Bytes;
use serde_json::{Map, Value, json};

use super::{Result, registry::Record, registry::Registry};
use crate::emulator::{
    reply::{self, Refusal},
    routes::decode,
    service::Service,
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
        registry.sync(service);
        Self { service, registry, account, query, body }
    }

    /// The fields of the body.
    pub(super) fn fields(&self) -> Result<Map<String, Value>> {
        serde_json::from_slice(self.body).map_err(|_| Refusal::malformed("the request's body is not a JSON object"))
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
        let (page, per_page) = (number("page", 1)?, number("per_page", 20)?.min(100));
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

/// A number among settings, if it is there, within its bounds.
pub(super) fn number(
    settings: &Map<String, Value>,
    name: &str,
    min: u64,
    max: u64,
    refusal: Refusal,
) -> Result<Option<u64>> {
    match settings.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_f64() {
            Some(number) if number.fract() == 0.0 && (min as f64..=max as f64).contains(&number) => {
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
