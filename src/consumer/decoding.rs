//! What a handler is given: the message alone, or its body decoded, too.

use std::{fmt, future::Future, marker::PhantomData, pin::Pin, sync::Arc};

use super::{IntoVerdict, Verdict};
use crate::{error::Error, message::Message};

/// The decoding of a [`Consumer`](super::Consumer) whose handler is given messages as they came.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Raw;

/// The decoding of a [`Consumer`](super::Consumer) whose handler is given bodies of JSON beside messages.
pub struct Json<T> {
    pub(super) undecodable: Arc<OnUndecodable>,
    body: PhantomData<fn() -> T>,
}

pub(super) type Decided = Pin<Box<dyn Future<Output = Result<Verdict, String>> + Send>>;
type OnUndecodable = dyn Fn(Message, Error) -> Decided + Send + Sync;

impl<T> Json<T> {
    pub(super) fn new() -> Self {
        Self::deciding(|_, _| async { Verdict::Leave })
    }

    pub(super) fn deciding<F>(decide: impl Fn(Message, Error) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output: IntoVerdict> + Send + 'static,
    {
        let undecodable = move |message, error| -> Decided {
            let decided = decide(message, error);
            Box::pin(async { decided.await.into_verdict() })
        };
        Self { undecodable: Arc::new(undecodable), body: PhantomData }
    }
}

impl<T> Clone for Json<T> {
    fn clone(&self) -> Self {
        Self { undecodable: Arc::clone(&self.undecodable), body: PhantomData }
    }
}

impl<T> fmt::Debug for Json<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Json")
    }
}
