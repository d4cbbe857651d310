//! Tasks, and sets of them.

use std::{
    any::Any,
    cell::RefCell,
    collections::{HashMap, VecDeque},
    error::Error,
    fmt,
    future::{Future, poll_fn},
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
};

use shuttle::future::{AbortHandle as Abort, spawn as spawn_task, yield_now as yield_task};

thread_local! {
    static TASKS: RefCell<Tasks> = RefCell::default();
}

/// All tasks of a schedule.
#[derive(Default)]
struct Tasks {
    next: u64,
    alive: HashMap<u64, Abort>,
    is_stopped: bool,
    polls: u64,
}

/// How often any of them had its turn.
pub(crate) fn polls() -> u64 {
    TASKS.with(|tasks| tasks.borrow().polls)
}

pub(crate) fn count_poll() {
    TASKS.with(|tasks| tasks.borrow_mut().polls += 1);
}

/// Forgets the tasks of the schedule before.
pub(crate) fn reset() {
    let before = TASKS.with(|tasks| std::mem::take(&mut *tasks.borrow_mut()));
    std::mem::forget(before);
}

/// How many tasks have not ended.
pub fn alive() -> usize {
    TASKS.with(|tasks| tasks.borrow().alive.len())
}

pub(crate) fn stop() {
    let mut alive: Vec<_> = TASKS.with(|tasks| {
        let mut tasks = tasks.borrow_mut();
        tasks.is_stopped = true;
        tasks.alive.iter().map(|(id, abort)| (*id, abort.clone())).collect()
    });
    alive.sort_unstable_by_key(|(id, _)| *id);
    alive.into_iter().for_each(|(_, abort)| abort.abort());
}

pub async fn yield_now() {
    yield_task().await;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Id(u64);

#[derive(Debug)]
pub struct JoinError(Id);

impl JoinError {
    pub fn id(&self) -> Id {
        self.0
    }

    pub fn try_into_panic(self) -> Result<Box<dyn Any + Send>, Self> {
        Err(self)
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the task was aborted")
    }
}

impl Error for JoinError {}

#[derive(Clone, Debug)]
pub struct AbortHandle(Id, Option<Abort>);

impl AbortHandle {
    pub fn id(&self) -> Id {
        self.0
    }

    pub fn abort(&self) {
        if let Some(abort) = self.1.as_ref().filter(|_| crate::is_within()) {
            abort.abort();
        }
    }
}

type Ended<T> = Box<dyn FnOnce(Id, Result<T, JoinError>) + Send>;

/// A task, which says what became of it, also when it is dropped.
struct Task<F: Future> {
    id: Id,
    future: Option<Pin<Box<F>>>,
    ended: Option<Ended<F::Output>>,
}

impl<F: Future> Task<F> {
    fn end(&mut self, outcome: Result<F::Output, JoinError>) {
        // What the task holds is dropped before anybody hears of its end.
        self.future = None;
        TASKS.with(|tasks| tasks.borrow_mut().alive.remove(&self.id.0));
        if let Some(ended) = self.ended.take() {
            ended(self.id, outcome);
        }
    }
}

impl<F: Future> Future for Task<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        count_poll();
        let polled = self.future.as_mut().map(|future| future.as_mut().poll(context));
        match polled {
            Some(Poll::Ready(value)) => self.end(Ok(value)),
            Some(Poll::Pending) => return Poll::Pending,
            None => {}
        }
        Poll::Ready(())
    }
}

impl<F: Future> Unpin for Task<F> {}

impl<F: Future> Drop for Task<F> {
    fn drop(&mut self) {
        if self.ended.is_some() {
            self.end(Err(JoinError(self.id)));
        }
    }
}

