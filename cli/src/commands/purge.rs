//! `purge`: deletes all messages of a queue.

use std::{
    io::{self, IsTerminal},
    time::Duration,
};

use clap::Args;
use cloudflare_queues::ErrorKind::{RateLimited, ServiceFailure, Timeout, Transport};
use serde::Serialize;

use crate::{
    common::{Common, queues},
    exit::{Exit, Failure, tell},
    output::{self, Format, Row, plain},
    signals::Signals,
};

const MAY_GO_ON: &str = "the deletion may go on; `cf-queues info` shows what is left";

/// Delete all messages of a queue, which cannot be undone
#[derive(Args, Debug)]
#[command(
    after_help = "The queue's name has to be typed, unless --yes is given.\n\nExample:\n  cf-queues purge jobs-failed"
)]
pub(crate) struct Purge {
    /// The queue's name or id
    #[arg(add = queues())]
    queue: String,
    /// Do not ask for confirmation
    #[arg(long)]
    yes: bool,
    /// How long to wait until the service has deleted them all
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = humantime::parse_duration)]
    wait: Duration,
}

#[derive(Serialize)]
struct Purged {
    name: String,
    /// What was in the queue before.
    backlog_count: Option<u64>,
}

impl Purge {
    pub(crate) async fn run(self, common: &Common) -> Result<(), Failure> {
        let queue = common.account.queue(&self.queue).await?;
        let name = queue.describe().await?.name().to_owned();
        let backlog = queue.metrics().await?.backlog_count;
        let count =
            backlog.map_or_else(|| "all messages".to_owned(), |count| format!("about {}", output::messages(count)));
        if self.yes {
            tell(&format!("cf-queues: this deletes {count} of `{}`, hidden and leased ones too\n", plain(&name)));
        } else {
            confirm(&name, &count)?;
        }
        let signals = Signals::listen()?;
        let purged = tokio::select! {
            purged = queue.purge_all_and_wait(self.wait) => purged,
            () = signals.told(1) => {
                return Err(Failure::new(Exit::Partly, "stopped waiting").with_note(MAY_GO_ON));
            }
        };
        let _ = purged.map_err(|error| {
            let failure = match error.kind() {
                _ if !error.may_have_arrived() => return error.into(),
                // Their advice speaks of pushes.
                Transport | Timeout | ServiceFailure | RateLimited => Failure::described(&error),
                _ => error.into(),
            };
            failure.with_note(MAY_GO_ON)
        })?;
        let purged = Purged { name, backlog_count: backlog };
        Ok(output::print(Format::or_fitting(common.output), &[purged])?)
    }
}

fn confirm(name: &str, count: &str) -> Result<(), Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::new(Exit::Input, "nothing was deleted: standard input is not a terminal, so give --yes"));
    }
    tell(&format!("This deletes {count} of `{0}`. Type {0} to go on: ", plain(name)));
    let mut typed = String::new();
    io::stdin().read_line(&mut typed)?;
    if typed.trim() != name || name.is_empty() {
        return Err(Failure::new(Exit::Input, "nothing was deleted: this is not the queue's name"));
    }
    Ok(())
}

impl Row for Purged {
    fn head(&self) -> Vec<&'static str> {
        vec!["PURGED", "MESSAGES BEFORE"]
    }

    fn cells(&self) -> Vec<String> {
        vec![self.name.clone(), output::cell(self.backlog_count)]
    }
}
