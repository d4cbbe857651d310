//! A guide in chapters, for what does not fit on a single type.
//!
//! To begin with:
//!
//! - [`consumers`]: handlers, failures, health and metrics
//! - [`leases`]: what a lease is, how long it lasts, and what the client knows about it
//! - [`retries`]: what is retried, for how long, and what is left to you
//! - [`idempotency`]: why a message comes twice, and how to do its work once
//! - [`dead_letters`]: where messages go that cannot be handled, and how they get back
//! - [`testing`]: your own code against the emulator
//!
//! In production:
//!
//! - [`production`]: a checklist
//! - [`shutdown`]: how a run ends, and what is left then
//! - [`blocking`]: handlers that block or compute, and what outlives a shutdown
//! - [`network`]: settings for throughput and memory
//! - [`tracing`]: spans and events
//!
//! With other programs:
//!
//! - [`languages`]: the emulator in tests in other languages
//! - [`workers`]: queues between Workers under `wrangler dev` and programs outside

#[doc = include_str!("../guide/blocking.md")]
pub mod blocking {}
#[doc = include_str!("../guide/consumers.md")]
pub mod consumers {}
#[doc = include_str!("../guide/dead_letters.md")]
pub mod dead_letters {}
#[doc = include_str!("../guide/idempotency.md")]
pub mod idempotency {}
#[doc = include_str!("../guide/languages.md")]
pub mod languages {}
#[doc = include_str!("../guide/leases.md")]
pub mod leases {}
#[doc = include_str!("../guide/network.md")]
pub mod network {}
#[doc = include_str!("../guide/production.md")]
pub mod production {}
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
