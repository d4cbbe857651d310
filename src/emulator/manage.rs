//! What there is beside messages: accounts, queues by name, consumers, event subscriptions.

mod consumers;
mod queues;
mod registry;
mod request;
mod subscriptions;

use hyper::body::Bytes;

pub(super) use self::registry::Registry;

use self::request::Request;
use super::{Emulator, reply::Refusal, service::Service};
use crate::{error::Error, ids::AccountId, operation::Operation};

type Result<T = http::Response<Bytes>> = std::result::Result<T, Refusal>;

/// Whether an operation is about the messages of a queue, which is not for this module.
pub(super) fn is_about_messages(operation: Operation) -> bool {
    use Operation::{
        AckMessages, ExtendMessages, PeekMessages, PullMessages, PurgeMessages, PushMessage, PushMessages,
    };
    match operation {
        AckMessages | ExtendMessages | PeekMessages | PullMessages | PurgeMessages | PushMessage | PushMessages => true,
        _ => false,
    }
}

/// Carries out an operation whose path has these parameters, the first of which is an account that exists.
pub(super) fn carry_out(
    service: &Service,
    operation: Operation,
    parameters: &[&str],
    query: &str,
    body: &[u8],
) -> Result {
    let request = &mut Request::new(service, parameters.first().copied().unwrap_or_default(), query, body);
    match (operation, parameters.get(1..).unwrap_or_default()) {
        (Operation::ListQueues, []) => queues::list(request),
        (Operation::CreateQueue, []) => queues::create(request),
        (Operation::GetQueue, [id]) => queues::get(request, id),
        (Operation::UpdateQueue, [id]) => queues::update(request, id),
        (Operation::ReplaceQueue, [id]) => queues::replace(request, id),
        (Operation::DeleteQueue, [id]) => queues::delete(request, id),
        (Operation::GetQueueMetrics, [id]) => queues::metrics(request, id),
        (Operation::PurgeQueue, [id]) => queues::purge(request, id),
        (Operation::GetPurge, [id]) => queues::purge_status(request, id),
        (Operation::ListConsumers, [id]) => consumers::list(request, id),
        (Operation::CreateConsumer, [id]) => consumers::create(request, id),
        (Operation::GetConsumer, [id, consumer]) => consumers::get(request, id, consumer),
        (Operation::UpdateConsumer, [id, consumer]) => consumers::update(request, id, consumer),
        (Operation::DeleteConsumer, [id, consumer]) => consumers::delete(request, id, consumer),
        (Operation::ListSubscriptions, []) => subscriptions::list(request),
        (Operation::CreateSubscription, []) => subscriptions::create(request),
        (Operation::GetSubscription, [id]) => subscriptions::get(request, id),
        (Operation::UpdateSubscription, [id]) => subscriptions::update(request, id),
        (Operation::DeleteSubscription, [id]) => subscriptions::delete(request, id),
        _ => Err(Refusal::no_route()),
    }
}

impl Emulator {
    /// Adds an account, beside the one that every emulator has: its queues are not seen from others.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if the id is none.
    pub fn add_account<A>(&self, account_id: A) -> std::result::Result<(), Error>
    where
        A: TryInto<AccountId>,
        Error: From<A::Error>,
    {
        let account_id = account_id.try_into()?;
        self.running.service.registry().add_account(account_id.as_str());
        Ok(())
    }
}
