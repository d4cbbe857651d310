//! Decides whether a failed request is retried, and after what wait: pure functions.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    time::{Duration, SystemTime},
};

use reqwest::header::{DATE, HeaderMap, HeaderValue, RETRY_AFTER};

use crate::{
    document::operation::Operation,
    error::{Error, kind::ErrorKind},
    flow::budget::Budget,
};

/// When to retry a failed request.
///
/// The bound of the wait doubles from [`initial_backoff`](Self::initial_backoff) to 10 s, or stays at it if it is
/// longer. The actual wait is drawn uniformly from the upper half of the bound ("equal jitter"), so that clients that
/// failed together do not return together. A longer `Retry-After` of up to 60 s replaces the drawn wait; a shorter one,
/// or one in the past, does not shorten it. One of more than 60 s ends the call at once. A
/// [`Consumer`](crate::Consumer) waits for as long as it says before its next pull, and an [`Acker`](crate::Acker) or a
/// [`Pusher`](crate::Pusher) before it sends the same leases or messages again, but at most five minutes.
///
/// With the defaults, four attempts wait at most 0.25 + 0.5 + 1 s in total, unless the service sends `Retry-After`.
///
/// All calls on a client share a [`budget`](Self::budget) of retries, so that many callers do not make an outage worse.
/// Each retry takes one from it, and each call returns a tenth of one. With the default of 100, a thousand failing
/// calls make at most 1000 + 100 + 100 requests, 1.2 per call, and later ones 1.1 per call. A single caller can have 34
/// failing calls with all their retries before it is limited.
///
/// ```
/// use cloudflare_queues::{Client, Credentials, RetryPolicy};
///
/// let policy = RetryPolicy::new().max_attempts(2);
/// let client = Client::builder(Credentials::api_token("token")?).retry(policy).build()?;
/// # Ok::<(), cloudflare_queues::Error>(())
/// ```
#[must_use]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RetryPolicy {
    max_attempts: u32,
    initial_backoff: Duration,
    budget: u32,
}

impl RetryPolicy {
    /// The default policy.
    pub const fn new() -> Self {
        Self { max_attempts: 4, initial_backoff: Duration::from_millis(250), budget: 100 }
    }

    /// A policy without retries.
    pub const fn none() -> Self {
        Self::new().max_attempts(1)
    }

    /// The maximum number of times a request is sent. 1 (or 0) means no retries. 4 by default.
    ///
    /// Callers with retries of their own set 1, as [`none`](Self::none) does. A nightly job that nobody waits for sets
    /// 10, and a longer [`call_timeout`](crate::ClientBuilder::call_timeout).
    pub const fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = attempts;
        self
    }

    /// The longest wait before the second attempt. 250 ms by default. Each further wait is twice as long, up to 10 s,
    /// or to this one if it is longer.
    ///
    /// Tests against a failing server set 1 ms. Many programs that share the account's rate limit set some seconds.
    pub const fn initial_backoff(mut self, wait: Duration) -> Self {
        self.initial_backoff = wait;
        self
    }

    /// How many retries the calls on a client can make beyond one per ten calls. 100 by default.
    ///
    /// A program with few calls, each of which matters, sets `u32::MAX`, which is no limit in effect. One that is one
    /// of thousands sets 10.
    pub const fn budget(mut self, retries: u32) -> Self {
        self.budget = retries;
        self
    }

    pub(crate) fn new_budget(&self) -> Budget {
        Budget::new(self.budget)
    }

    /// What to do after attempt number `attempt` failed, with `remaining` time and a `random` number.
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
        let asked = error.retry_after().unwrap_or_default();
        if asked > MAX_RETRY_AFTER {
            return Next::Stop(Some("the service asks for a wait of more than 60 s"));
        }
        let wait = asked.max(self.backoff(attempt, random));
        if wait >= remaining {
            return Next::Stop(Some(NO_TIME));
        }
        Next::Wait(wait)
    }

    fn backoff(&self, attempt: u32, random: u64) -> Duration {
        let doubled = 1_u32.checked_shl(attempt.saturating_sub(1)).unwrap_or(u32::MAX);
        let bound = self.initial_backoff.saturating_mul(doubled);
        jittered(bound.min(self.initial_backoff.max(MAX_BACKOFF)), random)
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self::new()
    }
}

/// The longest wait between two attempts that nobody asked for.
const MAX_BACKOFF: Duration = Duration::from_secs(10);
/// The longest `Retry-After` that is obeyed within a call.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);

/// A wait from the upper half of a bound.
pub(crate) fn jittered(bound: Duration, random: u64) -> Duration {
    let half = bound / 2;
    half.saturating_add(half.mul_f64(random as f64 / u64::MAX as f64))
}

pub(crate) const NO_TIME: &str = "the call's deadline leaves no time for another attempt";

/// The longest `Retry-After` that is obeyed between two calls: as long as a rate limit of Cloudflare's API can last. A
/// proxy may ask for a day.
const LONGEST_PAUSE: Duration = Duration::from_secs(5 * 60);

