//! The frame of every request: its body, its credentials, and injected faults.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode,
    header::{AUTHORIZATION, RETRY_AFTER},
    request::Parts,
};
use http_body_util::BodyExt;
use hyper::body::{Body, Bytes};
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use tokio::time::{Instant, sleep, timeout};

use super::{
    control,
    fault::Fault,
    random::mix,
    reply::{Refusal, Reply, response},
    routes,
    served::{Known, ServedRequest},
    service::{API_KEY, EMAIL, Service},
};
use crate::{document::operation::Operation, error::codes};

/// A batch of 256 KB with every character escaped takes 1.5 MB.
const MAX_BODY_BYTES: usize = 2 << 20;
const BODY_TIMEOUT: Duration = Duration::from_secs(60);

pub(super) async fn respond<B: Body<Data = Bytes> + Unpin>(service: &Service, request: Request<B>) -> Reply {
    let (time, started) = (SystemTime::now(), Instant::now());
    let (head, body) = request.into_parts();
    let (known, reply) = if service.has_control && control::serves(head.uri.path()) {
        controlled(service, &head, body).await
    } else {
        operate(service, &head, body).await
    };
    if !control::only_looks(&head) {
        let queue = known.queue.map(|queue| service.queue_name(&queue).unwrap_or(queue));
        let known = Known { queue, ..known };
        service.report(ServedRequest::new(time, &head, known, &reply, started.elapsed()));
    }
    reply
}

/// Carries out a request to the control. What a Worker sends has the faults of the operation that does the same.
async fn controlled<B: Body<Data = Bytes> + Unpin>(service: &Service, head: &Parts, body: B) -> (Known, Reply) {
    let operation = control::operation(head.uri.path());
    let fault = operation.and_then(|operation| {
        service.count_request();
        service.faults().next(Some(operation))
    });
    let queue = control::queue(head.uri.path()).map(str::to_owned);
    let known = Known { operation, queue, fault: fault.as_ref().map(Fault::name), ignored: Vec::new() };
    let body = receive(body).await;
    let respond = || control::respond(service, head, body);
    let mut reply = with_fault(fault, || kept(service, head, operation, respond)).await;
    // To wrangler, 503 says that nobody consumes the queue, and it drops the message.
    if let (Some(_), Reply::Respond(response)) = (operation, &mut reply)
        && response.status() == StatusCode::SERVICE_UNAVAILABLE
    {
        *response.status_mut() = StatusCode::BAD_GATEWAY;
    }
    (known, reply)
}

/// Carries out an operation, if it is one.
async fn operate<B: Body<Data = Bytes> + Unpin>(service: &Service, head: &Parts, body: B) -> (Known, Reply) {
    let ray_id = HeaderValue::try_from(format!("{:016x}-EMU", mix(service.count_request())));
    let route = routes::route(&head.method, &head.uri);
    let operation = route.as_ref().ok().map(|route| route.operation);
    let fault = service.faults().next(operation);
    let body = receive(body).await;
    let (account, queue) = match &route {
        Ok(route) => (route.account().map(str::to_owned), route.queue().map(str::to_owned)),
        Err(_) => (None, None),
    };
    let mut ignored = Vec::new();
    if let (Some(operation), Ok(body), true) = (operation, &body, service.is_reported()) {
        ignored = ignored_fields(operation, body);
    }
    let known = Known { operation, queue, fault: fault.as_ref().map(Fault::name), ignored };
    let result = || match routes::verified(service, head) {
        Some(verified) => Ok(verified),
        None => body.and_then(|body| routes::carry_out(service, &route?, &body)),
    };
    let respond = || result().unwrap_or_else(Refusal::into_response);
    let mut reply = match authorize(service, &head.headers, account.as_deref()) {
        Ok(()) => with_fault(fault, || kept(service, head, operation, respond)).await,
        Err(refusal) => Reply::Respond(refusal.into_response()),
    };
    if let (Reply::Respond(response) | Reply::CutOff(response), Ok(ray_id)) = (&mut reply, ray_id) {
        response.headers_mut().insert("cf-ray", ray_id);
    }
    (known, reply)
}

/// The names of the fields that the service ignores in a request about messages, in order, each once, for a log: a
/// misspelled field changes nothing, without a word. Descriptions of queues, consumers and subscriptions keep fields
/// that are not known.
fn ignored_fields(operation: Operation, body: &[u8]) -> Vec<String> {
    if !operation.is_on_messages() {
        return Vec::new();
    }
    let (fields, entry_fields) = operation.fields();
    let Ok(body) = serde_json::from_slice::<BTreeMap<Cow<'_, str>, &RawValue>>(body) else { return Vec::new() };
    let entries = body.iter().filter(|(name, _)| fields.contains(&name.as_ref()) && !entry_fields.is_empty());
    let entries = entries
        .filter_map(|(_, value)| serde_json::from_str::<Vec<BTreeMap<Cow<'_, str>, IgnoredAny>>>(value.get()).ok());
    let of_entries = entries.flatten().flat_map(BTreeMap::into_keys);
    let ignored = of_entries.filter(|name| !entry_fields.contains(&name.as_ref())).map(Cow::into_owned);
    let top = body.keys().filter(|name| !fields.contains(&name.as_ref())).map(|name| name.clone().into_owned());
    let mut ignored: Vec<_> = top.chain(ignored).collect();
    ignored.sort();
    ignored.dedup();
    ignored
}

/// Receives a body, in time.
async fn receive(body: impl Body<Data = Bytes> + Unpin) -> Result<Bytes, Refusal> {
    let late = |_| {
        Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, codes::REQUEST_BODY, "the request's body did not come in time"))
    };
    timeout(BODY_TIMEOUT, read(body)).await.unwrap_or_else(late)
}

