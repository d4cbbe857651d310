//! Passes requests to the routes without a socket.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use hyper::body::{Body, Bytes, Frame};
use reqwest::{Request, Response, ResponseBuilderExt, Url};

use super::{reply::Reply, respond::respond, service::Service};
use crate::http::transport::{Executed, Http};

pub(super) struct InProcess(pub(super) Arc<Service>);

impl Http for InProcess {
    fn execute(&self, request: Request) -> Executed<'_> {
        Box::pin(carry(Arc::clone(&self.0), request))
    }
}

async fn carry(service: Arc<Service>, request: Request) -> reqwest::Result<Response> {
    let url = request.url().clone();
    let request = http::Request::try_from(request)?;
    // A request that was sent arrives, even if nobody waits for the response any more.
    match tokio::spawn(async move { respond(&service, request).await }).await {
        Ok(Reply::Respond(response)) => with_url(response.map(Into::into), url).await,
        Ok(Reply::CutOff(response)) => {
            with_url(response.map(|_| reqwest::Body::wrap(Broken(io::ErrorKind::BrokenPipe))), url).await
        }
        Ok(Reply::Reset) | Err(_) => failure(io::ErrorKind::ConnectionReset).await,
    }
}

async fn with_url(response: http::Response<reqwest::Body>, url: Url) -> reqwest::Result<Response> {
    let (head, body) = response.into_parts();
    match http::Response::builder().status(head.status).url(url).body(body) {
        Ok(mut response) => {
            *response.headers_mut() = head.headers;
            Ok(Response::from(response))
        }
        Err(_) => failure(io::ErrorKind::InvalidData).await,
    }
}

/// An error of `reqwest`, which only `reqwest` can create: from a failing body.
async fn failure(kind: io::ErrorKind) -> reqwest::Result<Response> {
    let mut response = Response::from(http::Response::new(reqwest::Body::wrap(Broken(kind))));
    response.chunk().await?;
    Ok(response)
}

/// A body that fails.
struct Broken(io::ErrorKind);

impl Body for Broken {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        Poll::Ready(Some(Err(self.0.into())))
    }
}
