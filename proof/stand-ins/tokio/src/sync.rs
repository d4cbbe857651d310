//! tokio's own locks and channels.

use std::sync::Arc;

pub use tokio_itself::sync::{AcquireError, Mutex, MutexGuard, OwnedSemaphorePermit, SemaphorePermit, watch};

use crate::point;

#[derive(Debug)]
pub struct Semaphore(Arc<tokio_itself::sync::Semaphore>);

impl Semaphore {
    pub const MAX_PERMITS: usize = tokio_itself::sync::Semaphore::MAX_PERMITS;

    pub fn new(permits: usize) -> Self {
        Self(Arc::new(tokio_itself::sync::Semaphore::new(permits)))
    }

    pub fn available_permits(&self) -> usize {
        point();
        self.0.available_permits()
    }

    pub fn add_permits(&self, permits: usize) {
        point();
        self.0.add_permits(permits);
    }

    pub fn close(&self) {
        point();
        self.0.close();
    }

    pub async fn acquire(&self) -> Result<SemaphorePermit<'_>, AcquireError> {
        point();
        self.0.acquire().await
    }

    pub async fn acquire_many_owned(self: Arc<Self>, permits: u32) -> Result<OwnedSemaphorePermit, AcquireError> {
        point();
        Arc::clone(&self.0).acquire_many_owned(permits).await
    }
}

#[derive(Debug, Default)]
pub struct Notify(tokio_itself::sync::Notify);

impl Notify {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn notify_one(&self) {
        point();
        self.0.notify_one();
    }

    pub fn notified(&self) -> tokio_itself::sync::futures::Notified<'_> {
        self.0.notified()
    }
}

pub mod mpsc {
    pub use tokio_itself::sync::mpsc::{UnboundedReceiver, error};

    #[derive(Debug)]
    pub struct UnboundedSender<T>(tokio_itself::sync::mpsc::UnboundedSender<T>);

    impl<T> UnboundedSender<T> {
        pub fn send(&self, value: T) -> Result<(), error::SendError<T>> {
            crate::point();
            self.0.send(value)
        }
    }

    pub fn unbounded_channel<T>() -> (UnboundedSender<T>, UnboundedReceiver<T>) {
        let (sender, receiver) = tokio_itself::sync::mpsc::unbounded_channel();
        (UnboundedSender(sender), receiver)
    }
}

pub mod oneshot {
    pub use tokio_itself::sync::oneshot::{Receiver, error};

    #[derive(Debug)]
    pub struct Sender<T>(tokio_itself::sync::oneshot::Sender<T>);

    impl<T> Sender<T> {
        pub fn send(self, value: T) -> Result<(), T> {
            crate::point();
            self.0.send(value)
        }

        pub fn is_closed(&self) -> bool {
            crate::point();
            self.0.is_closed()
        }
    }

    pub fn channel<T>() -> (Sender<T>, Receiver<T>) {
        let (sender, receiver) = tokio_itself::sync::oneshot::channel();
        (Sender(sender), receiver)
    }
}
