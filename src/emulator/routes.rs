//! The HTTP interface of the queues: paths, and results of operations.

use std::borrow::Cow;

use http::{Method, Response, StatusCode, Uri, request::Parts};
use hyper::body::Bytes;
use serde::Serialize;
use serde_json::{Map, json};

use super::{
    behavior::{Behavior, ResultForm},
    manage::{Request, consumers, queues, subscriptions},
    outcome::Unknown,
    queue::NewMessage,
    reply::{Refusal, success, success_without_result},
    request::{self, Ack, Extend, Pull},
    result::{Acked, Extended, Message, Metadata, Peeked, Pulled, Purged, Pushed},
    service::Service,
    uri::decode,
};
use crate::{document::operation::Operation, error::codes};

type Result<T = Response<Bytes>> = std::result::Result<T, Refusal>;

/// An operation, and the parameters in its path.
pub(super) struct Route {
    pub(super) operation: Operation,
    parameters: Vec<String>,
    query: String,
    /// A deprecated form of the operation, which calls references lease ids.
    is_preview: bool,
}

impl Route {
    /// Every operation begins with an account.
    pub(super) fn account(&self) -> Option<&str> {
        self.parameters.first().map(String::as_str)
    }

    pub(super) fn queue(&self) -> Option<&str> {
        let is_of_queue = self.operation.path().contains("/queues/");
        self.parameters.get(1).filter(|_| is_of_queue).map(String::as_str)
    }
}

/// The response to a tool that asks whether its token, which was accepted, is valid.
pub(super) fn verified(service: &Service, head: &Parts) -> Option<Response<Bytes>> {
    let path = head.uri.path().strip_prefix("/client/v4")?.strip_suffix("/tokens/verify")?;
    let account = path.strip_prefix("/accounts/");
    let is_known = path == "/user" || account.is_some_and(|account| service.has_account(account));
    let is_asked = is_known && head.method == Method::GET;
    is_asked.then(|| success(json!({ "id": "e0000000000000000000000000000001", "status": "active" })))
}

pub(super) fn route(method: &Method, uri: &Uri) -> Result<Route> {
    let path = uri.path().strip_prefix("/client/v4").ok_or_else(Refusal::no_route)?;
    let query = uri.query().unwrap_or_default();
    let deprecated = [("/messages/preview", "/messages/peek"), ("/messages/preview/ack", "/messages/purge")];
    let preview = deprecated.iter().find_map(|(old, new)| Some(format!("{}{new}", path.strip_suffix(old)?)));
    let (is_preview, path) = (preview.is_some(), preview.as_deref().unwrap_or(path));
    let segments: Vec<_> = path.split('/').map(decode).collect::<Result<_>>()?;
    let mut operations = Operation::ALL.iter().filter(|operation| operation.method() == method.as_str());
    let route = operations.find_map(|operation| {
        let parameters = parameters(operation.path(), &segments)?;
        Some(Route { operation: *operation, parameters, query: query.to_owned(), is_preview })
    });
    route.ok_or_else(Refusal::no_route)
}

