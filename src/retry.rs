//! Which operation may be sent again after which failure, and after how long: pure functions.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime},
};

use reqwest::header::{HeaderMap, RETRY_AFTER};

use crate::error::{Error, ErrorKind};

/// When a failed request is sent again.
///
/// Waits grow as powers of two from [`initial_backoff`](Self::initial_backoff) to [`max_backoff`](Self::max_backoff), and the actual
/// wait is drawn evenly from zero to that ("full jitter"), so that clients that failed together do not return together. A
/// `Retry-After` of the service takes the place of the drawn wait.
///
/// With the defaults, four attempts wait at most 0.25 + 0.5 + 1 s in all, if the service names no time.
///
/// All calls of a client share a [`budget`](Self::budget) of retries, so that many callers do not make an outage worse. Each retry takes
/// one from it, each call puts a tenth of one back. With the default of 100, a thousand calls that all fail make at most 1000 + 100 +
/// 100 requests, 1.2 a call, and further ones 1.1 a call; a caller of its own has 33 failing calls with every retry before it notices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// How often a request is sent at most; 1 (or 0) means once, with no retry. 4 by default.
    pub max_attempts: u32,
    /// The longest wait before the second attempt. 250 ms by default.
    pub initial_backoff: Duration,
    /// The longest wait before any attempt, unless the service asks for a longer one. 10 s by default.
    pub max_backoff: Duration,
    /// The longest `Retry-After` that is obeyed; a longer one fails the call at once. 60 s by default.
    pub max_retry_after: Duration,
    /// How many retries a client's calls can have beyond one in ten calls; `u32::MAX` is as good as no bound. 100 by default.
    pub budget: u32,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_attempts: 4,
            initial_backoff: Duration::from_millis(250),
            max_backoff: Duration::from_secs(10),
            max_retry_after: Duration::from_secs(60),
            budget: 100,
        }
    }
}

impl RetryPolicy {
    /// A policy that sends every request once.
    pub fn none() -> Self {
        Self { max_attempts: 1, ..Self::default() }
    }

    /// What to do after the failure of attempt number `attempt`, with `remaining` time and a `random` number.
    pub(crate) fn after(
        &self,
        operation: Operation,
        error: &Error,
        attempt: u32,
        remaining: Duration,
        random: u64,
    ) -> Next {
        if attempt >= self.max_attempts || !operation.may_repeat(error) {
            return Next::Stop(None);
        }
        let wait = match error.retry_after() {
            Some(wait) if wait > self.max_retry_after => {
                return Next::Stop(Some("the service asks for a longer wait than the policy allows"));
            }
            Some(wait) => wait,
            None => self.backoff(attempt, random),
        };
        if wait >= remaining {
            return Next::Stop(Some(NO_TIME));
        }
        Next::Wait(wait)
    }

    fn backoff(&self, attempt: u32, random: u64) -> Duration {
        let doubled =
            self.initial_backoff.saturating_mul(1u32.checked_shl(attempt.saturating_sub(1)).unwrap_or(u32::MAX));
        doubled.min(self.max_backoff).mul_f64(random as f64 / u64::MAX as f64)
    }
}

pub(crate) const NO_TIME: &str = "the call's deadline leaves no time for another attempt";

/// The retries that all calls of a client share, counted in tenths.
#[derive(Debug)]
pub(crate) struct Budget {
    left: AtomicU64,
    full: u64,
}

const RETRY: u64 = 10;

impl Budget {
    pub(crate) fn new(retries: u32) -> Self {
        let full = u64::from(retries) * RETRY;
        Self { left: AtomicU64::new(full), full }
    }

    /// For every call that is sent.
    pub(crate) fn deposit(&self) {
        let more = |left: u64| (left < self.full).then_some(left + 1);
        let _ = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
    }

    /// For a retry, which must not be if there is none left.
    pub(crate) fn withdraw(&self) -> bool {
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(RETRY)).is_ok()
    }
}

