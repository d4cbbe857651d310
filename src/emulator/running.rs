//! State shared by the handles of an emulator.

use std::{net::SocketAddr, sync::Arc};

use tokio::task::AbortHandle;

use super::service::Service;
use crate::queue::ids::{AccountId, QueueId};

#[derive(Debug)]
pub(super) struct Running {
    pub(super) service: Arc<Service>,
    pub(super) account_id: AccountId,
    pub(super) queue_id: QueueId,
    /// `None` if requests reach the emulator only in process.
    pub(super) socket: Option<Socket>,
}

#[derive(Debug)]
pub(super) struct Socket {
    pub(super) address: SocketAddr,
    pub(super) server: AbortHandle,
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.server.abort();
    }
}
