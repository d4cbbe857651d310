//! Turns a response into a result or an error: [`open`], from its status to what it means for the operation.

use std::{borrow::Cow, fmt, time::SystemTime};

use reqwest::header::{CONTENT_ENCODING, HeaderMap};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error as _, IgnoredAny, MapAccess, Visitor},
};
use serde_json::{Map, Value, json, value::RawValue};

use crate::{
    document::operation::Operation,
    error::{
        Error,
        api::{ApiError, LEFT_OUT},
        codes,
        kind::ErrorKind,
    },
    http::{
        envelope::{Envelope, Nothing, Pages, api_errors},
        redact::end_of_string,
        retry,
        transport::{self, Received},
    },
    message::body::is_too_deep,
};

const NOT_THE_SERVICES: &str = "the response is not the service's, which would say what is wrong";
const BYTE_ORDER_MARK: &[u8] = &[0xef, 0xbb, 0xbf];

/// A result, with the errors that came with `success: true`.
pub(crate) struct Success<T> {
    pub(crate) result: T,
    /// Of a list, what part of it the result is.
    pub(crate) pages: Pages,
    pub(crate) errors: Vec<ApiError>,
}

/// Reads the body of a response with a status of success.
pub(crate) type Read<T> = fn(Vec<u8>) -> Result<Envelope<T>, Error>;

/// Turns a response into the operation's result, or into the error that it means for the operation. Texts of the
/// service are left as they are: the caller removes secrets.
pub(crate) fn open<T>(operation: Operation, received: Received, read: Read<T>) -> Result<Success<T>, Error> {
    let Received { status, headers, mut body, is_delimited } = received;
    if let Ok(body) = &mut body
        && body.starts_with(BYTE_ORDER_MARK)
    {
        body.drain(..BYTE_ORDER_MARK.len());
    }
    // The envelope decides. Its status may be another one of success, such as 201 for what was created.
    let is_success = (200..=299).contains(&status);
    let opened = match body {
        Ok(body) if is_success => whole(&headers, body, is_delimited).and_then(read).and_then(succeed),
        Err(error) if is_success => Err(error),
        // If the body cannot be read, the status is enough.
        body => Err(refusal(status, &headers, body.unwrap_or_default())),
    };
    opened.map_err(|error| {
        let retry_after = retry::retry_after(&headers, SystemTime::now());
        let ray_id = transport::ray_id_of(&headers).map(str::to_owned);
        meaning(operation, error.with_response(status, ray_id, retry_after))
    })
}

/// The body of a success, if it is complete and not compressed.
fn whole(headers: &HeaderMap, body: Vec<u8>, is_delimited: bool) -> Result<Vec<u8>, Error> {
    let encodings = headers.get_all(CONTENT_ENCODING).iter().flat_map(|value| value.as_bytes().split(|it| *it == b','));
    let is_plain = |encoding: &[u8]| encoding.is_empty() || encoding.eq_ignore_ascii_case(b"identity");
    if !encodings.map(<[u8]>::trim_ascii).all(is_plain) {
        return Err(page("the response is compressed, which was not asked for"));
    }
    // Only the JSON text then shows that the connection closed early.
    if !is_delimited && serde_json::from_slice::<IgnoredAny>(&body).is_err_and(|error| error.is_eof()) {
        return Err(Error::new(ErrorKind::Transport, transport::BROKEN));
    }
    Ok(body)
}

/// The envelope of a success must say so, and have a result.
fn succeed<T>(envelope: Envelope<T>) -> Result<Success<T>, Error> {
    let errors = envelope.errors.unwrap_or_default();
    let error = match (envelope.success, envelope.result) {
        (Some(true), Some(result)) => return Ok(Success { result, pages: envelope.pages, errors }),
        (Some(true), None) => {
            Error::new(ErrorKind::UnexpectedResponse, "the response claims success, but has no result")
        }
        // With the kind of its code, as with the code's own status.
        (Some(false), _) => Error::new(kind_by_code(&errors), "the service did not carry out the call"),
        (None, _) => page("the response does not say whether the call succeeded"),
    };
    Err(error.with_api_errors(errors))
}

/// Reads a result that is an object.
pub(crate) fn read<T: DeserializeOwned>(body: Vec<u8>) -> Result<Envelope<T>, Error> {
    read_result(&body, object)
}

/// Reads a result that is a list.
pub(crate) fn read_list<T: DeserializeOwned>(body: Vec<u8>) -> Result<Envelope<T>, Error> {
    read_result(&body, |result| if result.starts_with('[') { value(result) } else { None })
}

