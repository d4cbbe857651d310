//! The other end: it answers at once, from as far away as it is told, and counts connections.

use std::{
    collections::BTreeMap,
    io,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    sync::{Arc, LazyLock},
    time::Duration,
};

use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Bytes, body::Incoming, service::service_fn};
use hyper_util::{rt::TokioExecutor, rt::TokioIo, server::conn::auto};
use rustls::{ServerConfig, crypto::aws_lc_rs, pki_types::PrivateKeyDer};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, duplex, split},
    net::TcpListener,
    sync::mpsc,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_rustls::TlsAcceptor;

use crate::Result;

static OPENED: AtomicUsize = AtomicUsize::new(0);

/// Made once, or a busy server would be what is measured.
static PULLED: LazyLock<BTreeMap<&str, Bytes>> = LazyLock::new(|| {
    let message = |number, size| {
        let (lease, body) = (lease(number), "x".repeat(size));
        format!(
            r#"{{"id":"{number:032}","timestamp_ms":1760000000000,"attempts":1,"metadata":{{"CF-Content-Type":"text"}},"lease_id":"{lease}","body":"{body}"}}"#
        )
    };
    let pulled = |size| {
        let messages: Vec<_> = (0..100).map(|number| message(number, size)).collect();
        envelope(&format!(r#"{{"message_backlog_count":100,"messages":[{}]}}"#, messages.join(",")))
    };
    BTreeMap::from([("1", pulled(1)), ("1000", pulled(1000)), ("128000", pulled(128_000))])
});

/// As the service makes them: 210 characters.
pub(crate) fn lease(number: usize) -> String {
    format!("{number:0>210}")
}

fn envelope(result: &str) -> Bytes {
    format!(r#"{{"success":true,"errors":[],"messages":[],"result":{result}}}"#).into()
}

/// Serves from a round trip of so many milliseconds away, and closes connections that are idle for so many, unless that is 0. A line
/// on standard input is answered with how many connections were opened since the last one.
pub(crate) async fn serve(round_trip: u64, idle: u64) -> Result<()> {
    let key = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
    let private_key = PrivateKeyDer::try_from(key.signing_key.serialize_der())?;
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let config = config.with_safe_default_protocol_versions()?.with_no_client_auth();
    let mut config = config.with_single_cert(vec![key.cert.der().clone()], private_key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let tls = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    LazyLock::force(&PULLED);
    println!("https://{}", listener.local_addr()?);
    std::thread::spawn(|| {
        for _ in io::stdin().lines() {
            println!(" {}", OPENED.swap(0, Relaxed));
        }
        std::process::exit(0);
    });
    let idle = if idle == 0 { Duration::MAX } else { Duration::from_millis(idle) };
    let delay = Duration::from_millis(round_trip) / 2;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let tls = tls.clone();
        tokio::spawn(async move {
            OPENED.fetch_add(1, Relaxed);
            if delay.is_zero() {
                let _ = connection(tls, stream).await;
            } else {
                let (near, far) = duplex(1 << 20);
                let ((client, to_client), (service, to_service)) = (stream.into_split(), split(near));
                tokio::select! {
                    _ = connection(tls, far) => {}
                    () = relay(service, to_client, delay, Duration::MAX) => {}
                    () = async {
                        relay(client, to_service, delay, idle).await;
                        // What the client sends before it learns of the end is not read any more.
                        sleep(delay * 2).await;
                    } => {}
                }
            }
        });
    }
}

async fn connection(tls: TlsAcceptor, stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Result<()> {
    let stream = TokioIo::new(tls.accept(stream).await?);
    auto::Builder::new(TokioExecutor::new()).serve_connection(stream, service_fn(answer)).await
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>> {
    let path = request.uri().path().to_owned();
    let body = request.into_body().collect().await?.to_bytes();
    let answer = match path.rsplit('/').collect::<Vec<_>>()[..] {
        ["pull", "messages", size, ..] => PULLED.get(size).ok_or("no such size")?.clone(),
        _ => {
            let leases = body.windows(8).filter(|window| window == b"lease_id").count();
            envelope(&format!(r#"{{"ackCount":{leases},"retryCount":0,"warnings":[]}}"#))
        }
    };
    Ok(Response::builder().header("content-type", "application/json").body(Full::new(answer))?)
}

/// Carries bytes with a delay, until there are none for so long.
async fn relay(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, delay: Duration, idle: Duration) {
    let (sender, mut receiver) = mpsc::channel::<(Instant, Vec<u8>)>(4096);
    let read = async {
        let mut buffer = vec![0; 1 << 16];
        while let Ok(Ok(length @ 1..)) = timeout(idle, from.read(&mut buffer)).await {
            let _ = sender.send((Instant::now() + delay, buffer[..length].to_vec())).await;
        }
    };
    let write = async {
        while let Some((when, bytes)) = receiver.recv().await {
            sleep_until(when).await;
            if to.write_all(&bytes).await.is_err() {
                break;
            }
        }
    };
    tokio::select! { () = read => {} () = write => {} }
}
