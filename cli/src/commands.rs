//! One module per command.

pub(crate) mod completions;
pub(crate) mod consume;
pub(crate) mod count;
pub(crate) mod delete;
pub(crate) mod doctor;
pub(crate) mod emulator;
pub(crate) mod export;
pub(crate) mod import;
pub(crate) mod info;
pub(crate) mod ls;
pub(crate) mod pause;
pub(crate) mod peek;
pub(crate) mod purge;
pub(crate) mod push;
pub(crate) mod redrive;
pub(crate) mod tail;

use std::io;

use clap::Subcommand;

use crate::{
    common::Common,
    exit::{Exit, Failure},
};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Ls(ls::Ls),
    Info(info::Info),
    Peek(peek::Peek),
    Tail(tail::Tail),
    Push(push::Push),
    Count(count::Count),
    Consume(consume::Consume),
    Redrive(redrive::Redrive),
    Export(export::Export),
    Import(import::Import),
    Delete(delete::Delete),
    Purge(purge::Purge),
    Pause(pause::Pause),
    Resume(pause::Resume),
    Doctor(doctor::Doctor),
    Emulator(emulator::Serve),
    Completions(completions::Completions),
}

/// Runs the command.
pub(crate) fn run(command: Command, common: &Common) -> Result<(), Failure> {
    let started = |error: io::Error| Failure::new(Exit::Service, format!("the program could not be started: {error}"));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(started)?;
    let result = runtime.block_on(async {
        match command {
            Command::Ls(ls) => ls.run(common).await,
            Command::Info(info) => info.run(common).await,
            Command::Peek(peek) => peek.run(common).await,
            Command::Tail(tail) => tail.run(common).await,
            Command::Push(push) => push.run(common).await,
            Command::Consume(consume) => consume.run(common).await,
            Command::Redrive(redrive) => redrive.run(common).await,
            Command::Export(export) => export.run(common).await,
            Command::Import(import) => import.run(common).await,
            Command::Count(count) => count.run(common).await,
            Command::Delete(delete) => delete.run(common).await,
            Command::Pause(pause) => pause.run(common).await,
            Command::Resume(resume) => resume.run(common).await,
            Command::Purge(purge) => purge.run(common).await,
            Command::Doctor(doctor) => doctor.run(common).await,
            Command::Emulator(serve) => serve.run(common).await,
            Command::Completions(completions) => completions.run(common),
        }
    });
    // What is still being written may never be read.
    runtime.shutdown_background();
    result
}
