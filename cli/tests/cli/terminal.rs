//! What differs on a terminal.

use std::{
    fs::File,
    io::{Read, Write},
    process::{Command, Stdio},
};

use rustix::termios::{Winsize, tcsetwinsize};
use rustix::{
    fs::{Mode, OFlags},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
};

use cloudflare_queues::{
    PushMessage,
    emulator::{EmulatedQueue, Emulator},
    manage::ConsumerSettings,
};

use crate::world::World;

/// Runs a program with all three streams on a terminal, and returns what it showed.
fn on_terminal(command: Command, typed: &str) -> (Option<i32>, String) {
    on_terminal_of(0, command, typed)
}

/// The same, on a terminal of so many columns.
fn on_terminal_of(columns: u16, mut command: Command, typed: &str) -> (Option<i32>, String) {
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let name = ptsname(&terminal, Vec::new()).unwrap();
    let end = rustix::fs::open(name.as_c_str(), OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
    let size = Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&end, size).unwrap();
    let stream = || Stdio::from(end.try_clone().unwrap());
    let mut child = command.env("TERM", "xterm").stdin(stream()).stdout(stream()).stderr(stream()).spawn().unwrap();
    drop((command, end));
    let mut terminal = File::from(terminal);
    terminal.write_all(typed.as_bytes()).unwrap();
    let mut shown = Vec::new();
    // It is an error once nobody has the other end.
    let _ = terminal.read_to_end(&mut shown);
    (child.wait().unwrap().code(), String::from_utf8_lossy(&shown).into_owned())
}

#[test]
fn a_terminal_gets_a_table_in_colors_unless_told_otherwise() {
    let world = World::new();
    let mut command = world.program(&["ls"]);
    command.env_remove("NO_COLOR");
    let (code, shown) = on_terminal(command, "");
    assert_eq!(code, Some(0));
    assert!(shown.contains("\u{1b}[1mNAME") && shown.contains(world.id()), "{shown:?}");
    let mut command = world.program(&["ls"]);
    command.env("NO_COLOR", "1");
    let (_, shown) = on_terminal(command, "");
    assert!(shown.contains("NAME") && !shown.contains('\u{1b}'), "{shown:?}");
    let (_, shown) = on_terminal(world.program(&["ls", "--output", "ndjson"]), "");
    assert!(shown.starts_with('{') && !shown.contains('\u{1b}'), "{shown:?}");
}

#[test]
fn progress_is_shown_on_a_terminal_alone() {
    let world = World::new();
    let to = world.other();
    world.push_numbers(300);
    let (code, shown) = on_terminal(world.program(&["redrive", world.id(), &to, "--rate", "150"]), "");
    assert_eq!(code, Some(0), "{shown}");
    // A rate and a time left, both of which are known after a moment.
    let is_shown = |part: &str| {
        let parts = part.split_once("/300 messages, ").and_then(|(_, rest)| rest.split_once("/s, "));
        let number = |text: &str| text.trim_matches(|c: char| !c.is_ascii_digit()).parse::<f64>().unwrap_or_default();
        parts.is_some_and(|(rate, left)| (50.0..=300.0).contains(&number(rate)) && left.starts_with("1s left"))
    };
    assert!(shown.split('\r').any(is_shown), "{shown:?}");
    let output = world.command(&["redrive", &to, world.id()]).assert().success();
    assert!(output.get_output().stderr.is_empty());
}

#[test]
fn a_table_that_does_not_fit_is_a_list() {
    let world = World::new();
    let (_, wide) = on_terminal_of(200, world.program(&["ls"]), "");
    assert!(wide.lines().count() == 2, "{wide:?}");
    let (_, narrow) = on_terminal_of(60, world.program(&["ls"]), "");
    assert!(narrow.lines().count() > 4 && narrow.lines().all(|line| line.chars().count() <= 68), "{narrow:?}");
}

#[test]
fn progress_is_plain_text_in_the_c_locale() {
    let world = World::new();
    let to = world.other();
    world.push_numbers(100);
    let mut command = world.program(&["redrive", world.id(), &to, "--rate", "50"]);
    let (code, shown) = on_terminal_of(
        100,
        {
            command.env("LC_ALL", "C");
            command
        },
        "",
    );
    assert!(code == Some(0) && shown.contains("/100 messages") && shown.is_ascii(), "{shown:?}");
}

#[test]
fn purge_takes_the_name_from_a_terminal() {
    let world = World::new();
    world.push_numbers(3);
    let name = world.objects(&["ls"])[0]["name"].as_str().unwrap().to_owned();
    let (code, _) = on_terminal(world.program(&["purge", world.id()]), "another\n");
    assert_eq!((code, world.messages().len()), (Some(2), 3));
    let (code, shown) = on_terminal(world.program(&["purge", world.id()]), &format!("{name}\n"));
    assert_eq!((code, world.messages().len()), (Some(0), 0), "{shown}");
}

#[test]
fn answering_yes_enables_the_pull_consumer() {
    let world = World::of(Emulator::builder().real_time().queue(EmulatedQueue::new().http_pull(false)));
    for (typed, code) in [("n\n", Some(4)), ("\n", Some(4)), ("y\n", Some(0))] {
        let (ended, shown) = on_terminal(world.program(&["doctor", world.id()]), typed);
        assert_eq!(ended, code, "{typed:?}: {shown}");
        assert!(shown.contains("Enable a pull consumer of the queue? [y/N]"), "{shown}");
    }
    assert!(world.run(&["info", world.id()]).contains("http_pull"));
    let (ended, shown) = on_terminal(world.program(&["doctor", world.id()]), "");
    assert!(ended == Some(0) && !shown.contains("Enable"), "{shown}");
}

#[test]
fn a_redrive_asks_for_the_source_among_several_queues() {
    let world = World::of(Emulator::builder().real_time());
    let queues = world.queue().queues();
    let (failed, letters) = world.runtime.block_on(async {
        let failed = queues.create("failed").await.unwrap();
        let _ = failed.create_consumer(&ConsumerSettings::pull()).await.unwrap();
        for name in ["jobs", "letters"] {
            let settings = ConsumerSettings::pull().dead_letter_queue("failed");
            let _ = queues.create(name).await.unwrap().create_consumer(&settings).await.unwrap();
        }
        failed.push(&PushMessage::text("back")).await.unwrap();
        (failed, queues.named("letters").await.unwrap())
    });
    for typed in ["another\n", "\n"] {
        let (code, shown) = on_terminal(world.program(&["redrive", "failed"]), typed);
        assert_eq!(code, Some(2), "{shown}");
        assert!(shown.contains("failed is the dead-letter queue of jobs, letters. Which one?"), "{shown}");
        assert_eq!(world.texts(failed.id().as_str()), ["back"]);
    }
    let (code, shown) = on_terminal(world.program(&["redrive", "failed"]), "letters\n");
    assert_eq!((code, world.texts(letters.id().as_str())), (Some(0), vec!["back".to_owned()]), "{shown}");
}
