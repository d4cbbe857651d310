//! How much may be requested a second, found by trying.

use std::{sync::Mutex, time::Duration};

use tokio::time::Instant;

use crate::flow::contained::lock;

/// What a refusal leaves of the rate.
const LEFT: f64 = 0.8;
/// A refused infinite rate counts as this many times the lowest one at least, since what succeeded may be very little.
const OF_INFINITE: f64 = 5.0;
/// After how many seconds of growth, the last of them without need, a rate is that at the start again.
const FORGOTTEN: f64 = 60.0;
/// After how many seconds of use the refused rate is reached again.
const RETURN: f64 = 8.0;
/// Counts of shorter times would be noise.
const SHORTEST: Duration = Duration::from_millis(100);
/// The longest wait between two requests.
const A_SECOND: Duration = Duration::from_secs(1);
/// For how long what was not requested may still be requested while the rate is limited: timers wake up up to a
/// millisecond late. Otherwise it is a second, so that few requests at once need not wait.
const BURST: Duration = Duration::from_millis(10);
/// For how long after a refusal the rate counts as limited.
const LIMITED: Duration = Duration::from_secs(30);

/// A rate that falls with a refusal, and grows while it holds requests back.
///
/// A refusal takes a fifth off. The rate grows back to the refused one within eight seconds, the slower the nearer it
/// comes, stays near it, and then grows faster and faster: the function of TCP's CUBIC (RFC 9438), which many can
/// share. Further refusals of a rate that is far above what succeeds leave a fifth of it, or most of what succeeds.
/// From 30 s after the last refusal, a rate below that at the start also grows while it is not needed: by then, it says
/// little. Retries within a call, and the parts of a request that is split, do not wait for it.
#[derive(Debug)]
pub(crate) struct Rate {
    /// What the requests do, in the plural.
    what: &'static str,
    start: f64,
    least: f64,
    found: Mutex<Found>,
}

#[derive(Debug)]
struct Found {
    /// The rate that was refused last, or to start with.
    refused: f64,
    /// For how many seconds the rate has grown since.
    used: f64,
    is_needed: bool,
    requested_at: Instant,
    next_at: Instant,
    refused_at: Option<Instant>,
    /// What succeeded since then, and in the second before.
    counted_since: Instant,
    succeeded: f64,
    succeeded_before: f64,
}

impl Rate {
    /// Starts with this many a second, which may be infinite, and stays above `least` however often it is refused.
    pub(crate) fn new(what: &'static str, start: f64, least: f64) -> Self {
        let now = Instant::now();
        let found = Mutex::new(Found {
            refused: start,
            used: RETURN,
            is_needed: false,
            requested_at: now,
            next_at: now.checked_sub(A_SECOND).unwrap_or(now),
            refused_at: None,
            counted_since: now,
            succeeded: 0.0,
            succeeded_before: 0.0,
        });
        Self { what, start, least, found }
    }

    /// Until when a request that could be sent has to wait, if it has to.
    pub(crate) fn wait(&self) -> Option<Instant> {
        let mut found = lock(&self.found);
        let next_at = Some(found.next_at).filter(|next_at| *next_at > Instant::now());
        found.is_needed |= next_at.is_some();
        next_at
    }

    /// So much is requested.
    pub(crate) fn request(&self, units: usize) {
        let (mut found, now) = (lock(&self.found), Instant::now());
        if found.is_needed {
            let passed = (found.next_at + BURST).min(now).saturating_duration_since(found.requested_at).min(A_SECOND);
            found.used += passed.as_secs_f64();
        } else if found.per_second() < self.start {
            let since = found.refused_at.map_or(now, |refused_at| found.requested_at.max(refused_at + LIMITED));
            found.used += now.saturating_duration_since(since).as_secs_f64();
            if found.used > FORGOTTEN || found.per_second() > self.start {
                (found.refused, found.used) = (self.start, RETURN);
            }
        }
        (found.requested_at, found.is_needed) = (now, false);
        let burst = if found.is_limited() { BURST } else { A_SECOND };
        let earliest = now.checked_sub(burst).unwrap_or(now);
        found.next_at = found.next_at.max(earliest) + found.takes(units);
    }

