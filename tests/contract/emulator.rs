//! Promises that need settings, switches or faults, which only the emulator has.

use std::time::Duration;

use cloudflare_queues::{
    AckError, AckRequest, Acker, Client, Credentials, ErrorKind, LeaseId, PullOptions, PushMessage, Queue, RetryPolicy,
    emulator::{Behavior, EmulatedQueue, Emulator, Fault, JsonBodies, UnknownLease, WarningsForm},
    manage::{ConsumerSettings, Jurisdiction, NewQueue},
};

use serde_json::{Value, json};

use super::{
    acks, pull,
    under::{Under, over_http_and_under_every_switch, over_http_under_every_switch},
};

const MINUTE: Duration = Duration::from_secs(60);

/// A queue whose client sends everything once.
fn once(under: &Under, emulator: &Emulator) -> Queue {
    let client = under.client(emulator).retry(RetryPolicy::none()).build().unwrap();
    client.queue(emulator.account_id(), emulator.queue_id()).unwrap()
}

#[test]
fn a_message_without_retries_left_goes_to_the_dead_letter_queue() {
    over_http_and_under_every_switch(async |under| {
        let service = under.service().await;
        let emulator = service.emulator.as_ref().unwrap();
        let dead_letters = emulator.create_queue(EmulatedQueue::default());
        let change = |settings: EmulatedQueue| settings.max_retries(1).dead_letter_queue(dead_letters.as_str());
        emulator.configure_queue(emulator.queue_id(), change);
        service.push(2).await;
        // The leases of one expire, the other is handed back; both are delivered twice.
        for attempt in 1..=2 {
            let messages = service.pull(2, MINUTE).await;
            assert_eq!(messages[0].attempts, Some(attempt));
            let request = AckRequest::new().retry(&messages[1].lease_id);
            service.settle(request).await;
            service.pass(MINUTE).await;
        }
        service.pull_nothing().await;
        let dead = emulator.client().unwrap().queue(emulator.account_id(), &dead_letters).unwrap();
        let peeked = dead.peek(2).await.unwrap();
        let mut bodies: Vec<_> = peeked.iter().map(|message| message.body.text().unwrap()).collect();
        bodies.sort();
        assert_eq!(bodies, ["0", "1"]);
    });
}

#[test]
fn a_dead_letter_queue_has_the_jurisdiction_of_its_source() {
    over_http_and_under_every_switch(async |under| {
        let queues = under.emulator_in_process().queue().unwrap().queues();
        let source = queues.create(NewQueue::new("jobs").jurisdiction(Jurisdiction::Eu)).await.unwrap();
        queues.create("elsewhere").await.unwrap();
        let settings = |name: &str| ConsumerSettings::pull().dead_letter_queue(name);
        let error = source.create_consumer(&settings("elsewhere")).await.unwrap_err();
        assert!(error.has_code(100_127), "{error}");
        let _ = source.create_consumer(&settings("jobs-failed")).await.unwrap();
        let made = queues.find("jobs-failed").await.unwrap().unwrap();
        assert_eq!(made.jurisdiction(), Some(Jurisdiction::Eu));
    });
}

#[test]
fn a_message_without_a_dead_letter_queue_is_deleted() {
    over_http_and_under_every_switch(async |under| {
        let service = under.service().await;
        let emulator = service.emulator.as_ref().unwrap();
        emulator.configure_queue(emulator.queue_id(), |settings| settings.max_retries(0));
        service.push(1).await;
        let _ = service.pull(1, MINUTE).await;
        service.pass(MINUTE).await;
        service.pull_nothing().await;
        assert_eq!(emulator.messages(emulator.queue_id()), []);
    });
}

#[test]
fn a_late_ack_deletes_a_message_that_another_consumer_holds() {
    over_http_and_under_every_switch(async |under| {
        let service = under.service().await;
        service.push(1).await;
        let first = service.pull(1, MINUTE).await;
        service.pass(MINUTE).await;
        let second = service.pull(1, MINUTE).await;
        let late = service.queue.ack(acks(&first)).await;
        if under.is("late_acks", true) {
            service.answers.assert_done(&late.unwrap());
            service.answers.assert_not_done(service.queue.ack(acks(&second)).await);
        } else {
            service.answers.assert_not_done(late);
            service.settle(acks(&second)).await;
        }
    });
}

