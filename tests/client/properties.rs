//! Properties that hold for any input.

use std::panic::{AssertUnwindSafe, catch_unwind};

use base64::{Engine, prelude::BASE64_STANDARD};
use cloudflare_queues::{AckOutcome, ErrorKind, PullOptions, PushMessage, Queue};
use proptest::{
    collection::{btree_map, vec},
    prelude::*,
    test_runner::{Config, TestRunner},
};
use serde_json::{Value, json, value::RawValue};
use tokio::runtime::{Builder, Runtime};

use support::{Act, Op, Server};

fn runner(cases: u32) -> TestRunner {
    TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() })
}

/// A server that gives every request the same response, and a queue on it.
struct Fixed {
    server: Server,
    queue: Queue,
    runtime: Runtime,
}

impl Fixed {
    fn new() -> Self {
        let server = Server::playing([]);
        let queue = support::queue(&server.url);
        Self { server, queue, runtime: Builder::new_current_thread().enable_all().build().unwrap() }
    }

    fn call<T>(&self, status: u16, body: &[u8], call: impl Future<Output = T>) -> T {
        self.server.play(Act::Respond(support::response(status, &[], body)));
        self.runtime.block_on(call)
    }
}

fn value() -> impl Strategy<Value = Value> {
    let number = prop_oneof![any::<i64>().prop_map(Value::from), any::<u64>().prop_map(Value::from)];
    let fraction = any::<f64>().prop_map(Value::from);
    let text = prop_oneof!["\\PC*", any::<String>()].prop_map(Value::from);
    let leaf = prop_oneof![Just(Value::Null), any::<bool>().prop_map(Value::from), number, fraction, text];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::from),
            btree_map(any::<String>(), inner, 0..6).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Bodies with the parts of an envelope, possibly in the wrong order or of the wrong type.
fn near_envelope() -> impl Strategy<Value = Vec<u8>> {
    let success = prop_oneof![Just(json!(true)), Just(json!(false)), value()];
    let result = prop_oneof![Just(json!({})), Just(json!({"ackCount": 1, "warnings": {}})), Just(Value::Null), value()];
    let errors = prop_oneof![Just(json!([])), Just(json!([{"code": 7, "message": "m"}])), Just(Value::Null), value()];
    let cut = prop_oneof![3 => Just(0), 1 => 0..20_usize];
    // Which parts are there; none of them stands for an array of all.
    let shape = prop_oneof![3 => any::<[bool; 3]>(), 1 => Just([false; 3])];
    (success, result, errors, shape, cut).prop_map(|(success, result, errors, there, cut)| {
        let value = if there == [false; 3] {
            json!([success, errors, result])
        } else {
            let parts = [("success", success), ("result", result), ("errors", errors)];
            Value::Object(
                parts
                    .into_iter()
                    .zip(there)
                    .filter(|(_, there)| *there)
                    .map(|(part, _)| (part.0.to_owned(), part.1))
                    .collect(),
            )
        };
        let mut bytes = value.to_string().into_bytes();
        bytes.truncate(bytes.len().saturating_sub(cut));
        bytes
    })
}

fn is_success(op: Op, body: &[u8]) -> bool {
    serde_json::from_slice::<Value>(body).is_ok_and(|value| {
        let result = &value["result"];
        // The server sends an empty object as an empty list where a list belongs.
        let is_list = result.is_array() || *result == json!({});
        let is_there = if op.is_list() { is_list } else { result.is_object() || op.is_without_result() };
        let is_there = is_there || op.may_lack_a_result();
        value.is_object() && value["success"] == true && is_there
    })
}

