//! Leases that arrive when nobody waits for their messages any more.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use tokio::{sync::oneshot, task::JoinSet, time::timeout};

use super::{
    handle::{Acker, Unsubmitted},
    receipt::{Observer, Receipt, stopped},
};
use crate::{error::Error, flow::contained::discard_error, message::settlement::Settlement};

/// A source of leases even after the acker is closed. A flush waits until it is dropped.
struct Late(Acker);

impl Acker {
    /// Lets `settle` settle what these pulls return, in the background.
    pub(crate) fn hand_back<T: Send + 'static>(
        &self,
        mut pulls: JoinSet<T>,
        settle: impl Fn(&Self, T) + Send + 'static,
    ) {
        if pulls.is_empty() {
            return;
        }
        let late = Late::new(self);
        self.0.runtime.spawn(async move {
            while let Some(pulled) = pulls.join_next().await {
                match pulled {
                    Ok(pulled) => settle(&late.0, pulled),
                    Err(error) => discard_error(error),
                }
            }
        });
    }

    /// Lets these tasks submit leases for some time, and aborts them after that. What they submit when they are dropped
    /// is included.
    pub(crate) fn outlast(&self, mut tasks: JoinSet<()>, within: Duration) {
        if tasks.is_empty() {
            return;
        }
        let late = Late::new(self);
        self.0.runtime.spawn(async move {
            let all = async {
                while let Some(task) = tasks.join_next().await {
                    task.unwrap_or_else(discard_error);
                }
            };
            let _ = timeout(within, all).await;
            tasks.shutdown().await;
            drop(late);
        });
    }

    /// Submits a lease once `ready` completes, in the background, with the deadline that it then has.
    pub(crate) fn settle_after<R: Future<Output = Option<Instant>> + Send + 'static>(
        &self,
        ready: R,
        settlement: Settlement,
        observer: Observer,
    ) -> impl Future<Output = Result<Receipt, Error>> + Send + use<R> {
        let (late, mut lease) = (Late::new(self), Unsubmitted::new(self, settlement, observer, true));
        let (submitted, receipt) = oneshot::channel();
        self.0.runtime.spawn(async move {
            if let Some(deadline) = ready.await {
                lease.lasts_until(deadline);
            }
            // Nobody may wait for the receipt.
            let _ = submitted.send(lease.submit().await);
            drop(late);
        });
        async { receipt.await.unwrap_or_else(|_| Err(stopped())) }
    }
}

impl Late {
    fn new(acker: &Acker) -> Self {
        acker.0.ledger.count_late(|late| late.saturating_add(1));
        Self(acker.clone())
    }
}

impl Drop for Late {
    fn drop(&mut self) {
        self.0.0.ledger.count_late(|late| late.saturating_sub(1));
    }
}
