//! What stands around every request: credentials, the ray id, and the faults that were asked for.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{
    body::{Body, Bytes, HttpBody, to_bytes},
    extract::{Request, State},
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER},
    },
    middleware::Next,
    response::{IntoResponse, Response},
};
use hyper::body::Frame;
use tokio::time::sleep;

use super::{API_KEY, API_TOKEN, EMAIL, Shared, routes::Refusal, server::Reset, settings::Fault};

pub(super) async fn around(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let (ray_id, fault) = {
        let mut locked = shared.lock();
        locked.requests += 1;
        (format!("{:016x}-EMU", locked.requests), locked.faults.pop_front())
    };
    let mut response = with_fault(fault, request, next).await;
    if let Ok(ray_id) = HeaderValue::try_from(ray_id) {
        response.headers_mut().insert("cf-ray", ray_id);
    }
    response
}

async fn with_fault(fault: Option<Fault>, request: Request, next: Next) -> Response {
    if let Err(refusal) = authorize(request.headers()) {
        return refusal.into_response();
    }
    match fault {
        None => next.run(request).await,
        Some(Fault::RateLimited { code, retry_after }) => {
            let mut response = Refusal(StatusCode::TOO_MANY_REQUESTS, code, "too many requests").into_response();
            if let Some(wait) = retry_after {
                response.headers_mut().insert(RETRY_AFTER, wait.as_secs().into());
            }
            response
        }
        Some(Fault::Forbidden) => {
            Refusal(StatusCode::FORBIDDEN, 9109, "unauthorized to access the requested resource").into_response()
        }
        Some(Fault::Challenged) => {
            let headers = [("content-type", "text/html"), ("cf-mitigated", "challenge")];
            (StatusCode::FORBIDDEN, headers, "<html><body>just a moment</body></html>").into_response()
        }
        Some(Fault::ServerError(status)) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            (status, [(CONTENT_TYPE, "text/html")], "<html><body>the origin is not well</body></html>").into_response()
        }
        Some(Fault::NotSuccess) => Refusal(StatusCode::OK, 15000, "an internal error occurred").into_response(),
        Some(Fault::Delay(delay)) => {
            let response = next.run(request).await;
            sleep(delay).await;
            response
        }
        Some(Fault::Slow { before, after, fault }) => {
            sleep(before).await;
            let response = Box::pin(with_fault(fault.map(|fault| *fault), request, next)).await;
            sleep(after).await;
            response
        }
        Some(Fault::CutOff) => cut_off(next.run(request).await).await,
        Some(Fault::ResetBefore) => reset(),
        Some(Fault::ResetAfter) => {
            next.run(request).await;
            reset()
        }
    }
}

fn authorize(headers: &HeaderMap) -> Result<(), Refusal> {
    let value = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let authorized = match (value(AUTHORIZATION.as_str()), value("x-auth-email"), value("x-auth-key")) {
        (Some(authorization), None, None) => match authorization.strip_prefix("Bearer ") {
            Some(token) => token == API_TOKEN,
            None => return Err(Refusal(StatusCode::BAD_REQUEST, 6003, "invalid request headers")),
        },
        (None, Some(email), Some(key)) => email == EMAIL && key == API_KEY,
        _ => false,
    };
    if authorized { Ok(()) } else { Err(Refusal(StatusCode::UNAUTHORIZED, 10000, "authentication error")) }
}

fn reset() -> Response {
    let mut response = Response::default();
    response.extensions_mut().insert(Reset);
    response
}

/// Announces the whole answer, and sends half of it.
async fn cut_off(response: Response) -> Response {
    let (mut head, body) = response.into_parts();
    let Ok(mut bytes) = to_bytes(body, usize::MAX).await else { return reset() };
    head.headers.insert(CONTENT_LENGTH, bytes.len().into());
    bytes.truncate(bytes.len() / 2);
    Response::from_parts(head, Body::new(CutOff(Some(bytes))))
}

struct CutOff(Option<Bytes>);

impl HttpBody for CutOff {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        Poll::Ready(Some(self.0.take().map(Frame::data).ok_or(io::Error::from(io::ErrorKind::BrokenPipe))))
    }
}
