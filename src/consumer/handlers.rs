//! Handlers of users, erased: each becomes a function from messages to one outcome per message, and runs in a task.

use std::{
    future::{Future, poll_fn},
    iter::repeat_with,
    pin::Pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use tokio::time::Instant;
use tracing::Span;

use super::{
    decoding::{Decided, Decoded},
    delivery::{Delivery, Held},
    recorder::Counter,
    spans,
    verdict::{IntoVerdict, IntoVerdicts, Verdict},
};
use crate::{
    error::Error,
    flow::contained::{caught, contained},
    message::Message,
};

/// What was decided on a message.
pub(super) struct Handled {
    /// The verdict, or the text of the error.
    pub(super) returned: Result<Verdict, String>,
    /// Why the body could not be decoded.
    pub(super) undecodable: Option<Error>,
}

impl From<Result<Verdict, String>> for Handled {
    fn from(returned: Result<Verdict, String>) -> Self {
        Self { returned, undecodable: None }
    }
}

/// A handler of any kind.
pub(super) type Handler = dyn Fn(Vec<Message>, &Counter) -> Begun + Send + Sync;
type Handling = Pin<Box<dyn Future<Output = Vec<Handled>> + Send>>;
/// A message that a handler has, with the message itself if its outcome may need it.
type Kept = (Held, Option<Message>);

/// A handler at work.
pub(super) struct Begun {
    /// `None` if it panicked, or if no message could be decoded.
    handling: Option<Handling>,
    /// In the order of the messages: decisions on those that could not be decoded, which the handler does not have.
    undecodable: Vec<Option<Decided>>,
}

/// Lets a handler work on messages, and settles them as it says. Returns how long it took, if it could start in time.
pub(super) async fn handle(
    handler: Arc<Handler>,
    work: Vec<Delivery>,
    timeout: Duration,
    keeps_messages: bool,
    span: Span,
) -> Option<Duration> {
    let (mut messages, mut held): (Vec<_>, Vec<Kept>) = (Vec::new(), Vec::new());
    for delivery in work {
        // Handlers that block their threads may have delayed the start for long.
        if delivery.is_lost() {
            delivery.expire();
            continue;
        }
        let (message, of_message) = delivery.handle();
        held.push((of_message, keeps_messages.then(|| message.clone())));
        messages.push(message);
    }
    let counter = held.first()?.0.counter().clone();
    let started = Instant::now();
    let Begun { handling, undecodable } = handler(messages, &counter);
    let mut handled = Vec::new();
    let mut parts: Vec<Pin<Box<dyn Future<Output = ()> + Send>>> = Vec::new();
    for (held, decided) in held.into_iter().zip(undecodable) {
        match decided {
            None => handled.push(held),
            Some(decided) => {
                let decided = Box::pin(async { vec![decided.await] });
                parts.push(Box::pin(finish(Some(decided), vec![held], started, timeout, span.clone())));
            }
        }
    }
    if !handled.is_empty() {
        parts.push(Box::pin(finish(handling, handled, started, timeout, span)));
    }
    // Each part is settled when it ends, whatever the others do.
    poll_fn(|context| {
        parts.retain_mut(|part| part.as_mut().poll(context).is_pending());
        if parts.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    Some(started.elapsed())
}

/// Settles messages as a handler says, which has panicked if it is `None`, or a message as the decision on it says.
async fn finish(handling: Option<Handling>, held: Vec<Kept>, started: Instant, timeout: Duration, span: Span) {
    let Some(counter) = held.first().map(|(held, _)| held.counter().clone()) else { return };
    let handled = match handling {
        Some(handling) => contained(|| within(timeout, handling, held.len())).await,
        None => None,
    };
    counter.handled(started.elapsed(), if handled.is_none() { held.len() as u64 } else { 0 });
    match &handled {
        Some(handled) => spans::note(&span, handled),
        None => {
            spans::failed(&span, "panic");
            tracing::warn!(messages = held.len(), "a handler panicked");
        }
    }
    let mut outcomes = handled.into_iter().flatten();
    for (held, message) in held {
        held.conclude(outcomes.next(), message).in_background();
    }
}

/// Drops what a handler does after the timeout.
fn within(timeout: Duration, mut handling: Handling, messages: usize) -> Handling {
    if timeout == Duration::MAX {
        return handling;
    }
    Box::pin(async move {
        match tokio::time::timeout(timeout, handling.as_mut()).await {
            Ok(handled) => handled,
            Err(_) => {
                let text = format!("the handler took longer than {timeout:?}");
                vec![Err(text); messages].into_iter().map(Handled::from).collect()
            }
        }
    })
}

/// A handler of one message, with its decoded body.
pub(super) fn one<T, H, F>(decoding: Decoded<T>, handler: H) -> Arc<Handler>
where
    T: 'static,
    H: Fn(T, Message) -> F + Send + Sync + 'static,
    F: Future<Output: IntoVerdict> + Send + 'static,
{
    Arc::new(move |messages, counter| {
        begin(&decoding, messages, counter, |jobs| {
            let handled: Vec<_> = jobs.into_iter().map(|(job, message)| handler(job, message)).collect();
            Box::pin(async move {
                let mut outcomes = Vec::with_capacity(handled.len());
                for handled in handled {
                    outcomes.push(handled.await.into_verdict().into());
                }
                outcomes
            })
        })
    })
}

/// A handler of batches, with decoded bodies.
pub(super) fn many<T, H, F>(decoding: Decoded<T>, handler: H) -> Arc<Handler>
where
    T: 'static,
    H: Fn(Vec<(T, Message)>) -> F + Send + Sync + 'static,
    F: Future<Output: IntoVerdicts> + Send + 'static,
{
    Arc::new(move |messages, counter| {
        begin(&decoding, messages, counter, |jobs| {
            let (count, handled) = (jobs.len(), handler(jobs));
            Box::pin(async move {
                let mut verdicts = handled.await.into_verdicts(count).into_iter();
                let next = || verdicts.next().unwrap_or_else(|| Err("the handler gave no verdict".to_owned())).into();
                repeat_with(next).take(count).collect()
            })
        })
    })
}

/// Decodes messages, and calls the handler with those that can be decoded.
fn begin<T>(
    decoding: &Decoded<T>,
    messages: Vec<Message>,
    counter: &Counter,
    handler: impl FnOnce(Vec<(T, Message)>) -> Handling,
) -> Begun {
    let (mut jobs, mut undecodable) = (Vec::with_capacity(messages.len()), Vec::with_capacity(messages.len()));
    for message in messages {
        undecodable.push(match decoding.decode(&message) {
            Ok(job) => {
                jobs.push((job, message));
                None
            }
            Err(error) => {
                counter.count(|stats| stats.undecodable += 1);
                Some(decoding.undecodable(&message, error))
            }
        });
    }
    let handling = if jobs.is_empty() { None } else { caught(|| handler(jobs)) };
    Begun { handling, undecodable }
}
