//! The names of queues, for the completions of a shell.

use std::{ffi::OsStr, time::Duration};

use clap::{CommandFactory, FromArgMatches, Parser};
use clap_complete::CompletionCandidate;
use tokio::time::timeout;

use crate::account::Account;

/// How long a shell waits for them.
const PATIENCE: Duration = Duration::from_secs(3);

/// Only the account of the environment: what else is on the line, a completer does not see.
#[derive(Parser)]
struct Environment {
    #[command(flatten)]
    account: Account,
}

/// The names of queues that begin like this. None if the service does not respond.
pub(crate) fn queues(current: &OsStr) -> Vec<CompletionCandidate> {
    let names = || {
        let matches = Environment::command().try_get_matches_from(["cf-queues"]).ok()?;
        let Environment { account } = Environment::from_arg_matches(&matches).ok()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
        let queues = account.queues().ok()?;
        runtime.block_on(async { timeout(PATIENCE, queues.list().all()).await.ok()?.ok() })
    };
    let current = current.to_string_lossy();
    let names = names().unwrap_or_default();
    let names = names.iter().map(|queue| queue.name()).filter(|name| name.starts_with(&*current));
    names.map(CompletionCandidate::new).collect()
}
