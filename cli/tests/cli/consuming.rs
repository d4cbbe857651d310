//! `consume`: a program for each message.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::Stdio,
    time::Duration,
};

use cloudflare_queues::{
    AckRequest, PullOptions, PushMessage,
    emulator::{Fault, Operation},
};
use rustix::process::Signal;

use crate::world::{
    World, bare, eventually, exit_code, folder, full_pipe, hangup, objects, processor_time, scripted, signal,
    two_signals,
};

/// Consumes until the queue is empty; returns the exit code, the summary, and standard error.
fn consume(world: &World, options: &[&str], program: &[&str]) -> (Option<i32>, serde_json::Value, String) {
    let id = world.id().to_owned();
    let arguments: Vec<&str> = ["consume", &id, "--until-empty", "--output", "ndjson"]
        .iter()
        .chain(options)
        .chain(&["--"])
        .chain(program)
        .copied()
        .collect();
    let output = world.command(&arguments).output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    let summary = stdout.lines().last().map(|line| objects(line).remove(0)).unwrap_or_default();
    (output.status.code(), summary, String::from_utf8(output.stderr).unwrap())
}

/// Whether the process is gone whose id is in the file.
fn is_gone(file: &Path) -> bool {
    let pid = fs::read_to_string(file).unwrap();
    let state = fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
    state.map_or(true, |state| state.contains(") Z "))
}

#[test]
fn programs_get_body_and_metadata_and_ack_by_status_0() {
    let world = World::new();
    world.push(&[PushMessage::text("the \0 body\n")]);
    let id = world.messages()[0].id.clone();
    let time = world.objects(&["peek", world.id()])[0]["timestamp"].as_str().unwrap().to_owned();
    let script = r#"{ cat; env | grep ^CF_QUEUES_ | sort; } > "$0""#;
    let file = folder("consume").join("seen");
    let (code, summary, _) = consume(&world, &[], &["sh", "-c", script, file.to_str().unwrap()]);
    assert_eq!((code, &summary["acknowledged"]), (Some(0), &1.into()));
    let seen = fs::read_to_string(file).unwrap();
    assert!(seen.starts_with("the \0 body\nCF_QUEUES_ATTEMPTS=1\nCF_QUEUES_CONTENT_TYPE=text\n"), "{seen}");
    assert!(seen.contains(&format!("CF_QUEUES_MESSAGE_ID={id}\n")), "{seen}");
    assert!(seen.contains(&format!("CF_QUEUES_QUEUE_ID={}\n", world.id())), "{seen}");
    assert!(seen.contains(&format!("CF_QUEUES_TIMESTAMP={time}\n")), "{seen}");
    let metadata = seen.lines().find_map(|line| line.strip_prefix("CF_QUEUES_METADATA=")).unwrap();
    assert_eq!(objects(metadata)[0]["CF-Content-Type"], "text");
    assert!(!seen.contains("LEASE"), "{seen}");
    assert!(world.messages().is_empty());
}

#[test]
fn a_program_gets_the_lease_if_that_is_asked_for() {
    let world = World::new();
    world.push_numbers(1);
    let file = folder("lease").join("seen");
    let script = r#"printf %s "$CF_QUEUES_LEASE_ID" > "$0.new"; mv "$0.new" "$0"; sleep 1000"#;
    let mut command = world.program(&["consume", world.id(), "--expose-lease", "--", "sh", "-c", script]);
    let mut child = command.arg(&file).stderr(Stdio::null()).spawn().unwrap();
    eventually("the program runs", || file.exists());
    // It is the message's: an acknowledgement by it deletes that.
    let lease = fs::read_to_string(&file).unwrap();
    let request = AckRequest::new().ack(lease.as_str());
    assert!(world.runtime.block_on(world.queue().ack(request)).unwrap().is_complete());
    assert!(world.messages().is_empty());
    signal(&child, Signal::INT);
    signal(&child, Signal::TERM);
    assert_eq!(exit_code(&mut child), Some(130));
}

