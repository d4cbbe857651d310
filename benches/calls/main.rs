//! What a call costs, beside what the same call costs without this crate.
//!
//! `cargo bench -p benches --bench calls` prints the table. Instructions and the heap are counted by valgrind, and left
//! out where it is not installed: as the difference of two runs, so that what is done once does not count. The
//! processor's time is the least of five runs, taken in turn, and the connections the most.

use std::env;

mod clients;
mod load;
mod measure;
mod payload;
mod run;
mod server;

use load::{Load, Result};
use server::Server;

const CLIENTS: [&str; 4] = ["by hand", "ours", "bare", "hyper"];

fn main() -> Result<()> {
    let args: Vec<_> = env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match args.first().map(String::as_str) {
        Some("serve") => runtime.block_on(server::serve()),
        Some("run") => runtime.block_on(run(Load::from_args(args.get(1..).unwrap_or_default())?)),
        _ => table(),
    }
}

async fn run(load: Load) -> Result<()> {
    match load.client.as_str() {
        "ours" | "bounded" => clients::ours(load).await,
        "by hand" => clients::by_hand(load).await,
        "bare" => clients::bare(load).await,
        "hyper" => clients::hyper(load).await,
        "acker" => clients::acker(load).await,
        other => Err(format!("no client {other}").into()),
    }
}

fn table() -> Result<()> {
    let server = Server::start()?;
    let load = |queue: &str, leases, in_flight| Load {
        client: String::new(),
        url: server.url.clone(),
        queue: queue.to_owned(),
        leases,
        calls: 0,
        in_flight,
    };
    println!("| | by hand | ours | ratio | bare | hyper |\n|---|---|---|---|---|---|");
    if measure::has_valgrind() {
        for leases in [1, 10, 100, 10_000] {
            let clients = if leases <= 100 { &CLIENTS[..] } else { &["by hand", "ours"] };
            costs(&format!("ack of {leases}"), clients, &load("ack", leases, 1))?;
        }
        for (encoding, what) in [("text", "text"), ("text-last", "text, `success` last"), ("base64", "base64")] {
            let load = load(&format!("{encoding}-1000"), 0, 1);
            costs(&format!("pull of 100, 1 KB of JSON as {what}"), &["by hand", "ours"], &load)?;
        }
        costs("ack of 1 by each of 100 tasks, ours by the acker", &["by hand", "acker"], &load("ack", 1, 100))?;
        let response = payload::pulled("text", 128_000)?.to_string().len() as f64;
        let peak = |client: &&str| Ok(measure::heap_peak(&load("text-128000", 0, 1).of(client))? / response);
        row("pull of 100, 128 KB: peak of the heap, in responses", &each(&["by hand", "ours"], peak)?);
    }
    let bounded = ["by hand", "bounded"];
    let in_flight =
        [(1, &CLIENTS[..]), (8, &CLIENTS), (64, &CLIENTS), (256, &CLIENTS), (1024, &CLIENTS), (1024, &bounded)];
    for (in_flight, clients) in in_flight {
        let name = if clients == bounded { "ack of 1, `max_in_flight(64)`, " } else { "ack of 1, " };
        let name = format!("{name}{in_flight} in flight");
        let loads: Vec<_> = clients.iter().map(|client| load("ack", 1, in_flight).of(client)).collect();
        let times = measure::times(&loads)?;
        row(&format!("{name}: µs of the processor"), &times.iter().map(|time| time.microseconds).collect::<Vec<_>>());
        row(&format!("{name}: MB at the peak"), &times.iter().map(|time| time.megabytes).collect::<Vec<_>>());
        row(&format!("{name}: connections"), &times.iter().map(|time| time.connections).collect::<Vec<_>>());
    }
    Ok(())
}

fn costs(name: &str, clients: &[&str], load: &Load) -> Result<()> {
    let costs = each(clients, |client| measure::cost(&load.clone().of(client)))?;
    row(&format!("{name}: instructions"), &costs.iter().map(|cost| cost.instructions).collect::<Vec<_>>());
    row(&format!("{name}: allocations"), &costs.iter().map(|cost| cost.allocations).collect::<Vec<_>>());
    row(&format!("{name}: bytes allocated"), &costs.iter().map(|cost| cost.bytes).collect::<Vec<_>>());
    Ok(())
}

fn each<T>(clients: &[&str], measure: impl FnMut(&&str) -> Result<T>) -> Result<Vec<T>> {
    clients.iter().map(measure).collect()
}

/// The first figure is what the second is compared with.
fn row(name: &str, figures: &[f64]) {
    let ratio = match figures {
        [by_hand, ours, ..] => ours / by_hand,
        _ => f64::NAN,
    };
    let digits = if figures.iter().all(|figure| *figure < 1000.0) { 1 } else { 0 };
    let mut cells: Vec<_> = figures.iter().map(|figure| format!("{figure:.digits$}")).collect();
    cells.resize(CLIENTS.len(), String::new());
    cells.insert(2, format!("{ratio:.2}"));
    println!("| {name} | {} |", cells.join(" | "));
}
