//! What a request comes to: a response in the service's envelope, or a broken connection.

use http::{HeaderValue, Response, StatusCode, header::CONTENT_TYPE};
use hyper::body::Bytes;
use serde_json::{Value, json};

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
        let error = match code {
            6003 => {
                json!({ "code": code, "message": message, "error_chain": [{ "code": 6111, "message": "invalid token" }] })
            }
            _ => json!({ "code": code, "message": message }),
        };
        envelope(status, &json!({ "success": false, "errors": [error], "messages": [], "result": null }))
    }
}

pub(super) fn success(result: Value) -> Response<Bytes> {
    envelope(StatusCode::OK, &json!({ "success": true, "errors": [], "messages": [], "result": result }))
}

/// A page of a list.
pub(super) fn page(result: Value, info: Value) -> Response<Bytes> {
    let body = json!({ "success": true, "errors": [], "messages": [], "result": result, "result_info": info });
    envelope(StatusCode::OK, &body)
}

fn envelope(status: StatusCode, body: &Value) -> Response<Bytes> {
    response(status, "application/json", body.to_string())
}

pub(super) fn response(status: StatusCode, content_type: &'static str, body: String) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
