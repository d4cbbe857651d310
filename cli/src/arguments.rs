//! The command line arguments.

use clap::Parser;

use crate::{commands::Command, common::Common};

const EXIT_CODES: &str = "\
Environment:
  CLOUDFLARE_API_TOKEN   an API token with the permission Queues Write, or
  CLOUDFLARE_EMAIL       an email, together with
  CLOUDFLARE_API_KEY     the global API key
  CLOUDFLARE_ACCOUNT_ID, CLOUDFLARE_BASE_URL, CF_QUEUES_PROFILE
                         see --account, --base-url and --profile
  CF_QUEUES_PROFILES     the file with profiles: TOML tables [NAME] with account,
                         base_url, and token_variable, the variable that holds
                         the token [default: ~/.config/cf-queues/profiles.toml]
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
#[command(name = "cf-queues", version, after_help = EXIT_CODES, max_term_width = 100)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) common: Common,
}
