//! The ids of accounts, queues, consumers and event subscriptions. Each is a separate type, so they cannot be mixed up.

use std::{convert::Infallible, fmt, str::FromStr};

use serde::Serialize;

use crate::{
    document::{self, generated::types::Identifier},
    error::Error,
};

const MAX_ID_CHARACTERS: usize = document::IDENTIFIER_MAX_LENGTH as usize;

macro_rules! ids {
    ($($(#[$meta:meta])* $name:ident: $field:literal;)*) => {$(
        $(#[$meta])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(Identifier);

        impl $name {
            /// The id as used in a URL.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            pub(crate) fn wire(&self) -> &Identifier {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(id: &str) -> Result<Self, Error> {
                checked($field, id).map(Self)
            }
        }

        impl TryFrom<&str> for $name {
            type Error = Error;

            fn try_from(id: &str) -> Result<Self, Error> {
                id.parse()
            }
        }

        impl TryFrom<String> for $name {
            type Error = Error;

            fn try_from(id: String) -> Result<Self, Error> {
                id.parse()
            }
        }

        impl From<&$name> for $name {
            fn from(id: &Self) -> Self {
                id.clone()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.as_str())
            }
        }
    )*};
}

ids! {
    /// The id of an account: 1 to 32 letters, digits, `_` and `-`. Cloudflare's are 32 hexadecimal digits.
    ///
    /// ```
    /// use cloudflare_queues::{AccountId, QueueId};
    ///
    /// let account: AccountId = "023e105f4ecef8ad9ca31a8372d0c353".parse()?;
    /// assert_eq!(account.as_str(), "023e105f4ecef8ad9ca31a8372d0c353");
    /// assert!(QueueId::try_from("../other").is_err());
    /// # Ok::<(), cloudflare_queues::Error>(())
    /// ```
    AccountId: "account_id";
    /// The id of a queue: 1 to 32 letters, digits, `_` and `-`. Cloudflare's are 32 hexadecimal digits, and not the
    /// queue's name.
    QueueId: "queue_id";
    /// The id of a consumer of a queue: 1 to 32 letters, digits, `_` and `-`.
    ConsumerId: "consumer_id";
    /// The id of an event subscription: 1 to 32 letters, digits, `_` and `-`.
    SubscriptionId: "subscription_id";
}

impl QueueId {
    /// Whether the id has the form of Cloudflare's own ids, which most names do not have.
    pub(crate) fn is_cloudflares(&self) -> bool {
        self.0.len() == 32 && self.0.bytes().all(|byte| byte.is_ascii_hexdigit())
    }
}

/// Lets functions accept an id, or a string that may be one.
impl From<Infallible> for Error {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

/// An id becomes part of the path, where `.` and `..` would send the credentials elsewhere.
fn checked(field: &str, id: &str) -> Result<Identifier, Error> {
    if !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')) {
        return Err(Error::invalid(format!("{field}: may hold only letters, digits, `_` and `-`")));
    }
    if !(1..=MAX_ID_CHARACTERS).contains(&id.len()) {
        return Err(Error::invalid(format!(
            "{field}: must have 1 to {MAX_ID_CHARACTERS} characters, but has {}",
            id.len()
        )));
    }
    Identifier::try_from(id).map_err(|error| Error::invalid(format!("{field}: {error}")))
}
