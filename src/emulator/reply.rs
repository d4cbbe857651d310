//! What a request comes to: a response in the service's envelope, or a broken connection.

use http::{HeaderValue, Response, StatusCode, header::CONTENT_TYPE};
use hyper::body::Bytes;
use serde::Serialize;
use serde_json::Value;

pub(super) enum Reply {
    Respond(Response<Bytes>),
    /// Announces the whole response, sends half of it, and breaks the connection.
    CutOff(Response<Bytes>),
    /// Breaks the connection instead of responding.
    Reset,
}

/// Why a request is not carried out: a status with a code and a message.
#[derive(Debug)]
pub(super) struct Refusal(pub(super) StatusCode, pub(super) i64, pub(super) &'static str);

impl Refusal {
    pub(super) fn bad_request(code: i64, message: &'static str) -> Self {
        Self(StatusCode::BAD_REQUEST, code, message)
    }

    /// For a body that is not of the documented form.
    pub(super) fn malformed(message: &'static str) -> Self {
        Self::bad_request(10026, message)
    }

    pub(super) fn no_route() -> Self {
        Self(StatusCode::NOT_FOUND, 7003, "no route for the URI")
    }

    pub(super) fn no_queue() -> Self {
        Self(StatusCode::NOT_FOUND, 10104, "the queue does not exist")
    }

    pub(super) fn into_response(self) -> Response<Bytes> {
        let Self(status, code, message) = self;
        let error = |code, message| ApiError { code, message, error_chain: Vec::new() };
        let error_chain = if code == 6003 { vec![error(6111, "invalid token")] } else { Vec::new() };
        let errors = vec![ApiError { error_chain, ..error(code, message) }];
        envelope(status, &Envelope { success: false, errors, messages: [], result: (), result_info: None })
    }
}

pub(super) fn success(result: impl Serialize) -> Response<Bytes> {
    envelope(StatusCode::OK, &Envelope { success: true, errors: Vec::new(), messages: [], result, result_info: None })
}

/// A page of a list.
pub(super) fn page(result: Value, info: Value) -> Response<Bytes> {
    let result_info = Some(info);
    envelope(StatusCode::OK, &Envelope { success: true, errors: Vec::new(), messages: [], result, result_info })
}

#[derive(Serialize)]
struct Envelope<T> {
    success: bool,
    errors: Vec<ApiError>,
    messages: [(); 0],
    result: T,
    #[serde(skip_serializing_if = "Option::is_none")]
    result_info: Option<Value>,
}

#[derive(Serialize)]
struct ApiError {
    code: i64,
    message: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    error_chain: Vec<ApiError>,
}

fn envelope(status: StatusCode, envelope: &impl Serialize) -> Response<Bytes> {
    // Writing structs with strings and numbers cannot fail.
    response(status, "application/json", serde_json::to_vec(envelope).unwrap_or_default())
}

pub(super) fn response(status: StatusCode, content_type: &'static str, body: Vec<u8>) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