#[derive(Debug, PartialEq)]
pub(crate) enum Next {
    Wait(Duration),
    /// Give up, with a reason if it is not the failure itself.
    Stop(Option<&'static str>),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Operation {
    Ack,
    Pull,
    Push,
    PushBatch,
    Peek,
    Purge,
}

/// Codes of a 429 that no wait within a call can mend: storage full, queue disabled, free tier used up.
const FUTILE: [i64; 3] = [10251, 10252, 10253];

impl Operation {
    /// The operation's name in the OpenAPI document.
    pub(crate) fn id(self) -> &'static str {
        match self {
            Self::Ack => "ack_messages",
            Self::Pull => "pull_messages",
            Self::Push => "push_message",
            Self::PushBatch => "push_messages",
            Self::Peek => "peek_messages",
            Self::Purge => "purge_messages",
        }
    }

    /// The table: a row a failure, with what it means for an operation that must not be carried out twice.
    pub(crate) fn may_repeat(self, error: &Error) -> bool {
        let harmless = match self {
            // What is acknowledged or deleted already stays so: a lease or a reference names one message for ever.
            Self::Ack | Self::Purge => true,
            // It changes nothing.
            Self::Peek => true,
            // The batch of the first answer would be stranded until its leases end.
            Self::Pull => false,
            // The message would be doubled.
            Self::Push | Self::PushBatch => false,
        };
        match error.kind() {
            ErrorKind::RateLimited => !FUTILE.iter().any(|code| error.has_code(*code)),
            // Nothing arrived, so nothing can happen twice.
            ErrorKind::Transport | ErrorKind::Timeout if !error.may_have_arrived() => true,
            // It may have been carried out before the connection broke, or before the service failed.
            ErrorKind::Transport | ErrorKind::Timeout | ErrorKind::ServiceFailure => harmless,
            // Somebody has to act first: the same request would meet the same answer.
            ErrorKind::InvalidInput
            | ErrorKind::Unauthorized
            | ErrorKind::NotFound
            | ErrorKind::NotPullConsumer
            | ErrorKind::DeliveryPaused
            | ErrorKind::Rejected
            | ErrorKind::UnexpectedAnswer
            | ErrorKind::UndecodableBody => false,
        }
    }
}

/// The wait that a `Retry-After` asks for, in seconds or as a date; an unreadable one is none.
pub(crate) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