/// How long the response asks to wait before another call is made.
pub(crate) fn pause_after(error: &Error) -> Duration {
    error.retry_after().unwrap_or_default().min(LONGEST_PAUSE)
}

/// How long to wait before checking again whether something is done.
pub(crate) const ASK_AGAIN: Duration = Duration::from_secs(1);

#[derive(Debug, PartialEq)]
pub(crate) enum Next {
    Wait(Duration),
    /// Give up, with a reason if it is not the failure itself.
    Stop(Option<&'static str>),
}

impl Operation {
    /// Whether carrying out the operation twice has the same effect as once, so that it can be retried even if it may
    /// have arrived.
    pub(crate) fn is_idempotent(self) -> bool {
        match self {
            // An acknowledged or deleted message stays so: a lease or a reference always means the same message.
            Self::AckMessages | Self::PurgeMessages => true,
            // It changes nothing.
            Self::PeekMessages => true,
            // Whether the time counts from now or from the end of the lease, extending twice never makes a lease
            // shorter than extending once. If the first request used up the lease id, the second is refused, which is
            // reported as not extended. The models in `proof/model` try these combinations, within their bounds.
            Self::ExtendMessages => true,
            // The batch of the first response would be stranded until its leases expire, as the model shows.
            Self::PullMessages => false,
            // The message would be duplicated: there is no idempotency key.
            Self::PushMessage | Self::PushMessages => false,
            // They change nothing.
            Self::ListQueues
            | Self::GetQueue
            | Self::GetQueueMetrics
            | Self::GetPurge
            | Self::ListConsumers
            | Self::GetConsumer
            | Self::ListSubscriptions
            | Self::GetSubscription => true,
            // They set a state instead of adding to it.
            Self::UpdateQueue | Self::ReplaceQueue | Self::UpdateConsumer | Self::UpdateSubscription => true,
            // Deleting twice has no further effect. If an earlier attempt may have arrived, the method treats "not
            // found" as deleted.
            Self::DeleteQueue | Self::DeleteConsumer | Self::DeleteSubscription => true,
            // It may delete messages pushed since the first attempt, but messages pushed before the call ends may be
            // deleted anyway.
            Self::PurgeQueue => true,
            // If the first attempt succeeded, the second would be refused as if someone else had created it.
            Self::CreateQueue | Self::CreateConsumer | Self::CreateSubscription => false,
        }
    }

    /// Whether the operation may be sent again after this failure.
    pub(crate) fn may_repeat(self, error: &Error) -> bool {
        match error.kind() {
            // A refusal is certain, unless its status claims success.
            ErrorKind::RateLimited => error.is_transient() && (self.is_idempotent() || !error.may_have_arrived()),
            // Nothing arrived, so nothing can happen twice.
            ErrorKind::Transport | ErrorKind::Timeout if !error.may_have_arrived() => true,
            // It may have been carried out before the connection broke, or before the service failed.
            ErrorKind::Transport | ErrorKind::Timeout | ErrorKind::ServiceFailure => self.is_idempotent(),
            // The next call asks the provider of the credentials again.
            ErrorKind::CredentialsUnavailable => false,
            // Someone has to act first: the same request would get the same response.
            ErrorKind::InvalidInput
            | ErrorKind::Unauthorized
            | ErrorKind::NotFound
            | ErrorKind::NotPullConsumer
            | ErrorKind::DeliveryPaused
            | ErrorKind::AlreadyExists
            | ErrorKind::NoSuchConsumer
            | ErrorKind::InvalidName
            | ErrorKind::InUse
            | ErrorKind::Rejected
            | ErrorKind::UnexpectedResponse
            | ErrorKind::UndecodableBody => false,
        }
    }
}

/// The wait that `Retry-After` asks for, in seconds, or as a date, which is compared with the response's own: the local
/// clock may be wrong. A malformed one is ignored, and of several the longest counts.
pub(crate) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let date = |value: &HeaderValue| httpdate::parse_http_date(value.to_str().ok()?.trim()).ok();
    let wait = |value: &HeaderValue| {
        if let Ok(seconds) = value.to_str().ok()?.trim().parse() {
            return Some(Duration::from_secs(seconds));
        }
        let sent = headers.get(DATE).and_then(date).unwrap_or(now);
        Some(date(value)?.duration_since(sent).unwrap_or_default())
    };
    headers.get_all(RETRY_AFTER).iter().filter_map(wait).max()
}

