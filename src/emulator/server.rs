//! Serves a router on a socket. It is done by hand because a connection is to be reset when a fault asks for it.

use std::{fmt, future::poll_fn};

use axum::{
    Router,
    body::{Body, Bytes, HttpBody},
    http::Request,
    response::Response,
};
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tower::ServiceExt;

/// Marks an answer that is not to be sent: the connection is reset in its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reset;

impl fmt::Display for Reset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the connection is to be reset")
    }
}

impl std::error::Error for Reset {}

/// Runs until it is dropped, and its connections with it.
pub(super) async fn serve(listener: TcpListener, router: Router) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    connections.spawn(connection(stream, router.clone()));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(stream: TcpStream, router: Router) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| Box::pin(answer(router.clone(), request)));
    let mut connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    if poll_fn(|context| connection.poll_without_shutdown(context)).await.is_err() {
        // Closing without lingering is what sends a reset.
        let _ = connection.into_parts().io.into_inner().set_zero_linger();
    }
}

pub(super) async fn answer<B>(router: Router, request: Request<B>) -> Result<Response<Body>, Reset>
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<axum::BoxError>,
{
    match router.oneshot(request).await {
        Ok(response) => match response.extensions().get::<Reset>() {
            Some(reset) => Err(*reset),
            None => Ok(response),
        },
        Err(never) => match never {},
    }
}
