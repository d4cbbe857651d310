//! The users' handlers, each as a function from messages to one outcome per message.

use std::{future::Future, pin::Pin};

use super::{
    Decoding, IntoVerdict, IntoVerdicts,
    decoding::Decided,
    recorder::Counter,
    spans,
    work::{Outcome, Work},
};
use crate::{error::Error, message::Message};

type Handling = Pin<Box<dyn Future<Output = Vec<Outcome>> + Send>>;

/// A handler of one message.
pub(super) fn one<H, F>(handler: H) -> impl Fn(Work) -> Handling + Send + Sync + 'static
where
    H: Fn(Message) -> F + Send + Sync + 'static,
    F: Future<Output: IntoVerdict> + Send + 'static,
{
    move |mut work| {
        let (handled, span) = (work.next().map(&handler), work.span);
        Box::pin(async move {
            match handled {
                Some(handled) => vec![spans::note(&span, handled.await.into_verdict())],
                None => Vec::new(),
            }
        })
    }
}

/// A handler of batches.
pub(super) fn many<H, F>(handler: H) -> impl Fn(Work) -> Handling + Send + Sync + 'static
where
    H: Fn(Vec<Message>) -> F + Send + Sync + 'static,
    F: Future<Output: IntoVerdicts> + Send + 'static,
{
    move |work| {
        let span = work.span.clone();
        let messages: Vec<_> = work.collect();
        let count = messages.len();
        let handled = handler(messages);
        Box::pin(async move { spans::note_all(&span, handled.await.into_verdicts(count)) })
    }
}

/// A handler of one body and its message.
pub(super) fn one_decoded<D, H, F>(
    decoding: D,
    counter: Counter,
    handler: H,
) -> impl Fn(Work) -> Handling + Send + Sync + 'static
where
    D: Decoding,
    H: Fn(D::Job, Message) -> F + Send + Sync + 'static,
    F: Future<Output: IntoVerdict> + Send + 'static,
{
    move |mut work| {
        let handled = work.next().map(|message| match decoding.decode(&message) {
            Ok(job) => Ok(handler(job, message)),
            Err(error) => Err(undecodable(&decoding, &counter, &message, error)),
        });
        let span = work.span;
        Box::pin(async move {
            let outcome = match handled {
                Some(Ok(handled)) => handled.await.into_verdict(),
                Some(Err(decided)) => decided.await,
                None => return Vec::new(),
            };
            vec![spans::note(&span, outcome)]
        })
    }
}

/// A handler of several bodies and their messages.
pub(super) fn many_decoded<D, H, F>(
    decoding: D,
    counter: Counter,
    handler: H,
) -> impl Fn(Work) -> Handling + Send + Sync + 'static
where
    D: Decoding,
    H: Fn(Vec<(D::Job, Message)>) -> F + Send + Sync + 'static,
    F: Future<Output: IntoVerdicts> + Send + 'static,
{
    move |work| {
        let span = work.span.clone();
        let (mut jobs, mut places) = (Vec::new(), Vec::new());
        for message in work {
            match decoding.decode(&message) {
                Ok(job) => {
                    jobs.push((job, message));
                    places.push(None);
                }
                Err(error) => places.push(Some(undecodable(&decoding, &counter, &message, error))),
            }
        }
        let count = jobs.len();
        let handled = (count > 0).then(|| handler(jobs));
        Box::pin(async move {
            let decoded = match handled {
                Some(handled) => handled.await.into_verdicts(count),
                None => Vec::new(),
            };
            let (mut decoded, mut outcomes) = (decoded.into_iter(), Vec::with_capacity(places.len()));
            for undecodable in places {
                outcomes.push(match undecodable {
                    None => decoded.next().unwrap_or_else(|| Err("the handler gave no verdict".to_owned())),
                    Some(decided) => decided.await,
                });
            }
            spans::note_all(&span, outcomes)
        })
    }
}

fn undecodable<D: Decoding>(decoding: &D, counter: &Counter, message: &Message, error: Error) -> Decided {
    counter.count(|stats| stats.undecodable += 1);
    decoding.undecodable(message, error)
}
