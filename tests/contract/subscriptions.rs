//! Event subscriptions.

use std::time::Duration;

use cloudflare_queues::{
    ErrorKind,
    emulator::{Emulator, Fault, Operation},
    manage::{EventSource, NewSubscription, SubscriptionChange, Subscriptions},
};

use super::under::{Under, under_every_switch};

fn emulated(under: &Under) -> (Emulator, Subscriptions) {
    let emulator = under.emulator_in_process();
    let subscriptions = emulator.queue().unwrap().queues().subscriptions();
    (emulator, subscriptions)
}

fn new(emulator: &Emulator, name: &str, source: EventSource) -> NewSubscription {
    NewSubscription::new(name, source, emulator.queue_id()).event("created").event("deleted")
}

#[test]
fn a_subscription_keeps_its_settings_until_it_is_changed() {
    under_every_switch(async |under| {
        let (emulator, subscriptions) = emulated(under);
        // A source that is in no document.
        let source = EventSource::new("artifacts.repo").with("namespace", "tools").with("repo_name", "cli");
        let made = subscriptions.create(&new(&emulator, "pushes", source.clone())).await.unwrap();
        assert_eq!((made.name(), made.is_enabled(), made.source()), ("pushes", Some(true), source.clone()));
        assert_eq!(made.events(), ["created", "deleted"]);
        assert_eq!(&made.queue_id().unwrap(), emulator.queue_id());
        assert!(made.created().is_some() && made.modified() == made.created());

        let id = made.id().unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let disabled = subscriptions.update(&id, SubscriptionChange::new().enabled(false)).await.unwrap();
        assert!(disabled.modified() > disabled.created());
        assert_eq!((disabled.is_enabled(), disabled.name(), disabled.source()), (Some(false), "pushes", source));
        let change = SubscriptionChange::new().name("all").events(["created"]).enabled(true);
        let changed = subscriptions.update(&id, change).await.unwrap();
        assert_eq!((changed.name(), changed.events(), changed.is_enabled()), ("all", vec!["created"], Some(true)));
        assert_eq!(subscriptions.get(&id).await.unwrap(), changed);
        let other = emulator.queue().unwrap().queues().create("other").await.unwrap();
        let moved = subscriptions.update(&id, SubscriptionChange::new().queue(other.id())).await.unwrap();
        assert_eq!((moved.queue_id().as_ref(), moved.name()), (Some(other.id()), "all"));
        subscriptions.delete(&id).await.unwrap();
        for error in [subscriptions.get(&id).await.unwrap_err(), subscriptions.delete(&id).await.unwrap_err()] {
            assert_eq!(error.kind(), ErrorKind::NotFound);
            assert!(error.to_string().contains("no such event subscription"), "{error}");
        }
    });
}

#[test]
fn a_list_has_every_subscription_of_every_page() {
    under_every_switch(async |under| {
        let (emulator, subscriptions) = emulated(under);
        for number in 0..101 {
            let source = EventSource::new("workflows.workflow").with("workflow_name", number.to_string());
            subscriptions.create(&new(&emulator, &format!("subscription {number}"), source)).await.unwrap();
        }
        let before = emulator.requests();
        assert_eq!(subscriptions.list().all().await.unwrap().len(), 101);
        assert!(emulator.requests() - before > 1, "one page");
    });
}

#[test]
fn a_duplicate_or_empty_subscription_is_refused() {
    under_every_switch(async |under| {
        let (emulator, subscriptions) = emulated(under);
        let new = new(&emulator, "images", EventSource::new("images"));
        let id = subscriptions.create(&new).await.unwrap().id().unwrap();
        assert_eq!(subscriptions.create(&new).await.unwrap_err().kind(), ErrorKind::AlreadyExists);
        let nothing = NewSubscription::new("none", EventSource::new("kv"), emulator.queue_id());
        assert_eq!(subscriptions.create(&nothing).await.unwrap_err().kind(), ErrorKind::InvalidInput);
        let no_events = SubscriptionChange::new().events([""; 0]);
        assert_eq!(subscriptions.update(&id, no_events).await.unwrap_err().kind(), ErrorKind::InvalidInput);
        emulator.inject(Fault::ResetAfter.on(Operation::DeleteSubscription));
        subscriptions.delete(&id).await.unwrap();
    });
}
