//! An emulator in the test's process, and the program beside it.

use std::time::Duration;

use assert_cmd::Command;
use cloudflare_queues::{
    PushMessage, Queue,
    emulator::{Emulator, EmulatorBuilder, QueuedMessage},
};
use serde_json::Value;
use tokio::runtime::Runtime;

pub struct World {
    pub emulator: Emulator,
    pub runtime: Runtime,
}

impl World {
    pub fn new() -> Self {
        Self::of(Emulator::builder().real_time())
    }

    pub fn of(builder: EmulatorBuilder) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        Self { emulator: runtime.block_on(builder.start()).unwrap(), runtime }
    }

    /// The program, connected to the emulator.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = bare(arguments);
        command
            .env("CLOUDFLARE_BASE_URL", self.emulator.base_url())
            .env("CLOUDFLARE_API_TOKEN", self.emulator.api_token())
            .env("CLOUDFLARE_ACCOUNT_ID", self.emulator.account_id().as_str());
        command
    }

    /// Standard output of a command that succeeds.
    pub fn run(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).assert().success().get_output().stdout.clone();
        String::from_utf8(output).unwrap()
    }

    /// Its lines, as JSON.
    pub fn objects(&self, arguments: &[&str]) -> Vec<Value> {
        self.run(arguments).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    pub fn queue(&self) -> Queue {
        self.emulator.queue().unwrap()
    }

    /// The id of the queue that every emulator has.
    pub fn id(&self) -> &str {
        self.emulator.queue_id().as_str()
    }

    pub fn push(&self, messages: &[PushMessage]) {
        self.runtime.block_on(self.queue().push_all(messages)).unwrap();
    }

    #[expect(dead_code, reason = "soon")]
    pub fn messages(&self) -> Vec<QueuedMessage> {
        self.emulator.messages(self.emulator.queue_id())
    }
}

/// The program, without anything in its environment that is about Cloudflare.
pub fn bare(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cf-queues"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CLOUDFLARE_")) {
        command.env_remove(name);
    }
    command.args(arguments).timeout(Duration::from_secs(60));
    command
}
