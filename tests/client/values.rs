//! Values that a program makes, compares, prints and passes on.

use std::{collections::HashSet, error::Error as _, time::Duration};

use cloudflare_queues::{
    AccountId, AckRequest, Client, Consumer, ContentType, Credentials, Error, ErrorKind, Message, MessageRef,
    PullOptions, PushMessage, QueueId, Verdict,
    consumer::{RetryDelay, Stats},
    emulator::{EmulatedQueue, Emulator},
    manage::{ConsumerKind, EventSource},
    testing,
};
use tokio::{sync::mpsc, time::Instant};

use support::{ACCOUNT, QUEUE};

#[test]
fn an_id_is_made_of_any_text() {
    let made: [AccountId; 3] =
        [ACCOUNT.parse().unwrap(), ACCOUNT.try_into().unwrap(), ACCOUNT.to_owned().try_into().unwrap()];
    assert!(made.iter().all(|id| id.as_str() == ACCOUNT));
    for id in ["", "a/b"] {
        assert_eq!(id.parse::<QueueId>().unwrap_err().kind(), ErrorKind::InvalidInput);
        assert!(QueueId::try_from(id.to_owned()).is_err() && QueueId::try_from(id).is_err());
    }
}

#[test]
fn a_name_is_not_taken_for_an_id_of_cloudflares() {
    let queues = Client::builder(Credentials::api_token("t0ken").unwrap()).build().unwrap().queues(ACCOUNT).unwrap();
    queues.queue(QUEUE).unwrap();
    for name in ["jobs", &QUEUE[1..], &QUEUE.replace('b', "g")] {
        let error = queues.queue(name).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{name}");
        assert!(error.to_string().contains("finds a queue by its name"), "{error}");
    }
}

#[test]
fn each_kind_of_error_has_words_of_its_own() {
    let kinds = [
        ErrorKind::InvalidInput,
        ErrorKind::CredentialsUnavailable,
        ErrorKind::Unauthorized,
        ErrorKind::NotFound,
        ErrorKind::NotPullConsumer,
        ErrorKind::DeliveryPaused,
        ErrorKind::AlreadyExists,
        ErrorKind::NoSuchConsumer,
        ErrorKind::InvalidName,
        ErrorKind::InUse,
        ErrorKind::RateLimited,
        ErrorKind::Rejected,
        ErrorKind::ServiceFailure,
        ErrorKind::Transport,
        ErrorKind::Timeout,
        ErrorKind::UnexpectedResponse,
        ErrorKind::UndecodableBody,
    ];
    let words: HashSet<_> = kinds.iter().map(ToString::to_string).collect();
    assert_eq!(words.len(), kinds.len());
    assert!(words.iter().all(|words| !words.is_empty()));
    assert_eq!(serde_json::to_value(ErrorKind::RateLimited).unwrap(), "rate_limited", "as in logs");
}

#[tokio::test]
async fn errors_of_partial_results_read_as_their_source() {
    let queue = support::queue(&support::nowhere());
    let failed = queue.ack(support::acks(["a"])).await.unwrap_err();
    assert_eq!(failed.to_string(), failed.error.to_string());
    assert_eq!(failed.source().unwrap().to_string(), failed.error.source().unwrap().to_string());
    let failed = queue.push_all(&[PushMessage::text("a")]).await.unwrap_err();
    assert_eq!(failed.to_string(), failed.error.to_string());
    assert_eq!(failed.source().unwrap().to_string(), failed.error.source().unwrap().to_string());
    assert_eq!(Error::from(failed).kind(), ErrorKind::Transport);
}

#[test]
fn requests_are_iterated_in_insertion_order() {
    let request = AckRequest::new().ack("a").retry("b");
    let leases: Vec<_> =
        (&request).into_iter().map(|settlement| settlement.lease.id().expose_secret().into_owned()).collect();
    assert_eq!(leases, ["a", "b"]);
    assert_eq!(MessageRef::from("a").expose_secret(), "a");
}

