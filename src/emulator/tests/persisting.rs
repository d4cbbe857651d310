use std::{fs, path::PathBuf, thread, time::Duration};

use tokio::time::timeout;

use super::*;
use crate::{
    AckRequest, PullOptions, PushMessage, Queue, QueueId,
    emulator::{EmulatedQueue, Fault, Seed, clock::nanos},
    manage::{ConsumerSettings, EventSource, NewSubscription, QueueSettings},
};

const MINUTE: Duration = Duration::from_secs(60);

/// A path of a file that does not exist.
fn path(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("cf-queues-{}-{name}", std::process::id()));
    let _ = fs::remove_file(&path);
    path
}

fn kept(path: &PathBuf) -> (Emulator, Queue) {
    kept_until_later(path, Duration::ZERO)
}

/// What a file restores when this time has passed.
fn kept_until_later(path: &PathBuf, passed: Duration) -> (Emulator, Queue) {
    let emulator = Emulator::in_process();
    emulator.advance(passed);
    emulator.persist(path).unwrap();
    let queue = emulator.queue().unwrap();
    (emulator, queue)
}

/// What a file restores that was cut behind each line written since it had this length, as if the process was killed.
fn cut_since(path: &PathBuf, length: usize) -> Vec<Emulator> {
    let whole = fs::read(path).unwrap();
    let ends = (length..=whole.len()).filter(|end| whole[end - 1] == b'\n');
    let restored = ends.map(|end| {
        fs::write(path, &whole[..end]).unwrap();
        kept(path).0
    });
    restored.collect()
}

/// The name and the id of each queue, by its name.
fn names(emulator: &Emulator) -> Vec<(String, QueueId)> {
    let registry = emulator.running.service.registry();
    let queues = registry.records().map(|(id, record)| (record.name.clone(), id.parse().unwrap()));
    queues.collect::<std::collections::BTreeMap<_, _>>().into_iter().collect()
}

fn state(emulator: &Emulator) -> Vec<(String, String, u32, bool)> {
    let messages = emulator.messages(emulator.queue_id()).into_iter();
    let shown = messages.map(|message| (message.id, message.body.raw().into(), message.attempts, message.is_leased));
    shown.collect()
}

#[tokio::test]
async fn everything_about_messages_is_restored() {
    let path = path("messages");
    let (emulator, queue) = kept(&path);
    queue.push_batch(&["acked", "retried", "extended", "leased", "visible"].map(PushMessage::text)).await.unwrap();
    queue.push(&PushMessage::text("delayed").delay(Duration::from_secs(60))).await.unwrap();
    let old = Duration::from_secs(3600);
    emulator.seed(emulator.queue_id(), [Seed::bytes([0, 0xff]).age(old).attempts(2)]).unwrap();
    let batch = queue.pull(PullOptions::new().batch_size(4)).await.unwrap();
    let lease = |index: usize| batch.messages[index].lease_id.clone();
    let request = AckRequest::new().ack(lease(0)).retry_in(lease(1), Duration::from_secs(600));
    assert!(queue.ack(request).await.unwrap().is_complete());
    assert!(queue.extend(&[lease(2)], Duration::from_secs(600)).await.unwrap().is_complete());
    let before = state(&emulator);
    // As it is if the process is killed.
    let (restored, queue) = kept(&path);
    assert_eq!(state(&restored), before);
    assert_eq!(before.len(), 6);
    // A lease of the old run holds, and one that was used does not.
    let request = AckRequest::new().ack(lease(3)).ack(lease(1));
    assert!(!queue.ack(request).await.unwrap().is_complete());
    assert_eq!(state(&restored).len(), 5);
    let pulled = queue.pull(PullOptions::new()).await.unwrap();
    let metrics = pulled.messages.iter().map(|message| message.attempts).collect::<Vec<_>>();
    assert_eq!(metrics, [Some(1), Some(3)]);
    queue.push(&PushMessage::text("new")).await.unwrap();
    let ids: std::collections::BTreeSet<_> = state(&restored).into_iter().map(|(id, ..)| id).collect();
    assert_eq!(ids.len(), 6, "new ids are different");
    let _ = fs::remove_file(path);
}

#[tokio::test]
async fn a_longer_retention_holds_after_a_restart() {
    let path = path("retention");
    let (_emulator, queue) = kept(&path);
    let _ = queue.update(QueueSettings::new().message_retention(MINUTE)).await.unwrap();
    queue.push(&PushMessage::text("alive")).await.unwrap();
    let _ = queue.update(QueueSettings::new().message_retention(1440 * MINUTE)).await.unwrap();
    assert_eq!(state(&kept_until_later(&path, MINUTE).0).len(), 1);
    let _ = fs::remove_file(path);
}

