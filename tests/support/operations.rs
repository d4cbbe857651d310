//! The operations, for tests of what holds for each.

use std::{fmt::Debug, time::Duration};

use cloudflare_queues::{
    Error, ErrorKind, Lease, PullOptions, PushMessage, Queue,
    manage::{ConsumerSettings, EventSource, NewSubscription, QueueDescription, QueueSettings, SubscriptionChange},
};
use serde_json::json;

use crate::{acks, leases};

/// The operations that tests call, with their ids.
macro_rules! operations {
    (messages { $($op:ident = $id:literal,)* } others { $($other:ident = $other_id:literal,)* }) => {
        /// An operation that a test calls.
        #[derive(Clone, Copy, Debug, PartialEq)]
        pub enum Op {
            $($op,)* $($other,)*
        }

        impl Op {
            pub const ALL: [Self; [$($id,)* $($other_id),*].len()] = [$(Self::$op,)* $(Self::$other),*];

            /// Those that are about messages.
            pub const MESSAGES: [Self; [$($id),*].len()] = [$(Self::$op),*];

            pub fn id(self) -> &'static str {
                match self { $(Self::$op => $id,)* $(Self::$other => $other_id,)* }
            }
        }
    };
}

operations! {
    messages {
        Ack = "ack_messages",
        Extend = "extend_messages",
        Pull = "pull_messages",
        Push = "push_message",
        PushBatch = "push_messages",
        Peek = "peek_messages",
        Delete = "purge_messages",
    }
    others {
        ListQueues = "list_queues",
        CreateQueue = "create_queue",
        GetQueue = "get_queue",
        UpdateQueue = "update_queue",
        ReplaceQueue = "replace_queue",
        DeleteQueue = "delete_queue",
        GetMetrics = "get_queue_metrics",
        PurgeQueue = "purge_queue",
        GetPurge = "get_purge",
        ListConsumers = "list_consumers",
        CreateConsumer = "create_consumer",
        GetConsumer = "get_consumer",
        UpdateConsumer = "update_consumer",
        DeleteConsumer = "delete_consumer",
        ListSubscriptions = "list_subscriptions",
        CreateSubscription = "create_subscription",
        GetSubscription = "get_subscription",
        UpdateSubscription = "update_subscription",
        DeleteSubscription = "delete_subscription",
    }
}

/// A match without a new operation does not compile, so it is in every table of these tests.
const _: () = assert!(Op::ALL.len() == documented(), "an operation of openapi/queues.json is missing above");

const fn documented() -> usize {
    let (document, id) = (include_bytes!("../../openapi/queues.json"), b"\"operationId\"");
    let (mut at, mut matched, mut found) = (0, 0, 0);
    while at < document.len() {
        matched = match document[at] {
            byte if byte == id[matched] => matched + 1,
            b'"' => 1,
            _ => 0,
        };
        if matched == id.len() {
            (found, matched) = (found + 1, 0);
        }
        at += 1;
    }
    found
}

use Op::*;

impl Op {
    /// Whether carrying it out twice does no harm, so that it is retried even if it may have been carried out.
    pub fn is_idempotent(self) -> bool {
        !matches!(self, Pull | Push | PushBatch | CreateQueue | CreateConsumer | CreateSubscription)
    }

    /// Whether the result is a list.
    pub fn is_list(self) -> bool {
        matches!(self, ListQueues | ListConsumers | ListSubscriptions)
    }

