//! A consumer as a service, with health, metrics, logs and a graceful shutdown: `cargo run -p apps --bin production`.
//!
//! It runs on an embedded emulator. With `-- --real`, no emulator is started, and it consumes the queue on Cloudflare
//! that `CLOUDFLARE_API_TOKEN`, `CLOUDFLARE_ACCOUNT_ID` and `CLOUDFLARE_QUEUE_ID` name. It listens at `LISTEN`,
//! `0.0.0.0:8080` by default, so that the probes of a platform reach it: `curl localhost:8080/readyz` and
//! `curl localhost:8080/metrics` show how it is doing. SIGTERM or ctrl-c stops it.

use std::{env, io, time::Duration};

use axum::{Json, Router, extract::State, http::StatusCode, routing::get};
use cloudflare_queues::{
    Consumer, Message, PushMessage, Queue,
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

async fn metrics(State((consumer, prometheus)): State<(Consumer, PrometheusHandle)>) -> String {
    // The feature `metrics` records the rest.
    if let Some(backlog) = consumer.stats().backlog_count {
        metrics::gauge!("queue_backlog").set(backlog as f64);
    }
    prometheus.render()
}

/// Receives what the consumer records through the crate `metrics`.
fn prometheus() -> Result<PrometheusHandle, Box<dyn std::error::Error>> {
    let seconds = [0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0, 600.0];
    let builder = PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &seconds)?;
    let prometheus = builder.install_recorder()?;
    let handle = prometheus.clone();
    tokio::spawn(async move {
        // Handlers' times would pile up while nobody asks for `/metrics`.
        let mut upkeep = interval(Duration::from_secs(5));
        loop {
            upkeep.tick().await;
            handle.run_upkeep();
        }
    });
    Ok(prometheus)
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
    let consumer = Consumer::new(queue)
        .concurrency(50)
        // By default, a shutdown takes at most 25 s, since Kubernetes kills a process 30 s after SIGTERM.
        .retry_delay(RetryDelay::exponential(Duration::from_secs(10), Duration::from_secs(3600)));

    let app = Router::new().route("/livez", get(livez)).route("/readyz", get(readyz)).route("/metrics", get(metrics));
    let listener = TcpListener::bind(env::var("LISTEN").as_deref().unwrap_or("0.0.0.0:8080")).await?;
    println!("http://{}", listener.local_addr()?);
    tokio::spawn(axum::serve(listener, app.with_state((consumer.clone(), prometheus()?))).into_future());

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
