//! A guide in chapters, for what does not fit on a single type.
//!
//! Read [`consumers`], [`leases`] and [`retries`] first, [`testing`] with them, and [`idempotency`] and [`production`]
//! before you deploy.

/// Handlers that block or compute, and what outlives a shutdown.
#[doc = include_str!("../guide/blocking.md")]
pub mod blocking {}
/// Handlers, failures, health and metrics: start here.
#[doc = include_str!("../guide/consumers.md")]
pub mod consumers {}
/// Where messages go that cannot be handled, and how they get back.
#[doc = include_str!("../guide/dead_letters.md")]
pub mod dead_letters {}
/// Why a message comes twice, and how to do its work once.
#[doc = include_str!("../guide/idempotency.md")]
pub mod idempotency {}
/// The emulator in tests in other languages.
#[doc = include_str!("../guide/languages.md")]
pub mod languages {}
/// What a lease is, how long it lasts, and what the client knows about it.
#[doc = include_str!("../guide/leases.md")]
pub mod leases {}
/// Settings for throughput and memory.
#[doc = include_str!("../guide/network.md")]
pub mod network {}
/// A checklist: probes, shutdown, metrics, alerts.
#[doc = include_str!("../guide/production.md")]
pub mod production {}
/// What is retried, for how long, and what is left to you.
#[doc = include_str!("../guide/retries.md")]
pub mod retries {}
/// What Cloudflare documents, what others have seen, and what nobody knows.
#[doc = include_str!("../guide/service.md")]
pub mod service {}
/// How a run ends, and what is left then.
#[doc = include_str!("../guide/shutdown.md")]
pub mod shutdown {}
/// Your own code against the emulator.
#[doc = include_str!("../guide/testing.md")]
pub mod testing {}
/// Spans and events.
#[doc = include_str!("../guide/tracing.md")]
pub mod tracing {}
/// Queues between Workers under `wrangler dev` and programs outside.
#[doc = include_str!("../guide/workers.md")]
pub mod workers {}
