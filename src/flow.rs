//! Mechanisms that know nothing of queues: how many requests to send at once, retries that are left, how long an outage
//! has lasted, how a refused request is split, who waits for a flush, and how a panic is contained.

pub(crate) mod adaptive;
pub(crate) mod budget;
pub(crate) mod clock;
pub(crate) mod contained;
pub(crate) mod flushes;
pub(crate) mod outage;
pub(crate) mod pace;
pub(crate) mod rate;
pub(crate) mod splitting;
pub(crate) mod tasks;
