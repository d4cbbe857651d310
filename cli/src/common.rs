//! What commands share: their common options, and how they read values.

use std::time::Duration;

use clap::Args;
use clap_complete::ArgValueCompleter;

use crate::{
    account::Account,
    candidates,
    exit::{Exit, Failure},
    output::Format,
};

/// Options of every command.
#[derive(Args, Debug)]
pub(crate) struct Common {
    /// Print a table or one JSON object per line [default: a table on a terminal, else ndjson]
    #[arg(long, global = true, value_name = "FORMAT")]
    pub(crate) output: Option<Format>,
    /// Show each request on standard error, without secrets
    #[arg(short, long, global = true)]
    pub(crate) verbose: bool,
    #[command(flatten)]
    pub(crate) account: Account,
}

impl Common {
    /// For a command that has one form of output.
    pub(crate) fn has_no_format(&self, command: &str) -> Result<(), Failure> {
        match self.output {
            Some(_) => Err(Failure::new(Exit::Input, format!("--output does not apply to {command}"))),
            None => Ok(()),
        }
    }
}

/// Completes an argument with the names of queues.
pub(crate) fn queues() -> ArgValueCompleter {
    ArgValueCompleter::new(candidates::queues)
}

/// A delay that the service takes.
pub(crate) fn delay(text: &str) -> Result<Duration, String> {
    let delay = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if delay > Duration::from_secs(24 * 60 * 60) {
        return Err("the service takes at most 24 hours".to_owned());
    }
    Ok(delay)
}
