//! `redrive` as a program; its loop has tests of its own, in virtual time.

use std::{
    collections::BTreeSet,
    fs,
    process::Stdio,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use cloudflare_queues::{
    PullOptions, PushMessage,
    consumer::{DeadLetter, Reason},
    emulator::{EmulatedQueue, Emulator, Fault, Operation, Seed},
    manage::ConsumerSettings,
    testing,
};
use rustix::process::Signal;
use serde_json::{Value, value::RawValue};

use crate::world::{World, eventually, folder, objects, signal, two_signals};

#[test]
fn messages_are_moved_byte_for_byte() {
    let world = World::new();
    let to = world.other();
    world.push_numbers(250);
    let odd = r#"{"a":1.50,"a":1e400,"\u0062":[]}"#;
    world.push(&[PushMessage::json(&RawValue::from_string(odd.to_owned()).unwrap()).unwrap()]);
    let summary = &world.objects(&["redrive", world.id(), &to])[0];
    assert_eq!(summary["moved"], 251);
    assert!(world.messages().is_empty());
    let moved: BTreeSet<String> = world.texts(&to).into_iter().collect();
    assert_eq!(moved.len(), 251);
    assert!(moved.contains(odd), "{moved:?}");
}

#[test]
fn a_dead_letter_with_a_reason_is_unwrapped() {
    let world = World::new();
    let to = world.other();
    let original = PushMessage::json(&RawValue::from_string(r#"{"a":1.50}"#.to_owned()).unwrap()).unwrap();
    let wrap = |reason| DeadLetter::wrap(&testing::message(original.clone()), &reason).unwrap();
    world.push(&[
        wrap(Reason::Failed("no such customer".to_owned())),
        wrap(Reason::Verdict),
        PushMessage::text("plain"),
    ]);
    let filter = "/cloudflare_queues_dead_letter/reason=failed";
    assert_eq!(world.objects(&["redrive", world.id(), &to, "--filter", filter])[0]["moved"], 1);
    assert_eq!(world.texts(&to), [r#"{"a":1.50}"#]);
    assert_eq!(world.objects(&["redrive", world.id(), &to])[0]["moved"], 2);
    let moved: BTreeSet<String> = world.texts(&to).into_iter().collect();
    assert_eq!(moved, BTreeSet::from([r#"{"a":1.50}"#.to_owned(), "plain".to_owned()]));
}

#[test]
fn a_dry_run_tells_and_changes_nothing() {
    let world = World::new();
    let to = world.other();
    world.push_numbers(12);
    let before = world.messages();
    let forecast = &world.objects(&["redrive", world.id(), &to, "--dry-run", "--filter", "body>=10"])[0];
    assert_eq!((&forecast["backlog_count"], &forecast["would_be_moved"]), (&12.into(), &2.into()));
    assert_eq!((world.messages(), world.texts(&to).len()), (before, 0));
    world.emulator.seed(world.emulator.queue_id(), [Seed::bytes(b"binary"), Seed::json("a string").unwrap()]).unwrap();
    let routes = ["--filter", "body=1", "--to", &to, "--filter", "attempts=0", "--to", &world.other()];
    for (limit, expected) in [("5", [1, 4]), ("100", [1, 11])] {
        let redrive = [&["redrive", world.id(), "--limit", limit], &routes[..]].concat();
        let output = world.command(&[&redrive[..], &["--dry-run"]].concat()).assert().success().get_output().clone();
        let forecasts = objects(str::from_utf8(&output.stdout).unwrap());
        assert!(String::from_utf8_lossy(&output.stderr).contains("2 of them match and cannot be pushed; nothing"));
        let would_be_moved: Vec<_> = forecasts.iter().map(|forecast| forecast["would_be_moved"].clone()).collect();
        assert_eq!(would_be_moved, expected);
    }
}

#[test]
fn a_queue_is_not_redriven_into_itself() {
    let world = World::new();
    let name = world.objects(&["ls"])[0]["name"].as_str().unwrap().to_owned();
    world.command(&["redrive", world.id(), &name]).assert().code(2);
}

#[test]
fn a_redrive_that_is_told_to_stop_ends_what_it_began() {
    let world = World::new();
    let to = world.other();
    world.push_numbers(500);
    let mut command = world.program(&["redrive", world.id(), &to, "--rate", "20"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    eventually("it moves", || !world.texts(&to).is_empty());
    signal(&child, Signal::TERM);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(5));
    let moved = objects(str::from_utf8(&output.stdout).unwrap())[0]["moved"].as_u64().unwrap();
    assert_eq!((world.texts(&to).len() as u64, world.messages().len() as u64), (moved, 500 - moved));
    assert!(world.messages().iter().all(|message| !message.is_leased));
}

#[test]
fn a_redrive_that_is_killed_and_run_again_loses_nothing() {
    let world = World::retrying(100);
    let to = world.other();
    world.push_numbers(3000);
    for _ in 0..3 {
        let there = world.texts(&to).len();
        let mut child = world.program(&["redrive", world.id(), &to]).stdout(Stdio::null()).spawn().unwrap();
        eventually("it moves", || world.texts(&to).len() > there || child_ended(&world));
        signal(&child, Signal::KILL);
        child.wait().unwrap();
        world.emulator.advance(Duration::from_secs(61));
    }
    world.run(&["redrive", world.id(), &to]);
    let there: BTreeSet<String> = world.texts(&to).into_iter().collect();
    assert_eq!((there.len(), world.messages().len()), (3000, 0));
}

fn child_ended(world: &World) -> bool {
    world.messages().is_empty()
}

#[test]
fn memory_does_not_grow_with_the_backlog() {
    let taken = |messages: usize| {
        let world = World::new();
        world.push(&vec![PushMessage::text("x".repeat(1000)); messages]);
        let to = world.other();
        // As many batches as there may be are in flight with either backlog.
        let mut command = world.program(&["redrive", world.id(), &to, "--batches", "8"]);
        // The allocator keeps what was freed for a while.
        command.env("MIMALLOC_PURGE_DELAY", "0");
        let mut child = command.stdout(Stdio::null()).spawn().unwrap();
        let (taken, status) = (Arc::new(Mutex::new(Vec::new())), format!("/proc/{}/status", child.id()));
        let seen = Arc::clone(&taken);
        world.emulator.on_request(move |request| {
            if request.operation == Some(Operation::AckMessages) {
                let status = fs::read_to_string(&status).unwrap_or_default();
                let now = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
                seen.lock().unwrap().extend(now.map(|now| now.parse::<u64>().unwrap()));
            }
        });
        assert_eq!(child.wait().unwrap().code(), Some(0));
        assert_eq!(world.texts(&to).len(), messages);
        let mut taken = taken.lock().unwrap();
        // A peak says how large responses happened to be side by side, the more often one looks. What is kept shows in
        // the second half of the run.
        let half = taken.len() / 2;
        let mut taken = taken.split_off(half);
        taken.sort_unstable();
        taken[taken.len() / 2]
    };
    let (few, many) = (taken(2_000), taken(20_000));
    // The bodies of three quarters of 18,000 messages more take 13 MB.
    assert!(many < few + 8_000, "{few} kB for 2,000, {many} kB for 20,000");
}

/// The exit code, the summary, and standard error.
fn redrive(world: &World, arguments: &[&str]) -> (Option<i32>, Value, String) {
    let output = world.command(&[&["redrive"], arguments].concat()).output().unwrap();
    let summary = objects(str::from_utf8(&output.stdout).unwrap()).pop().unwrap_or_default();
    (output.status.code(), summary, String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_second_filter_finds_what_the_first_one_left() {
    let world = World::new();
    let to = world.other();
    world.push_numbers(500);
    for filter in ["body<250", "body>=250"] {
        let (code, summary, told) = redrive(&world, &[world.id(), &to, "--filter", filter]);
        assert_eq!((code, &summary["moved"]), (Some(0), &250.into()), "{told}");
        assert!(told.contains("uses one of its 4 deliveries"), "{told}");
    }
}

#[test]
fn unconfirmed_messages_are_those_that_may_be_there_twice() {
    for (max_retries, filter, code, moved, unconfirmed, expected) in [
        (3, &["--filter", "body=x"][..], 5, 0, 0, "messages that stay, but may be hidden for a while: 5\n"),
        (3, &[], 4, 5, 5, "the token"),
        // At their last delivery, they are pushed as new ones.
        (0, &["--filter", "body=x"], 4, 0, 5, "pushed as new ones"),
    ] {
        let world = World::retrying(max_retries);
        world.push_numbers(5);
        world.emulator.inject(Fault::Forbidden.on(Operation::AckMessages).until_removed());
        let (ended, summary, told) = redrive(&world, &[&[world.id(), &world.other()], filter].concat());
        let counts = (ended, &summary["moved"], &summary["unconfirmed"]);
        assert_eq!(counts, (Some(code), &moved.into(), &unconfirmed.into()), "{told}");
        assert!(told.contains(expected), "{told}");
        assert_eq!(told.contains("5 messages that stay may be hidden until about"), code == 5, "{told}");
    }
}

#[test]
fn hidden_messages_are_no_success() {
    let world = World::new();
    let to = world.other();
    world.push_numbers(50);
    let pull = PullOptions::new().batch_size(20).visibility_timeout(Duration::from_secs(3600));
    assert_eq!(world.runtime.block_on(world.queue().pull(pull)).unwrap().len(), 20);
    let (code, summary, told) = redrive(&world, &[world.id(), &to]);
    assert_eq!((code, &summary["moved"], &summary["unavailable"]), (Some(5), &30.into(), &20.into()), "{told}");
    assert!(told.contains("20 messages are in the queue and were not available: leased, delayed or hidden"), "{told}");
    assert!(told.contains(" UTC"), "{told}");
    let file = folder("hidden").join("backup");
    let export = world.command(&["export", world.id(), "--to", file.to_str().unwrap()]).assert().code(5);
    assert!(String::from_utf8_lossy(&export.get_output().stderr).contains("20 messages are in the queue"));
}

#[test]
fn each_filter_has_its_queue() {
    let world = World::new();
    let (low, high) = (world.other(), world.other());
    world.push_numbers(30);
    let (low_filter, high_filter) = (["--filter", "body<5", "--to", &low], ["--filter", "body>=20", "--to", &high]);
    let (code, summary, told) = redrive(&world, &[&[world.id()], &low_filter[..], &high_filter].concat());
    assert_eq!((code, &summary["moved"], &summary["skipped"]), (Some(0), &15.into(), &15.into()), "{told}");
    assert_eq!((world.texts(&low).len(), world.texts(&high).len(), world.messages().len()), (5, 10, 15));
    let (code, _, told) = redrive(&world, &[world.id(), "--to", &low, "--filter", "body=1"]);
    assert!(code == Some(2) && told.contains("after the last --to"), "{told}");
}

#[test]
fn dead_letters_are_redriven_to_the_queue_naming_theirs() {
    let world = World::of(Emulator::builder().real_time());
    let queues = world.queue().queues();
    let dead = world.runtime.block_on(queues.create("failed")).unwrap();
    let name = |queue: &str| {
        let queue = world.runtime.block_on(queues.create(queue)).unwrap();
        let settings = ConsumerSettings::pull().dead_letter_queue("failed");
        let _ = world.runtime.block_on(queue.create_consumer(&settings)).unwrap();
        queue
    };
    let _ = world.runtime.block_on(dead.create_consumer(&ConsumerSettings::pull())).unwrap();
    let (code, _, told) = redrive(&world, &["failed"]);
    assert!(code == Some(2) && told.contains("no queue names failed as its dead-letter queue"), "{told}");
    let jobs = name("jobs");
    world.runtime.block_on(dead.push(&PushMessage::text("back"))).unwrap();
    let (code, summary, told) = redrive(&world, &["failed"]);
    assert_eq!((code, &summary["to"], &summary["moved"]), (Some(0), &"jobs".into(), &1.into()), "{told}");
    assert_eq!(world.texts(jobs.id().as_str()), ["back"]);
    name("letters");
    let (code, _, told) = redrive(&world, &["failed"]);
    assert!(code == Some(2) && told.contains("failed is the dead-letter queue of jobs, letters"), "{told}");
}

fn workers_queue(max_retries: u32) -> World {
    let settings = EmulatedQueue::new().max_retries(max_retries);
    World::of(Emulator::builder().real_time().control().queue(settings))
}

#[test]
fn a_pass_that_would_lose_a_message_does_not_begin() {
    let world = workers_queue(2);
    let to = world.other();
    for content_type in ["v8", "bytes"] {
        world.send(content_type, "binary");
    }
    world.push_numbers(20);
    let filtered = [world.id(), to.as_str(), "--filter", "body=7"];
    for moved in [1, 0] {
        let (code, summary, told) = redrive(&world, &filtered);
        assert_eq!((code, &summary["moved"]), (Some(0), &moved.into()), "{told}");
    }
    let (code, _, told) = redrive(&world, &filtered);
    assert!(code == Some(4) && told.contains("nothing was done") && told.contains("of the type v8"), "{told}");
    assert!(told.contains("--raise-retries") && told.contains("is deleted"), "{told}");
    for _ in 0..3 {
        let (code, _, told) = redrive(&world, &[&filtered[..], &["--raise-retries"]].concat());
        assert_eq!(code, Some(0), "{told}");
    }
    assert_eq!(world.messages().len(), 21);
    assert_eq!(world.objects(&["info", world.id()])[0]["consumers"][0]["max_retries"], 2);
}

#[test]
fn last_deliveries_stop_a_pass_before_the_pull() {
    let world = workers_queue(0);
    let to = world.other();
    // Behind what a look reaches.
    world.push_numbers(150);
    world.send("v8", "binary");
    for arguments in [
        &["redrive", world.id(), &to, "--filter", "body=7"][..],
        &["redrive", world.id(), &to, "--keep"],
        &["export", world.id()],
        &["count", world.id(), "--all"],
        &["delete", world.id(), "--all", "--filter", "body=8"],
    ] {
        let output = world.command(arguments).output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(4), "{arguments:?} {told}");
        assert!(told.contains("has one delivery left") && !told.contains("raised from"), "{arguments:?} {told}");
        let messages = world.messages();
        let binary = messages.iter().find(|message| message.body.content_type().as_str() == "v8").unwrap();
        assert_eq!((binary.attempts, binary.is_leased), (0, false), "{arguments:?}");
        assert_eq!(world.objects(&["info", world.id()])[0]["consumers"][0]["max_retries"], 0);
        assert!(messages.len() >= 149, "{arguments:?}");
    }
}

#[test]
fn a_full_disk_costs_no_message_at_its_last_delivery() {
    let world = workers_queue(0);
    (0..3).for_each(|_| world.send("bytes", "binary"));
    let options = ["export", world.id(), "--remove", "--all-types", "--to", "/dev/full"];
    let output = world.command(&options).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && told.contains("3 messages are at their last delivery"), "{told}");
    assert!(told.contains("leased until about"), "{told}");
    world.emulator.advance(Duration::from_secs(10 * 60 * 60));
    assert_eq!(world.messages().len(), 3);
    assert_eq!(world.objects(&["info", world.id()])[0]["consumers"][0]["max_retries"], 0);
}

#[test]
fn retries_that_may_stay_raised_are_told() {
    let world = World::retrying(0);
    world.push_numbers(5);
    let silent = Fault::Delay(Duration::from_secs(1000)).on(Operation::UpdateConsumer);
    world.emulator.inject(silent.clone());
    world.emulator.inject(silent.until_removed());
    let mut command = world.program(&["redrive", world.id(), &world.other(), "--filter", "body=x", "--raise-retries"]);
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    eventually("it raises them", || world.emulator.faults().len() == 1);
    two_signals(&child);
    let output = child.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{told}");
    assert!(told.contains("max_retries of the queue is being raised from 0 to 1; if this is killed"), "{told}");
    assert!(told.contains("max_retries of the queue may still be raised"), "{told}");
}

#[test]
fn a_missing_pull_consumer_is_reported_first() {
    let world = World::of(Emulator::builder().real_time().queue(EmulatedQueue::new().http_pull(false)));
    let to = world.other();
    world.push_numbers(3);
    for arguments in [
        &["redrive", world.id(), &to][..],
        &["export", world.id()],
        &["count", world.id(), "--all"],
        &["delete", world.id(), "--all", "--filter", "body=1"],
        &["consume", world.id(), "--until-empty", "--", "true"],
    ] {
        let output = world.command(arguments).output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(4), "{arguments:?} {told}");
        assert!(told.starts_with("cf-queues: nothing was done: the queue has no pull consumer"), "{told}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
}

#[test]
fn a_storm_of_refusals_is_one_line_that_counts() {
    let world = World::new();
    let to = world.other();
    world.push_numbers(10);
    let limited = Fault::RateLimited { code: 971, retry_after: Some(Duration::ZERO) };
    world.emulator.inject(limited.on(Operation::PullMessages).times(12));
    let started = Instant::now();
    let (code, summary, told) = redrive(&world, &[world.id(), &to]);
    assert_eq!((code, &summary["moved"]), (Some(0), &10.into()), "{told}");
    let lines: Vec<_> = told.lines().filter(|line| line.contains("a pull failed, and is retried")).collect();
    // The first one, one every ten seconds, and one at the end.
    let most = 2 + started.elapsed().as_secs() / 10;
    assert!(lines.len() as u64 <= most && lines[1].contains(" times more, the last one: "), "{told}");
}

#[test]
fn an_export_that_removes_leaves_what_import_cannot_push_back() {
    let world = workers_queue(3);
    world.send("bytes", "binary");
    world.emulator.seed(world.emulator.queue_id(), [Seed::json("a string").unwrap()]).unwrap();
    world.push_numbers(2);
    let export = world.command(&["export", world.id(), "--remove"]).assert().code(5).get_output().clone();
    assert_eq!(objects(str::from_utf8(&export.stdout).unwrap()).len(), 2);
    let told = String::from_utf8_lossy(&export.stderr);
    assert!(told.contains("but is `bytes`") && told.contains("no bare string as `json`"), "{told}");
    assert_eq!(world.messages().len(), 2);
    let export = world.command(&["export", world.id(), "--remove", "--all-types"]).assert().success();
    let lines = objects(str::from_utf8(&export.get_output().stdout).unwrap());
    assert_eq!((&lines[0]["body_base64"], &lines[1]["body"]), (&"YmluYXJ5".into(), &"a string".into()));
    let told = String::from_utf8_lossy(&export.get_output().stderr);
    assert!(told.contains("import cannot push 2 of these back") && world.messages().is_empty(), "{told}");
}