/// The values of the names in braces, if the rest matches.
fn parameters(template: &str, segments: &[Cow<'_, str>]) -> Option<Vec<String>> {
    let parts = template.split('/');
    if parts.clone().count() != segments.len() {
        return None;
    }
    let (names, fixed): (Vec<_>, Vec<_>) = parts.zip(segments).partition(|(part, _)| part.starts_with('{'));
    let is_match = fixed.into_iter().all(|(part, segment)| part == segment);
    is_match.then(|| names.into_iter().map(|(_, segment)| segment.to_string()).collect())
}

pub(super) fn carry_out(service: &Service, route: &Route, body: &[u8]) -> Result {
    let mut parameters = route.parameters.iter().map(String::as_str);
    let account = parameters.next().filter(|account| service.has_account(account)).ok_or_else(Refusal::no_route)?;
    let mut id = || parameters.next().unwrap_or_default();
    // A queue that does not exist is reported before any problem with the body.
    let on_messages = |carry_out: fn(&Service, &str, &[u8]) -> Result, queue_id: &str| {
        if service.queues.exists(account, queue_id) {
            carry_out(service, queue_id, body)
        } else {
            Err(Refusal::no_queue())
        }
    };
    let request = || Request::new(service, account, &route.query, body);
    // An operation without a route does not compile.
    match route.operation {
        Operation::PushMessage => on_messages(push, id()),
        Operation::PushMessages => on_messages(push_batch, id()),
        Operation::PullMessages => on_messages(pull, id()),
        Operation::AckMessages => on_messages(ack, id()),
        Operation::ExtendMessages => on_messages(extend, id()),
        Operation::PeekMessages if route.is_preview => on_messages(preview, id()),
        Operation::PeekMessages => on_messages(peek, id()),
        Operation::PurgeMessages if route.is_preview => on_messages(purge_preview, id()),
        Operation::PurgeMessages => on_messages(purge, id()),
        Operation::ListQueues => queues::list(&mut request()),
        Operation::CreateQueue => queues::create(&mut request()),
        Operation::GetQueue => queues::get(&mut request(), id()),
        Operation::UpdateQueue => queues::update(&mut request(), id()),
        Operation::ReplaceQueue => queues::replace(&mut request(), id()),
        Operation::DeleteQueue => queues::delete(&mut request(), id()),
        Operation::GetQueueMetrics => queues::metrics(&mut request(), id()),
        Operation::PurgeQueue => queues::purge(&mut request(), id()),
        Operation::GetPurge => queues::purge_status(&mut request(), id()),
        Operation::ListConsumers => consumers::list(&mut request(), id()),
        Operation::CreateConsumer => consumers::create(&mut request(), id()),
        Operation::GetConsumer => consumers::get(&mut request(), id(), id()),
        Operation::UpdateConsumer => consumers::update(&mut request(), id(), id()),
        Operation::DeleteConsumer => consumers::delete(&mut request(), id(), id()),
        Operation::ListSubscriptions => subscriptions::list(&mut request()),
        Operation::CreateSubscription => subscriptions::create(&mut request()),
        Operation::GetSubscription => subscriptions::get(&mut request(), id()),
        Operation::UpdateSubscription => subscriptions::update(&mut request(), id()),
        Operation::DeleteSubscription => subscriptions::delete(&mut request(), id()),
    }
}

fn push(service: &Service, queue_id: &str, body: &[u8]) -> Result {
    let message = request::push(&service.behavior(), body)?;
    store(service, queue_id, vec![message])
}

fn push_batch(service: &Service, queue_id: &str, body: &[u8]) -> Result {
    let messages = request::push_batch(&service.behavior(), body)?;
    store(service, queue_id, messages)
}

fn store(service: &Service, queue_id: &str, messages: Vec<NewMessage>) -> Result {
    let per_second = service.behavior().pushes_per_second.unwrap_or(u32::MAX);
    let metrics = service.with_queue(queue_id, |queue, now| {
        if !queue.may_push(now, messages.len(), per_second) {
            return Err(Refusal::new(StatusCode::TOO_MANY_REQUESTS, codes::OVERLOADED, "the queue is overloaded"));
        }
        messages.into_iter().for_each(|message| queue.push(now, service.queues.next_sequence(), message));
        Ok(queue.metrics())
    })??;
    Ok(success(Pushed { metadata: Metadata::new(&metrics) }))
}

fn pull(service: &Service, queue_id: &str, body: &[u8]) -> Result {
    let behavior = service.behavior();
    let Pull { batch_size, timeout } = request::pull(&behavior, body)?;
    let per_second = behavior.messages_per_second.unwrap_or(u32::MAX);
    let (pulled, metrics) = service.with_queue(queue_id, |queue, now| {
        if !queue.settings().http_pull || queue.settings().pulls_from > now {
            let message = "messages cannot be pulled unless http_pull mode is enabled";
            return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, codes::NONE, message));
        }
        if queue.settings().delivery_paused {
            return Err(Refusal::new(StatusCode::CONFLICT, codes::NONE, "queue_delivery_paused"));
        }
        let allowed = queue.may_pull(now, batch_size.min(behavior.largest_pull.unwrap_or(usize::MAX)), per_second);
        if allowed == 0 {
            return Err(Refusal::new(StatusCode::TOO_MANY_REQUESTS, codes::OVERLOADED, "the queue is overloaded"));
        }
        Ok((queue.pull(now, allowed, timeout), queue.metrics()))
    })??;
    let messages = pulled.iter().map(|(lease, message)| Message::pulled(&behavior, *lease, message));
    Ok(success(Pulled {
        message_backlog_count: metrics.backlog_count,
        messages: messages.collect(),
        metadata: Metadata::new(&metrics),
    }))
}

