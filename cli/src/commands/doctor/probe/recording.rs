//! Exchanges with the service as files, one for each.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
};

use serde_json::Value;
use tokio::time::Instant;

use crate::exit::{Exit, Failure};

/// What an exchange is for that asks nothing: it pushes or leases what a question is about.
pub(super) const PREPARING: &str = "preparing";
/// The same, if it deletes what is left of the question before.
pub(super) const EMPTYING: &str = "emptying";

pub(super) struct Recording {
    folder: PathBuf,
    begun: Instant,
    written: AtomicUsize,
}

/// An exchange without secrets.
pub(super) struct Exchange<'a> {
    pub(super) asked: &'a str,
    pub(super) sent_at: Instant,
    /// Of the operation: the empty path is a push.
    pub(super) path: &'a str,
    pub(super) request: Value,
    pub(super) status: u16,
    pub(super) headers: Value,
    pub(super) response: Value,
}

impl Recording {
    /// Takes a folder that is new or empty, so that two recordings are not mixed.
    pub(super) fn create(folder: &Path) -> Result<Self, Failure> {
        let failed = |error: io::Error| Failure::new(Exit::Input, format!("{}: {error}", folder.display()));
        fs::create_dir_all(folder).map_err(failed)?;
        if fs::read_dir(folder).map_err(failed)?.next().is_some() {
            return Err(Failure::new(Exit::Input, format!("{} is not empty: name a new folder", folder.display())));
        }
        Ok(Self { folder: folder.to_owned(), begun: Instant::now(), written: AtomicUsize::new(0) })
    }

    pub(super) fn add(&self, exchange: Exchange<'_>) -> Result<(), Failure> {
        let number = self.written.fetch_add(1, Ordering::Relaxed);
        let name = exchange.path.trim_start_matches('/');
        let name = if name.is_empty() { "push" } else { name };
        let at = exchange.sent_at.saturating_duration_since(self.begun).as_millis();
        // A line for each field, which a reader and `diff` can follow.
        let lines: Vec<String> = [
            ("asked", exchange.asked.into()),
            ("at_ms", u64::try_from(at).unwrap_or(u64::MAX).into()),
            ("method", "POST".into()),
            ("path", format!("/accounts/<account>/queues/<queue>/messages{}", exchange.path).into()),
            ("request", exchange.request),
            ("status", exchange.status.into()),
            ("headers", exchange.headers),
            ("response", exchange.response),
        ]
        .into_iter()
        .map(|(name, value): (_, Value)| format!("  \"{name}\": {value}"))
        .collect();
        let file = self.folder.join(format!("{number:03}-{name}.json"));
        fs::write(&file, format!("{{\n{}\n}}\n", lines.join(",\n")))
            .map_err(|error| Failure::new(Exit::Output, format!("{}: {error}", file.display())))
    }
}
