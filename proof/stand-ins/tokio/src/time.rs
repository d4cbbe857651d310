//! A clock that the schedule controls: it jumps to the next time at which a sleeping task wakes up.
//!
//! A patient clock does so only when no other task can run. An impatient one lets time pass while tasks can still run,
//! as on a busy machine.

pub use std::time::Duration;
use std::{
    cell::RefCell,
    collections::BTreeMap,
    fmt,
    future::{Future, poll_fn},
    ops::{Add, AddAssign, Sub},
    pin::Pin,
    sync::OnceLock,
    task::{Context, Poll, Waker},
    time::Instant as StdInstant,
};

use shuttle::{
    future::{spawn, yield_now},
    rand::Rng,
};

thread_local! {
    static CLOCK: RefCell<Clock> = RefCell::default();
}

#[derive(Default)]
struct Clock {
    passed: Duration,
    next: u64,
    sleepers: BTreeMap<(StdInstant, u64), Waker>,
    /// Of the clock's own task, while nobody sleeps.
    idle: Option<Waker>,
}

/// How many turns a patient clock leaves to other tasks before it moves on. By then, every task that can run has almost
/// certainly run.
const TURNS: u32 = 64;

/// Starts a schedule: nothing of the one before is left.
pub(crate) fn start(is_patient: bool) {
    let before = CLOCK.with(|clock| std::mem::take(&mut *clock.borrow_mut()));
    std::mem::forget(before);
    drop(spawn(async move {
        loop {
            somebody_sleeps().await;
            let mut turns = if is_patient { TURNS } else { shuttle::rand::thread_rng().gen_range(1..16) };
            while turns > 0 {
                let before = crate::task::polls();
                yield_now().await;
                turns = if is_patient && crate::task::polls() != before { TURNS } else { turns - 1 };
            }
            tick();
        }
    }));
}

async fn somebody_sleeps() {
    poll_fn(|context| {
        CLOCK.with(|clock| {
            let mut clock = clock.borrow_mut();
            if !clock.sleepers.is_empty() {
                return Poll::Ready(());
            }
            clock.idle = Some(context.waker().clone());
            Poll::Pending
        })
    })
    .await
}

fn tick() {
    let woken = CLOCK.with(|clock| {
        let mut clock = clock.borrow_mut();
        let Some((&(until, key), _)) = clock.sleepers.first_key_value() else { return None };
        let woken = clock.sleepers.remove(&(until, key));
        clock.passed = clock.passed.max(until.saturating_duration_since(epoch()));
        woken
    });
    woken.into_iter().for_each(Waker::wake);
}

fn epoch() -> StdInstant {
    static EPOCH: OnceLock<StdInstant> = OnceLock::new();
    *EPOCH.get_or_init(|| StdInstant::now() + Duration::from_secs(48 * 3600))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(StdInstant);

impl Instant {
    pub fn now() -> Self {
        Self(epoch() + CLOCK.with(|clock| clock.borrow().passed))
    }

    pub fn from_std(instant: StdInstant) -> Self {
        Self(instant)
    }

    pub fn into_std(self) -> StdInstant {
        self.0
    }

    pub fn elapsed(&self) -> Duration {
        Self::now().duration_since(*self)
    }

    pub fn duration_since(&self, earlier: Self) -> Duration {
        self.0.saturating_duration_since(earlier.0)
    }

    pub fn saturating_duration_since(&self, earlier: Self) -> Duration {
        self.duration_since(earlier)
    }

    pub fn checked_duration_since(&self, earlier: Self) -> Option<Duration> {
        self.0.checked_duration_since(earlier.0)
    }

    pub fn checked_add(&self, duration: Duration) -> Option<Self> {
        self.0.checked_add(duration).map(Self)
    }

    pub fn checked_sub(&self, duration: Duration) -> Option<Self> {
        self.0.checked_sub(duration).map(Self)
    }
}

impl From<StdInstant> for Instant {
    fn from(instant: StdInstant) -> Self {
        Self(instant)
    }
}

impl From<Instant> for StdInstant {
    fn from(instant: Instant) -> Self {
        instant.0
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0 + duration)
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, duration: Duration) {
        self.0 += duration;
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(self.0 - duration)
    }
}

impl Sub for Instant {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.duration_since(earlier)
    }
}

#[derive(Debug)]
pub struct Sleep {
    until: Instant,
    key: Option<(StdInstant, u64)>,
}

pub fn sleep(duration: Duration) -> Sleep {
    sleep_until(Instant::now() + duration)
}

pub fn sleep_until(until: Instant) -> Sleep {
    Sleep { until, key: None }
}

impl Sleep {
    pub fn deadline(&self) -> Instant {
        self.until
    }

    pub fn is_elapsed(&self) -> bool {
        self.until <= Instant::now()
    }

    pub fn reset(mut self: Pin<&mut Self>, until: Instant) {
        self.wake_up();
        self.until = until;
    }

    fn wake_up(&mut self) {
        if let Some(key) = self.key.take() {
            CLOCK.with(|clock| drop(clock.borrow_mut().sleepers.remove(&key)));
        }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.wake_up();
        if self.is_elapsed() {
            return Poll::Ready(());
        }
        let (key, idle) = CLOCK.with(|clock| {
            let mut clock = clock.borrow_mut();
            clock.next += 1;
            let key = (self.until.0, clock.next);
            clock.sleepers.insert(key, context.waker().clone());
            (key, clock.idle.take())
        });
        self.key = Some(key);
        idle.into_iter().for_each(Waker::wake);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.wake_up();
    }
}

pub async fn timeout_at<F: Future>(until: Instant, future: F) -> Result<F::Output, error::Elapsed> {
    let (mut future, mut sleep) = (Box::pin(future), sleep_until(until));
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Ok(output)),
        Poll::Pending => Pin::new(&mut sleep).poll(context).map(|()| Err(error::Elapsed(()))),
    })
    .await
}

pub async fn timeout<F: Future>(duration: Duration, future: F) -> Result<F::Output, error::Elapsed> {
    timeout_at(Instant::now() + duration, future).await
}

pub mod error {
    use super::fmt;

    #[derive(Debug)]
    pub struct Elapsed(pub(super) ());

    impl fmt::Display for Elapsed {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("deadline has elapsed")
        }
    }

    impl std::error::Error for Elapsed {}
}
