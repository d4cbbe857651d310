//! The operations, for tests of what holds for each.

use std::time::Duration;

use cloudflare_queues::{
    Error, ErrorKind, Lease, PullOptions, PushMessage, Queue,
    manage::{ConsumerSettings, EventSource, NewSubscription, QueueDescription, QueueSettings},
};
use serde_json::json;

use crate::{QUEUE, acks, leases};

/// The operations that tests call, with their ids.
macro_rules! operations {
    ($($op:ident = $id:literal,)*) => {
        /// An operation that a test calls.
        #[derive(Clone, Copy, Debug, PartialEq)]
        pub enum Op {
            $($op,)*
        }

        impl Op {
            pub const ALL: [Self; [$($id),*].len()] = [$(Self::$op),*];

            pub fn id(self) -> &'static str {
                match self { $(Self::$op => $id,)* }
            }
        }
    };
}

operations! {
    Ack = "ack_messages",
    Extend = "extend_messages",
    Pull = "pull_messages",
    Push = "push_message",
    PushBatch = "push_messages",
    Peek = "peek_messages",
    Delete = "purge_messages",
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
    /// Those that are about messages.
    pub const MESSAGES: [Self; 7] = [Ack, Extend, Pull, Push, PushBatch, Peek, Delete];

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
        matches!(self, Ack | Extend | Delete) || self.is_without_result()
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
        self.call_with(queue, "a lease", "a body").await
    }

    /// Calls the operation with this lease, or reference, or this text, where it takes one.
    pub async fn call_with(self, queue: &Queue, lease: &str, text: &str) -> Result<(), Error> {
        match self {
            Ack => queue.ack(acks([lease])).await.map(drop).map_err(|failed| {
                assert_eq!(leases(&failed.unconfirmed), [lease], "{failed}");
                failed.error
            }),
            Extend => queue.extend([lease], Duration::from_secs(30)).await.map(drop).map_err(|failed| {
                assert_eq!(failed.unconfirmed, [Lease::from(lease)], "{failed}");
                failed.error
            }),
            Pull => queue.pull(PullOptions::default()).await.map(drop),
            Push => queue.push(&PushMessage::text(text)).await.map(drop),
            PushBatch => queue.push_batch(&[PushMessage::text(text)]).await.map(drop),
            Peek => queue.peek(5).await.map(drop),
            Delete => queue.delete_messages([lease]).await.map(drop),
            _ => self.manage(queue).await,
        }
    }

    async fn manage(self, queue: &Queue) -> Result<(), Error> {
        let description: QueueDescription = serde_json::from_value(json!({ "queue_name": "jobs" })).unwrap();
        let (settings, pull) = (QueueSettings::new().delivery_paused(true), ConsumerSettings::pull());
        let (queues, subscriptions) = (queue.queues(), queue.queues().subscriptions());
        let consumer = "b01b5594f784d0165c2985833f5660dd".try_into().unwrap();
        let subscription = "b01b5594f784d0165c2985833f5660dd".try_into().unwrap();
        let new = NewSubscription::new("a name", EventSource::new("r2"), &QUEUE.try_into().unwrap()).event("created");
        match self {
            ListQueues => queues.list().next().await.transpose().map(drop),
            CreateQueue => match queues.create("jobs").await {
                // A minimal success is not enough for a handle.
                Err(error) if error.to_string().starts_with("the response describes a queue without an id") => Ok(()),
                made => made.map(drop),
            },
            GetQueue => queue.describe().await.map(drop),
            UpdateQueue => queue.update_from(&description, settings).await.map(drop),
            ReplaceQueue => queue.replace_settings(&description, settings).await.map(drop),
            DeleteQueue => queue.delete().await,
            GetMetrics => queue.metrics().await.map(drop),
            PurgeQueue => queue.purge_all().await.map(drop),
            GetPurge => queue.purge_status().await.map(drop),
            ListConsumers => queue.consumers().await.map(drop),
            CreateConsumer => queue.create_consumer(&pull).await.map(drop),
            GetConsumer => queue.consumer(&consumer).await.map(drop),
            UpdateConsumer => queue.update_consumer(&consumer, &pull).await.map(drop),
            DeleteConsumer => queue.delete_consumer(&consumer).await,
            ListSubscriptions => subscriptions.list().next().await.transpose().map(drop),
            CreateSubscription => subscriptions.create(&new).await.map(drop),
            GetSubscription => subscriptions.get(&subscription).await.map(drop),
            UpdateSubscription => subscriptions.enable(&subscription, true).await.map(drop),
            DeleteSubscription => subscriptions.delete(&subscription).await,
            Ack | Extend | Pull | Push | PushBatch | Peek | Delete => panic!("{self:?} is about messages"),
        }
    }
}