fn launch<F>(future: F, ended: Ended<F::Output>) -> AbortHandle
where
    F: Future<Output: Send> + Send + 'static,
{
    crate::point();
    let (id, is_stopped) = TASKS.with(|tasks| {
        let mut tasks = tasks.borrow_mut();
        tasks.next += 1;
        (tasks.next, tasks.is_stopped)
    });
    let task = Task { id: Id(id), future: Some(Box::pin(future)), ended: Some(ended) };
    if is_stopped {
        // As a runtime that has stopped does.
        drop(task);
        return AbortHandle(Id(id), None);
    }
    let abort = spawn_task(task).abort_handle();
    TASKS.with(|tasks| tasks.borrow_mut().alive.insert(id, abort.clone()));
    AbortHandle(Id(id), Some(abort))
}

pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    let mut set = JoinSet::new();
    let abort = set.spawn(future);
    JoinHandle(set, abort)
}

/// A task that goes on when this is dropped.
pub struct JoinHandle<T>(JoinSet<T>, AbortHandle);

impl<T> JoinHandle<T> {
    pub fn abort(&self) {
        self.1.abort();
    }

    pub fn abort_handle(&self) -> AbortHandle {
        self.1.clone()
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let id = self.1.id();
        self.0.poll_join_next(context).map(|joined| joined.unwrap_or(Err(JoinError(id))))
    }
}

impl<T> Drop for JoinHandle<T> {
    fn drop(&mut self) {
        self.0.detach_all();
    }
}

pub struct JoinSet<T> {
    running: HashMap<Id, AbortHandle>,
    ended: Arc<Mutex<Queue<T>>>,
}

struct Queue<T> {
    ended: VecDeque<(Id, Result<T, JoinError>)>,
    waker: Option<Waker>,
}

impl<T> Default for JoinSet<T> {
    fn default() -> Self {
        Self { running: HashMap::new(), ended: Arc::new(Mutex::new(Queue { ended: VecDeque::new(), waker: None })) }
    }
}

impl<T> JoinSet<T> {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn len(&self) -> usize {
        self.running.len()
    }

    pub fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    pub fn spawn<F>(&mut self, future: F) -> AbortHandle
    where
        F: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        let queue = Arc::clone(&self.ended);
        let abort = launch(
            future,
            Box::new(move |id, outcome| {
                let waker = {
                    let mut queue = queue.lock().unwrap();
                    queue.ended.push_back((id, outcome));
                    queue.waker.take()
                };
                waker.into_iter().for_each(Waker::wake);
            }),
        );
        self.running.insert(abort.id(), abort.clone());
        abort
    }

    pub fn poll_join_next_with_id(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<(Id, T), JoinError>>> {
        if self.running.is_empty() {
            return Poll::Ready(None);
        }
        let mut queue = self.ended.lock().unwrap();
        let Some((id, outcome)) = queue.ended.pop_front() else {
            queue.waker = Some(context.waker().clone());
            return Poll::Pending;
        };
        drop(queue);
        self.running.remove(&id);
        Poll::Ready(Some(outcome.map(|value| (id, value))))
    }

    pub fn poll_join_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<T, JoinError>>> {
        self.poll_join_next_with_id(context).map(|joined| joined.map(|joined| joined.map(|(_, value)| value)))
    }

    pub async fn join_next(&mut self) -> Option<Result<T, JoinError>> {
        poll_fn(|context| self.poll_join_next(context)).await
    }

    pub fn try_join_next_with_id(&mut self) -> Option<Result<(Id, T), JoinError>> {
        let (id, outcome) = self.ended.lock().unwrap().ended.pop_front()?;
        self.running.remove(&id);
        Some(outcome.map(|value| (id, value)))
    }

    pub fn abort_all(&mut self) {
        self.running.values().for_each(AbortHandle::abort);
    }

    pub async fn shutdown(&mut self) {
        self.abort_all();
        while self.join_next().await.is_some() {}
    }

    pub fn detach_all(&mut self) {
        self.running.clear();
    }
}

impl<T> Drop for JoinSet<T> {
    fn drop(&mut self) {
        self.abort_all();
    }
}
