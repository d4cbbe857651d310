//! `completions`: a script for a shell.

use std::io::{self, Write};

use clap::{Args, CommandFactory};
use clap_complete::{Shell, generate};

use crate::{arguments::Arguments, exit::Failure};

/// Print a script that completes commands and options in a shell
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  cf-queues completions bash > ~/.local/share/bash-completion/completions/cf-queues")]
pub(crate) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let mut script = Vec::new();
        generate(self.shell, &mut Arguments::command(), "cf-queues", &mut script);
        Ok(io::stdout().write_all(&script)?)
    }
}
