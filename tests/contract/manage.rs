//! Managing queues, starting from their names.

use std::time::{Duration, SystemTime};

use cloudflare_queues::{
    AckRequest, Client, ErrorKind, PullOptions, PushMessage, QueueId,
    emulator::{Behavior, Emulator, Fault, Operation},
    manage::{ConsumerKind, ConsumerSettings, Jurisdiction, NewQueue, QueueSettings, Queues},
};
use serde_json::json;

use super::under::{Under, under_every_switch};

const DAY: Duration = Duration::from_secs(86_400);

/// An emulator on tokio's clock, and the queues of its account.
fn emulated(under: &Under) -> (Emulator, Client, Queues) {
    let emulator = under.emulator_in_process();
    let client = emulator.client().unwrap();
    let queues = client.queues(emulator.account_id()).unwrap();
    (emulator, client, queues)
}

#[test]
fn a_name_is_enough_to_push_and_pull() {
    under_every_switch(async |under| {
        let (emulator, client, queues) = emulated(under);
        let queue = queues.get_or_create("jobs").await.unwrap();
        queue.enable_pull(ConsumerSettings::pull()).await.unwrap();
        assert_eq!(queues.get_or_create("jobs".to_owned()).await.unwrap().id(), queue.id());
        let named = client.queue_named(emulator.account_id(), "jobs").await.unwrap();
        assert_eq!(named.id(), queue.id());
        let _ = named.push(&PushMessage::text("hello")).await.unwrap();
        let batch = queue.pull(PullOptions::new()).await.unwrap();
        assert_eq!(batch.iter().next().unwrap().body.text().unwrap(), "hello");
        under.answers().assert_done(&queue.ack(AckRequest::ack_all(&batch)).await.unwrap());
        queue.delete().await.unwrap();
        let error = client.queue_named(emulator.account_id(), "jobs").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.to_string().contains("no queue with this name"), "{error}");
    });
}

#[test]
fn a_queue_has_the_settings_it_was_created_with() {
    under_every_switch(async |under| {
        let (_emulator, _, queues) = emulated(under);
        let settings = QueueSettings::new().delivery_delay(Duration::from_millis(4500)).message_retention(DAY);
        let new = NewQueue::new("eu-jobs").jurisdiction(Jurisdiction::Eu).settings(settings);
        let before = SystemTime::now();
        let queue = queues.create(new).await.unwrap();
        let described = queue.describe().await.unwrap();
        assert_eq!((described.name(), &described.id().unwrap()), ("eu-jobs", queue.id()));
        assert_eq!(described.jurisdiction(), Some(Jurisdiction::Eu));
        assert_eq!(described.delivery_delay(), Some(Duration::from_secs(5)));
        assert_eq!(described.message_retention(), Some(DAY));
        assert_eq!(described.delivery_paused(), Some(false));
        assert_eq!((described.consumers(), described.consumer_count()), (vec![], Some(0)));
        let since = described.created().unwrap().duration_since(before).unwrap_or_default();
        assert!(since <= before.elapsed().unwrap(), "{since:?}");
    });
}

#[test]
fn a_list_has_every_queue_of_every_page_once() {
    under_every_switch(async |under| {
        let (emulator, _, queues) = emulated(under);
        for number in 0..45 {
            queues.create(format!("queue-of-many-{number}")).await.unwrap();
        }
        let before = emulator.requests();
        let listed = queues.list().all().await.unwrap();
        assert_eq!(emulator.requests() - before, 3);
        assert_eq!(listed.len(), 46);
        assert_eq!(queues.find("queue-of-many-44").await.unwrap().unwrap().name(), "queue-of-many-44");
        assert_eq!(emulator.requests() - before, 4, "a queue is found with one request");
        assert_eq!(queues.find("queue-of-many").await.unwrap(), None);
    });
}

#[test]
fn changing_one_setting_keeps_the_others() {
    under_every_switch(async |under| {
        for resets in [false, true] {
            let (emulator, _, queues) = emulated(under);
            emulator.configure(|behavior| behavior.patch_resets(resets));
            let settings = QueueSettings::new().delivery_delay(Duration::from_secs(7)).message_retention(DAY);
            let queue = queues.create(NewQueue::new("jobs").settings(settings)).await.unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert_eq!(queue.pause().await.unwrap().delivery_paused(), Some(true));
            let described = queue.update(QueueSettings::new().message_retention(2 * DAY)).await.unwrap();
            assert_eq!(described.delivery_paused(), Some(true));
            assert_eq!(described.delivery_delay(), Some(Duration::from_secs(7)));
            assert_eq!(described.message_retention(), Some(2 * DAY));
            assert!(described.modified() > described.created());
            assert_eq!(queue.resume().await.unwrap().delivery_paused(), Some(false));
            let replaced = queue.replace_settings(&described, QueueSettings::new()).await.unwrap();
            assert_eq!((replaced.name(), replaced.delivery_delay()), ("jobs", Some(Duration::ZERO)));
        }
    });
}

