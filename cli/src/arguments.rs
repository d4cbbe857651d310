//! The command line arguments.

use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::{account::Account, commands, output::Format};

const EXIT_CODES: &str = "\
Environment:
  CLOUDFLARE_API_TOKEN   an API token with the permission Queues Write, or
  CLOUDFLARE_EMAIL       an email, together with
  CLOUDFLARE_API_KEY     the global API key
  NO_COLOR               no colors if set

Exit codes:
  0    done
  1    the output could not be written
  2    the input was wrong: an argument, a variable, a file
  3    there is no such account, queue or consumer
  4    the service refused: credentials, permissions, a paused queue, a quota
  5    partly done: standard error says what is left
  6    the service or the network failed
  130  interrupted twice";

/// Look into Cloudflare Queues, and move, consume, export and import their messages.
#[derive(Debug, Parser)]
#[command(name = "cf-queues", version, after_help = EXIT_CODES, max_term_width = 100, disable_help_subcommand = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// A delay that the service takes.
pub(crate) fn delay(text: &str) -> Result<Duration, String> {
    let delay = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if delay > Duration::from_secs(24 * 60 * 60) {
        return Err("the service takes at most 24 hours".to_owned());
    }
    Ok(delay)
}

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

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Ls(commands::ls::Ls),
    Info(commands::info::Info),
    Peek(commands::peek::Peek),
    Tail(commands::tail::Tail),
    Push(commands::push::Push),
    Consume(commands::consume::Consume),
    Redrive(commands::redrive::Redrive),
    Export(commands::export::Export),
    Import(commands::import::Import),
    Purge(commands::purge::Purge),
    Doctor(commands::doctor::Doctor),
    Emulator(commands::emulator::Serve),
    Completions(commands::completions::Completions),
}
