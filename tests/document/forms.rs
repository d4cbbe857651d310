//! The older form of the published document and the newer one, through the same client.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use cloudflare_queues::{
    AckError, AckRequest, Client, Credentials, ErrorKind, PullOptions, PushMessage, Queue, RetryPolicy,
};
use httpmock::{HttpMockResponse, MockServer};
use jsonschema::Validator;
use proptest::{
    collection, option,
    prelude::*,
    test_runner::{Config, TestRunner},
};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::generate;

const BASE: &str = "/accounts/{account_id}/queues/{queue_id}/messages";

/// Acknowledging alone, as it was when its warnings were a list.
fn older() -> Value {
    serde_json::from_str(include_str!("../fixtures/upstream.2025.json")).unwrap()
}

pub(crate) fn newer() -> Value {
    serde_json::from_str(include_str!("../../openapi/upstream.json")).unwrap()
}

fn schema(document: &Value, operation: &str, holder: &str) -> Value {
    let operation = generate::operation(document, &format!("{BASE}{operation}"), "post");
    generate::content(document, operation.pointer(holder).unwrap())
}

pub(crate) fn validator(document: &Value, schema: &Value) -> Validator {
    jsonschema::validator_for(
        &json!({ "components": document["components"], "paths": document["paths"], "allOf": [schema] }),
    )
    .unwrap()
}

pub(crate) fn runner(cases: u32) -> TestRunner {
    TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() })
}

/// A queue whose service returns a given response, and the last request.
pub(crate) struct Service {
    runtime: Runtime,
    pub(crate) queue: Queue,
    exchange: Arc<Mutex<(String, Value)>>,
    _server: MockServer,
}

impl Service {
    pub(crate) fn start() -> Self {
        let server = MockServer::start();
        let exchange = Arc::new(Mutex::new((String::new(), json!({ "success": true, "result": {} }))));
        let shared = Arc::clone(&exchange);
        server.mock(|_, then| {
            then.respond_with(move |request| {
                let mut exchange = shared.lock().unwrap();
                exchange.0 = request.body_string();
                HttpMockResponse::builder().status(200).body(exchange.1.to_string()).build()
            });
        });
        // What is no envelope would be requested again.
        let client = Client::builder(Credentials::api_token("token").unwrap()).retry(RetryPolicy::none());
        let client = client.base_url(server.base_url()).build().unwrap();
        let queue = client.queues("account").unwrap().queue("queue").unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { runtime, queue, exchange, _server: server }
    }

    pub(crate) fn run<T>(&self, call: impl Future<Output = T>) -> T {
        self.runtime.block_on(call)
    }

    /// Responds with this from now on.
    pub(crate) fn respond(&self, response: Value) {
        self.exchange.lock().unwrap().1 = response;
    }

    pub(crate) fn sent(&self) -> Value {
        serde_json::from_str(&self.sent_text()).unwrap()
    }

    pub(crate) fn sent_text(&self) -> String {
        self.exchange.lock().unwrap().0.clone()
    }
}

#[test]
fn an_acks_response_of_either_form_arrives_whole() {
    let service = Service::start();
    // One lease is acknowledged, and one is retried.
    let counted = |count: &Value| count.as_f64().map(|count| u64::from(count == 1.0));
    for document in [older(), newer()] {
        let run =
            runner(300).run(&generate::values(&document, &schema(&document, "/ack", "/responses/200")), |response| {
                service.exchange.lock().unwrap().1 = response.clone();
                let request = AckRequest::new().ack("done").retry("failed");
                match service.run(service.queue.ack(request)) {
                    Ok(outcome) => {
                        let result = &response["result"];
                        prop_assert!(response["success"] == true);
                        prop_assert_eq!(outcome.acks.confirmed, counted(&result["ackCount"]));
                        prop_assert_eq!(outcome.retries.confirmed, counted(&result["retryCount"]));
                        let warnings = &result["warnings"];
                        let count =
                            warnings.as_array().map_or(0, Vec::len) + warnings.as_object().map_or(0, |map| map.len());
                        let count = count + response["errors"].as_array().map_or(0, Vec::len);
                        prop_assert_eq!(outcome.warnings.len(), count);
                    }
                    // By the document, each field may be missing; without `success`, it is no envelope.
                    Err(AckError { error, .. }) => {
                        prop_assert!(response["success"].is_null(), "{error}");
                        prop_assert_eq!(error.kind(), ErrorKind::ServiceFailure);
                    }
                }
                Ok(())
            });
        run.unwrap();
    }
}

