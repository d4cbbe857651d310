//! The names of messages and leases. They are made from numbers and read back, so that none has to be kept.

/// The service's own look like this: the head of an encrypted token, and an empty part.
const HEAD: &str = "eyJhbGciOiJkaXIiLCJlbmMiOiJBMjU2Q0JDLUhTNTEyIn0.";

/// The number of a message; a later message of a queue has a greater one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Sequence(u64);

impl Sequence {
    pub(super) fn new(number: u64) -> Self {
        Self(number)
    }

    pub(super) fn message_id(self) -> String {
        format!("{:032x}", self.0)
    }

    pub(super) fn from_message_id(text: &str) -> Option<Self> {
        let sequence = Self(hex(text)?);
        (sequence.message_id() == text).then_some(sequence)
    }

    /// What names the message to a purge.
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
    /// How often the message was delivered by then.
    pub(super) attempt: u32,
}

impl Lease {
    /// In the shape of the service's own: five parts, the second one empty, 150 characters.
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

fn hex(digits: &str) -> Option<u64> {
    u64::from_str_radix(digits, 16).ok()
}
