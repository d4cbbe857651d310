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

use crate::{
    document::operation::Operation,
    error::{Error, kind::ErrorKind},
    http::{envelope::List, response::Success},
};

/// The entries of a list, as a stream that requests the next page when it needs one.
///
/// An entry that moves to a later page while the list is read is returned once. The list ends with the last page by the
/// service's count, or with an empty page after two others without a new entry. If the service does not count pages, it
/// ends with the first page without a new entry. Entries without an id are told apart by all their fields. A list that
/// does not end is an error: one with three pages in a row that only repeat entries although the service counts more,
/// one of more than 10,000 entries, as many queues as an account may have, and one with 100 pages in a row on which
/// only entries without an id are new. After an error, the stream ends.
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
    operation: Operation,
    fetch: Box<dyn Fn(u32) -> Fetched<T> + Send + Sync>,
    key: fn(&T) -> Key,
    page: u32,
    pending: Option<Fetched<T>>,
    waiting: VecDeque<T>,
    seen: HashSet<Key>,
    /// Pages in a row without a new entry, and without a new entry that has an id.
    stale_pages: u32,
    unnamed_pages: u32,
    is_ended: bool,
}

/// Tells entries apart by their ids, or by all that they have if the service sent none.
#[derive(PartialEq, Eq, Hash)]
pub(crate) enum Key {
    Id(String),
    Fields(String),
}

pub(crate) fn key(id: Option<&str>, fields: &Map<String, Value>) -> Key {
    id.map_or_else(|| Key::Fields(Value::Object(fields.clone()).to_string()), |id| Key::Id(id.to_owned()))
}

/// An empty page need not be the last, but a service that repeats a page must not be asked forever.
const MAX_STALE_PAGES: u32 = 3;
/// Entries without ids may be the same ones with other fields. As many pages have all 10,000 queues of an account.
const MAX_UNNAMED_PAGES: u32 = 100;
/// As many queues as an account may have. A list of more does not end.
const MAX_ENTRIES: usize = 10_000;

type Fetched<T> = Pin<Box<dyn Future<Output = Result<Success<List<T>>, Error>> + Send>>;

