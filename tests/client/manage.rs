//! What a refusal means for operations that manage queues.

use std::time::Duration;

use cloudflare_queues::{ErrorKind, manage::ConsumerSettings};

use support::{Act, Op, Server};

use ErrorKind::*;

/// The operation, the status and the code of a refusal, the kind of error, and what the error says.
#[rustfmt::skip]
const TABLE: &[(Op, u16, i64, ErrorKind, &str)] = &[
    (Op::CreateQueue, 409, 11009, AlreadyExists, "use the one that exists, or delete it first"),
    (Op::CreateQueue, 409, 0, AlreadyExists, "use the one that exists, or delete it first"),
    (Op::CreateQueue, 400, 11003, InvalidName, "choose another name"),
    (Op::CreateQueue, 404, 0, NotFound, "check the account id"),
    (Op::CreateQueue, 400, 100128, Rejected, "code 100128"),
    (Op::UpdateQueue, 409, 11009, AlreadyExists, "a queue with this name"),
    (Op::UpdateQueue, 409, 0, Rejected, "the service refused the request"),
    (Op::GetQueue, 404, 11000, NotFound, "`Client::queue_named`"),
    (Op::GetQueue, 404, 10104, NotFound, "`Client::queue_named`"),
    (Op::DeleteQueue, 400, 11005, InUse, "remove what depends on the queue first"),
    (Op::DeleteQueue, 400, 11017, InUse, "event notifications are sent to the queue"),
    (Op::CreateConsumer, 400, 11004, AlreadyExists, "the queue already has a consumer"),
    (Op::CreateConsumer, 404, 10007, Rejected, "deploy the Worker first"),
    (Op::CreateConsumer, 400, 100127, Rejected, "the service refused the request"),
    (Op::GetConsumer, 404, 10013, NoSuchConsumer, "list the queue's consumers"),
    (Op::UpdateConsumer, 400, 10105, NoSuchConsumer, "list the queue's consumers"),
    (Op::DeleteConsumer, 404, 11006, NoSuchConsumer, "list the queue's consumers"),
    (Op::DeleteConsumer, 404, 10104, NotFound, "there is no such queue"),
    (Op::GetConsumer, 404, 7003, NotFound, "check the account id and the queue id"),
    (Op::CreateSubscription, 405, 0, AlreadyExists, "the source already has an event subscription"),
    (Op::GetSubscription, 404, 0, NotFound, "there is no such event subscription"),
    (Op::UpdateSubscription, 400, 0, Rejected, "the service refused the request"),
    (Op::Push, 400, 10013, Rejected, "code 10013"),
];

#[tokio::test]
async fn refusals_have_kinds_to_act_on() {
    let server = Server::playing([]);
    let queue = support::queue(&server.url);
    for &(op, status, code, kind, says) in TABLE {
        server.play(support::refused(status, code));
        let error = op.call(&queue).await.unwrap_err();
        assert_eq!((error.kind(), error.may_have_arrived()), (kind, false), "{op:?} {status} {code}: {error}");
        assert!(error.to_string().contains(says), "{op:?} {status} {code}: {error}");
    }
}

#[tokio::test]
async fn a_refusal_with_status_200_has_the_kind_of_its_code() {
    let body = r#"{"success":false,"errors":[{"code":11009,"message":"taken"}],"result":null}"#;
    let server = Server::playing([Act::Respond(support::response(200, &[], body))]);
    let error = Op::CreateQueue.call(&support::queue(&server.url)).await.unwrap_err();
    assert_eq!(error.kind(), AlreadyExists);
}

