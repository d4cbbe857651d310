//! One run of the client, in a process of its own.

use std::{
    fs,
    sync::Arc,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::{Duration, Instant},
};

use cloudflare_queues::{AckRequest, Client, Credentials, LeaseId, PullOptions, Queue};
use tokio::{task::JoinSet, time::sleep};

use crate::{Result, server};

/// Makes the calls, and prints microseconds of the processor a call, megabytes at the peak, calls a second, and failed calls.
pub(crate) async fn run(url: &str, settings: &str, what: &str, in_flight: usize, calls: usize) -> Result<()> {
    // As the crate does it, but that any certificate will do.
    let http = reqwest::Client::builder().retry(reqwest::retry::never().max_retries_per_request(0)).no_proxy();
    let http = http.tls_danger_accept_invalid_certs(true);
    let http = match settings {
        "HTTP/1.1" => http.http1_only(),
        "HTTP/1.1 without TCP_NODELAY" => http.http1_only().tcp_nodelay(false),
        "HTTP/2" => http,
        "HTTP/2, adaptive window" => http.http2_adaptive_window(true),
        "kept for 150 ms" => http.http1_only().pool_idle_timeout(Duration::from_millis(150)),
        other => return Err(format!("no settings {other}").into()),
    };
    let credentials = Credentials::api_token("0123456789abcdef0123456789abcdef01234567")?;
    let mut client = Client::builder(credentials).base_url(url).http_client(http.build()?);
    if what.contains("bounded") {
        client = client.max_in_flight(64);
    }
    let client = client.build()?;
    let paced = what.contains("paced");
    let [.., call, size] = what.split(' ').collect::<Vec<_>>()[..] else { return Err("no size".into()) };
    // The queue's id says to the server how large its messages are.
    let queue = client.queue("e41a7092c5f34b6f8d2b1c7a90f3d5e8", size)?;
    let leases = if call == "ack" { size.parse()? } else { 0 };
    let leases: Arc<[_]> = (0..leases).map(|number| LeaseId::from(server::lease(number))).collect();
    once(&queue, &leases).await?;

    let (start, cpu) = (Instant::now(), figure("schedstat", "")?);
    let (made, failed) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut tasks = JoinSet::new();
    for _ in 0..in_flight {
        let (queue, leases) = (queue.clone(), Arc::clone(&leases));
        let (made, failed) = (Arc::clone(&made), Arc::clone(&failed));
        tasks.spawn(async move {
            loop {
                let call = made.fetch_add(1, Relaxed);
                if call >= calls {
                    break;
                }
                if paced {
                    sleep(Duration::from_millis(185 + call as u64 * 7 % 31)).await;
                }
                failed.fetch_add(once(&queue, &leases).await.is_err().into(), Relaxed);
            }
        });
    }
    tasks.join_all().await;
    let cpu = (figure("schedstat", "")? - cpu) / 1e3 / calls as f64;
    let rate = calls as f64 / start.elapsed().as_secs_f64();
    println!("{cpu} {} {rate} {}", figure("status", "VmHWM:")? / 1e3, failed.load(Relaxed));
    Ok(())
}

async fn once(queue: &Queue, leases: &[LeaseId]) -> Result<()> {
    if leases.is_empty() {
        let options = PullOptions { batch_size: 100, visibility_timeout: Duration::from_secs(30) };
        let messages = queue.pull(options).await?.messages.len();
        return if messages == 100 { Ok(()) } else { Err(format!("{messages} messages").into()) };
    }
    let mut request = AckRequest::with_capacity(leases.len());
    for lease in leases {
        request.ack(lease);
    }
    if queue.ack(request).await?.is_complete() { Ok(()) } else { Err("incomplete".into()) }
}

/// What the system says of this process, behind a label; it has one thread.
fn figure(file: &str, label: &str) -> Result<f64> {
    let said = fs::read_to_string(format!("/proc/self/{file}"))?;
    let (_, figures) = said.split_once(label).ok_or("no such label")?;
    Ok(figures.split_whitespace().next().ok_or("no figure")?.parse()?)
}
