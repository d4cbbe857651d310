//! One run of a program, with a message on its standard input.

use std::{
    ffi::{OsStr, OsString},
    future::pending,
    io,
    path::{Display, Path},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use cloudflare_queues::{Error, Message, QueueId};
use tokio::{
    io::AsyncWriteExt,
    process::{Child, Command},
    time::{sleep, timeout},
};

use crate::{
    exit::{Exit, Failure},
    record::time,
};

/// How long a program may take to exit after it was asked to.
pub(super) const GRACE: Duration = Duration::from_secs(10);

pub(super) struct Program {
    program: OsString,
    arguments: Vec<OsString>,
    queue: String,
    timeout: Duration,
    with_lease: bool,
    /// Variables that the program does not get.
    hidden: Vec<String>,
}

/// How a program exited.
#[derive(Debug)]
pub(super) enum Ended {
    Status(i32),
    /// By a signal from elsewhere.
    Killed,
    TimedOut,
    /// It is final if every message would fail in the same way.
    NotStarted {
        error: io::Error,
        is_final: bool,
    },
    Undecodable(Error),
}

impl Program {
    pub(super) fn new(
        words: &[OsString],
        queue: &QueueId,
        timeout: Duration,
        with_lease: bool,
        hidden: Vec<String>,
    ) -> Result<Self, Failure> {
        let missing = || Failure::new(Exit::Input, "no program is given");
        let (program, arguments) = words.split_first().ok_or_else(missing)?;
        Ok(Self {
            program: program.clone(),
            arguments: arguments.to_vec(),
            queue: queue.to_string(),
            timeout,
            with_lease,
            hidden,
        })
    }

    pub(super) fn name(&self) -> Display<'_> {
        Path::new(&self.program).display()
    }

    pub(super) async fn run(&self, message: &Message) -> Ended {
        let body = match message.body.bytes() {
            Ok(body) => body,
            Err(error) => return Ended::Undecodable(error),
        };
        let mut child = match self.command(message).spawn() {
            Ok(child) => Running(child),
            Err(error) => {
                use io::ErrorKind::{ArgumentListTooLong, InvalidInput, OutOfMemory, WouldBlock};
                // These errors are transient, or concern only this message.
                let is_final = !matches!(error.kind(), ArgumentListTooLong | InvalidInput | OutOfMemory | WouldBlock);
                return Ended::NotStarted { error, is_final };
            }
        };
        let input = child.0.stdin.take();
        let ended = async {
            // A program need not read its input.
            let write = async {
                if let Some(mut input) = input {
                    let _ = input.write_all(&body).await;
                }
                pending().await
            };
            tokio::select! {
                status = child.0.wait() => status,
                status = write => status,
            }
        };
        if let Ok(status) = timeout(self.timeout, ended).await {
            return status.map_or(Ended::Killed, Ended::from);
        }
        let _ = timeout(GRACE, child.end()).await;
        Ended::TimedOut
    }

    fn command(&self, message: &Message) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).stdin(Stdio::piped()).kill_on_drop(true);
        self.hidden.iter().for_each(|name| _ = command.env_remove(name));
        let mut set = |name: &str, value: &dyn AsRef<OsStr>| _ = command.env(name, value);
        set("CF_QUEUES_MESSAGE_ID", &message.id);
        set("CF_QUEUES_QUEUE_ID", &self.queue);
        set("CF_QUEUES_CONTENT_TYPE", &message.body.content_type().as_str());
        if let Some(attempts) = message.attempts {
            set("CF_QUEUES_ATTEMPTS", &attempts.to_string());
        }
        if let Some(timestamp) = message.timestamp {
            set("CF_QUEUES_TIMESTAMP", &time(timestamp));
        }
        if let Ok(metadata) = serde_json::to_string(&message.metadata) {
            set("CF_QUEUES_METADATA", &metadata);
        }
        if self.with_lease {
            set("CF_QUEUES_LEASE_ID", &message.lease_id.expose_secret().as_ref());
        }
        // Ctrl-c on the terminal must not reach the program.
        #[cfg(unix)]
        command.process_group(0);
        command
    }
}

impl From<ExitStatus> for Ended {
    fn from(status: ExitStatus) -> Self {
        status.code().map_or(Self::Killed, Self::Status)
    }
}

/// A program that is killed, with its child processes, when this is dropped.
struct Running(Child);

impl Running {
    #[cfg(unix)]
    fn signal(&self, signal: rustix::process::Signal) {
        if let Some(id) = self.id() {
            let _ = rustix::process::kill_process_group(id, signal);
        }
    }

    /// Asks it to end, and waits until it has. It is not reaped then, so that its id is still that of its group, of
    /// which others may be left to kill.
    #[cfg(unix)]
    async fn end(&mut self) {
        use rustix::process::{Signal, WaitId, WaitIdOptions, waitid};

        self.signal(Signal::TERM);
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        while let Some(id) = self.id()
            && let Ok(None) = waitid(WaitId::Pid(id), options)
        {
            sleep(Duration::from_millis(20)).await;
        }
    }

    #[cfg(not(unix))]
    async fn end(&mut self) {
        let _ = self.0.kill().await;
    }

    /// Its id, which is that of its group as well, until it is reaped: then it can be another's.
    #[cfg(unix)]
    fn id(&self) -> Option<rustix::process::Pid> {
        self.0.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw)
    }
}

#[cfg(unix)]
impl Drop for Running {
    fn drop(&mut self) {
        self.signal(rustix::process::Signal::KILL);
    }
}