#[test]
fn a_paused_queue_is_not_pulled_until_it_is_resumed() {
    under_every_switch(async |under| {
        let (emulator, client, _) = emulated(under);
        let queue = client.queue(emulator.account_id(), emulator.queue_id()).unwrap();
        queue.pause().await.unwrap();
        assert_eq!(queue.pull(PullOptions::new()).await.unwrap_err().kind(), ErrorKind::DeliveryPaused);
        queue.resume().await.unwrap();
        assert!(queue.pull(PullOptions::new()).await.unwrap().is_empty());
    });
}

#[test]
fn deleting_a_queue_frees_its_name_and_drops_messages() {
    under_every_switch(async |under| {
        let (_emulator, _, queues) = emulated(under);
        let queue = queues.create("jobs").await.unwrap();
        let _ = queue.push(&PushMessage::text("lost")).await.unwrap();
        queue.delete().await.unwrap();
        for error in [
            queue.describe().await.unwrap_err(),
            queue.delete().await.unwrap_err(),
            queue.push(&PushMessage::text("late")).await.map(drop).unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        }
        let again = queues.create("jobs").await.unwrap();
        assert_ne!(again.id(), queue.id());
        assert_eq!(again.metrics().await.unwrap().backlog_count, Some(0));
    });
}

#[test]
fn errors_say_what_a_program_can_act_on() {
    under_every_switch(async |under| {
        let (emulator, _, queues) = emulated(under);
        let queue = queues.create("jobs").await.unwrap();
        queue.create_consumer(&ConsumerSettings::pull()).await.unwrap();
        let missing = "0000000000000000000000000000dead".try_into().unwrap();
        let unknown = queues.queue("0000000000000000000000000000beef").unwrap();
        for (error, kind, says) in [
            (queues.create("jobs").await.unwrap_err(), ErrorKind::AlreadyExists, "use the one that exists"),
            (queues.create("No Name").await.unwrap_err(), ErrorKind::InvalidName, "choose another name"),
            (queues.create("").await.unwrap_err(), ErrorKind::InvalidInput, "must not be empty"),
            (queues.find("").await.unwrap_err(), ErrorKind::InvalidInput, "must not be empty"),
            (
                queue.create_consumer(&ConsumerSettings::pull()).await.unwrap_err(),
                ErrorKind::AlreadyExists,
                "a consumer",
            ),
            (queue.consumer(&missing).await.unwrap_err(), ErrorKind::NoSuchConsumer, "list the queue's consumers"),
            (queue.delete_consumer(&missing).await.unwrap_err(), ErrorKind::NoSuchConsumer, "no such consumer"),
            (unknown.describe().await.unwrap_err(), ErrorKind::NotFound, "queue_named"),
        ] {
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.to_string().contains(says), "{error}");
            assert!(!error.may_have_arrived(), "{error}");
        }
        emulator.add_account("0123456789abcdef0123456789abcdef").unwrap();
    });
}

#[test]
fn settings_out_of_bounds_are_refused_before_sending() {
    under_every_switch(async |under| {
        let (emulator, client, _) = emulated(under);
        let queue = client.queue(emulator.account_id(), emulator.queue_id()).unwrap();
        for settings in [
            QueueSettings::new().delivery_delay(DAY + Duration::from_millis(1)),
            QueueSettings::new().delivery_delay(Duration::MAX),
            QueueSettings::new().message_retention(Duration::ZERO),
            QueueSettings::new().message_retention(Duration::MAX),
        ] {
            assert_eq!(queue.update(settings).await.unwrap_err().kind(), ErrorKind::InvalidInput);
        }
        for settings in [
            ConsumerSettings::pull().batch_size(0),
            ConsumerSettings::pull().max_retries(u32::MAX),
            ConsumerSettings::pull().retry_delay(Duration::MAX),
            ConsumerSettings::pull().visibility_timeout(Duration::MAX),
            ConsumerSettings::pull().visibility_timeout(DAY / 2 + Duration::from_nanos(1)),
            ConsumerSettings::worker("script").max_concurrency(Some(0)),
            ConsumerSettings::worker("script").max_wait_time(Duration::MAX),
        ] {
            assert_eq!(queue.create_consumer(&settings).await.unwrap_err().kind(), ErrorKind::InvalidInput);
        }
        let error = queue.enable_pull(ConsumerSettings::worker("script")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert_eq!(emulator.requests(), 0);
    });
}

#[tokio::test(start_paused = true)]
async fn a_name_instead_of_an_id_is_refused_with_advice() {
    let client = Client::new(cloudflare_queues::Credentials::api_token("token").unwrap()).unwrap();
    let error = client.queues("023e105f4ecef8ad9ca31a8372d0c353").unwrap().queue("my-queue").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("queue_named"), "{error}");
    assert!(QueueId::try_from("not/an/id").is_err());
}

