//! `count`, `delete`, `peek --filter`, `ls`: what is in there.

use std::{
    io::{BufRead, BufReader},
    process::Stdio,
    time::Duration,
};

use cloudflare_queues::{
    PushMessage,
    emulator::{Emulator, Fault, Operation, QueuedMessage},
    manage::ConsumerSettings,
};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::world::{World, answering, bare, exit_code, objects, scripted_with, signal};

/// Messages with these reasons, each so often.
fn reasons(world: &World, reasons: &[(&str, usize)]) {
    let messages = reasons.iter().flat_map(|(reason, count)| vec![json!({ "reason": reason }); *count]);
    world.push(&messages.map(|message| PushMessage::json(&message).unwrap()).collect::<Vec<_>>());
}

/// The exit code, the lines, and standard error.
fn run(world: &World, arguments: &[&str]) -> (Option<i32>, Vec<Value>, String) {
    let output = world.command(arguments).output().unwrap();
    let lines = objects(str::from_utf8(&output.stdout).unwrap());
    (output.status.code(), lines, String::from_utf8(output.stderr).unwrap())
}

#[test]
fn frequent_values_are_counted_with_the_number_of_messages_seen() {
    let world = World::new();
    reasons(&world, &[("timeout", 60), ("parse", 120), ("gone", 70)]);
    world.push(&[PushMessage::text("no JSON")]);
    let (code, lines, told) = run(&world, &["count", world.id(), "--by", "/reason"]);
    assert_eq!((code, lines.len()), (Some(0), 2));
    assert_eq!(lines[0], json!({ "value": "timeout", "count": 60 }));
    assert!(told.contains("looked at 100 of 251 messages"), "{told}");
    assert!(world.messages().iter().all(|message| message.attempts == 0));
    let (code, lines, told) = run(&world, &["count", world.id(), "--by", "/reason", "--all", "-n", "2"]);
    assert_eq!(code, Some(0), "{told}");
    let expected = [
        json!({ "value": "parse", "count": 120 }),
        json!({ "value": "gone", "count": 70 }),
        json!({ "value": null, "count": 61, "is_rest": true }),
    ];
    assert_eq!(lines, expected);
    assert!(told.contains("looked at 251 messages"), "{told}");
    assert!(world.messages().iter().all(|message| message.attempts == 1 && !message.is_leased));
    let (_, lines, _) = run(&world, &["count", world.id(), "--filter", "/reason=gone", "--all"]);
    assert_eq!(lines, [json!({ "value": "json", "count": 70 })]);
}

#[test]
fn a_count_changes_no_message() {
    let world = World::retrying(0);
    world.push_numbers(3);
    let before = world.messages();
    let (code, _, told) = run(&world, &["count", world.id(), "--all"]);
    assert!(code == Some(4) && told.contains("nothing was done"), "{told}");
    assert_eq!(world.messages(), before);
    let (code, lines, told) = run(&world, &["count", world.id(), "--all", "--raise-retries"]);
    assert_eq!((code, &lines[0]["count"]), (Some(0), &3.into()), "{told}");
    let ids = |messages: &[QueuedMessage]| messages.iter().map(|message| message.id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&world.messages()), ids(&before));
}

#[test]
fn attempts_are_those_before_the_command_whether_or_not_it_leases() {
    let world = World::retrying(10);
    world.push_numbers(3);
    for attempts in ["0", "1", "2"] {
        for arguments in [&["--all"][..], &[]] {
            // Looking without a lease comes after the pass, and sees it.
            let before =
                if arguments.is_empty() { attempts.parse::<u32>().unwrap() + 1 } else { attempts.parse().unwrap() };
            let (_, lines, told) = run(&world, &[&["count", world.id(), "--by", "attempts"], arguments].concat());
            assert_eq!((&lines[0]["value"], lines.len()), (&before.to_string().into(), 1), "{told}");
        }
    }
    let (code, _, told) = run(&world, &["delete", world.id(), "--filter", "attempts>=4", "--all"]);
    assert_eq!((code, world.messages().len()), (Some(0), 3), "{told}");
}

#[test]
fn matching_messages_within_reach_of_peeks_are_deleted_unleased() {
    let world = World::new();
    reasons(&world, &[("timeout", 150), ("parse", 30)]);
    let filter = ["delete", world.id(), "--filter", "/reason=timeout"];
    let (code, lines, told) = run(&world, &[&filter[..], &["--dry-run"]].concat());
    assert_eq!((code, lines.len(), world.messages().len()), (Some(0), 100, 180));
    assert!(told.contains("looked at 100 of 180 messages; nothing was deleted"), "{told}");
    let (code, lines, told) = run(&world, &filter);
    assert_eq!((code, &lines[0]["deleted"], &lines[0]["looked_at"]), (Some(0), &150.into(), &180.into()), "{told}");
    assert!(world.messages().len() == 30 && world.messages().iter().all(|message| message.attempts == 0));
}

