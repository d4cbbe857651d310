#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod ack;
mod acker;
mod auth;
mod check;
mod client;
mod consumer;
#[cfg(feature = "emulator")]
pub mod emulator;
mod envelope;
mod error;
#[cfg(fuzzing)]
pub mod fuzzing;
mod generated;
mod lease;
mod message;
#[cfg(feature = "mock")]
pub mod mock;
mod peek;
mod pull;
mod push;
mod queue;
mod redact;
mod retry;
mod transport;
pub mod types;

pub use ack::{AckOutcome, AckRequest, Decision, Warning};
pub use acker::{Acker, AckerOptions, Confirmation, Lease, Receipt};
pub use auth::Credentials;
pub use client::{Client, ClientBuilder};
pub use consumer::{
    Consumer, ConsumerOptions, Deliveries, Delivery, HandlerTimes, IntoVerdict, JsonConsumer, Report, RetryDelay,
    Stats, Undecided, Verdict,
};
pub use error::{ApiError, Error, ErrorKind};
pub use lease::{LeaseId, MessageRef};
pub use message::{ContentType, Message};
pub use peek::{PeekedMessage, PurgeOutcome, PurgeRemark};
pub use pull::{Batch, Metrics, PullOptions};
pub use push::{PushMessage, PushOutcome};
pub use queue::Queue;
pub use retry::RetryPolicy;