fn ack(service: &Service, queue_id: &str, body: &[u8]) -> Result {
    let behavior = service.behavior();
    let Ack { acks, retries } = request::ack(&behavior, body)?;
    let outcome = service.with_queue(queue_id, |queue, now| queue.ack(now, &behavior, &acks, &retries))?;
    Ok(settled(&behavior, Acked::new(&behavior, outcome.map_err(unknown_lease)?)))
}

fn extend(service: &Service, queue_id: &str, body: &[u8]) -> Result {
    let behavior = service.behavior();
    let Extend { leases, timeout } = request::extend(&behavior, body)?;
    let outcome = service.with_queue(queue_id, |queue, now| queue.extend(now, &behavior, &leases, timeout))?;
    Ok(settled(&behavior, Extended::new(&behavior, outcome.map_err(unknown_lease)?)))
}

fn settled(behavior: &Behavior, result: impl Serialize) -> Response<Bytes> {
    match behavior.results {
        ResultForm::Full => success(result),
        ResultForm::Empty => success(Map::new()),
        ResultForm::Null => success(()),
        ResultForm::Absent => success_without_result(),
    }
}

fn unknown_lease(Unknown: Unknown) -> Refusal {
    Refusal::malformed("the request holds a lease that is not known")
}

fn peek(service: &Service, queue_id: &str, body: &[u8]) -> Result {
    look(service, queue_id, body, false)
}

fn preview(service: &Service, queue_id: &str, body: &[u8]) -> Result {
    look(service, queue_id, body, true)
}

fn look(service: &Service, queue_id: &str, body: &[u8], is_preview: bool) -> Result {
    let behavior = service.behavior();
    let batch_size = request::peek(&behavior, body)?;
    let peeked = service.with_queue(queue_id, |queue, _| queue.peek(batch_size))?;
    let messages = peeked.iter().map(|(sequence, message)| match is_preview {
        true => Message::previewed(&behavior, *sequence, message),
        false => Message::peeked(&behavior, *sequence, message),
    });
    Ok(success(Peeked { messages: messages.collect() }))
}

fn purge(service: &Service, queue_id: &str, body: &[u8]) -> Result {
    let behavior = service.behavior();
    delete(service, queue_id, &request::purge(&behavior, body)?)
}

fn purge_preview(service: &Service, queue_id: &str, body: &[u8]) -> Result {
    delete(service, queue_id, &request::ack(&service.behavior(), body)?.acks)
}

fn delete(service: &Service, queue_id: &str, refs: &[String]) -> Result {
    let behavior = service.behavior();
    let outcome = service.with_queue(queue_id, |queue, now| queue.purge(now, &behavior, refs))?;
    let outcome = outcome.map_err(|Unknown| Refusal::malformed("the request holds a reference that is not known"))?;
    Ok(settled(&behavior, Purged::new(&behavior, outcome)))
}
