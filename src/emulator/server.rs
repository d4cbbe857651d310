//! Serves requests on a socket. It is done by hand because a fault can ask for a connection to be reset.

use std::{
    fmt,
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response, header::CONTENT_LENGTH};
use hyper::{
    body::{Body, Bytes, Frame, Incoming, SizeHint},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use super::{reply::Reply, respond::respond, service::Service};

/// Runs until it is dropped, and its connections with it.
pub(super) async fn serve(listener: TcpListener, service: Arc<Service>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    connections.spawn(connection(stream, Arc::clone(&service)));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(stream: TcpStream, service: Arc<Service>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| Box::pin(send(Arc::clone(&service), request)));
    let mut connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    if let Err(error) = poll_fn(|context| connection.poll_without_shutdown(context)).await
        && error.is_user()
    {
        // Closing without lingering is what sends a reset.
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

/// A body that may break when it was sent.
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

/// The connection is to be reset.
#[derive(Debug)]
struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the connection is to be reset")
    }
}

impl std::error::Error for Broken {}
