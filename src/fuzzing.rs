//! Access to private functions for `fuzz/` and `proof/`, which build with `--cfg fuzzing`.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant as StdInstant},
};

use reqwest::{Request, Response, ResponseBuilderExt, header::HeaderMap};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::Instant;

use crate::{
    acker::Confirmation,
    client::Client,
    consumer,
    document::{
        self,
        generated::types::{AckResult, ExtendResult, PullResult},
    },
    error::{Error, kind::ErrorKind},
    flow::clock::Clock,
    http::{
        credentials::Credentials,
        envelope::List,
        redact::Redactor,
        response::{self, Read},
        retry::{Next, RetryPolicy},
        scanner::Scanner,
        transport::{Executed, Http, Received},
    },
    manage::QueueDescription,
    message::{
        ack::AckOutcome,
        body::Body,
        extend::ExtendOutcome,
        held::Extended,
        lease::LeaseId,
        pull::Batch,
        settlement::{self, Lease, Settlement},
        warning::Warning,
    },
    queue::wire,
};

pub use crate::document::operation::Operation;

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

/// The result of a response with status 200.
fn opened<T>(response: &[u8], read: Read<T>) -> Result<T, Error> {
    let (headers, body) = (HeaderMap::new(), Ok(response.to_vec()));
    let received = Received { status: 200, headers, body, is_delimited: true };
    response::open(Operation::AckMessages, received, read).map(|success| success.result)
}

/// Whether an acknowledgement's response is a success.
pub fn ack(response: &[u8]) -> Result<(), Error> {
    opened::<AckResult>(response, response::read_counts).map(drop)
}

