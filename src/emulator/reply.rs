//! The result of a request: a response in the service's envelope, or a broken connection.

use std::borrow::Cow;

use http::{HeaderValue, Response, StatusCode, header::CONTENT_TYPE};
use hyper::body::Bytes;
use serde::Serialize;
use serde_json::Value;

use crate::error::codes;

pub(super) enum Reply {
    Respond(Response<Bytes>),
    /// Announces the whole response, sends half of it, and breaks the connection.
    CutOff(Response<Bytes>),
    /// Breaks the connection instead of responding.
    Reset,
}

impl Reply {
    pub(super) fn response(&self) -> Option<&Response<Bytes>> {
        match self {
            Self::Respond(response) | Self::CutOff(response) => Some(response),
            Self::Reset => None,
        }
    }

    pub(super) fn status(&self) -> Option<StatusCode> {
        self.response().map(Response::status)
    }
}

/// Why a request is not carried out: a status with a code and a message.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    code: i64,
    message: Cow<'static, str>,
    /// More for the sender alone, since it may quote the request's body.
    detail: Option<String>,
}

/// Why a request was refused, alongside its response. It quotes no body.
#[derive(Clone)]
pub(super) struct Reason {
    pub(super) code: i64,
    pub(super) message: Cow<'static, str>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, code: i64, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status, code, message: message.into(), detail: None }
    }

    pub(super) fn with_detail(self, detail: impl ToString) -> Self {
        Self { detail: Some(detail.to_string()), ..self }
    }

    pub(super) fn bad_request(code: i64, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// For a body that is not of the documented form.
    pub(super) fn malformed(message: impl Into<Cow<'static, str>>) -> Self {
        Self::bad_request(codes::REQUEST_BODY, message)
    }

    pub(super) fn message(&self) -> &str {
        &self.message
    }

    pub(super) fn no_route() -> Self {
        Self::new(StatusCode::NOT_FOUND, codes::MALFORMED_PATH, "no route for the URI")
    }

    pub(super) fn no_queue() -> Self {
        Self::new(StatusCode::NOT_FOUND, codes::QUEUE_NOT_FOUND, "the queue does not exist")
    }

    /// The response has the [`Reason`] as an extension.
    pub(super) fn into_response(self) -> Response<Bytes> {
        let Self { status, code, message, detail } = self;
        let reason = Reason { code, message: message.clone() };
        let message = detail.map_or(message, |detail| format!("{}: {detail}", reason.message).into());
        let chained =
            || ApiError { code: codes::MALFORMED_TOKEN, message: "invalid token".into(), error_chain: Vec::new() };
        let error_chain = if code == codes::MALFORMED_HEADERS { vec![chained()] } else { Vec::new() };
        let errors = vec![ApiError { code, message, error_chain }];
        let refused = Envelope { success: false, errors, messages: [], result: Some(()), result_info: None };
        let mut response = envelope(status, &refused);
        response.extensions_mut().insert(reason);
        response
    }
}

pub(super) fn success(result: impl Serialize) -> Response<Bytes> {
    successful(Some(result), None)
}

pub(super) fn success_without_result() -> Response<Bytes> {
    successful(None::<()>, None)
}

fn successful(result: Option<impl Serialize>, result_info: Option<Value>) -> Response<Bytes> {
    envelope(StatusCode::OK, &Envelope { success: true, errors: Vec::new(), messages: [], result, result_info })
}

/// A page of a list.
pub(super) fn page(result: Value, info: Value) -> Response<Bytes> {
    successful(Some(result), Some(info))
}

#[derive(Serialize)]
struct Envelope<T> {
    success: bool,
    errors: Vec<ApiError>,
    messages: [(); 0],
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<T>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result_info: Option<Value>,
}

#[derive(Serialize)]
struct ApiError {
    code: i64,
    message: Cow<'static, str>,
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
