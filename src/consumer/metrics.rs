//! Records a consumer's statistics with the `metrics` crate.

use metrics::{Label, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

use super::stats::Stats;
use crate::queue::ids::QueueId;

type Read = fn(&Stats) -> u64;

/// Messages that were leased, and how long handlers took: the two that have a name in OpenTelemetry's conventions for
/// messaging, here as Prometheus spells it.
const CONSUMED: &str = "messaging_client_consumed_messages_total";
const DURATION: &str = "messaging_process_duration_seconds";

const COUNTERS: [(&str, Read, &str); 20] = [
    (CONSUMED, |stats| stats.pulled, "Messages that were leased"),
    ("cloudflare_queues_consumer_acknowledged_total", |stats| stats.acknowledged, "Acknowledged messages"),
    ("cloudflare_queues_consumer_retried_total", |stats| stats.retried, "Messages to be redelivered"),
    ("cloudflare_queues_consumer_left_total", |stats| stats.left, "Messages left until their leases expire"),
    ("cloudflare_queues_consumer_expired_total", |stats| stats.expired, "Messages whose lease expired unstarted"),
    ("cloudflare_queues_consumer_dead_lettered_total", |stats| stats.dead_lettered, "Dead letters"),
    ("cloudflare_queues_consumer_accepted_total", |stats| stats.accepted, "Messages settled without a count"),
    ("cloudflare_queues_consumer_unconfirmed_total", |stats| stats.unconfirmed, "Messages not settled"),
    ("cloudflare_queues_consumer_unseen_total", |stats| stats.unseen, "Last deliveries that no handler saw"),
    ("cloudflare_queues_consumer_pulls_total", |stats| stats.pulls, "Successful pulls, empty ones included"),
    ("cloudflare_queues_consumer_empty_pulls_total", |stats| stats.empty_pulls, "Pulls that returned nothing"),
    ("cloudflare_queues_consumer_pull_failures_total", |stats| stats.pull_failures, "Pulls that failed"),
    ("cloudflare_queues_consumer_rate_limited_pulls_total", |stats| stats.rate_limited_pulls, "Rate-limited pulls"),
    ("cloudflare_queues_consumer_without_lease_total", |stats| stats.without_lease, "Messages without a lease"),
    ("cloudflare_queues_consumer_failed_total", |stats| stats.failed, "Messages whose handler failed"),
    ("cloudflare_queues_consumer_panicked_total", |stats| stats.panicked, "Messages whose handler panicked"),
    ("cloudflare_queues_consumer_undecodable_total", |stats| stats.undecodable, "Undecodable messages"),
    (
        "cloudflare_queues_consumer_dead_letter_failures_total",
        |stats| stats.dead_letter_failures,
        "Unpushed dead letters",
    ),
    ("cloudflare_queues_consumer_extended_total", |stats| stats.extended, "Extensions of leases"),
    ("cloudflare_queues_consumer_lost_leases_total", |stats| stats.lost_leases, "Leases lost while a handler worked"),
];

/// Summed over all running consumers.
const GAUGES: [(&str, Read, &str); 5] = [
    ("cloudflare_queues_consumer_pulls_in_flight", |stats| stats.pulls_in_flight, "Pulls in flight"),
    ("cloudflare_queues_consumer_waiting", |stats| stats.waiting, "Messages pulled and not started"),
    ("cloudflare_queues_consumer_handlers_running", |stats| stats.handlers_running, "Handlers that run"),
    ("cloudflare_queues_consumer_concurrency", |stats| stats.concurrency, "Handlers that may run"),
    ("cloudflare_queues_consumer_slowdown", |stats| stats.slowdown.into(), "Steps by which pulling is slowed"),
];

/// Describes and registers every metric, so that it is there at zero before anything has happened.
pub(super) fn present(queue_id: &QueueId) {
    for (name, _, text) in COUNTERS {
        describe_counter!(name, Unit::Count, text);
        drop(counter!(name, labels(name, queue_id)));
    }
    for (name, _, text) in GAUGES {
        describe_gauge!(name, Unit::Count, text);
        drop(gauge!(name, labels(name, queue_id)));
    }
    describe_histogram!(DURATION, Unit::Seconds, "How long handlers took");
    drop(histogram!(DURATION, labels(DURATION, queue_id)));
}

fn labels(name: &str, queue_id: &QueueId) -> Vec<Label> {
    let operation = match name {
        CONSUMED => Some("receive"),
        DURATION => Some("process"),
        _ => None,
    };
    let labels = [
        Label::from_static_parts("messaging_system", "cloudflare_queues"),
        Label::new("messaging_destination_name", queue_id.as_str().to_owned()),
    ];
    let operation = operation.map(|name| Label::from_static_parts("messaging_operation_name", name));
    labels.into_iter().chain(operation).collect()
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
            counted: COUNTERS.map(|(_, read, _)| read(stats)),
            gauged: GAUGES.map(|(_, read, _)| read(stats)),
            handled: stats.handler_times.count(),
            seconds: stats.handler_times.sum().as_secs_f64(),
        }
    }

    /// Records the change, which includes at most one handler's time.
    pub(super) fn record(&self, queue_id: &QueueId, stats: &Stats) {
        let now = Self::of(stats);
        for (((name, ..), before), now) in COUNTERS.into_iter().zip(self.counted).zip(now.counted) {
            if now > before {
                counter!(name, labels(name, queue_id)).increment(now - before);
            }
        }
        for (((name, ..), before), now) in GAUGES.into_iter().zip(self.gauged).zip(now.gauged) {
            if now != before {
                gauge!(name, labels(name, queue_id)).increment(now as f64 - before as f64);
            }
        }
        if now.handled > self.handled {
            histogram!(DURATION, labels(DURATION, queue_id)).record(now.seconds - self.seconds);
        }
    }
}
