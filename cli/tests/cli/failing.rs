//! Exit codes, and what is printed and not printed.

use std::{io::Write, process::Stdio, time::Duration};

use cloudflare_queues::emulator::{Behavior, EmulatedQueue, Emulator, Fault, Operation};
use rustix::process::Signal;

use crate::world::{World, bare, eventually, exit_code, hangup, objects, signal};

#[test]
fn each_failure_has_its_code() {
    let world = World::new();
    let unknown = "ffffffffffffffffffffffffffffffff";
    bare(&["ls"]).assert().code(2);
    world.command(&["peek"]).assert().code(2);
    world.command(&["peek", world.id(), "-n", "101"]).assert().code(2);
    world.command(&["push", world.id(), "--json", "{"]).assert().code(2);
    world.command(&["peek", "no-such-queue"]).assert().code(3);
    world.command(&["peek", unknown]).assert().code(3);
    world.command(&["redrive", world.id(), unknown]).assert().code(3);
    world.command(&["ls"]).env("CLOUDFLARE_API_TOKEN", "wrong").assert().code(4);
    world.command(&["ls"]).env("CLOUDFLARE_BASE_URL", "http://127.0.0.1:9/client/v4").assert().code(6);
    world.emulator.configure_queue(world.emulator.queue_id(), |settings: EmulatedQueue| settings.delivery_paused(true));
    world.command(&["export", world.id()]).assert().code(4);
}

/// What fails first is what matters; its exit code is not that of an output that cannot be written.
#[cfg(target_os = "linux")]
#[test]
fn a_summary_that_cannot_be_written_hides_no_failure() {
    use std::fs::{self, File};

    use crate::world::folder;

    let world = World::new();
    let (to, full) = (world.other(), || File::create("/dev/full").unwrap());
    let code =
        |mut command: std::process::Command| command.stdout(full()).stderr(Stdio::null()).status().unwrap().code();
    world.push_numbers(1);
    let quota =
        || world.emulator.inject(Fault::RateLimited { code: 10252, retry_after: None }.on(Operation::PushMessages));
    quota();
    assert_eq!(code(world.program(&["redrive", world.id(), &to])), Some(4));
    let file = folder("summary").join("lines");
    fs::write(&file, "no record\n").unwrap();
    assert_eq!(code(world.program(&["import", world.id(), file.to_str().unwrap()])), Some(5));
    let mut push = world.program(&["push", world.id(), "--json"]);
    push.stdin(File::open(&file).unwrap());
    assert_eq!(code(push), Some(5));
    let options = ["--on-failure", "stop", "--output", "ndjson", "--", "false"];
    assert_eq!(code(world.program(&[&["consume", world.id()][..], &options].concat())), Some(5));
    assert_eq!(code(world.program(&["redrive", world.id(), &to])), Some(1));
}

#[test]
fn an_error_says_what_to_do_on_the_command_line() {
    let world = World::of(Emulator::builder().real_time().behavior(Behavior::new().purge_time(Duration::MAX)));
    let unknown = "ffffffffffffffffffffffffffffffff";
    let plain = [("CLOUDFLARE_BASE_URL", "http://api.example.com/client/v4")];
    for (arguments, variables, expected) in [
        (&["peek", "no-such-queue"][..], &[][..], "no queue named `no-such-queue`\n  `cf-queues ls` lists the queues"),
        (&["peek", unknown], &[], "`cf-queues ls` lists the queues"),
        (&["doctor", unknown], &[], "`cf-queues ls` lists the queues"),
        (&["ls"], &[("CLOUDFLARE_API_TOKEN", "")], "is set\n  set CLOUDFLARE_API_TOKEN to an API token"),
        (&["doctor"], &[("CLOUDFLARE_API_TOKEN", "")], "create an API token"),
        (&["ls", "--account", "a/b"], &[], "account_id: may hold only letters, digits, `_` and `-`\n"),
        (&["ls"], &plain, "loopback or --plain-http is given"),
        (&["push", world.id(), "--json", "\"x\""], &[], "the body is refused"),
        (&["push", world.id(), "--json", "{"], &[], "the body is not valid JSON"),
        (&["purge", world.id(), "--yes", "--wait", "0s"], &[], "`cf-queues info` shows what is left"),
    ] {
        let output = world.command(arguments).envs(variables.iter().copied()).output().unwrap();
        let told = [output.stdout, output.stderr].concat();
        let told = String::from_utf8(told).unwrap();
        assert!(!output.status.success() && told.contains(expected), "{arguments:?}: {told}");
        for rust in ["::", "()", "correct the input", "queue_named"] {
            assert!(!told.contains(rust), "{arguments:?}: {told}");
        }
    }
}

#[test]
fn retry_after_is_obeyed() {
    let world = World::new();
    let wait = std::time::Duration::from_secs(2);
    world.emulator.inject(Fault::RateLimited { code: 971, retry_after: Some(wait) });
    let started = std::time::Instant::now();
    world.run(&["ls"]);
    assert!(started.elapsed() >= wait);
}

