//! Every response in the published form can be read, and management responses can be sent back in that form.

use std::time::Duration;

use cloudflare_queues::{
    ErrorKind,
    emulator::Emulator,
    manage::{
        ConsumerDescription, ConsumerSettings, EventSource, Jurisdiction, NewQueue, NewSubscription, PurgeStatus,
        QueueDescription, QueueSettings, SubscriptionChange,
    },
};
use proptest::prelude::*;
use serde_json::{Value, json};
use support::Op;

use super::{
    document,
    forms::{Service, newer, runner, validator},
    generate,
};

/// The operation of the published document at the same place as ours.
fn published(published: &Value, op: Op) -> &Value {
    let ours = document();
    let paths = ours["paths"].as_object().unwrap().iter();
    let mut operations = paths.flat_map(|(path, item)| item.as_object().unwrap().iter().map(move |item| (path, item)));
    let (path, (method, _)) = operations.find(|(_, (_, operation))| operation["operationId"] == op.id()).unwrap();
    generate::operation(published, path, method)
}

#[test]
fn every_response_of_the_published_form_is_read() {
    let (service, newer) = (Service::start(), newer());
    for op in Op::ALL {
        let schema = generate::content(&newer, &published(&newer, op)["responses"]["200"]);
        let run = runner(200).run(&generate::values(&newer, &schema), |response| {
            service.respond(response.clone());
            if let Err(error) = service.run(op.call(&service.queue)) {
                // By the document, each field may be missing; then the response does not say that the call succeeded.
                prop_assert!(response["success"].is_null() || response["result"].is_null(), "{op:?}: {error}");
                let is_envelope = !response["success"].is_null();
                let kind = if is_envelope { ErrorKind::UnexpectedResponse } else { ErrorKind::ServiceFailure };
                prop_assert_eq!(error.kind(), kind);
            }
            Ok(())
        });
        run.unwrap();
    }
}

#[test]
fn a_malformed_entry_drops_no_other_from_a_list() {
    let service = Service::start();
    let odd = json!([null, 7, "x", [], {}, { "queue_id": 7, "queue_name": null, "consumers": "none", "settings": [] }]);
    let mut entries = odd.as_array().unwrap().clone();
    entries.push(json!({ "queue_id": "b01b5594f784d0165c2985833f5660dd", "queue_name": "jobs", "created_on": "soon",
        "jurisdiction": "moon",
        "consumers": [null, { "type": "of-tomorrow", "script": "one" }, { "script_name": "two" }],
        "settings": { "delivery_delay": 5.0, "delivery_paused": "no", "of_tomorrow": 1 } }));
    service.respond(json!({ "success": true, "result": entries, "result_info": { "total_pages": 1 } }));
    let listed = service.run(service.queue.queues().list().all()).unwrap();
    let jobs = listed.last().unwrap();
    assert_eq!((listed.len(), jobs.name(), jobs.created()), (3, "jobs", None));
    assert_eq!(jobs.delivery_delay(), Some(Duration::from_secs(5)));
    assert_eq!((jobs.delivery_paused(), jobs.jurisdiction().unwrap().as_str()), (None, "moon"));
    let scripts: Vec<_> = jobs.consumers().iter().map(|consumer| consumer.script().map(str::to_owned)).collect();
    assert_eq!(scripts, [Some("one".to_owned()), Some("two".to_owned())]);
    assert_eq!(jobs.consumers()[0].kind().as_str(), "of-tomorrow");
    assert_eq!(jobs.fields()["settings"]["of_tomorrow"], 1, "what is not known is kept");
}

/// The names in a list whose pages are these, of which the last is repeated, and whether an error ends it; and how many
/// were requested.
async fn listed(pages: &[Value], info: Value) -> (Vec<String>, usize) {
    let page = |page: &Value| json!({ "success": true, "result": page, "result_info": info }).to_string();
    let server = support::Server::playing(pages.iter().map(|entries| support::ok(page(entries))).collect::<Vec<_>>());
    let (mut list, mut names) = (support::queue(&server.url).queues().list(), Vec::new());
    while let Some(queue) = list.next().await {
        names.push(queue.map_or_else(|_| "an error".to_owned(), |queue| queue.name().to_owned()));
    }
    (names, server.requests().len())
}