#[tokio::test]
async fn more_retries_hold_after_a_restart() {
    let path = path("retries");
    let (_emulator, queue) = kept(&path);
    let consumer = queue.consumers().await.unwrap()[0].id().unwrap();
    let _ = queue.update_consumer(&consumer, &ConsumerSettings::pull().max_retries(0)).await.unwrap();
    queue.push(&PushMessage::text("alive")).await.unwrap();
    assert_eq!(queue.pull(PullOptions::new()).await.unwrap().len(), 1);
    let _ = queue.update_consumer(&consumer, &ConsumerSettings::pull().max_retries(10)).await.unwrap();
    assert_eq!(state(&kept_until_later(&path, MINUTE).0).len(), 1);
    let _ = fs::remove_file(path);
}

#[tokio::test]
async fn an_acknowledged_message_is_no_dead_letter_after_a_restart() {
    let path = path("acknowledged");
    let (_emulator, queue) = kept(&path);
    let failed = queue.queues().create("failed").await.unwrap();
    let consumer = queue.consumers().await.unwrap()[0].id().unwrap();
    let settings = ConsumerSettings::pull().max_retries(0).dead_letter_queue("failed");
    let _ = queue.update_consumer(&consumer, &settings).await.unwrap();
    queue.push(&PushMessage::text("done")).await.unwrap();
    let batch = queue.pull(PullOptions::new()).await.unwrap();
    let _ = queue.update(QueueSettings::new().delivery_paused(true)).await.unwrap();
    assert!(queue.ack(AckRequest::ack_all(&batch)).await.unwrap().is_complete());
    let (restored, _) = kept_until_later(&path, MINUTE);
    assert_eq!((state(&restored), restored.messages(failed.id())), (vec![], vec![]));
    let _ = fs::remove_file(path);
}

#[tokio::test]
async fn queues_of_the_emulator_and_their_settings_are_kept_at_once() {
    let path = path("at-once");
    let (emulator, _) = kept(&path);
    let other = emulator.create_queue(EmulatedQueue::new());
    emulator.seed(&other, [Seed::text("seeded")]).unwrap();
    emulator.configure_queue(&other, |settings| settings.delivery_paused(true));
    let (restored, _) = kept(&path);
    assert_eq!(restored.messages(&other), emulator.messages(&other));
    let service = &restored.running.service;
    assert!(service.with_queue(other.as_str(), |queue, _| queue.settings().delivery_paused).unwrap());
    let _ = fs::remove_file(path);
}