#[test]
fn what_peeking_does_not_reach_is_told_and_all_reaches_it() {
    let world = World::new();
    reasons(&world, &[("parse", 120), ("poison", 1)]);
    let filter = ["delete", world.id(), "--filter", "/reason=poison"];
    let (code, lines, told) = run(&world, &filter);
    assert_eq!((code, &lines[0]["deleted"]), (Some(5), &0.into()));
    assert!(told.contains("looked at 100 of 121 messages; --all"), "{told}");
    let (code, lines, told) = run(&world, &[&filter[..], &["--all"]].concat());
    assert_eq!((code, &lines[0]["deleted"], world.messages().len()), (Some(0), &1.into(), 120), "{told}");
}

#[test]
fn a_delete_with_an_unknown_backlog_may_be_incomplete() {
    let mut command = bare(&["delete", &"f".repeat(32), "--filter", "type=text"]);
    let url = scripted_with(Vec::new(), json!({}));
    command.env("CLOUDFLARE_BASE_URL", url).env("CLOUDFLARE_API_TOKEN", "t").env("CLOUDFLARE_ACCOUNT_ID", "a");
    let ended = command.assert().code(5).get_output().clone();
    assert!(String::from_utf8_lossy(&ended.stderr).contains("looked at 0 of an unknown number of messages; --all"));
}

#[test]
fn a_delete_that_is_incomplete_says_so() {
    let message = |id: usize, has_ref: bool| {
        let message_ref = has_ref.then(|| json!(format!("ref-{id}")));
        json!({ "id": id.to_string(), "ref": message_ref, "body": "x" })
    };
    let messages = |count| json!({ "messages": (0..count).map(|id| message(id, true)).collect::<Vec<_>>() });
    let with_warning = json!({ "warnings": ["odd"] });
    let all = ["--filter", "attempts!=7"];
    for (backlog, peeks, purged, options, deleted, expected) in [
        // A peek may still show what was deleted.
        (200, vec![messages(100), messages(100)], json!({}), &all[..], 100, "looked at 100 of 200 messages"),
        (
            2,
            vec![
                json!({ "messages": [message(0, true), message(1, false)] }),
                json!({ "messages": [message(1, false)] }),
            ],
            json!({}),
            &all,
            1,
            "1 message has no reference",
        ),
        (3, vec![messages(3)], with_warning.clone(), &all, 3, "the service accepted 3 of 3 deletions: odd"),
        (3, vec![messages(3)], with_warning, &["--id=0", "--id=1", "--id=2"], 3, "accepted 3 of 3 deletions: odd"),
    ] {
        let peeks = std::sync::Mutex::new(peeks.into_iter());
        let url = answering(move |operation, _| match operation {
            "metrics" => json!({ "backlog_count": backlog }),
            "peek" => peeks.lock().unwrap().next().unwrap_or_else(|| json!({ "messages": [] })),
            "purge" => purged.clone(),
            _ => json!({}),
        });
        let mut command = bare(&[&["delete", &"f".repeat(32)], options].concat());
        command.env("CLOUDFLARE_BASE_URL", url).env("CLOUDFLARE_API_TOKEN", "t").env("CLOUDFLARE_ACCOUNT_ID", "a");
        let output = command.output().unwrap();
        let (lines, told) = (objects(str::from_utf8(&output.stdout).unwrap()), String::from_utf8_lossy(&output.stderr));
        assert_eq!((output.status.code(), &lines[0]["deleted"]), (Some(5), &deleted.into()), "{expected}: {told}");
        assert!(told.contains(expected), "{expected}: {told}");
    }
}

#[test]
fn a_message_is_deleted_by_its_id() {
    let world = World::new();
    world.push_numbers(3);
    let id = world.messages()[1].id.clone();
    let (code, ..) = run(&world, &["delete", world.id(), "--id", &id]);
    assert_eq!((code, world.texts(world.id())), (Some(0), vec!["0".to_owned(), "2".to_owned()]));
    let (code, _, told) = run(&world, &["delete", world.id(), "--id", &id]);
    assert!(code == Some(5) && told.contains("0 of 1 message was found"), "{told}");
    let (code, ..) = run(&world, &["delete", world.id()]);
    assert_eq!((code, world.messages().len()), (Some(2), 2));
}

#[test]
fn a_peek_shows_only_what_matches() {
    let world = World::new();
    world.push_numbers(50);
    let lines = world.objects(&["peek", world.id(), "--bodies", "--filter", "body>=40", "-n", "5"]);
    let bodies: Vec<_> = lines.iter().map(|line| line["body"].as_str().unwrap()).collect();
    assert_eq!(bodies, ["40", "41", "42", "43", "44"]);
}