#[test]
fn a_bad_lease_is_never_reported_as_done() {
    over_http_and_under_every_switch(async |under| {
        for unknown_leases in [UnknownLease::Warn, UnknownLease::Ignore, UnknownLease::Reject] {
            for warnings in [WarningsForm::Map, WarningsForm::List] {
                for counts in [true, false] {
                    let service = under.service().await;
                    let change =
                        |behavior: Behavior| behavior.unknown_leases(unknown_leases).warnings(warnings).counts(counts);
                    service.emulator.as_ref().unwrap().configure(change);
                    service.push(1).await;
                    let messages = service.pull(1, MINUTE).await;
                    let [good, bad] = [messages[0].lease_id.clone(), LeaseId::from("never-given")];
                    let request = acks(&messages).ack(&bad);
                    match service.queue.ack(request).await {
                        Err(AckError { error, unconfirmed, .. }) => {
                            assert_eq!((unknown_leases, error.kind()), (UnknownLease::Reject, ErrorKind::Rejected));
                            assert_eq!(unconfirmed.len(), 2);
                        }
                        Ok(outcome) => {
                            assert!(!outcome.is_complete(), "{outcome:?}");
                            let (counts, informs) = (counts && under.has_results(), service.answers.informs.unwrap());
                            let is_warned = under.has_results() && unknown_leases == UnknownLease::Warn;
                            assert_eq!((outcome.acks.requested, outcome.acks.confirmed), (2, counts.then_some(1)));
                            let mut warned: Vec<_> =
                                outcome.warnings.iter().map(|warning| warning.subject.clone()).collect();
                            let [good, bad] =
                                [(informs, good), (is_warned, bad)].map(|(is, lease)| is.then_some(Some(lease)));
                            warned.sort_by_key(|subject| subject == bad.as_ref().unwrap_or(&None));
                            assert_eq!(warned, good.into_iter().chain(bad).collect::<Vec<_>>());
                            let doubtful = if counts { 1 } else { u64::from(informs) + u64::from(is_warned) };
                            assert_eq!(outcome.acks.doubtful(), doubtful, "{outcome:?}");
                        }
                    }
                }
            }
        }
    });
}

#[test]
fn uncounted_leases_are_accepted() {
    over_http_and_under_every_switch(async |under| {
        let service = under.service().await;
        let emulator = service.emulator.as_ref().unwrap();
        emulator.configure(|behavior| behavior.counts(false));
        service.push(2).await;
        let messages = service.pull(2, MINUTE).await;
        let extended = service.queue.extend(&messages, MINUTE).await.unwrap();
        assert_eq!(extended.deadline(), None);
        let outcome = service.queue.ack(acks(&messages)).await.unwrap();
        let is_known = under.is("acks_after_extend", true);
        // Without a count, nothing tells a warning that informs from one that does not.
        let informs = service.answers.informs.unwrap();
        for (counts, is_warned) in [(extended.extensions, informs), (outcome.acks, informs || !is_known)] {
            let (accepted, doubtful) = if is_warned { (0, 2) } else { (2, 0) };
            assert_eq!((counts.confirmed, counts.accepted, counts.doubtful()), (None, accepted, doubtful));
        }
        assert!(!outcome.is_complete());
        service.pass(2 * MINUTE).await;
        let left = emulator.messages(emulator.queue_id()).len();
        assert_eq!(left, if is_known { 0 } else { 2 }, "they are deleted all the same");
    });
}

#[test]
fn a_lease_that_was_handed_back_acknowledges_nothing() {
    over_http_and_under_every_switch(async |under| {
        let service = under.service().await;
        service.push(1).await;
        let messages = service.pull(1, MINUTE).await;
        let request = AckRequest::new().retry(&messages[0].lease_id);
        service.settle(request).await;
        service.answers.assert_not_done(service.queue.ack(acks(&messages)).await);
        assert_eq!(service.pull(1, MINUTE).await.len(), 1);
    });
}

