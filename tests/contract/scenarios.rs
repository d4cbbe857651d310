//! Promises that hold for every service.

use std::{collections::HashSet, time::Duration};

use cloudflare_queues::{AckRequest, ContentType, LeaseId, PullOptions, PushMessage};
use serde_json::{Value, json};

use super::{Service, acks, pull};

const LEASE: Duration = Duration::from_secs(10);
const MINUTE: Duration = Duration::from_secs(60);

pub(crate) async fn a_pushed_message_comes_as_it_was_pushed(service: &Service) {
    let job = json!({ "task": "resize", "sizes": [64, 1.5, null], "name": "gr\u{fc}n \"\\" });
    service.queue.push(&PushMessage::json(&job).unwrap()).await.unwrap();
    let message = service.pull(1, MINUTE).await.remove(0);
    assert_eq!(message.body.json::<Value>().unwrap(), job);
    assert_eq!((message.body.content_type(), message.attempts), (&ContentType::Json, Some(1)));
    assert!(!message.id.is_empty());
    let age = message.timestamp.unwrap().elapsed().unwrap_or_default();
    assert!(age < 10 * MINUTE, "{age:?}");
    service.settle(acks(&[message])).await;

    let text = "Q0ZE is text, although it could begin a base64";
    service.queue.push(&PushMessage::text(text)).await.unwrap();
    let message = service.pull(1, MINUTE).await.remove(0);
    assert_eq!((message.body.text().unwrap().as_ref(), message.body.content_type()), (text, &ContentType::Text));
    service.settle(acks(&[message])).await;
}

pub(crate) async fn a_leased_message_is_hidden_until_its_visibility_timeout(service: &Service) {
    service.push(1).await;
    let first = service.pull(1, LEASE).await.remove(0);
    service.pull_nothing().await;
    service.pass(LEASE).await;
    let second = service.pull(1, MINUTE).await.remove(0);
    assert_eq!((&second.id, second.attempts), (&first.id, Some(2)));
    assert_ne!(second.lease_id, first.lease_id);
    service.settle(acks(&[second])).await;
}

pub(crate) async fn an_acknowledged_message_never_comes_again(service: &Service) {
    service.push(3).await;
    let messages = service.pull(3, LEASE).await;
    assert_eq!(service.settle(acks(&messages)).await, (3, 0));
    service.pass(2 * LEASE).await;
    service.pull_nothing().await;
}

pub(crate) async fn a_retried_message_comes_again_after_its_delay(service: &Service) {
    service.push(2).await;
    let messages = service.pull(2, MINUTE).await;
    let request = AckRequest::new().retry_in(&messages[0].lease_id, LEASE).ack(&messages[1].lease_id);
    assert_eq!(service.settle(request).await, (1, 1));
    service.pull_nothing().await;
    service.pass(LEASE).await;
    let again = service.pull(1, MINUTE).await.remove(0);
    assert_eq!((&again.id, again.attempts), (&messages[0].id, Some(2)));
    service.settle(acks(&[again])).await;
}

pub(crate) async fn a_delayed_message_comes_after_its_delay(service: &Service) {
    service.queue.push(&PushMessage::text("later").delay(LEASE)).await.unwrap();
    service.pull_nothing().await;
    service.pass(LEASE).await;
    let messages = service.pull(1, MINUTE).await;
    service.settle(acks(&messages)).await;
}

pub(crate) async fn an_ack_after_the_lease_ran_out_is_accepted(service: &Service) {
    service.push(1).await;
    let messages = service.pull(1, LEASE).await;
    service.pass(LEASE).await;
    if service.answers.takes_late_acks {
        service.settle(acks(&messages)).await;
        service.pull_nothing().await;
    } else {
        service.answers.assert_not_done(service.queue.ack(acks(&messages)).await);
        service.settle(acks(&service.pull(1, LEASE).await)).await;
    }
}

pub(crate) async fn consumers_at_the_same_time_never_share_a_message(service: &Service) {
    const CONSUMERS: usize = 8;
    service.push(200).await;
    let consumers: Vec<_> = (0..CONSUMERS)
        .map(|_| {
            let queue = service.queue.clone();
            tokio::spawn(async move {
                let mut messages = Vec::new();
                for _ in 0..10 {
                    messages.extend(pull(&queue, PullOptions::new().batch_size(7).visibility_timeout(MINUTE)).await);
                }
                messages
            })
        })
        .collect();
    let mut messages = Vec::new();
    for consumer in consumers {
        messages.extend(consumer.await.unwrap());
    }
    let ids: HashSet<_> = messages.iter().map(|message| &message.id).collect();
    let leases: HashSet<_> = messages.iter().map(|message| &message.lease_id).collect();
    assert_eq!((ids.len(), leases.len()), (messages.len(), messages.len()));
    assert!(messages.len() > CONSUMERS * 7, "more than one consumer was served: {}", messages.len());
    service.settle(acks(&messages)).await;
}

pub(crate) async fn hundreds_of_leases_are_all_settled(service: &Service) {
    service.push(250).await;
    let messages = service.pull(250, MINUTE).await;
    assert_eq!(service.settle(acks(&messages)).await, (250, 0));
}

pub(crate) async fn a_used_lease_is_never_reported_complete(service: &Service) {
    service.push(1).await;
    let messages = service.pull(1, MINUTE).await;
    service.settle(acks(&messages)).await;
    let mut request = acks(&messages);
    request = request.retry(LeaseId::from("never-given"));
    // This may be a warning or a refusal, but it must not be reported as done.
    match service.queue.ack(request).await {
        Ok(outcome) => assert!(!outcome.is_complete(), "{outcome:?}"),
        Err(failed) => assert_eq!(failed.unconfirmed.len(), 2),
    }
}

pub(crate) async fn a_purged_message_never_comes(service: &Service) {
    service.push(1).await;
    let mut peeked = service.queue.peek(1).await.unwrap();
    for _ in 0..30 {
        if !peeked.is_empty() {
            break;
        }
        service.pass(Duration::from_secs(1)).await;
        peeked = service.queue.peek(1).await.unwrap();
    }
    let message_ref = peeked.remove(0).message_ref.unwrap();
    service.answers.assert_deleted(&service.queue.delete_messages([message_ref]).await.unwrap());
    service.pull_nothing().await;
}