/// The batch of a pull's response and how many entries it had: as the document's type reads it, as it is read, and as
/// it is read if its memory is freed along the way.
pub fn pull(response: &[u8]) -> [Option<(Batch, usize)>; 3] {
    let now = Instant::now();
    // The document's type also accepts a list of a message's fields.
    let json: Value = serde_json::from_slice(response).unwrap_or_default();
    let has_lists = json["result"]["messages"].as_array().is_some_and(|entries| entries.iter().any(Value::is_array));
    let by_document = response::read::<PullResult>(response.to_vec()).ok().filter(|_| !has_lists);
    let [whole, freed] = [usize::MAX, response.len() / 8]
        .map(|step| wire::scan(Scanner::in_steps(response.to_vec(), step), "lease_id").ok());
    [by_document, whole, freed].map(|envelope| {
        let result = envelope.filter(|envelope| envelope.success == Some(true))?.result?;
        let entries = result.messages.as_ref().map_or(0, Vec::len);
        Some((wire::batch(result, now), entries))
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

/// Whether a text is one of the document's own words, which are not redacted.
pub fn is_word(text: &str) -> bool {
    document::WORDS.contains(&text)
}

/// How an attempt fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// No connection was made.
    NotSent,
    /// The connection broke.
    Broken,
    /// The response did not come in time.
    Late,
    /// Status 500.
    Failed,
    /// Status 429.
    RateLimited,
    /// Status 400.
    Refused,
}

/// Whether a request is sent again after its attempt number `attempt` failed with so much time left.
pub fn is_sent_again(operation: Operation, failure: Failure, attempt: u32, most: u32, left: Duration) -> bool {
    let error = match failure {
        Failure::NotSent => Error::new(ErrorKind::Transport, "").with_source(std::fmt::Error, false),
        Failure::Broken => Error::new(ErrorKind::Transport, "").with_source(std::fmt::Error, true),
        Failure::Late => Error::new(ErrorKind::Timeout, "").with_source(std::fmt::Error, true),
        Failure::Failed => Error::new(ErrorKind::ServiceFailure, "").with_response(500, None, None),
        Failure::RateLimited => Error::new(ErrorKind::RateLimited, "").with_response(429, None, None),
        Failure::Refused => Error::new(ErrorKind::Rejected, "").with_response(400, None, None),
    };
    let policy = RetryPolicy::new().max_attempts(most);
    matches!(policy.after(operation, &error, attempt, left, 0), Next::Wait(_))
}

/// By when a request for these leases is to be done.
pub fn deadline(leases: &[Lease], now: StdInstant) -> Option<StdInstant> {
    settlement::deadline(leases.iter(), now)
}

/// What the acker makes of the response to a request for these leases. `None` instead of a lease is a warning that
/// names none.
pub fn confirmations(
    settlements: &[Settlement],
    acks: Option<u64>,
    retries: Option<u64>,
    warned: Vec<Option<LeaseId>>,
) -> Vec<Confirmation> {
    let counts = [acks, retries].map(|count| count.map(|count| count as f64));
    AckOutcome::new(settlements.iter(), counts, warnings(warned)).confirmations(settlements.iter()).collect()
}

/// Until when each of these leases lasts for certain after the response to an extension that was sent at `sent_at`.
pub fn extended(
    leases: Vec<Lease>,
    count: Option<f64>,
    warned: Vec<Option<LeaseId>>,
    sent_at: StdInstant,
    timeout: Duration,
) -> Vec<StdInstant> {
    let until = sent_at + timeout;
    let outcome = ExtendOutcome::new(&leases, count, warnings(warned), until);
    let extended = consumer::extended(leases.clone(), &outcome, outcome.deadline().unwrap_or(until));
    let (clock, now) = (Clock::default(), Clock::default().now());
    let held = leases.iter().zip(extended).map(|(lease, extended)| {
        let held = Extended::from(now.at(lease.deadline().unwrap_or(sent_at)), &clock);
        extended.into_iter().for_each(|until| held.extend(now.at(until)));
        held.deadline().unwrap_or(sent_at)
    });
    held.collect()
}

/// When a lease that was pulled to end at `deadline` has lasted for `most`, and is not extended any more.
pub fn is_extended_until(deadline: StdInstant, timeout: Duration, most: Duration) -> StdInstant {
    consumer::until(deadline.into(), timeout, most).into_std()
}

/// The leases in the two lists of a request: those that it acknowledges, and those that it hands back.
pub fn acks_and_retries(settlements: &[Settlement]) -> [Vec<LeaseId>; 2] {
    let payload = wire::ack_payload(settlements.iter());
    let acks = payload.acks.into_iter().map(|entry| entry.lease_id);
    [acks.collect(), payload.retries.into_iter().map(|entry| entry.lease_id).collect()]
}

fn warnings(warned: Vec<Option<LeaseId>>) -> Vec<Warning<LeaseId>> {
    warned.into_iter().map(|subject| Warning { subject, message: "no".to_owned() }).collect()
}

/// Which of two leases, `a` and `b`, are extended by a response; `None` if it is no envelope of a success.
pub fn extend(response: &[u8]) -> Option<[bool; 2]> {
    let result = opened::<ExtendResult>(response, response::read_counts).ok()?;
    let (now, minute) = (Instant::now().into_std(), Duration::from_secs(60));
    let leases = ["a", "b"].map(|id| Lease::new(id, now));
    let warnings = result.warnings.unwrap_or_default().read(&[], leases.iter().map(Lease::id), |id| id, |_| None);
    let warned = warnings.into_iter().map(|warning| warning.subject).collect();
    let extended = extended(leases.to_vec(), wire::number(result.extend_count), warned, now, minute);
    extended.iter().map(|until| *until > now).collect::<Vec<_>>().try_into().ok()
}

/// The result of a response to a management call.
pub fn result<T: DeserializeOwned>(response: &[u8]) -> Option<T> {
    opened(response, response::read).ok()
}

/// The entries of a response to a call that lists something.
pub fn list<T: DeserializeOwned>(response: &[u8]) -> Option<Vec<T>> {
    opened::<List<T>>(response, response::read_list).ok().map(|List(entries)| entries)
}

/// A queue's description as it is written again after it was read, once and twice.
pub fn description(json: &[u8]) -> Option<[Value; 2]> {
    let once = serde_json::to_value(serde_json::from_slice::<QueueDescription>(json).ok()?).ok()?;
    let twice = serde_json::to_value(serde_json::from_value::<QueueDescription>(once.clone()).ok()?).ok()?;
    Some([once, twice])
}
