//! Everything but messages: queues by name, consumers, event subscriptions.

mod consumers;
mod queues;
mod request;
mod show;
mod subscriptions;

use hyper::body::Bytes;

use self::request::Request;
use super::{reply::Refusal, service::Service};
use crate::document::operation::Operation;

type Result<T = http::Response<Bytes>> = std::result::Result<T, Refusal>;

/// Carries out an operation whose path has these parameters, the first of which is an account that exists.
pub(super) fn carry_out(
    service: &Service,
    operation: Operation,
    parameters: &[&str],
    query: &str,
    body: &[u8],
) -> Result {
    let mut parameters = parameters.iter().copied();
    let request = &mut Request::new(service, parameters.next().unwrap_or_default(), query, body);
    let mut id = || parameters.next().unwrap_or_default();
    match operation {
        Operation::ListQueues => queues::list(request),
        Operation::CreateQueue => queues::create(request),
        Operation::GetQueue => queues::get(request, id()),
        Operation::UpdateQueue => queues::update(request, id()),
        Operation::ReplaceQueue => queues::replace(request, id()),
        Operation::DeleteQueue => queues::delete(request, id()),
        Operation::GetQueueMetrics => queues::metrics(request, id()),
        Operation::PurgeQueue => queues::purge(request, id()),
        Operation::GetPurge => queues::purge_status(request, id()),
        Operation::ListConsumers => consumers::list(request, id()),
        Operation::CreateConsumer => consumers::create(request, id()),
        Operation::GetConsumer => consumers::get(request, id(), id()),
        Operation::UpdateConsumer => consumers::update(request, id(), id()),
        Operation::DeleteConsumer => consumers::delete(request, id(), id()),
        Operation::ListSubscriptions => subscriptions::list(request),
        Operation::CreateSubscription => subscriptions::create(request),
        Operation::GetSubscription => subscriptions::get(request, id()),
        Operation::UpdateSubscription => subscriptions::update(request, id()),
        Operation::DeleteSubscription => subscriptions::delete(request, id()),
        // Not for this module. All are listed, so that an operation without a route does not compile.
        Operation::AckMessages
        | Operation::ExtendMessages
        | Operation::PeekMessages
        | Operation::PullMessages
        | Operation::PurgeMessages
        | Operation::PushMessage
        | Operation::PushMessages => Err(Refusal::no_route()),
    }
}
