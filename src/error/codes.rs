//! The service's codes.
//!
//! Cloudflare documents few of them. "Docs" is its documentation of Queues and of its API, "wrangler" the source of its
//! command line, and "seen" what other programs report of the live service.

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal;)*) => {
        $($(#[$doc])* pub(crate) const $name: i64 = $code;)*
        /// The codes that this crate acts on.
        pub(crate) const KNOWN: &[i64] = &[$($name,)*];
    };
}

codes! {
    /// A header with credentials is malformed; a cause in the error's chain says which. Docs.
    MALFORMED_HEADERS = 6003;
    /// The header `X-Auth-Key` is malformed. Docs.
    MALFORMED_KEY = 6103;
    /// The header `Authorization` is malformed. Docs.
    MALFORMED_TOKEN = 6111;
    /// The token is unknown, or lacks a permission. Docs.
    REFUSED_TOKEN = 9109;
    /// Nobody was authenticated. Docs.
    NOT_AUTHENTICATED = 10000;

    /// The account's requests, which can stay limited for five minutes. Seen.
    THROTTLED = 971;
    /// As above. Seen.
    TOO_MANY_REQUESTS = 10429;
    /// The queue is overloaded. Docs.
    OVERLOADED = 10250;
    /// The queue's storage is full. Docs.
    STORAGE_FULL = 10251;
    /// The queue is disabled. Docs.
    QUEUE_DISABLED = 10252;
    /// What the free tier allows is used up. Docs.
    FREE_TIER_USED_UP = 10253;
    /// The service failed. Docs.
    INTERNAL = 15000;

    /// No route takes the path. Seen.
    UNKNOWN_PATH = 7000;
    /// No route takes the path, most likely since an id in it is malformed. Docs.
    MALFORMED_PATH = 7003;
    /// There is no such queue. Docs.
    QUEUE_NOT_FOUND = 10104;
    /// There is no such queue. wrangler, seen.
    QUEUE_DOES_NOT_EXIST = 11000;
    /// What the path names does not exist: a queue, or an event subscription. Seen.
    NOT_THERE = 404;
    /// The delay of a message is out of bounds, for which the docs have 10202 and 10203. About a consumer, that the
    /// queue has none with this id. Seen.
    DELAY = 10013;
    /// The queue has no such consumer. Seen.
    NO_SUCH_CONSUMER = 10105;
    /// The queue has no such consumer. wrangler, seen.
    CONSUMER_NOT_FOUND = 11006;
    /// There is no such Worker. wrangler.
    NO_WORKER = 10007;

    /// The name is not valid for a queue. Seen.
    INVALID_NAME = 11003;
    /// The queue has a consumer. wrangler.
    CONSUMER_EXISTS = 11004;
    /// A Worker is bound to the queue. Seen.
    BOUND_BY_WORKER = 11005;
    /// The account has a queue with this name. wrangler.
    QUEUE_EXISTS = 11009;
    /// Event notifications are sent to the queue. Seen.
    USED_BY_NOTIFICATIONS = 11017;
}

/// The format of a header with credentials is wrong.
pub(crate) const MALFORMED_CREDENTIALS: &[i64] = &[MALFORMED_HEADERS, MALFORMED_KEY, MALFORMED_TOKEN];
/// The token is unknown or lacks a permission, or nobody was authenticated.
pub(crate) const REFUSED_CREDENTIALS: &[i64] = &[REFUSED_TOKEN, NOT_AUTHENTICATED];
/// A wait resolves these.
pub(crate) const RATE_LIMITED: &[i64] = &[THROTTLED, OVERLOADED, TOO_MANY_REQUESTS];
/// No wait within a call can resolve these.
pub(crate) const QUOTA: &[i64] = &[STORAGE_FULL, QUEUE_DISABLED, FREE_TIER_USED_UP];
/// No route takes the path, or an id in it. It says nothing about what the id stands for.
pub(crate) const NO_ROUTE: &[i64] = &[UNKNOWN_PATH, MALFORMED_PATH];
/// There is no such queue.
pub(crate) const NO_QUEUE: &[i64] = &[QUEUE_NOT_FOUND, QUEUE_DOES_NOT_EXIST];
/// The queue has no such consumer.
pub(crate) const NO_CONSUMER: &[i64] = &[DELAY, NO_SUCH_CONSUMER, CONSUMER_NOT_FOUND];

/// The codes that only the emulator names: this crate shows them as they are.
#[cfg(feature = "emulator")]
mod emulated {
    /// An error without a code of its own: delivery is paused, the queue has no pull consumer. Seen.
    pub(crate) const NONE: i64 = 0;
    /// The body of the request is not of the documented form. Seen.
    pub(crate) const REQUEST_BODY: i64 = 10026;
    /// The content type of a message is unknown. Docs.
    pub(crate) const MESSAGE_METADATA: i64 = 10203;
    /// A message is too large. Docs.
    pub(crate) const MESSAGE_SIZE: i64 = 10204;
    /// The messages of a batch are too large together. Docs.
    pub(crate) const BATCH_SIZE: i64 = 10205;
    /// A batch has no message, or too many. Docs.
    pub(crate) const BATCH_COUNT: i64 = 10206;
    /// The body of a message is missing, or not of its content type. Docs, seen for a string as JSON.
    pub(crate) const MESSAGE_BODY: i64 = 10207;
    /// A setting of a consumer is not valid. Seen.
    pub(crate) const CONSUMER_SETTINGS: i64 = 100_127;
    /// A setting of a queue is not valid. Seen.
    pub(crate) const QUEUE_SETTINGS: i64 = 100_128;
}

#[cfg(feature = "emulator")]
pub(crate) use emulated::*;