/// Reads a body to its end even if it is too long, since a client that is still sending may not see the response.
async fn read(mut body: impl Body<Data = Bytes> + Unpin) -> Result<Bytes, Refusal> {
    let (mut bytes, mut fits) = (Vec::new(), true);
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return Err(Refusal::malformed("the request's body is incomplete")) };
        let Ok(data) = frame.into_data() else { continue };
        fits = fits && bytes.len().saturating_add(data.len()) <= MAX_BODY_BYTES;
        if fits {
            bytes.extend_from_slice(&data);
        }
    }
    if fits {
        Ok(bytes.into())
    } else {
        Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, codes::REQUEST_BODY, "the request's body is larger than 2 MiB"))
    }
}

/// Keeps what a request changes. Nothing waits in between, since the client may give up then.
fn kept(
    service: &Service,
    head: &Parts,
    operation: Option<Operation>,
    carry_out: impl FnOnce() -> Response<Bytes>,
) -> Response<Bytes> {
    let response = carry_out();
    service.persist(operation, matches!(head.method, Method::GET | Method::HEAD));
    response
}

async fn with_fault(fault: Option<Fault>, carry_out: impl FnOnce() -> Response<Bytes>) -> Reply {
    let html = |status, body: &str| response(status, "text/html", format!("<html><body>{body}</body></html>").into());
    Reply::Respond(match fault {
        None => carry_out(),
        Some(Fault::RateLimited { code, retry_after }) => {
            let mut response = Refusal::new(StatusCode::TOO_MANY_REQUESTS, code, "too many requests").into_response();
            if let Some(wait) = retry_after {
                response.headers_mut().insert(RETRY_AFTER, wait.as_secs().into());
            }
            response
        }
        Some(Fault::Forbidden) => {
            Refusal::new(StatusCode::FORBIDDEN, codes::REFUSED_TOKEN, "unauthorized to access the requested resource")
                .into_response()
        }
        Some(Fault::Challenged) => {
            let mut response = html(StatusCode::FORBIDDEN, "just a moment");
            response.headers_mut().insert("cf-mitigated", HeaderValue::from_static("challenge"));
            response
        }
        Some(Fault::ServerError(status)) => {
            html(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), "the origin is not well")
        }
        Some(Fault::NotSuccess) => {
            Refusal::new(StatusCode::OK, codes::INTERNAL, "an internal error occurred").into_response()
        }
        Some(Fault::Delay(delay)) => {
            let response = carry_out();
            sleep(delay).await;
            response
        }
        Some(Fault::Slow { before, after, fault }) => {
            sleep(before).await;
            let reply = Box::pin(with_fault(fault.map(|fault| *fault), carry_out)).await;
            sleep(after).await;
            return reply;
        }
        Some(Fault::CutOff) => return Reply::CutOff(carry_out()),
        Some(Fault::ResetBefore) => return Reply::Reset,
        Some(Fault::ResetAfter) => {
            carry_out();
            return Reply::Reset;
        }
    })
}

/// Every given scheme must be valid. Half of the pair does not count.
fn authorize(service: &Service, headers: &HeaderMap, account: Option<&str>) -> Result<(), Refusal> {
    let value = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let token = match value(AUTHORIZATION.as_str()).map(|authorization| authorization.strip_prefix("Bearer ")) {
        Some(None) => {
            return Err(Refusal::new(StatusCode::BAD_REQUEST, codes::MALFORMED_HEADERS, "invalid request headers"));
        }
        Some(Some(token)) => match service.accepts(token, account) {
            (true, false) => {
                return Err(Refusal::new(StatusCode::FORBIDDEN, codes::NOT_AUTHENTICATED, "authentication error"));
            }
            (is_valid, _) => Some(is_valid),
        },
        None => None,
    };
    let pair = value("x-auth-email").zip(value("x-auth-key")).map(|pair| pair == (EMAIL, API_KEY));
    if token.or(pair).is_some() && token != Some(false) && pair != Some(false) {
        Ok(())
    } else {
        Err(Refusal::new(StatusCode::UNAUTHORIZED, codes::NOT_AUTHENTICATED, "authentication error"))
    }
}
