//! Pushes in the background, grouped into few requests. Start from [`Pusher`](crate::Pusher).

pub(crate) mod handle;
mod options;
mod receipt;
mod request;
#[cfg(test)]
mod tests;
mod worker;

pub use self::{
    options::PusherOptions,
    receipt::{PushError, Receipt, Unpushed},
};
