//! Serves requests on a socket. It is hand-written because a fault can reset a connection.

use std::{
    fmt,
    future::poll_fn,
    io::{self, ErrorKind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response, header::CONTENT_LENGTH};
use hyper::{
    body::{Body, Bytes, Frame, Incoming, SizeHint},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::sleep,
};

use super::{reply::Reply, respond::respond, service::Service};

/// How long to wait for the head of a request, also on an idle connection: longer than clients keep those, 90 s in
/// `reqwest`, so that no connection is closed while a request is on its way.
const HEAD_TIMEOUT: Duration = Duration::from_secs(100);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Runs until dropped, together with its connections.
pub(super) async fn serve(listener: TcpListener, service: Arc<Service>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            (stream, _) = accept(|| listener.accept()) => {
                connections.spawn(connection(stream, Arc::clone(&service)));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Accepts until it succeeds.
async fn accept<T, F: Future<Output = io::Result<T>>>(mut attempt: impl FnMut() -> F) -> T {
    loop {
        match attempt().await {
            Ok(accepted) => return accepted,
            // The client has closed the connection in the meantime.
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset) => {}
            Err(error) => {
                // Most likely, no file descriptor is free. The connection keeps waiting, so another immediate attempt
                // would fail.
                tracing::warn!(%error, "the emulator cannot accept a connection, and tries again");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, service: Arc<Service>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| Box::pin(send(Arc::clone(&service), request)));
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    let mut connection = builder.serve_connection(TokioIo::new(stream), service);
    if let Err(error) = poll_fn(|context| connection.poll_without_shutdown(context)).await
        && error.is_user()
    {
        // Closing without lingering sends a reset.
        let _ = connection.into_parts().io.into_inner().set_zero_linger();
    }
}

async fn send(service: Arc<Service>, request: Request<Incoming>) -> Result<Response<Content>, Broken> {
    match respond(&service, request).await {
        Reply::Respond(response) => Ok(response.map(|bytes| Content { left: Some(bytes), breaks: false })),
        Reply::CutOff(mut response) => {
            let length = response.body().len();
            response.headers_mut().insert(CONTENT_LENGTH, length.into());
            Ok(response.map(|bytes| Content { left: Some(bytes.slice(..length / 2)), breaks: true }))
        }
        Reply::Reset => Err(Broken),
    }
}

/// A body that may break after it was sent.
struct Content {
    left: Option<Bytes>,
    breaks: bool,
}

impl Body for Content {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        Poll::Ready(match self.left.take() {
            Some(bytes) => Some(Ok(Frame::data(bytes))),
            None => self.breaks.then_some(Err(Broken)),
        })
    }

    fn size_hint(&self) -> SizeHint {
        match &self.left {
            Some(bytes) if !self.breaks => SizeHint::with_exact(bytes.len() as u64),
            _ => SizeHint::default(),
        }
    }
}

/// The connection must be reset.
#[derive(Debug)]
struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the connection is to be reset")
    }
}

impl std::error::Error for Broken {}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_server_survives_a_lack_of_file_descriptors() {
        let (attempts, started) = (Cell::new(0), Instant::now());
        let accepted = accept(|| {
            attempts.set(attempts.get() + 1);
            assert!(attempts.get() < 1000, "it spins");
            let is_over = started.elapsed() >= Duration::from_secs(10);
            async move { if is_over { Ok(()) } else { Err(io::Error::from_raw_os_error(24)) } }
        });
        accepted.await;
        assert_eq!(attempts.get(), 101);
    }
}
