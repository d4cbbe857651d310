//! Exit codes, and what is said and not said.

use std::time::Duration;

use cloudflare_queues::emulator::{Behavior, Emulator, Fault, QueueSettings};

use crate::world::{World, bare, objects};

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
    world.emulator.configure_queue(world.emulator.queue_id(), |settings: QueueSettings| settings.delivery_paused(true));
    world.command(&["export", world.id()]).assert().code(4);
}

/// What fails first is what matters; its exit code is not that of an output that cannot be written.
#[cfg(target_os = "linux")]
#[test]
fn a_summary_that_cannot_be_written_hides_no_failure() {
    use std::{
        fs::{self, File},
        process::Stdio,
    };

    use cloudflare_queues::emulator::Operation;

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
        (&["ls"], &[("CLOUDFLARE_API_TOKEN", "")], "CLOUDFLARE_EMAIL with CLOUDFLARE_API_KEY is set\n"),
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