fn message() -> impl Strategy<Value = PushMessage> {
    let objects = collection::btree_map(".{0,8}", any::<i32>(), 0..4).prop_map(|map| PushMessage::json(&map).unwrap());
    let message = prop_oneof![".{0,40}".prop_map(PushMessage::text), objects];
    (message, option::of(0..=86_400_000_u64)).prop_map(|(message, delay)| match delay {
        Some(delay) => message.delay(Duration::from_millis(delay)),
        None => message,
    })
}

/// Leases, each to acknowledge, to retry, or to retry after milliseconds.
fn leases() -> impl Strategy<Value = BTreeMap<String, Option<Option<u64>>>> {
    collection::btree_map(".{1,20}", option::of(option::of(0..=86_400_000_u64)), 1..=100)
}

#[test]
fn every_ack_is_valid_in_the_old_and_the_new_form() {
    let service = Service::start();
    let body = "/requestBody";
    let validators = [older(), newer()].map(|document| validator(&document, &schema(&document, "/ack", body)));
    let run = runner(300).run(&leases(), |leases| {
        let mut request = AckRequest::new();
        for (lease, retry) in &leases {
            request = match retry {
                None => request.ack(lease.as_str()),
                Some(None) => request.retry(lease.as_str()),
                Some(Some(delay)) => request.retry_in(lease.as_str(), Duration::from_millis(*delay)),
            };
        }
        let _ = service.run(service.queue.ack(request)).unwrap();
        for validator in &validators {
            prop_assert!(validator.is_valid(&service.sent()), "{}", service.sent());
        }
        Ok(())
    });
    run.unwrap();
}

#[test]
fn every_other_request_is_of_the_published_form() {
    let service = Service::start();
    let document = newer();
    let names = ["/pull", "/peek", "", "/batch", "/purge"];
    let validators = names.map(|operation| validator(&document, &schema(&document, operation, "/requestBody")));
    let inputs = (
        1..=100_u32,
        1..=43_200_000_u64,
        collection::vec(message(), 1..=100),
        collection::btree_set(".{1,20}", 1..=100),
    );
    let run = runner(100).run(&inputs, |(batch_size, timeout, messages, refs)| {
        let options = PullOptions::new().batch_size(batch_size).visibility_timeout(Duration::from_millis(timeout));
        let queue = &service.queue;
        let sent = [
            service.run(queue.pull(options)).map(|_| service.sent()),
            service.run(queue.peek(batch_size)).map(|_| service.sent()),
            service.run(queue.push(&messages[0])).map(|_| service.sent()),
            service.run(queue.push_batch(&messages)).map(|_| service.sent()),
            service.run(queue.delete_messages(refs)).map(|_| service.sent()),
        ];
        for ((validator, sent), operation) in validators.iter().zip(sent).zip(names) {
            let sent = sent.unwrap();
            prop_assert!(validator.is_valid(&sent), "{operation}: {sent}");
        }
        Ok(())
    });
    run.unwrap();
}

#[test]
fn only_json_bodies_go_beyond_the_published_form() {
    let service = Service::start();
    let document = newer();
    let validator = validator(&document, &schema(&document, "", "/requestBody"));
    for body in [json!([1]), json!(7), json!(true), json!(null)] {
        let _ = service.run(service.queue.push(&PushMessage::json(&body).unwrap())).unwrap();
        let mut sent = service.sent();
        assert!(!validator.is_valid(&sent), "{sent}");
        sent["body"] = json!({});
        assert!(validator.is_valid(&sent), "{sent}");
    }
}
