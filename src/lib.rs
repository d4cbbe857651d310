#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(
    not(any(feature = "mock", feature = "schemars")),
    allow(dead_code, unreachable_pub, reason = "the types on the wire are public with these features alone")
)]
#![cfg_attr(not(test), warn(clippy::dbg_macro, clippy::print_stderr, clippy::print_stdout))]

/// Locks and atomics under which every order of events can be tried: see `proof`.
#[cfg(stand_in)]
extern crate stand_in as std;

pub mod acker;
mod client;
pub mod consumer;
mod document;
#[cfg(feature = "emulator")]
pub mod emulator;
mod error;
mod flow;
#[cfg(fuzzing)]
pub mod fuzzing;
#[cfg(any(doc, doctest))]
pub mod guide;
mod http;
pub mod manage;
mod message;
#[cfg(feature = "mock")]
pub mod mock;
pub mod pusher;
mod queue;
#[cfg(test)]
mod test_log;
#[cfg(test)]
mod test_world;
#[cfg(any(feature = "emulator", feature = "mock"))]
pub mod testing;
#[cfg(any(feature = "mock", feature = "schemars"))]
pub mod types;

pub use acker::handle::Acker;
pub use client::{Client, ClientBuilder};
pub use consumer::{handle::Consumer, verdict::Verdict};
pub use error::{Error, api::ApiError, kind::ErrorKind};
pub use http::{credentials::Credentials, retry::RetryPolicy};
pub use message::{
    Message, Metadata,
    ack::{AckError, AckOutcome, AckRequest},
    body::{Body, ContentType},
    confirmation::Counts,
    delete::DeleteOutcome,
    extend::{ExtendError, ExtendOutcome},
    held::HeldLease,
    lease::{LeaseId, MessageRef},
    peek::PeekedMessage,
    pull::{Batch, Metrics, PullOptions},
    push::{PushAllError, PushMessage, PushOutcome},
    settlement::{Decision, Lease, Settlement},
    warning::Warning,
};
pub use pusher::handle::Pusher;
pub use queue::{
    Queue,
    ids::{AccountId, QueueId},
};
/// The HTTP client whose types are in this crate's interface, such as [`reqwest::Proxy`].
pub use reqwest;
