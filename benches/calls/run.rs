//! One run of a client, in a process of its own.

use std::{fs, rc::Rc};

use tokio::task::{JoinSet, LocalSet};

use crate::load::{Load, Result};

/// Makes the calls, and prints what they took: nanoseconds of the processor, kilobytes at the peak, and
/// connections.
pub(crate) async fn drive(load: Load, call: impl AsyncFn(usize) -> Result<()> + 'static) -> Result<()> {
    let (call, url) = (Rc::new(call), load.url.clone());
    connections(&url).await?;
    // What is done once is done here.
    call(0).await?;
    let start = cpu_time()?;
    let local = LocalSet::new();
    let mut tasks = JoinSet::new();
    for task in 0..load.in_flight {
        let (call, calls) = (Rc::clone(&call), load.calls / load.in_flight);
        tasks.spawn_local_on(
            async move {
                for _ in 0..calls {
                    call(task).await?;
                }
                Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
            },
            &local,
        );
    }
    local
        .run_until(async {
            while let Some(task) = tasks.join_next().await {
                task??;
            }
            Result::Ok(())
        })
        .await?;
    let cpu_time = cpu_time()? - start;
    println!("{cpu_time} {} {}", peak_memory()?, connections(&url).await?);
    Ok(())
}

/// Of all threads, in nanoseconds.
fn cpu_time() -> Result<u64> {
    let mut total = 0;
    for task in fs::read_dir("/proc/self/task")? {
        let times = fs::read_to_string(task?.path().join("schedstat"))?;
        total += times.split_whitespace().next().ok_or("no time")?.parse::<u64>()?;
    }
    Ok(total)
}

/// In kilobytes.
fn peak_memory() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).ok_or("no peak")?;
    Ok(line.split_whitespace().nth(1).ok_or("no figure")?.parse()?)
}

/// How many connections the server was asked for since the last question.
async fn connections(url: &str) -> Result<u64> {
    let response: serde_json::Value = reqwest::get(url).await?.json().await?;
    // This question has one of its own.
    Ok(response.get("result").and_then(|count| count.as_u64()).ok_or("no count")? - 1)
}