#[tokio::test(start_paused = true)]
async fn messages_made_for_a_test_equal_received_ones() {
    let message = testing::message(PushMessage::text("hello"));
    assert_eq!((message.attempts, message.body.text().unwrap().as_ref()), (Some(1), "hello"));
    assert_eq!(serde_json::to_string(&message.metadata).unwrap(), r#"{"CF-Content-Type":"text"}"#);
    assert_eq!(message.lease_remaining(), Duration::from_secs(30));
    tokio::time::advance(Duration::from_secs(29)).await;
    assert_eq!(message.lease_remaining(), Duration::from_secs(1));
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!(message.lease_remaining(), Duration::ZERO);
    let other = testing::message(PushMessage::text("hello"));
    assert!(message.id != other.id && message.lease_id != other.lease_id && message != other);
    assert_eq!(message, message.clone());
    assert_eq!(testing::batch([message, other]).len(), 2);
}

#[tokio::test]
async fn a_body_made_for_a_test_equals_a_pulled_one() {
    for pushed in [PushMessage::json(&[7]).unwrap(), PushMessage::json(&()).unwrap(), PushMessage::text("7")] {
        let queue = Emulator::in_process().queue().unwrap();
        queue.push(&pushed).await.unwrap();
        let pulled = queue.pull(PullOptions::new()).await.unwrap();
        let made = testing::message(pushed).body;
        assert_eq!((&made, made.raw()), (&pulled.messages[0].body, pulled.messages[0].body.raw()));
    }
}

#[test]
fn an_error_made_for_a_test_arrived_as_one_of_a_call() {
    for (kind, attempts, may_have_arrived) in [
        (ErrorKind::InvalidInput, 0, false),
        (ErrorKind::UndecodableBody, 0, false),
        (ErrorKind::RateLimited, 1, false),
        (ErrorKind::ServiceFailure, 1, true),
        (ErrorKind::UnexpectedResponse, 1, true),
    ] {
        let error = testing::error(kind);
        assert_eq!((error.kind(), error.attempts(), error.may_have_arrived()), (kind, attempts, may_have_arrived));
    }
}

#[test]
fn a_content_type_is_printed_as_the_service_spells_it() {
    for name in ["json", "text", "bytes", "v8", "of-tomorrow"] {
        assert_eq!(ContentType::from(name.to_owned()).to_string(), name);
    }
}

#[test]
fn a_name_that_is_newer_than_this_crate_is_kept() {
    for kind in ["worker", "http_pull", "notification", "of_tomorrow"] {
        assert_eq!(ConsumerKind::from(kind).to_string(), kind);
    }
    let source = EventSource::new("of_tomorrow").with("part", "a").with("a/part", "b").with("number", 7);
    assert_eq!((source.kind(), source.get("part"), source.get("number")), ("of_tomorrow", Some("a"), None));
    assert_eq!(source.get("a/part"), Some("b"));
}

#[tokio::test(start_paused = true)]
async fn a_retry_without_a_delay_takes_the_queues() {
    let emulator = Emulator::in_process();
    let delay = Duration::from_secs(7);
    emulator.configure_queue(emulator.queue_id(), |settings: EmulatedQueue| settings.retry_delay(delay));
    let queue = emulator.queue().unwrap();
    let _ = queue.push(&PushMessage::text("a")).await.unwrap();
    let (sender, mut handled) = mpsc::unbounded_channel();
    let handler = move |message: Message| {
        sender.send(Instant::now()).unwrap();
        async move { if message.attempts == Some(1) { Verdict::Retry } else { Verdict::Ack } }
    };
    let consumer = Consumer::new(queue).retry_delay(RetryDelay::queue()).max_idle(Duration::from_secs(1));
    let mut waited = Duration::ZERO;
    let stop = async {
        let first = handled.recv().await.unwrap();
        waited = handled.recv().await.unwrap() - first;
    };
    let report = consumer.run_until(stop, handler).await.unwrap();
    assert!((delay..delay + Duration::from_secs(2)).contains(&waited), "{waited:?}, {report:?}");
}

#[test]
fn empty_quantile_is_zero() {
    for share in [0.0, 0.5, 1.0, f64::NAN] {
        assert_eq!(Stats::default().handler_times.quantile(share), Duration::ZERO);
    }
}
