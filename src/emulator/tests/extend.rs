use std::time::Duration;

use serde_json::json;

use super::*;
use crate::emulator::{Behavior, ExtendFrom, UnknownLease, WarningsForm};

/// An emulator whose message is leased for a minute, and the lease id.
async fn leased(behavior: Behavior) -> (Emulator, String) {
    let emulator = Emulator::builder().behavior(behavior).start().await.unwrap();
    assert_eq!(send(&emulator, "", r#"{ "body": "hello" }"#).await.0, StatusCode::OK);
    let lease_id = pull(&emulator).await.unwrap();
    (emulator, lease_id)
}

async fn pull(emulator: &Emulator) -> Option<String> {
    let (_, envelope) = send(emulator, "/pull", r#"{ "visibility_timeout_ms": 60000 }"#).await;
    Some(envelope["result"]["messages"][0]["lease_id"].as_str()?.to_owned())
}

async fn extend(emulator: &Emulator, lease_id: &str, seconds: u64) -> Value {
    let body = json!({ "extend": [{ "lease_id": lease_id }], "visibility_timeout_ms": seconds * 1000 });
    send(emulator, "/extend", &body.to_string()).await.1["result"].clone()
}

async fn is_extended(emulator: &Emulator, lease_id: &str, seconds: u64) -> bool {
    extend(emulator, lease_id, seconds).await["extendCount"] == 1
}

async fn count(emulator: &Emulator, list: &str, lease_id: &str) -> Value {
    let (_, envelope) = send(emulator, "/ack", &json!({ list: [{ "lease_id": lease_id }] }).to_string()).await;
    json!([envelope["result"]["ackCount"], envelope["result"]["retryCount"]])
}

fn pass(emulator: &Emulator, seconds: u64) {
    emulator.advance(Duration::from_secs(seconds));
}

/// Whether the message is hidden until this many seconds from now, and then visible.
async fn ends_in(emulator: &Emulator, seconds: u64) {
    pass(emulator, seconds - 1);
    assert_eq!(pull(emulator).await, None, "it ends too early");
    pass(emulator, 1);
    assert_ne!(pull(emulator).await, None, "it ends too late");
}

#[tokio::test]
async fn an_extended_lease_lasts_longer_and_still_acknowledges() {
    let (emulator, lease_id) = leased(Behavior::new()).await;
    pass(&emulator, 50);
    assert_eq!(extend(&emulator, &lease_id, 60).await, json!({ "extendCount": 1, "warnings": {} }));
    pass(&emulator, 50);
    assert!(is_extended(&emulator, &lease_id, 60).await, "a second time by the same lease id");
    ends_in(&emulator, 60).await;

    let (emulator, lease_id) = leased(Behavior::new()).await;
    assert!(is_extended(&emulator, &lease_id, 120).await);
    pass(&emulator, 100);
    assert_eq!(emulator.messages(emulator.queue_id())[0].attempts, 1);
    assert_eq!(count(&emulator, "acks", &lease_id).await, json!([1, 0]));
    assert_eq!(emulator.messages(emulator.queue_id()), []);
}

#[tokio::test]
async fn the_length_of_an_extension_depends_on_the_behavior() {
    let hour = Duration::from_secs(3600);
    let cases = [
        (Behavior::new(), 60, 60),
        (Behavior::new(), 5, 5),
        (Behavior::new().shortening_extends(false), 5, 20),
        (Behavior::new().extend_from(ExtendFrom::LeaseEnd), 5, 25),
        (Behavior::new().extend_from(ExtendFrom::LeaseEnd).max_lease(hour), 3580, 3560),
        (Behavior::new().max_lease(hour), 3600, 3560),
        (Behavior::new().max_lease(Duration::MAX), 43_200, 43_200),
        (Behavior::new().max_lease(Duration::from_secs(50)), 60, 10),
        (Behavior::new().max_lease(Duration::ZERO).shortening_extends(false), 60, 20),
    ];
    for (behavior, seconds, expected) in cases {
        let name = format!("{behavior:?} {seconds}");
        let (emulator, lease_id) = leased(behavior).await;
        pass(&emulator, 40);
        assert!(is_extended(&emulator, &lease_id, seconds).await, "{name}");
        println!("{name}");
        ends_in(&emulator, expected).await;
    }
    // Without a visibility timeout, the queue's applies.
    let (emulator, lease_id) = leased(Behavior::new()).await;
    send(&emulator, "/extend", &json!({ "extend": [{ "lease_id": lease_id }] }).to_string()).await;
    ends_in(&emulator, 30).await;
}

#[tokio::test]
async fn an_extension_can_use_up_the_lease_id() {
    for list in ["acks", "retries"] {
        let (emulator, lease_id) = leased(Behavior::new().acks_after_extend(false)).await;
        assert!(is_extended(&emulator, &lease_id, 60).await && is_extended(&emulator, &lease_id, 60).await);
        assert_eq!(count(&emulator, list, &lease_id).await, json!([0, 0]));
        ends_in(&emulator, 60).await;
        assert_eq!(count(&emulator, list, &lease_id).await, json!([0, 0]), "nor late");
    }
    let (emulator, lease_id) = leased(Behavior::new().repeated_extends(false)).await;
    assert!(is_extended(&emulator, &lease_id, 60).await);
    let warning = json!({ "extendCount": 0, "warnings": { &lease_id: "the lease is not known" } });
    assert_eq!(extend(&emulator, &lease_id, 60).await, warning);
    assert_eq!(count(&emulator, "acks", &lease_id).await, json!([1, 0]));
}

#[tokio::test]
async fn extending_an_expired_lease_depends_on_the_behavior() {
    let (emulator, lease_id) = leased(Behavior::new()).await;
    pass(&emulator, 60);
    let warning = json!({ "extendCount": 0, "warnings": { &lease_id: "the lease has expired" } });
    assert_eq!(extend(&emulator, &lease_id, 60).await, warning);

    emulator.configure(|behavior| behavior.late_extends(true));
    assert!(is_extended(&emulator, &lease_id, 60).await);
    ends_in(&emulator, 60).await;
    assert!(!is_extended(&emulator, &lease_id, 60).await, "another consumer holds the message");
}

#[tokio::test]
async fn an_extension_reports_failures_like_an_ack() {
    let (emulator, lease_id) = leased(Behavior::new()).await;
    assert_eq!(count(&emulator, "retries", &lease_id).await, json!([0, 1]));
    for lease_id in [lease_id.as_str(), "never-given", ""] {
        emulator.configure(|_| Behavior::new().warnings(WarningsForm::List));
        let warnings = [format!("{lease_id}: the lease is not known")];
        assert_eq!(extend(&emulator, lease_id, 1).await, json!({ "extendCount": 0, "warnings": warnings }));
        emulator.configure(|_| Behavior::new().unknown_leases(UnknownLease::Ignore).counts(false));
        assert_eq!(extend(&emulator, lease_id, 1).await, json!({ "warnings": {} }));
        emulator.configure(|_| Behavior::new().unknown_leases(UnknownLease::Reject));
        assert_eq!(extend(&emulator, lease_id, 1).await, Value::Null);
    }
}