#[test]
fn a_signal_ends_each_command_in_order() {
    let failing = || Fault::ServerError(503);
    let silent = || Fault::Delay(Duration::from_secs(1000));
    let (pull, rest) = (Operation::PullMessages, "stopped before the end; run it again for the rest");
    for sent in [Signal::TERM].into_iter().chain(hangup()) {
        for (arguments, fault, expected) in [
            (&["redrive", "QUEUE", "TO"][..], Some(failing().on(pull)), rest),
            (&["export", "QUEUE"], Some(failing().on(pull)), rest),
            (&["count", "QUEUE", "--all"], Some(failing().on(pull)), rest),
            (&["delete", "QUEUE", "--filter", "attempts=7", "--all"], Some(failing().on(pull)), rest),
            (
                &["delete", "QUEUE", "--filter", "attempts=0"],
                Some(silent().on(Operation::PurgeMessages)),
                r#"{"deleted":0,"unconfirmed":10,"#,
            ),
            (
                &["purge", "QUEUE", "--yes"],
                Some(silent().on(Operation::PurgeQueue)),
                "stopped waiting\n  the deletion may go on",
            ),
            // Their input goes on.
            (&["import", "QUEUE"], None, "go on with --skip 1"),
            (&["push", "QUEUE"], None, "go on with --skip 1"),
        ] {
            let world = World::new();
            let to = world.other();
            world.push_numbers(10);
            let name = |name: &&'static str| match *name {
                "QUEUE" => world.id().to_owned(),
                "TO" => to.clone(),
                name => name.to_owned(),
            };
            let mut command = world.program(&[]);
            command
                .args(arguments.iter().map(name))
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped());
            if let Some(fault) = fault.clone() {
                world.emulator.inject(fault.clone());
                world.emulator.inject(fault.until_removed());
            }
            let mut child = command.spawn().unwrap();
            let mut input = child.stdin.take().unwrap();
            let has_begun: &dyn Fn() -> bool = match fault {
                Some(_) => &|| world.emulator.faults().len() == 1,
                None => &|| world.messages().len() == 11,
            };
            if world.emulator.faults().is_empty() {
                input.write_all(b"{\"content_type\":\"text\",\"body\":\"x\"}\n").unwrap();
            }
            eventually("it has begun", has_begun);
            signal(&child, sent);
            let code = exit_code(&mut child);
            let told = std::io::read_to_string(child.stdout.take().unwrap()).unwrap();
            let told = told + &std::io::read_to_string(child.stderr.take().unwrap()).unwrap();
            assert!(code == Some(5) && told.contains(expected), "{arguments:?} {sent:?}: {code:?} {told}");
        }
    }
}

#[test]
fn verbose_shows_requests_and_no_secret() {
    let world = World::new();
    let output = world.command(&["-v", "push", world.id(), "the-s3cret-body"]).assert().success();
    let told = String::from_utf8(output.get_output().stderr.clone()).unwrap();
    assert!(told.contains("push_message") && told.contains("200"), "{told}");
    assert!(!told.contains("s3cret") && !told.contains(&world.emulator.api_token()), "{told}");
    let output = world.command(&["-v", "export", world.id()]).assert().success();
    let told = String::from_utf8(output.get_output().stderr.clone()).unwrap();
    assert!(told.contains("pull_messages") && !told.contains("s3cret"), "{told}");
    assert!(!told.contains("\u{1b}"), "{told}");
}

#[test]
fn purge_wants_the_name_or_yes() {
    let world = World::new();
    world.push_numbers(3);
    world.command(&["purge", world.id()]).write_stdin("whatever\n").assert().code(2);
    assert_eq!(world.messages().len(), 3);
    let output = world.command(&["purge", world.id(), "--yes"]).assert().success().get_output().clone();
    assert!(world.messages().is_empty());
    assert!(String::from_utf8_lossy(&output.stderr).contains("this deletes about 3 messages"));
    assert_eq!(objects(str::from_utf8(&output.stdout).unwrap())[0]["backlog_count"], 3);
}

#[test]
fn a_purge_whose_progress_is_unknown_may_go_on() {
    for (fault, code, expected) in [
        (Fault::ServerError(503).on(Operation::GetPurge), 6, [true, false]),
        (Fault::Forbidden.on(Operation::GetPurge), 4, [true, true]),
        (Fault::Forbidden.on(Operation::PurgeQueue), 4, [false, true]),
    ] {
        let world = World::new();
        world.emulator.inject(fault.until_removed());
        let purge = world.command(&["purge", world.id(), "--yes"]).assert().code(code).get_output().clone();
        let told = String::from_utf8_lossy(&purge.stderr);
        let found = ["the deletion may go on", "check the token"].map(|part| told.contains(part));
        assert!(found == expected && !told.contains("push"), "{told}");
    }
}

#[test]
fn an_option_for_the_account_beats_the_environment() {
    let world = World::new();
    let account = world.emulator.account_id().to_string();
    let listed = |arguments: &[&str], variable| {
        let mut command = world.command(arguments);
        command.env("CLOUDFLARE_ACCOUNT_ID", variable).output().unwrap().status.code()
    };
    assert_eq!(listed(&["ls"], "another"), Some(3));
    assert_eq!(listed(&["ls", "--account", &account], "another"), Some(0));
    assert_eq!(listed(&["--account", &account, "ls"], "another"), Some(0));
    assert_eq!(listed(&["ls", "--account", "another"], &account), Some(3));
    assert_eq!(listed(&["ls", "--account", &account], ""), Some(0));
}
