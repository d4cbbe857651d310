//! One module a command.

pub(crate) mod ls;
pub(crate) mod peek;
pub(crate) mod push;

use std::io;

use crate::{
    arguments::{Arguments, Command},
    exit::{Exit, Failure},
};

/// Does what was asked for.
pub(crate) fn run(arguments: Arguments) -> Result<(), Failure> {
    let started = |error: io::Error| Failure::new(Exit::Service, format!("the program could not be started: {error}"));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(started)?;
    let common = arguments.common;
    runtime.block_on(async {
        match arguments.command {
            Command::Ls(ls) => ls.run(&common).await,
            Command::Peek(peek) => peek.run(&common).await,
            Command::Push(push) => push.run(&common).await,
        }
    })
}
