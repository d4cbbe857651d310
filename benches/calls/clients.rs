//! Ours, and what it is compared with.

use std::{cell::Cell, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use cloudflare_queues::{AckRequest, Acker, Client, Confirmation, Credentials, LeaseId, PullOptions, Queue};
use http_body_util::{BodyExt, Full};
use hyper::{Request, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use reqwest::header::{AUTHORIZATION, HeaderMap};
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;

use crate::{
    load::{Load, Result},
    payload::{Job, lease},
    run::drive,
};

const ACCOUNT: &str = "e41a7092c5f34b6f8d2b1c7a90f3d5e8";
const TOKEN: &str = "0123456789abcdef0123456789abcdef01234567";

/// Ours, with everything that it does for a call.
pub(crate) async fn ours(load: Load) -> Result<()> {
    let mut client = Client::builder(Credentials::api_token(TOKEN)?).base_url(&load.url);
    if load.client == "bounded" {
        client = client.max_in_flight(64);
    }
    let client = client.build()?;
    let queue = client.queues(ACCOUNT)?.queue(&load.queue)?;
    if load.is_pull() {
        return drive(load, async move |_| decode(&queue).await).await;
    }
    let leases: Vec<_> = (0..load.leases).map(|number| LeaseId::from(lease(number))).collect();
    drive(load, async move |_| {
        let mut request = AckRequest::with_capacity(leases.len());
        for lease in &leases {
            request.ack(lease);
        }
        let outcome = queue.ack(request).await?;
        if outcome.is_complete() { Ok(()) } else { Err("incomplete".into()) }
    })
    .await
}

async fn decode(queue: &Queue) -> Result<()> {
    let batch = queue.pull(PullOptions::new().batch_size(100).visibility_timeout(Duration::from_secs(30))).await?;
    for message in &batch {
        std::hint::black_box(message.body.json::<Job>()?);
    }
    Ok(())
}

/// One message at a time, grouped by us.
pub(crate) async fn acker(load: Load) -> Result<()> {
    let client = Client::builder(Credentials::api_token(TOKEN)?).base_url(&load.url).build()?;
    let acker = Acker::new(client.queues(ACCOUNT)?.queue(&load.queue)?)?;
    // An acker takes a lease once at a time.
    let leases: Vec<_> = (0..load.in_flight).map(|task| LeaseId::from(lease(task))).collect();
    drive(load, async move |task| match acker.ack(leases.get(task).ok_or("no lease")?).await?.await? {
        Confirmation::Confirmed => Ok(()),
        other => Err(format!("{other:?}").into()),
    })
    .await
}

#[derive(Serialize)]
struct Acks<'a> {
    acks: Vec<Ack<'a>>,
}

#[derive(Serialize)]
struct Ack<'a> {
    lease_id: &'a str,
}

#[derive(Deserialize)]
struct Response<T> {
    success: bool,
    result: Option<T>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Acked {
    ack_count: u64,
}

#[derive(Deserialize)]
struct Pulled {
    messages: Vec<PulledMessage>,
}

#[derive(Deserialize)]
struct PulledMessage {
    body: String,
    lease_id: String,
}

/// What a user would write without us: no checks, no retries, no bounds.
pub(crate) async fn by_hand(load: Load) -> Result<()> {
    let http = reqwest::Client::builder().timeout(Duration::from_secs(30)).build()?;
    let post = {
        let (http, load) = (http.clone(), load.clone());
        move |what: &str| {
            let url = format!("{}/accounts/{ACCOUNT}/queues/{}/messages/{what}", load.url, load.queue);
            http.post(url).bearer_auth(TOKEN)
        }
    };
    if load.is_pull() {
        let is_base64 = load.queue.contains("base64");
        return drive(load, async move |_| {
            let request = post("pull").json(&serde_json::json!({ "batch_size": 100, "visibility_timeout_ms": 30000 }));
            let response: Response<Pulled> = request.send().await?.error_for_status()?.json().await?;
            for message in response.result.filter(|_| response.success).ok_or("no result")?.messages {
                std::hint::black_box(&message.lease_id);
                let job: Job = if is_base64 {
                    serde_json::from_slice(&STANDARD.decode(message.body)?)?
                } else {
                    serde_json::from_str(&message.body)?
                };
                std::hint::black_box(job);
            }
            Ok(())
        })
        .await;
    }
    let leases: Vec<_> = (0..load.leases).map(lease).collect();
    drive(load, async move |_| {
        for leases in leases.chunks(100) {
            let acks = Acks { acks: leases.iter().map(|lease_id| Ack { lease_id }).collect() };
            let response: Response<Acked> = post("ack").json(&acks).send().await?.error_for_status()?.json().await?;
            let acked = response.result.filter(|_| response.success).ok_or("no result")?;
            if acked.ack_count != leases.len() as u64 {
                return Err("incomplete".into());
            }
        }
        Ok(())
    })
    .await
}

mod generated {
    progenitor::generate_api!(spec = "../openapi/queues.json", interface = Positional);
}

/// What the generator makes of the same document when nothing is added.
pub(crate) async fn bare(load: Load) -> Result<()> {
    use generated::types::{AckEntry, AckPayload, Identifier};
    let headers = HeaderMap::from_iter([(AUTHORIZATION, format!("Bearer {TOKEN}").try_into()?)]);
    let http = reqwest::Client::builder().timeout(Duration::from_secs(30)).default_headers(headers).build()?;
    let client = generated::Client::new_with_client(&load.url, http);
    let (account, queue) = (Identifier::try_from(ACCOUNT)?, Identifier::try_from(load.queue.as_str())?);
    let leases: Vec<_> = (0..load.leases).map(|number| generated::types::LeaseId::from(lease(number))).collect();
    drive(load, async move |_| {
        let acks = leases.iter().map(|lease_id| AckEntry { lease_id: lease_id.clone() }).collect();
        let payload = AckPayload { acks, retries: Vec::new() };
        let response = client.ack_messages(&account, &queue, &payload).await?.into_inner();
        response.result.map(drop).ok_or_else(|| "no result".into())
    })
    .await
}

/// The limit: a connection each, and a body that was made beforehand.
pub(crate) async fn hyper(load: Load) -> Result<()> {
    let connections: Vec<_> = (0..load.in_flight).map(|_| Cell::new(None)).collect();
    let leases: Vec<_> = (0..load.leases).map(lease).collect();
    let acks = Acks { acks: leases.iter().map(|lease_id| Ack { lease_id }).collect() };
    let body = Bytes::from(serde_json::to_vec(&acks)?);
    let path = format!("/accounts/{ACCOUNT}/queues/{}/messages/ack", load.queue);
    let host = load.url.trim_start_matches("http://").to_owned();
    drive(load, async move |task| {
        let request = Request::post(&path)
            .header("host", "127.0.0.1")
            .header("authorization", TOKEN)
            .header("content-type", "application/json")
            .body(Full::new(body.clone()))?;
        let place = connections.get(task).ok_or("no connection")?;
        let mut connection = match place.take() {
            Some(connection) => connection,
            None => {
                let stream = TcpStream::connect(&host).await?;
                stream.set_nodelay(true)?;
                let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
                tokio::spawn(connection);
                sender
            }
        };
        connection.ready().await?;
        let response = connection.send_request(request).await?;
        std::hint::black_box(response.into_body().collect().await?.to_bytes());
        place.set(Some(connection));
        Ok(())
    })
    .await
}
