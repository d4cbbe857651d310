//! `push`: messages from an argument, a file or standard input.

use clap::Args;
use cloudflare_queues::PushMessage;

use crate::{arguments::Common, exit::Failure};

/// Push messages
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  cf-queues push jobs 'hello'")]
pub(crate) struct Push {
    /// The queue's name or id
    queue: String,
    /// The body
    body: String,
}

impl Push {
    pub(crate) async fn run(&self, common: &Common) -> Result<(), Failure> {
        common.account.queue(&self.queue).await?.push(&PushMessage::text(&self.body)).await?;
        Ok(())
    }
}