#[test]
fn concurrency_bounds_the_programs_that_run_at_once() {
    let world = World::new();
    world.push_numbers(12);
    let folder = folder("side-by-side");
    let running = folder.join("running");
    fs::create_dir(&running).unwrap();
    // None goes on before three run at once.
    let script = r#"
        touch "$0/running/$CF_QUEUES_MESSAGE_ID"
        until [ -e "$0/three" ]; do
            [ $(ls "$0/running" | wc -l) -lt 3 ] || touch "$0/three"
            sleep 0.02
        done
        sleep 0.1
        [ $(ls "$0/running" | wc -l) -le 3 ] || touch "$0/more"
        rm "$0/running/$CF_QUEUES_MESSAGE_ID""#;
    let options = ["--concurrency", "3", "--timeout", "30s", "--on-failure", "ack"];
    let (code, summary, told) = consume(&world, &options, &["sh", "-c", script, folder.to_str().unwrap()]);
    assert_eq!((code, &summary["acknowledged"], told.as_str()), (Some(0), &12.into(), ""));
    assert!(!folder.join("more").exists());
}

#[test]
fn a_paused_queue_ends_it_if_it_is_to_end() {
    let world = World::new();
    world.push_numbers(1);
    world.emulator.configure_queue(world.emulator.queue_id(), |settings| settings.delivery_paused(true));
    let (code, _, told) = consume(&world, &[], &["true"]);
    assert_eq!((code, world.messages().len()), (Some(4), 1), "{told}");
    assert!(told.contains("the queue is paused"), "{told}");
}

#[test]
fn pulls_that_fail_are_told_and_so_is_their_end() {
    let world = World::new();
    world.emulator.inject(Fault::ServerError(503).on(Operation::PullMessages).until_removed());
    let mut command = world.program(&["consume", world.id(), "--", "true"]);
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut told = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(told.next().unwrap().contains("pulls fail, and are retried: "));
    // Others are counted.
    assert!(told.any(|line| line.contains(" times more, the last one: pulls fail")));
    world.emulator.remove_faults();
    assert!(told.any(|line| line == "cf-queues: pulls succeed again"));
    signal(&child, Signal::TERM);
    assert_eq!(exit_code(&mut child), Some(0));
    let rest: Vec<_> = told.collect();
    assert!(rest.iter().all(|line| !line.contains("pulls fail")), "{rest:?}");
}

#[test]
fn acknowledgements_that_are_refused_for_long_are_told_and_repeated() {
    let world = World::new();
    world.push_numbers(30);
    let limited = Fault::RateLimited { code: 971, retry_after: Some(Duration::from_secs(1)) };
    world.emulator.inject(limited.on(Operation::AckMessages).until_removed());
    let file = folder("refused").join("told");
    let mut command = world.program(&["consume", world.id(), "--", "true"]);
    let mut child = command.stderr(fs::File::create(&file).unwrap()).spawn().unwrap();
    let told = || fs::read_to_string(&file).unwrap();
    eventually("it is told", || told().contains("messages is not confirmed yet: requests are retried"));
    world.emulator.remove_faults();
    eventually("all are acknowledged", || world.messages().is_empty());
    signal(&child, Signal::TERM);
    assert_eq!(exit_code(&mut child), Some(0));
    assert!(told().contains("30 acknowledged, "), "{}", told());
}

#[test]
fn standard_error_that_nobody_reads_does_not_keep_it_from_ending() {
    let world = World::new();
    world.push_numbers(20);
    let (_reader, pipe) = full_pipe();
    let mark = folder("unread").join("pid");
    let script = r#"echo $$ > "$0.$$"; mv "$0.$$" "$0"; exit 1"#;
    let mut command = world.program(&["consume", world.id(), "--"]);
    let mut child = command.args(["sh", "-c", script, mark.to_str().unwrap()]).stderr(pipe).spawn().unwrap();
    // What is printed next cannot be written.
    eventually("a program has failed", || mark.exists() && is_gone(&mark));
    two_signals(&child);
    assert_eq!(exit_code(&mut child), Some(130));
    assert_eq!(world.messages().len(), 20);
}

#[test]
fn standard_output_is_the_programs() {
    let world = World::new();
    world.push_numbers(1);
    let output = world.command(&["consume", world.id(), "--until-empty", "--", "cat"]).assert().success();
    let output = output.get_output();
    assert_eq!(output.stdout, b"0");
    assert!(String::from_utf8_lossy(&output.stderr).contains("1 acknowledged, 0 retried"));
}