#[tokio::test]
async fn a_list_ends_with_its_last_page_whatever_the_others_have() {
    let [one, two] = ["one", "two"].map(|name| json!([{ "queue_id": name, "queue_name": name }]));
    let both = ["one".to_owned(), "two".to_owned()];
    let three = || json!({ "total_pages": 3, "total_count": 7, "count": "many" });
    for middle in [json!([]), json!([null, 7, "x"]), one.clone()] {
        assert_eq!(listed(&[one.clone(), middle, two.clone()], three()).await, (both.to_vec(), 3));
    }
    // Without ids, entries are told apart by all that they have.
    let odd = ["a", "b", "c", "d", "e"].map(|name| json!([{ "queue_name": name }]));
    assert_eq!(
        listed(&odd, json!({ "total_pages": 5 })).await,
        (["a", "b", "c", "d", "e"].map(String::from).to_vec(), 5)
    );
    assert_eq!(listed(&odd[..2], json!(null)).await, (["a", "b"].map(String::from).to_vec(), 3));
    assert_eq!(listed(&[odd[0].clone(), two.clone()], json!({ "total_pages": 2 })).await.0, ["a", "two"]);
    for info in [json!(null), json!({ "total_pages": "3" }), json!({ "page": 1, "per_page": 1, "total_count": 1 })] {
        assert_eq!(listed(&[one.clone(), two.clone(), json!([])], info).await, (both.to_vec(), 3));
    }
}

#[tokio::test]
async fn a_list_ends_although_the_service_counts_pages_without_end() {
    let endless = || json!({ "total_pages": 1e300 });
    let one = json!([{ "queue_id": "one", "queue_name": "one" }]);
    // What it repeats may not be all.
    assert_eq!(listed(&[one], endless()).await, (vec!["one".to_owned(), "an error".to_owned()], 4));
    assert_eq!(listed(&[json!([])], endless()).await, (vec![], 3));
    assert_eq!(listed(&[json!([{}])], endless()).await, (vec![String::new(), "an error".to_owned()], 4));
}

#[test]
fn queues_are_found_by_whole_name_whatever_is_listed() {
    let service = Service::start();
    let queue = |id: &str, name: &str| json!({ "queue_id": id, "queue_name": name });
    service.respond(
        json!({ "success": true, "result": [queue("a", "jobs-old"), queue("b", "jobs"), queue("c", "Jobs")] }),
    );
    let found = service.run(service.queue.queues().named("jobs")).unwrap();
    assert_eq!(found.id().as_str(), "b");
    assert_eq!(service.run(service.queue.queues().find("job")).unwrap(), None);
}

#[test]
fn one_page_of_consumers_is_not_the_whole_list() {
    let service = Service::start();
    let listed = |info: Value| {
        let consumers = json!([null, { "type": "http_pull", "consumer_id": "b" }]);
        service.respond(json!({ "success": true, "result": consumers, "result_info": info }));
        service.run(service.queue.consumers()).map(|consumers| consumers.len())
    };
    for whole in [
        json!(null),
        json!({}),
        json!({ "page": 1, "count": 2, "total_count": 2, "total_pages": 1, "cursors": { "after": "" } }),
        json!({ "total_count": 1, "total_pages": 0, "cursor": null }),
        json!({ "has_more": false, "is_truncated": null }),
        json!({ "total_count": "many", "total_pages": [2] }),
    ] {
        assert_eq!(listed(whole.clone()).unwrap(), 1, "{whole}");
    }
    for part in [
        json!({ "total_pages": 2 }),
        json!({ "total_count": 3 }),
        json!({ "count": 2, "total_count": 3 }),
        json!({ "cursor": "next" }),
        json!({ "next_cursor": "next" }),
        json!({ "has_more": true }),
        json!({ "is_truncated": true }),
        json!({ "cursors": { "after": "next" } }),
    ] {
        assert_eq!(listed(part.clone()).unwrap_err().kind(), ErrorKind::UnexpectedResponse, "{part}");
    }
}

