//! `--wrangler`: the queues of the emulator in sessions of `wrangler dev`.

use std::{future, io, process::Stdio, time::Duration};

use serde::Deserialize;
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

use super::announcement::Announcement;
use crate::exit::{Exit, Failure};

/// How long the bridge may take to leave the dev registry.
const MOST: Duration = Duration::from_secs(2);

/// A program in Node.js, which wrangler needs anyway: it is the one that finds wrangler's own `workerd`.
const PROGRAM: &str = include_str!("wrangler/bridge.js");

/// The running bridge.
pub(super) struct Bridge {
    child: Child,
    input: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

/// A line of the bridge.
#[derive(Deserialize)]
struct Told {
    error: Option<String>,
}

impl Bridge {
    /// Starts it, and waits until messages pass. `deliver` names the queues whose messages go to Workers.
    pub(super) async fn start(announcement: &Announcement, deliver: &[String]) -> Result<Self, Failure> {
        if let Some(unknown) = deliver.iter().find(|name| !announcement.queues.contains_key(*name)) {
            return Err(Failure::new(Exit::Input, format!("--deliver {unknown}: the emulator has no such queue")));
        }
        let from_workers = announcement.queues.keys().filter(|name| !deliver.contains(name));
        let settings = json!({
            "url": announcement.url,
            "base": announcement.base_url,
            "token": announcement.api_token,
            "account": announcement.account_id,
            "queues": from_workers.collect::<Vec<_>>(),
            "deliver": deliver,
            "inbox": include_str!("wrangler/inbox.js"),
            "outbox": include_str!("wrangler/outbox.js"),
        });
        let mut command = Command::new("node");
        command.args(["--input-type=module", "--eval", PROGRAM]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Self::failure("Node.js is needed, and there is no `node` on the path"),
            _ => Self::failure(&format!("node: {error}")),
        })?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Self::failure("node has no standard input and output"));
        };
        let mut bridge = Self { child, input, lines: BufReader::new(output).lines() };
        // If it does not read them, it says why.
        let _ = bridge.input.write_all(format!("{settings}\n").as_bytes()).await;
        bridge.told().await.map(|()| bridge)
    }

    /// Completes when the bridge fails, never without one.
    pub(super) async fn failed(bridge: &mut Option<Self>) -> Failure {
        let Some(bridge) = bridge else { return future::pending().await };
        loop {
            if let Err(failure) = bridge.told().await {
                return failure;
            }
        }
    }

    /// Lets it leave the dev registry.
    pub(super) async fn end(mut self) {
        let _ = self.input.write_all(b"end\n").await;
        if timeout(MOST, self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
    }

    /// The next line: an error, or that messages pass.
    async fn told(&mut self) -> Result<(), Failure> {
        let line = self.lines.next_line().await.ok().flatten();
        match line.map(|line| serde_json::from_str(&line)) {
            Some(Ok(Told { error: None })) => Ok(()),
            Some(Ok(Told { error: Some(error) })) => Err(Self::failure(&error)),
            _ => Err(Self::failure("the bridge to wrangler ended")),
        }
    }

    fn failure(why: &str) -> Failure {
        Failure::new(Exit::Service, format!("--wrangler: {why}"))
    }
}
