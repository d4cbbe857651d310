//! Mechanisms that know nothing of queues: how many requests to send at once, retries that are left, how long an outage
//! has lasted, and how a refused request is split.

pub(crate) mod adaptive;
pub(crate) mod budget;
pub(crate) mod outage;
pub(crate) mod splitting;
