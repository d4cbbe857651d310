//! From a request to a result: one attempt, the retries around it, and what a response means.

pub(crate) mod call;
pub(crate) mod credentials;
pub(crate) mod envelope;
pub(crate) mod redact;
pub(crate) mod response;
pub(crate) mod retry;
pub(crate) mod scanner;
pub(crate) mod transport;