#[test]
fn a_refused_expired_lease_is_not_reported_as_done() {
    over_http_and_under_every_switch(async |under| {
        let service = under.service().await;
        service.emulator.as_ref().unwrap().configure(|behavior| behavior.late_acks(false));
        service.push(2).await;
        let messages = service.pull(2, MINUTE).await;
        service.pass(MINUTE).await;
        let request = AckRequest::new().ack(&messages[0].lease_id).retry(&messages[1].lease_id);
        let outcome = service.queue.ack(request).await.unwrap();
        let is_counted = under.is("late_retries", true);
        let warned = if under.has_results() { 2 - usize::from(is_counted) } else { 0 };
        let counts = service.answers.has_counts.unwrap().then_some((0, u64::from(is_counted)));
        assert_eq!((outcome.acks.confirmed.zip(outcome.retries.confirmed), outcome.warnings.len()), (counts, warned));
        assert!(!outcome.is_complete());
        assert_eq!(service.pull(2, MINUTE).await.len(), 2);
    });
}

#[test]
fn a_service_that_rejects_unknown_leases_confirms_none_of_the_request() {
    over_http_and_under_every_switch(async |under| {
        let service = under.service().await;
        service.emulator.as_ref().unwrap().configure(|behavior| behavior.unknown_leases(UnknownLease::Reject));
        service.push(2).await;
        let messages = service.pull(2, MINUTE).await;
        let request = acks(&messages).retry(LeaseId::from("never-given"));
        let failed = service.queue.ack(request).await.unwrap_err();
        assert_eq!((failed.error.kind(), failed.unconfirmed.len()), (ErrorKind::Rejected, 3));
    });
}

#[test]
fn a_json_body_arrives_whole_in_either_encoding() {
    over_http_and_under_every_switch(async |under| {
        for json_bodies in [JsonBodies::Text, JsonBodies::Base64] {
            let service = under.service().await;
            service.emulator.as_ref().unwrap().configure(|behavior| behavior.json_bodies(json_bodies));
            for value in [
                json!({ "a": "\u{1f980}\n" }),
                json!([]),
                json!(-1.5),
                json!(true),
                json!(false),
                json!(null),
                json!(7),
            ] {
                service.queue.push(&PushMessage::json(&value).unwrap()).await.unwrap();
                let message = service.pull(1, MINUTE).await.remove(0);
                assert_eq!(message.body.json::<Value>().unwrap(), value, "{json_bodies:?}");
                service.settle(acks(&[message])).await;
            }
        }
    });
}

#[test]
fn an_ack_outlives_every_passing_fault() {
    over_http_and_under_every_switch(async |under| {
        let faults = [
            Fault::RateLimited { code: 10250, retry_after: Some(Duration::ZERO) },
            Fault::ServerError(503),
            Fault::ResetBefore,
        ];
        for fault in faults {
            let service = under.service().await;
            service.push(1).await;
            let messages = service.pull(1, MINUTE).await;
            service.emulator.as_ref().unwrap().inject(fault.clone());
            service.settle(acks(&messages)).await;
        }
    });
}

#[test]
fn an_ack_whose_response_was_lost_is_retried() {
    over_http_and_under_every_switch(async |under| {
        for fault in [Fault::CutOff, Fault::ResetAfter] {
            let service = under.service().await;
            let emulator = service.emulator.as_ref().unwrap();
            service.push(1).await;
            let messages = service.pull(1, MINUTE).await;
            let before = emulator.requests();
            emulator.inject(fault);
            // The message is gone, so that the second request finds nothing to acknowledge, and says so.
            service.answers.assert_not_done(service.queue.ack(acks(&messages)).await);
            assert_eq!(emulator.requests() - before, 2);
            assert_eq!(emulator.messages(emulator.queue_id()), []);
        }
    });
}