#[test]
fn enabling_pulls_can_be_repeated_and_keeps_settings() {
    under_every_switch(async |under| {
        let (emulator, _, queues) = emulated(under);
        emulator.configure(|behavior: Behavior| behavior.consumer_start(Duration::from_secs(5)));
        let queue = queues.create("jobs").await.unwrap();
        assert_eq!(queue.pull(PullOptions::new()).await.unwrap_err().kind(), ErrorKind::NotPullConsumer);
        let started = tokio::time::Instant::now();
        let made = queue.enable_pull(ConsumerSettings::pull().max_retries(10)).await.unwrap();
        assert_eq!(started.elapsed(), Duration::from_secs(5));
        let _ = queue.pull(PullOptions::new()).await.unwrap();

        let set =
            queue.enable_pull(ConsumerSettings::pull().visibility_timeout(Duration::from_secs(90))).await.unwrap();
        assert_eq!(set.id().unwrap(), made.id().unwrap());
        assert_eq!((set.max_retries(), set.visibility_timeout()), (Some(10), Some(Duration::from_secs(90))));
        assert_eq!(started.elapsed(), Duration::from_secs(5), "a change does not start it again");
        let before = emulator.requests();
        queue.enable_pull(ConsumerSettings::pull().max_retries(10)).await.unwrap();
        assert_eq!(emulator.requests() - before, 2, "a consumer that is as wanted is only read, and a pull tried");
        assert_eq!(queue.consumers().await.unwrap().len(), 1);
    });
}

#[test]
fn enabling_pulls_again_waits_until_they_work() {
    under_every_switch(async |under| {
        let (emulator, _, queues) = emulated(under);
        emulator.configure(|behavior: Behavior| behavior.consumer_start(Duration::from_secs(5)));
        let queue = queues.create("jobs").await.unwrap();
        let started = tokio::time::Instant::now();
        let enable = || queue.enable_pull(ConsumerSettings::pull());
        assert!(tokio::time::timeout(Duration::from_secs(2), enable()).await.is_err());
        enable().await.unwrap();
        assert!(started.elapsed() >= Duration::from_secs(5));
        let _ = queue.pull(PullOptions::new()).await.unwrap();
    });
}

#[test]
fn enabling_pulls_costs_no_message_its_only_attempt() {
    under_every_switch(async |under| {
        let (_emulator, _, queues) = emulated(under);
        let queue = queues.create("jobs").await.unwrap();
        let _ = queue.push(&PushMessage::text("early")).await.unwrap();
        queue.enable_pull(ConsumerSettings::pull().max_retries(0)).await.unwrap();
        // To find out whether pulls work already would cost the attempt.
        tokio::time::sleep(under.consumer_start()).await;
        let batch = queue.pull(PullOptions::new()).await.unwrap();
        assert_eq!(batch.iter().map(|message| message.attempts).collect::<Vec<_>>(), [Some(1)]);
    });
}

#[test]
fn enabling_pulls_hands_the_probe_message_back_at_once() {
    under_every_switch(async |under| {
        let (_emulator, _, queues) = emulated(under);
        let queue = queues.create("jobs").await.unwrap();
        let _ = queue.push(&PushMessage::text("early")).await.unwrap();
        // The delay of the queue is for retries, and is not waited for.
        queue.enable_pull(ConsumerSettings::pull().retry_delay(Duration::from_secs(600))).await.unwrap();
        let batch = queue.pull(PullOptions::new()).await.unwrap();
        assert_eq!(batch.iter().map(|message| message.attempts).collect::<Vec<_>>(), [Some(2)]);
    });
}

