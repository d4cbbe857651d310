//! `completions`: a script for a shell.

use std::io::{self, Write};

use clap::{Args, Command};
use clap_complete::{Shell, generate};

use crate::exit::Failure;

/// Print a script that completes commands and options in a shell
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  cf-queues completions bash > ~/.local/share/bash-completion/completions/cf-queues")]
pub(crate) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(&self, mut arguments: Command) -> Result<(), Failure> {
        let mut script = Vec::new();
        generate(self.shell, &mut arguments, "cf-queues", &mut script);
        Ok(io::stdout().write_all(&script)?)
    }
}