#[test]
fn a_failed_ack_gives_its_leases_back_to_be_sent_again() {
    over_http_and_under_every_switch(async |under| {
        let faults = [
            (Fault::RateLimited { code: 10251, retry_after: None }, ErrorKind::RateLimited, Some(429)),
            (Fault::ServerError(502), ErrorKind::ServiceFailure, Some(502)),
            (Fault::NotSuccess, ErrorKind::ServiceFailure, Some(200)),
            (Fault::ResetBefore, ErrorKind::Transport, None),
        ];
        for (fault, kind, status) in faults {
            let service = under.service().await;
            let emulator = service.emulator.as_ref().unwrap();
            service.push(2).await;
            let messages = service.pull(2, MINUTE).await;
            emulator.inject(fault);
            let AckError { error, unconfirmed, .. } = once(under, emulator).ack(acks(&messages)).await.unwrap_err();
            assert_eq!((error.kind(), error.status()), (kind, status), "{error}");
            assert_eq!(error.ray_id().is_some(), status.is_some());
            service.settle(unconfirmed).await;
        }
    });
}

#[test]
fn a_push_is_never_doubled_by_the_client() {
    over_http_and_under_every_switch(async |under| {
        for fault in [Fault::ServerError(500), Fault::CutOff, Fault::ResetBefore, Fault::ResetAfter] {
            let service = under.service().await;
            let emulator = service.emulator.as_ref().unwrap();
            emulator.inject(fault.clone());
            let error = service.queue.push(&PushMessage::text("once")).await.unwrap_err();
            assert!(error.may_have_arrived() && emulator.requests() == 1, "{fault:?}: {error}");
            assert!(emulator.messages(emulator.queue_id()).len() <= 1);
        }
    });
}

#[test]
fn refused_requests_are_not_retried_and_name_the_cause() {
    over_http_and_under_every_switch(async |under| {
        let faults = [
            (Fault::Forbidden, ErrorKind::Unauthorized, "code 9109", "the token has the permission Queues Write"),
            (Fault::Challenged, ErrorKind::Rejected, "firewall sent a challenge", "call from another network"),
        ];
        for (fault, kind, what, advice) in faults {
            let service = under.service().await;
            let emulator = service.emulator.as_ref().unwrap();
            emulator.inject(fault);
            let error = service.queue.push(&PushMessage::text("hello")).await.unwrap_err();
            assert_eq!((error.kind(), error.status(), error.may_have_arrived()), (kind, Some(403), false), "{error}");
            assert!(error.to_string().contains(what) && error.to_string().contains(advice), "{error}");
            assert!(error.ray_id().is_some());
            assert_eq!((emulator.requests(), emulator.messages(emulator.queue_id()).len()), (1, 0));
            service.push(1).await;
        }
    });
}

#[test]
fn a_challenge_is_not_retried() {
    over_http_and_under_every_switch(async |under| {
        let service = under.service().await;
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
    });
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

#[test]
fn a_queue_that_gives_nothing_says_why() {
    over_http_and_under_every_switch(async |under| {
        let service = under.service().await;
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
    });
}

#[test]
fn both_schemes_of_credentials_are_accepted() {
    over_http_under_every_switch(async |under| {
        let emulator = under.builder().start().await.unwrap();
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
    });
}

#[test]
fn the_backlog_is_in_every_response() {
    over_http_and_under_every_switch(async |under| {
        let service = under.service().await;
        let pushed = service.queue.push(&PushMessage::text("12345")).await.unwrap().metrics.unwrap();
        assert_eq!((pushed.backlog_count, pushed.backlog_bytes), (Some(1), Some(5)));
        assert!(pushed.oldest_message.is_some());
        let batch = pull(&service.queue, PullOptions::new()).await;
        assert_eq!((batch.backlog_count, batch.metrics), (Some(1), Some(pushed)));
        service.settle(acks(&batch.messages)).await;
        let empty = pull(&service.queue, PullOptions::new()).await;
        assert_eq!((empty.backlog_count, empty.metrics.unwrap().oldest_message), (Some(0), None));
    });
}
