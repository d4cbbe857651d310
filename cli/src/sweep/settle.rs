//! Acknowledges messages, or hands them back, and waits until the service has confirmed it.

use std::time::Duration;

use cloudflare_queues::{
    Acker, Error, Lease, LeaseId,
    acker::{Confirmation, Receipt},
};
use tokio::time::Instant;

use crate::patience::PATIENCE;

#[derive(Default)]
pub(super) struct Settled {
    pub(super) unconfirmed: u64,
    /// The last failure.
    pub(super) error: Option<Error>,
}

/// Hands messages back with a delay, or acknowledges them.
pub(super) async fn settle(acker: &Acker, leases: &[LeaseId], retried: Option<Duration>) -> Settled {
    // They are extended, and late acknowledgements are accepted, too.
    let deadline = (Instant::now() + PATIENCE).into_std();
    let mut receipts = Vec::new();
    for lease in leases {
        let lease = Lease::new(lease, deadline);
        receipts.push(match retried {
            None => acker.ack(lease).await,
            Some(delay) => acker.retry_in(lease, delay).await,
        });
    }
    let mut settled = Settled::default();
    for receipt in receipts {
        match confirmed(receipt).await {
            Ok(confirmation) => settled.unconfirmed += u64::from(confirmation.is_doubtful()),
            Err(error) => {
                settled.unconfirmed += 1;
                settled.error = Some(error);
            }
        }
    }
    settled
}

async fn confirmed(receipt: Result<Receipt, Error>) -> Result<Confirmation, Error> {
    receipt?.await
}
