//! What can go wrong with a request.

use std::time::Duration;

/// What goes wrong with one request. Delays are by tokio's clock, which tests can pause, not by the emulator's.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Fault {
    /// It is not carried out, and refused with status 429.
    RateLimited {
        /// The service's code, such as 10250.
        code: i64,
        /// The `Retry-After`, if there is to be one, in whole seconds.
        retry_after: Option<Duration>,
    },
    /// It is not carried out, and refused with status 403 and code 9109, as for a token that lacks the permission.
    Forbidden,
    /// It is not carried out: the firewall asks for a browser, with status 403 and a page of HTML.
    Challenged,
    /// It is not carried out, and the response has a status such as 502 and a page of HTML.
    ServerError(u16),
    /// It is not carried out, and the response says `success: false` under status 200.
    NotSuccess,
    /// It is carried out, and the response comes only after a while.
    Delay(Duration),
    /// It is carried out, and the response breaks off half-way.
    CutOff,
    /// It is not carried out, and the connection is reset.
    ResetBefore,
    /// It is carried out, and the connection is reset instead of a response.
    ResetAfter,
    /// The network is slow.
    Slow {
        /// How long the request takes to arrive.
        before: Duration,
        /// How long the response takes to arrive, or the reset in its place.
        after: Duration,
        /// What goes wrong beside that.
        fault: Option<Box<Fault>>,
    },
}