impl<T> Listing<T> {
    /// `fetch` asks for a page by its number, and `key` tells entries apart.
    pub(crate) fn new<F>(
        operation: Operation,
        key: fn(&T) -> Key,
        fetch: impl Fn(u32) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<Success<List<T>>, Error>> + Send + 'static,
    {
        Self {
            operation,
            fetch: Box::new(move |page| Box::pin(fetch(page))),
            key,
            page: 0,
            pending: None,
            waiting: VecDeque::new(),
            seen: HashSet::new(),
            stale_pages: 0,
            unnamed_pages: 0,
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
        let (is_empty, mut has_new, mut has_new_id) = (entries.is_empty(), false, false);
        for entry in entries {
            let key = (self.key)(&entry);
            let has_id = matches!(key, Key::Id(_));
            if self.seen.insert(key) {
                has_new = true;
                has_new_id |= has_id;
                self.waiting.push_back(entry);
            }
        }
        self.stale_pages = if has_new { 0 } else { self.stale_pages.saturating_add(1) };
        self.unnamed_pages = if has_new_id { 0 } else { self.unnamed_pages.saturating_add(1) };
        let is_last = match pages.count {
            Some(pages) => pages <= self.page.into() || is_empty && self.stale_pages >= MAX_STALE_PAGES,
            None => !has_new,
        };
        self.is_ended = is_last;
    }

    /// Why the list does not end, if it seems so.
    fn endless(&self) -> Option<String> {
        if self.stale_pages >= MAX_STALE_PAGES {
            return Some(format!("{MAX_STALE_PAGES} pages in a row have no new entry"));
        }
        if self.seen.len() > MAX_ENTRIES {
            return Some(format!("it has more than {MAX_ENTRIES} entries"));
        }
        let pages = self.unnamed_pages;
        (pages >= MAX_UNNAMED_PAGES).then(|| format!("{pages} pages in a row have no entry with a new id"))
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
            if let Some(why) = self.endless() {
                self.is_ended = true;
                let message = format!("the list does not end: {why}");
                let error = Error::new(ErrorKind::UnexpectedResponse, message);
                return Poll::Ready(Some(Err(error.in_operation(self.operation.id(), 1))));
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

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    };

    use serde_json::json;

    use super::*;
    use crate::http::envelope::Pages;

    /// A list whose pages are the first one again, in which this field is another one each time: how many entries it
    /// has, and whether it ends with an error.
    async fn listed(count: Option<u64>, id: Option<&'static str>) -> (usize, bool) {
        let page = move |number: u32| {
            assert!(number <= 1000, "a list without end");
            let fields = json!({ "counter": number }).as_object().cloned().unwrap();
            async move {
                Ok(Success {
                    result: List(vec![(id, fields)]),
                    pages: Pages { count, ..Pages::default() },
                    errors: Vec::new(),
                })
            }
        };
        let mut listing = Listing::new(Operation::ListQueues, |(id, fields)| key(*id, fields), page);
        let mut entries = 0;
        while let Some(entry) = listing.next().await {
            match entry {
                Ok(_) => entries += 1,
                Err(error) => {
                    assert!(error.to_string().contains("pages in a row have no"), "{error}");
                    assert!(listing.next().await.is_none());
                    return (entries, true);
                }
            }
        }
        (entries, false)
    }

    #[tokio::test]
    async fn a_list_of_any_length_is_whole() {
        let page = |number: u32| async move {
            Ok(Success {
                result: List(vec![number]),
                pages: Pages { count: Some(1000), ..Pages::default() },
                errors: Vec::new(),
            })
        };
        assert_eq!(
            Listing::new(Operation::ListQueues, |number| Key::Id(number.to_string()), page).all().await.unwrap().len(),
            1000
        );
    }

    #[tokio::test]
    async fn a_list_ends_with_a_page_that_failed() {
        let page = |_| async { Err(Error::new(ErrorKind::Transport, "lost")) };
        let mut listing = Listing::new(Operation::ListQueues, |number: &u32| Key::Id(number.to_string()), page);
        assert!(listing.next().await.is_some_and(|entry| entry.is_err()) && listing.next().await.is_none());
    }

    #[tokio::test]
    async fn a_list_of_new_pages_without_end_is_an_error() {
        for pages in [None, Some(u64::MAX)] {
            let page = move |page: u32| async move {
                let entries = List((0..100).map(|entry| u64::from(page) * 100 + entry).collect());
                Ok(Success { result: entries, pages: Pages { count: pages, ..Pages::default() }, errors: Vec::new() })
            };
            let mut listing = Listing::new(Operation::ListQueues, |number| Key::Id(number.to_string()), page);
            let mut entries = 0;
            let error = loop {
                match listing.next().await.unwrap() {
                    Ok(_) => entries += 1,
                    Err(error) => break error,
                }
            };
            assert_eq!((error.kind(), entries), (ErrorKind::UnexpectedResponse, 10_100));
            assert!(listing.next().await.is_none());
        }
    }

    #[tokio::test]
    async fn an_endless_list_without_ids_is_an_error() {
        for pages in [None, Some(u64::MAX), Some(101)] {
            // Without a count, it may be a service without pages.
            let repeats = (1, pages.is_some());
            assert_eq!([listed(pages, Some("one")).await, listed(pages, None).await], [repeats, (100, true)]);
        }
        assert_eq!(listed(Some(100), None).await, (100, false), "the last page is the last");
        for pages in 1..4 {
            assert_eq!(listed(Some(pages), Some("one")).await, (1, false), "{pages}");
        }
    }

    #[tokio::test]
    async fn a_list_ends_after_three_empty_pages_whatever_the_service_counts() {
        for entries in [0, 1] {
            let asked = Arc::new(AtomicU32::new(0));
            let counting = Arc::clone(&asked);
            let page = move |number: u32| {
                counting.store(number, Ordering::Relaxed);
                let result = List(if number == 3 && entries > 0 { vec![7] } else { Vec::new() });
                let pages = Pages { count: Some(u64::MAX), ..Pages::default() };
                async move { Ok(Success { result, pages, errors: Vec::new() }) }
            };
            let listing = Listing::new(Operation::ListQueues, |number| Key::Id(number.to_string()), page);
            assert_eq!(listing.all().await.unwrap().len(), entries);
            let pages = asked.load(Ordering::Relaxed);
            assert_eq!(pages, if entries > 0 { 6 } else { 3 });
        }
    }
}
