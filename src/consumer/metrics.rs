//! Records a consumer's statistics with the `metrics` crate.

use metrics::{Label, counter, gauge, histogram};

use super::stats::Stats;
use crate::queue::ids::QueueId;

type Read = fn(&Stats) -> u64;

/// The counters, `cloudflare_queues_consumer_…_total`.
const COUNTERS: [(&str, Read); 20] = [
    ("cloudflare_queues_consumer_pulled_total", |stats| stats.pulled),
    ("cloudflare_queues_consumer_acknowledged_total", |stats| stats.acknowledged),
    ("cloudflare_queues_consumer_retried_total", |stats| stats.retried),
    ("cloudflare_queues_consumer_left_total", |stats| stats.left),
    ("cloudflare_queues_consumer_expired_total", |stats| stats.expired),
    ("cloudflare_queues_consumer_dead_lettered_total", |stats| stats.dead_lettered),
    ("cloudflare_queues_consumer_accepted_total", |stats| stats.accepted),
    ("cloudflare_queues_consumer_unconfirmed_total", |stats| stats.unconfirmed),
    ("cloudflare_queues_consumer_unseen_total", |stats| stats.unseen),
    ("cloudflare_queues_consumer_pulls_total", |stats| stats.pulls),
    ("cloudflare_queues_consumer_empty_pulls_total", |stats| stats.empty_pulls),
    ("cloudflare_queues_consumer_pull_failures_total", |stats| stats.pull_failures),
    ("cloudflare_queues_consumer_without_lease_total", |stats| stats.without_lease),
    ("cloudflare_queues_consumer_failed_total", |stats| stats.failed),
    ("cloudflare_queues_consumer_panicked_total", |stats| stats.panicked),
    ("cloudflare_queues_consumer_undecodable_total", |stats| stats.undecodable),
    ("cloudflare_queues_consumer_dead_letter_failures_total", |stats| stats.dead_letter_failures),
    ("cloudflare_queues_consumer_extended_total", |stats| stats.extended),
    ("cloudflare_queues_consumer_lost_leases_total", |stats| stats.lost_leases),
    ("cloudflare_queues_consumer_handled_total", |stats| stats.handler_times.count()),
];

/// The gauges, summed over all running consumers.
const GAUGES: [(&str, Read); 4] = [
    ("cloudflare_queues_consumer_pulls_in_flight", |stats| stats.pulls_in_flight),
    ("cloudflare_queues_consumer_waiting", |stats| stats.waiting),
    ("cloudflare_queues_consumer_handlers_running", |stats| stats.handlers_running),
    ("cloudflare_queues_consumer_slowdown", |stats| stats.slowdown.into()),
];

/// How long handlers took.
const SECONDS: &str = "cloudflare_queues_consumer_handler_seconds";

/// Registers every metric, so that it is there at zero before anything has happened.
pub(super) fn present(queue_id: &QueueId) {
    let labels = || vec![Label::new("queue", queue_id.as_str().to_owned())];
    COUNTERS.iter().for_each(|(name, _)| drop(counter!(*name, labels())));
    GAUGES.iter().for_each(|(name, _)| drop(gauge!(*name, labels())));
}

/// The statistics of a run before a change.
pub(super) struct Before {
    counted: [u64; COUNTERS.len()],
    gauged: [u64; GAUGES.len()],
    handled: u64,
    seconds: f64,
}

impl Before {
    pub(super) fn of(stats: &Stats) -> Self {
        Self {
            counted: COUNTERS.map(|(_, read)| read(stats)),
            gauged: GAUGES.map(|(_, read)| read(stats)),
            handled: stats.handler_times.count(),
            seconds: stats.handler_times.sum().as_secs_f64(),
        }
    }

    /// Records the change, which includes at most one handler's time.
    pub(super) fn record(&self, queue_id: &QueueId, stats: &Stats) {
        let now = Self::of(stats);
        let labels = || vec![Label::new("queue", queue_id.as_str().to_owned())];
        for (((name, _), before), now) in COUNTERS.iter().zip(self.counted).zip(now.counted) {
            if now > before {
                counter!(*name, labels()).increment(now - before);
            }
        }
        for (((name, _), before), now) in GAUGES.iter().zip(self.gauged).zip(now.gauged) {
            if now != before {
                gauge!(*name, labels()).increment(now as f64 - before as f64);
            }
        }
        if now.handled > self.handled {
            histogram!(SECONDS, labels()).record(now.seconds - self.seconds);
        }
    }
}
