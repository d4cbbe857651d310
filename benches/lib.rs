//! What the benchmarks share: a server in a process of its own, and what `/proc` says about a process.

use std::{
    env, fs,
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdout, Command, Stdio},
    time::Duration,
};

use cloudflare_queues::{Client, Credentials, Queue, emulator::Emulator};

/// The result of anything in a benchmark.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// A server: this program, started again. It stops when this is dropped, and should stop when its input ends.
pub struct Served {
    process: Child,
    output: BufReader<ChildStdout>,
}

impl Served {
    /// Starts this program with an argument, and returns the first line of its output.
    ///
    /// # Errors
    ///
    /// If it does not start.
    pub fn start(argument: &str) -> Result<(Self, String)> {
        let mut command = Command::new(env::current_exe()?);
        let mut process = command.arg(argument).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let output = BufReader::new(process.stdout.take().ok_or("no output")?);
        let mut served = Self { process, output };
        let line = served.line()?;
        Ok((served, line))
    }

    /// Writes an empty line to the server, and returns the line that it answers.
    ///
    /// # Errors
    ///
    /// If the server has stopped.
    pub fn ask(&mut self) -> Result<String> {
        self.process.stdin.as_mut().ok_or("no input")?.write_all(b"\n")?;
        self.line()
    }

    /// The process, by its directory in `/proc`.
    pub fn process(&self) -> String {
        self.process.id().to_string()
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        Ok(line)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The line that a server with an emulator starts with.
pub fn address(emulator: &Emulator) -> String {
    format!("{} {} {}", emulator.base_url(), emulator.account_id(), emulator.queue_id())
}

/// The queue of an emulator whose server started with this line.
///
/// # Errors
///
/// If the server started with another line.
pub fn queue(address: &str) -> Result<Queue> {
    let [base_url, account_id, queue_id] = address.split_whitespace().collect::<Vec<_>>()[..] else {
        return Err("the emulator did not start".into());
    };
    let client = Client::builder(Credentials::api_token("emulator-token")?).base_url(base_url).build()?;
    Ok(client.queues(account_id)?.queue(queue_id)?)
}

/// An entry of a process's status in kilobytes: `VmRSS` is the memory that it has, and `VmHWM` the most that it had.
///
/// # Errors
///
/// If there is no such process or entry.
pub fn status(process: &str, entry: &str) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find(|line| line.starts_with(entry)).ok_or("no such entry")?;
    Ok(line.split_whitespace().nth(1).ok_or("no figure")?.parse()?)
}

/// The time of the processor that all threads of this process took.
///
/// # Errors
///
/// If `/proc` does not say.
pub fn cpu_time() -> Result<Duration> {
    let mut total = 0;
    for task in fs::read_dir("/proc/self/task")? {
        let times = fs::read_to_string(task?.path().join("schedstat"))?;
        total += times.split_whitespace().next().ok_or("no time")?.parse::<u64>()?;
    }
    Ok(Duration::from_nanos(total))
}
