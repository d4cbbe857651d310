//! Tasks, each with something that is known of it whatever becomes of it.

use std::{
    collections::HashMap,
    future::Future,
    mem,
    task::{Context, Poll, ready},
};

use tokio::task::{self, JoinSet};

use crate::flow::contained::discard_error;

pub(crate) struct Tasks<K, T> {
    tasks: JoinSet<T>,
    known: HashMap<task::Id, K>,
}

impl<K, T: Send + 'static> Tasks<K, T> {
    pub(crate) fn new() -> Self {
        Self { tasks: JoinSet::new(), known: HashMap::new() }
    }

    pub(crate) fn spawn(&mut self, known: K, task: impl Future<Output = T> + Send + 'static) {
        let task = self.tasks.spawn(task);
        self.known.insert(task.id(), known);
    }

    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }

    pub(crate) fn known(&self) -> impl Iterator<Item = &K> {
        self.known.values()
    }

    /// Takes the tasks, to be awaited elsewhere.
    pub(crate) fn take(&mut self) -> JoinSet<T> {
        self.known.clear();
        mem::take(&mut self.tasks)
    }

    /// A task that has ended, and what it returned, which is `None` if it panicked.
    pub(crate) fn poll_ended(&mut self, context: &mut Context<'_>) -> Poll<Option<(K, Option<T>)>> {
        while let Some(joined) = ready!(self.tasks.poll_join_next_with_id(context)) {
            let (id, returned) = match joined {
                Ok((id, returned)) => (id, Some(returned)),
                Err(error) => {
                    let id = error.id();
                    discard_error(error);
                    (id, None)
                }
            };
            if let Some(known) = self.known.remove(&id) {
                return Poll::Ready(Some((known, returned)));
            }
        }
        Poll::Ready(None)
    }
}
