use std::time::Duration;

use serde_json::json;

use super::*;
use crate::{
    AccountId, Client, Credentials, ErrorKind, PullOptions, PushMessage, QueueId,
    emulator::{EmulatedQueue, Seed},
};

async fn ask(emulator: &Emulator, token: &str, method: Method, path: &str, body: Value) -> (u16, Value) {
    let request = Request::builder().method(method).uri(format!("/client/v4{path}"));
    let request = request.header("authorization", format!("Bearer {token}"));
    let (status, _, envelope) = raw(emulator, request.body(Full::new(body.to_string().into())).unwrap()).await;
    (status.as_u16(), envelope)
}

#[tokio::test]
async fn a_token_of_an_account_is_for_that_account() {
    let (own, other) = ("0".repeat(31) + "1", "0".repeat(31) + "2");
    let (own_id, other_id): (AccountId, AccountId) = (own.parse().unwrap(), other.parse().unwrap());
    let builder = Emulator::builder().account_id(own_id).account_token(other_id, "other-token");
    let emulator = builder.api_token("own-token").in_process();
    assert_eq!(emulator.account_id().as_str(), own);
    let status = async |token, account: &str| {
        ask(&emulator, token, Method::GET, &format!("/accounts/{account}/queues"), json!({})).await.0
    };
    assert_eq!((status("own-token", &own).await, status("own-token", &other).await), (200, 200));
    assert_eq!((status("other-token", &own).await, status("other-token", &other).await), (403, 200));
    assert_eq!(status("any-token", &own).await, 401);
    let emulator = Emulator::builder().any_token().in_process();
    let client = emulator.in_process_builder().unwrap().credentials(Credentials::api_token("any-token").unwrap());
    let queue = client.build().unwrap().queue(emulator.account_id(), emulator.queue_id()).unwrap();
    assert!(queue.pull(PullOptions::new()).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_tool_can_verify_its_token() {
    let emulator = Emulator::in_process();
    let account = emulator.account_id();
    for path in ["/user/tokens/verify".to_owned(), format!("/accounts/{account}/tokens/verify")] {
        let (status, envelope) = ask(&emulator, "emulator-token", Method::GET, &path, json!({})).await;
        assert_eq!((status, &envelope["result"]["status"]), (200, &json!("active")));
        assert_eq!(ask(&emulator, "another", Method::GET, &path, json!({})).await.0, 401);
        assert_eq!(ask(&emulator, "emulator-token", Method::POST, &path, json!({})).await.0, 404);
    }
    let path = "/accounts/none/tokens/verify";
    assert_eq!(ask(&emulator, "emulator-token", Method::GET, path, json!({})).await.0, 404);
}

#[tokio::test]
async fn a_queue_takes_the_id_that_it_is_given() {
    let emulator = Emulator::in_process();
    let dead_letters = emulator.create_queue(EmulatedQueue::new());
    let change = |settings: EmulatedQueue| settings.max_retries(0).dead_letter_queue(dead_letters.as_str());
    emulator.configure_queue(emulator.queue_id(), change);
    let id: QueueId = "f".repeat(32).parse().unwrap();
    emulator.set_queue_id(&dead_letters, id.clone()).unwrap();
    for wrong in [&dead_letters, &id] {
        let error = emulator.set_queue_id(wrong, id.clone()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
    let queue = emulator.queue().unwrap();
    queue.push(&PushMessage::text("dead")).await.unwrap();
    assert_eq!(queue.pull(PullOptions::new()).await.unwrap().len(), 1);
    emulator.advance(Duration::from_secs(30));
    let client: Client = emulator.client().unwrap();
    let renamed = client.queue(emulator.account_id(), &id).unwrap();
    assert_eq!(renamed.pull(PullOptions::new()).await.unwrap().len(), 1);
    let gone = client.queue(emulator.account_id(), &dead_letters).unwrap();
    assert_eq!(gone.peek(1).await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn the_deprecated_preview_shows_and_deletes_messages() {
    let emulator = Emulator::in_process();
    let queue = emulator.queue().unwrap();
    queue.push_batch(&[PushMessage::text("first"), PushMessage::text("second")]).await.unwrap();
    let (_, shown) = send(&emulator, "/preview", r#"{ "batch_size": 1 }"#).await;
    let shown = &shown["result"]["messages"][0];
    assert_eq!((&shown["body"], &shown["attempts"], &shown["ref"]), (&json!("first"), &json!(0), &Value::Null));
    let acks = json!({ "acks": [{ "lease_id": shown["lease_id"] }, { "lease_id": "unknown" }] });
    let (status, deleted) = send(&emulator, "/preview/ack", &acks.to_string()).await;
    assert_eq!((status, deleted["result"]["warnings"].as_object().unwrap().len()), (StatusCode::OK, 1));
    assert_eq!(emulator.messages(emulator.queue_id()).len(), 1);
}

#[tokio::test]
async fn a_subscription_ends_with_its_queue() {
    let emulator = Emulator::in_process();
    let account = emulator.account_id();
    let subscriptions = format!("/accounts/{account}/event_subscriptions/subscriptions");
    let new = json!({ "name": "s", "events": ["pushed"], "source": { "type": "r2" },
                      "destination": { "type": "queues.queue", "queue_id": emulator.queue_id().as_str() } });
    let token = "emulator-token";
    assert_eq!(ask(&emulator, token, Method::POST, &subscriptions, new).await.0, 200);
    let count = async || {
        let (_, list) = ask(&emulator, token, Method::GET, &subscriptions, json!({})).await;
        list["result"].as_array().unwrap().len()
    };
    assert_eq!(count().await, 1);
    emulator.client().unwrap().queue(account, emulator.queue_id()).unwrap();
    let path = format!("/accounts/{account}/queues/{}", emulator.queue_id());
    assert_eq!(ask(&emulator, token, Method::DELETE, &path, json!({})).await.0, 200);
    assert_eq!(count().await, 0);
}

#[tokio::test]
async fn seeds_are_all_put_into_the_queue_or_none() {
    let emulator = Emulator::builder().control().in_process();
    let path = "/_emulator/queues/queue-1/messages";
    let post = async |body: Value| {
        let request = Request::post(path).body(Full::new(body.to_string().into())).unwrap();
        let (status, _, envelope) = raw(&emulator, request).await;
        (status.as_u16(), envelope)
    };
    let good = json!({ "body": "a string", "attempts": 2, "age": 60 });
    for wrong in [
        json!({ "body": 1, "content_type": "text" }),
        json!({ "body": "%", "content_type": "bytes" }),
        json!({ "body": "x", "content_type": "xml" }),
        json!({ "body": "x", "delay": 86_401 }),
        json!({ "body": "x", "age": -1 }),
        json!({ "body": "x", "times": 1_000_001 }),
        json!({ "body": "x", "lease": 1 }),
        json!({ "body": "x".repeat(128_000) }),
    ] {
        let (status, envelope) = post(json!({ "messages": [good, wrong] })).await;
        assert!(status == 400 || status == 413, "{wrong}");
        assert!(!envelope["errors"][0]["message"].as_str().unwrap().is_empty());
    }
    assert_eq!(emulator.messages(emulator.queue_id()), []);
    let bytes = json!({ "body": "AP8=", "content_type": "bytes", "times": 3, "delay": 5 });
    let (status, envelope) = post(json!({ "messages": [good, bytes] })).await;
    assert_eq!((status, &envelope["result"]["delayed"], &envelope["result"]["visible"]), (200, &json!(3), &json!(1)));
    let queue = emulator.queue().unwrap();
    let message = queue.pull(PullOptions::new()).await.unwrap().messages.remove(0);
    assert_eq!((message.body.json::<String>().unwrap().as_str(), message.attempts), ("a string", Some(3)));
    emulator.advance(Duration::from_secs(5));
    assert_eq!(queue.pull(PullOptions::new()).await.unwrap().messages[0].body.bytes().unwrap(), &[0, 0xff][..]);
}

#[tokio::test]
async fn a_seed_takes_zero_and_the_largest_value_of_everything() {
    let emulator = Emulator::in_process();
    let least = Seed::text("").attempts(0).age(Duration::ZERO).delay(Duration::ZERO).times(0);
    let most = Seed::v8([]).attempts(u32::MAX).age(Duration::MAX);
    emulator.seed(emulator.queue_id(), [least, most.clone()]).unwrap();
    assert_eq!(emulator.messages(emulator.queue_id()), [], "past its retention");
    for wrong in [most.clone().delay(Duration::MAX), most.times(usize::MAX)] {
        assert_eq!(emulator.seed(emulator.queue_id(), [wrong]).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}