    /// Those whose success needs a result that is an object.
    pub fn with_an_object() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|op| !op.is_list() && !op.is_without_result())
    }

    /// Whether a success may leave the result out, or null: it has only counts and warnings, or nothing.
    pub fn may_lack_a_result(self) -> bool {
        matches!(self, Ack | Extend | Delete | Push | PushBatch) || self.is_without_result()
    }

    /// Whether a success needs no result, and may have any.
    pub fn is_without_result(self) -> bool {
        matches!(self, DeleteQueue | DeleteConsumer | DeleteSubscription)
    }

    /// The kind of a refusal that has this kind for a pull: paused delivery only concerns messages.
    pub fn sees(self, kind: ErrorKind) -> ErrorKind {
        match kind {
            ErrorKind::DeliveryPaused | ErrorKind::NotPullConsumer if !Self::MESSAGES.contains(&self) => match self {
                CreateQueue | CreateConsumer | CreateSubscription => ErrorKind::AlreadyExists,
                _ => ErrorKind::Rejected,
            },
            kind => kind,
        }
    }

    pub async fn call(self, queue: &Queue) -> Result<(), Error> {
        self.result(queue, Given::default()).await.map(drop)
    }

    /// Calls the operation with this lease, or reference, or this text, where it takes one.
    pub async fn call_with(self, queue: &Queue, lease: &str, text: &str) -> Result<(), Error> {
        self.result(queue, Given { lease, text, ..Given::default() }).await.map(drop)
    }

    /// Calls the operation, and returns its result as `Debug` shows it.
    pub async fn result(self, queue: &Queue, given: Given<'_>) -> Result<String, Error> {
        let Given { lease, text, consumer, subscription } = given;
        let description: QueueDescription = serde_json::from_value(json!({ "queue_name": "jobs" })).unwrap();
        let (settings, pull) = (QueueSettings::new().delivery_paused(true), ConsumerSettings::pull());
        let (queues, subscriptions) = (queue.queues(), queue.queues().subscriptions());
        let consumer = consumer.try_into().unwrap();
        let subscription = subscription.try_into().unwrap();
        let new = NewSubscription::new("a name", EventSource::new("r2"), queue.id()).event("created");
        match self {
            Ack => shown(queue.ack(acks([lease])).await.map_err(|failed| {
                assert_eq!(leases(&failed.unconfirmed), [lease], "{failed}");
                failed.error
            })),
            Extend => shown(queue.extend([lease], Duration::from_secs(30)).await.map_err(|failed| {
                assert_eq!(failed.unconfirmed, [Lease::from(lease)], "{failed}");
                failed.error
            })),
            Pull => shown(queue.pull(PullOptions::default()).await),
            Push => shown(queue.push(&PushMessage::text(text)).await),
            PushBatch => shown(queue.push_batch(&[PushMessage::text(text)]).await),
            Peek => shown(queue.peek(5).await),
            Delete => shown(queue.delete_messages([lease]).await),
            ListQueues => shown(queues.list().next().await.transpose()),
            CreateQueue => match queues.create("jobs").await {
                // A minimal success is not enough for a handle.
                Err(error) if error.to_string().contains("the response describes a queue without an id") => {
                    shown(Ok(error))
                }
                made => shown(made),
            },
            GetQueue => shown(queue.describe().await),
            UpdateQueue => shown(queue.update_from(&description, settings).await),
            ReplaceQueue => shown(queue.replace_settings(&description, settings).await),
            DeleteQueue => shown(queue.delete().await),
            GetMetrics => shown(queue.metrics().await),
            PurgeQueue => shown(queue.purge_all().await),
            GetPurge => shown(queue.purge_status().await),
            ListConsumers => shown(queue.consumers().await),
            CreateConsumer => shown(queue.create_consumer(&pull).await),
            GetConsumer => shown(queue.consumer(&consumer).await),
            UpdateConsumer => shown(queue.update_consumer(&consumer, &pull.max_retries(7)).await),
            DeleteConsumer => shown(queue.delete_consumer(&consumer).await),
            ListSubscriptions => shown(subscriptions.list().next().await.transpose()),
            CreateSubscription => shown(subscriptions.create(&new).await),
            GetSubscription => shown(subscriptions.get(&subscription).await),
            UpdateSubscription => {
                shown(subscriptions.update(&subscription, SubscriptionChange::new().enabled(false)).await)
            }
            DeleteSubscription => shown(subscriptions.delete(&subscription).await),
        }
    }
}

/// What a call needs besides a queue.
#[derive(Clone, Copy, Debug)]
pub struct Given<'a> {
    /// A lease, or a reference to a message.
    pub lease: &'a str,
    /// The body of a message.
    pub text: &'a str,
    /// The id of a consumer.
    pub consumer: &'a str,
    /// The id of an event subscription.
    pub subscription: &'a str,
}

impl Default for Given<'_> {
    fn default() -> Self {
        let id = "b01b5594f784d0165c2985833f5660dd";
        Self { lease: "a lease", text: "a body", consumer: id, subscription: id }
    }
}

fn shown<T: Debug>(result: Result<T, Error>) -> Result<String, Error> {
    result.map(|result| format!("{result:?}"))
}
