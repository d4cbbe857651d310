//! Services of the tower ecosystem as handlers.

use std::{
    fmt::Display,
    future::{Future, poll_fn},
    sync::{Mutex, PoisonError},
};

use tower_service::Service;

use super::{Consumer, IntoVerdict, Report};
use crate::{error::Error, message::Message};

impl Consumer {
    /// Runs as [`run_until`](Self::run_until) with a service of the tower ecosystem as the handler, so that its
    /// timeouts, rate limits and concurrency limits apply.
    ///
    /// Each message gets a clone of the service, which waits until it is ready, and then is called. A message that
    /// waits for that counts towards [`concurrency`](Self::concurrency), and its lease is extended. An error of the
    /// service is a failure of the handler.
    ///
    /// # Errors
    ///
    /// As [`run_until`](Self::run_until).
    pub async fn run_service_until<S>(&self, stop: impl Future, service: S) -> Result<Report, Error>
    where
        S: Service<Message> + Clone + Send + 'static,
        S::Response: IntoVerdict,
        S::Error: Display,
        S::Future: Send,
    {
        // Not every service can be shared between threads.
        let service = Mutex::new(service);
        let handler = move |message| {
            let mut service = service.lock().unwrap_or_else(PoisonError::into_inner).clone();
            async move {
                poll_fn(|context| service.poll_ready(context)).await?;
                service.call(message).await
            }
        };
        self.run_until(stop, handler).await
    }
}
