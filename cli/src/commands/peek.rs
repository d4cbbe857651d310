//! `peek`: shows messages without changing anything.

use clap::Args;

use crate::{
    common::{Common, queues},
    exit::{Failure, tell},
    filter::{self, Condition, Filter},
    output::{self, Format, counted},
    record::Record,
};

/// The maximum number of messages of a peek.
const MOST: u32 = 100;

const EXAMPLE: &str = "Example:\n  cf-queues peek jobs -n 10 --bodies --filter 'attempts>=3'";

/// Look at messages without taking a lease
#[derive(Args, Debug)]
#[command(after_help = format!("{}\n\n{EXAMPLE}", filter::HELP))]
pub(crate) struct Peek {
    /// The queue's name or id
    #[arg(add = queues())]
    queue: String,
    /// How many messages: 1 to 100
    #[arg(short = 'n', long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100))]
    number: u32,
    /// Also show the bodies
    #[arg(long)]
    bodies: bool,
    /// Show only messages that meet this condition, of the first 100; repeat it for more
    #[arg(long, value_name = "CONDITION")]
    filter: Vec<Condition>,
}

impl Peek {
    pub(crate) async fn run(self, common: &Common) -> Result<(), Failure> {
        let queue = common.account.queue(&self.queue).await?;
        let is_filtered = !self.filter.is_empty();
        let messages = queue.peek(if is_filtered { MOST } else { self.number }).await?;
        let filter = Filter::from(self.filter);
        let found = messages.iter().filter(|message| filter.matches(*message)).take(self.number as usize);
        let rows: Vec<_> = found.map(|message| Record::of_peeked(message, self.bodies)).collect();
        output::print(Format::or_fitting(common.output), &rows)?;
        if messages.is_empty() {
            tell("cf-queues: no message is available; `cf-queues info` shows the backlog\n");
        } else if is_filtered {
            let looked_at = counted(messages.len() as u64, "available message", "available messages");
            tell(&format!("cf-queues: looked at the first {looked_at}; export looks at every one\n"));
        }
        Ok(())
    }
}
