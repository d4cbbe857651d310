//! `redrive` as a program; its loop has tests of its own, in virtual time.

use std::{collections::BTreeSet, fs, process::Stdio, thread, time::Duration};

use cloudflare_queues::PushMessage;
use rustix::process::Signal;
use serde_json::value::RawValue;

use crate::world::{World, eventually, objects, signal};

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
fn a_dry_run_tells_and_changes_nothing() {
    let world = World::new();
    let to = world.other();
    world.push_numbers(12);
    let before = world.messages();
    let forecast = &world.objects(&["redrive", world.id(), &to, "--dry-run", "--filter", "body>=10"])[0];
    assert_eq!((&forecast["backlog"], &forecast["would_be_moved"]), (&12.into(), &2.into()));
    assert_eq!((world.messages(), world.texts(&to).len()), (before, 0));
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
    let most = |messages: usize| {
        let world = World::new();
        world.push(&vec![PushMessage::text("x".repeat(4000)); messages]);
        let to = world.other();
        // As many batches as there may be are in flight with either backlog.
        let mut child =
            world.program(&["redrive", world.id(), &to, "--batches", "8"]).stdout(Stdio::null()).spawn().unwrap();
        let (mut most, status) = (0, format!("/proc/{}/status", child.id()));
        while child.try_wait().unwrap().is_none() {
            let status = fs::read_to_string(&status).unwrap_or_default();
            let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
            most = peak.map_or(most, |peak| peak.parse::<u64>().unwrap());
            thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(world.texts(&to).len(), messages);
        most
    };
    // Those that there are more would take 64 MB.
    let (small, large) = (most(4_000), most(20_000));
    assert!(large < small + 8_000, "{small} kB for 4,000, {large} kB for 20,000");
}
