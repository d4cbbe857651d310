//! Everything but messages: queues by name, consumers, event subscriptions.

pub(super) mod consumers;
pub(super) mod queues;
mod request;
mod show;
pub(super) mod subscriptions;

use hyper::body::Bytes;

pub(super) use self::request::Request;
use super::reply::Refusal;

type Result<T = http::Response<Bytes>> = std::result::Result<T, Refusal>;
