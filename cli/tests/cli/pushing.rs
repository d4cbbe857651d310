//! `push` and `import`.

use std::{
    collections::BTreeSet,
    fs,
    io::{Read, Write},
    process::Stdio,
    time::{Duration, Instant},
};

use cloudflare_queues::{
    PushMessage,
    emulator::{Fault, Operation},
};

use rustix::process::Signal;

use crate::world::{World, eventually, folder, objects, signal};

#[test]
fn an_argument_a_file_and_json_are_messages() {
    let world = World::new();
    let file = folder("push").join("letter.txt");
    fs::write(&file, "two\nlines\n").unwrap();
    world.run(&["push", world.id(), "hello"]);
    world.run(&["push", world.id(), "--json", r#"{"a":1.0}"#]);
    world.run(&["push", world.id(), "--file", file.to_str().unwrap()]);
    assert_eq!(world.texts(world.id()), ["hello", r#"{"a":1.0}"#, "two\nlines\n"]);
    let types: Vec<_> = world.messages().iter().map(|message| message.body.content_type().to_string()).collect();
    assert_eq!(types, ["text", "json", "text"]);
}

#[test]
fn each_line_is_a_message_in_order() {
    let world = World::new();
    let lines: String = (0..1000).map(|number| format!("{number}\n")).collect();
    let output = world.command(&["push", world.id()]).write_stdin(lines).assert().success();
    let summary = objects(str::from_utf8(&output.get_output().stdout).unwrap());
    assert_eq!((&summary[0]["pushed"], &summary[0]["through_line"]), (&1000.into(), &1000.into()));
    let mut numbers: Vec<usize> = world.texts(world.id()).iter().map(|text| text.parse().unwrap()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..1000).collect::<Vec<_>>());
}

#[test]
fn a_line_is_pushed_although_no_other_follows() {
    let world = World::new();
    let mut child = world.program(&["push", world.id()]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(b"one\n").unwrap();
    eventually("it is pushed", || world.texts(world.id()) == ["one"]);
    drop(input);
    assert!(child.wait().unwrap().success());
}

#[test]
fn an_interrupted_push_reports_where_to_continue() {
    let world = World::new();
    let mut command = world.program(&["push", world.id()]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.as_mut().unwrap().write_all(b"one\ntwo\n").unwrap();
    eventually("they are pushed", || world.texts(world.id()) == ["one", "two"]);
    signal(&child, Signal::TERM);
    // Its input stays open meanwhile.
    let mut told = String::new();
    child.stderr.take().unwrap().read_to_string(&mut told).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(5), "{told}");
    assert!(told.contains("go on with --skip 2"), "{told}");
}

#[test]
fn invalid_lines_are_named_and_the_others_are_pushed() {
    let world = World::new();
    let lines = b"{\"a\":1}\nnot json s3cret\n\n\"bare\"\n[2]\n";
    let output = world.command(&["push", world.id(), "--json"]).write_stdin(lines.as_slice()).assert().code(5);
    let told = String::from_utf8(output.get_output().stderr.clone()).unwrap();
    assert!(told.contains("line 2 is not valid JSON") && told.contains("line 4 "), "{told}");
    assert!(!told.contains("s3cret"), "{told}");
    assert_eq!(world.texts(world.id()), [r#"{"a":1}"#, "[2]"]);
}

#[test]
fn a_message_that_is_too_large_costs_no_other() {
    let world = World::new();
    let lines = format!("one\n{}\n{}\ntwo\n", "x".repeat(PushMessage::MAX_SIZE + 1), "y".repeat(3 << 20));
    world.command(&["push", world.id()]).write_stdin(lines).assert().code(5);
    assert_eq!(world.texts(world.id()), ["one", "two"]);
}

#[test]
fn a_file_that_is_too_large_is_not_read_to_its_end() {
    let world = World::new();
    let mut command = world.program(&["push", world.id(), "--file", "/dev/stdin"]);
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    // The input stays open.
    let _ = input.write_all(&vec![b'x'; 1 << 20]);
    let output = child.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && told.contains("is longer than any message"), "{told}");
    drop(input);
}

#[test]
fn a_push_that_stops_says_where_to_go_on() {
    let world = World::new();
    let lines: String = (0..250).map(|number| format!("{number}\n")).collect();
    // One of three batches is refused, for good.
    world.emulator.inject(Fault::RateLimited { code: 10252, retry_after: None }.on(Operation::PushMessages));
    let output = world.command(&["push", world.id()]).write_stdin(lines.clone()).assert().code(4);
    let told = String::from_utf8(output.get_output().stderr.clone()).unwrap();
    let skip = told.split("go on with --skip ").nth(1).unwrap().trim().to_owned();
    assert!(["0", "100", "200"].contains(&skip.as_str()), "{told}");
    world.command(&["push", world.id(), "--skip", &skip]).write_stdin(lines).assert().success();
    let numbers: BTreeSet<usize> = world.texts(world.id()).iter().map(|text| text.parse().unwrap()).collect();
    assert_eq!(numbers.len(), 250);
}

#[test]
fn a_push_and_an_import_keep_their_rate() {
    let world = World::new();
    let lines: String =
        (0..30).map(|number| format!("{{\"content_type\":\"text\",\"body\":\"{number}\"}}\n")).collect();
    for command in ["push", "import"] {
        let queue = world.other();
        let started = Instant::now();
        world.command(&[command, &queue, "--rate", "10"]).write_stdin(lines.clone()).assert().success();
        assert_eq!(world.messages_of(&queue).len(), 30);
        // Three batches, a second apart.
        assert!(started.elapsed() >= Duration::from_secs(2), "{command}: {:?}", started.elapsed());
    }
}

#[test]
fn a_push_at_a_rate_stops_when_it_is_told_to() {
    let world = World::new();
    let mut command = world.program(&["push", world.id(), "--rate", "10"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    child.stdin.as_mut().unwrap().write_all("line\n".repeat(1000).as_bytes()).unwrap();
    eventually("it pushes", || !world.messages().is_empty());
    let before = world.messages().len();
    signal(&child, Signal::TERM);
    assert_eq!(child.wait().unwrap().code(), Some(5));
    let after = world.messages().len();
    assert!(after <= before + 50, "{before} {after}");
}
