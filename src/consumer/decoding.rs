//! What a handler receives: only the message, or also its decoded body.

use std::{fmt, future::Future, pin::Pin, sync::Arc};

use super::{
    handlers::Handled,
    verdict::{IntoVerdict, Verdict},
};
use crate::{
    error::{Error, kind::ErrorKind},
    flow::contained::{caught, contained},
    message::{Message, body::Body},
};

/// The decoding of a [`Consumer`](crate::Consumer) whose handler receives messages without decoding.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Raw;

/// The decoding of a [`Consumer`](crate::Consumer) whose handler receives decoded bodies with their messages.
pub struct Decoded<T> {
    read: Arc<ReadBody<T>>,
    decide: Option<Arc<Decide>>,
    default: Verdict,
}

type ReadBody<T> = dyn Fn(&Body) -> Result<T, Error> + Send + Sync;
/// What to do with a message that could not be decoded.
pub(super) type Decided = Pin<Box<dyn Future<Output = Handled> + Send>>;
type Decide = dyn Fn(Message, Error) -> Deciding + Send + Sync;
type Deciding = Pin<Box<dyn Future<Output = Result<Verdict, String>> + Send>>;

impl Decoded<()> {
    /// Decodes nothing.
    pub(super) fn nothing() -> Self {
        Self::by(|_| Ok(()))
    }
}

impl<T> Decoded<T> {
    pub(super) fn by(read: impl Fn(&Body) -> Result<T, Error> + Send + Sync + 'static) -> Self {
        Self { read: Arc::new(read), decide: None, default: Verdict::Leave }
    }

    pub(super) fn deciding<F>(mut self, decide: impl Fn(Message, Error) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output: IntoVerdict> + Send + 'static,
    {
        let decide = move |message, error| -> Deciding {
            let decided = decide(message, error);
            Box::pin(async { decided.await.into_verdict() })
        };
        self.decide = Some(Arc::new(decide));
        self
    }

    /// What to do with undecodable messages if no function decides.
    pub(super) fn defaulting(mut self, default: Verdict) -> Self {
        self.default = default;
        self
    }

    pub(super) fn decode(&self, message: &Message) -> Result<T, Error> {
        let panicked = || Err(Error::new(ErrorKind::UndecodableBody, "the type panics when it reads the body"));
        caught(|| (self.read)(&message.body)).unwrap_or_else(panicked)
    }

    pub(super) fn undecodable(&self, message: &Message, error: Error) -> Decided {
        match &self.decide {
            Some(decide) => {
                let (decide, message, undecodable) = (Arc::clone(decide), message.clone(), Some(error.clone()));
                // A panic is a failure of this message alone.
                let panicked = || Err("the function for undecodable messages panicked".to_owned());
                Box::pin(async move {
                    let returned = contained(|| decide(message, error)).await.unwrap_or_else(panicked);
                    Handled { returned, undecodable }
                })
            }
            None => {
                tracing::warn!(%error, messaging.message.id = message.id, "a message could not be decoded");
                let (returned, undecodable) = (Ok(self.default), Some(error));
                Box::pin(async move { Handled { returned, undecodable } })
            }
        }
    }
}

impl<T> Clone for Decoded<T> {
    fn clone(&self) -> Self {
        Self { read: Arc::clone(&self.read), decide: self.decide.clone(), default: self.default }
    }
}

impl<T> fmt::Debug for Decoded<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Decoded")
    }
}
