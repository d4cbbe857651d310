//! The other end: a process of its own that responds at once.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
};

use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpListener;

use crate::{load::Result, payload::pulled};

static CONNECTIONS: AtomicUsize = AtomicUsize::new(0);

/// A running server; it stops when this is dropped.
pub(crate) struct Server {
    process: Child,
    pub(crate) url: String,
}

impl Server {
    pub(crate) fn start() -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        let mut process = command.arg("serve").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut url = String::new();
        BufReader::new(process.stdout.take().ok_or("no output")?).read_line(&mut url)?;
        Ok(Self { process, url: url.trim().to_owned() })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Serves until standard input ends.
pub(crate) async fn serve() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{}", listener.local_addr()?);
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        CONNECTIONS.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(respond)));
    }
}

async fn respond(request: Request<Incoming>) -> Result<Response<Full<Bytes>>> {
    let path = request.uri().path().to_owned();
    let body = request.into_body().collect().await?.to_bytes();
    let result = match path.split('/').rev().collect::<Vec<_>>()[..] {
        ["ack", ..] => {
            let leases = body.windows(8).filter(|window| window == b"lease_id").count();
            json!({ "ackCount": leases, "retryCount": 0, "warnings": [] })
        }
        // The queue's id says what is in it: an encoding, and the size of a message; and whether `success` comes last.
        ["pull", "messages", queue, ..] => {
            let (encoding, size) = queue.rsplit_once('-').ok_or("no size")?;
            pulled(encoding, size.parse()?)?
        }
        _ => json!(CONNECTIONS.swap(0, Ordering::Relaxed)),
    };
    let text = if path.contains("last") {
        format!(r#"{{"result":{result},"success":true,"errors":[],"messages":[]}}"#)
    } else {
        // The order of Cloudflare's documentation.
        format!(r#"{{"success":true,"errors":[],"messages":[],"result":{result}}}"#)
    };
    let response = Response::builder()
        .header("content-type", "application/json")
        .header("cf-ray", "8f1c2d3e4f5a6b7c-FRA")
        .header("server", "cloudflare");
    Ok(response.body(Full::new(text.into()))?)
}
