//! Control over HTTP: the emulator's methods, for programs in other languages.

mod broker;
mod fault;
mod fields;
mod show;

use std::net::IpAddr;

use http::{
    HeaderMap, HeaderValue, Method, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, ORIGIN},
    request::Parts,
    uri::Authority,
};
use hyper::body::Bytes;
use serde::Deserialize;
use serde_json::json;

use self::fields::Fields;
use super::{
    behavior::Behavior,
    clock::{nanos, unix_millis},
    reply::{Refusal, response, success},
    seed::Seed,
    service::Service,
    settings::EmulatedQueue,
    uri::decode,
};
use crate::{document::operation::Operation, error::codes};

type Result<T = Response<Bytes>> = std::result::Result<T, Refusal>;

/// A page that shows the emulator, using the requests below.
const PAGE: &str = include_str!("control/page.html");
const PAGE_POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
                           connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; \
                           frame-ancestors 'none'";

/// Whether a path belongs to the control.
pub(super) fn serves(path: &str) -> bool {
    matches!(path, "/" | "/health") || below(path).is_some()
}

/// The operation of the service that a request stands for.
pub(super) fn operation(path: &str) -> Option<Operation> {
    broker::operation(below(path)?)
}

/// The queue that a request is about, by its id or its name.
pub(super) fn queue(path: &str) -> Option<&str> {
    below(path)?.strip_prefix("/queues/")?.split('/').next()
}

/// Whether a request only polls the state.
pub(super) fn only_looks(head: &Parts) -> bool {
    serves(head.uri.path()) && matches!(head.method, Method::GET | Method::HEAD)
}

/// The path after the control's prefix.
fn below(path: &str) -> Option<&str> {
    path.strip_prefix("/_emulator").filter(|rest| rest.is_empty() || rest.starts_with('/'))
}

pub(super) fn respond(service: &Service, head: &Parts, body: Result<Bytes>) -> Response<Bytes> {
    let responded = check_origin(&head.headers).and(body).and_then(|body| carry_out(service, head, &body));
    let mut response = responded.unwrap_or_else(Refusal::into_response);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Since no credentials are needed, any open web page could control an emulator on the same machine.
fn check_origin(headers: &HeaderMap) -> Result<()> {
    let refused = |why| Err(Refusal::new(StatusCode::FORBIDDEN, codes::NONE, why));
    let host = headers.get(HOST).map(HeaderValue::as_bytes);
    let is_own = |origin: &HeaderValue| host.is_some() && origin.as_bytes().strip_prefix(b"http://") == host;
    // The owner of a public name can point it to this machine, and then their page is of the same origin. Such a page
    // reads without an Origin header.
    if !host.is_none_or(is_local) {
        return refused("the host's name is a public one: use localhost or an IP address");
    }
    match headers.get(ORIGIN) {
        Some(origin) if !is_own(origin) => refused("the request is of another origin"),
        _ => Ok(()),
    }
}

/// Whether the public DNS cannot have such a host: an IP address, `localhost`, or the name of a container.
fn is_local(host: &[u8]) -> bool {
    let Ok(authority) = Authority::try_from(host) else { return false };
    let name = authority.host().trim_matches(['[', ']']);
    let is_reserved = || [".localhost", ".local", ".internal", ".test"].iter().any(|end| name.ends_with(end));
    !name.contains('.') || name.parse::<IpAddr>().is_ok() || is_reserved()
}

fn carry_out(service: &Service, head: &Parts, bytes: &[u8]) -> Result {
    let path = head.uri.path();
    let method = if head.method == Method::HEAD { &Method::GET } else { &head.method };
    let Some(path) = below(path) else {
        return match (method, path) {
            (&Method::GET, "/") => Ok(page()),
            (&Method::GET, _) => Ok(success(json!({ "status": "ok" }))),
            _ => Err(Refusal::no_route()),
        };
    };
    let segments = path.split('/').skip(1).map(decode).collect::<Result<Vec<_>>>()?;
    let segments: Vec<_> = segments.iter().map(AsRef::as_ref).collect();
    let (query, body) = (|| Fields::of_query(head.uri.query().unwrap_or_default()), || Fields::of_body(bytes));
    match (method, &segments[..]) {
        (&Method::GET, []) => show::all(service, query()),
        (&Method::POST, ["queues", queue, "messages"]) => seed(service, queue, bytes),
        (&Method::GET, ["queues", queue, "messages"]) => show::messages(service, queue, query()),
        (&Method::GET, ["queues", queue, "leases"]) => show::leases(service, queue, query()),
        (&Method::POST, ["advance"]) => advance(service, body()?),
        (&Method::GET, ["requests"]) => show::requests(service, query()),
        (&Method::GET, ["faults"]) => faults(service, query()),
        (&Method::POST, ["faults"]) => inject(service, body()?),
        (&Method::DELETE, ["faults"]) => remove_faults(service, body()?),
        (&Method::DELETE, ["faults", id]) => remove_fault(service, id, body()?),
        (&Method::GET, ["behavior"]) => behavior(service, query()),
        (&Method::POST, ["behavior"]) => behave(service, body()?),
        (&Method::DELETE, ["behavior", name]) => behave_by_default(service, name, body()?),
        (&Method::POST, ["queues", queue, "pause"]) => pause(service, queue, body()?, true),
        (&Method::POST, ["queues", queue, "resume"]) => pause(service, queue, body()?, false),
        (&Method::POST, ["queues", queue, "purge"]) => purge(service, queue, body()?),
        (&Method::POST, ["queues", queue, "refuse-pulls"]) => refuse_pulls(service, queue, body()?),
        (_, ["queues", queue, "broker", what]) => Ok(broker::respond(service, queue, what, head, bytes)),
        (&Method::POST, ["reset"]) => reset(service, body()?),
        _ => Err(Refusal::no_route()),
    }
}

fn page() -> Response<Bytes> {
    let mut page = response(StatusCode::OK, "text/html; charset=utf-8", PAGE.into());
    page.headers_mut().insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(PAGE_POLICY));
    page
}