#[test]
fn an_old_consumer_is_not_probed() {
    let service = Service::start();
    let consumer = json!({ "type": "http_pull", "consumer_id": "b", "created_on": "2026-01-01T00:00:00Z" });
    service.respond(json!({ "success": true, "result": [consumer] }));
    service.run(service.queue.enable_pull(ConsumerSettings::pull())).unwrap();
    assert_eq!(service.sent_text(), "", "the list has no body, and nothing was pulled");
}

#[tokio::test]
async fn the_status_of_an_earlier_purge_is_ignored() {
    let status = |started: &str, completed: bool| {
        let result = json!({ "started_at": started, "complete": completed });
        support::ok(json!({ "success": true, "result": result }).to_string())
    };
    let (earlier, now) = ("2026-11-05T08:30:00Z", "2026-11-05T09:00:00Z");
    for started in [now, "2026-11-05T09:00:00.999Z"] {
        let server = support::Server::playing([status(started, false), status(earlier, true), status(now, true)]);
        let queue = support::queue(&server.url);
        let done = queue.purge_all_and_wait(Duration::from_secs(60)).await.unwrap();
        assert_eq!((server.requests().len(), done.fields()["started_at"].as_str()), (3, Some(now)));
    }
}

#[test]
fn a_purge_is_complete_in_every_form_that_is_known() {
    let time = "2026-11-05T09:00:00Z";
    for (fields, is_complete) in [
        (json!({ "completed": time }), true),
        (json!({ "completed": "true" }), true),
        (json!({ "complete": true }), true),
        (json!({ "completed": "", "complete": true }), true),
        (json!({ "completed": "" }), false),
        (json!({ "completed": "false" }), false),
        (json!({ "complete": false }), false),
        (json!({ "completed": null, "started_at": time }), false),
        (json!({}), false),
    ] {
        let status: PurgeStatus = serde_json::from_value(fields.clone()).unwrap();
        assert_eq!(status.is_complete(), is_complete, "{fields}");
    }
}

#[test]
fn settings_beyond_our_bounds_do_not_prevent_a_change() {
    let service = Service::start();
    let settings = json!({ "message_retention_period": 9_999_999 });
    service.respond(json!({ "success": true, "result": { "queue_name": "jobs", "settings": settings } }));
    let _ = service.run(service.queue.pause()).unwrap();
    assert_eq!(service.sent()["settings"]["message_retention_period"], 9_999_999);
    let settings = json!({ "batch_size": 1000, "max_retries": 500 });
    let consumer = json!({ "consumer_id": "c", "type": "http_pull", "settings": settings });
    let list = support::ok(json!({ "success": true, "result": [consumer] }).to_string());
    let server = support::Server::playing([list, support::bare_success()]);
    let queue = support::queue(&server.url);
    let _ = service.run(queue.enable_pull(ConsumerSettings::pull().max_retries(7))).unwrap();
    let sent = server.requests()[1].json();
    assert_eq!(sent, json!({ "type": "http_pull", "settings": { "batch_size": 1000, "max_retries": 7 } }));
}

#[test]
fn consumers_are_sent_back_without_what_the_service_decides() {
    let back = |consumer: Value| {
        let described: ConsumerDescription = serde_json::from_value(consumer).unwrap();
        serde_json::to_value(ConsumerSettings::from(&described)).unwrap()
    };
    let decided = json!({ "consumer_id": "c", "created_on": "2026-11-05T08:30:00Z", "queue_name": "jobs" });
    for (received, sent) in [
        (
            json!({ "type": "worker", "script": "s", "more": 1 }),
            json!({ "type": "worker", "script_name": "s", "more": 1 }),
        ),
        (json!({ "type": "http_pull", "dead_letter_queue": "" }), json!({ "type": "http_pull" })),
        (json!({ "type": "of-tomorrow", "script": "s" }), json!({ "type": "of-tomorrow", "script": "s" })),
    ] {
        let mut consumer = received.as_object().unwrap().clone();
        consumer.extend(decided.as_object().unwrap().clone());
        assert_eq!(back(consumer.into()), sent);
    }
}

