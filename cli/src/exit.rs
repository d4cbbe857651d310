//! Exit codes and error messages.

use std::{
    error::Error as _,
    fmt,
    io::{self, Write},
    process::ExitCode,
    sync::OnceLock,
};

use cloudflare_queues::{Error, ErrorKind};

use crate::output::plain;

/// The exit codes, as `--help` lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Output = 1,
    Input = 2,
    NotFound = 3,
    Refused = 4,
    Partly = 5,
    Service = 6,
    Interrupted = 130,
}

impl Exit {
    pub(crate) fn of(error: &Error) -> Self {
        match error.kind() {
            ErrorKind::InvalidInput | ErrorKind::CredentialsUnavailable => Self::Input,
            ErrorKind::NotFound | ErrorKind::NoSuchConsumer => Self::NotFound,
            ErrorKind::UndecodableBody => Self::Partly,
            _ if error.is_transient() => Self::Service,
            ErrorKind::UnexpectedResponse => Self::Service,
            _ => Self::Refused,
        }
    }
}

/// The base URL, which errors of the network name.
static BASE_URL: OnceLock<String> = OnceLock::new();

pub(crate) fn speak_of(base_url: &str) {
    let _ = BASE_URL.set(base_url.to_owned());
}

/// Whether the service does not know the account.
pub(crate) fn is_account(error: &Error) -> bool {
    error.kind() == ErrorKind::NotFound && (error.has_code(7000) || error.has_code(7003))
}

/// Writes to standard error, where a failure changes nothing: macros such as `eprintln!` panic then, in the middle of
/// work on messages.
pub(crate) fn tell(text: &str) {
    let _ = anstream::stderr().lock().write_all(text.as_bytes());
}

/// Why a command failed.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    message: String,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }

    pub(crate) fn output(error: &io::Error) -> Self {
        Self::new(Exit::Output, format!("the output could not be written: {error}"))
    }

    /// A failure of a call without the library's advice, which is for programmers.
    pub(crate) fn described(error: &Error) -> Self {
        let text = error.to_string().replacen(&format!("; {}", error.next_step()), "", 1);
        let mut text = text.replace("allow_plain_http() is called", "--plain-http is given");
        if let (ErrorKind::Transport | ErrorKind::Timeout, Some(url)) = (error.kind(), BASE_URL.get()) {
            text = format!("{text}: {url}");
            if error.source().is_some() {
                text = format!("{text}: {}", innermost(error));
            }
        }
        Self::new(Exit::of(error), text)
    }

    pub(crate) fn with_note(mut self, note: &str) -> Self {
        self.message = format!("{}\n{note}", self.message);
        self
    }

    pub(crate) fn exit(&self) -> Exit {
        self.exit
    }

    /// The program was told to stop a second time.
    pub(crate) fn interrupted() -> Self {
        Self::new(Exit::Interrupted, "interrupted")
    }

    /// The same, of a program that holds leases.
    pub(crate) fn interrupted_with_leases(raise_retries: bool) -> Self {
        let failure = Self::interrupted().with_note(
            "messages that were pulled are hidden until their leases end: for a minute, or, if more than 20,000 stay, \
             for a second for each 300 of them, up to an hour",
        );
        match raise_retries {
            true => failure.with_note("max_retries of the queue may still be raised: `cf-queues info` shows it"),
            false => failure,
        }
    }

    /// Prints the error.
    pub(crate) fn report(self) -> ExitCode {
        let mut start = "cf-queues: ";
        for line in self.message.lines() {
            tell(&format!("{start}{}\n", plain(line)));
            start = "  ";
        }
        ExitCode::from(self.exit as u8)
    }
}

/// The second line says what to do.
impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let advice = match error.kind() {
            // The text says what is wrong, and nothing was sent.
            ErrorKind::InvalidInput | ErrorKind::CredentialsUnavailable => return Self::described(&error),
            _ if is_account(&error) => "check --account, or CLOUDFLARE_ACCOUNT_ID, and the base URL",
            ErrorKind::NotFound => "check the account id and the queue's name or id; `cf-queues ls` lists the queues",
            ErrorKind::Unauthorized => {
                "check the token, that it has the permission Queues Write, and that it is for this account"
            }
            ErrorKind::DeliveryPaused => "`cf-queues resume` resumes delivery",
            _ => error.next_step(),
        };
        let failure = Self::described(&error).with_note(advice);
        match error.kind() {
            ErrorKind::NotFound | ErrorKind::Unauthorized | ErrorKind::NotPullConsumer | ErrorKind::DeliveryPaused => {
                failure.with_note("`cf-queues doctor QUEUE`, with the queue's name, finds out more")
            }
            _ => failure,
        }
    }
}

/// A closed pipe means that the reader has read enough.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::new(Exit::Output, "");
        }
        Self::output(&error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// The cause of all other errors in the chain.
pub(crate) fn innermost(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
