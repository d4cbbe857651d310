//! `ls`: the queues of the account.

use clap::Args;
use cloudflare_queues::manage::QueueDescription;
use serde::Serialize;

use crate::{
    common::Common,
    exit::Failure,
    output::{self, Format, Row, cell},
};

/// List the queues of the account
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  cf-queues ls --output ndjson | jq -r .name")]
pub(crate) struct Ls {}

#[derive(Serialize)]
struct Entry {
    name: String,
    id: Option<String>,
    consumers: Option<u64>,
    producers: Option<u64>,
    paused: Option<bool>,
}

impl Ls {
    pub(crate) async fn run(&self, common: &Common) -> Result<(), Failure> {
        let queues = common.account.queues()?.list().all().await?;
        let entries: Vec<Entry> = queues.iter().map(Entry::from).collect();
        Ok(output::print(Format::or_fitting(common.output), &entries)?)
    }
}

impl From<&QueueDescription> for Entry {
    fn from(queue: &QueueDescription) -> Self {
        Self {
            name: queue.name().to_owned(),
            id: queue.id().ok().map(|id| id.to_string()),
            consumers: queue.consumer_count(),
            producers: queue.producer_count(),
            paused: queue.delivery_paused(),
        }
    }
}

impl Row for Entry {
    fn head(&self) -> Vec<&'static str> {
        vec!["NAME", "ID", "CONSUMERS", "PRODUCERS", "PAUSED"]
    }

    fn cells(&self) -> Vec<String> {
        let paused = self.paused.map(|paused| if paused { "yes" } else { "no" });
        vec![self.name.clone(), cell(self.id.as_ref()), cell(self.consumers), cell(self.producers), cell(paused)]
    }
}