#[test]
fn no_response_causes_a_panic_or_a_false_success() {
    let fixed = Fixed::new();
    let body = prop_oneof![vec(any::<u8>(), 0..200), near_envelope(), value().prop_map(|v| v.to_string().into_bytes())];
    let call = |op: Op, status, body: &[u8]| {
        let call = || fixed.call(status, body, op.call(&fixed.queue));
        catch_unwind(AssertUnwindSafe(call)).map_err(|_| TestCaseError::fail("a panic"))
    };
    let result = runner(100).run(&body, |body| {
        for op in Op::ALL {
            let result = call(op, 200, &body)?;
            prop_assert!(result.is_err() || is_success(op, &body), "{op:?} took it for a success");
            if let Err(error) = result {
                prop_assert_eq!(error.status(), Some(200));
                prop_assert_eq!(error.ray_id(), Some(support::RAY));
            }
            let error = call(op, 400, &body)?.unwrap_err();
            let kinds = [ErrorKind::Rejected, ErrorKind::Unauthorized, ErrorKind::ServiceFailure];
            prop_assert!(kinds.contains(&error.kind()), "{error}");
            prop_assert_eq!(error.status(), Some(400));
        }
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn any_warnings_are_kept_without_the_lease_in_their_text() {
    let fixed = Fixed::new();
    let lease = "a lease of the test";
    let result = runner(256).run(&value(), |warnings| {
        let body = json!({"success": true, "result": {"ackCount": 1, "warnings": [warnings, lease]}}).to_string();
        let acked = fixed.call(200, body.as_bytes(), fixed.queue.ack(support::acks([lease])));
        let outcome: AckOutcome = acked.map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!(outcome.warnings.len(), 2);
        let shown = format!("{outcome:?}");
        prop_assert!(!shown.contains(lease), "{}", shown);
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}

/// The exact body of a push as the server received it.
fn pushed(fixed: &Fixed, value: &Value) -> Result<String, TestCaseError> {
    #[derive(serde::Deserialize)]
    struct Push {
        body: Box<RawValue>,
        content_type: String,
    }
    let message = PushMessage::json(value).map_err(|error| TestCaseError::fail(error.to_string()))?;
    let response = fixed.call(200, br#"{"success":true,"result":{}}"#, fixed.queue.push(&message));
    response.map_err(|error| TestCaseError::fail(error.to_string()))?;
    let push: Push = serde_json::from_slice(&fixed.server.requests().last().unwrap().body).unwrap();
    prop_assert_eq!(push.content_type, "json");
    Ok(push.body.get().to_owned())
}

#[test]
fn any_json_survives_push_pull_and_decoding_in_every_encoding() {
    let fixed = Fixed::new();
    // Numbers that the JSON library does not round-trip are not ours to fix.
    let readable = |value: &Value| serde_json::from_str::<Value>(&value.to_string()).unwrap() == *value;
    let pushable = value().prop_filter("the service takes no bare string", |value| !value.is_string());
    let result = runner(256).run(&pushable.prop_filter("not readable", readable), |value| {
        let json = pushed(&fixed, &value)?;
        let base64 = BASE64_STANDARD.encode(&json);
        let messages = [
            json!({"lease_id": "a", "body": json, "metadata": {"CF-Content-Type": "json"}}).to_string(),
            json!({"lease_id": "b", "body": base64, "metadata": {"CF-Content-Type": "json"}}).to_string(),
            format!(r#"{{"lease_id":"c","body":{json}}}"#),
            json!({"lease_id": "d", "body": base64, "metadata": {"CF-Content-Type": "bytes"}}).to_string(),
            json!({"lease_id": "e", "body": json, "metadata": {"CF-Content-Type": "text"}}).to_string(),
        ];
        let body = format!(r#"{{"success":true,"result":{{"messages":[{}]}}}}"#, messages.join(","));
        let batch = fixed.call(200, body.as_bytes(), fixed.queue.pull(PullOptions::default()));
        let batch = batch.map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!(batch.len(), messages.len());
        for (message, sent) in batch.messages.iter().zip(&messages) {
            let decoded =
                message.body.json::<Value>().map_err(|error| TestCaseError::fail(format!("{sent}: {error}")))?;
            prop_assert_eq!(&decoded, &value, "{}", sent);
        }
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn a_malformed_lease_does_not_affect_other_messages() {
    let fixed = Fixed::new();
    let lease = prop_oneof![value(), any::<String>().prop_map(Value::from)];
    let result = runner(256).run(&lease, |lease| {
        let messages = json!({"messages": [{"lease_id": lease}, {"lease_id": "next"}]});
        let response = json!({"success": true, "result": messages}).to_string();
        let batch = fixed.call(200, response.as_bytes(), fixed.queue.pull(PullOptions::default()));
        let batch = batch.map_err(|error| TestCaseError::fail(error.to_string()))?;
        let leases: Vec<_> = batch.messages.iter().map(|message| message.lease_id.expose_secret()).collect();
        let expected: Vec<_> = lease.as_str().filter(|lease| !lease.is_empty()).into_iter().chain(["next"]).collect();
        prop_assert_eq!(batch.without_lease, 2 - expected.len());
        prop_assert_eq!(leases, expected);
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn no_body_makes_its_message_panic() {
    let fixed = Fixed::new();
    let types = prop_oneof!["json", "bytes", "text", "v8", ".*"];
    let body = prop_oneof![value(), any::<String>().prop_map(Value::from), "[A-Za-z0-9+/=]*".prop_map(Value::from)];
    let result = runner(256).run(&(body, types), |(body, content_type)| {
        let message = json!({"lease_id": "a", "body": body, "metadata": {"CF-Content-Type": content_type}});
        let response = json!({"success": true, "result": {"messages": [message, {"lease_id": "b"}]}}).to_string();
        let batch = fixed.call(200, response.as_bytes(), fixed.queue.pull(PullOptions::default()));
        let batch = batch.map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!(batch.len(), 2);
        for message in &batch {
            let _ = (message.body.bytes(), message.body.text(), message.body.json::<Value>());
        }
        if let (Some(text), "text") = (body.as_str(), content_type.as_str()) {
            prop_assert_eq!(batch.messages[0].body.text().unwrap(), text);
        }
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}
