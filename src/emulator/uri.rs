//! Percent-encoding.

use std::borrow::Cow;

use super::reply::Refusal;
use crate::error::codes;

/// A segment of a path, or a value of a query, without its percent-encoding.
pub(super) fn decode(segment: &str) -> Result<Cow<'_, str>, Refusal> {
    if !segment.contains('%') {
        return Ok(segment.into());
    }
    let mut bytes = segment.bytes();
    let mut decoded = Vec::new();
    while let Some(byte) = bytes.next() {
        decoded.push(if byte == b'%' { hex(&mut bytes).ok_or_else(undecodable)? } else { byte });
    }
    String::from_utf8(decoded).map(Cow::Owned).map_err(|_| undecodable())
}

/// The parameters of a query, in order.
pub(super) fn query(query: &str) -> impl Iterator<Item = (&str, String)> {
    query.split('&').filter_map(|pair| pair.split_once('=')).map(|(name, value)| {
        let value = value.replace('+', " ");
        let decoded = decode(&value).map(Cow::into_owned);
        (name, decoded.unwrap_or(value))
    })
}

fn undecodable() -> Refusal {
    Refusal::bad_request(codes::MALFORMED_PATH, "the URI is not percent-encoded UTF-8")
}

/// The byte that two hexadecimal digits stand for.
fn hex(digits: &mut impl Iterator<Item = u8>) -> Option<u8> {
    let mut digit = || char::from(digits.next()?).to_digit(16);
    u8::try_from(digit()?.checked_mul(16)?.checked_add(digit()?)?).ok()
}
