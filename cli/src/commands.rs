//! One module per command.

pub(crate) mod completions;
pub(crate) mod consume;
pub(crate) mod doctor;
pub(crate) mod emulator;
pub(crate) mod export;
pub(crate) mod import;
pub(crate) mod info;
pub(crate) mod ls;
pub(crate) mod peek;
pub(crate) mod purge;
pub(crate) mod push;
pub(crate) mod redrive;
pub(crate) mod tail;

use std::io;

use crate::{
    arguments::{Arguments, Command},
    exit::{Exit, Failure},
};

/// Runs the command.
pub(crate) fn run(arguments: Arguments) -> Result<(), Failure> {
    let started = |error: io::Error| Failure::new(Exit::Service, format!("the program could not be started: {error}"));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(started)?;
    let common = arguments.common;
    let result = runtime.block_on(async {
        match arguments.command {
            Command::Ls(ls) => ls.run(&common).await,
            Command::Info(info) => info.run(&common).await,
            Command::Peek(peek) => peek.run(&common).await,
            Command::Tail(tail) => tail.run(&common).await,
            Command::Push(push) => push.run(&common).await,
            Command::Consume(consume) => consume.run(&common).await,
            Command::Redrive(redrive) => redrive.run(&common).await,
            Command::Export(export) => export.run(&common).await,
            Command::Import(import) => import.run(&common).await,
            Command::Purge(purge) => purge.run(&common).await,
            Command::Doctor(doctor) => doctor.run(&common).await,
            Command::Emulator(serve) => serve.run(&common).await,
            Command::Completions(completions) => completions.run(),
        }
    });
    // What is still being written may never be read.
    runtime.shutdown_background();
    result
}
