pub(super) mod counted;

use std::{env, fs, process::Command, time::Duration};

use super::*;
use crate::emulator::clock::{from_secs, nanos};
use crate::message::body::ContentType;

const SECOND: Time = 1_000_000_000;
const HOUR: Time = 3600 * SECOND;

fn message(body: &str, delay: Option<Time>) -> NewMessage {
    let content = Content { body: body.into(), content_type: ContentType::Text, source: "http".into() };
    NewMessage::new(content, delay)
}

/// A queue with this many messages waiting, delayed, leased, and handed back with a delay.
fn deep(depth: u64) -> (Queue, Vec<String>) {
    let mut queue = Queue::new(EmulatedQueue::new().max_retries(u32::MAX));
    for number in 0..4 * depth {
        let delay = (number >= 3 * depth).then_some(HOUR + number * SECOND);
        queue.push(0, Sequence::new(number), message("x", delay));
    }
    let lease_ids = |pulled: Vec<(Lease, Stored)>| pulled.into_iter().map(|(lease, _)| lease.id()).collect::<Vec<_>>();
    let leased = lease_ids(queue.pull(0, depth as usize, Some(HOUR)));
    let handed_back = lease_ids(queue.pull(0, depth as usize, Some(HOUR)));
    let retries: Vec<_> = handed_back.into_iter().map(|lease_id| (lease_id, Some(2 * HOUR))).collect();
    assert_eq!(queue.ack(0, &Behavior::new(), &[], &retries).unwrap().retried, depth);
    (queue, leased)
}

/// What each operation on 100 messages costs.
fn costs(depth: u64) -> Vec<(&'static str, u64)> {
    let (mut queue, mut leased) = deep(depth);
    let behavior = Behavior::new();
    let mut hundred = || leased.split_off(leased.len() - 100);
    let (acks, late_acks, retries, extended) = (hundred(), hundred(), hundred(), hundred());
    let retries: Vec<_> = retries.into_iter().map(|lease_id| (lease_id, None)).collect();
    let unknown: Vec<_> = (0..100).map(|number| Sequence::new(u64::MAX - number).message_ref()).collect();
    let mut costs = Vec::new();
    let mut cost = |name, (cost, count): (u64, usize)| {
        assert_eq!(count, 100, "{name}");
        costs.push((name, cost));
    };

    let push =
        |queue: &mut Queue| (0..100).for_each(|i| queue.push(0, Sequence::new(u64::MAX / 2 + i), message("y", None)));
    cost("push", counted::steps(|| (push(&mut queue), 100).1));
    cost("peek", counted::steps(|| queue.peek(100).len()));
    let refs: Vec<_> = queue.peek(100).into_iter().map(|(sequence, _)| sequence.message_ref()).collect();
    cost("purge", counted::steps(|| (assert_eq!(queue.purge(0, &behavior, &refs).unwrap().warnings, []), 100).1));
    cost("purge of unknown messages", counted::steps(|| queue.purge(0, &behavior, &unknown).unwrap().warnings.len()));
    cost("pull", counted::steps(|| queue.pull(0, 100, None).len()));
    cost("ack", counted::steps(|| queue.ack(0, &behavior, &acks, &[]).unwrap().acked as usize));
    cost("retry", counted::steps(|| queue.ack(0, &behavior, &[], &retries).unwrap().retried as usize));
    let minute = Some(60 * SECOND);
    cost("extend", counted::steps(|| queue.extend(0, &behavior, &extended, minute).unwrap().extended as usize));
    let settings = nanos(queue.settings().visibility_timeout);
    cost("the end of leases", counted::steps(|| (queue.expire(settings), 100).1));
    let later = HOUR - 1;
    cost("a time at which nothing ends", counted::steps(|| (queue.expire(later), 100).1));
    assert!(queue.metrics().backlog_count > 3 * depth);
    while queue.expire(HOUR) {}
    cost("late ack", counted::steps(|| queue.ack(HOUR, &behavior, &late_acks, &[]).unwrap().acked as usize));
    cost("metrics", counted::steps(|| (queue.metrics(), 100).1));
    costs
}