/// Reads a result of counts and warnings, which a success may leave out. One that cannot be read counts nothing, and is
/// a warning: the service reported that it carried out the call.
pub(crate) fn read_counts<T: DeserializeOwned + Default>(body: Vec<u8>) -> Result<Envelope<T>, Error> {
    let warning = || value(&format!(r#"{{"warnings":"{MALFORMED}"}}"#));
    let repeated = |result: &str| serde_json::from_value(value::<Fields>(result)?.0.into()).ok();
    let envelope = read_result(&body, |result| object(result).or_else(|| repeated(result)).or_else(warning))?;
    let empty = || (envelope.success == Some(true)).then(T::default);
    Ok(Envelope { result: envelope.result.or_else(empty), ..envelope })
}

/// Reads a response whose result does not matter.
pub(crate) fn read_nothing(body: Vec<u8>) -> Result<Envelope<Nothing>, Error> {
    let envelope: Envelope<Nothing> = read_result(&body, value)?;
    Ok(Envelope { result: Some(Nothing {}), ..envelope })
}

/// The envelope, with each part as it is. A malformed part must not hide what the others say.
#[derive(Deserialize)]
struct Parts<'a> {
    success: Option<bool>,
    #[serde(borrow)]
    errors: Option<&'a RawValue>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    #[serde(borrow)]
    result_info: Option<&'a RawValue>,
}

const MALFORMED: &str = "the result is not of the documented form";

/// An object: serde would also take a list of its fields for one.
fn object<T: DeserializeOwned>(result: &str) -> Option<T> {
    if result.starts_with('{') { value(result) } else { None }
}

/// The fields of an object. One that is there several times has a list of its values, since none is known to be right.
struct Fields(Map<String, Value>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Collected)
    }
}

struct Collected;

impl<'de> Visitor<'de> for Collected {
    type Value = Fields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
        let mut fields = Map::new();
        while let Some((name, value)) = map.next_entry::<String, Value>()? {
            let value = match fields.remove(&name) {
                Some(earlier) => Value::Array(vec![earlier, value]),
                None => value,
            };
            fields.insert(name, value);
        }
        Ok(Fields(fields))
    }
}

/// Reads the result of a success by a function of its text.
fn read_result<T>(body: &[u8], read: impl Fn(&str) -> Option<T>) -> Result<Envelope<T>, Error> {
    // Text that is not UTF-8 may be in fields that do not matter.
    let text = str::from_utf8(body).map_or_else(|_| String::from_utf8_lossy(body), Cow::Borrowed);
    let parts: Parts<'_> = match text.trim_ascii_start().starts_with('[') {
        true => Err(serde_json::Error::custom("a list")),
        false => serde_json::from_str(&text),
    }
    .map_err(|error| page(why_unreadable(&text, &error)))?;
    let is_success = parts.success == Some(true);
    let result = match parts.result.map(RawValue::get).filter(|_| is_success) {
        Some(result) => read(result).map(Some),
        None => Some(None),
    };
    Ok(Envelope {
        success: parts.success,
        errors: parts.errors.map(|errors| api_errors(listed(errors.get()).unwrap_or_else(|| errors.get().into()))),
        result: result.ok_or_else(|| Error::new(ErrorKind::UnexpectedResponse, MALFORMED))?,
        pages: parts.result_info.and_then(|info| value(info.get())).map(|info| Pages::of(&info)).unwrap_or_default(),
    })
}

/// How deep `serde_json` reads.
const DEPTH: usize = 100;

/// Reads a JSON text. What is nested deeper than `serde_json` reads is null.
pub(crate) fn value<T: DeserializeOwned>(json: &str) -> Option<T> {
    let read = serde_json::from_str(json);
    read.or_else(|error| if is_too_deep(&error) { serde_json::from_str(&shallow(json)) } else { Err(error) }).ok()
}

/// How much of a list of errors is read, in parts between commas. 100 errors with all fields and a cause have fewer.
const PARTS: usize = 2000;

/// Reads a list of errors, of which a response can have millions. The last one says if others are left out.
pub(crate) fn listed(json: &str) -> Option<Value> {
    let first = first_parts(json);
    let mut errors = value(&first)?;
    if let Value::Array(errors) = &mut errors
        && first.len() < json.len()
    {
        errors.push(json!({ "code": 0, "message": LEFT_OUT }));
    }
    Some(errors)
}

