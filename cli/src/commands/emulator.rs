//! `emulator`: the service on this machine, for programs in any language.

mod announcement;
mod config;
mod health;
mod wrangler;

use std::{
    env, fs,
    io::{self, Write},
    mem,
    path::{Path, PathBuf},
    thread,
};

use clap::{Args, ValueEnum, builder::BoolishValueParser};
use cloudflare_queues::{
    AccountId, Error,
    emulator::{Behavior, Emulator},
};
use tokio::{net::TcpListener, sync::oneshot};

use self::{announcement::Announcement, wrangler::Bridge};
use crate::{
    account::{Account, install_tls},
    common::Common,
    exit::{Exit, Failure},
    output::Format,
    signals::Signals,
};

/// Serve an emulator of Cloudflare Queues, until ctrl-c or SIGTERM
///
/// It serves the whole API from memory, a page to watch at /, GET /health, and control below /_emulator. The last three
/// take no credentials: whoever reaches the port can read and change everything.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Serve {
    /// The address or the name to serve on; 0.0.0.0 for every interface
    #[arg(long, value_name = "ADDRESS", env = "CF_QUEUES_EMULATOR_HOST", default_value = "127.0.0.1")]
    host: String,
    /// The port to serve on; 0 for a free one
    #[arg(long, env = "CF_QUEUES_EMULATOR_PORT", default_value_t = 8790)]
    port: u16,
    /// A file with queues, each a table [[queues]] with the keys of --queue and a list of messages, and a table
    /// [behavior]
    #[arg(long, value_name = "FILE", env = "CF_QUEUES_EMULATOR_CONFIG", conflicts_with = "queues")]
    config: Option<PathBuf>,
    /// A queue, its id if that matters, and its settings: delivery_delay, delivery_paused, message_retention_period,
    /// visibility_timeout_ms, max_retries, retry_delay, dead_letter_queue (a name), as Cloudflare's API has them.
    /// Several are separated by spaces
    #[arg(
        long = "queue",
        value_name = "NAME[,KEY=VALUE]...",
        env = "CF_QUEUES_EMULATOR_QUEUES",
        value_delimiter = ' '
    )]
    queues: Vec<String>,
    /// How it behaves where Cloudflare's documentation leaves that open; GET /_emulator/behavior lists all switches
    #[arg(long = "behavior", value_name = "NAME=VALUE", env = "CF_QUEUES_EMULATOR_BEHAVIOR", value_delimiter = ' ')]
    behavior: Vec<String>,
    /// A token to accept instead of emulator-token; "any" accepts every token. ACCOUNT=TOKEN adds one that is valid for
    /// this account alone
    #[arg(
        long = "token",
        value_name = "[ACCOUNT=]TOKEN",
        env = "CF_QUEUES_EMULATOR_TOKENS",
        hide_env_values = true,
        value_delimiter = ' '
    )]
    tokens: Vec<String>,
    /// Let the clock stand still until it is advanced by POST /_emulator/advance
    #[arg(long, env = "CF_QUEUES_EMULATOR_FROZEN", value_parser = BoolishValueParser::new())]
    frozen: bool,
    /// The URL by which clients reach it, if that is another one, as in a container; it is printed and written
    #[arg(long, value_name = "URL", env = "CF_QUEUES_EMULATOR_PUBLIC_URL")]
    public_url: Option<String>,
    /// Also end when standard input ends, as it does when the program that started this one ends in any way
    #[arg(long)]
    exit_with_stdin: bool,
    /// Serve nothing: ask the emulator at this URL whether it serves
    #[arg(long, value_name = "URL", num_args = 0..=1, default_missing_value = "http://127.0.0.1:8790")]
    health: Option<String>,
    /// Keep queues and messages in this file, so that they survive a restart
    #[arg(long, value_name = "FILE", env = "CF_QUEUES_EMULATOR_PERSIST")]
    persist: Option<PathBuf>,
    /// Print the variables that clients read as lines that a shell exports
    #[arg(long)]
    env: bool,
    /// Write these variables to a file, for the --env-file of other programs, which is there while the emulator serves
    // Node.js takes an option --env-file for its own, also after the name of a script such as npm's launcher.
    #[arg(long = "write-env", value_name = "FILE", env = "CF_QUEUES_EMULATOR_WRITE_ENV")]
    env_file: Option<PathBuf>,
    /// Write a line for each request to standard error
    #[arg(
        long,
        value_name = "FORM",
        env = "CF_QUEUES_EMULATOR_LOG",
        num_args = 0..=1,
        default_missing_value = "text"
    )]
    log: Option<Log>,
    /// Take what Workers under `wrangler dev` send to these queues; run it where wrangler is in node_modules
    #[arg(long)]
    wrangler: bool,
    /// Hand the messages of a queue over to its consumer under `wrangler dev`
    #[arg(long, value_name = "QUEUE", requires = "wrangler")]
    deliver: Vec<String>,
    /// There is no other service to reach.
    #[arg(long, hide = true)]
    base_url: Option<String>,
    #[arg(long, hide = true)]
    plain_http: bool,
    #[arg(long, hide = true)]
    profile: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Log {
    /// A sentence for people
    Text,
    /// A JSON object
    Json,
}

