//! A guide in chapters, for what does not fit on a single type.
//!
//! - [`leases`]: what a lease is, how long it lasts, and what the client knows about it
//! - [`retries`]: what is retried, for how long, and what is left to you
//! - [`consumers`]: handlers, failures, health and metrics
//! - [`shutdown`]: how a run ends, and what is left then
//! - [`blocking`]: handlers that block or compute, and what outlives a shutdown
//! - [`testing`]: your own code against the emulator
//! - [`tracing`]: spans and events
//! - [`dead_letters`]: where messages go that cannot be handled, and how they get back
//! - [`network`]: settings for throughput and memory
//! - [`workers`]: queues between Workers under `wrangler dev` and programs outside

#[doc = include_str!("../guide/blocking.md")]
pub mod blocking {}
#[doc = include_str!("../guide/consumers.md")]
pub mod consumers {}
#[doc = include_str!("../guide/dead_letters.md")]
pub mod dead_letters {}
#[doc = include_str!("../guide/leases.md")]
pub mod leases {}
#[doc = include_str!("../guide/network.md")]
pub mod network {}
#[doc = include_str!("../guide/retries.md")]
pub mod retries {}
#[doc = include_str!("../guide/shutdown.md")]
pub mod shutdown {}
#[doc = include_str!("../guide/testing.md")]
pub mod testing {}
#[doc = include_str!("../guide/tracing.md")]
pub mod tracing {}
#[doc = include_str!("../guide/workers.md")]
pub mod workers {}
