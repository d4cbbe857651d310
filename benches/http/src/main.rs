//! Which settings of HTTP suit this API, over TLS on loopback.
//!
//! `cargo run --release --manifest-path benches/http/Cargo.toml` prints the table; it takes valgrind. Each client is a process of its
//! own, and so is the server. Instructions are the difference of two runs, so that what is done once does not count. The rest is the
//! best of three runs, taken in turn, but for connections and failures, which are the most. A cell has the processor's time a call,
//! calls a second, memory and connections. `bounded` is `max_in_flight(64)`.

use std::{
    env,
    fmt::Display,
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

mod client;
mod server;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

const SETTINGS: [&str; 4] = ["HTTP/1.1", "HTTP/2", "HTTP/2, adaptive window", "HTTP/1.1 without TCP_NODELAY"];

fn main() -> Result<()> {
    let args: Vec<_> = env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve", round_trip, idle] => runtime.block_on(server::serve(round_trip.parse()?, idle.parse()?)),
        ["run", url, settings, what, in_flight, calls] => {
            runtime.block_on(client::run(url, settings, what, in_flight.parse()?, calls.parse()?))
        }
        _ => table(),
    }
}

fn table() -> Result<()> {
    println!("| | {} |\n|---|---|---|---|---|", SETTINGS.join(" | "));
    let near = Server::start(0, 0)?;
    for (what, calls) in [("ack 1", 40), ("ack 100", 40), ("pull 1000", 10), ("pull 128000", 1)] {
        let instructions = SETTINGS.map(|settings| near.instructions(settings, what, calls));
        row(&format!("{what}: instructions"), instructions)?;
    }
    let loads = [("ack 1", 4096), ("ack 100", 2048), ("pull 1000", 512), ("pull 128000", 64)];
    let loads = loads.map(|(what, calls)| [1, 8, 64].map(|in_flight| (what, in_flight, calls))).concat();
    let crowds = [("ack 1", 1024, 8192), ("bounded ack 1", 1024, 8192)];
    for (away, mut server) in [("", near), (", 10 ms away", Server::start(10, 0)?)] {
        for &(what, in_flight, calls) in loads.iter().chain(&crowds) {
            let calls = if away.is_empty() { calls } else { calls.min(64 * in_flight) };
            row(&format!("{what}, {in_flight} in flight{away}"), server.best(3, &SETTINGS, what, in_flight, calls)?)?;
        }
    }
    // Calls are as far apart as the service keeps connections, so that some meet one that is just being closed.
    let mut server = Server::start(10, 200)?;
    for (settings, kept) in [("HTTP/1.1", "longer"), ("kept for 150 ms", "shorter")] {
        for what in ["paced ack 1", "paced pull 1"] {
            let name = format!("{what}, connections kept {kept} than by the service");
            row(&name, server.best(1, &[settings], what, 1, 93)?)?;
        }
    }
    Ok(())
}

fn row(name: &str, cells: impl IntoIterator<Item = Result<impl Display>>) -> Result<()> {
    let cells: Vec<_> = cells.into_iter().map(|cell| Ok(cell?.to_string())).collect::<Result<_>>()?;
    println!("| {name} | {} |", cells.join(" | "));
    Ok(())
}

/// A running server; it stops when this is dropped.
struct Server {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    url: String,
}

impl Server {
    fn start(round_trip: u64, idle: u64) -> Result<Self> {
        let mut command = Command::new(env::current_exe()?);
        command.args(["serve", &round_trip.to_string(), &idle.to_string()]);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let input = process.stdin.take().ok_or("no input")?;
        let output = BufReader::new(process.stdout.take().ok_or("no output")?);
        let mut server = Self { process, input, output, url: String::new() };
        server.output.read_line(&mut server.url)?;
        Ok(server)
    }

    /// Runs a client under a command, which may be none, and returns what it says.
    fn client(&self, mut under: Command, settings: &str, what: &str, in_flight: usize, calls: usize) -> Result<String> {
        under.args(["run", self.url.trim(), settings, what, &in_flight.to_string(), &calls.to_string()]);
        let output = under.output()?;
        let said = String::from_utf8(output.stdout)? + &String::from_utf8(output.stderr)?;
        if output.status.success() { Ok(said) } else { Err(said.into()) }
    }

    fn best(
        &mut self,
        runs: usize,
        settings: &[&str],
        what: &str,
        in_flight: usize,
        calls: usize,
    ) -> Result<Vec<Result<String>>> {
        let mut best = vec![[f64::MAX, f64::MAX, 0.0, 0.0, 0.0]; settings.len()];
        for _ in 0..runs {
            for (settings, best) in settings.iter().zip(&mut best) {
                let mut said = self.client(Command::new(env::current_exe()?), settings, what, in_flight, calls)?;
                writeln!(self.input)?;
                self.output.read_line(&mut said)?;
                for (place, figure) in said.split_whitespace().enumerate() {
                    let best = best.get_mut(place).ok_or("more than five figures")?;
                    // The less time and memory, the better.
                    *best = if place < 2 { best.min(figure.parse()?) } else { best.max(figure.parse()?) };
                }
            }
        }
        let cell = |[cpu, memory, rate, failed, opened]: [f64; 5]| {
            let failed = if failed > 0.0 { format!(", {failed} failed") } else { String::new() };
            Ok(format!("{cpu:.0} µs, {rate:.0}/s, {memory:.0} MB, {opened}{failed}"))
        };
        Ok(best.into_iter().map(cell).collect())
    }

    /// Of one call.
    fn instructions(&self, settings: &str, what: &str, calls: usize) -> Result<u64> {
        let run = |calls| -> Result<u64> {
            let mut valgrind = Command::new("valgrind");
            valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(env::current_exe()?);
            let said = self.client(valgrind, settings, what, 1, calls)?;
            let (_, count) = said.split_once("Collected :").ok_or("valgrind said something else")?;
            Ok(count.split_whitespace().next().unwrap_or_default().parse()?)
        };
        Ok((run(calls * 5)? - run(calls)?) / (calls * 4) as u64)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
