//! `ls`, `peek`, `info` and `tail`.

use std::{
    io::{BufRead, BufReader},
    process::Stdio,
    thread,
    time::Duration,
};

use cloudflare_queues::{
    PullOptions, PushMessage,
    emulator::{Fault, Operation},
};
use rustix::process::Signal;
use serde_json::Value;

use crate::world::{World, eventually, exit_code, full_pipe, objects, signal};

#[test]
fn a_queue_found_by_name_has_the_same_messages() {
    let world = World::new();
    let queues = world.objects(&["ls"]);
    assert_eq!(queues[0]["id"], world.id());
    let name = queues[0]["name"].as_str().unwrap();
    world.run(&["push", name, "hello"]);
    for queue in [name, world.id()] {
        assert_eq!(world.objects(&["peek", queue, "--bodies"])[0]["body"], "hello");
    }
}

#[test]
fn a_body_is_shown_only_if_asked_for() {
    let world = World::new();
    world.push(&[PushMessage::text("s3cret")]);
    for format in ["table", "ndjson"] {
        assert!(!world.run(&["peek", world.id(), "--output", format]).contains("s3cret"));
        assert!(world.run(&["peek", world.id(), "--output", format, "--bodies"]).contains("s3cret"));
    }
}

#[test]
fn a_body_cannot_steer_the_terminal() {
    let world = World::new();
    world.push(&[PushMessage::text("a\u{1b}[31mb\nc\u{9b}d")]);
    let table = world.run(&["peek", world.id(), "--output", "table", "--bodies"]);
    assert!(table.contains(r"a\u{1b}[31mb\nc\u{9b}d"), "{table}");
}

#[test]
fn info_tells_settings_consumers_and_backlog() {
    let world = World::new();
    world.push_numbers(3);
    let info = &world.objects(&["info", world.id()])[0];
    assert_eq!((&info["backlog_count"], &info["paused"]), (&Value::from(3), &Value::from(false)));
    assert_eq!(info["consumers"][0]["kind"], "http_pull");
    let table = world.run(&["info", world.id(), "--output", "table"]);
    assert!(table.contains("3 messages") && table.contains("http_pull"), "{table}");
}

#[test]
fn info_that_watches_tells_it_again() {
    let world = World::new();
    let mut child = world.program(&["info", world.id(), "--watch=100ms"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.next().unwrap().contains(r#""backlog_count":0"#));
    world.push_numbers(1);
    assert!(lines.any(|line| line.contains(r#""backlog_count":1"#)));
    signal(&child, Signal::INT);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn tail_shows_each_message_once_and_those_that_come() {
    let world = World::new();
    world.push_numbers(2);
    let mut command = world.program(&["tail", world.id(), "--bodies", "--interval", "50ms"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut body = || serde_json::from_str::<Value>(&lines.next().unwrap()).unwrap()["body"].clone();
    assert_eq!([body(), body()], ["0", "1"]);
    world.push(&[PushMessage::text("later")]);
    assert_eq!(body(), "later");
    signal(&child, Signal::TERM);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn tail_can_leave_out_what_is_there_already() {
    let world = World::new();
    world.push_numbers(2);
    let mut command = world.program(&["tail", world.id(), "--bodies", "--new", "--interval", "50ms"]);
    let requests = world.emulator.requests();
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    eventually("it has looked", || world.emulator.requests() > requests + 1);
    world.push(&[PushMessage::text("later")]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(objects(&lines.next().unwrap())[0]["body"], "later");
    signal(&child, Signal::TERM);
    assert_eq!(exit_code(&mut child), Some(0));
}

#[test]
fn tail_and_info_go_on_after_a_failure_that_passes() {
    for (arguments, operation) in [
        (&["tail", "--interval=50ms"][..], Operation::PeekMessages),
        (&["info", "--watch=100ms"], Operation::GetQueueMetrics),
    ] {
        let world = World::new();
        let mut command = world.program(arguments);
        let mut child = command.arg(world.id()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let requests = world.emulator.requests();
        eventually("it looks", || world.emulator.requests() > requests + 2);
        world.emulator.inject(Fault::ServerError(503).on(operation).until_removed());
        let mut told = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        assert!(told.next().unwrap().contains("503"));
        world.emulator.remove_faults();
        world.push_numbers(1);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        assert!(lines.any(|line| line.contains(r#""backlog_count":1"#) || line.contains(r#""attempts":0"#)));
        signal(&child, Signal::TERM);
        assert_eq!(exit_code(&mut child), Some(0));
    }
}

#[test]
fn tail_and_info_end_although_nobody_reads() {
    for arguments in [&["tail", "--interval=50ms"][..], &["info", "--watch=100ms"]] {
        let world = World::new();
        world.push_numbers(1);
        let (_reader, pipe) = full_pipe();
        let requests = world.emulator.requests();
        let mut child = world.program(arguments).arg(world.id()).stdout(pipe).spawn().unwrap();
        eventually("it looks", || world.emulator.requests() > requests);
        thread::sleep(Duration::from_millis(300));
        signal(&child, Signal::TERM);
        assert_eq!(exit_code(&mut child), Some(0), "{arguments:?}");
    }
}

#[test]
fn tail_ends_quietly_when_nobody_reads() {
    let world = World::new();
    world.push_numbers(1);
    let mut command = world.program(&["tail", world.id(), "--interval", "50ms"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    world.push_numbers(1);
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr), (Some(1), Vec::new()));
}

#[test]
fn a_look_changes_nothing() {
    let world = World::new();
    world.push_numbers(20);
    let pull = PullOptions::new().batch_size(3);
    let leased = world.runtime.block_on(world.queue().pull(pull)).unwrap();
    assert_eq!(leased.len(), 3);
    let before = world.messages();
    world.run(&["ls"]);
    world.run(&["peek", world.id(), "-n", "100"]);
    world.run(&["info", world.id()]);
    world.run(&["redrive", world.id(), &world.other(), "--dry-run"]);
    let mut tail = world.program(&["tail", world.id(), "--interval", "50ms"]).stdout(Stdio::null()).spawn().unwrap();
    let requests = world.emulator.requests();
    eventually("tail looks", || world.emulator.requests() > requests + 3);
    signal(&tail, Signal::INT);
    tail.wait().unwrap();
    assert_eq!(world.messages(), before);
}