#[test]
fn status_75_retries_later_and_other_failures_by_option() {
    for (options, status, left, counted, code) in [
        (&[][..], "75", 1, "retried", 5),
        (&[], "1", 1, "retried", 5),
        (&["--on-failure", "ack"], "3", 0, "acknowledged", 0),
        (&["--on-failure", "ack"], "75", 1, "retried", 5),
    ] {
        let world = World::new();
        world.push_numbers(1);
        let options: Vec<&str> = ["--retry-delay", "1h"].iter().chain(options).copied().collect();
        let (ended, summary, told) = consume(&world, &options, &["sh", "-c", &format!("exit {status}")]);
        assert_eq!((ended, &summary[counted]), (Some(code), &1.into()), "{status} {options:?} {told}");
        assert_eq!(world.messages().len(), left, "{status} {options:?}");
    }
}

#[test]
fn a_dead_letter_is_pushed_before_it_is_acknowledged() {
    let world = World::new();
    let dead = world.other();
    world.push_numbers(1);
    let (code, summary, _) = consume(&world, &["--on-failure", "dead-letter", "--dead-letters", &dead], &["false"]);
    assert_eq!((code, &summary["dead_lettered"]), (Some(0), &1.into()));
    assert_eq!((world.messages().len(), world.texts(&dead)), (0, vec!["0".to_owned()]));
}

#[cfg(target_os = "linux")]
#[test]
fn standard_error_that_cannot_be_written_costs_no_message() {
    let full = || fs::File::create("/dev/full").unwrap();
    for verbose in [&[][..], &["-v"]] {
        let world = World::new();
        let dead = world.other();
        world.push_numbers(20);
        let options = ["consume", world.id(), "--until-empty", "--on-failure", "dead-letter", "--dead-letters", &dead];
        let status = world.program(&options).args(verbose).args(["--", "false"]).stderr(full()).status().unwrap();
        assert_eq!(status.code(), Some(0));
        assert_eq!((world.messages().len(), world.texts(&dead).len()), (0, 20));
        let status = world.program(&["peek", "no-such-queue"]).args(verbose).stderr(full()).status().unwrap();
        assert_eq!(status.code(), Some(3));
    }
}

#[test]
fn a_program_need_not_read_its_input() {
    let world = World::new();
    world.push(&[PushMessage::text("x".repeat(120_000))]);
    // The pipe stays open, and full.
    let (code, summary, _) = consume(&world, &["--timeout", "20s"], &["sh", "-c", "sleep 5 & exit 0"]);
    assert_eq!((code, &summary["acknowledged"]), (Some(0), &1.into()));
}

#[test]
fn a_failure_can_stop() {
    let world = World::new();
    world.push_numbers(5);
    let (code, _, told) = consume(&world, &["--on-failure", "stop", "--concurrency", "1"], &["false"]);
    assert_eq!(code, Some(5), "{told}");
    assert_eq!(world.messages().len(), 5);
}

#[test]
fn a_program_that_is_killed_acknowledges_nothing() {
    let world = World::new();
    world.push_numbers(1);
    let (code, summary, told) = consume(&world, &["--retry-delay", "1h"], &["sh", "-c", "kill -9 $$"]);
    assert_eq!((code, &summary["retried"], &summary["failed"]), (Some(5), &1.into(), &1.into()));
    assert!(told.contains("ended by a signal"), "{told}");
    assert_eq!(world.messages().len(), 1);
}

#[test]
fn hanging_programs_are_killed_with_children_and_acknowledge_nothing() {
    let world = World::new();
    world.push_numbers(1);
    let pid = folder("hang").join("pid");
    let script = r#"sleep 1000 & echo $! > "$0"; wait"#;
    let options = ["--timeout", "300ms", "--retry-delay", "1h"];
    let (code, summary, told) = consume(&world, &options, &["sh", "-c", script, pid.to_str().unwrap()]);
    assert_eq!((code, &summary["retried"]), (Some(5), &1.into()), "{told}");
    assert!(told.contains("took too long"), "{told}");
    eventually("what it started is gone", || is_gone(&pid));
    assert_eq!(world.messages().len(), 1);
}

