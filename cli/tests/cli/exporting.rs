//! `export`, and `import` of what it wrote.

use std::{
    collections::BTreeSet,
    fs,
    io::Read,
    process::Stdio,
    time::{Duration, Instant},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use cloudflare_queues::{
    PullOptions, PushMessage,
    emulator::{Behavior, Emulator, JsonBodies},
};
use rustix::process::Signal;
use serde_json::{Value, json, value::RawValue};

use crate::world::{World, bare, eventually, exit_code, folder, objects, scripted, signal, two_signals};

fn bodies() -> Vec<PushMessage> {
    let raw = |text: &str| PushMessage::json(&RawValue::from_string(text.to_owned()).unwrap()).unwrap();
    vec![
        PushMessage::text(""),
        PushMessage::text("plain \"quotes\" \u{1f600} \u{0} \u{1b}[0m \r\n line"),
        PushMessage::text("eyJhIjoxfQ=="),
        raw(r#"{"b":  1.0, "a": 1e400, "a": "\u00e9\ud83d\ude00"}"#),
        raw("{\n  \"pretty\": [1,\r\n 2]\n}"),
        raw("12345678901234567890123.50"),
        raw("null"),
    ]
}

#[test]
fn an_export_is_imported_byte_for_byte() {
    for form in [JsonBodies::Text, JsonBodies::Base64] {
        let world = World::of(Emulator::builder().real_time().behavior(Behavior::new().json_bodies(form)));
        let (there, file) = (world.other(), folder("round-trip").join("all.ndjson"));
        world.push(&bodies());
        let bodies_of = |queue: &str| -> BTreeSet<(String, String)> {
            let messages = world.messages_of(queue);
            let bodies = messages.iter().map(|message| &message.body);
            bodies.map(|body| (body.content_type().to_string(), body.text().unwrap().into_owned())).collect()
        };
        let pushed = bodies_of(world.id());
        world.run(&["export", world.id(), "--to", file.to_str().unwrap(), "--remove"]);
        assert!(world.messages().is_empty());
        world.run(&["import", &there, file.to_str().unwrap()]);
        assert_eq!(bodies_of(&there), pushed);
        assert_eq!(pushed.len(), bodies().len());
    }
}

#[test]
fn bodies_of_other_types_are_exported_whole_and_not_imported() {
    let bytes: Vec<u8> = (0..=255).collect();
    let message = |id: &str, content_type: &str, body: Value| {
        json!({
            "id": id, "lease_id": format!("lease-{id}"), "attempts": 1, "timestamp_ms": 0, "body": body,
            "metadata": { "CF-Content-Type": content_type },
        })
    };
    let messages = [
        message("a", "bytes", BASE64_STANDARD.encode(&bytes).into()),
        message("b", "v8", "/w9vIgFh".into()),
        message("c", "new", json!({ "x": [1] })),
        message("d", "bytes", "no base64!".into()),
        message("e", "json", "no JSON!".into()),
    ];
    let url = scripted(vec![json!({ "messages": messages })]);
    let world = World::new();
    let mut command = bare(&["export", "b01b5594f784d0165c2985833f5660dd"]);
    command.env("CLOUDFLARE_BASE_URL", url).env("CLOUDFLARE_API_TOKEN", "t").env("CLOUDFLARE_ACCOUNT_ID", "a");
    let ended = command.assert().success().get_output().clone();
    let told = String::from_utf8_lossy(&ended.stderr);
    assert!(told.contains("import cannot push 5 of these back"), "{told}");
    let output = ended.stdout;
    let lines = objects(str::from_utf8(&output).unwrap());
    assert_eq!(BASE64_STANDARD.decode(lines[0]["body_base64"].as_str().unwrap()).unwrap(), bytes);
    assert_eq!(lines[1]["body_raw"], "/w9vIgFh");
    assert_eq!(lines[2]["body_raw"], json!({ "x": [1] }));
    assert_eq!(lines[3]["body_raw"], "no base64!");
    assert!(!String::from_utf8_lossy(&output).contains("lease-"));
    let refused = world.command(&["import", world.id()]).write_stdin(output).assert().code(5);
    assert_eq!(objects(str::from_utf8(&refused.get_output().stdout).unwrap())[0]["refused"], 5);
    assert!(world.messages().is_empty());
}

#[test]
fn an_export_leaves_every_message_unless_told_otherwise() {
    let world = World::retrying(0);
    world.push_numbers(250);
    for _ in 0..2 {
        let output = world.command(&["export", world.id()]).assert().success().get_output().clone();
        assert_eq!(str::from_utf8(&output.stdout).unwrap().lines().count(), 250);
        assert!(String::from_utf8_lossy(&output.stderr).contains("delivers each message once"));
        world.emulator.advance(std::time::Duration::from_secs(3600));
    }
    assert_eq!(world.messages().len(), 250);
}

#[test]
fn an_export_that_is_not_complete_says_that_another_one_appends() {
    for (options, expected) in [(&[][..], true), (&["--remove"], false)] {
        let world = World::new();
        world.push_numbers(3);
        let pull = PullOptions::new().batch_size(1).visibility_timeout(Duration::from_secs(3600));
        assert_eq!(world.runtime.block_on(world.queue().pull(pull)).unwrap().len(), 1);
        let file = folder("appends").join("out.ndjson");
        let mut command = world.command(&["export", world.id(), "--to", file.to_str().unwrap()]);
        let output = command.args(options).assert().code(5).get_output().clone();
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(told.contains("another export appends to the file"), expected, "{options:?}: {told}");
    }
}

#[test]
fn an_export_to_a_file_with_lines_says_how_many_there_were() {
    let world = World::new();
    world.push_numbers(2);
    let file = folder("lines").join("out.ndjson");
    let export = || {
        let mut command = world.command(&["export", world.id(), "--to", file.to_str().unwrap()]);
        String::from_utf8(command.assert().success().get_output().stderr.clone()).unwrap()
    };
    assert!(!export().contains("already"));
    assert!(export().contains("out.ndjson has 2 lines already, and is appended to"));
    // Half a line, as an export leaves that was killed.
    fs::write(&file, "{").unwrap();
    assert!(export().contains("out.ndjson has 1 line already, and is appended to"));
    assert_eq!(fs::read_to_string(&file).unwrap().lines().count(), 3);
}

#[test]
fn an_export_keeps_its_rate() {
    let world = World::new();
    world.push_numbers(30);
    let started = Instant::now();
    assert_eq!(world.objects(&["export", world.id(), "--rate", "10"]).len(), 30);
    // Three batches, a second apart.
    assert!(started.elapsed() >= Duration::from_secs(2), "{:?}", started.elapsed());
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_loses_nothing() {
    let world = World::new();
    world.push_numbers(250);
    let mut command = world.program(&["export", world.id(), "--remove"]);
    let child = command.stdout(fs::File::create("/dev/full").unwrap()).stderr(Stdio::piped()).spawn().unwrap();
    let output = child.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && told.contains("No space left"), "{told}");
    assert_eq!(world.messages().len(), 250);
    // At once, without waiting for a lease.
    assert_eq!(world.objects(&["export", world.id(), "--remove"]).len(), 250);
    assert!(world.messages().is_empty());
}

#[test]
fn a_full_disk_within_a_line_loses_nothing() {
    for to in [true, false] {
        let world = World::new();
        world.push_numbers(250);
        let file = folder("fills").join("out.ndjson");
        let (program, path) = (env!("CARGO_BIN_EXE_cf-queues"), file.to_str().unwrap());
        let export = format!("exec {program} export {} --remove", world.id());
        let export = if to { format!("{export} --to {path}") } else { format!("{export} >> {path}") };
        let run = |before: &str| {
            let mut command = std::process::Command::new("sh");
            command.args(["-c", &format!("{before}{export}")]).envs(world.variables()).stderr(Stdio::null());
            command.status().unwrap().code()
        };
        // A file of at most so many blocks of 512 bytes, and the error instead of the signal.
        assert_eq!(run("trap '' XFSZ; ulimit -f 11; "), Some(1));
        let half = fs::read_to_string(&file).unwrap();
        assert!(!half.ends_with('\n'), "{half}");
        let left = world.messages().len();
        assert_eq!(run(""), Some(0));
        assert!(world.messages().is_empty());
        let all = fs::read_to_string(&file).unwrap();
        let lines = objects(all.strip_prefix(&half).unwrap().strip_prefix('\n').unwrap());
        let bodies: BTreeSet<_> = lines.iter().map(|line| line["body"].as_str().unwrap()).collect();
        assert_eq!(bodies.len(), left, "{to}");
    }
}

#[test]
fn an_export_that_is_told_to_stop_ends_what_it_began() {
    let world = World::new();
    world.push_numbers(20_000);
    let file = folder("stopped").join("out.ndjson");
    let mut command = world.program(&["export", world.id(), "--remove", "--to", file.to_str().unwrap()]);
    let mut child = command.stderr(Stdio::null()).spawn().unwrap();
    let lines = || fs::read_to_string(&file).unwrap_or_default().lines().count();
    eventually("it writes", || lines() > 0);
    signal(&child, Signal::TERM);
    assert_eq!(exit_code(&mut child), Some(5));
    assert_eq!(lines() + world.messages().len(), 20_000);
    assert!(world.messages().iter().all(|message| !message.is_leased));
}

#[test]
fn an_export_that_nobody_reads_ends_at_the_second_signal() {
    let world = World::new();
    // The lines of each batch are more than a pipe holds.
    world.push(&vec![PushMessage::text("x".repeat(5000)); 250]);
    let mut command = world.program(&["export", world.id(), "--remove"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut output = child.stdout.take().unwrap();
    output.read_exact(&mut [0]).unwrap();
    two_signals(&child);
    assert_eq!(exit_code(&mut child), Some(130));
    assert_eq!(world.messages().len(), 250);
}

#[test]
fn a_broken_pipe_loses_nothing() {
    let world = World::new();
    world.push_numbers(250);
    let mut command = world.program(&["export", world.id(), "--remove"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert_eq!(world.messages().len(), 250);
}

#[test]
fn nothing_is_removed_if_standard_output_is_closed() {
    let world = World::new();
    world.push_numbers(250);
    for end in [">&-", "> /dev/null"] {
        let script = format!("{} export {} --remove {end}", env!("CARGO_BIN_EXE_cf-queues"), world.id());
        let output = std::process::Command::new("sh").args(["-c", &script]).envs(world.variables()).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{end}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("closed or /dev/null"), "{end}");
    }
    assert!(world.messages().len() == 250 && world.messages().iter().all(|message| message.attempts == 0));
}

#[test]
fn half_a_line_of_an_export_that_was_killed_is_ended() {
    let world = World::new();
    world.push(&[PushMessage::text("whole")]);
    let file = folder("half").join("out.ndjson");
    fs::write(&file, "{\"content_type\":\"te").unwrap();
    world.run(&["export", world.id(), "--to", file.to_str().unwrap(), "--remove"]);
    let file = fs::read_to_string(&file).unwrap();
    assert!(file.starts_with("{\"content_type\":\"te\n{"), "{file}");
    let import = world.command(&["import", world.id()]).write_stdin(file).assert().code(5);
    assert!(String::from_utf8_lossy(&import.get_output().stderr).contains("line 1 is not a record"));
    assert_eq!(world.texts(world.id()), ["whole"]);
}

#[test]
fn an_export_that_is_killed_and_run_again_loses_nothing() {
    let world = World::retrying(100);
    world.push_numbers(5000);
    let file = folder("killed").join("out.ndjson");
    let arguments = ["export", world.id(), "--to", file.to_str().unwrap(), "--remove"];
    let written = || fs::metadata(&file).map_or(0, |file| file.len());
    for _ in 0..3 {
        let before = written();
        let mut child = world.program(&arguments).stderr(Stdio::null()).spawn().unwrap();
        eventually("it writes", || written() > before || world.messages().is_empty());
        signal(&child, Signal::KILL);
        child.wait().unwrap();
        world.emulator.advance(std::time::Duration::from_secs(61));
    }
    world.run(&arguments);
    let lines = fs::read_to_string(&file).unwrap();
    let whole = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let bodies: BTreeSet<String> = whole.map(|line| line["body"].as_str().unwrap().to_owned()).collect();
    assert_eq!((bodies.len(), world.messages().len()), (5000, 0));
}
