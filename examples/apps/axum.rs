//! Accepts orders over HTTP, and pushes them to a queue: `cargo run -p apps --bin axum`.
//!
//! `curl -i -d '{"item":"a book"}' -H 'content-type: application/json' localhost:3000/orders`, and ctrl-c ends it.

use axum::{Json, Router, extract::State, http::StatusCode, routing::post};
use cloudflare_queues::{ErrorKind, PushMessage, Queue, emulator::Emulator};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Order {
    item: String,
}

/// 202 only if the service has the order.
async fn place(State(queue): State<Queue>, Json(order): Json<Order>) -> StatusCode {
    let pushed = async { queue.push(&PushMessage::json(&order)?).await };
    match pushed.await {
        Ok(_) => StatusCode::ACCEPTED,
        Err(error) if error.kind() == ErrorKind::InvalidInput => StatusCode::PAYLOAD_TOO_LARGE,
        Err(error) => {
            tracing::error!(%error, "an order was not pushed");
            if error.is_transient() { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::INTERNAL_SERVER_ERROR }
        }
    }
}

fn app(queue: Queue) -> Router {
    Router::new().route("/orders", post(place)).with_state(queue)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().init();
    let emulator = Emulator::start().await?;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 3000)).await?;
    let stop = async {
        let _ = tokio::signal::ctrl_c().await;
    };
    axum::serve(listener, app(emulator.queue()?)).with_graceful_shutdown(stop).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, http::Request};
    use cloudflare_queues::emulator::{Fault, Operation};
    use tower::ServiceExt;

    use super::*;

    async fn order(queue: &Queue) -> StatusCode {
        let request = Request::post("/orders").header("content-type", "application/json");
        let request = request.body(Body::from(r#"{"item":"a book"}"#)).unwrap();
        app(queue.clone()).oneshot(request).await.unwrap().status()
    }

    #[tokio::test]
    async fn an_order_is_accepted_once_it_is_in_the_queue() {
        let emulator = Emulator::in_process();
        let queue = emulator.queue().unwrap();
        assert_eq!(order(&queue).await, StatusCode::ACCEPTED);
        assert_eq!(emulator.messages(emulator.queue_id()).len(), 1);
    }

    #[tokio::test]
    async fn an_outage_is_not_reported_as_accepted() {
        let emulator = Emulator::in_process();
        emulator.inject(Fault::ServerError(502).on(Operation::PushMessage));
        assert_eq!(order(&emulator.queue().unwrap()).await, StatusCode::SERVICE_UNAVAILABLE);
        assert!(emulator.messages(emulator.queue_id()).is_empty());
    }
}