#[tokio::test]
async fn a_consumer_that_cannot_be_created_or_used_is_an_error() {
    let none = || support::ok(r#"{"success":true,"result":[]}"#);
    let server = Server::playing([none(), support::refused(403, 10000)]);
    let error = support::queue(&server.url).enable_pull(ConsumerSettings::pull()).await.unwrap_err();
    assert_eq!((error.kind(), error.operation()), (Unauthorized, Some(Op::CreateConsumer.id())), "{error}");
    assert_eq!(server.requests().len(), 2);

    let made = support::ok(r#"{"success":true,"result":{"consumer_id":"a","type":"http_pull"}}"#);
    let server = Server::playing([none(), made, support::refused(403, 10000)]);
    let error = support::queue(&server.url).enable_pull(ConsumerSettings::pull()).await.unwrap_err();
    assert_eq!((error.kind(), error.operation()), (Unauthorized, Some(Op::Pull.id())), "{error}");
    assert_eq!(server.requests().len(), 3);
}

#[tokio::test]
async fn pulls_are_enabled_on_a_paused_queue() {
    let none = support::ok(r#"{"success":true,"result":[]}"#);
    let made = support::ok(r#"{"success":true,"result":{"consumer_id":"a","type":"http_pull"}}"#);
    let server = Server::playing([none, made, support::refused(409, 0)]);
    support::queue(&server.url).enable_pull(ConsumerSettings::pull()).await.unwrap();
    assert_eq!(server.requests().len(), 3);
}

#[tokio::test]
async fn a_queue_that_cannot_be_created_is_not_looked_for_again() {
    let none = support::ok(r#"{"success":true,"result":[]}"#);
    let server = Server::playing([none, support::refused(403, 10000)]);
    let error = support::queue(&server.url).queues().get_or_create("jobs").await.unwrap_err();
    assert_eq!((error.kind(), error.operation()), (Unauthorized, Some(Op::CreateQueue.id())), "{error}");
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn a_failed_search_does_not_hide_what_may_have_been_created() {
    let queue = || {
        let none = support::ok(r#"{"success":true,"result":[]}"#);
        support::queue(&Server::playing([none, support::refused(502, 0), support::refused(403, 10000)]).url)
    };
    let of_queue = queue().queues().get_or_create("jobs").await.unwrap_err();
    let of_consumer = queue().enable_pull(ConsumerSettings::pull()).await.unwrap_err();
    for (error, op) in [(of_queue, Op::CreateQueue), (of_consumer, Op::CreateConsumer)] {
        assert_eq!((error.operation(), error.may_have_arrived()), (Some(op.id()), true), "{error}");
    }
}

#[tokio::test]
async fn entries_of_a_list_that_are_left_out_are_logged() {
    let list = |entries| support::ok(format!(r#"{{"success":true,"result":[{entries}]}}"#));
    let consumer = r#"{"consumer_id":"a","type":"http_pull"}"#;
    for (entries, warnings) in [(consumer.to_owned(), 0), (format!("1,{consumer},2"), 1)] {
        let server = Server::playing([list(entries)]);
        crate::trace::keep();
        let consumers = support::queue(&server.url).consumers().await.unwrap();
        let kept = crate::trace::kept();
        assert_eq!((consumers.len(), kept.matches("entries that cannot be read").count()), (1, warnings), "{kept}");
    }
}

fn list(entries: &str) -> Act {
    support::ok(format!(r#"{{"success":true,"result":[{entries}]}}"#))
}

#[tokio::test]
async fn enable_pull_never_pulls_where_retries_may_destroy() {
    let (pull, sized) = (ConsumerSettings::pull, ConsumerSettings::pull().batch_size(7));
    let entry = |more: &str| list(&format!(r#"{{"consumer_id":"a","type":"http_pull",{more}}}"#));
    let old = entry(r#""created_on":"2026-01-01T00:00:00Z","settings":{"max_retries":5}"#);
    for (consumers, settings, requests) in [
        (list(""), pull(), 3),
        (list(""), pull().max_retries(0), 2),
        (entry(r#""settings":{"max_retries":5}"#), sized.clone(), 3),
        (entry(r#""settings":{"max_retries":5}"#), pull().max_retries(0), 2),
        (entry(r#""settings":{"max_retries":0}"#), pull().max_retries(5), 3),
        (entry(r#""settings":{"max_retries":0}"#), sized.clone(), 2),
        (entry(r#""settings":{}"#), sized.clone(), 2),
        (old, sized, 2),
    ] {
        let row = format!("{consumers:?} {settings:?}");
        let bare = support::ok(r#"{"success":true,"result":{"consumer_id":"a","type":"http_pull"}}"#);
        let server = Server::playing([consumers, bare, support::bare_success()]);
        support::queue(&server.url).enable_pull(settings).await.unwrap();
        assert_eq!(server.requests().len(), requests, "{row}");
    }
}

#[tokio::test]
async fn a_failed_change_or_search_is_not_called_existing() {
    let consumer = list(r#"{"consumer_id":"a","type":"http_pull"}"#);
    let taken = [list(""), support::refused(409, 11004), consumer, support::refused(502, 0)];
    let queue = support::queue(&Server::playing(taken).url);
    let of_consumer = queue.enable_pull(ConsumerSettings::pull().batch_size(7)).await.unwrap_err();
    let taken = [list(""), support::refused(409, 11009), support::refused(502, 0)];
    let of_queue = support::queue(&Server::playing(taken).url).queues().get_or_create("jobs").await.unwrap_err();
    for (error, op) in [(of_consumer, Op::UpdateConsumer), (of_queue, Op::ListQueues)] {
        assert_eq!((error.kind(), error.operation()), (ServiceFailure, Some(op.id())), "{error}");
        assert!(error.may_have_arrived());
    }
    let taken = [list(""), support::refused(409, 11004), list(r#"{"consumer_id":"a","type":"worker"}"#)];
    let error = support::queue(&Server::playing(taken).url).enable_pull(ConsumerSettings::pull()).await.unwrap_err();
    assert_eq!(error.kind(), AlreadyExists);
}

#[tokio::test]
async fn errors_about_a_result_name_the_operation_and_its_request() {
    let parts = support::ok(r#"{"success":true,"result":[{"queue_id":"a"}],"result_info":{"total_pages":9}}"#);
    let queue = |act| support::queue(&Server::playing([act]).url);
    let errors = [
        (Op::ListQueues, queue(list("")).queues().named("jobs").await.unwrap_err()),
        (Op::ListQueues, queue(parts.clone()).queues().list().all().await.unwrap_err()),
        (Op::ListConsumers, queue(parts).consumers().await.unwrap_err()),
        (Op::CreateQueue, queue(support::bare_success()).queues().create("jobs").await.unwrap_err()),
        (Op::GetPurge, queue(support::bare_success()).purge_all_and_wait(Duration::ZERO).await.unwrap_err()),
    ];
    for (op, error) in errors {
        assert_eq!((error.operation(), error.attempts()), (Some(op.id()), 1), "{error}");
    }
}
