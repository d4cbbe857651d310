//! Typed [`httpmock`] matchers and responses for every operation, for tests of code that uses this crate. They follow
//! Cloudflare's document, so they may change in any version.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! use cloudflare_queues::{AckRequest, Client, Credentials, mock::MockServerExt, types::{AckResult, Envelope}};
//!
//! let server = httpmock::MockServer::start_async().await;
//! let mock = server.ack_messages(|when, then| {
//!     when.queue_id(&"my-queue".parse().unwrap());
//!     then.ok(&Envelope::success(AckResult { ack_count: Some(1.into()), ..AckResult::default() }));
//! });
//!
//! let client = Client::builder(Credentials::api_token("token")?).base_url(server.base_url()).build()?;
//! let outcome = client.queues("my-account")?.queue("my-queue")?.ack(AckRequest::ack_all(["lease"])).await?;
//! assert!(outcome.is_complete());
//! mock.assert();
//! # Ok::<(), Box<dyn std::error::Error>>(()) })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Paths begin at `/accounts`: the server's URL is the client's base URL. A typed list is the only page. For anything
//! without a typed method, such as a failure or several pages, `into_inner()` returns httpmock's own `When` and `Then`.

#![allow(
    clippy::all,
    clippy::missing_panics_doc,
    clippy::unwrap_used,
    reason = "it is generated, and panics in tests as httpmock itself does"
)]

include!(concat!(env!("OUT_DIR"), "/mock.rs"));