/// Describes what is wrong with a response without quoting it, as the parser's text would.
fn why_unreadable(text: &str, error: &serde_json::Error) -> String {
    let what = match text.trim_ascii().as_bytes().first() {
        None => return "the response is empty".into(),
        Some(b'<') => return "the response is HTML, not JSON".into(),
        Some(_) if error.is_eof() => "is cut off",
        Some(_) if error.is_data() => "is not of the documented form",
        Some(_) => "is not JSON",
    };
    format!("the response {what}, at line {} column {}", error.line(), error.column())
}

fn kind_by_code(errors: &[ApiError]) -> ErrorKind {
    let kinds = [
        (codes::MALFORMED_CREDENTIALS, ErrorKind::Unauthorized),
        (codes::REFUSED_CREDENTIALS, ErrorKind::Unauthorized),
        (codes::RATE_LIMITED, ErrorKind::RateLimited),
        (codes::QUOTA, ErrorKind::RateLimited),
        (codes::NO_ROUTE, ErrorKind::NotFound),
        (codes::NO_QUEUE, ErrorKind::NotFound),
        (&[codes::NOT_THERE], ErrorKind::NotFound),
        (&[codes::INTERNAL], ErrorKind::ServiceFailure),
    ];
    let found = kinds.into_iter().find(|(codes, _)| errors.iter().any(|error| error.has_any(codes)));
    found.map_or(ErrorKind::Rejected, |(_, kind)| kind)
}

/// The error for a response without the service's envelope. A proxy or a firewall sent it, or the base URL is wrong: it
/// is a failed attempt, and says nothing about credentials or queues. The request may have been forwarded all the same.
fn page(message: impl Into<Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::ServiceFailure, message).with_advice(Some(
        "check the base URL, and what a proxy or firewall on the way refuses; the request may have arrived, so a push \
         may be duplicated",
    ))
}

/// Whether an envelope is the service's refusal: its errors are a list with a code.
fn has_codes(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Refusal {
        success: bool,
        errors: Box<RawValue>,
    }
    let refusal: Option<Refusal> = value(&String::from_utf8_lossy(body)).filter(|refusal: &Refusal| !refusal.success);
    let errors = refusal.and_then(|refusal| listed(refusal.errors.get()));
    let has_code = |error: &Value| error.get("code").is_some_and(|code| code.is_number() || code.is_string());
    errors.is_some_and(|errors| errors.as_array().into_iter().flatten().any(has_code))
}

/// The error for a response whose status is not one of success.
fn refusal(status: u16, headers: &HeaderMap, body: Vec<u8>) -> Error {
    let has_codes = has_codes(&body);
    let envelope = read_nothing(body).ok().filter(|envelope| envelope.success.is_some());
    let is_envelope = envelope.is_some();
    let failure = envelope.filter(|envelope| envelope.success == Some(false));
    let errors = failure.and_then(|envelope| envelope.errors).unwrap_or_default();
    let challenged = headers.get("cf-mitigated").is_some_and(|value| value == "challenge");
    let is_malformed = errors.iter().any(|error| error.has_any(codes::MALFORMED_CREDENTIALS));
    let has_no_route = errors.iter().any(|error| error.has_any(codes::NO_ROUTE));
    let mut advice = None;
    let (kind, message) = match status {
        403 if challenged => {
            advice = Some("call from another network, or ask Cloudflare why");
            (ErrorKind::Rejected, "Cloudflare's firewall sent a challenge, which only a browser can pass")
        }
        407 => return transport::unauthorized_by_proxy(),
        408 => (ErrorKind::Timeout, "the service waited too long for the request"),
        429 => (ErrorKind::RateLimited, "the rate limit was exceeded"),
        500..=599 => (ErrorKind::ServiceFailure, "the service failed"),
        300..=399 => return page("the response is a redirect, which is not followed"),
        // What is too large stays so, whoever says it.
        413 => (ErrorKind::Rejected, "the service refused the request"),
        400..=499 if !(is_envelope && has_codes) => return page(NOT_THE_SERVICES),
        _ if !is_envelope => return page(NOT_THE_SERVICES),
        400 if is_malformed => (ErrorKind::Unauthorized, "the credentials are malformed"),
        401 | 403 => (ErrorKind::Unauthorized, "the service refused the credentials"),
        400 | 404 if has_no_route => {
            (ErrorKind::NotFound, "there is no such account or path, or an id has the wrong form")
        }
        404 => (ErrorKind::NotFound, "there is no such queue"),
        405 => (ErrorKind::NotPullConsumer, "the queue has no HTTP pull consumer"),
        409 => (ErrorKind::DeliveryPaused, "delivery from the queue is paused"),
        400..=499 => (ErrorKind::Rejected, "the service refused the request"),
        _ => (ErrorKind::UnexpectedResponse, "the response has a status that is not documented"),
    };
    Error::new(kind, message).with_api_errors(errors).with_advice(advice)
}

