//! What the emulator promises beyond a queue's contract: requests that the client never sends, the clock, several
//! queues.

mod broker;
mod control;
mod extend;
mod identity;
mod in_process;
mod managing;
mod persisting;
mod queues;
mod sockets;
mod strictness;
mod tokens;

use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::Full;
use hyper::body::Bytes;
use serde_json::Value;

use super::{Emulator, reply::Reply, respond::respond};

/// Sends a request to an operation of the emulator's queue, and returns the status and envelope of the response.
async fn send(emulator: &Emulator, operation: &str, body: &str) -> (StatusCode, Value) {
    let path = format!("/accounts/{}/queues/{}/messages{operation}", emulator.account_id(), emulator.queue_id());
    let request = request(emulator, &path, Bytes::from(body.to_owned()));
    let (status, _, envelope) = raw(emulator, request).await;
    (status, envelope)
}

fn request(emulator: &Emulator, path: &str, body: Bytes) -> Request<Full<Bytes>> {
    let request = Request::builder().method(Method::POST).uri(format!("/client/v4{path}"));
    let authorization = format!("Bearer {}", emulator.api_token());
    request.header("authorization", authorization).body(Full::new(body)).unwrap()
}

async fn raw(emulator: &Emulator, request: Request<Full<Bytes>>) -> (StatusCode, HeaderMap, Value) {
    let Reply::Respond(response) = respond(&emulator.running.service, request).await else { panic!("no response") };
    let (head, body) = response.into_parts();
    (head.status, head.headers, serde_json::from_slice(&body).unwrap())
}
