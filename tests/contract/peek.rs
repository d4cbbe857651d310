//! Looking at messages without a lease, and deleting them.

use std::time::Duration;

use cloudflare_queues::{
    Client, Credentials, ErrorKind, MessageRef, PeekedMessage, PushMessage,
    emulator::{Behavior, Fault, UnknownLease, WarningsForm},
};
use serde_json::{Value, json};

use super::under::over_http_and_under_every_switch;

const MINUTE: Duration = Duration::from_secs(60);

fn refs(messages: &[PeekedMessage]) -> Vec<MessageRef> {
    messages.iter().map(|message| message.message_ref.clone().unwrap()).collect()
}

#[test]
fn a_peeked_message_stays_in_the_queue() {
    over_http_and_under_every_switch(async |under| {
        let service = under.service().await;
        let job = json!({ "task": "resize" });
        service.queue.push(&PushMessage::json(&job).unwrap()).await.unwrap();
        for _ in 0..2 {
            let peeked = service.queue.peek(100).await.unwrap();
            assert_eq!((peeked.len(), peeked[0].attempts), (1, Some(0)));
            assert_eq!(peeked[0].body.json::<Value>().unwrap(), job);
            assert!(peeked[0].timestamp.is_some() && !peeked[0].id.is_empty());
        }
        let pulled = service.pull(1, MINUTE).await;
        assert_eq!(pulled[0].attempts, Some(1));
        assert!(service.queue.peek(100).await.unwrap().is_empty(), "a leased message is not visible");
    });
}

#[test]
fn a_purge_deletes_exactly_what_it_names() {
    over_http_and_under_every_switch(async |under| {
        let service = under.service().await;
        service.push(3).await;
        let peeked = service.queue.peek(2).await.unwrap();
        let outcome = service.queue.delete_messages(refs(&peeked)).await.unwrap();
        assert_eq!(outcome.deletions.requested, 2);
        service.answers.assert_deleted(&outcome);
        let left = service.pull(1, MINUTE).await;
        assert_eq!(left[0].body.text().unwrap(), "2");
        service.pull_nothing().await;
    });
}

#[test]
fn a_purge_that_left_something_is_not_reported_complete() {
    over_http_and_under_every_switch(async |under| {
        for (unknown_leases, warnings) in [
            (UnknownLease::Warn, WarningsForm::Map),
            (UnknownLease::Warn, WarningsForm::List),
            (UnknownLease::Reject, WarningsForm::Map),
        ] {
            let service = under.service().await;
            let change = |behavior: Behavior| behavior.unknown_leases(unknown_leases).warnings(warnings);
            service.emulator.as_ref().unwrap().configure(change);
            let bad = MessageRef::from("never-given");
            match service.queue.delete_messages([&bad]).await {
                Err(error) => assert_eq!((unknown_leases, error.kind()), (UnknownLease::Reject, ErrorKind::Rejected)),
                Ok(outcome) => {
                    // Without a result, nothing speaks against it.
                    assert_eq!(outcome.is_complete(), !under.has_results());
                    let warned = outcome.warnings.first().map(|warning| warning.subject.as_ref().unwrap());
                    assert_eq!(warned, under.has_results().then_some(&bad));
                    assert!(!format!("{outcome:?}").contains("never-given"), "{outcome:?}");
                }
            }
        }
    });
}

#[tokio::test]
async fn a_purge_with_errors_of_any_form_is_not_complete() {
    for errors in [json!([{ "message": "ref-1 is gone" }]), json!(["ref-1 is gone"]), json!({ "ref-1": "is gone" })] {
        let server = httpmock::MockServer::start_async().await;
        let response = json!({ "success": true, "result": { "errors": errors, "warnings": null } });
        server.mock(|_, then| drop(then.status(200).json_body(response)));
        let client = Client::builder(Credentials::api_token("token").unwrap()).base_url(server.base_url()).build();
        let outcome = client
            .unwrap()
            .queues("account")
            .unwrap()
            .queue("queue")
            .unwrap()
            .delete_messages(["ref-1"])
            .await
            .unwrap();
        assert!(!outcome.is_complete() && outcome.errors[0].message.ends_with("is gone"), "{outcome:?}");
        assert_eq!(outcome.errors[0].subject, Some(MessageRef::from("ref-1")));
        assert!(!format!("{outcome:?}").contains("ref-1"), "{outcome:?}");
    }
}

#[test]
fn peeks_and_purges_are_retried_after_every_transient_fault() {
    over_http_and_under_every_switch(async |under| {
        for fault in [Fault::ServerError(502), Fault::CutOff, Fault::ResetBefore] {
            let service = under.service().await;
            let emulator = service.emulator.as_ref().unwrap();
            service.push(1).await;
            emulator.inject(fault.clone());
            let peeked = service.queue.peek(1).await.unwrap();
            emulator.inject(fault.clone());
            let result = service.queue.delete_messages(refs(&peeked)).await;
            // If the first response was lost, the second one may say that there is no such message. That is reported.
            match (result, matches!(fault, Fault::CutOff)) {
                (Err(error), is_lost) => {
                    assert!(is_lost && under.is("unknown_leases", "reject"), "{fault:?}: {error}");
                    assert_eq!(error.kind(), ErrorKind::Rejected);
                }
                (Ok(outcome), false) => service.answers.assert_deleted(&outcome),
                (Ok(outcome), true) => {
                    let is_warned = under.has_results() && under.is("unknown_leases", "warn");
                    assert_eq!(outcome.is_complete(), !is_warned, "{outcome:?}");
                }
            }
            assert_eq!((emulator.requests(), emulator.messages(emulator.queue_id()).len()), (5, 0), "{fault:?}");
        }
    });
}

#[test]
fn an_invalid_peek_or_purge_is_refused_before_sending() {
    over_http_and_under_every_switch(async |under| {
        let service = under.service().await;
        let many: Vec<_> = (0..101).map(|number| MessageRef::from(number.to_string())).collect();
        let errors = [
            service.queue.peek(0).await.unwrap_err(),
            service.queue.peek(101).await.unwrap_err(),
            service.queue.delete_messages([] as [MessageRef; 0]).await.unwrap_err(),
            service.queue.delete_messages(many).await.unwrap_err(),
            service.queue.delete_messages([""]).await.unwrap_err(),
            service.queue.delete_messages(["same-ref", "same-ref"]).await.unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert!(!error.to_string().contains("same-ref"), "{error}");
        }
        assert_eq!(service.emulator.unwrap().requests(), 0);
    });
}

#[test]
fn debug_of_a_peeked_message_shows_no_secret() {
    over_http_and_under_every_switch(async |under| {
        let service = under.service().await;
        service.queue.push(&PushMessage::text("confidential")).await.unwrap();
        let peeked = service.queue.peek(1).await.unwrap();
        let secret = peeked[0].message_ref.as_ref().unwrap().expose_secret().into_owned();
        let debug = format!("{peeked:?} {:?}", peeked[0].message_ref);
        assert!(!debug.contains("confidential") && !debug.contains(&secret), "{debug}");
    });
}
