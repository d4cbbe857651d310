//! `doctor`: what is wrong, and what to do about it.

mod checks;
mod probe;

use std::{
    io::{self, IsTerminal},
    path::PathBuf,
    time::Duration,
};

use clap::Args;
use cloudflare_queues::{Queue, manage::ConsumerSettings};
use serde::Serialize;

use self::checks::Checks;
use crate::{
    common::{Common, queues},
    exit::{Exit, Failure, tell},
    output::{self, Format, Row},
};

const HELP: &str = "\
It checks the credentials, the account, the network, the proxy, the clock and, if one is named, a queue: its name, \
its pull consumer, its settings. It changes nothing, but offers to enable a missing pull consumer.

--probe tests what Cloudflare's documentation leaves open: how leases are extended, what happens to late and unknown \
leases, how bodies are encoded, which limits are enforced. It pushes and deletes messages for some seven minutes, so \
the queue must be empty, and nothing else may use it. The report has no secrets: paste it into an issue of this \
project. --record keeps its requests and responses for this project's tests, with names instead of ids and leases.

Examples:
  cf-queues doctor jobs
  cf-queues doctor --probe scratch > report.md
  cf-queues doctor --probe scratch --record answers";

/// Find out what is wrong with credentials, names, the network or a queue, and what to do about it
#[derive(Args, Debug)]
#[command(after_help = HELP)]
pub(crate) struct Doctor {
    /// The name or id of a queue to look at
    #[arg(add = queues())]
    queue: Option<String>,
    /// Enable a pull consumer if the queue has no consumer, without asking
    #[arg(long, requires = "queue")]
    enable_pull: bool,
    /// Test undocumented behavior on an empty queue of your own, and print a report
    #[arg(long, value_name = "QUEUE", conflicts_with = "queue")]
    probe: Option<String>,
    /// Write each request of the probe and its response to a file in this new folder, without secrets
    #[arg(long, value_name = "DIR", requires = "probe")]
    record: Option<PathBuf>,
    /// How long the leases of a probe last
    #[arg(long, hide = true, default_value = "10s", value_parser = humantime::parse_duration)]
    probe_lease: Duration,
}

/// The result of a check.
#[derive(Serialize)]
struct Finding {
    check: &'static str,
    state: State,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
    #[serde(skip)]
    exit: Exit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Ok,
    Doubtful,
    Wrong,
}

impl Row for Finding {
    fn head(&self) -> Vec<&'static str> {
        vec!["", "CHECK", "FOUND", "WHAT TO DO"]
    }

    fn cells(&self) -> Vec<String> {
        let state = match self.state {
            State::Ok => "ok",
            State::Doubtful => "?",
            State::Wrong => "WRONG",
        };
        vec![state.to_owned(), self.check.to_owned(), self.found.clone(), output::cell(self.advice.as_ref())]
    }
}

impl Doctor {
    pub(crate) async fn run(self, common: &Common) -> Result<(), Failure> {
        if let Some(queue) = &self.probe {
            return probe::run(common, queue, self.probe_lease, self.record).await;
        }
        let mut checks = Checks::default();
        let queue = checks.all(&common.account, self.queue.as_deref()).await;
        output::print(Format::or_fitting(common.output), &checks.findings)?;
        if let Some(queue) = queue.filter(|_| checks.lacks_consumer)
            && (self.enable_pull || asked("Enable a pull consumer of the queue? [y/N] ")?)
        {
            enable(&queue).await?;
            checks.findings.retain(|finding| finding.check != "consumer");
        }
        let wrong = checks.findings.iter().find(|finding| finding.state == State::Wrong).map(|finding| finding.exit);
        wrong.map_or(Ok(()), |exit| Err(Failure::new(exit, "")))
    }
}

async fn enable(queue: &Queue) -> Result<(), Failure> {
    queue.enable_pull(ConsumerSettings::pull()).await?;
    tell("cf-queues: enabled; pulls may be refused for some seconds yet\n");
    Ok(())
}

/// Asks only at a terminal.
fn asked(question: &str) -> io::Result<bool> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Ok(false);
    }
    tell(question);
    let mut reply = String::new();
    io::stdin().read_line(&mut reply)?;
    Ok(matches!(reply.trim(), "y" | "Y" | "yes"))
}
