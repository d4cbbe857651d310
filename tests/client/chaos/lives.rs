//! The lives of clients, and how they check what they are told.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use cloudflare_queues::{
    AckError, AckOutcome, AckRequest, Batch, Consumer, Error, ErrorKind, LeaseId, Message, PullOptions, Settlement,
    Verdict,
    acker::{AckerOptions, Confirmation},
    consumer::{Report, RetryDelay, Stats, Unsettled},
};
use serde::Deserialize;
use tokio::time::{sleep, timeout};

use super::world::{LEASE, World};

/// The decision on each lease: the message's number, and whether it is acknowledged or handed back.
type Decided = HashMap<LeaseId, (u32, bool)>;

/// A body that streams decode; they cannot decode every eighth number.
#[derive(Deserialize)]
#[serde(try_from = "u32")]
struct Common;

impl TryFrom<u32> for Common {
    type Error = &'static str;

    fn try_from(number: u32) -> Result<Self, Self::Error> {
        if number.is_multiple_of(8) { Err("is odd") } else { Ok(Self) }
    }
}

impl World {
    async fn pull(&self) -> Option<Batch> {
        let options = PullOptions::new().batch_size(self.batch_size()).visibility_timeout(LEASE);
        let batch = self.queue.pull(options).await;
        match &batch {
            Ok(batch) => self.note(format_args!("pulled {}", batch.len())),
            Err(error) => self.note(error),
        }
        batch.ok()
    }

    /// What two pulls return that are in flight together.
    async fn pull_twice(&self) -> Vec<Message> {
        let (first, second) = tokio::join!(self.pull(), self.pull());
        [first, second].into_iter().flatten().flatten().collect()
    }

    /// Extends leases, or not. No more are counted than were asked for.
    async fn extend(&self, messages: &[Message]) {
        if messages.is_empty() || self.below(2) == 0 {
            return;
        }
        let result = self.queue.extend(messages.iter().map(|message| &message.lease_id), LEASE).await;
        let (confirmed, left) = match result {
            Ok(outcome) => (outcome, 0),
            Err(failed) => {
                self.note(&failed);
                (failed.outcome, failed.unconfirmed.len())
            }
        };
        self.note(format_args!("extended {:?} of {}", confirmed.extensions.confirmed, confirmed.extensions.requested));
        assert!(confirmed.extensions.confirmed.unwrap_or_default() <= confirmed.extensions.requested);
        assert_eq!(confirmed.extensions.requested + left as u64, messages.len() as u64);
    }

    /// Decides on a message. `None` leaves it.
    fn decide(&self, message: &Message) -> Option<(u32, bool)> {
        let number = message.body.json().unwrap();
        let decision = [None, Some(false), Some(false)].get(self.below(10) as usize).copied().unwrap_or(Some(true));
        self.note(format_args!("{number}, at attempt {:?}, is to be acknowledged: {decision:?}", message.attempts));
        if decision == Some(true) {
            self.told().asked.insert(number);
        }
        decision.map(|is_ack| (number, is_ack))
    }

    /// Records what was confirmed of a kind, and counts what was not.
    fn hear(&self, is_ack: bool, mut confirmed: Vec<u32>, unconfirmed: usize) {
        // They come from maps, whose order changes each time.
        confirmed.sort_unstable();
        let what = if is_ack { "acknowledged" } else { "handed back" };
        self.note(format_args!("confirmed as {what}: {confirmed:?}, not confirmed: {unconfirmed}"));
        let mut told = self.told();
        told.totals.confirmed += confirmed.len() as u64;
        told.totals.unconfirmed += unconfirmed as u64;
        told.done.extend(confirmed.into_iter().filter(|_| is_ack));
    }

    /// Pulls, decides, and settles all leases in one request. It may resend what comes back.
    pub(super) async fn acknowledge_together(&self) {
        let (mut request, mut decided) = (AckRequest::new(), Decided::new());
        for _ in 0..=self.below(8) {
            let messages = self.pull_twice().await;
            for message in &messages {
                let Some(decision) = self.decide(message) else { continue };
                request = match decision.1 {
                    true => request.ack(&message.lease_id),
                    false => request.retry_in(&message.lease_id, Duration::from_secs(self.below(20))),
                };
                decided.insert(message.lease_id.clone(), decision);
            }
            if let Some(message) = messages.first().filter(|_| self.below(4) == 0) {
                request = request.deadline(message.lease_deadline);
            }
            sleep(self.wait()).await;
            self.extend(&messages).await;
        }
        for _ in 0..=self.below(3) {
            if !request.is_empty() {
                let result = self.queue.ack(request.clone()).await;
                request = self.judge(&decided, &request, result);
            }
        }
    }

