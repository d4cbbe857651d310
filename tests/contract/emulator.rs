//! Promises that need settings, switches or faults, which only the emulator has.

use std::time::Duration;

use cloudflare_queues::{
    AckError, AckRequest, Acker, Client, Credentials, ErrorKind, LeaseId, PullOptions, PushMessage, Queue, RetryPolicy,
    emulator::{Behavior, Emulator, Fault, JsonBodies, QueueSettings, UnknownLease, WarningsForm},
    manage::{ConsumerSettings, Jurisdiction, NewQueue},
};

use serde_json::{Value, json};

use super::{Service, acks};

const MINUTE: Duration = Duration::from_secs(60);

/// A queue whose client sends everything once.
fn once(emulator: &Emulator) -> Queue {
    let client = Client::builder(emulator.credentials().unwrap()).base_url(emulator.base_url());
    client.retry(RetryPolicy::none()).build().unwrap().queue(emulator.account_id(), emulator.queue_id()).unwrap()
}

#[tokio::test]
async fn a_message_without_retries_left_goes_to_the_dead_letter_queue() {
    let service = Service::emulated().await;
    let emulator = service.emulator.as_ref().unwrap();
    let dead_letters = emulator.create_queue(QueueSettings::default());
    let change = |settings: QueueSettings| settings.max_retries(1).dead_letter_queue(&dead_letters);
    emulator.configure_queue(emulator.queue_id(), change);
    service.push(2).await;
    // The leases of one expire, the other is handed back; both are delivered twice.
    for attempt in 1..=2 {
        let messages = service.pull(2, MINUTE).await;
        assert_eq!(messages[0].attempts, Some(attempt));
        let request = AckRequest::new().retry(&messages[1].lease_id);
        assert!(service.queue.ack(request).await.unwrap().is_complete());
        service.pass(MINUTE).await;
    }
    service.pull_nothing().await;
    let dead = emulator.client().unwrap().queue(emulator.account_id(), &dead_letters).unwrap();
    let batch = dead.pull(PullOptions::default()).await.unwrap();
    let mut bodies: Vec<_> = batch.messages.iter().map(|message| message.body.text().unwrap()).collect();
    bodies.sort();
    assert_eq!(bodies, ["0", "1"]);
}

#[tokio::test]
async fn a_dead_letter_queue_has_the_jurisdiction_of_its_source() {
    let queues = Emulator::in_process().queue().unwrap().queues();
    let source = queues.create(NewQueue::new("jobs").jurisdiction(Jurisdiction::Eu)).await.unwrap();
    queues.create("elsewhere").await.unwrap();
    let settings = |name: &str| ConsumerSettings::pull().dead_letter_queue(name);
    let error = source.create_consumer(&settings("elsewhere")).await.unwrap_err();
    assert!(error.has_code(100_127), "{error}");
    let _ = source.create_consumer(&settings("jobs-failed")).await.unwrap();
    let made = queues.find("jobs-failed").await.unwrap().unwrap();
    assert_eq!(made.jurisdiction(), Some(Jurisdiction::Eu));
}

#[tokio::test]
async fn without_a_dead_letter_queue_such_a_message_is_deleted() {
    let service = Service::emulated().await;
    let emulator = service.emulator.as_ref().unwrap();
    emulator.configure_queue(emulator.queue_id(), |settings| settings.max_retries(0));
    service.push(1).await;
    let _ = service.pull(1, MINUTE).await;
    service.pass(MINUTE).await;
    service.pull_nothing().await;
    assert_eq!(emulator.messages(emulator.queue_id()), []);
}

#[tokio::test]
async fn a_late_ack_deletes_a_message_that_another_consumer_holds() {
    let service = Service::emulated().await;
    service.push(1).await;
    let first = service.pull(1, MINUTE).await;
    service.pass(MINUTE).await;
    let second = service.pull(1, MINUTE).await;
    assert!(service.queue.ack(acks(&first)).await.unwrap().is_complete());
    assert!(!service.queue.ack(acks(&second)).await.unwrap().is_complete());
}