#[test]
fn a_program_that_cannot_be_started_costs_at_most_one_attempt() {
    let world = World::new();
    world.push_numbers(50);
    let (code, _, told) = consume(&world, &[], &["/does/not/exist"]);
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains("could not be started"), "{told}");
    assert_eq!(world.messages().len(), 50);
    assert!(world.messages().iter().all(|message| message.attempts <= 1));
}

#[test]
fn a_message_whose_program_cannot_be_started_is_not_acknowledged() {
    // A variable cannot have the id.
    let message = serde_json::json!({ "id": "nul \0", "lease_id": "l", "body": "", "attempts": 1 });
    let mut command = bare(&["consume", "b01b5594f784d0165c2985833f5660dd", "--until-empty", "--on-failure", "ack"]);
    let url = scripted(vec![serde_json::json!({ "messages": [message] })]);
    command.env("CLOUDFLARE_BASE_URL", url).env("CLOUDFLARE_API_TOKEN", "t").env("CLOUDFLARE_ACCOUNT_ID", "a");
    let output = command.args(["--output", "ndjson", "--", "true"]).assert().code(5).get_output().clone();
    let summary = &objects(str::from_utf8(&output.stdout).unwrap())[0];
    assert_eq!([&summary["acknowledged"], &summary["retried"], &summary["failed"]], [0, 1, 1]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("could not be started"));
}

#[test]
fn a_program_that_hangs_leaves_no_process_that_ignores_sigterm() {
    let world = World::new();
    world.push_numbers(1);
    let pid = folder("stubborn").join("pid");
    // The program itself ends at once.
    let script = r#"sh -c 'trap "" TERM; echo $$ > "$0"; while :; do sleep 1; done' "$0" >/dev/null 2>&1 & wait"#;
    let options = ["--timeout", "1s", "--retry-delay", "1h"];
    let (code, _, told) = consume(&world, &options, &["sh", "-c", script, pid.to_str().unwrap()]);
    assert_eq!(code, Some(5), "{told}");
    eventually("it is gone", || is_gone(&pid));
}

#[test]
fn a_delay_of_more_than_24_hours_is_refused() {
    for arguments in [
        &["consume", "q", "--retry-delay", "25h", "--", "true"][..],
        &["push", "q", "--delay", "86401s", "body"],
        &["import", "q", "--delay", "2days"],
    ] {
        let output = bare(arguments).assert().code(2);
        assert!(String::from_utf8_lossy(&output.get_output().stderr).contains("at most 24 hours"), "{arguments:?}");
    }
}

