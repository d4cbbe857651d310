//! When an acker sends, and how much it buffers.

use std::time::Duration;

/// When an [`Acker`](crate::Acker) sends, and how much it buffers.
///
/// Every option accepts zero and the largest value of its type.
///
/// ```
/// use cloudflare_queues::acker::AckerOptions;
/// use std::time::Duration;
///
/// let options = AckerOptions::new().linger(Duration::from_millis(200)).max_in_flight(16);
/// ```
#[must_use]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AckerOptions {
    pub(crate) linger: Duration,
    pub(crate) max_in_flight: usize,
    pub(crate) buffer: usize,
}

impl AckerOptions {
    /// The defaults.
    pub const fn new() -> Self {
        Self { linger: Duration::from_millis(50), max_in_flight: 256, buffer: 1000 }
    }

    /// How long a lease waits for others to share its request. 50 ms by default. Set it to some 200 ms to send fewer
    /// requests while acknowledgements trickle in.
    ///
    /// With zero, only leases submitted at the same moment share a request. With [`Duration::MAX`], a lease waits until
    /// 100 are waiting, until it is about to expire, or until [`flush`](crate::Acker::flush) or
    /// [`close`](crate::Acker::close) is called.
    pub const fn linger(mut self, linger: Duration) -> Self {
        self.linger = linger;
        self
    }

    /// The maximum number of requests in flight. Zero counts as one. 256 by default. Lower it if a proxy of yours
    /// allows fewer connections.
    ///
    /// The actual number adapts: it grows while leases wait for requests to finish, falls when requests fail, and
    /// recovers slowly. Requests that a rate limit refuses make those that follow go out less often, which is logged
    /// once until there is no such refusal for 30 s. With a round trip of 2.4 s, 5,000 leases a second take 120
    /// requests in flight.
    pub const fn max_in_flight(mut self, requests: usize) -> Self {
        self.max_in_flight = requests;
        self
    }

    /// How many leases can wait, in addition to those in flight, before [`Acker::ack`](crate::Acker::ack) waits as
    /// well. Zero counts as one. A full buffer is sent without lingering. 1000 by default. Lower it if fewer messages
    /// may be handled again after a crash, which loses the acknowledgements that wait.
    pub const fn buffer(mut self, leases: usize) -> Self {
        self.buffer = leases;
        self
    }
}

impl Default for AckerOptions {
    fn default() -> Self {
        Self::new()
    }
}
