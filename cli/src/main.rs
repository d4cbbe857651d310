//! `cf-queues`: the command line for Cloudflare Queues.

mod account;
mod arguments;
mod backlog;
mod commands;
mod common;
mod exit;
mod filter;
mod lines;
mod output;
mod parse;
mod patience;
mod progress;
mod record;
mod requests;
mod signals;
mod sweep;
mod watch;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use arguments::Arguments;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    requests::log(arguments.common.verbose);
    match commands::run(arguments.command, &arguments.common, Arguments::command()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
