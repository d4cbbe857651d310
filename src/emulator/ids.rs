//! Ids, made of numbers. Those of messages and leases are decoded again, so none needs to be stored.

use std::str::FromStr;

/// The service's lease ids start like this: the header of an encrypted token, and an empty part.
const HEAD: &str = "eyJhbGciOiJkaXIiLCJlbmMiOiJBMjU2Q0JDLUhTNTEyIn0.";

/// The number of a message. Later messages of a queue have greater numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Sequence(u64);

impl Sequence {
    pub(super) fn new(number: u64) -> Self {
        Self(number)
    }

    pub(super) fn number(self) -> u64 {
        self.0
    }

    pub(super) fn message_id(self) -> String {
        format!("{:032x}", self.0)
    }

    pub(super) fn from_message_id(text: &str) -> Option<Self> {
        let sequence = Self(hex(text)?);
        (sequence.message_id() == text).then_some(sequence)
    }

    /// The reference for a purge.
    pub(super) fn message_ref(self) -> String {
        format!("{HEAD}.ref.{}.", self.message_id())
    }

    pub(super) fn from_ref(text: &str) -> Option<Self> {
        let sequence = Self(hex(text.split('.').nth(3)?)?);
        (sequence.message_ref() == text).then_some(sequence)
    }
}

/// One delivery of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Lease {
    pub(super) sequence: Sequence,
    /// How often the message had been delivered.
    pub(super) attempt: u32,
}

impl Lease {
    /// In the form of the service's lease ids: five parts, the second one empty, 150 characters.
    pub(super) fn id(self) -> String {
        let (sequence, attempt) = (self.sequence.0, self.attempt);
        format!("{HEAD}.{sequence:022x}.{attempt:032x}.{sequence:043x}")
    }

    pub(super) fn from_id(text: &str) -> Option<Self> {
        let mut parts = text.split('.').skip(2);
        let sequence = Sequence(hex(parts.next()?)?);
        let lease = Self { sequence, attempt: hex(parts.next()?)?.try_into().ok()? };
        (lease.id() == text).then_some(lease)
    }
}

/// The id of an account or a queue: this number in the form of Cloudflare's ids.
pub(super) fn numbered<T: FromStr>(number: u128) -> T {
    format!("{number:032x}").parse().unwrap_or_else(|_| unreachable!("32 hexadecimal digits are an id"))
}

fn hex(digits: &str) -> Option<u64> {
    u64::from_str_radix(digits, 16).ok()
}
