//! Acknowledgements in the background, grouped into few requests. Start from [`Acker`](crate::Acker).

pub(crate) mod handle;
mod late;
mod ledger;
mod options;
mod receipt;
mod request;
#[cfg(test)]
mod tests;
mod worker;

pub(crate) use self::receipt::Observer;
pub use self::{options::AckerOptions, receipt::Receipt};
pub use crate::message::confirmation::Confirmation;