fn advance(service: &Service, mut fields: Fields) -> Result {
    let duration = fields.required("seconds", Fields::duration)?;
    fields.end()?;
    service.clock.advance(duration);
    Ok(success(json!({ "now_ms": unix_millis(service.clock.now()) })))
}

fn faults(service: &Service, fields: Fields) -> Result {
    fields.end()?;
    Ok(success(service.faults().pending().map(|(id, injection)| fault::show(id, injection)).collect::<Vec<_>>()))
}

fn inject(service: &Service, fields: Fields) -> Result {
    let injection = fault::read(fields)?;
    let mut faults = service.faults();
    let id = faults.add(injection);
    Ok(success(json!({ "id": id, "faults": faults.len() })))
}

fn remove_faults(service: &Service, fields: Fields) -> Result {
    fields.end()?;
    service.faults().remove_all();
    Ok(success(json!({ "faults": 0 })))
}

fn remove_fault(service: &Service, id: &str, fields: Fields) -> Result {
    fields.end()?;
    let mut faults = service.faults();
    let removed = id.parse().ok().and_then(|id| faults.remove(id));
    let _ = removed.ok_or_else(|| Refusal::new(StatusCode::NOT_FOUND, codes::NONE, "no such fault is pending"))?;
    Ok(success(json!({ "faults": faults.len() })))
}

fn behavior(service: &Service, fields: Fields) -> Result {
    fields.end()?;
    Ok(success(service.behavior()))
}

/// Changes all the given switches, or none.
fn behave(service: &Service, fields: Fields) -> Result {
    let mut switches = fields.rest().into_iter();
    let changed = switches.try_fold(service.behavior(), |behavior, (name, value)| behavior.set(&name, value));
    let changed = changed
        .map_err(|error| Refusal::malformed("there is no such switch, or no such value of it").with_detail(error))?;
    service.configure(|_| changed.clone());
    Ok(success(changed))
}

fn behave_by_default(service: &Service, name: &str, fields: Fields) -> Result {
    fields.end()?;
    let default = Behavior::new().switches().remove(name);
    let default = default.ok_or_else(|| Refusal::new(StatusCode::NOT_FOUND, codes::NONE, "there is no such switch"))?;
    let changed = service.behavior().set(name, default).map_err(|error| Refusal::malformed(error.to_string()))?;
    service.configure(|_| changed.clone());
    Ok(success(changed))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Seeds {
    messages: Vec<Seed>,
}

fn seed(service: &Service, queue: &str, body: &[u8]) -> Result {
    let malformed = |error| Refusal::malformed("the messages are not of the documented form").with_detail(error);
    let Seeds { messages } = serde_json::from_slice::<Seeds>(body).map_err(malformed)?;
    let id = show::find(&service.registry(), queue)?;
    service.seed(&id, &messages)?;
    show::one(service, &id)
}

fn pause(service: &Service, queue: &str, fields: Fields, paused: bool) -> Result {
    fields.end()?;
    configure(service, queue, |settings| settings.delivery_paused(paused))
}

fn purge(service: &Service, queue: &str, fields: Fields) -> Result {
    fields.end()?;
    let id = show::find(&service.registry(), queue)?;
    let _deleted = service.with_queue(&id, |queue, _| queue.clear())?;
    show::one(service, &id)
}

fn refuse_pulls(service: &Service, queue: &str, mut fields: Fields) -> Result {
    let duration = fields.required("seconds", Fields::duration)?;
    fields.end()?;
    let pulls_from = service.clock.now().saturating_add(nanos(duration));
    configure(service, queue, |settings| EmulatedQueue { pulls_from, ..settings })
}

fn configure(service: &Service, queue: &str, change: impl FnOnce(EmulatedQueue) -> EmulatedQueue) -> Result {
    let id = show::find(&service.registry(), queue)?;
    service.queues.configure(&service.clock, &id, change);
    show::one(service, &id)
}

fn reset(service: &Service, fields: Fields) -> Result {
    fields.end()?;
    service.reset();
    show::all(service, Fields::default())
}
