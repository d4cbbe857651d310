//! The service's codes.
//!
//! Cloudflare documents few of them. "Docs" is its documentation of Queues and of its API, "wrangler" the source of its
//! command line, and "seen" what other programs report of the live service.

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal;)*) => {
        $($(#[$doc])* pub(crate) const $name: i64 = $code;)*
        /// The codes that are documented or seen. They are not taken for a number of a request.
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
    /// Pushing to the queue is not permitted. Docs.
    NOT_PERMITTED = 10106;

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
    /// The id of the queue is malformed. Docs.
    MALFORMED_QUEUE_ID = 10107;
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

    /// The body of the request is not of the documented form. Seen.
    REQUEST_BODY = 10026;
    /// The client closed the connection. Docs.
    CLIENT_DISCONNECTED = 10201;
    /// The delay of a batch is out of bounds. Docs.
    BATCH_DELAY = 10202;
    /// The content type of a message is unknown, or its delay out of bounds. Docs.
    MESSAGE_METADATA = 10203;
    /// A message is too large. Docs.
    MESSAGE_SIZE = 10204;
    /// The messages of a batch are too large together. Docs.
    BATCH_SIZE = 10205;
    /// A batch has no message, or too many. Docs.
    BATCH_COUNT = 10206;
    /// The body of a message is missing, or not of its content type. Docs, seen for a string as JSON.
    MESSAGE_BODY = 10207;
    /// The body of the request is not JSON. Docs.
    MALFORMED_BODY = 10208;
    /// A setting of a consumer is not valid. Seen.
    CONSUMER_SETTINGS = 100_127;
    /// A setting of a queue is not valid. Seen.
    QUEUE_SETTINGS = 100_128;
}

/// The format of a header with credentials is wrong.
pub(crate) const MALFORMED_CREDENTIALS: &[i64] = &[MALFORMED_HEADERS, MALFORMED_KEY, MALFORMED_TOKEN];
/// The token is unknown or lacks a permission, or nobody was authenticated.
pub(crate) const REFUSED_CREDENTIALS: &[i64] = &[REFUSED_TOKEN, NOT_AUTHENTICATED, NOT_PERMITTED];
/// A wait resolves these.
pub(crate) const RATE_LIMITED: &[i64] = &[THROTTLED, OVERLOADED, TOO_MANY_REQUESTS];
/// No wait within a call can resolve these.
pub(crate) const QUOTA: &[i64] = &[STORAGE_FULL, QUEUE_DISABLED, FREE_TIER_USED_UP];
/// No route takes the path, or an id in it. It says nothing about what the id stands for.
pub(crate) const NO_ROUTE: &[i64] = &[UNKNOWN_PATH, MALFORMED_PATH, MALFORMED_QUEUE_ID];
/// There is no such queue.
pub(crate) const NO_QUEUE: &[i64] = &[QUEUE_NOT_FOUND, QUEUE_DOES_NOT_EXIST];
/// The queue has no such consumer.
pub(crate) const NO_CONSUMER: &[i64] = &[DELAY, NO_SUCH_CONSUMER, CONSUMER_NOT_FOUND];

/// An error without a code of its own: delivery is paused, the queue has no pull consumer. Seen, and only the emulator
/// sends it.
#[cfg(feature = "emulator")]
pub(crate) const NONE: i64 = 0;
