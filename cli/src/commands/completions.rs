//! `completions`: a script for a shell.

use std::io::{self, Write};

use clap::Args;
use clap_complete::env::Shells;

use crate::{
    common::Common,
    exit::{Exit, Failure},
};

/// The variable by which the script asks this program for candidates.
pub(crate) const VARIABLE: &str = "CF_QUEUES_COMPLETE";

const HELP: &str = "\
The script asks this program for candidates. It completes the names of queues too, if the account and the token are \
in the environment, or CF_QUEUES_PROFILE is.

Examples:
  source <(cf-queues completions bash)                                # in ~/.bashrc
  source <(cf-queues completions zsh)                                 # in ~/.zshrc, after compinit
  cf-queues completions fish > ~/.config/fish/completions/cf-queues.fish";

/// Print a script that completes commands, options and queues in a shell
#[derive(Args, Debug)]
#[command(after_help = HELP)]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_parser = ["bash", "elvish", "fish", "powershell", "zsh"])]
    shell: String,
}

impl Completions {
    pub(crate) fn run(&self, common: &Common) -> Result<(), Failure> {
        common.has_no_format("completions")?;
        let shells = Shells::builtins();
        let unknown = || Failure::new(Exit::Input, format!("no completions for {}", self.shell));
        let shell = shells.completer(&self.shell).ok_or_else(unknown)?;
        let mut script = Vec::new();
        shell.write_registration(VARIABLE, "cf-queues", "cf-queues", "cf-queues", &mut script)?;
        Ok(io::stdout().write_all(&script)?)
    }
}
