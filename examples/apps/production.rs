//! A consumer as a service, with health, metrics, logs and a graceful shutdown: `cargo run -p apps --bin production`.
//!
//! It runs on an embedded emulator. With `-- --real`, no emulator is started, and it consumes the queue on Cloudflare
//! that `CLOUDFLARE_API_TOKEN`, `CLOUDFLARE_ACCOUNT_ID` and `CLOUDFLARE_QUEUE_ID` name. It listens at `LISTEN`,
//! `0.0.0.0:8080` by default, so that the probes of a platform reach it: `curl localhost:8080/readyz` and
//! `curl localhost:8080/metrics` show how it is doing. `grafana.json` in this folder is a dashboard of these metrics,
//! to import into Grafana. SIGTERM or ctrl-c stops it.

use std::{
    env, io,
    time::{Duration, UNIX_EPOCH},
};

use axum::{Json, Router, extract::State, http::StatusCode, routing::get};
use cloudflare_queues::{
    Consumer, Message, Metrics, PushMessage, Queue,
    consumer::{Health, RetryDelay},
    emulator::Emulator,
};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::{net::TcpListener, time::interval};

async fn work(message: Message) -> Result<(), cloudflare_queues::Error> {
    // Runs within the message's span, so that the event has its id.
    tracing::info!(bytes = message.body.bytes()?.len(), "done");
    Ok(())
}

/// For a liveness probe: whether the process responds. It says nothing of the queue, since a restart cures no outage.
async fn livez() {}

/// For a readiness probe: 503 while pulls, acknowledgements or handlers fail, or while handlers are stuck.
async fn readyz(State((consumer, _)): State<(Consumer, PrometheusHandle)>) -> (StatusCode, Json<Health>) {
    let health = consumer.health();
    let status = if health.is_healthy() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(health))
}

async fn metrics(State((_, prometheus)): State<(Consumer, PrometheusHandle)>) -> String {
    prometheus.render()
}

/// Receives what the consumer records through the crate `metrics`.
fn prometheus() -> Result<PrometheusHandle, Box<dyn std::error::Error>> {
    // With buckets, quantiles over several processes are right. Without, each would compute its own.
    let seconds = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0];
    let builder = PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &seconds)?;
    Ok(builder.install_recorder()?)
}

/// Records what belongs to the queue and not to a consumer, and keeps handlers' times from piling up while nobody asks
/// for `/metrics`.
async fn record(queue: Queue, prometheus: PrometheusHandle) {
    let name = |name: &'static str| metrics::gauge!(name, "messaging_destination_name" => queue.id().to_string());
    let (backlog, oldest) = (name("queue_backlog_messages"), name("queue_oldest_message_timestamp_seconds"));
    let mut ticks = interval(Duration::from_secs(30));
    loop {
        ticks.tick().await;
        prometheus.run_upkeep();
        // What is not known, such as the oldest message of an empty queue, is not a number.
        let metrics = queue.metrics().await.unwrap_or_else(|error| {
            tracing::warn!(%error, "the state of the queue is not known");
            Metrics::default()
        });
        backlog.set(metrics.backlog_count.map_or(f64::NAN, |count| count as f64));
        let since = metrics.oldest_message.and_then(|pushed| pushed.duration_since(UNIX_EPOCH).ok());
        oldest.set(since.map_or(f64::NAN, |since| since.as_secs_f64()));
    }
}

#[cfg(unix)]
async fn stop() -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        result = tokio::signal::ctrl_c() => result,
        _ = terminate.recv() => Ok(()),
    }
}

#[cfg(not(unix))]
async fn stop() -> io::Result<()> {
    tokio::signal::ctrl_c().await
}

async fn serve(queue: Queue) -> Result<(), Box<dyn std::error::Error>> {
    let consumer = Consumer::new(queue.clone())
        .concurrency(50)
        // By default, a shutdown takes at most 25 s, since Kubernetes kills a process 30 s after SIGTERM.
        .retry_delay(RetryDelay::exponential(Duration::from_secs(10), Duration::from_secs(3600)));

    let app = Router::new().route("/livez", get(livez)).route("/readyz", get(readyz)).route("/metrics", get(metrics));
    let listener = TcpListener::bind(env::var("LISTEN").as_deref().unwrap_or("0.0.0.0:8080")).await?;
    println!("http://{}", listener.local_addr()?);
    let prometheus = prometheus()?;
    tokio::spawn(record(queue, prometheus.clone()));
    tokio::spawn(axum::serve(listener, app.with_state((consumer.clone(), prometheus))).into_future());

    let report = consumer.run_until(stop(), work).await?;
    println!("acknowledged {}, not confirmed {}", report.stats.acknowledged, report.unconfirmed.len());
    // The platform starts it again, and its log says why it ended.
    report.error.map_or(Ok(()), |error| Err(error.into()))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_writer(io::stderr).init();
    if env::args().any(|argument| argument == "--real") {
        let queue = Queue::from_env()?;
        println!("queue {} as the environment says", queue.id());
        return serve(queue).await;
    }
    let emulator = Emulator::builder().real_time().start().await?;
    let queue = emulator.queue()?;
    println!("queue {} on an embedded emulator", queue.id());
    queue.push(&PushMessage::text("hello")).await?;
    serve(queue).await
}
