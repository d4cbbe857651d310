//! Percent-encoding.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use super::reply::Refusal;
use crate::error::codes;

/// A segment of a path, or a value of a query, without its percent-encoding.
pub(super) fn decode(segment: &str) -> Result<Cow<'_, str>, Refusal> {
    let is_hex = |rest: &str| rest.as_bytes().get(..2).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit));
    let refusal = || Refusal::bad_request(codes::MALFORMED_PATH, "the URI is not percent-encoded UTF-8");
    // The library leaves as it is what is not encoded.
    if !segment.split('%').skip(1).all(is_hex) {
        return Err(refusal());
    }
    percent_decode_str(segment).decode_utf8().map_err(|_| refusal())
}

/// The parameters of a query, in order.
pub(super) fn query(query: &str) -> impl Iterator<Item = (&str, String)> {
    query.split('&').filter_map(|pair| pair.split_once('=')).map(|(name, value)| {
        let value = value.replace('+', " ");
        let decoded = decode(&value).map(Cow::into_owned);
        (name, decoded.unwrap_or(value))
    })
}