#[test]
fn failures_after_an_effect_do_not_deny_it() {
    under_every_switch(async |under| {
        let (emulator, _, queues) = emulated(under);
        let queue = queues.create("jobs").await.unwrap();
        let quota = Fault::RateLimited { code: 10252, retry_after: None };
        emulator.inject(quota.clone().on(Operation::PullMessages));
        let error = queue.enable_pull(ConsumerSettings::pull()).await.unwrap_err();
        assert!(error.may_have_arrived() && queue.consumers().await.unwrap().len() == 1, "{error}");
        emulator.inject(quota.on(Operation::GetPurge));
        let error = queue.purge_all_and_wait(Duration::from_secs(60)).await.unwrap_err();
        assert!(error.may_have_arrived(), "{error}");
    });
}

#[test]
fn enabling_pulls_survives_a_lost_response() {
    under_every_switch(async |under| {
        for fault in [Fault::ResetBefore, Fault::ResetAfter, Fault::ServerError(502), Fault::CutOff] {
            let (emulator, _, queues) = emulated(under);
            let queue = queues.create("jobs").await.unwrap();
            emulator.inject(fault.clone().on(Operation::CreateConsumer));
            let enabled = queue.enable_pull(ConsumerSettings::pull()).await;
            let is_lost = matches!(fault, Fault::ResetAfter | Fault::CutOff);
            assert_eq!(enabled.is_ok(), is_lost, "{fault:?}: {enabled:?}");
            assert_eq!(queue.consumers().await.unwrap().len(), usize::from(is_lost), "{fault:?}");
        }
    });
}

#[test]
fn a_new_consumer_has_a_minute_to_start() {
    under_every_switch(async |under| {
        let (emulator, _, queues) = emulated(under);
        emulator.configure(|behavior: Behavior| behavior.consumer_start(DAY));
        let queue = queues.create("jobs").await.unwrap();
        let started = tokio::time::Instant::now();
        let error = queue.enable_pull(ConsumerSettings::pull()).await.unwrap_err();
        assert_eq!((error.kind(), started.elapsed().as_secs()), (ErrorKind::NotPullConsumer, 60));
    });
}

#[test]
fn a_queue_is_created_once_even_if_the_response_was_lost() {
    under_every_switch(async |under| {
        for fault in [Fault::ResetAfter, Fault::CutOff] {
            let (emulator, _, queues) = emulated(under);
            emulator.inject(fault.clone().on(Operation::CreateQueue));
            let error = queues.create("jobs").await.unwrap_err();
            assert!(error.may_have_arrived() && error.attempts() == 1, "{error}");
            assert_eq!(queues.create("jobs").await.unwrap_err().kind(), ErrorKind::AlreadyExists);
            emulator.inject(fault.on(Operation::CreateQueue));
            let made = queues.get_or_create("other").await.unwrap();
            assert_eq!(made.describe().await.unwrap().name(), "other");
        }
    });
}

#[test]
fn a_deletion_whose_response_was_lost_succeeds() {
    under_every_switch(async |under| {
        let (emulator, _, queues) = emulated(under);
        let queue = queues.create("jobs").await.unwrap();
        let consumer = queue.create_consumer(&ConsumerSettings::pull()).await.unwrap().id().unwrap();
        emulator.inject(Fault::ResetAfter.on(Operation::DeleteConsumer));
        queue.delete_consumer(&consumer).await.unwrap();
        emulator.inject(Fault::ResetAfter.on(Operation::DeleteQueue));
        queue.delete().await.unwrap();
        assert_eq!(queue.delete().await.unwrap_err().kind(), ErrorKind::NotFound);
    });
}

