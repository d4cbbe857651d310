//! Access to private functions for `fuzz/` and `proof/`, which build with `--cfg fuzzing`.

use std::{future::Future, pin::Pin, sync::Arc};

use reqwest::{Request, Response, ResponseBuilderExt};
use serde_json::Value;
use tokio::time::Instant;

use crate::{
    body::Body,
    client::Client,
    credentials::Credentials,
    envelope::Envelope,
    error::Error,
    generated::types::{AckResult, PullResult},
    pull::Batch,
    redact::Redactor,
    response,
    transport::{Executed, Http},
    wire,
};

/// A status and a JSON body. `None` if the connection breaks instead.
pub type Answer = Pin<Box<dyn Future<Output = Option<(u16, String)>> + Send>>;

/// A client whose requests are passed to a function of the path and the body. Waits are drawn from `random`.
pub fn client(
    http: reqwest::Client,
    answer: impl Fn(&str, &[u8]) -> Answer + Send + Sync + 'static,
    random: impl Fn() -> u64 + Send + Sync + 'static,
) -> Result<Client, Error> {
    let builder = Client::builder(Credentials::api_token("token")?).http_client(http);
    builder.seam(Arc::new(Service(answer)), Arc::new(random)).build()
}

struct Service<F>(F);

impl<F: Fn(&str, &[u8]) -> Answer + Send + Sync + 'static> Http for Service<F> {
    fn execute(&self, request: Request) -> Executed<'_> {
        let body = request.body().and_then(reqwest::Body::as_bytes).unwrap_or_default();
        let answer = (self.0)(request.url().path(), body);
        Box::pin(async move {
            let url = request.url().clone();
            let respond = |status, body| http::Response::builder().status(status).url(url).body(body);
            match answer.await {
                Some((status, body)) => Ok(respond(status, body).unwrap_or_default().into()),
                // An error that only `reqwest` can create.
                None => Response::from(respond(500, String::new()).unwrap_or_default()).error_for_status(),
            }
        })
    }
}

/// Whether an acknowledgement's response is a success. `None` if it is not an envelope.
pub fn ack(response: &[u8]) -> Option<Result<(), Error>> {
    let envelope = serde_json::from_slice::<Envelope<AckResult>>(response).ok()?;
    Some(response::open(envelope).map(drop))
}

/// The batch of a pull's response and how many entries it had, as the document's type reads it and as it is read.
pub fn pull(response: &[u8]) -> [Option<(Batch, usize)>; 2] {
    let now = Instant::now();
    let by_document = serde_json::from_slice::<Envelope<PullResult>>(response).ok();
    [by_document, wire::read_pull(response.to_vec()).ok()].map(|envelope| {
        let result = response::open(envelope?).ok()?.result;
        let entries = result.messages.as_ref().map_or(0, Vec::len);
        Some((wire::batch(result, now, 1), entries))
    })
}

/// A body of this content type, as on the wire.
pub fn body(content_type: &str, raw: Value) -> Body {
    Body::new(raw.into(), content_type.to_owned().into())
}

/// Redacts a text of the service after a request.
pub fn redact(request: &[u8], text: &str) -> String {
    let mut redactor = Redactor::new(None);
    redactor.add_request(request);
    let mut text = text.to_owned();
    redactor.redact(&mut text);
    text
}