#[tokio::test(start_paused = true)]
async fn a_queue_is_kept_if_its_client_does_not_wait() {
    let path = path("impatient");
    let (emulator, _) = kept(&path);
    let uri = format!("/accounts/{}/queues", emulator.account_id());
    let create = request(&emulator, &uri, Bytes::from_static(br#"{ "queue_name": "late" }"#));
    emulator.inject(Fault::Delay(MINUTE));
    assert!(timeout(MINUTE / 2, respond(&emulator.running.service, create)).await.is_err());
    assert!(kept(&path).1.queues().find("late").await.unwrap().is_some());
    let _ = fs::remove_file(path);
}

#[tokio::test]
async fn a_restored_queue_keeps_its_name() {
    let path = path("names");
    let (emulator, queue) = kept(&path);
    emulator.set_queue_id(queue.id(), "5e1b0a4c9f6d4e3b8a7c2d1f0e9b8a7c").unwrap();
    let (_restored, queue) = kept(&path);
    let mut listed = queue.queues().list().all().await.unwrap();
    listed.sort_by_key(|queue| queue.name().to_owned());
    assert_eq!(listed.iter().map(|queue| queue.name()).collect::<Vec<_>>(), ["queue-1", "queue-2"]);
    assert_eq!(listed[0].id().unwrap().as_str(), "5e1b0a4c9f6d4e3b8a7c2d1f0e9b8a7c");
    let _ = fs::remove_file(path);
}

#[tokio::test]
async fn a_queue_that_gets_another_id_is_one_queue_at_any_time() {
    let path = path("another-id");
    let (emulator, queue) = kept(&path);
    let queues = queue.queues();
    let (failed, source) = (queues.create("failed").await.unwrap(), queues.create("source").await.unwrap());
    let _ = source.create_consumer(&ConsumerSettings::pull().dead_letter_queue("failed")).await.unwrap();
    failed.push(&PushMessage::text("x")).await.unwrap();
    let before = fs::read(&path).unwrap().len();
    emulator.set_queue_id(failed.id(), "5e1b0a4c9f6d4e3b8a7c2d1f0e9b8a7c").unwrap();
    for restored in cut_since(&path, before) {
        let queues = names(&restored);
        assert_eq!(queues.iter().map(|(name, _)| &**name).collect::<Vec<_>>(), ["failed", "queue-1", "source"]);
        let counts = queues.iter().map(|(_, id)| restored.messages(id).len()).collect::<Vec<_>>();
        assert_eq!(counts, [1, 0, 0]);
        let service = &restored.running.service;
        let target = service.with_queue(source.id().as_str(), |queue, _| queue.settings().dead_letter_queue.clone());
        assert_eq!(target.unwrap().as_deref(), Some(queues[0].1.as_str()));
    }
    let _ = fs::remove_file(path);
}

#[tokio::test]
async fn no_message_is_lost_while_its_queue_gets_another_id() {
    let path = path("pushed-meanwhile");
    let (emulator, queue) = kept(&path);
    let ids = [queue.id().clone(), "5e1b0a4c9f6d4e3b8a7c2d1f0e9b8a7c".parse().unwrap()];
    let pushed: usize = thread::scope(|scope| {
        let push = || (0..1000).filter(|i| emulator.seed(&ids[i % 2], [Seed::text("x")]).is_ok()).count();
        let pushing = [scope.spawn(push), scope.spawn(push)];
        for i in (0..).take_while(|_| !pushing.iter().all(|pushing| pushing.is_finished())) {
            emulator.set_queue_id(&ids[i % 2], ids[1 - i % 2].clone()).unwrap();
        }
        pushing.into_iter().map(|pushing| pushing.join().unwrap()).sum()
    });
    let count = |emulator: &Emulator| ids.iter().map(|id| emulator.messages(id).len()).sum::<usize>();
    assert_eq!((count(&emulator), count(&kept(&path).0)), (pushed, pushed));
    let _ = fs::remove_file(path);
}

#[tokio::test]
async fn a_killed_emulator_leaves_no_queue_without_its_name() {
    let path = path("nameless");
    let (emulator, queue) = kept(&path);
    let before = fs::read(&path).unwrap().len();
    queue.queues().create("first").await.unwrap();
    emulator.save_configuration();
    let source = queue.queues().create("second").await.unwrap();
    let _ = source.create_consumer(&ConsumerSettings::pull().dead_letter_queue("third")).await.unwrap();
    queue.queues().find("first").await.unwrap().unwrap();
    emulator.running.service.reset();
    for restored in cut_since(&path, before) {
        let names = names(&restored).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        assert!(names.iter().all(|name| ["first", "queue-1", "second", "third"].contains(&&**name)), "{names:?}");
    }
    let _ = fs::remove_file(path);
}

#[tokio::test]
async fn a_dead_letter_survives_a_kill_while_settings_change() {
    let path = path("changed");
    let (emulator, queue) = kept(&path);
    let failed = emulator.create_queue(EmulatedQueue::new());
    let change = |settings: EmulatedQueue| settings.max_retries(0).dead_letter_queue(failed.as_str());
    emulator.configure_queue(queue.id(), change);
    queue.push(&PushMessage::text("dead")).await.unwrap();
    assert_eq!(queue.pull(PullOptions::new()).await.unwrap().len(), 1);
    let before = fs::read(&path).unwrap().len();
    emulator.advance(MINUTE);
    emulator.configure_queue(queue.id(), |settings| EmulatedQueue { dead_letter_queue: None, ..settings });
    for restored in cut_since(&path, before) {
        restored.advance(MINUTE);
        assert!(!restored.messages(&failed).is_empty());
    }
    let _ = fs::remove_file(path);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_disk_that_is_full_during_shortening_keeps_the_log() {
    let path = path("full");
    let (emulator, queue) = kept(&path);
    queue.push(&PushMessage::text("x")).await.unwrap();
    let log = fs::read(&path).unwrap();
    let newer = super::super::journal::newer(&path);
    std::os::unix::fs::symlink("/dev/full", &newer).unwrap();
    let service = &emulator.running.service;
    let _ = service.queues.journal.get().unwrap().shorten(service);
    fs::remove_file(newer).unwrap();
    queue.push(&PushMessage::text("too late")).await.unwrap();
    assert_eq!(fs::read(&path).unwrap(), log);
    emulator.persisting_failed().await;
    assert_eq!(state(&kept(&path).0).len(), 1);
    let _ = fs::remove_file(path);
}

#[tokio::test]
async fn a_file_that_cannot_be_replaced_is_refused() {
    let unnamed = path("").file_name().unwrap().len();
    // The name of the file that replaces it is longer than a file system allows.
    let (long, other) = (path(&"n".repeat(255 - unnamed)), path("short"));
    let emulator = Emulator::in_process();
    assert!(emulator.persist(&long).is_err());
    emulator.persist(&other).unwrap();
    for file in [long, other] {
        let _ = fs::remove_file(file);
    }
}

#[tokio::test]
async fn leases_and_delays_of_an_advanced_clock_end_in_time() {
    let path = path("ahead");
    let (emulator, queue) = kept(&path);
    emulator.configure_queue(queue.id(), |settings| settings.message_retention(20_000 * MINUTE));
    queue.push_batch(&["leased", "ended", "retried"].map(PushMessage::text)).await.unwrap();
    let batch = queue.pull(PullOptions::new().visibility_timeout(720 * MINUTE)).await.unwrap();
    emulator.advance(700 * MINUTE);
    let retry = AckRequest::new().retry_in(&batch.messages[2].lease_id, MINUTE);
    assert!(queue.ack(retry).await.unwrap().is_complete());
    emulator.advance(14_400 * MINUTE);
    let pull = PullOptions::new().visibility_timeout(MINUTE).batch_size(1);
    assert_eq!(queue.pull(pull).await.unwrap().len(), 1);
    queue.push(&PushMessage::text("delayed").delay(MINUTE)).await.unwrap();
    let pulls_from = emulator.running.service.clock.now() + nanos(MINUTE);
    emulator.configure_queue(queue.id(), |settings| EmulatedQueue { pulls_from, ..settings });
    let (restored, queue) = kept(&path);
    restored.advance(MINUTE);
    assert_eq!(queue.pull(PullOptions::new()).await.unwrap().len(), 4);
    let _ = fs::remove_file(path);
}

#[tokio::test]
async fn messages_of_an_advanced_clock_hide_no_outdated_ones() {
    let path = path("advanced");
    let (emulator, queue) = kept(&path);
    emulator.advance(14_400 * MINUTE);
    queue.push(&PushMessage::text("early")).await.unwrap();
    let (restored, queue) = kept(&path);
    queue.push(&PushMessage::text("late")).await.unwrap();
    restored.advance(5760 * MINUTE);
    assert_eq!(state(&restored), []);
    let _ = fs::remove_file(path);
}

#[tokio::test]
async fn a_second_file_is_refused_and_not_read() {
    let (first, second) = (path("first"), path("second"));
    let (_, queue) = kept(&second);
    queue.push(&PushMessage::text("other")).await.unwrap();
    let (emulator, queue) = kept(&first);
    queue.push(&PushMessage::text("one")).await.unwrap();
    for file in [&first, &second] {
        assert!(emulator.persist(file).is_err());
    }
    queue.push(&PushMessage::text("two")).await.unwrap();
    let (restored, _) = kept(&first);
    assert_eq!((state(&restored), state(&restored).len()), (state(&emulator), 2));
    for file in [first, second] {
        let _ = fs::remove_file(file);
    }
}

#[tokio::test]
async fn ids_of_queues_are_not_given_again_after_restarts() {
    let path = path("queue-ids");
    let (_, queue) = kept(&path);
    let (first, gone) = (queue.queues().create("a").await.unwrap(), queue.queues().create("gone").await.unwrap());
    gone.delete().await.unwrap();
    // The second one has a snapshot only.
    kept(&path);
    let (_restored, queue) = kept(&path);
    let second = queue.queues().create("b").await.unwrap();
    assert!(![first.id(), gone.id()].contains(&second.id()));
    let names = queue.queues().list().all().await.unwrap();
    assert_eq!(names.iter().map(|queue| queue.name()).collect::<Vec<_>>(), ["a", "b", "queue-1"]);
    let _ = fs::remove_file(path);
}

#[tokio::test]
async fn ids_are_not_used_again_after_their_messages_are_gone() {
    let path = path("ids");
    let (_, queue) = kept(&path);
    let mut seen = Vec::new();
    let mut queue = queue;
    for _ in 0..3 {
        queue.push(&PushMessage::text("x")).await.unwrap();
        let batch = queue.pull(PullOptions::new()).await.unwrap();
        assert!(!seen.contains(&batch.messages[0].lease_id));
        seen.push(batch.messages[0].lease_id.clone());
        assert!(queue.ack(AckRequest::ack_all(&batch)).await.unwrap().is_complete());
        queue = kept(&path).1;
    }
    let _ = fs::remove_file(path);
}

#[tokio::test]
async fn dead_letters_purges_and_queues_are_kept() {
    let path = path("queues");
    let (emulator, queue) = kept(&path);
    let client = emulator.client().unwrap();
    let queues = client.queues(emulator.account_id().clone()).unwrap();
    let (failed, gone) = (queues.create("failed").await.unwrap(), queues.create("gone").await.unwrap());
    let change = |settings: EmulatedQueue| settings.max_retries(0).dead_letter_queue(failed.id().as_str());
    emulator.configure_queue(emulator.queue_id(), change);
    gone.delete().await.unwrap();
    queue.push(&PushMessage::text("dead")).await.unwrap();
    assert_eq!(queue.pull(PullOptions::new()).await.unwrap().len(), 1);
    emulator.advance(Duration::from_secs(30));
    assert!(queue.pull(PullOptions::new()).await.unwrap().is_empty());
    let (restored, _) = kept(&path);
    assert_eq!(state(&restored), []);
    assert_eq!(restored.messages(failed.id()).len(), 1);
    let names: Vec<_> = {
        let registry = restored.running.service.registry();
        registry.records().map(|(_, record)| record.name.clone()).collect()
    };
    assert_eq!(names, ["queue-1", "failed"]);
    let _deleted = restored.running.service.with_queue(failed.id().as_str(), |queue, _| queue.clear()).unwrap();
    assert_eq!(kept(&path).0.messages(failed.id()), []);
    let _ = fs::remove_file(path);
}

#[tokio::test]
async fn subscriptions_are_kept_and_their_ids_are_not_given_again() {
    let path = path("subscriptions");
    let create = async |queue: &Queue, source: &str| {
        let new = NewSubscription::new(source, EventSource::new(source), queue.id()).event("created");
        queue.queues().subscriptions().create(&new).await.unwrap().id().unwrap()
    };
    let names = async |queue: &Queue| {
        let subscriptions = queue.queues().subscriptions().list().all().await.unwrap();
        subscriptions.iter().map(|subscription| subscription.name().to_owned()).collect::<Vec<_>>()
    };
    let (_emulator, queue) = kept(&path);
    create(&queue, "r2").await;
    let gone = create(&queue, "kv").await;
    queue.queues().subscriptions().delete(&gone).await.unwrap();
    // The second one has a snapshot only.
    kept(&path);
    let (restored, queue) = kept(&path);
    assert_eq!(names(&queue).await, ["r2"]);
    assert_ne!(create(&queue, "images").await, gone);
    assert_eq!(names(&queue).await, ["images", "r2"]);
    restored.set_queue_id(queue.id(), "5e1b0a4c9f6d4e3b8a7c2d1f0e9b8a7c").unwrap();
    let (_restored, queue) = kept(&path);
    assert_eq!(names(&queue).await, ["images", "r2"], "they follow their queue");
    let _ = fs::remove_file(path);
}

#[tokio::test]
async fn cut_lines_and_unfinished_snapshots_lose_no_earlier_state() {
    let path = path("cut");
    let (emulator, queue) = kept(&path);
    queue.push_batch(&["one", "two"].map(PushMessage::text)).await.unwrap();
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 5]).unwrap();
    assert_eq!(state(&kept(&path).0), [], "both are in the line that was cut");
    // The first half of the lines is in the log, and the rest in a snapshot that was begun.
    let lines: Vec<_> = whole.split_inclusive(|byte| *byte == b'\n').collect();
    fs::write(&path, lines[..lines.len() - 1].concat()).unwrap();
    fs::write(super::super::journal::newer(&path), lines[lines.len() - 1]).unwrap();
    assert_eq!(state(&kept(&path).0), state(&emulator));
    assert_eq!(
        fs::read_dir(path.parent().unwrap())
            .unwrap()
            .flatten()
            .filter(|entry| { entry.path().to_string_lossy().starts_with(&*path.to_string_lossy()) })
            .count(),
        1
    );
    // What comes after a line that was cut does not continue it, and may have been cut itself.
    fs::write(&path, &whole[..whole.len() - 5]).unwrap();
    let newer = super::super::journal::newer(&path);
    fs::write(newer, [lines[lines.len() - 1], b"{\"changes"].concat()).unwrap();
    assert_eq!(state(&kept(&path).0), state(&emulator));
    fs::write(&path, [lines.concat(), b"not a line\n".into()].concat()).unwrap();
    let emulator = Emulator::in_process();
    let error = emulator.persist(&path).unwrap_err();
    assert!(error.to_string().contains(&format!("line {}", lines.len() + 1)), "{error}");
    assert_eq!(state(&emulator), [], "all is restored, or nothing");
    let _ = fs::remove_file(path);
}