#[test]
fn an_unknown_setting_is_sent_back_as_received() {
    let service = Service::start();
    let described =
        json!({ "queue_name": "jobs", "settings": { "of_tomorrow": { "deep": [1.5] }, "delivery_delay": 7 } });
    service.respond(json!({ "success": true, "result": described }));
    let _ = service.run(service.queue.pause()).unwrap();
    let settings = json!({ "of_tomorrow": { "deep": [1.5] }, "delivery_delay": 7, "delivery_paused": true });
    assert_eq!(service.sent(), json!({ "queue_name": "jobs", "settings": settings }));
}

#[test]
fn every_request_is_of_the_published_form() {
    let (service, newer, hour) = (Service::start(), newer(), Duration::from_secs(3600));
    let (queue, queues) = (&service.queue, service.queue.queues());
    let id = "b01b5594f784d0165c2985833f5660dd";
    let settings = QueueSettings::new().delivery_delay(hour).message_retention(hour).delivery_paused(true);
    let described: QueueDescription = serde_json::from_value(json!({ "queue_name": "jobs" })).unwrap();
    let check = |op: Op| {
        let schema = generate::content(&newer, &published(&newer, op)["requestBody"]);
        assert!(validator(&newer, &schema).is_valid(&service.sent()), "{op:?}: {}", service.sent());
    };
    for jurisdiction in [Jurisdiction::Eu, Jurisdiction::Us, Jurisdiction::FedRamp] {
        let _ = service.run(queues.create(NewQueue::new("jobs").jurisdiction(jurisdiction).settings(settings.clone())));
        check(Op::CreateQueue);
    }
    let _ = service.run(queue.update_from(&described, settings.clone())).unwrap();
    check(Op::UpdateQueue);
    let _ = service.run(queue.replace_settings(&described, settings)).unwrap();
    check(Op::ReplaceQueue);
    let _ = service.run(queue.purge_all()).unwrap();
    check(Op::PurgeQueue);
    for consumer in [
        ConsumerSettings::pull().batch_size(5).max_retries(3).retry_delay(hour).visibility_timeout(hour),
        ConsumerSettings::worker("script").max_concurrency(Some(5)).max_wait_time(Duration::from_secs(1)),
        ConsumerSettings::notification().email(id).webhook(id).pagerduty(id).dead_letter_queue("jobs-failed"),
    ] {
        let _ = service.run(queue.create_consumer(&consumer)).unwrap();
        check(Op::CreateConsumer);
        let _ = service.run(queue.update_consumer(&id.try_into().unwrap(), &consumer)).unwrap();
        check(Op::UpdateConsumer);
    }
    let source = EventSource::new("workersAi.model").with("model_name", "m");
    let new = NewSubscription::new("events", source, &id.try_into().unwrap()).event("queued");
    let _ = service.run(queues.subscriptions().create(&new)).unwrap();
    check(Op::CreateSubscription);
    let change = SubscriptionChange::new().name("n").events(["queued"]).enabled(true).queue(&id.try_into().unwrap());
    let _ = service.run(queues.subscriptions().update(&id.try_into().unwrap(), change)).unwrap();
    check(Op::UpdateSubscription);
}

#[tokio::test]
async fn the_emulator_describes_queues_in_the_published_form() {
    let newer = newer();
    let check = |component: &str, described: &serde_json::Map<String, Value>| {
        let schema = json!({ "$ref": format!("#/components/schemas/{component}") });
        let value = Value::Object(described.clone());
        assert!(validator(&newer, &schema).is_valid(&value), "{component}: {value}");
    };
    let queue = Emulator::in_process().queue().unwrap();
    check("mq_queue", queue.describe().await.unwrap().fields());
    check("mq_consumer-response", queue.consumers().await.unwrap()[0].fields());
    let new = NewSubscription::new("events", EventSource::new("kv"), queue.id()).event("created");
    check("mq_event-subscription", queue.queues().subscriptions().create(&new).await.unwrap().fields());
}