/// What a refusal means for this operation, if that is more than its status says.
fn meaning(operation: Operation, error: Error) -> Error {
    use ErrorKind::{
        AlreadyExists, DeliveryPaused, InUse, InvalidName, NoSuchConsumer, NotFound, NotPullConsumer, Rejected,
    };
    use Operation as Op;
    if !matches!(error.kind(), Rejected | NotFound | NotPullConsumer | DeliveryPaused) {
        return error;
    }
    let has = |code| error.has_code(code);
    let is_missing = error.kind() == NotFound && !error.api_errors().is_empty() && !error.has_any(codes::NO_ROUTE);
    // These two are about pulls.
    let is_conflict = matches!(error.kind(), DeliveryPaused | NotPullConsumer);
    let (kind, message, advice) = match operation {
        _ if operation.is_on_messages() => return error,
        _ if has(codes::QUEUE_EXISTS) => (AlreadyExists, "the account already has a queue with this name", None),
        _ if has(codes::CONSUMER_EXISTS) => (AlreadyExists, "the queue already has a consumer", None),
        _ if has(codes::INVALID_NAME) => (InvalidName, "the name is not valid for a queue", None),
        _ if has(codes::BOUND_BY_WORKER) => (InUse, "a Worker is bound to the queue", None),
        _ if has(codes::USED_BY_NOTIFICATIONS) => (InUse, "event notifications are sent to the queue", None),
        Op::CreateConsumer | Op::UpdateConsumer if has(codes::NO_WORKER) => {
            (Rejected, "there is no such Worker", Some("deploy the Worker first"))
        }
        Op::GetConsumer | Op::UpdateConsumer | Op::DeleteConsumer
            if error.has_any(codes::NO_CONSUMER) || is_missing && !error.has_any(codes::NO_QUEUE) =>
        {
            (NoSuchConsumer, "the queue has no such consumer", None)
        }
        Op::CreateSubscription if is_conflict => (AlreadyExists, "the source already has an event subscription", None),
        Op::GetSubscription | Op::UpdateSubscription | Op::DeleteSubscription if is_missing => {
            (NotFound, "there is no such event subscription", Some("list the account's event subscriptions"))
        }
        Op::ListQueues | Op::CreateQueue | Op::ListSubscriptions | Op::CreateSubscription if is_missing => {
            (NotFound, "there is no such account", Some("check the account id"))
        }
        Op::CreateQueue | Op::CreateConsumer if is_conflict => (AlreadyExists, "it already exists", None),
        _ if is_conflict => (Rejected, "the service refused the request", None),
        _ => return error,
    };
    error.with_meaning(kind, message).with_advice(advice)
}

/// A JSON text up to its comma of the number [`PARTS`], where it may end once all that is open is closed.
fn first_parts(json: &str) -> Cow<'_, str> {
    let (mut open, mut commas, mut at) = (String::new(), 0_usize, 0_usize);
    while let Some((first, rest)) = json.split_at_checked(at)
        && let Some(next) = rest.chars().next()
    {
        match next {
            '{' => open.push('}'),
            '[' => open.push(']'),
            '}' | ']' => drop(open.pop()),
            ',' if commas == PARTS => return first.chars().chain(open.chars().rev()).collect(),
            ',' => commas = commas.saturating_add(1),
            _ => {}
        }
        at = at.saturating_add(if next == '"' { end_of_string(rest) } else { next.len_utf8() });
    }
    json.into()
}

