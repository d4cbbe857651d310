//! What a user would write with `reqwest` and `serde`: no checks, no retries, no bounds.

use base64::{Engine, engine::general_purpose::STANDARD};
use reqwest::RequestBuilder;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    clients::{ACCOUNT, TOKEN},
    load::{Call, Load, Result},
    payload::{Job, lease},
    run,
};

#[derive(Serialize)]
struct Acks<'a> {
    acks: Vec<Ack<'a>>,
}

#[derive(Serialize)]
struct Ack<'a> {
    lease_id: &'a str,
}

#[derive(Serialize)]
struct Pushed<'a> {
    messages: Vec<PushedMessage<'a>>,
}

#[derive(Serialize)]
struct PushedMessage<'a> {
    body: &'a Job,
    content_type: &'static str,
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

/// What a push has for a result.
#[derive(Deserialize)]
struct Nothing {}

pub(crate) async fn by_hand(load: Load) -> Result<()> {
    let http = run::http(&load)?.build()?;
    let base = format!("{}/accounts/{ACCOUNT}/queues/{}/messages", load.url(), load.call.queue());
    let post = move |what: &str| http.post(format!("{base}{what}")).bearer_auth(TOKEN);
    match load.call {
        Call::Ack(leases) => {
            let leases: Vec<_> = (0..leases).map(lease).collect();
            run::drive(load, async move |_| ack(&post, &leases).await).await
        }
        Call::Pull(form, ..) => run::drive(load, async move |_| pull(&post, form.is_base64).await).await,
        Call::Push(messages) => {
            let jobs: Vec<_> = (0..messages).map(|_| Job::of_size(1000)).collect();
            run::drive(load, async move |_| push(&post, &jobs).await).await
        }
    }
}

async fn result<T: DeserializeOwned>(request: RequestBuilder) -> Result<T> {
    let response: Response<T> = request.send().await?.error_for_status()?.json().await?;
    response.result.filter(|_| response.success).ok_or_else(|| "no result".into())
}

async fn ack(post: &impl Fn(&str) -> RequestBuilder, leases: &[String]) -> Result<()> {
    for leases in leases.chunks(100) {
        let acks = Acks { acks: leases.iter().map(|lease_id| Ack { lease_id }).collect() };
        let acked: Acked = result(post("/ack").json(&acks)).await?;
        if acked.ack_count != leases.len() as u64 {
            return Err("incomplete".into());
        }
    }
    Ok(())
}

async fn pull(post: &impl Fn(&str) -> RequestBuilder, is_base64: bool) -> Result<()> {
    let request = serde_json::json!({ "batch_size": 100, "visibility_timeout_ms": 30000 });
    let pulled: Pulled = result(post("/pull").json(&request)).await?;
    for message in pulled.messages {
        std::hint::black_box(&message.lease_id);
        let job: Job = if is_base64 {
            serde_json::from_slice(&STANDARD.decode(message.body)?)?
        } else {
            serde_json::from_str(&message.body)?
        };
        std::hint::black_box(job);
    }
    Ok(())
}

async fn push(post: &impl Fn(&str) -> RequestBuilder, jobs: &[Job]) -> Result<()> {
    for jobs in jobs.chunks(100) {
        let messages = jobs.iter().map(|body| PushedMessage { body, content_type: "json" }).collect();
        let Nothing {} = result(post("/batch").json(&Pushed { messages })).await?;
    }
    Ok(())
}