/// The standard library's only source of randomness. It is good enough to spread clients out.
pub(crate) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn lost() -> Error {
        Error::new(ErrorKind::Transport, "").with_source(std::fmt::Error, false)
    }

    #[test]
    fn waits_double_to_the_cap_with_jitter_in_the_upper_half() {
        let policy = RetryPolicy::new().max_attempts(u32::MAX);
        let wait = |attempt, random| policy.after(Operation::PushMessage, &lost(), attempt, HOUR, random);
        let longest: Vec<_> =
            [1, 2, 6, 7, 33, u32::MAX - 1].into_iter().map(|attempt| wait(attempt, u64::MAX)).collect();
        assert_eq!(longest, [250, 500, 8000, 10_000, 10_000, 10_000].map(|ms| Next::Wait(Duration::from_millis(ms))));
        assert_eq!(wait(3, 0), Next::Wait(Duration::from_millis(500)));
        assert_eq!(wait(3, u64::MAX / 2), Next::Wait(Duration::from_millis(750)));
        let slow = policy.initial_backoff(HOUR / 2);
        assert_eq!(slow.after(Operation::PushMessage, &lost(), 9, HOUR, u64::MAX), Next::Wait(HOUR / 2));
    }

    #[test]
    fn retry_after_lengthens_waits_up_to_the_cap() {
        let policy = RetryPolicy::new();
        let asks = |seconds| {
            let wait = Some(Duration::from_secs(seconds));
            let error = Error::new(ErrorKind::RateLimited, "").with_response(429, None, wait);
            policy.after(Operation::PullMessages, &error, 1, HOUR, u64::MAX)
        };
        assert_eq!(asks(0), Next::Wait(Duration::from_millis(250)));
        assert_eq!(asks(60), Next::Wait(Duration::from_secs(60)));
        assert!(matches!(asks(61), Next::Stop(Some(_))));
    }

    #[test]
    fn quota_errors_are_not_retried() {
        let repeats = |operation: Operation, code| {
            let error = Error::new(ErrorKind::RateLimited, "").with_response(429, None, None);
            operation
                .may_repeat(&error.with_api_errors(vec![serde_json::json!({ "code": code, "message": "" }).into()]))
        };
        for operation in [Operation::AckMessages, Operation::PullMessages] {
            assert!(repeats(operation, 10250));
            assert!([10251, 10252, 10253].into_iter().all(|code| !repeats(operation, code)));
        }
    }

    #[test]
    fn no_attempt_starts_after_the_deadline_or_the_limit() {
        let policy = RetryPolicy::new();
        let after = |attempt, remaining| policy.after(Operation::AckMessages, &lost(), attempt, remaining, u64::MAX);
        assert!(matches!(after(1, Duration::from_millis(250)), Next::Stop(Some(_))));
        assert_eq!(after(1, Duration::from_millis(251)), Next::Wait(Duration::from_millis(250)));
        assert_eq!(after(4, HOUR), Next::Stop(None));
        assert_eq!(RetryPolicy::none().after(Operation::AckMessages, &lost(), 1, HOUR, 0), Next::Stop(None));
    }

    #[test]
    fn a_single_caller_can_have_34_calls_with_all_retries() {
        let budget = RetryPolicy::new().new_budget();
        let has_all = || {
            budget.deposit();
            (0..3).all(|_| budget.withdraw())
        };
        assert_eq!((0..).take_while(|_| has_all()).count(), 34);
    }

    #[test]
    fn jitter_covers_the_whole_range() {
        let drawn: Vec<_> = (0..64).map(|_| random()).collect();
        // One in 2^63 runs has all of them in one half.
        let upper = drawn.iter().filter(|number| **number > u64::MAX / 2).count();
        assert!((1..64).contains(&upper), "{drawn:?}");
    }

    #[test]
    fn every_setting_takes_zero_and_the_maximum() {
        for (number, wait) in [(0, Duration::ZERO), (u32::MAX, Duration::MAX)] {
            let policy = RetryPolicy::new().max_attempts(number).initial_backoff(wait).budget(number);
            policy.after(Operation::AckMessages, &lost(), u32::MAX - 1, Duration::MAX, u64::MAX);
            policy.new_budget().deposit();
        }
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
        let dated = |date: &str| {
            let headers = [(RETRY_AFTER, "Sun, 06 Nov 1994 08:50:37 GMT"), (DATE, date)];
            retry_after(&headers.map(|(name, value)| (name, value.parse().unwrap())).into_iter().collect(), now)
        };
        assert_eq!(dated("Sun, 06 Nov 1994 08:50:27 GMT"), Some(Duration::from_secs(10)), "the local clock is late");
        assert_eq!(dated("today"), Some(Duration::from_secs(60)));
        for unreadable in ["", "soon", "-1", "1.5", "99999999999999999999"] {
            assert_eq!(read(unreadable), None, "{unreadable}");
        }
        for (values, wait) in [(["5", "9"], 9), (["9", "5"], 9), (["soon", "5"], 5), (["5", "-9"], 5)] {
            let mut headers = HeaderMap::from_iter([(RETRY_AFTER, values[0].parse().unwrap())]);
            headers.append(RETRY_AFTER, values[1].parse().unwrap());
            assert_eq!(retry_after(&headers, now), Some(Duration::from_secs(wait)), "{values:?}");
        }
    }
}
