//! Tower services as handlers.

use std::{
    fmt::Display,
    future::{Future, poll_fn},
    sync::{Mutex, PoisonError},
};

use tower_service::Service;

use super::{Consumer, IntoVerdict, Report};
use crate::{error::Error, message::Message};

impl Consumer {
    /// Like [`run_until`](Self::run_until), with a tower service as the handler, so that tower's timeouts, rate limits
    /// and concurrency limits can be used.
    ///
    /// Each message gets a clone of the service, which is called once it is ready. A message that waits for that counts
    /// towards [`concurrency`](Self::concurrency), and its lease is extended. An error of the service is a failure of
    /// the handler.
    ///
    /// # Errors
    ///
    /// As for [`run_until`](Self::run_until).
    pub async fn run_service_until<S>(&self, stop: impl Future, service: S) -> Result<Report, Error>
    where
        S: Service<Message> + Clone + Send + 'static,
        S::Response: IntoVerdict,
        S::Error: Display,
        S::Future: Send,
    {
        // Not every service is `Sync`.
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
