//! A loop around pulls: bounded concurrency, background acknowledgements, and graceful shutdown. Start from
//! [`Consumer`](crate::Consumer).

mod acks;
mod brake;
mod control;
mod dead_letter;
mod decoding;
mod delivery;
mod extension;
pub(crate) mod handle;
mod handlers;
mod health;
mod heartbeat;
#[cfg(feature = "metrics")]
mod metrics;
mod outcomes;
mod pulls;
mod recorder;
mod run;
mod settings;
mod source;
mod spans;
mod stats;
mod stream;
#[cfg(test)]
mod tests;
mod unseen;
pub(crate) mod verdict;

pub use self::{
    dead_letter::{DeadLetter, Reason},
    decoding::{Decoded, Raw},
    delivery::Delivery,
    health::{Health, Status},
    stats::{HandlerTimes, Report, Stats},
    stream::Deliveries,
    verdict::{Failed, IntoVerdict, IntoVerdicts, RetryDelay, Unsettled},
};
#[cfg(fuzzing)]
pub(crate) use self::{extension::extended, heartbeat::until};