#[test]
fn ls_shows_backlogs_and_whose_dead_letters_are_where() {
    let world = World::of(Emulator::builder().real_time());
    let queues = world.queue().queues();
    let jobs = world.runtime.block_on(queues.create("jobs")).unwrap();
    let failed = world.runtime.block_on(queues.create("failed")).unwrap();
    let settings = ConsumerSettings::pull().dead_letter_queue("failed");
    let _ = world.runtime.block_on(jobs.create_consumer(&settings)).unwrap();
    let messages = vec![PushMessage::text("x"); 7];
    world.runtime.block_on(failed.push_all(&messages)).unwrap();
    let lines = world.objects(&["ls", "--sort", "backlog"]);
    assert_eq!((&lines[0]["name"], &lines[0]["backlog_count"]), (&"failed".into(), &7.into()));
    assert_eq!(lines[0]["dead_letters_of"], json!(["jobs"]));
    let jobs = lines.iter().find(|line| line["name"] == "jobs").unwrap();
    assert_eq!((&jobs["dead_letter_queue"], &jobs["backlog_count"]), (&"failed".into(), &0.into()));
    assert!(world.objects(&["ls", "--fast"]).iter().all(|line| line["backlog_count"].is_null()));
}

#[test]
fn a_queue_is_paused_and_resumed() {
    let world = World::new();
    assert_eq!(world.objects(&["pause", world.id()])[0]["paused"], true);
    assert_eq!(world.objects(&["info", world.id()])[0]["paused"], true);
    assert_eq!(world.objects(&["resume", world.id()])[0]["paused"], false);
}

#[test]
fn tail_ends_after_a_number_of_messages_or_when_nothing_comes() {
    let world = World::new();
    world.push_numbers(5);
    assert_eq!(world.objects(&["tail", world.id(), "-n", "3", "--interval", "50ms"]).len(), 3);
    assert_eq!(world.objects(&["tail", world.id(), "--until-idle=200ms", "--interval", "50ms"]).len(), 5);
}

#[test]
fn ls_is_refreshed_until_it_is_told_to_stop() {
    let world = World::new();
    let mut child = world.program(&["ls", "--watch=100ms"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(|line| objects(&line.unwrap()).remove(0));
    assert_eq!(lines.next().unwrap()["backlog_count"], 0);
    world.push_numbers(3);
    assert!(lines.any(|line| line["backlog_count"] == 3));
    signal(&child, Signal::INT);
    assert_eq!(exit_code(&mut child), Some(0));
}

#[test]
fn backlogs_that_are_refused_are_one_line_that_counts() {
    let world = World::new();
    (0..19).for_each(|_| _ = world.other());
    let quota = Fault::RateLimited { code: 10252, retry_after: None };
    world.emulator.inject(quota.on(Operation::GetQueueMetrics).until_removed());
    let (code, lines, told) = run(&world, &["ls"]);
    assert_eq!((code, lines.len()), (Some(5), 20));
    assert!(told.lines().count() == 3 && told.contains("19 times more, the last one: "), "{told}");
    assert!(told.ends_with("cf-queues: the backlogs of 20 queues are not known\n"), "{told}");
    assert_eq!(run(&world, &["ls", "--fast"]).0, Some(0));
}

#[test]
fn a_search_for_an_id_ends_when_it_is_found() {
    let world = World::new();
    world.push_numbers(2000);
    let id = world.messages()[150].id.clone();
    let (code, lines, told) = run(&world, &["delete", world.id(), "--id", &id, "--all"]);
    assert_eq!((code, &lines[0]["deleted"], world.messages().len()), (Some(0), &1.into(), 1999), "{told}");
    assert!(world.messages().iter().filter(|message| message.attempts > 0).count() < 1500);
}

#[test]
fn deletions_that_are_not_confirmed_are_counted_apart() {
    let world = World::new();
    world.push_numbers(5);
    world.emulator.inject(Fault::Forbidden.on(Operation::AckMessages).until_removed());
    let filter = ["delete", world.id(), "--filter", "body!=x"];
    let (code, lines, told) = run(&world, &[&filter[..], &["--all"]].concat());
    assert_eq!((code, &lines[0]["deleted"], &lines[0]["unconfirmed"]), (Some(4), &0.into(), &5.into()), "{told}");
    world.emulator.advance(Duration::from_secs(61));
    let export = world.command(&["export", world.id(), "--remove"]).assert().code(4);
    let told = String::from_utf8_lossy(&export.get_output().stderr);
    assert!(told.contains("5 messages were written, and 0 deleted; the service did not confirm 5 deletions"), "{told}");
    world.emulator.advance(Duration::from_secs(61));
    world.emulator.remove_faults();
    world.emulator.inject(Fault::ResetAfter.on(Operation::PurgeMessages).until_removed());
    let (code, lines, told) = run(&world, &filter);
    assert_eq!((code, &lines[0]["deleted"], &lines[0]["unconfirmed"]), (Some(6), &0.into(), &5.into()), "{told}");
}

#[test]
fn values_that_are_too_many_to_count_are_told() {
    let world = World::new();
    world.push_numbers(10_050);
    let (code, lines, told) = run(&world, &["count", world.id(), "--by", "body", "--all"]);
    assert_eq!((code, &lines[10]["count"]), (Some(0), &10_040.into()), "{told}");
    assert!(told.contains("more than 10000 values: those of 50 messages"), "{told}");
}