const EXAMPLES: &str = "\
Examples:
  cf-queues emulator --queue orders,max_retries=5,dead_letter_queue=orders-dead
  cf-queues emulator --config queues.toml --write-env emulator.env --log
  cf-queues emulator --queue jobs --queue orders --wrangler --deliver orders
  curl -X POST localhost:8790/_emulator/advance -d '{\"seconds\": 30}'";

/// What is wrong with a queue of a file or an argument.
fn refused(from: &str, queue: &str, error: &Error) -> Failure {
    Failure::new(Exit::Input, format!("{from}: the queue `{queue}`: {}", Failure::described(error)))
}

/// The values of an option. In a variable, several spaces are as one, and nothing but spaces is nothing.
fn given(values: &[String], variable: &str) -> Vec<String> {
    let is_variable = env::var(variable).is_ok_and(|text| text.split(' ').eq(values));
    values.iter().filter(|value| !is_variable || !value.is_empty()).cloned().collect()
}

/// Keeps other emulators from writing the same file while this process runs. The file itself is replaced at times.
#[cfg(unix)]
fn lock(path: &Path) -> io::Result<()> {
    use rustix::fs::{FlockOperation, flock};

    // The emulator refuses what is no file.
    if path.exists() && !path.is_file() {
        return Ok(());
    }
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let file = fs::File::create(name)?;
    flock(&file, FlockOperation::NonBlockingLockExclusive)
        .map_err(|_| io::Error::other("another emulator keeps its queues there"))?;
    // The lock is that of the open file.
    mem::forget(file);
    Ok(())
}

#[cfg(not(unix))]
fn lock(_: &Path) -> io::Result<()> {
    Ok(())
}

/// In a thread of its own, for which the end of the program does not wait.
async fn stdin_ends() {
    let (ended, end) = oneshot::channel();
    thread::spawn(move || {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        ended.send(())
    });
    let _ = end.await;
}

impl Serve {
    pub(crate) async fn run(&self, common: &Common) -> Result<(), Failure> {
        if self.base_url.is_some() || self.plain_http || self.profile.is_some() {
            let message = "--base-url, --plain-http and --profile are for the other commands; --public-url sets what \
                           is announced";
            return Err(Failure::new(Exit::Input, message));
        }
        if let Some(url) = &self.health {
            return health::check(url);
        }
        if self.public_url.as_deref().is_some_and(|url| !announcement::is_url(url)) {
            // It may hold a password.
            let what = "--public-url: not a URL such as http://queues:8790, without a user name or a query";
            return Err(Failure::new(Exit::Input, what));
        }
        // Before anything is printed, so that whoever reads it can end the program.
        let signals = Signals::listen()?;
        let config = match &self.config {
            Some(file) => config::read(file)?,
            None => config::of_arguments(&given(&self.queues, "CF_QUEUES_EMULATOR_QUEUES"))?,
        };
        let behavior = config::behave(config.behavior, &given(&self.behavior, "CF_QUEUES_EMULATOR_BEHAVIOR"))?;
        let (host, port) = (self.host.as_str(), self.port);
        let not_bound = |error: io::Error| {
            let failure = Failure::new(Exit::Input, format!("--host {host} --port {port}: {error}"));
            match error.kind() {
                io::ErrorKind::AddrInUse => failure.with_note("--port 0 takes a free one"),
                _ => failure,
            }
        };
        let listener = TcpListener::bind((host, port)).await.map_err(not_bound)?;
        let (emulator, queues) = self.prepare(&config.queues, behavior, &common.account).await?;
        self.remove_old_variables();
        let address = listener.local_addr()?;
        let announcement = Announcement::new(&emulator, address, self.public_url.as_deref(), &queues);
        let serving = emulator.clone();
        let _serving = tokio::spawn(async move { serving.serve(listener).await });
        let mut bridge = match self.wrangler {
            true => Some(Bridge::start(&Announcement::new(&emulator, address, None, &queues), &self.deliver).await?),
            false => None,
        };
        let served = self.announce(&announcement, &emulator, &mut bridge, signals, common).await;
        if let Some(bridge) = bridge {
            bridge.end().await;
        }
        served
    }

