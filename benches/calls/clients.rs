//! Ours, and what the generator and hyper make of the same calls.

use std::{cell::Cell, time::Duration};

use cloudflare_queues::{
    AckRequest, Acker, Client, ClientBuilder, Credentials, Lease, LeaseId, PullOptions, PushMessage, Pusher, Queue,
    acker::Confirmation,
};
use http_body_util::{BodyExt, Full};
use hyper::{Request, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use reqwest::header::{AUTHORIZATION, HeaderMap};
use tokio::net::TcpStream;

use crate::{
    load::{Call, Load, Result},
    payload::{Job, lease},
    run,
};

pub(crate) const ACCOUNT: &str = "e41a7092c5f34b6f8d2b1c7a90f3d5e8";
pub(crate) const TOKEN: &str = "0123456789abcdef0123456789abcdef01234567";
/// How many leases an acker is given before their outcome is waited for.
pub(crate) const SUBMITTED: usize = 1000;

/// Ours, with everything that it does for a call.
pub(crate) async fn ours(load: Load) -> Result<()> {
    let queue = builder(&load)?.build()?.queues(ACCOUNT)?.queue(load.call.queue())?;
    match load.call {
        // Ids that were stored as strings.
        Call::Ack(leases) if load.client == "stored" => {
            let leases: Vec<_> = (0..leases).map(lease).collect();
            run::drive(load, async move |_| ack(&queue, leases.iter().map(String::as_str)).await).await
        }
        Call::Ack(leases) => {
            let leases: Vec<_> = (0..leases).map(|number| LeaseId::from(lease(number))).collect();
            run::drive(load, async move |_| ack(&queue, &leases).await).await
        }
        Call::Pull(..) => run::drive(load, async move |_| pull(&queue).await).await,
        Call::Push(messages) => {
            let jobs: Vec<_> = (0..messages).map(|_| Job::of_size(1000)).collect();
            run::drive(load, async move |_| push(&queue, &jobs).await).await
        }
    }
}

fn builder(load: &Load) -> Result<ClientBuilder> {
    let mut builder = Client::builder(Credentials::api_token(TOKEN)?).base_url(load.url());
    if load.tls.is_some() {
        let http = run::http(load)?.redirect(reqwest::redirect::Policy::none()).http1_only();
        builder = builder.http_client(http.build()?);
    }
    Ok(if load.client == "bounded" { builder.max_in_flight(64) } else { builder })
}

async fn ack(queue: &Queue, leases: impl IntoIterator<Item = impl Into<Lease>>) -> Result<()> {
    let outcome = queue.ack(AckRequest::ack_all(leases)).await?;
    if outcome.is_complete() { Ok(()) } else { Err("incomplete".into()) }
}

async fn pull(queue: &Queue) -> Result<()> {
    let options = PullOptions::new().batch_size(100).visibility_timeout(Duration::from_secs(30));
    for message in queue.pull(options).await? {
        std::hint::black_box(&message.lease_id);
        std::hint::black_box(message.body.json::<Job>()?);
    }
    Ok(())
}

async fn push(queue: &Queue, jobs: &[Job]) -> Result<()> {
    let messages = jobs.iter().map(PushMessage::json).collect::<std::result::Result<Vec<_>, _>>()?;
    queue.push_all(&messages).await?;
    Ok(())
}

/// One lease at a time, grouped by us. A call is of as many leases as are submitted before the first receipt.
pub(crate) async fn acker(load: Load) -> Result<()> {
    let acker = Acker::new(builder(&load)?.build()?.queues(ACCOUNT)?.queue(load.call.queue())?)?;
    let leases: Vec<_> = (0..SUBMITTED).map(|number| LeaseId::from(lease(number))).collect();
    run::drive(load, async move |_| {
        let mut receipts = Vec::with_capacity(leases.len());
        for lease in &leases {
            receipts.push(acker.ack(lease).await?);
        }
        for receipt in receipts {
            match receipt.await? {
                Confirmation::Confirmed => {}
                other => return Err(format!("{other:?}").into()),
            }
        }
        Ok(())
    })
    .await
}

/// One message at a time, grouped by us.
pub(crate) async fn pusher(load: Load) -> Result<()> {
    let Call::Push(messages) = load.call else { return Err("only pushes are measured so".into()) };
    let pusher = Pusher::new(builder(&load)?.build()?.queues(ACCOUNT)?.queue(load.call.queue())?)?;
    let jobs: Vec<_> = (0..messages).map(|_| Job::of_size(1000)).collect();
    run::drive(load, async move |_| {
        let mut receipts = Vec::with_capacity(jobs.len());
        for job in &jobs {
            receipts.push(pusher.push(PushMessage::json(job)?).await?);
        }
        for receipt in receipts {
            receipt.await?;
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
    let Call::Ack(leases) = load.call else { return Err("only acknowledgements are measured so".into()) };
    let headers = HeaderMap::from_iter([(AUTHORIZATION, format!("Bearer {TOKEN}").try_into()?)]);
    let client = generated::Client::new_with_client(load.url(), run::http(&load)?.default_headers(headers).build()?);
    let (account, queue) = (Identifier::try_from(ACCOUNT)?, Identifier::try_from(load.call.queue())?);
    let leases: Vec<_> = (0..leases).map(|number| generated::types::LeaseId::from(lease(number))).collect();
    run::drive(load, async move |_| {
        let acks = leases.iter().map(|lease_id| AckEntry { lease_id: lease_id.clone() }).collect();
        let payload = AckPayload { acks, retries: Vec::new() };
        let response = client.ack_messages(&account, &queue, &payload).await?.into_inner();
        response.result.map(drop).ok_or_else(|| "no result".into())
    })
    .await
}

/// The limit: a connection each, and a body that was made beforehand.
pub(crate) async fn hyper(load: Load) -> Result<()> {
    let Call::Ack(leases) = load.call else { return Err("only acknowledgements are measured so".into()) };
    let connections: Vec<_> = (0..load.in_flight).map(|_| Cell::new(None)).collect();
    let acks: Vec<_> = (0..leases).map(|number| serde_json::json!({ "lease_id": lease(number) })).collect();
    let body = Bytes::from(serde_json::to_vec(&serde_json::json!({ "acks": acks }))?);
    let path = format!("/accounts/{ACCOUNT}/queues/{}/messages/ack", load.call.queue());
    let host = load.url().trim_start_matches("http://").to_owned();
    run::drive(load, async move |task| {
        let request = Request::post(&path)
            .header("host", "127.0.0.1")
            .header("authorization", TOKEN)
            .header("content-type", "application/json")
            .body(Full::new(body.clone()))?;
        let slot = connections.get(task).ok_or("no connection")?;
        let mut connection = match slot.take() {
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
        slot.set(Some(connection));
        Ok(())
    })
    .await
}
