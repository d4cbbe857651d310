//! `doctor`.

use cloudflare_queues::emulator::{Behavior, Emulator, JsonBodies, QueueSettings};
use serde_json::Value;

use crate::world::{World, bare, objects};

/// The exit code, and what was found.
fn doctor(mut command: assert_cmd::Command) -> (Option<i32>, Vec<Value>) {
    let output = command.output().unwrap();
    (output.status.code(), objects(str::from_utf8(&output.stdout).unwrap()))
}

fn finding<'a>(findings: &'a [Value], check: &str) -> &'a Value {
    findings.iter().find(|finding| finding["check"] == check).unwrap_or(&Value::Null)
}

#[test]
fn a_healthy_queue_has_nothing_wrong() {
    let world = World::new();
    world.push_numbers(3);
    let (code, findings) = doctor(world.command(&["doctor", world.id()]));
    assert_eq!(code, Some(0), "{findings:?}");
    for check in ["credentials", "account", "network", "clock", "permission", "queue", "consumer", "backlog"] {
        assert_eq!(finding(&findings, check)["state"], "ok", "{check}: {findings:?}");
    }
    // There is no dead-letter queue.
    assert_eq!(finding(&findings, "dead letters")["state"], "doubtful");
    assert!(world.messages().iter().all(|message| message.attempts == 0));
}

#[test]
fn each_thing_that_is_wrong_is_named_with_what_to_do() {
    let world = World::new();
    let wrong = |command, code, check: &str, advice: &str| {
        let (ended, findings) = doctor(command);
        let found = finding(&findings, check);
        assert_eq!((ended, &found["state"]), (Some(code), &Value::from("wrong")), "{findings:?}");
        assert!(found["advice"].as_str().unwrap().contains(advice), "{found}");
    };
    wrong(bare(&["doctor"]), 2, "credentials", "Queues Write");
    let mut command = world.command(&["doctor"]);
    command.env_remove("CLOUDFLARE_ACCOUNT_ID");
    wrong(command, 2, "account", "dash.cloudflare.com");
    let mut command = world.command(&["doctor"]);
    command.env("CLOUDFLARE_API_TOKEN", "another");
    wrong(command, 4, "permission", "token");
    let mut command = world.command(&["doctor"]);
    command.env("CLOUDFLARE_BASE_URL", "http://127.0.0.1:9/client/v4");
    wrong(command, 6, "network", "firewall");
    let name = world.objects(&["ls"])[0]["name"].as_str().unwrap().to_owned();
    wrong(world.command(&["doctor", &format!("{name}x")]), 3, "queue", &format!("did you mean {name}"));
    world.emulator.configure_queue(world.emulator.queue_id(), |settings| settings.delivery_paused(true));
    wrong(world.command(&["doctor", &name]), 4, "delivery", "resume-delivery");
}

#[test]
fn a_proxy_is_named_without_its_password() {
    let world = World::new();
    let mut command = world.command(&["doctor"]);
    command.env("HTTPS_PROXY", "http://me:s3cret@proxy.example:3128");
    let (_, findings) = doctor(command);
    assert_eq!(finding(&findings, "proxy")["found"], "HTTPS_PROXY leads to proxy.example:3128");
}

#[test]
fn a_missing_pull_consumer_is_told_of_and_enabled_only_if_wanted() {
    let world = World::of(Emulator::builder().real_time().queue(QueueSettings::new().http_pull(false)));
    world.push_numbers(1);
    for _ in 0..2 {
        let (code, findings) = doctor(world.command(&["doctor", world.id()]));
        assert_eq!((code, &finding(&findings, "consumer")["state"]), (Some(4), &"wrong".into()));
    }
    world.command(&["export", world.id()]).assert().code(4);
    world.run(&["doctor", world.id(), "--enable-pull"]);
    assert_eq!(doctor(world.command(&["doctor", world.id()])).0, Some(0));
    assert_eq!(world.objects(&["export", world.id()]).len(), 1);
}

#[test]
fn a_probe_takes_no_queue_that_has_messages() {
    let world = World::new();
    world.push_numbers(1);
    world.command(&["doctor", "--probe", world.id()]).assert().code(2);
    assert_eq!(world.messages().len(), 1);
}

#[test]
fn a_probe_tells_how_the_service_behaves_and_no_secret() {
    for (behavior, count) in
        [(Behavior::new().json_bodies(JsonBodies::Base64), 1), (Behavior::new().late_acks(false), 0)]
    {
        let world = World::of(Emulator::builder().real_time().behavior(behavior));
        let probe = world.command(&["doctor", "--probe", world.id(), "--probe-lease", "300ms"]).assert().success();
        let report = String::from_utf8(probe.get_output().stdout.clone()).unwrap();
        let seen = |asked: &str| {
            let rest = report.split(&format!("- {asked}")).nth(1).unwrap_or_else(|| panic!("{asked}: {report}"));
            rest.lines().nth(1).unwrap().trim().trim_matches('`').to_owned()
        };
        let form = if count == 1 { "another string, such as base64" } else { "a string of JSON text" };
        assert_eq!(seen("form of the body"), form);
        let late = seen("a late acknowledgement while nobody holds");
        assert!(late.contains(&format!(r#""ackCount":{count}"#)), "{report}");
        assert!(seen("a string as `json`").contains("10207"), "{report}");
        for secret in [&world.emulator.api_token(), world.emulator.account_id().as_str(), world.id()] {
            assert!(!report.contains(secret), "{secret}: {report}");
        }
        // No lease id, no message id: both are long.
        let longest = report.split(|c: char| !c.is_ascii_alphanumeric()).map(str::len).max().unwrap();
        assert!(longest < 25, "{report}");
        assert!(world.messages().is_empty());
    }
}