/// The standard library's only source of randomness, good enough to spread clients.
pub(crate) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ApiError;

    const HOUR: Duration = Duration::from_secs(3600);

    fn answered(kind: ErrorKind, status: u16, code: i64) -> Error {
        Error::new(kind, "").with_answer(status, None, None).with_api_errors(vec![ApiError::new(code, "")])
    }

    fn lost(kind: ErrorKind, may_have_arrived: bool) -> Error {
        Error::new(kind, "").with_source(std::fmt::Error, may_have_arrived)
    }

    #[test]
    fn only_what_does_no_harm_is_repeated_after_it_may_have_arrived() {
        use ErrorKind::*;
        use Operation::*;
        // The failure, and whether an ack, a pull, a push, a push batch, a peek and a purge are sent again after it.
        let harmless = [true, false, false, false, true, true];
        let table = [
            (lost(Transport, false), [true; 6]),
            (lost(Timeout, false), [true; 6]),
            (lost(Transport, true), harmless),
            (lost(Timeout, true), harmless),
            (answered(Transport, 200, 0), harmless),
            (answered(ServiceFailure, 500, 15000), harmless),
            (answered(RateLimited, 429, 0), [true; 6]),
            (answered(RateLimited, 429, 10250), [true; 6]),
            (answered(RateLimited, 429, 971), [true; 6]),
            (answered(RateLimited, 429, 10429), [true; 6]),
            (answered(RateLimited, 429, 10251), [false; 6]),
            (answered(RateLimited, 429, 10252), [false; 6]),
            (answered(RateLimited, 429, 10253), [false; 6]),
            (answered(DeliveryPaused, 409, 0), [false; 6]),
            (answered(NotPullConsumer, 405, 0), [false; 6]),
            (answered(Unauthorized, 403, 10000), [false; 6]),
            (answered(NotFound, 404, 10104), [false; 6]),
            (answered(Rejected, 400, 10026), [false; 6]),
            (answered(UnexpectedAnswer, 200, 0), [false; 6]),
        ];
        for (error, expected) in table {
            assert_eq!(
                [Ack, Pull, Push, PushBatch, Peek, Purge].map(|operation| operation.may_repeat(&error)),
                expected,
                "{error:?}"
            );
        }
    }

    #[test]
    fn waits_double_up_to_the_cap_and_are_drawn_from_the_whole_range() {
        let policy = RetryPolicy { max_attempts: u32::MAX, max_backoff: Duration::from_secs(1), ..Default::default() };
        let error = lost(ErrorKind::Transport, false);
        let wait = |attempt, random| policy.after(Operation::Push, &error, attempt, HOUR, random);
        let longest: Vec<_> =
            [1, 2, 3, 4, 33, u32::MAX - 1].into_iter().map(|attempt| wait(attempt, u64::MAX)).collect();
        assert_eq!(longest, [250, 500, 1000, 1000, 1000, 1000].map(|ms| Next::Wait(Duration::from_millis(ms))));
        assert_eq!(wait(3, 0), Next::Wait(Duration::ZERO));
        assert_eq!(wait(3, u64::MAX / 2), Next::Wait(Duration::from_millis(500)));
    }

    #[test]
    fn retry_after_wins_up_to_the_cap_and_beyond_it_the_call_fails_at_once() {
        let policy = RetryPolicy::default();
        let asks = |seconds| {
            let wait = Some(Duration::from_secs(seconds));
            let error = Error::new(ErrorKind::RateLimited, "").with_answer(429, None, wait);
            policy.after(Operation::Pull, &error, 1, HOUR, u64::MAX)
        };
        assert_eq!(asks(0), Next::Wait(Duration::ZERO));
        assert_eq!(asks(60), Next::Wait(Duration::from_secs(60)));
        assert!(matches!(asks(61), Next::Stop(Some(_))));
    }

    #[test]
    fn no_attempt_starts_after_the_deadline_or_beyond_the_policy() {
        let error = lost(ErrorKind::Transport, false);
        let policy = RetryPolicy::default();
        let after = |attempt, remaining| policy.after(Operation::Ack, &error, attempt, remaining, u64::MAX);
        assert!(matches!(after(1, Duration::from_millis(250)), Next::Stop(Some(_))));
        assert_eq!(after(1, Duration::from_millis(251)), Next::Wait(Duration::from_millis(250)));
        assert_eq!(after(4, HOUR), Next::Stop(None));
        assert_eq!(RetryPolicy::none().after(Operation::Ack, &error, 1, HOUR, 0), Next::Stop(None));
    }

    #[test]
    fn ten_calls_earn_a_retry_and_no_more_than_the_budget_is_saved() {
        let budget = Budget::new(2);
        let left = |budget: &Budget| (0..).take_while(|_| budget.withdraw()).count();
        assert_eq!(left(&budget), 2);
        (0..9).for_each(|_| budget.deposit());
        assert_eq!(left(&budget), 0);
        budget.deposit();
        assert_eq!(left(&budget), 1);
        (0..1000).for_each(|_| budget.deposit());
        assert_eq!(left(&budget), 2);
    }

    #[test]
    fn retry_after_is_read_in_seconds_and_as_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let read = |value: &str| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, value.parse().unwrap())]);
            retry_after(&headers, now)
        };
        assert_eq!(read("90"), Some(Duration::from_secs(90)));
        assert_eq!(read("Sun, 06 Nov 1994 08:50:37 GMT"), Some(Duration::from_secs(60)));
        assert_eq!(read("Sun, 06 Nov 1994 08:00:00 GMT"), Some(Duration::ZERO));
        for unreadable in ["", "soon", "-1", "1.5", "99999999999999999999"] {
            assert_eq!(read(unreadable), None, "{unreadable}");
        }
    }
}