    /// Checks the outcome of a request: it returns exactly the leases that are not in the outcome, and no count is
    /// larger than requested.
    fn judge(&self, decided: &Decided, request: &AckRequest, result: Result<AckOutcome, AckError>) -> AckRequest {
        let (outcome, back) = match result {
            Ok(outcome) => (outcome, AckRequest::new()),
            Err(failed) => {
                self.note(&failed);
                (failed.outcome, failed.unconfirmed)
            }
        };
        let mut open: HashSet<_> = request.iter().map(|settled| settled.lease.id()).collect();
        let was_open = |settled: &Settlement| open.remove(settled.lease.id());
        assert!(back.iter().all(was_open), "a lease came back that was not sent, or twice");
        let settled = open.clone();
        let requested = outcome.acks.requested + outcome.retries.requested;
        assert_eq!(open.len() as u64, requested, "what came not back is in the outcome");
        self.told().totals.unconfirmed += back.len() as u64;
        self.told().totals.partly += u64::from(!back.is_empty() && requested > 0);
        let warned = outcome.warnings.iter().filter_map(|warning| warning.subject.as_ref());
        let warned = warned.filter(|lease| open.remove(lease)).count();
        assert_eq!(warned, outcome.warnings.len(), "a warning is about a lease of the request, and of no other");
        for (is_ack, counts) in [(true, outcome.acks), (false, outcome.retries)] {
            let numbers = |leases: &HashSet<&LeaseId>| -> Vec<_> {
                let of_kind = leases.iter().map(|lease| decided[*lease]).filter(|decision| decision.1 == is_ack);
                of_kind.map(|(number, _)| number).collect()
            };
            let (all, unwarned) = (numbers(&settled), numbers(&open));
            let confirmed = counts.confirmed.unwrap_or_default() as usize;
            assert!((counts.requested as usize, true) == (all.len(), confirmed <= all.len()), "{counts:?}");
            // Who knows the service's habits can tell more from its counts than a client can.
            assert!(
                !self.is_exact || confirmed == unwarned.len(),
                "what has no warning and came not back is confirmed"
            );
            let heard = if counts.is_complete() {
                all
            } else if self.is_exact {
                unwarned
            } else {
                Vec::new()
            };
            let unconfirmed = counts.requested as usize - heard.len();
            self.hear(is_ack, heard, unconfirmed);
        }
        back
    }

    /// Pulls and decides on one message after the other, in requests that are shared with others.
    pub(super) async fn acknowledge_singly(&self) {
        for _ in 0..=self.below(3) {
            let messages = self.pull_twice().await;
            self.extend(&messages).await;
            let mut receipts = Vec::new();
            for message in &messages {
                let Some((number, is_ack)) = self.decide(message) else { continue };
                if self.below(20) == 0 {
                    sleep(self.wait()).await;
                }
                let receipt = match (is_ack, self.below(4)) {
                    (true, 0) => self.acker.ack(&message.lease_id).await,
                    (true, _) => self.acker.ack(message).await,
                    (false, _) => self.acker.retry(message).await,
                };
                receipts.push((number, is_ack, receipt.unwrap()));
            }
            for (number, is_ack, receipt) in receipts {
                match receipt.await {
                    Ok(Confirmation::Confirmed) => self.hear(is_ack, vec![number], 0),
                    _ => self.hear(is_ack, Vec::new(), 1),
                }
            }
        }
    }

    /// Decides on the messages of a stream, and drops some of them. What was dropped before the end is included.
    pub(super) async fn stream(self: &Arc<Self>) {
        let unsettled = if self.below(2) == 0 { Unsettled::Retry } else { Unsettled::Leave };
        let consumer = Consumer::new(self.queue.clone()).batch_size(self.batch_size()).visibility_timeout(LEASE);
        let consumer = consumer.unsettled(unsettled).max_lease(LEASE + Duration::from_secs(self.below(600)));
        let consumer = consumer.dead_letters(self.moved.clone()).json::<Common>();
        let world = Arc::clone(self);
        let consumer = consumer.on_undecodable(move |message, _| {
            let decision = world.decide(&message).map(|(_, is_ack)| is_ack);
            let (verdict, wait) = (world.below(2), world.wait());
            async move {
                sleep(wait).await;
                match (decision, verdict) {
                    (Some(true), _) => Ok(Verdict::Ack),
                    (Some(false), 0) => Ok(Verdict::DeadLetter),
                    (Some(false), _) => Err("again"),
                    (None, _) => Ok(Verdict::Leave),
                }
            }
        });
        let mut deliveries = consumer.stream().unwrap();
        let acker = deliveries.acker().clone();
        let mut receipts = Vec::new();
        for _ in 0..=self.below(5) {
            let (most, linger) = (1 + self.below(20) as usize, Duration::from_millis(self.below(500)));
            let Ok(Some(Ok(batch))) = timeout(LEASE, deliveries.next_batch(most, linger)).await else { break };
            // Leases are extended meanwhile, as far as the heartbeat and the service allow.
            sleep(self.wait()).await;
            for delivery in batch {
                match (self.decide(delivery.message()), self.below(2)) {
                    (None, 0) => delivery.leave(),
                    (None, _) => drop(delivery),
                    (Some((number, true)), _) => receipts.push((number, true, delivery.ack().await.unwrap())),
                    (Some((number, false)), _) => receipts.push((number, false, delivery.retry().await.unwrap())),
                }
            }
        }
        drop(deliveries);
        acker.close().await;
        // The push of a dead letter that has begun may outlast the stream.
        let are_all = async {
            while accounted(&consumer.stats()) < consumer.stats().pulled {
                sleep(Duration::from_millis(100)).await;
            }
        };
        let _ = timeout(10 * LEASE, are_all).await;
        let stats = consumer.stats();
        assert_eq!(stats.pulled, accounted(&stats), "{stats:?}");
        self.told().totals.moved += stats.dead_lettered;
        self.told().totals.extended += stats.extended;
        for (number, is_ack, receipt) in receipts {
            match receipt.await {
                Ok(Confirmation::Confirmed) => self.hear(is_ack, vec![number], 0),
                _ => self.hear(is_ack, Vec::new(), 1),
            }
        }
    }

