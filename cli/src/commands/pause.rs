//! `pause` and `resume`: whether the queue delivers messages.

use clap::Args;
use cloudflare_queues::{Error, manage::QueueDescription};
use serde::Serialize;

use crate::{
    common::{Common, queues},
    exit::Failure,
    output::{self, Format, Row},
};

/// Pause delivery from a queue: pulls are refused, and messages can still be pushed
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  cf-queues pause jobs")]
pub(crate) struct Pause {
    /// The queue's name or id
    #[arg(add = queues())]
    queue: String,
}

/// Resume delivery from a queue
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  cf-queues resume jobs")]
pub(crate) struct Resume {
    /// The queue's name or id
    #[arg(add = queues())]
    queue: String,
}

impl Pause {
    pub(crate) async fn run(&self, common: &Common) -> Result<(), Failure> {
        show(common.account.queue(&self.queue).await?.pause().await, common)
    }
}

impl Resume {
    pub(crate) async fn run(&self, common: &Common) -> Result<(), Failure> {
        show(common.account.queue(&self.queue).await?.resume().await, common)
    }
}

#[derive(Serialize)]
struct State {
    name: String,
    paused: Option<bool>,
}

fn show(described: Result<QueueDescription, Error>, common: &Common) -> Result<(), Failure> {
    let described = described?;
    let state = State { name: described.name().to_owned(), paused: described.delivery_paused() };
    Ok(output::print(Format::or_fitting(common.output), &[state])?)
}

impl Row for State {
    fn head(&self) -> Vec<&'static str> {
        vec!["NAME", "PAUSED"]
    }

    fn cells(&self) -> Vec<String> {
        vec![self.name.clone(), output::yes_or_no(self.paused)]
    }
}
