//! Statistics of a consumer.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use serde::Serialize;

use crate::{error::Error, message::ack::AckRequest};

/// What a consumer has done so far.
///
/// After a run, every message that it [pulled](Self::pulled) is counted in exactly one of
/// [`acknowledged`](Self::acknowledged), [`retried`](Self::retried), [`left`](Self::left), [`expired`](Self::expired),
/// [`dead_lettered`](Self::dead_lettered), [`accepted`](Self::accepted) and [`unconfirmed`](Self::unconfirmed).
///
/// A settlement that the service only accepted, or did not confirm, counts as that, whatever the verdict was. The other
/// counts say more about the same messages, or count something else.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Stats {
    /// Messages that were leased.
    pub pulled: u64,
    /// Messages whose acknowledgement the service confirmed, unless they are dead letters.
    pub acknowledged: u64,
    /// Messages whose retry the service confirmed.
    pub retried: u64,
    /// Messages left for redelivery: because of a verdict, because the handler did not finish in time, because a dead
    /// letter could not be pushed, or because they were unsettled and are to be [left](super::Unsettled::Leave).
    ///
    /// If a run ends while a dead letter is being pushed, its message counts here as well. The push goes on, and the
    /// message is acknowledged after it. If a stream ends meanwhile, the message is counted when its outcome is known.
    pub left: u64,
    /// Messages whose lease expired before a handler could start.
    pub expired: u64,
    /// Messages that were pushed to the dead-letter queue, and whose acknowledgement the service then confirmed.
    pub dead_lettered: u64,
    /// Messages whose acknowledgement or retry the service [accepted](crate::acker::Confirmation::Accepted): the
    /// response is a success, and nothing in it casts doubt on the lease, but no count confirms it.
    pub accepted: u64,
    /// Messages whose acknowledgement or retry was not confirmed: by the service, because the [acker](crate::Acker)
    /// refused it (for example, since it is closed), or because a run was dropped before the outcome was known.
    pub unconfirmed: u64,

    /// Messages at their last delivery that no handler saw: they were handed back, left, or lost their lease while they
    /// waited. The service moves them to its dead-letter queue, or deletes them.
    ///
    /// Each is counted in one of the fields above as well, with one exception: messages of pulls that were in flight
    /// when a run or a stream ended count here alone. They arrive after the report, so they are only in
    /// [`Consumer::stats`](crate::Consumer::stats). If [`max_retries`](crate::Consumer::max_retries) becomes known only
    /// later, earlier messages are counted then.
    ///
    /// Some cannot be counted: messages that the service leased and whose response never arrived, messages whose
    /// attempts the service did not send, and all messages if it never says `max_retries`. A response does not arrive
    /// if its pull fails or is dropped, with the runtime, or because messages are to be
    /// [left](super::Unsettled::Leave).
    pub unseen: u64,
    /// Pulls that succeeded, empty ones included.
    pub pulls: u64,
    /// Pulls that returned no message.
    pub empty_pulls: u64,
    /// Pulls that failed.
    pub pull_failures: u64,
    /// Pulls that were rate limited (429), whether they succeeded after a retry or failed with it.
    pub rate_limited_pulls: u64,
    /// Messages without a lease id, which could not be handled.
    pub without_lease: u64,
    /// Messages whose handler returned an error or panicked, which includes the function that decides on undecodable
    /// messages.
    pub failed: u64,
    /// Messages whose handler panicked.
    pub panicked: u64,
    /// Messages that could not be decoded.
    pub undecodable: u64,
    /// Messages whose push to the dead-letter queue failed.
    pub dead_letter_failures: u64,
    /// Extensions of leases that the service confirmed.
    pub extended: u64,
    /// Leases that were lost while a handler worked or a dead letter was pushed: another consumer may have received the
    /// message.
    pub lost_leases: u64,

    /// Pulls in flight now.
    pub pulls_in_flight: u64,
    /// Messages pulled and not started now.
    pub waiting: u64,
    /// Handlers running now.
    pub handlers_running: u64,
    /// Handlers that may run now, in all current runs.
    pub concurrency: u64,
    /// By how many steps pulling is slowed down now, because handlers fail or acknowledgements are not confirmed. Zero
    /// is full speed. Of several runs, the slowest one counts.
    pub slowdown: u32,
    /// The service's estimate of how many messages in the queue were not acknowledged at the last pull.
    pub backlog_count: Option<u64>,
    /// When the last pull succeeded.
    pub last_pull: Option<SystemTime>,
    /// The last failure of a pull, an acknowledgement, an extension or a dead letter, without secrets.
    pub last_error: Option<String>,
    /// How long handlers took, and decisions on undecodable messages in runs.
    pub handler_times: HandlerTimes,
}

/// How a run ended.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build()?.block_on(async {
/// use cloudflare_queues::{Consumer, PushMessage, emulator::Emulator};
/// use std::time::Duration;
///
/// let queue = Emulator::in_process().queue()?;
/// queue.push(&PushMessage::text("hello")).await?;
/// let stop = tokio::time::sleep(Duration::from_millis(10));
/// let report = Consumer::new(queue.clone()).run_until(stop, |_message| async {}).await?;
/// assert_eq!((report.stats.pulled, report.stats.acknowledged), (1, 1));
/// if !report.unconfirmed.is_empty() {
///     println!("{:?}", queue.ack(report.unconfirmed).await);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "it holds the leases that were not confirmed"]
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// What this run did.
    pub stats: Stats,
    /// The leases whose acknowledgement or retry the service did not confirm, as a request that you can send again. It
    /// has at most 10,000; [`Stats::unconfirmed`] counts all.
    pub unconfirmed: AckRequest,
    /// The failure that ended the run, or one of its last acknowledgements. `None` if it was told to stop.
    pub error: Option<Error>,
}

const BUCKETS: usize = 32;

/// A histogram of times, each bucket twice as wide as the one before.
#[derive(Clone, Default, PartialEq, Eq, Serialize)]
pub struct HandlerTimes {
    /// Counts of times below 1, 2, 4, … milliseconds.
    buckets: [u64; BUCKETS],
    sum: Duration,
}

impl HandlerTimes {
    pub(super) fn record(&mut self, time: Duration) {
        let bucket = (u128::BITS - time.as_millis().leading_zeros()) as usize;
        if let Some(count) = self.buckets.get_mut(bucket.min(BUCKETS - 1)) {
            *count += 1;
        }
        self.sum = self.sum.saturating_add(time);
    }

    /// The number of recorded times.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The sum of the recorded times.
    pub fn sum(&self) -> Duration {
        self.sum
    }

    /// The buckets: an upper bound, and how many times are below it but not below that of the previous bucket. The last
    /// bucket also counts all longer times.
    pub fn buckets(&self) -> impl ExactSizeIterator<Item = (Duration, u64)> {
        self.buckets.iter().enumerate().map(|(bucket, count)| (Duration::from_millis(1 << bucket), *count))
    }

    /// An upper bound of the given quantile, from 0 to 1: the next power of two in milliseconds. Zero if nothing was
    /// recorded.
    pub fn quantile(&self, share: f64) -> Duration {
        let wanted = share.clamp(0.0, 1.0) * self.count() as f64;
        let mut seen = 0;
        for (below, count) in self.buckets() {
            seen += count;
            if count > 0 && seen as f64 >= wanted {
                return below;
            }
        }
        Duration::ZERO
    }
}

impl fmt::Debug for HandlerTimes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.buckets().filter(|(_, count)| *count > 0)).finish()
    }
}