    /// Says that it serves, and waits for a reason to end.
    async fn announce(
        &self,
        announcement: &Announcement,
        emulator: &Emulator,
        bridge: &mut Option<Bridge>,
        signals: Signals,
        common: &Common,
    ) -> Result<(), Failure> {
        // Nobody has to read it.
        match self.log {
            None => {}
            Some(Log::Text) => emulator.on_request(|request| drop(writeln!(io::stderr(), "{request}"))),
            Some(Log::Json) => emulator.on_request(|request| {
                let line = serde_json::to_string(request).unwrap_or_default();
                drop(writeln!(io::stderr(), "{line}"));
            }),
        }
        let env_file = self.env_file.as_ref().map(|path| {
            let not_written = |error| Failure::new(Exit::Output, format!("--write-env {}: {error}", path.display()));
            announcement.write(path).map_err(not_written)
        });
        let _env_file = env_file.transpose()?;
        announcement.print(self.env, Format::or_fitting(common.output))?;
        tokio::select! {
            failure = Bridge::failed(bridge) => Err(failure),
            error = emulator.persisting_failed() => Err(self.not_kept(&error)),
            () = signals.told(1) => Ok(()),
            () = stdin_ends(), if self.exit_with_stdin => Ok(()),
        }
    }

    /// Removes the file that an emulator left that was killed: whoever waits for it must not take it for that of this
    /// one. Not earlier than this one is sure to serve, since a refused one must leave the file of another.
    fn remove_old_variables(&self) {
        if let Some(path) = &self.env_file {
            let _ = fs::remove_file(path);
        }
    }

    fn not_kept(&self, error: &io::Error) -> Failure {
        let path = self.persist.as_deref().unwrap_or(Path::new(""));
        Failure::new(Exit::Output, format!("--persist {}: {error}", path.display()))
    }

    /// An emulator with these queues, and with their names the ids that they have.
    async fn prepare(
        &self,
        wanted: &[config::Queue],
        behavior: Behavior,
        account: &Account,
    ) -> Result<(Emulator, Vec<(String, String)>), Failure> {
        install_tls();
        let mut builder = Emulator::builder().control().behavior(behavior);
        let id = |of: &str, id: &str| {
            let wrong = |error| Failure::new(Exit::Input, format!("{of}: {}", Failure::described(&error)));
            id.parse::<AccountId>().map_err(wrong)
        };
        if let Some(account) = account.given_id() {
            builder = builder.account_id(id("--account", &account)?);
        }
        let mut has_token = false;
        for token in &given(&self.tokens, "CF_QUEUES_EMULATOR_TOKENS") {
            builder = match token.split_once('=') {
                Some((account, token)) => builder.account_token(id("--token", account)?, token),
                None if token == "any" => builder.any_token(),
                None if mem::replace(&mut has_token, true) => {
                    let message = "--token: only one is for all accounts; give others as ACCOUNT=TOKEN";
                    return Err(Failure::new(Exit::Input, message));
                }
                None => builder.api_token(token),
            };
        }
        let builder = if self.frozen { builder.frozen() } else { builder.real_time() };
        let emulator = builder.in_process();
        let account = emulator.in_process_builder()?.build()?.queues(emulator.account_id().clone())?;
        account.queue(emulator.queue_id().clone())?.delete().await?;
        if let Some(path) = &self.persist {
            lock(path).map_err(|error| self.not_kept(&error))?;
            // Restoring may take long.
            self.remove_old_variables();
            emulator.persist(path).map_err(|error| self.not_kept(&error))?;
        }
        let from = self.config.as_ref().map_or("--queue".to_owned(), |file| file.display().to_string());
        let mut made = Vec::new();
        for config in wanted {
            let wrong = |error| refused(&from, &config.name, &error);
            let kept = account.find(&config.name).await.map_err(wrong)?;
            let is_new = kept.is_none();
            let mut queue = match kept {
                Some(kept) => account.queue(kept.id()?)?,
                None => account.create(config.new_queue()).await.map_err(wrong)?,
            };
            if !is_new {
                let _ = queue.update(config.settings()).await.map_err(wrong)?;
            }
            if let Some(id) = config.id.as_ref().filter(|id| *id != queue.id().as_str()) {
                emulator.set_queue_id(queue.id(), id.as_str()).map_err(wrong)?;
                queue = account.queue(id.as_str())?;
            }
            made.push((config, queue, is_new));
        }
        // By now, the queues that take dead letters are there.
        for (config, queue, is_new) in &made {
            let wrong = |error| refused(&from, &config.name, &error);
            let _ = match queue.consumers().await?.first() {
                Some(kept) => queue.update_consumer(&kept.id()?, &config.consumer()).await.map_err(wrong)?,
                None => queue.create_consumer(&config.consumer()).await.map_err(wrong)?,
            };
            if *is_new {
                emulator.seed(queue.id(), config.messages.iter().cloned()).map_err(wrong)?;
            }
        }
        emulator.save_configuration();
        let ids = made.iter().map(|(config, queue, _)| (config.name.clone(), queue.id().to_string()));
        Ok((emulator, ids.collect()))
    }
}
