#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(
    not(any(feature = "mock", feature = "schemars")),
    allow(dead_code, unreachable_pub, reason = "the types on the wire are public with these features alone")
)]

/// Locks and atomics under which every order of events can be tried: see `proof`.
#[cfg(stand_in)]
extern crate stand_in as std;

mod ack;
mod acker;
mod adaptive;
mod api_error;
mod body;
mod budget;
mod call;
mod client;
mod consumer;
mod consumers;
mod credentials;
mod delete;
mod document;
#[cfg(feature = "emulator")]
pub mod emulator;
mod envelope;
mod error;
mod error_kind;
mod extend;
mod fields;
#[cfg(fuzzing)]
pub mod fuzzing;
mod generated;
#[cfg(any(doc, doctest))]
pub mod guide;
mod held;
mod ids;
mod lease;
mod limits;
mod listing;
mod manage;
mod message;
#[cfg(feature = "mock")]
pub mod mock;
mod operation;
mod outage;
mod peek;
mod pull;
mod purge;
mod push;
mod queue;
mod queues;
mod redact;
mod response;
mod retry;
mod scanner;
mod settings;
mod settle;
mod settlement;
mod splitting;
mod subscriptions;
#[cfg(test)]
mod test_log;
#[cfg(any(feature = "emulator", feature = "mock"))]
pub mod testing;
mod transport;
#[cfg(any(feature = "mock", feature = "schemars"))]
pub mod types;
mod warning;
mod wire;

pub use ack::{AckError, AckOutcome, AckRequest};
pub use acker::{Acker, AckerOptions, Confirmation, Receipt};
pub use api_error::ApiError;
pub use body::{Body, ContentType};
pub use client::{Client, ClientBuilder};
pub use consumer::{
    Consumer, Decoding, Deliveries, Delivery, Failed, HandlerTimes, Health, IntoVerdict, IntoVerdicts, Json, Raw,
    Report, RetryDelay, Stats, Status, Undecided, Verdict,
};
pub use consumers::{ConsumerDescription, ConsumerKind, ConsumerSettings};
pub use credentials::Credentials;
pub use delete::DeleteOutcome;
pub use error::Error;
pub use error_kind::ErrorKind;
pub use extend::{ExtendError, ExtendOutcome};
pub use held::HeldLease;
pub use ids::{AccountId, ConsumerId, QueueId, SubscriptionId};
pub use lease::{LeaseId, MessageRef};
pub use listing::Listing;
pub use message::{Message, Metadata};
pub use peek::PeekedMessage;
pub use pull::{Batch, Metrics, PullOptions};
pub use purge::PurgeStatus;
pub use push::{PushAllError, PushMessage, PushOutcome};
pub use queue::Queue;
pub use queues::Queues;
/// The HTTP client whose types are in this crate's interface, such as [`reqwest::Proxy`].
pub use reqwest;
pub use retry::RetryPolicy;
pub use settings::{Jurisdiction, NewQueue, Producer, ProducerKind, QueueDescription, QueueSettings};
pub use settlement::{Decision, Lease, Settlement};
pub use subscriptions::{EventSource, NewSubscription, SubscriptionChange, SubscriptionDescription, Subscriptions};
pub use warning::Warning;
