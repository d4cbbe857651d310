//! A paginated list, as a stream of its entries.

use std::{
    collections::{HashSet, VecDeque},
    fmt,
    future::{Future, poll_fn},
    pin::Pin,
    task::{Context, Poll},
};

use futures_core::Stream;
use serde_json::{Map, Value};

use crate::{envelope::List, error::Error, response::Success};

/// The entries of a list, as a stream that requests the next page when it needs one.
///
/// An entry that moves to a later page while the list is read is returned once. The list ends with the last page by the
/// service's count, or after three pages in a row without a new entry. If the service does not count pages, it ends
/// with the first such page. After an error, the stream ends.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// # let emulator = cloudflare_queues::emulator::Emulator::start().await?;
/// # let (client, account_id) = (emulator.client()?, emulator.account_id());
/// let mut queues = client.queues(account_id)?.list();
/// while let Some(queue) = queues.next().await {
///     println!("{}", queue?.name());
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a stream does nothing until it is read"]
pub struct Listing<T> {
    fetch: Box<dyn Fn(u32) -> Fetched<T> + Send + Sync>,
    key: fn(&T) -> String,
    page: u32,
    pending: Option<Fetched<T>>,
    waiting: VecDeque<T>,
    seen: HashSet<String>,
    /// Pages in a row without a new entry.
    stale_pages: u32,
    is_ended: bool,
}

/// Tells entries apart by their ids, or by all that they have if the service sent none.
pub(crate) fn key(id: Option<&str>, fields: &Map<String, Value>) -> String {
    id.map_or_else(|| Value::Object(fields.clone()).to_string(), str::to_owned)
}

/// An empty page need not be the last, but a service that repeats a page must not be asked forever.
const MAX_STALE_PAGES: u32 = 3;

type Fetched<T> = Pin<Box<dyn Future<Output = Result<Success<List<T>>, Error>> + Send>>;

impl<T> Listing<T> {
    /// `fetch` asks for a page by its number, and `key` tells entries apart.
    pub(crate) fn new<F>(key: fn(&T) -> String, fetch: impl Fn(u32) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Success<List<T>>, Error>> + Send + 'static,
    {
        Self {
            fetch: Box::new(move |page| Box::pin(fetch(page))),
            key,
            page: 0,
            pending: None,
            waiting: VecDeque::new(),
            seen: HashSet::new(),
            stale_pages: 0,
            is_ended: false,
        }
    }

    /// Returns the next entry, or `None` at the end.
    ///
    /// # Errors
    ///
    /// As for the operation that requests a page.
    pub async fn next(&mut self) -> Option<Result<T, Error>> {
        poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }

    /// Returns all remaining entries.
    ///
    /// # Errors
    ///
    /// As [`next`](Self::next).
    pub async fn all(mut self) -> Result<Vec<T>, Error> {
        let mut entries = Vec::new();
        while let Some(entry) = self.next().await {
            entries.push(entry?);
        }
        Ok(entries)
    }

    /// Adds a page. The list ends where the service says so, or at a page without new entries if it does not count
    /// pages: a service without pagination returns the first page forever.
    fn take(&mut self, Success { result: List(entries), pages, .. }: Success<List<T>>) {
        let mut has_new = false;
        for entry in entries {
            if self.seen.insert((self.key)(&entry)) {
                has_new = true;
                self.waiting.push_back(entry);
            }
        }
        self.stale_pages = if has_new { 0 } else { self.stale_pages.saturating_add(1) };
        self.is_ended = match pages {
            Some(pages) => pages <= self.page.into() || self.stale_pages >= MAX_STALE_PAGES,
            None => !has_new,
        };
    }
}

impl<T> Unpin for Listing<T> {}

impl<T> Stream for Listing<T> {
    type Item = Result<T, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(entry) = self.waiting.pop_front() {
                return Poll::Ready(Some(Ok(entry)));
            }
            if self.is_ended {
                return Poll::Ready(None);
            }
            let mut pending = match self.pending.take() {
                Some(pending) => pending,
                None => {
                    self.page = self.page.saturating_add(1);
                    (self.fetch)(self.page)
                }
            };
            let Poll::Ready(page) = pending.as_mut().poll(context) else {
                self.pending = Some(pending);
                return Poll::Pending;
            };
            match page {
                Ok(page) => self.take(page),
                Err(error) => {
                    self.is_ended = true;
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
    }
}

impl<T> fmt::Debug for Listing<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listing").field("page", &self.page).field("is_ended", &self.is_ended).finish_non_exhaustive()
    }
}
