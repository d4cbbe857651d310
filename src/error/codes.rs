//! The service's codes that this crate acts on.
//!
//! Cloudflare documents few of them. "Docs" is its documentation of Queues and of its API, "wrangler" the source of its
//! command line, and "seen" what other programs report of the live service.

/// The format of a header with credentials is wrong. Docs.
pub(crate) const MALFORMED_CREDENTIALS: &[i64] = &[6003, 6103, 6111];
/// The token is unknown or lacks a permission (9109), or nobody was authenticated (10000). Docs.
pub(crate) const REFUSED_CREDENTIALS: &[i64] = &[9109, 10000];

/// The account's requests, which can stay limited for five minutes (971, 10429; seen), and an overload (10250; docs).
pub(crate) const RATE_LIMITED: &[i64] = &[971, 10250, 10429];
/// No wait within a call can resolve these: storage full, queue disabled, free tier used up. Docs.
pub(crate) const QUOTA: &[i64] = &[10251, 10252, 10253];
/// The service failed. Docs.
pub(crate) const INTERNAL: &[i64] = &[15000];

/// The path has an id that no route takes. It says nothing about what the id stands for. Docs.
pub(crate) const NO_ROUTE: &[i64] = &[7003];
/// There is no such queue. wrangler, seen.
pub(crate) const NO_QUEUE: &[i64] = &[10104, 11000];
/// The queue has no such consumer. wrangler, seen.
pub(crate) const NO_CONSUMER: &[i64] = &[10013, 10105, 11006];
/// There is no such Worker. wrangler.
pub(crate) const NO_WORKER: &[i64] = &[10007];

/// The name is not valid for a queue. Seen.
pub(crate) const INVALID_NAME: &[i64] = &[11003];
/// The queue has a consumer. wrangler.
pub(crate) const CONSUMER_EXISTS: &[i64] = &[11004];
/// A Worker is bound to the queue. Seen.
pub(crate) const BOUND_BY_WORKER: &[i64] = &[11005];
/// The account has a queue with this name. wrangler.
pub(crate) const QUEUE_EXISTS: &[i64] = &[11009];
/// Event notifications are sent to the queue. Seen.
pub(crate) const USED_BY_NOTIFICATIONS: &[i64] = &[11017];

/// All of them.
pub(crate) const KNOWN: [&[i64]; 14] = [
    MALFORMED_CREDENTIALS,
    REFUSED_CREDENTIALS,
    RATE_LIMITED,
    QUOTA,
    INTERNAL,
    NO_ROUTE,
    NO_QUEUE,
    NO_CONSUMER,
    NO_WORKER,
    INVALID_NAME,
    CONSUMER_EXISTS,
    BOUND_BY_WORKER,
    QUEUE_EXISTS,
    USED_BY_NOTIFICATIONS,
];