#[tokio::test]
async fn a_bad_lease_is_never_reported_as_done() {
    for unknown_leases in [UnknownLease::Warn, UnknownLease::Ignore, UnknownLease::Reject] {
        for warnings in [WarningsForm::Map, WarningsForm::List] {
            for counts in [true, false] {
                let service = Service::emulated().await;
                let change =
                    |behavior: Behavior| behavior.unknown_leases(unknown_leases).warnings(warnings).counts(counts);
                service.emulator.as_ref().unwrap().configure(change);
                service.push(1).await;
                let mut request = acks(&service.pull(1, MINUTE).await);
                let bad = LeaseId::from("never-given");
                request = request.ack(&bad);
                match service.queue.ack(request).await {
                    Err(AckError { error, unconfirmed, .. }) => {
                        assert_eq!((unknown_leases, error.kind()), (UnknownLease::Reject, ErrorKind::Rejected));
                        assert_eq!(unconfirmed.len(), 2);
                    }
                    Ok(outcome) => {
                        assert!(!outcome.is_complete(), "{outcome:?}");
                        assert_eq!((outcome.acks.requested, outcome.acks.confirmed), (2, counts.then_some(1)));
                        let is_warned = unknown_leases == UnknownLease::Warn;
                        assert_eq!(outcome.acks.doubtful(), u64::from(counts || is_warned), "{outcome:?}");
                        let warned: Vec<_> = outcome.warnings.iter().map(|warning| warning.subject.as_ref()).collect();
                        let expected = if unknown_leases == UnknownLease::Warn { vec![Some(&bad)] } else { vec![] };
                        assert_eq!(warned, expected);
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn what_the_service_does_not_count_is_accepted() {
    let service = Service::emulated().await;
    service.emulator.as_ref().unwrap().configure(|behavior| behavior.counts(false));
    service.push(2).await;
    let messages = service.pull(2, MINUTE).await;
    let extended = service.queue.extend(&messages, MINUTE).await.unwrap();
    assert_eq!((extended.extensions.accepted, extended.extensions.doubtful(), extended.deadline()), (2, 0, None));
    let outcome = service.queue.ack(acks(&messages)).await.unwrap();
    assert_eq!((outcome.acks.confirmed, outcome.acks.accepted, outcome.acks.doubtful()), (None, 2, 0));
    assert!(!outcome.is_complete());
    service.pass(MINUTE).await;
    assert!(service.queue.pull(PullOptions::new()).await.unwrap().is_empty(), "they are deleted all the same");
}

#[tokio::test]
async fn a_lease_that_was_handed_back_acknowledges_nothing() {
    let service = Service::emulated().await;
    service.push(1).await;
    let messages = service.pull(1, MINUTE).await;
    let request = AckRequest::new().retry(&messages[0].lease_id);
    assert!(service.queue.ack(request).await.unwrap().is_complete());
    assert!(!service.queue.ack(acks(&messages)).await.unwrap().is_complete());
    assert_eq!(service.pull(1, MINUTE).await.len(), 1);
}

#[tokio::test]
async fn a_refused_expired_lease_is_not_reported_as_done() {
    let service = Service::emulated().await;
    service.emulator.as_ref().unwrap().configure(|behavior| behavior.late_acks(false));
    service.push(2).await;
    let messages = service.pull(2, MINUTE).await;
    service.pass(MINUTE).await;
    let request = AckRequest::new().ack(&messages[0].lease_id).retry(&messages[1].lease_id);
    let outcome = service.queue.ack(request).await.unwrap();
    assert_eq!((outcome.acks.confirmed, outcome.retries.confirmed, outcome.warnings.len()), (Some(0), Some(0), 2));
    assert_eq!(service.pull(2, MINUTE).await.len(), 2);
}

#[tokio::test]
async fn a_service_that_rejects_unknown_leases_confirms_none_of_the_request() {
    let service = Service::emulated().await;
    service.emulator.as_ref().unwrap().configure(|behavior| behavior.unknown_leases(UnknownLease::Reject));
    service.push(2).await;
    let messages = service.pull(2, MINUTE).await;
    let request = acks(&messages).retry(LeaseId::from("never-given"));
    let failed = service.queue.ack(request).await.unwrap_err();
    assert_eq!((failed.error.kind(), failed.unconfirmed.len()), (ErrorKind::Rejected, 3));
}

#[tokio::test]
async fn a_json_body_arrives_whole_in_either_encoding() {
    for json_bodies in [JsonBodies::Text, JsonBodies::Base64] {
        let service = Service::emulated().await;
        service.emulator.as_ref().unwrap().configure(|behavior| behavior.json_bodies(json_bodies));
        for value in
            [json!({ "a": "\u{1f980}\n" }), json!([]), json!(-1.5), json!(true), json!(false), json!(null), json!(7)]
        {
            service.queue.push(&PushMessage::json(&value).unwrap()).await.unwrap();
            let message = service.pull(1, MINUTE).await.remove(0);
            assert_eq!(message.body.json::<Value>().unwrap(), value, "{json_bodies:?}");
            assert!(service.queue.ack(acks(&[message])).await.unwrap().is_complete());
        }
    }
}

#[tokio::test]
async fn an_ack_outlives_every_passing_fault() {
    let faults = [
        Fault::RateLimited { code: 10250, retry_after: Some(Duration::ZERO) },
        Fault::ServerError(503),
        Fault::ResetBefore,
    ];
    for fault in faults {
        let service = Service::emulated().await;
        service.push(1).await;
        let messages = service.pull(1, MINUTE).await;
        service.emulator.as_ref().unwrap().inject(fault.clone());
        let outcome = service.queue.ack(acks(&messages)).await.unwrap();
        assert!(outcome.is_complete(), "{fault:?}: {outcome:?}");
    }
}

#[tokio::test]
async fn an_ack_whose_response_was_lost_is_retried() {
    for fault in [Fault::CutOff, Fault::ResetAfter] {
        let service = Service::emulated().await;
        let emulator = service.emulator.as_ref().unwrap();
        service.push(1).await;
        let messages = service.pull(1, MINUTE).await;
        let before = emulator.requests();
        emulator.inject(fault);
        // The message is gone, so that the second request finds nothing to acknowledge, and says so.
        let outcome = service.queue.ack(acks(&messages)).await.unwrap();
        assert_eq!((emulator.requests() - before, outcome.is_complete()), (2, false));
        assert_eq!(emulator.messages(emulator.queue_id()), []);
    }
}

#[tokio::test]
async fn a_failed_ack_gives_its_leases_back_to_be_sent_again() {
    let faults = [
        (Fault::RateLimited { code: 10251, retry_after: None }, ErrorKind::RateLimited, Some(429)),
        (Fault::ServerError(502), ErrorKind::ServiceFailure, Some(502)),
        (Fault::NotSuccess, ErrorKind::ServiceFailure, Some(200)),
        (Fault::ResetBefore, ErrorKind::Transport, None),
    ];
    for (fault, kind, status) in faults {
        let service = Service::emulated().await;
        let emulator = service.emulator.as_ref().unwrap();
        service.push(2).await;
        let messages = service.pull(2, MINUTE).await;
        emulator.inject(fault);
        let AckError { error, unconfirmed, .. } = once(emulator).ack(acks(&messages)).await.unwrap_err();
        assert_eq!((error.kind(), error.status()), (kind, status), "{error}");
        assert_eq!(error.ray_id().is_some(), status.is_some());
        assert!(service.queue.ack(unconfirmed).await.unwrap().is_complete());
    }
}

#[tokio::test]
async fn a_push_is_never_doubled_by_the_client() {
    for fault in [Fault::ServerError(500), Fault::CutOff, Fault::ResetBefore, Fault::ResetAfter] {
        let service = Service::emulated().await;
        let emulator = service.emulator.as_ref().unwrap();
        emulator.inject(fault.clone());
        let error = service.queue.push(&PushMessage::text("once")).await.unwrap_err();
        assert!(error.may_have_arrived() && emulator.requests() == 1, "{fault:?}: {error}");
        assert!(emulator.messages(emulator.queue_id()).len() <= 1);
    }
}

#[tokio::test]
async fn refused_requests_are_not_retried_and_name_the_cause() {
    let faults = [
        (Fault::Forbidden, ErrorKind::Unauthorized, "code 9109", "the token has the permission Queues Write"),
        (Fault::Challenged, ErrorKind::Rejected, "firewall sent a challenge", "call from another network"),
    ];
    for (fault, kind, what, advice) in faults {
        let service = Service::emulated().await;
        let emulator = service.emulator.as_ref().unwrap();
        emulator.inject(fault);
        let error = service.queue.push(&PushMessage::text("hello")).await.unwrap_err();
        assert_eq!((error.kind(), error.status(), error.may_have_arrived()), (kind, Some(403), false), "{error}");
        assert!(error.to_string().contains(what) && error.to_string().contains(advice), "{error}");
        assert!(error.ray_id().is_some());
        assert_eq!((emulator.requests(), emulator.messages(emulator.queue_id()).len()), (1, 0));
        service.push(1).await;
    }
}

#[tokio::test]
async fn a_challenge_is_not_met_with_more_requests() {
    let service = Service::emulated().await;
    let emulator = service.emulator.as_ref().unwrap();
    (0..9).for_each(|_| emulator.inject(Fault::Challenged));
    let request = AckRequest::ack_all((0..300).map(|lease: u32| lease.to_string()));
    let failed = service.queue.ack(request).await.unwrap_err();
    assert_eq!((failed.error.kind(), failed.unconfirmed.len()), (ErrorKind::Rejected, 300));
    assert_eq!(emulator.requests(), 1);

    let acker = Acker::new(service.queue.clone()).unwrap();
    let [one, other] = ["one", "other"].map(LeaseId::from);
    let (one, other) = (acker.ack(&one).await.unwrap(), acker.ack(&other).await.unwrap());
    assert!(one.await.is_err() && other.await.is_err());
    assert_eq!(emulator.requests(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_late_response_is_a_timeout() {
    let emulator = Emulator::in_process();
    emulator.inject(Fault::Delay(MINUTE));
    let client = emulator.in_process_builder().unwrap().build().unwrap();
    let queue = client.queue(emulator.account_id(), emulator.queue_id()).unwrap();
    let error = queue.pull(PullOptions::default()).await.unwrap_err();
    assert_eq!((error.kind(), error.may_have_arrived(), error.attempts()), (ErrorKind::Timeout, true, 1));
}

#[tokio::test]
async fn a_queue_that_gives_nothing_says_why() {
    let service = Service::emulated().await;
    let emulator = service.emulator.as_ref().unwrap();
    emulator.configure_queue(emulator.queue_id(), |settings| settings.delivery_paused(true));
    let error = service.queue.pull(PullOptions::default()).await.unwrap_err();
    assert_eq!((error.kind(), error.status()), (ErrorKind::DeliveryPaused, Some(409)));
    emulator.configure_queue(emulator.queue_id(), |settings| settings.http_pull(false));
    let error = service.queue.pull(PullOptions::default()).await.unwrap_err();
    assert_eq!((error.kind(), error.status()), (ErrorKind::NotPullConsumer, Some(405)));
    let missing = emulator.queue().unwrap().queues().queue("my-queue").unwrap();
    let error = missing.pull(PullOptions::default()).await.unwrap_err();
    assert_eq!((error.kind(), error.has_code(10104)), (ErrorKind::NotFound, true));
}

#[tokio::test]
async fn both_schemes_of_credentials_are_accepted() {
    let emulator = Emulator::start().await.unwrap();
    let (email, key) = emulator.email_and_key();
    let credentials = [
        (emulator.credentials().unwrap(), true),
        (Credentials::email_and_key(email, key).unwrap(), true),
        (Credentials::api_token(key).unwrap(), false),
        (Credentials::email_and_key(email, "another").unwrap(), false),
    ];
    for (credentials, accepted) in credentials {
        let client = Client::builder(credentials.clone()).base_url(emulator.base_url()).build().unwrap();
        let queue = client.queue(emulator.account_id(), emulator.queue_id()).unwrap();
        let result = queue.push(&PushMessage::text("hello")).await;
        assert_eq!(result.map_err(|error| error.kind()).err(), (!accepted).then_some(ErrorKind::Unauthorized));
    }
}

#[tokio::test]
async fn the_backlog_is_in_every_response() {
    let service = Service::emulated().await;
    let pushed = service.queue.push(&PushMessage::text("12345")).await.unwrap().metrics.unwrap();
    assert_eq!((pushed.backlog_count, pushed.backlog_bytes), (Some(1), Some(5)));
    assert!(pushed.oldest_message.is_some());
    let batch = service.queue.pull(PullOptions::default()).await.unwrap();
    assert_eq!((batch.backlog_count, batch.metrics), (Some(1), Some(pushed)));
    assert!(service.queue.ack(acks(&batch.messages)).await.unwrap().is_complete());
    let empty = service.queue.pull(PullOptions::default()).await.unwrap();
    assert_eq!((empty.backlog_count, empty.metrics.unwrap().oldest_message), (Some(0), None));
}
