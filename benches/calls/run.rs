//! One run of a client, in a process of its own.

use std::{fs, rc::Rc};

use tokio::task::{JoinSet, LocalSet};

use crate::{Result, clients};

/// What a client is to do.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    pub(crate) client: String,
    pub(crate) url: String,
    /// `ack`, or for a pull its encoding and size.
    pub(crate) queue: String,
    pub(crate) leases: usize,
    pub(crate) calls: usize,
    pub(crate) in_flight: usize,
}

impl Load {
    pub(crate) fn of(self, client: &str) -> Self {
        Self { client: client.to_owned(), ..self }
    }

    pub(crate) fn to_args(&self) -> [String; 7] {
        let number = |number: usize| number.to_string();
        [
            "run".into(),
            self.client.clone(),
            self.url.clone(),
            self.queue.clone(),
            number(self.leases),
            number(self.calls),
            number(self.in_flight),
        ]
    }

    pub(crate) fn from_args(args: &[String]) -> Result<Self> {
        let [client, url, queue, leases, calls, in_flight] = args else { return Err("six arguments".into()) };
        Ok(Self {
            client: client.clone(),
            url: url.clone(),
            queue: queue.clone(),
            leases: leases.parse()?,
            calls: calls.parse()?,
            in_flight: in_flight.parse()?,
        })
    }

    pub(crate) fn is_pull(&self) -> bool {
        self.queue != "ack"
    }

    /// Makes the calls, and prints what they took: nanoseconds of the processor, kilobytes at the peak, and
    /// connections.
    pub(crate) async fn run(self, call: impl AsyncFn(usize) -> Result<()> + 'static) -> Result<()> {
        let (call, url) = (Rc::new(call), self.url.clone());
        connections(&url).await?;
        // What is done once is done here.
        call(0).await?;
        let start = cpu_time()?;
        let local = LocalSet::new();
        let mut tasks = JoinSet::new();
        for task in 0..self.in_flight {
            let (call, calls) = (Rc::clone(&call), self.calls / self.in_flight);
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
}

pub(crate) async fn run(load: Load) -> Result<()> {
    match load.client.as_str() {
        "ours" | "bounded" => clients::ours(load).await,
        "by hand" => clients::by_hand(load).await,
        "bare" => clients::bare(load).await,
        "hyper" => clients::hyper(load).await,
        "acker" => clients::acker(load).await,
        other => Err(format!("no client {other}").into()),
    }
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
