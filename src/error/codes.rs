//! The service's codes that this crate acts on.
//!
//! Cloudflare documents few of them. "Docs" is its documentation of Queues and of its API, "wrangler" the source of its
//! command line, and "seen" what other programs report of the live service.

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = [$($code:literal),*];)*) => {
        $($(#[$doc])* pub(crate) const $name: &[i64] = &[$($code),*];)*
        /// All of them.
        pub(crate) const KNOWN: &[i64] = &[$($($code,)*)*];
    };
}

codes! {
    /// The format of a header with credentials is wrong. Docs.
    MALFORMED_CREDENTIALS = [6003, 6103, 6111];
    /// The token is unknown or lacks a permission (9109), or nobody was authenticated (10000). Docs.
    REFUSED_CREDENTIALS = [9109, 10000];

    /// The account's requests, which can stay limited for five minutes (971, 10429; seen), and an overload (10250;
    /// docs).
    RATE_LIMITED = [971, 10250, 10429];
    /// No wait within a call can resolve these: storage full, queue disabled, free tier used up. Docs.
    QUOTA = [10251, 10252, 10253];
    /// The service failed. Docs.
    INTERNAL = [15000];

    /// No route takes the path, or an id in it. It says nothing about what the id stands for. Docs, seen.
    NO_ROUTE = [7000, 7003];
    /// There is no such queue. wrangler, seen.
    NO_QUEUE = [10104, 11000];
    /// What the path names does not exist: a queue, or an event subscription. Seen.
    NOT_THERE = [404];
    /// The queue has no such consumer. wrangler, seen.
    NO_CONSUMER = [10013, 10105, 11006];
    /// There is no such Worker. wrangler.
    NO_WORKER = [10007];

    /// The name is not valid for a queue. Seen.
    INVALID_NAME = [11003];
    /// The queue has a consumer. wrangler.
    CONSUMER_EXISTS = [11004];
    /// A Worker is bound to the queue. Seen.
    BOUND_BY_WORKER = [11005];
    /// The account has a queue with this name. wrangler.
    QUEUE_EXISTS = [11009];
    /// Event notifications are sent to the queue. Seen.
    USED_BY_NOTIFICATIONS = [11017];
}
