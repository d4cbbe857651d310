//! What a call costs, compared with what the same call costs without this crate.
//!
//! `cargo bench -p benches --bench calls` prints the table, and writes it into `README.md`; with `-- --compare FILE`,
//! the table of another commit is compared with it. Instructions and the heap are counted by valgrind, as the
//! difference of two runs, so that what is done once does not count. The processor's time is the least of three runs,
//! taken in turn, and the connections the most.

use std::{env, fs, path::Path};

mod by_hand;
mod clients;
mod load;
mod measure;
mod payload;
mod rows;
mod run;
mod server;
mod table;

use benches::Served;
use load::{Load, Result};

fn main() -> Result<()> {
    // Cargo adds one of its own.
    let args: Vec<_> = env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve"] => runtime.block_on(server::serve()),
        ["run", load] => runtime.block_on(run(serde_json::from_str(load)?)),
        [] => measure(None),
        ["--compare", file] => measure(Some(fs::read_to_string(file)?)),
        _ => Err("the only option is --compare FILE".into()),
    }
}

async fn run(load: Load) -> Result<()> {
    match load.client.as_str() {
        "ours" | "bounded" | "stored" => clients::ours(load).await,
        "by hand" => by_hand::by_hand(load).await,
        "bare" => clients::bare(load).await,
        "hyper" => clients::hyper(load).await,
        "acker" => clients::acker(load).await,
        "pusher" => clients::pusher(load).await,
        other => Err(format!("no client {other}").into()),
    }
}

fn measure(before: Option<String>) -> Result<()> {
    let (_server, site) = Served::start("serve")?;
    let rows = measure::all(&rows::rows(&serde_json::from_str(&site)?)?)?;
    let table = table::of(&rows);
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    fs::write(&readme, table::put(&fs::read_to_string(&readme)?, &table)?)?;
    match before {
        None => println!("{table}"),
        Some(before) => println!("{}", table::compared(&table, &before)),
    }
    Ok(())
}
