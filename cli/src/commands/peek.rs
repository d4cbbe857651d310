//! `peek`: shows messages without changing anything.

use clap::Args;

use crate::{
    common::Common,
    exit::Failure,
    output::{self, Format},
    record::Record,
};

/// Look at messages without taking a lease
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  cf-queues peek jobs -n 10 --bodies")]
pub(crate) struct Peek {
    /// The queue's name or id
    queue: String,
    /// How many messages: 1 to 100
    #[arg(short = 'n', long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100))]
    number: u32,
    /// Also show the bodies
    #[arg(long)]
    bodies: bool,
}

impl Peek {
    pub(crate) async fn run(&self, common: &Common) -> Result<(), Failure> {
        let messages = common.account.queue(&self.queue).await?.peek(self.number).await?;
        let rows: Vec<_> = messages.iter().map(|message| Record::of_peeked(message, self.bodies)).collect();
        Ok(output::print(Format::or_fitting(common.output), &rows)?)
    }
}
