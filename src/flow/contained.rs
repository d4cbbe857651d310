//! Calls of a user's code, which may panic, and locks that were held meanwhile.

use std::{
    any::Any,
    future::{Future, poll_fn},
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{Mutex, MutexGuard, PoisonError},
    task::Poll,
};

use tokio::task::JoinError;

/// Calls a function. `None` if it panics.
pub(crate) fn caught<T>(call: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(call)).map_err(discard).ok()
}

/// Locks, also after a panic of whoever held the lock.
pub(crate) fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Calls a function and awaits the future that it returns. `None` if one of them panics, also while it is dropped.
pub(crate) async fn contained<T, F>(call: impl FnOnce() -> Pin<Box<F>>) -> Option<T>
where
    F: Future<Output = T> + ?Sized,
{
    let mut future = Some(caught(call)?);
    poll_fn(|context| {
        let polled = caught(|| {
            let polled = future.as_mut()?.as_mut().poll(context);
            if polled.is_ready() {
                future = None;
            }
            Some(polled)
        });
        match polled.flatten() {
            Some(polled) => polled.map(Some),
            None => {
                caught(|| future = None);
                Poll::Ready(None)
            }
        }
    })
    .await
}

/// Drops what a panic carried, which may panic as well. What carries panics without end is leaked.
fn discard(payload: Box<dyn Any + Send>) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        mem::forget(payload);
    }
}

/// Drops the error of a task, which may hold what a panic carried.
pub(crate) fn discard_error(error: JoinError) {
    if let Ok(payload) = error.try_into_panic() {
        discard(payload);
    }
}

#[cfg(test)]
mod tests {
    use std::{future::ready, panic::panic_any};

    use super::*;

    struct Bomb(u32);

    impl Drop for Bomb {
        fn drop(&mut self) {
            if let Some(left) = self.0.checked_sub(1) {
                panic_any(Bomb(left));
            }
        }
    }

    #[tokio::test]
    async fn a_panic_whose_payload_panics_when_dropped_is_contained() {
        assert_eq!(caught(|| 7), Some(7));
        for bombs in 0..3 {
            assert!(caught(|| panic_any(Bomb(bombs))).is_none());
            assert!(contained::<(), _>(|| Box::pin(async move { panic_any(Bomb(bombs)) })).await.is_none());
            let task = tokio::spawn(async move { panic_any(Bomb(bombs)) });
            discard_error(task.await.unwrap_err());
        }
        assert_eq!(contained(|| Box::pin(ready(7))).await, Some(7));
        let bomb = Bomb(2);
        let holds_it = async move {
            let _bomb = &bomb;
        };
        assert!(contained(|| Box::pin(holds_it)).await.is_none(), "its drop panics");
    }
}