#[test]
fn no_operation_takes_more_steps_in_a_deep_queue() {
    let (shallow, deep) = (costs(400), costs(8000));
    for ((name, shallow), (_, deep)) in shallow.into_iter().zip(deep) {
        assert_eq!(shallow, deep, "{name}");
    }
}

#[test]
fn a_request_expires_at_most_a_thousand_leases() {
    let ends = |depth| {
        let (mut queue, leased) = deep(depth);
        let (steps, is_more) = counted::steps(|| queue.expire(HOUR));
        assert!(is_more);
        let outcome = queue.ack(HOUR, &Behavior::new().late_acks(false), &leased[leased.len() - 100..], &[]).unwrap();
        assert_eq!((outcome.acked, outcome.warnings.len()), (0, 100), "what was not dealt with has ended all the same");
        assert_eq!(queue.pull(HOUR, 100, None).len(), 100);
        while queue.expire(HOUR) {}
        assert_eq!(queue.pull(HOUR, usize::MAX, None).len(), 2 * depth as usize - 100);
        steps
    };
    assert_eq!(ends(2000), ends(6000));
}

/// The memory of this process, in bytes.
fn resident() -> Option<usize> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<usize>().ok()? * 1024)
}

#[test]
fn a_waiting_message_of_45_bytes_takes_at_most_376() {
    const MESSAGES: usize = 200_000;
    if env::var_os("EMULATOR_MEMORY").is_none() {
        // In a separate process, since other tests use memory as well.
        let test = "emulator::queue::tests::a_waiting_message_of_45_bytes_takes_at_most_376";
        let mut child = Command::new(env::current_exe().unwrap());
        let output = child.args(["--exact", test]).env("EMULATOR_MEMORY", "1").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        return;
    }
    let Some(before) = resident() else { return };
    let mut queue = Queue::new(EmulatedQueue::new());
    for number in 0..MESSAGES {
        queue.push(from_secs(1), Sequence::new(number as u64), message(&"x".repeat(45), None));
    }
    let taken = (resident().unwrap() - before) / MESSAGES;
    assert!(taken <= 376 && queue.metrics().backlog_count == MESSAGES as u64, "{taken} bytes");
}

#[test]
fn a_pull_without_a_timeout_has_that_of_the_queue() {
    let mut queue = Queue::new(EmulatedQueue::new().visibility_timeout(Duration::from_secs(90)));
    queue.push(0, Sequence::new(1), message("x", None));
    assert_eq!(queue.pull(0, 1, None)[0].1.visible_at, 90 * SECOND);
}

#[test]
fn a_purge_that_is_refused_deletes_nothing() {
    let mut queue = Queue::new(EmulatedQueue::new());
    queue.push(0, Sequence::new(1), message("x", None));
    let refs = [1, 2].map(|number| Sequence::new(number).message_ref());
    let purged = queue.purge(0, &Behavior::new().unknown_leases(UnknownLease::Reject), &refs);
    assert_eq!((purged, queue.metrics().backlog_count), (Err(Unknown), 1));
}

#[test]
fn a_removed_message_leaves_nothing_behind() {
    let (mut queue, _) = deep(10);
    queue.expire(10 * HOUR);
    let refs: Vec<_> = queue.messages(None).map(|(sequence, _)| sequence.message_ref()).collect();
    assert_eq!(queue.purge(10 * HOUR, &Behavior::new(), &refs), Ok(Outcome::default()));
    assert!(queue.messages.is_empty() && queue.visible.is_empty());
    assert!(queue.delayed.is_empty() && queue.leased.is_empty());
    assert!(queue.used.is_empty() && queue.bytes == 0);
}
