//! Carries requests to the routes without a socket.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{
    Router,
    body::{Body, Bytes, HttpBody, to_bytes},
    http,
};
use hyper::body::Frame;
use reqwest::{Request, Response, ResponseBuilderExt, Url};

use super::{Shared, routes, server};
use crate::transport::Carrier;

pub(super) struct InProcess {
    router: Router,
    shared: Arc<Shared>,
}

impl InProcess {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { router: routes::router(Arc::clone(&shared)), shared }
    }
}

impl Carrier for InProcess {
    fn execute(&self, request: Request) -> Pin<Box<dyn Future<Output = reqwest::Result<Response>> + Send>> {
        Box::pin(carry(self.router.clone(), request))
    }

    /// SplitMix64, which always begins with the same numbers.
    fn random(&self) -> u64 {
        let mut locked = self.shared.lock();
        locked.drawn += 1;
        let state = locked.drawn.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

async fn carry(router: Router, request: Request) -> reqwest::Result<Response> {
    let url = request.url().clone();
    let request = http::Request::try_from(request)?;
    // What was sent arrives, even if nobody waits for the answer any more.
    match tokio::spawn(server::answer(router, request)).await {
        Ok(Ok(response)) => response_of(response, url).await,
        _ => failure(io::ErrorKind::ConnectionReset).await,
    }
}

async fn response_of(response: http::Response<Body>, url: Url) -> reqwest::Result<Response> {
    let (head, body) = response.into_parts();
    let body = match to_bytes(body, usize::MAX).await {
        Ok(bytes) => reqwest::Body::from(bytes),
        Err(_) => reqwest::Body::wrap(Broken(io::ErrorKind::BrokenPipe)),
    };
    match http::Response::builder().status(head.status).url(url).body(body) {
        Ok(mut response) => {
            *response.headers_mut() = head.headers;
            Ok(Response::from(response))
        }
        Err(_) => failure(io::ErrorKind::InvalidData).await,
    }
}

/// An error of `reqwest`, which only `reqwest` can make: from a body that fails.
async fn failure(kind: io::ErrorKind) -> reqwest::Result<Response> {
    let mut response = Response::from(http::Response::new(reqwest::Body::wrap(Broken(kind))));
    response.chunk().await?;
    Ok(response)
}

/// A body that fails.
struct Broken(io::ErrorKind);

impl HttpBody for Broken {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        Poll::Ready(Some(Err(self.0.into())))
    }
}