#[test]
fn a_signal_drains() {
    for sent in [Signal::INT, Signal::TERM].into_iter().chain(hangup()) {
        let world = World::new();
        world.push_numbers(1);
        let mark = folder("drain").join(format!("{sent:?}"));
        let script = r#"touch "$0"; sleep 1"#;
        let mut command = world.program(&["consume", world.id(), "--", "sh", "-c", script, mark.to_str().unwrap()]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        eventually("the program runs", || mark.exists());
        signal(&child, sent);
        assert_eq!(child.wait().unwrap().code(), Some(0));
        assert!(world.messages().is_empty(), "{sent:?}");
    }
}

/// As `nohup` starts it.
#[cfg(target_os = "linux")]
#[test]
fn a_hangup_that_is_ignored_ends_nothing() {
    let world = World::new();
    let script = format!("trap '' HUP; exec {} consume {} -- true", env!("CARGO_BIN_EXE_cf-queues"), world.id());
    let mut command = std::process::Command::new("sh");
    command.args(["-c", &script]).envs(world.variables()).stdin(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let requests = world.emulator.requests();
    eventually("it pulls", || world.emulator.requests() > requests + 2);
    signal(&child, Signal::HUP);
    world.push_numbers(1);
    eventually("it goes on", || world.messages().is_empty());
    signal(&child, Signal::TERM);
    assert_eq!(exit_code(&mut child), Some(0));
}

#[test]
fn a_second_signal_kills_the_programs() {
    let world = World::new();
    world.push_numbers(1);
    let mark = folder("twice").join("pid");
    let script = r#"echo $$ > "$0.new"; mv "$0.new" "$0"; sleep 1000"#;
    let mut command = world.program(&["consume", world.id(), "--", "sh", "-c", script, mark.to_str().unwrap()]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    eventually("the program runs", || mark.exists());
    // Two of one kind that arrive together count as one.
    eventually("it ends", || {
        signal(&child, Signal::INT);
        child.try_wait().unwrap().is_some()
    });
    assert_eq!(child.wait().unwrap().code(), Some(130));
    eventually("the program is gone", || is_gone(&mark));
    assert_eq!(world.messages().len(), 1);
}

#[test]
fn a_program_does_not_get_the_credentials_unless_told_otherwise() {
    for (options, expected) in [(&[][..], false), (&["--pass-credentials"], true)] {
        let world = World::new();
        world.push_numbers(1);
        let mut command = world.command(&["consume", world.id(), "--until-empty"]);
        let output = command.args(options).args(["--", "env"]).assert().success().get_output().stdout.clone();
        let seen = String::from_utf8(output).unwrap();
        assert_eq!(seen.contains("CLOUDFLARE_API_TOKEN="), expected, "{options:?}: {seen}");
        assert!(seen.contains("CLOUDFLARE_ACCOUNT_ID="), "{seen}");
    }
}

#[test]
fn a_failure_that_stops_costs_no_message_that_no_program_saw() {
    let world = World::retrying(0);
    world.push_numbers(100);
    let (code, _, told) = consume(&world, &["--on-failure", "stop", "--concurrency", "1"], &["false"]);
    assert_eq!(code, Some(5), "{told}");
    assert!(told.contains("delivers each message once") && told.contains("is deleted"), "{told}");
    // The one that failed, and the few that were pulled meanwhile.
    assert!(world.messages().len() >= 90, "{}", world.messages().len());
}

/// The response of a pull takes so long to arrive.
fn slow_pulls(world: &World, response: Duration) {
    let slow = Fault::Slow { before: Duration::ZERO, after: response, fault: None };
    world.emulator.inject(slow.on(Operation::PullMessages).until_removed());
}

/// A message that was pulled while the signal arrived would be deleted if it were handed back.
#[test]
fn a_signal_costs_no_message_without_retries() {
    for sent in [Signal::INT, Signal::TERM].into_iter().chain(hangup()) {
        let world = World::retrying(0);
        world.push_numbers(100);
        slow_pulls(&world, Duration::from_millis(500));
        let mut command = world.program(&["consume", world.id(), "--output", "ndjson", "--", "true"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        eventually("it pulls", || world.messages().iter().any(|message| message.is_leased));
        signal(&child, sent);
        assert_eq!(exit_code(&mut child), Some(0), "{sent:?}");
        let summary = std::io::read_to_string(child.stdout.take().unwrap()).unwrap();
        let acknowledged = objects(&summary)[0]["acknowledged"].as_u64().unwrap();
        assert!(acknowledged > 0 && acknowledged + world.messages().len() as u64 == 100, "{sent:?}: {summary}");
    }
}

#[test]
fn a_second_signal_says_what_it_cost() {
    // One is with a program, and another on its way.
    for (script, response, expected) in [
        (
            "touch \"$0\"; sleep 1000",
            Duration::ZERO,
            "did not succeed for 1 message at its last delivery: it is deleted",
        ),
        ("true", Duration::from_secs(1000), "1 pull was in flight: a message that it leased"),
    ] {
        let world = World::retrying(0);
        world.push_numbers(1);
        slow_pulls(&world, response);
        let mark = folder("cost").join("mark");
        let mut command = world.program(&["consume", world.id(), "--", "sh", "-c", script, mark.to_str().unwrap()]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let is_leased = || world.messages().iter().any(|message| message.is_leased);
        eventually("it begins", || is_leased() && (mark.exists() || !response.is_zero()));
        two_signals(&child);
        assert_eq!(exit_code(&mut child), Some(130));
        let told = std::io::read_to_string(child.stderr.take().unwrap()).unwrap();
        assert!(told.contains(expected) && told.contains("0 acknowledged"), "{told}");
    }
}

#[test]
fn a_failure_at_the_last_delivery_is_told() {
    let world = World::retrying(1);
    world.push_numbers(2);
    let (code, _, told) = consume(&world, &["--retry-delay", "0s"], &["false"]);
    assert_eq!((code, world.messages().len()), (Some(5), 0), "{told}");
    assert!(told.contains("did not succeed for 2 messages at their last delivery: each is deleted"), "{told}");
    // A message that has deliveries left is not one of them.
    let world = World::retrying(1);
    world.push_numbers(2);
    let (_, _, told) = consume(&world, &["--retry-delay", "1h"], &["false"]);
    assert!(!told.contains("last delivery"), "{told}");
}

#[test]
fn without_a_terminal_progress_is_a_line_every_ten_seconds() {
    let world = World::new();
    world.push_numbers(1);
    let file = folder("lines").join("told");
    let mut command = world.program(&["consume", world.id(), "--", "true"]);
    let mut child = command.stderr(fs::File::create(&file).unwrap()).spawn().unwrap();
    let lines = || fs::read_to_string(&file).unwrap().matches("so far: ").count();
    eventually("a line tells", || lines() == 1);
    world.push_numbers(1);
    eventually("the next one tells", || lines() == 2);
    signal(&child, Signal::TERM);
    assert_eq!(exit_code(&mut child), Some(0));
    let told = fs::read_to_string(&file).unwrap();
    assert!(told.contains("so far: 1 acknowledged, ") && told.contains("so far: 2 acknowledged, "), "{told}");
}

#[test]
fn until_empty_is_not_done_while_others_hold_messages() {
    let world = World::new();
    world.push_numbers(3);
    let pull = PullOptions::new().batch_size(3).visibility_timeout(Duration::from_secs(3600));
    assert_eq!(world.runtime.block_on(world.queue().pull(pull)).unwrap().len(), 3);
    let (code, _, told) = consume(&world, &[], &["true"]);
    assert_eq!(code, Some(5), "{told}");
    assert!(told.contains("nothing was available; 3 messages are leased by others"), "{told}");
}

#[test]
fn until_empty_fails_if_programs_failed() {
    let world = World::retrying(1);
    world.push_numbers(3);
    let (code, summary, told) = consume(&world, &["--retry-delay", "0s"], &["false"]);
    assert_eq!((code, world.messages().len(), &summary["failed"]), (Some(5), 0, &6.into()), "{told}");
    assert!(told.contains("the program failed last for 3 messages, which are no longer in the queue"), "{told}");
    // A later success makes up for a failure.
    let world = World::retrying(3);
    world.push_numbers(1);
    let mark = folder("second").join("mark");
    let script = r#"[ -e "$0" ] || { touch "$0"; exit 1; }"#;
    let (code, ..) = consume(&world, &["--retry-delay", "0s"], &["sh", "-c", script, mark.to_str().unwrap()]);
    assert_eq!((code, world.messages().len()), (Some(0), 0));
}

#[test]
fn no_more_programs_are_started_than_the_limit() {
    let world = World::new();
    world.push_numbers(20);
    let (code, summary, told) = consume(&world, &["--limit", "7"], &["true"]);
    assert_eq!((code, &summary["acknowledged"], world.messages().len()), (Some(0), &7.into(), 13), "{told}");
}

#[test]
fn a_limit_costs_no_message_that_no_program_saw() {
    let world = World::retrying(0);
    world.push_numbers(100);
    let half = Duration::from_millis(50);
    world.emulator.inject(Fault::Slow { before: half, after: half, fault: None }.until_removed());
    let (code, summary, told) = consume(&world, &["--limit", "7"], &["true"]);
    assert_eq!((code, &summary["acknowledged"], world.messages().len()), (Some(0), &7.into(), 93), "{told}");
}

/// So many that two cores run 500 a second, whatever else the machine does.
#[test]
fn a_program_costs_at_most_twice_what_a_shell_takes_to_run_it() {
    let world = World::new();
    world.push_numbers(1000);
    let program = env!("CARGO_BIN_EXE_cf-queues");
    let script = format!("{program} consume {} --until-empty -- true", world.id());
    let took = processor_time(std::process::Command::new("sh").envs(world.variables()), &script);
    assert!(world.messages().is_empty());
    let by_shell = "for i in $(seq 1000); do env true; done";
    let by_shell = processor_time(&mut std::process::Command::new("sh"), by_shell);
    assert!(took <= 2 * by_shell, "{took:?} instead of {by_shell:?}");
}
