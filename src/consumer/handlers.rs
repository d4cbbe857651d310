//! Handlers of users, erased: each becomes a function from messages to one outcome per message, and runs in a task.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use tokio::time::Instant;
use tracing::Span;

use super::{
    decoding::{Decided, Decoded},
    delivery::{Delivery, Held},
    recorder::Counter,
    spans,
    verdict::{IntoVerdict, IntoVerdicts, Verdict},
};
use crate::{error::Error, flow::contained::contained, message::Message};

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
pub(super) type Handler = dyn Fn(Vec<Message>, &Counter) -> Handling + Send + Sync;
pub(super) type Handling = Pin<Box<dyn Future<Output = Vec<Handled>> + Send>>;

/// Lets a handler work on messages, and settles them as it says. Returns how long it took, if it could start in time.
pub(super) async fn handle(
    handler: Arc<Handler>,
    work: Vec<Delivery>,
    timeout: Duration,
    keeps_messages: bool,
    span: Span,
) -> Option<Duration> {
    let (mut messages, mut held): (Vec<_>, Vec<(Held, Option<Message>)>) = (Vec::new(), Vec::new());
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
    let handled = contained(|| within(timeout, handler(messages, &counter), held.len())).await;
    let took = started.elapsed();
    counter.handled(took, if handled.is_none() { held.len() as u64 } else { 0 });
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
    Some(took)
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
        let handled = messages.into_iter().next().map(|message| match decoding.decode(&message) {
            Ok(job) => Ok(handler(job, message)),
            Err(error) => Err(undecodable(&decoding, counter, &message, error)),
        });
        Box::pin(async move {
            match handled {
                Some(Ok(handled)) => vec![handled.await.into_verdict().into()],
                Some(Err(decided)) => vec![decided.await],
                None => Vec::new(),
            }
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
        let mut jobs = Vec::new();
        // In the order of the messages: decisions on those that could not be decoded.
        let mut decided = Vec::new();
        for message in messages {
            match decoding.decode(&message) {
                Ok(job) => {
                    jobs.push((job, message));
                    decided.push(None);
                }
                Err(error) => decided.push(Some(undecodable(&decoding, counter, &message, error))),
            }
        }
        let count = jobs.len();
        let handled = (count > 0).then(|| handler(jobs));
        Box::pin(async move {
            let decoded = match handled {
                Some(handled) => handled.await.into_verdicts(count),
                None => Vec::new(),
            };
            let (mut decoded, mut outcomes) = (decoded.into_iter(), Vec::with_capacity(decided.len()));
            for undecodable in decided {
                outcomes.push(match undecodable {
                    None => decoded.next().unwrap_or_else(|| Err("the handler gave no verdict".to_owned())).into(),
                    Some(decided) => decided.await,
                });
            }
            outcomes
        })
    })
}

fn undecodable<T>(decoding: &Decoded<T>, counter: &Counter, message: &Message, error: Error) -> Decided {
    counter.count(|stats| stats.undecodable += 1);
    decoding.undecodable(message, error)
}