    /// A request succeeded that asked for so much, and got so much of it. What it did not get may be requested again,
    /// unless it is a limit that lets no more through.
    pub(crate) fn on_success(&self, asked: usize, got: usize) {
        let mut found = lock(&self.found);
        found.count();
        let counts = if found.is_limited() { asked } else { got };
        found.succeeded += counts as f64;
        let back = found.takes(asked.saturating_sub(counts));
        found.next_at = found.next_at.checked_sub(back).unwrap_or(found.next_at);
    }

    /// A request was refused that was sent then.
    pub(crate) fn on_refusal(&self, sent_at: Instant) {
        let mut found = lock(&self.found);
        if found.refused_at.is_some_and(|refused_at| sent_at <= refused_at) {
            return;
        }
        found.count();
        let (rate, reached, was_limited) = (found.per_second(), found.reached(), found.is_limited());
        // One refusal may be chance, and those of a moment say little of what many that share a queue get in the end.
        let is_far = reached < rate / 2.0 && (was_limited || rate.is_infinite());
        let floor = if rate.is_finite() { rate / 4.0 } else { self.least * OF_INFINITE };
        let refused = if is_far { reached.max(floor) } else { rate }.max(self.least / LEFT);
        (found.refused, found.used, found.refused_at) = (refused, 0.0, Some(Instant::now()));
        drop(found);
        if !was_limited {
            tracing::info!(what = self.what, per_second = refused * LEFT, "requests are refused for their rate");
        }
    }
}

impl Found {
    fn per_second(&self) -> f64 {
        self.refused * (1.0 + (1.0 - LEFT) * (self.used / RETURN - 1.0).powi(3))
    }

    fn takes(&self, units: usize) -> Duration {
        Duration::try_from_secs_f64(units as f64 / self.per_second()).unwrap_or(A_SECOND).min(A_SECOND)
    }

    fn is_limited(&self) -> bool {
        self.refused_at.is_some_and(|refused_at| refused_at.elapsed() < LIMITED)
    }

    /// What succeeded within a second lately.
    fn reached(&self) -> f64 {
        self.succeeded_before.max(self.succeeded / self.counted_since.elapsed().max(SHORTEST).as_secs_f64())
    }

