//! The client against typed mocks.

use std::{num::NonZero, time::Duration};

use cloudflare_queues::{
    AckRequest, PullOptions, PushMessage,
    mock::MockServerExt,
    types::{
        AckEntry, AckPayload, AckResult, Envelope, PullPayload, PullResult, PulledMessage, PushBatchPayload,
        PushPayload, PushResult, RetryEntry,
    },
};
use httpmock::MockServer;
use serde_json::{Value, json};
use support::{ACCOUNT, QUEUE};

#[tokio::test]
async fn a_typed_mock_meets_an_ack() {
    let server = MockServer::start_async().await;
    let mock = server.ack_messages(|when, then| {
        let payload = AckPayload {
            acks: vec![AckEntry { lease_id: "a".into() }],
            retries: vec![RetryEntry { lease_id: "b".into(), delay_seconds: Some(10) }],
        };
        when.account_id(&ACCOUNT.parse().unwrap()).queue_id(&QUEUE.parse().unwrap()).body(&payload);
        let warnings = Some(json!({"b": "gone"}).into());
        then.ok(&Envelope::success(AckResult { ack_count: Some(json!(1)), retry_count: Some(json!(1)), warnings }));
    });
    let request = AckRequest::new().ack("a").retry_in("b", Duration::from_secs(10));
    let outcome = support::queue(&server.base_url()).ack(request).await.unwrap();
    assert_eq!((outcome.acks.confirmed, outcome.retries.confirmed, outcome.warnings.len()), (Some(1), Some(1), 1));
    mock.assert();
}

#[tokio::test]
async fn a_typed_mock_meets_a_pull() {
    let server = MockServer::start_async().await;
    let mock = server.pull_messages(|when, then| {
        when.body(&PullPayload { batch_size: NonZero::new(2), visibility_timeout_ms: NonZero::new(1500) });
        let message = PulledMessage {
            lease_id: Some("a".into()),
            body: Some(Value::from("[7]").into()),
            attempts: Some(json!(1)),
            ..PulledMessage::default()
        };
        then.ok(&Envelope::success(PullResult { messages: Some(vec![message]), ..PullResult::default() }));
    });
    let options = PullOptions::new().batch_size(2).visibility_timeout(Duration::from_micros(1_500_999));
    let batch = support::queue(&server.base_url()).pull(options).await.unwrap();
    assert_eq!(batch.messages[0].body.json::<[u8; 1]>().unwrap(), [7]);
    mock.assert();
}

#[tokio::test]
async fn a_typed_mock_meets_a_push_and_a_push_batch() {
    let server = MockServer::start_async().await;
    let text: PushPayload = serde_json::from_str(include_str!("../fixtures/push-text.request.json")).unwrap();
    let messages: PushBatchPayload = serde_json::from_str(include_str!("../fixtures/push-batch.request.json")).unwrap();
    let metadata = json!({"metrics": {"backlog_count": 3}});
    let result = Envelope::success(PushResult { metadata: Some(metadata) });
    let one = server.push_message(|when, then| {
        when.body(&text);
        then.ok(&result);
    });
    let many = server.push_messages(|when, then| {
        when.body(&messages);
        then.ok(&result);
    });
    let queue = support::queue(&server.base_url());
    let batch = [PushMessage::text("plain").delay(Duration::from_nanos(1)), PushMessage::json(&[1, 2]).unwrap()];
    let outcomes =
        [queue.push(&PushMessage::text("héllo \"world\"\n")).await.unwrap(), queue.push_batch(&batch).await.unwrap()];
    assert!(outcomes.iter().all(|outcome| outcome.metrics.unwrap().backlog_count == Some(3)));
    one.assert();
    many.assert();
}
