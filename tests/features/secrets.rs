//! No type on the wire shows a secret.

use cloudflare_queues::{
    ApiError, LeaseId,
    types::{
        AckEntry, AckPayload, AckResult, Envelope, MessageBody, PullResult, PulledMessage, PushBatchPayload,
        PushPayload, RetryEntry, Warnings,
    },
};
use serde_json::{Value, json};

const LEASE: &str = "s3cret-lease..eyJhbGciOiJkaXIifQ";
const BODY: &str = "s3cret-body, of a customer";

#[test]
fn no_debug_form_of_a_wire_type_shows_a_secret() {
    let lease = || LeaseId::from(LEASE);
    let body = || MessageBody::from(Value::from(BODY));
    let push: PushPayload = serde_json::from_value(json!({"body": BODY, "content_type": "text"})).unwrap();
    let pulled = PulledMessage { lease_id: Some(lease()), body: Some(body()), ..PulledMessage::default() };
    let warnings = Warnings::from(json!({LEASE: format!("{LEASE} is gone")}));
    let result = AckResult { warnings: Some(warnings.clone()), ..AckResult::default() };
    let pull = PullResult { messages: Some(vec![pulled.clone()]), ..PullResult::default() };
    let ack = AckPayload {
        acks: vec![AckEntry { lease_id: lease() }],
        retries: vec![RetryEntry { lease_id: lease(), delay_seconds: Some(1) }],
    };
    let batch = PushBatchPayload { messages: vec![push.clone()], delay_seconds: None };
    let envelopes = (Envelope::success(result.clone()), Envelope::success(pull.clone()));
    let shown = format!("{push:#?} {pulled:#?} {warnings:#?} {result:#?} {pull:#?} {ack:#?} {batch:#?}");
    let shown = format!("{shown} {envelopes:#?} {:?} {:?}", lease(), body());
    assert!(!shown.contains("s3cret"), "{shown}");
    let failure: Envelope<AckResult> = Envelope::failure(vec![ApiError::new(7, "no")]);
    assert!(format!("{failure:?}").contains('7'));
}