    /// Starts to count anew after each second.
    fn count(&mut self) {
        let since = self.counted_since.elapsed();
        if since >= A_SECOND {
            self.succeeded_before = if since < 2 * A_SECOND { self.succeeded } else { 0.0 };
            (self.succeeded, self.counted_since) = (0.0, Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    /// Requests so much at a time as soon as it may, for so long, and returns how often.
    async fn use_up(rate: &Rate, units: usize, time: Duration) -> usize {
        let (start, mut requests) = (Instant::now(), 0);
        while start.elapsed() < time {
            match rate.wait() {
                Some(at) => tokio::time::sleep_until(at).await,
                None => {
                    rate.request(units);
                    rate.on_success(units, units);
                    requests += 1;
                }
            }
        }
        requests
    }

    /// Uses the rate up for so many seconds each, and checks what it is then.
    async fn grows(rate: &Rate, steps: &[(u64, f64)]) {
        for (seconds, expected) in steps {
            use_up(rate, 10, Duration::from_secs(*seconds)).await;
            let actual = lock(&rate.found).per_second();
            assert!(is_about(actual, *expected), "{actual} {expected}");
        }
    }

    fn is_about(actual: f64, expected: f64) -> bool {
        (actual / expected - 1.0).abs() < 0.03
    }

    #[tokio::test(start_paused = true)]
    async fn requests_are_evenly_apart() {
        for is_limited in [false, true] {
            let rate = Rate::new("requests", 5000.0, 1.0);
            if is_limited {
                use_up(&rate, 100, A_SECOND).await;
                rate.on_refusal(Instant::now());
            }
            let (at_once, apart) = if is_limited { (0, 25) } else { (50, 20) };
            for number in 0..at_once + 10 {
                let waits = rate.wait().map_or(Duration::ZERO, |at| at - Instant::now());
                assert!(waits <= apart * MILLI && waits.is_zero() == (number <= at_once), "{number} {waits:?}");
                sleep(waits).await;
                rate.request(100);
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_that_holds_nothing_back_does_not_grow() {
        let rate = Rate::new("requests", 1000.0, 1.0);
        for _ in 0..600 {
            assert!(rate.wait().is_none());
            rate.request(10);
            sleep(100 * MILLI).await;
        }
        assert_eq!(lock(&rate.found).per_second(), 1000.0);
    }

    #[tokio::test(start_paused = true)]
    async fn the_rate_grows_slowly_at_first_and_then_faster() {
        let rate = Rate::new("requests", 1000.0, 1.0);
        // What it did not request before.
        use_up(&rate, 10, Duration::ZERO).await;
        (0..100).for_each(|_| rate.request(10));
        grows(&rate, &[(4, 1025.0), (4, 1200.0), (8, 2600.0)]).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_takes_a_fifth_off_that_grows_back_within_eight_seconds() {
        let rate = Rate::new("requests", 1000.0, 1.0);
        use_up(&rate, 10, 3 * A_SECOND).await;
        rate.on_refusal(Instant::now());
        grows(&rate, &[(0, 800.0), (4, 975.0), (4, 1000.0)]).await;
    }

    #[tokio::test(start_paused = true)]
    async fn refusals_of_requests_that_were_sent_before_the_last_one_do_not_count() {
        let rate = Rate::new("requests", 1000.0, 1.0);
        use_up(&rate, 10, A_SECOND).await;
        let sent_at = Instant::now();
        sleep(100 * MILLI).await;
        (0..10).for_each(|_| rate.on_refusal(sent_at));
        assert!(is_about(lock(&rate.found).per_second(), 800.0));
        sleep(MILLI).await;
        rate.on_refusal(Instant::now());
        assert!(is_about(lock(&rate.found).per_second(), 640.0));
    }

    #[tokio::test(start_paused = true)]
    async fn refusals_far_below_the_rate_leave_a_fifth_or_most_of_what_got_through() {
        let rate = Rate::new("requests", 5000.0, 1.0);
        for _ in 0..10 {
            rate.request(10);
            rate.on_success(10, 10);
            sleep(100 * MILLI).await;
        }
        for expected in [4000.0, 800.0, 160.0, 128.0, 102.4, 81.9] {
            rate.on_refusal(Instant::now());
            grows(&rate, &[(0, expected)]).await;
            sleep(MILLI).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_refusal_of_an_infinite_rate_leaves_most_of_what_succeeded() {
        for (requests, expected) in [(0, 40.0), (10, 80.0)] {
            let rate = Rate::new("requests", f64::INFINITY, 10.0);
            for _ in 0..requests {
                rate.request(10);
                rate.on_success(10, 10);
                sleep(100 * MILLI).await;
            }
            rate.on_refusal(Instant::now());
            grows(&rate, &[(0, expected)]).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_request_did_not_get_may_be_requested_again_unless_the_rate_is_limited() {
        for (is_limited, waits) in [(false, 0.05), (true, 0.5 / 0.8)] {
            let rate = Rate::new("requests", 100.0, 1.0);
            use_up(&rate, 10, 3 * A_SECOND).await;
            if is_limited {
                rate.on_refusal(Instant::now());
            }
            sleep(rate.wait().map_or(Duration::ZERO, |at| at - Instant::now())).await;
            rate.request(50);
            rate.on_success(50, 5);
            let waited = rate.wait().map_or(Duration::ZERO, |at| at - Instant::now()).as_secs_f64();
            assert!((waited - waits).abs() < 0.02, "{waited}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_rate_recovers_within_two_minutes_however_often_it_was_refused() {
        let rate = refused_often(5000.0).await;
        grows(&rate, &[(0, 10.0)]).await;
        use_up(&rate, 10, 120 * A_SECOND).await;
        let actual = lock(&rate.found).per_second();
        assert!(actual > 5000.0, "{actual}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_unused_rate_returns_to_its_start_within_two_minutes() {
        for start in [1000.0, f64::INFINITY] {
            for (pause, times) in [(1, 119), (10, 11), (3600, 1)] {
                let rate = refused_often(start).await;
                for _ in 0..times {
                    sleep(pause * A_SECOND).await;
                    assert!(rate.wait().is_none());
                    rate.request(10);
                }
                assert_eq!(lock(&rate.found).per_second(), start);
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_unused_rate_does_not_grow_for_half_a_minute_after_a_refusal() {
        let rate = Rate::new("requests", 1000.0, 1.0);
        rate.on_refusal(Instant::now());
        for (seconds, expected) in [(29, 800.0), (2, 866.0)] {
            sleep(seconds * A_SECOND).await;
            rate.request(1);
            grows(&rate, &[(0, expected)]).await;
        }
    }

    /// Stands at its lower bound, 10 a second.
    async fn refused_often(start: f64) -> Rate {
        let rate = Rate::new("requests", start, 10.0);
        for _ in 0..100 {
            rate.on_refusal(Instant::now());
            sleep(MILLI).await;
        }
        rate
    }

    #[tokio::test(start_paused = true)]
    async fn time_without_need_does_not_count_as_use() {
        let rate = Rate::new("requests", 1000.0, 1.0);
        for _ in 0..100 {
            use_up(&rate, 100, Duration::ZERO).await;
            while rate.wait().is_none() {
                rate.request(100);
            }
            sleep(30 * A_SECOND).await;
        }
        assert!(lock(&rate.found).per_second() < 1250.0, "{}", lock(&rate.found).per_second());
    }

    #[tokio::test(start_paused = true)]
    async fn there_is_a_request_a_second_however_often_it_is_refused() {
        let rate = Rate::new("requests", f64::INFINITY, 1.0);
        for _ in 0..1000 {
            rate.request(usize::MAX);
            rate.on_refusal(Instant::now());
            sleep(A_SECOND).await;
            assert!(rate.wait().is_none());
        }
        let requests = use_up(&rate, usize::MAX, 10 * A_SECOND).await;
        assert!((10..=11).contains(&requests), "{requests}");
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_and_the_most_may_be_requested_at_any_rate() {
        for start in [0.0, f64::MIN_POSITIVE, f64::MAX, f64::INFINITY] {
            let rate = Rate::new("requests", start, 1.0);
            for units in [0, 1, usize::MAX] {
                rate.request(units);
                rate.on_success(units, 0);
                rate.on_success(0, units);
                rate.on_refusal(Instant::now());
                assert!(rate.wait().is_none_or(|at| at <= Instant::now() + 3 * A_SECOND));
            }
        }
    }

    /// A service that allows so much a second, and saves up what one second leaves over.
    #[tokio::test(start_paused = true)]
    async fn a_limited_service_refuses_few_and_is_used_up() {
        let rate = Rate::new("requests", 5000.0, 1.0);
        let (start, mut taken, mut sent, mut refused) = (Instant::now(), 0.0_f64, 0, 0);
        while start.elapsed() < 120 * A_SECOND {
            match rate.wait() {
                Some(at) => tokio::time::sleep_until(at).await,
                None => {
                    let earned = 1000.0 * start.elapsed().as_secs_f64();
                    taken = taken.max(earned - 1000.0);
                    rate.request(100);
                    sent += 1;
                    if taken < earned {
                        taken += 100.0;
                        rate.on_success(100, 100);
                    } else {
                        refused += 1;
                        rate.on_refusal(Instant::now());
                    }
                }
            }
        }
        assert!(refused * 20 < sent, "{refused} of {sent}");
        assert!(sent - refused > 120 * 95 / 10, "{sent}");
    }
}