#[test]
fn consumers_of_every_kind_keep_their_settings() {
    under_every_switch(async |under| {
        let (_emulator, _, queues) = emulated(under);
        let queue = queues.create("jobs").await.unwrap();
        let unknown = ConsumerSettings::of_kind("of-tomorrow".into()).setting("shape", json!({ "round": true }));
        let kinds = [
            ConsumerSettings::pull().batch_size(50).dead_letter_queue("jobs-failed"),
            ConsumerSettings::worker("script").max_concurrency(Some(3)).max_wait_time(Duration::from_secs(1)),
            ConsumerSettings::notification().email("someone").webhook("hook").webhook("other").pagerduty("duty"),
            unknown,
        ];
        for settings in kinds {
            let made = queue.create_consumer(&settings).await.unwrap();
            assert_eq!(made.kind(), settings.kind());
            assert_eq!(made.queue_name(), Some("jobs"));
            // Sending back what was read changes nothing.
            let id = made.id().unwrap();
            let again = queue.update_consumer(&id, &ConsumerSettings::from(&made)).await.unwrap();
            assert_eq!(again, made);
            assert_eq!(queue.consumer(&id).await.unwrap(), made);
            assert_eq!(queue.consumers().await.unwrap(), std::slice::from_ref(&made));
            match made.kind() {
                ConsumerKind::HttpPull => assert_eq!((made.batch_size(), made.max_retries()), (Some(50), Some(3))),
                ConsumerKind::Worker => {
                    assert_eq!((made.script(), made.max_concurrency()), (Some("script"), Some(3)));
                    assert_eq!(made.max_wait_time(), Some(Duration::from_secs(1)));
                }
                ConsumerKind::Notification => {
                    assert_eq!(made.fields()["settings"]["webhooks"], json!([{ "id": "hook" }, { "id": "other" }]))
                }
                _ => assert_eq!(made.fields()["settings"]["shape"], json!({ "round": true })),
            }
            queue.delete_consumer(&id).await.unwrap();
            assert!(queue.consumers().await.unwrap().is_empty());
        }
        assert!(queues.find("jobs-failed").await.unwrap().is_some(), "a dead-letter queue is made if there is none");
    });
}

#[test]
fn messages_without_retries_left_reach_the_dead_letter_queue() {
    under_every_switch(async |under| {
        let (_emulator, client, queues) = emulated(under);
        let queue = queues.create("jobs").await.unwrap();
        let settings = ConsumerSettings::pull().max_retries(0).dead_letter_queue("jobs-failed");
        assert_eq!(queue.enable_pull(settings).await.unwrap().dead_letter_queue(), Some("jobs-failed"));
        tokio::time::sleep(under.consumer_start()).await;
        let _ = queue.push(&PushMessage::text("bad")).await.unwrap();
        let batch = queue.pull(PullOptions::new()).await.unwrap();
        let _ = queue.ack(AckRequest::retry_all(&batch)).await.unwrap();
        let failed = client.queue_named(queues.account_id(), "jobs-failed").await.unwrap();
        let peeked = failed.peek(10).await.unwrap();
        assert_eq!((peeked[0].body.text().unwrap().as_ref(), peeked[0].attempts), ("bad", Some(0)));
    });
}

#[test]
fn waiting_for_a_purge_ends_when_it_is_done() {
    under_every_switch(async |under| {
        let (emulator, client, _) = emulated(under);
        emulator.configure(|behavior| behavior.purge_time(Duration::from_secs(30)));
        let queue = client.queue(emulator.account_id(), emulator.queue_id()).unwrap();
        assert!(!queue.purge_status().await.unwrap().is_complete());
        let _ = queue.push(&PushMessage::text("unwanted")).await.unwrap();
        assert_eq!(queue.metrics().await.unwrap().backlog_count, Some(1));
        let started = tokio::time::Instant::now();
        let error = queue.purge_all_and_wait(Duration::from_secs(10)).await.unwrap_err();
        assert_eq!((error.kind(), started.elapsed().as_secs()), (ErrorKind::Timeout, 10));
        assert!(error.may_have_arrived(), "{error}");
        let status = queue.purge_all_and_wait(Duration::from_secs(60)).await.unwrap();
        assert!(status.started().is_some() && status.completed() > status.started(), "{status:?}");
        let metrics = queue.metrics().await.unwrap();
        assert_eq!((metrics.backlog_count, metrics.backlog_bytes, metrics.oldest_message), (Some(0), Some(0), None));
    });
}

#[test]
fn accounts_do_not_see_each_others_queues() {
    under_every_switch(async |under| {
        let (emulator, client, queues) = emulated(under);
        let other = "0123456789abcdef0123456789abcdef";
        assert_eq!(client.queues(other).unwrap().find("jobs").await.unwrap_err().kind(), ErrorKind::NotFound);
        emulator.add_account(other).unwrap();
        let queue = client.queues(other).unwrap().create("jobs").await.unwrap();
        assert_eq!(queues.find("jobs").await.unwrap(), None);
        let mixed_up = queues.queue(queue.id()).unwrap();
        assert_eq!(mixed_up.describe().await.unwrap_err().kind(), ErrorKind::NotFound);
        let pushed = mixed_up.push(&PushMessage::text("astray")).await;
        assert_eq!(pushed.map(drop).unwrap_err().kind(), ErrorKind::NotFound);
        let _ = queue.push(&PushMessage::text("home")).await.unwrap();
    });
}