/// A JSON text in which what is nested deeper than [`DEPTH`] is null.
fn shallow(json: &str) -> String {
    let (mut shallow, mut depth, mut rest) = (String::new(), 0_usize, json);
    while let Some(next) = rest.chars().next() {
        let end = if next == '"' { end_of_string(rest) } else { next.len_utf8() };
        let (token, after) = rest.split_at_checked(end).unwrap_or((rest, ""));
        rest = after;
        match next {
            '{' | '[' => {
                shallow.push_str(match depth {
                    0..DEPTH => token,
                    DEPTH => "null",
                    _ => "",
                });
                depth = depth.saturating_add(1);
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                shallow.push_str(if depth < DEPTH { token } else { "" });
            }
            _ => shallow.push_str(if depth <= DEPTH { token } else { "" }),
        }
    }
    shallow
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::http::envelope::List;

    fn opened(operation: Operation, status: u16, body: &str) -> Result<Success<Map<String, Value>>, Error> {
        let headers = HeaderMap::new();
        open(operation, Received { status, headers, body: Ok(body.into()), is_delimited: true }, read)
    }

    #[test]
    fn a_refusal_says_what_its_status_means() {
        let of = |status, body: &str| opened(Operation::ListQueues, status, body).err().unwrap();
        assert_eq!(of(408, "").kind(), ErrorKind::Timeout);
        assert!(of(302, "").to_string().starts_with("the response is a redirect"));
        let missing = of(404, r#"{"success":false,"errors":[{"code":10001,"message":""}]}"#).to_string();
        assert!(missing.starts_with("there is no such account"), "{missing}");
    }

    #[test]
    fn a_code_under_status_200_means_what_it_means_otherwise() {
        let kinds = [
            (&[6003, 6103, 6111, 9109, 10000, 10106][..], ErrorKind::Unauthorized),
            (&[971, 10250, 10251, 10252, 10253, 10429], ErrorKind::RateLimited),
            (&[404, 7000, 7003, 10104, 10107, 11000], ErrorKind::NotFound),
            (&[15000], ErrorKind::ServiceFailure),
            (&[0, 10026], ErrorKind::Rejected),
        ];
        for (code, kind) in kinds.iter().flat_map(|(codes, kind)| codes.iter().map(move |code| (code, kind))) {
            let body = format!(r#"{{"success":false,"errors":[{{"code":{code}}}]}}"#);
            assert_eq!(opened(Operation::PullMessages, 200, &body).err().unwrap().kind(), *kind, "{code}");
        }
    }

    #[test]
    fn failures_without_an_envelope_are_not_the_services() {
        let pages = [
            "",
            "<html>",
            r#"<html>{"success":false,"errors":[{"code":10000}]}</html>"#,
            "{}",
            "null",
            r#"{"errors":[{"code":10000}]}"#,
            r#"{"success":true,"result":{}}"#,
            r#"{"success":false}"#,
            r#"{"success":false,"errors":[]}"#,
            r#"{"success":false,"errors":null}"#,
            r#"{"success":false,"errors":["login"]}"#,
            r#"{"success":false,"errors":[{"message":"login"}]}"#,
            r#"{"success":false,"errors":{"code":10000}}"#,
            r#"[false,[{"code":10000}]]"#,
        ];
        for (page, status) in pages.iter().flat_map(|page| [400, 401, 403, 404, 405, 407, 409].map(|it| (page, it))) {
            let error = opened(Operation::PullMessages, status, page).err().unwrap();
            let kind = if status == 407 { ErrorKind::Transport } else { ErrorKind::ServiceFailure };
            assert_eq!(error.kind(), kind, "{status} {page}: {error}");
            assert!(error.is_transient() && error.may_have_arrived() == (status != 407), "{status} {page}: {error}");
        }
    }

    #[test]
    fn a_failure_is_found_at_any_length() {
        for length in [0, 4096, 100_000] {
            let errors = json!([{ "code": 11009, "message": "a".repeat(length) }]);
            let body = json!({ "success": false, "errors": errors, "result": {} }).to_string();
            let error = opened(Operation::AckMessages, 200, &body).err().unwrap();
            assert_eq!((error.kind(), error.has_code(11009)), (ErrorKind::Rejected, true));
        }
    }

    #[test]
    fn a_typed_list_is_one_page() {
        let typed = serde_json::to_vec(&Envelope::success(List(vec![json!(7)]))).unwrap();
        assert_eq!(read_list::<List<Value>>(typed).unwrap().pages.count, Some(1));
    }

    #[test]
    fn deeply_nested_values_are_left_out() {
        for (open, close) in [("[", "]"), (r#"{"a":"#, "}"), (r#"[{"]":"#, "}]")] {
            let deep = format!("{}7{}", open.repeat(10_000), close.repeat(10_000));
            let body = format!(r#"{{"success":true,"errors":{deep},"result":{{"count":1,"odd":{deep},"more":"]"}}}}"#);
            let result = opened(Operation::AckMessages, 200, &body).unwrap().result;
            assert_eq!((&result["count"], &result["more"]), (&json!(1), &json!("]")), "{open}");
        }
        assert_eq!(shallow(r#" {"a":["[",{}]} "#), r#" {"a":["[",{}]} "#);
    }
}
