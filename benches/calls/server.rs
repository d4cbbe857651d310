//! The other end: a process of its own that responds at once, over TLS on a second port.

use std::{
    collections::HashMap,
    io::Read,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    rt::{Read as AsyncRead, Write as AsyncWrite},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{ServerConfig, crypto::aws_lc_rs, pki_types::PrivateKeyDer};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::{
    load::{Result, Site},
    payload::{enveloped, pulled},
};

static CONNECTIONS: AtomicUsize = AtomicUsize::new(0);
static PULLED: Mutex<Option<HashMap<String, Bytes>>> = Mutex::new(None);

/// Serves until standard input ends.
pub(crate) async fn serve() -> Result<()> {
    let (issuer, acceptor) = tls()?;
    let (plain, secure) = (TcpListener::bind("127.0.0.1:0").await?, TcpListener::bind("127.0.0.1:0").await?);
    let site = Site {
        http: format!("http://{}", plain.local_addr()?),
        https: format!("https://localhost:{}", secure.local_addr()?.port()),
        issuer: issuer.iter().map(|byte| format!("{byte:02x}")).collect(),
    };
    println!("{}", serde_json::to_string(&site)?);
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    loop {
        tokio::select! {
            stream = accept(&plain) => speak(TokioIo::new(stream?)),
            stream = accept(&secure) => {
                let accepted = acceptor.accept(stream?);
                tokio::spawn(async move { accepted.await.map(|stream| speak(TokioIo::new(stream))) });
            }
        }
    }
}

async fn accept(listener: &TcpListener) -> Result<TcpStream> {
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    CONNECTIONS.fetch_add(1, Ordering::Relaxed);
    Ok(stream)
}

fn speak(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
    tokio::spawn(http1::Builder::new().serve_connection(stream, service_fn(respond)));
}

fn tls() -> Result<(Vec<u8>, TlsAcceptor)> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new(["localhost".to_owned()])?.signed_by(&key, &*issuer)?;
    let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let config = builder
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::try_from(key.serialize_der())?)?;
    Ok((issuer.der().to_vec(), Arc::new(config).into()))
}

async fn respond(request: Request<Incoming>) -> Result<Response<Full<Bytes>>> {
    let path = request.uri().path().to_owned();
    let body = request.into_body().collect().await?.to_bytes();
    let text = match path.split('/').rev().collect::<Vec<_>>()[..] {
        ["ack", ..] => {
            let leases = body.windows(8).filter(|window| window == b"lease_id").count();
            enveloped(&json!({ "ackCount": leases, "retryCount": 0, "warnings": [] }), false).into()
        }
        ["batch", ..] => enveloped(&json!({}), false).into(),
        ["pull", "messages", queue, ..] => pull(queue)?,
        _ => enveloped(&json!(CONNECTIONS.swap(0, Ordering::Relaxed)), false).into(),
    };
    let response = Response::builder()
        .header("content-type", "application/json")
        .header("cf-ray", "8f1c2d3e4f5a6b7c-FRA")
        .header("server", "cloudflare");
    Ok(response.body(Full::new(text))?)
}

/// The queue's id says what is in it: see `Call::queue`.
fn pull(queue: &str) -> Result<Bytes> {
    let mut made = PULLED.lock().unwrap_or_else(PoisonError::into_inner);
    let made = made.get_or_insert_default();
    if let Some(response) = made.get(queue) {
        return Ok(response.clone());
    }
    let [encoding, order, messages, size] = queue.split('-').collect::<Vec<_>>()[..] else {
        return Err("the queue's id says too little".into());
    };
    let result = pulled(encoding == "base64", messages.parse()?, size.parse()?)?;
    let response = Bytes::from(enveloped(&result, order == "last"));
    made.insert(queue.to_owned(), response.clone());
    Ok(response)
}