    /// Runs a consumer for a while.
    pub(super) async fn consume(self: &Arc<Self>) {
        let seconds = |bound| Duration::from_secs(self.below(bound));
        let acker = AckerOptions::new()
            .linger(Duration::from_millis(self.below(200)))
            .max_in_flight(1 + self.below(4) as usize)
            .buffer(1 + self.below(200) as usize);
        let consumer = Consumer::new(self.queue.clone())
            .batch_size(self.batch_size())
            .visibility_timeout(LEASE)
            .concurrency(1 + self.below(50) as usize)
            .retry_delay(RetryDelay::fixed(seconds(20)))
            .unsettled(if self.below(2) == 0 { Unsettled::Retry } else { Unsettled::Leave })
            .shutdown_timeout(seconds(60))
            .flush_timeout(seconds(60))
            .dead_letters(self.moved.clone())
            .max_attempts(1 + self.below(6) as u32)
            .max_lease(LEASE + seconds(600))
            .handler_batch_size(1 + self.below(20) as usize)
            .handler_linger(Duration::from_millis(self.below(500)))
            .acker(acker);
        let decided = Arc::new(Mutex::new(Decided::new()));
        let (world, decisions) = (Arc::clone(self), Arc::clone(&decided));
        let judge = move |message: Message| {
            let Some(decision) = world.decide(&message) else { return Ok(Verdict::Leave) };
            decisions.lock().unwrap().insert(message.lease_id, decision);
            match (decision.1, world.below(3)) {
                (true, _) => Ok(Verdict::Ack),
                (false, 0) => Ok(Verdict::DeadLetter),
                (false, _) => Err("again"),
            }
        };
        let (world, judge, stop) = (Arc::clone(self), Arc::new(judge), sleep(seconds(60)));
        let report = if self.below(2) == 0 {
            let handler = move |message: Message| {
                let (world, judge) = (Arc::clone(&world), Arc::clone(&judge));
                async move {
                    sleep(world.wait()).await;
                    judge(message)
                }
            };
            consumer.run_until(stop, handler).await
        } else {
            let handler = move |messages: Vec<Message>| {
                let (world, judge) = (Arc::clone(&world), Arc::clone(&judge));
                async move {
                    sleep(world.wait()).await;
                    messages.into_iter().map(|message| judge(message)).collect::<Vec<_>>()
                }
            };
            consumer.run_batches_until(stop, handler).await
        };
        let decided = std::mem::take(&mut *decided.lock().unwrap());
        self.judge_report(decided, report.unwrap());
    }

    /// The report accounts for every message, and every decision that it does not list as unconfirmed was confirmed.
    fn judge_report(&self, mut decided: Decided, report: Report) {
        let (stats, unconfirmed) = (report.stats, report.unconfirmed.len());
        assert_eq!((stats.pulled, stats.panicked), (accounted(&stats), 0), "{stats:?}");
        assert_eq!(stats.unconfirmed, unconfirmed as u64);
        // A refusal ends a run, whether of a pull or of an acknowledgement.
        let expected = [ErrorKind::Unauthorized, ErrorKind::CredentialsUnavailable];
        let is_expected = |error: &Error| expected.contains(&error.kind());
        assert!(report.error.as_ref().is_none_or(is_expected), "{:?}", report.error);
        for lease in report.unconfirmed.iter().map(|settled| settled.lease.id()) {
            decided.remove(lease);
        }
        let numbers: Vec<_> = decided.values().filter(|(_, is_ack)| *is_ack).map(|(number, _)| *number).collect();
        self.hear(false, Vec::new(), unconfirmed);
        self.told().totals.confirmed += stats.retried;
        self.told().totals.moved += stats.dead_lettered;
        self.told().totals.extended += stats.extended;
        // A handler may finish at the moment in which it is dropped; its message counts as left.
        let acks = numbers.len() as u64;
        let most = stats.acknowledged + stats.left + stats.accepted;
        assert!((stats.acknowledged..=most).contains(&acks), "{acks} in {stats:?}");
        if acks == stats.acknowledged {
            self.hear(true, numbers, 0);
        }
    }
}

/// How many messages are counted in one of the fields that add up to `pulled`.
fn accounted(stats: &Stats) -> u64 {
    let sent = stats.acknowledged + stats.retried + stats.dead_lettered + stats.accepted + stats.unconfirmed;
    sent + stats.left + stats.expired
}
