//! `cf-queues`: the command line for Cloudflare Queues.

mod account;
mod arguments;
mod backlog;
mod candidates;
mod commands;
mod common;
mod exit;
mod filter;
mod lines;
mod output;
mod parse;
mod patience;
mod profile;
mod progress;
mod record;
mod requests;
mod signals;
mod sweep;
mod watch;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use clap_complete::CompleteEnv;

use arguments::Arguments;
use commands::completions;

/// Gives memory back to the system, which glibc keeps after a large queue was purged. It is also faster than musl's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Completes the line for a shell, and ends, if that is what was asked for.
    CompleteEnv::with_factory(Arguments::command).var(completions::VARIABLE).complete();
    let arguments = Arguments::parse();
    requests::log(arguments.common.verbose);
    match commands::run(arguments.command, &arguments.common) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
