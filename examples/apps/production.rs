//! A consumer as a service, with health, metrics, logs and a graceful shutdown: `cargo run -p apps --bin production`.
//!
//! It runs on an embedded emulator. With `-- --real`, it consumes the queue on Cloudflare that `CLOUDFLARE_API_TOKEN`,
//! `CLOUDFLARE_ACCOUNT_ID` and `CLOUDFLARE_QUEUE_ID` name. `curl localhost:8080/healthz` and
//! `curl localhost:8080/metrics` show how it is doing; SIGTERM or ctrl-c stops it.

use std::{env, fmt::Write, io, time::Duration};

use axum::{Json, Router, extract::State, http::StatusCode, routing::get};
use cloudflare_queues::{
    Consumer, Message, PushMessage, Queue,
    consumer::{Health, RetryDelay},
    emulator::Emulator,
};
use tokio::net::TcpListener;

async fn work(message: Message) -> Result<(), cloudflare_queues::Error> {
    // Runs within the message's span, so that the event has its id.
    tracing::info!(bytes = message.body.bytes()?.len(), "done");
    Ok(())
}

/// For a liveness probe: 503 while pulls or acknowledgements fail, or while handlers are stuck.
async fn healthz(State(consumer): State<Consumer>) -> (StatusCode, Json<Health>) {
    let health = consumer.health();
    let status = if health.is_healthy() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(health))
}

/// In the text format of Prometheus.
async fn metrics(State(consumer): State<Consumer>) -> String {
    let stats = consumer.stats();
    let mut text = String::new();
    for (name, value) in [
        ("queue_messages_pulled_total", stats.pulled),
        ("queue_messages_acknowledged_total", stats.acknowledged),
        ("queue_messages_retried_total", stats.retried),
        ("queue_messages_failed_total", stats.failed),
        ("queue_acknowledgements_unconfirmed_total", stats.unconfirmed),
        ("queue_handlers_running", stats.handlers_running),
        ("queue_backlog", stats.backlog_count.unwrap_or_default()),
    ] {
        let _ = writeln!(text, "{name} {value}");
    }
    let _ = writeln!(text, "queue_handler_seconds_p99 {}", stats.handler_times.quantile(0.99).as_secs_f64());
    text
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

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_writer(io::stderr).init();
    let emulator = Emulator::builder().real_time().start().await?;
    let is_real = env::args().any(|argument| argument == "--real");
    let queue = if is_real { Queue::from_env()? } else { emulator.queue()? };
    println!("queue {} {}", queue.id(), if is_real { "as the environment says" } else { "on an embedded emulator" });
    queue.push(&PushMessage::text("hello")).await?;

    let consumer = Consumer::new(queue)
        .concurrency(50)
        // By default, a shutdown takes at most 25 s, since Kubernetes kills a process 30 s after SIGTERM.
        .retry_delay(RetryDelay::exponential(Duration::from_secs(10), Duration::from_secs(3600)));

    let app = Router::new().route("/healthz", get(healthz)).route("/metrics", get(metrics));
    let port = env::var("PORT").map_or(Ok(8080), |port| port.parse())?;
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    println!("http://{}", listener.local_addr()?);
    tokio::spawn(axum::serve(listener, app.with_state(consumer.clone())).into_future());

    let report = consumer.run_until(stop(), work).await?;
    println!("acknowledged {}, not confirmed {}", report.stats.acknowledged, report.unconfirmed.len());
    report.error.map_or(Ok(()), |error| Err(error.into()))
}
