//! `doctor`.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    process::Stdio,
    time::{Duration, SystemTime},
};

use cloudflare_queues::{
    AccountId, AckRequest, PullOptions, PushMessage,
    emulator::{Behavior, EmulatedQueue, Emulator, Fault, JsonBodies, Operation, WarningsForm},
    manage::ConsumerSettings,
};
use rustix::process::Signal;
use serde_json::Value;

use crate::{
    recorded,
    world::{World, bare, eventually, folder, objects, scripted, scripted_with, signal},
};

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
    wrong(world.command(&["doctor", &name]), 4, "delivery", "cf-queues resume");
}

#[test]
fn the_dead_letter_queue_is_looked_at() {
    let world = World::of(Emulator::builder().real_time());
    let queues = world.queue().queues();
    let (jobs, failed) = world.runtime.block_on(async {
        let (jobs, failed) = (queues.create("jobs").await.unwrap(), queues.create("failed").await.unwrap());
        let settings = ConsumerSettings::pull().dead_letter_queue("failed");
        let _ = jobs.create_consumer(&settings).await.unwrap();
        failed.push(&PushMessage::text("dead")).await.unwrap();
        (jobs, failed)
    });
    let found = || {
        let (code, findings) = doctor(world.command(&["doctor", jobs.id().as_str()]));
        let found = finding(&findings, "dead letters");
        (code, found["state"].as_str().unwrap().to_owned(), found["found"].as_str().unwrap().to_owned())
    };
    let (code, state, told) = found();
    assert!(code == Some(0) && state == "doubtful" && told == "failed, with 1 message, and without a pull consumer");
    let _ = world.runtime.block_on(failed.create_consumer(&ConsumerSettings::pull())).unwrap();
    let finding = |state: &str, found: &str| (Some(0), state.to_owned(), found.to_owned());
    assert_eq!(found(), finding("doubtful", "failed, with 1 message"));
    world.emulator.configure_queue(failed.id(), |settings| settings.delivery_paused(true));
    assert_eq!(found(), finding("doubtful", "failed, with 1 message, and paused"));
    world.emulator.configure_queue(failed.id(), |settings| settings.delivery_paused(false));
    world.runtime.block_on(async {
        let batch = failed.pull(PullOptions::new()).await.unwrap();
        assert!(failed.ack(AckRequest::ack_all(&batch)).await.unwrap().is_complete());
    });
    assert_eq!(found(), finding("ok", "failed, with 0 messages"));
}

#[test]
fn a_dead_letter_queue_that_does_not_exist_is_wrong() {
    let mut command = bare(&["doctor", &"f".repeat(32)]);
    let url = scripted(Vec::new());
    command.envs([
        ("CLOUDFLARE_BASE_URL", url.as_str()),
        ("CLOUDFLARE_API_TOKEN", "t"),
        ("CLOUDFLARE_ACCOUNT_ID", "a"),
    ]);
    let (code, findings) = doctor(command);
    let found = finding(&findings, "dead letters");
    assert_eq!((code, &found["state"], &found["found"]), (Some(3), &"wrong".into(), &"failed does not exist".into()));
    assert!(found["advice"].as_str().unwrap().contains("messages without retries left are lost"), "{found}");
}

#[test]
fn a_refusal_of_the_service_is_told_apart() {
    let world = World::new();
    for (fault, code, advice) in [
        (Fault::Forbidden, 4, "lacks the permission Queues Write"),
        (Fault::Challenged, 4, "a firewall challenges this machine"),
        (Fault::RateLimited { code: 10252, retry_after: None }, 4, "wait"),
    ] {
        world.emulator.inject(fault.on(Operation::ListQueues));
        let (ended, findings) = doctor(world.command(&["doctor"]));
        let found = finding(&findings, "permission");
        assert_eq!((ended, &found["state"]), (Some(code), &Value::from("wrong")), "{findings:?}");
        assert!(found["advice"].as_str().unwrap().contains(advice), "{found}");
    }
}

#[test]
fn a_clock_that_is_wrong_is_told_of() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/client/v4", listener.local_addr().unwrap());
    let now = SystemTime::now() + Duration::from_secs(7200);
    let date = httpdate::fmt_http_date(now);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]).unwrap();
            write!(stream, "HTTP/1.1 404 Not Found\r\ndate: {date}\r\ncontent-length: 0\r\n\r\n").unwrap();
        }
    });
    let mut command = bare(&["doctor"]);
    let variables =
        [("CLOUDFLARE_BASE_URL", url.as_str()), ("CLOUDFLARE_API_TOKEN", "t"), ("CLOUDFLARE_ACCOUNT_ID", "a")];
    command.envs(variables);
    let (_, findings) = doctor(command);
    let found = finding(&findings, "clock");
    assert_eq!(found["state"], "doubtful", "{findings:?}");
    assert!(found["found"].as_str().unwrap().contains("off the service's"), "{found}");
    assert!(found["advice"].as_str().unwrap().contains("set the clock"), "{found}");
}

#[test]
fn a_proxy_is_checked() {
    let world = World::new();
    for (value, state, shown) in [
        ("proxy.example:3128", "ok", "proxy.example:3128"),
        ("http://[s3cret", "doubtful", "HTTPS_PROXY is not a URL"),
        ("a s3cret", "doubtful", "HTTPS_PROXY is not a URL"),
    ] {
        let mut command = world.command(&["doctor"]);
        command.env("HTTPS_PROXY", value);
        let (code, findings) = doctor(command);
        let found = finding(&findings, "proxy");
        assert_eq!((code, &found["state"]), (Some(0), &Value::from(state)), "{value}: {findings:?}");
        assert!(found["found"].as_str().unwrap().contains(shown), "{found}");
        assert!(!found.to_string().contains("s3cret"), "{found}");
    }
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
fn a_base_url_is_named_without_its_secrets() {
    let world = World::new();
    let responds = world.emulator.base_url().replace("://", "://me:s3cret@");
    for url in [&responds, "http://me:s3cret@127.0.0.1:9/v4?s3cret#s3cret", "me:s3cret@host/v4", "http://me:s3cret@[/"]
    {
        let output = world.command(&["doctor"]).env("CLOUDFLARE_BASE_URL", url).assert().failure().get_output().clone();
        let told = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(told.contains(r#""check":"network""#) && !told.contains("s3cret"), "{url}: {told}");
    }
}

#[test]
fn a_password_in_the_base_url_is_not_sent() {
    let (listener, world) = (TcpListener::bind("127.0.0.1:0").unwrap(), World::new());
    let url = format!("http://me:s3cret@{}/v4?s3cret", listener.local_addr().unwrap());
    let mut child = world.program(&["doctor", "--base-url", &url]).stdout(Stdio::null()).spawn().unwrap();
    let (mut head, mut stream) = (String::new(), BufReader::new(listener.accept().unwrap().0));
    while !head.ends_with("\r\n\r\n") {
        assert!(stream.read_line(&mut head).unwrap() > 0, "{head}");
    }
    drop(stream);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(head.starts_with("GET /v4 ") && !head.to_lowercase().contains("authorization"), "{head}");
}

#[test]
fn missing_pull_consumers_are_reported_and_enabled_if_wanted() {
    let world = World::of(Emulator::builder().real_time().queue(EmulatedQueue::new().http_pull(false)));
    world.push_numbers(1);
    for _ in 0..2 {
        let (code, findings) = doctor(world.command(&["doctor", world.id()]));
        assert_eq!((code, &finding(&findings, "consumer")["state"]), (Some(4), &"wrong".into()));
    }
    world.command(&["export", world.id()]).assert().code(4);
    // What else is wrong is still wrong.
    world.emulator.inject(Fault::Forbidden.on(Operation::GetQueueMetrics));
    world.command(&["doctor", world.id(), "--enable-pull"]).assert().code(4);
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
fn a_probe_takes_no_queue_with_an_unknown_backlog() {
    let url = scripted_with(Vec::new(), serde_json::json!({}));
    let mut command = bare(&["doctor", "--probe", &"f".repeat(32)]);
    command.env("CLOUDFLARE_BASE_URL", url).env("CLOUDFLARE_API_TOKEN", "t").env("CLOUDFLARE_ACCOUNT_ID", "a");
    let refused = command.assert().code(2);
    assert!(String::from_utf8_lossy(&refused.get_output().stderr).contains("whether the queue is empty"));
}

/// What the report of a probe has on each question, found by the start of the question.
fn probed(behavior: Behavior) -> impl Fn(&str) -> String {
    let world = World::of(Emulator::builder().real_time().behavior(behavior));
    let probe = world.command(&["doctor", "--probe", world.id(), "--probe-lease", "400ms"]).assert().success();
    let report = String::from_utf8(probe.get_output().stdout.clone()).unwrap();
    for secret in [&world.emulator.api_token(), world.emulator.account_id().as_str(), world.id()] {
        assert!(!report.contains(secret), "{secret}: {report}");
    }
    // No lease id, no message id: both are long.
    let longest = report.split(|c: char| !c.is_ascii_alphanumeric()).map(str::len).max().unwrap();
    assert!(longest < 25, "{report}");
    assert!(world.messages().is_empty());
    move |asked| {
        let rest = report.split(&format!("- {asked}")).nth(1).unwrap_or_else(|| panic!("{asked}: {report}"));
        rest.lines().nth(1).unwrap().trim().trim_matches('`').to_owned()
    }
}

#[test]
fn a_probe_tells_how_the_service_behaves_and_no_secret() {
    let likely = Behavior::new().json_bodies(JsonBodies::Base64);
    let other = Behavior::new().late_acks(false).late_retries(true).large_requests(true).shortening_extends(false);
    let other = std::thread::spawn(|| probed(other));
    let (likely, other) = (probed(likely), other.join().unwrap());
    for (asked, of_likely, of_other) in [
        ("form of the body", "another string, such as base64", "a string of JSON text"),
        ("a string as `json`", "10207", "10207"),
        ("a late acknowledgement while nobody", r#""ackCount":1"#, r#""ackCount":0"#),
        ("a late acknowledgement while another", r#""ackCount":1"#, r#""ackCount":0"#),
        ("a late retry while another", r#""retryCount":0"#, r#""retryCount":1"#),
        ("whether that took the message from the other", "no", "no"),
        ("whether the message is given out after 1.25", "no", "no"),
        ("and after 1.75", "yes", "yes"),
        ("whether that made the lease shorter", "yes", "no"),
        ("a first extension to 12 h", r#""extendCount":1"#, r#""extendCount":1"#),
        ("a second one, so that", r#""extendCount":1"#, r#""extendCount":1"#),
        ("an acknowledgement of 101 leases", "10026", r#""ackCount":101"#),
        ("an extension of 101 leases", "10026", r#""extendCount":101"#),
        ("whether extensions are billed", "no response says so", "no response says so"),
    ] {
        let seen = [likely(asked), other(asked)];
        assert!(seen[0].contains(of_likely) && seen[1].contains(of_other), "{asked}: {seen:?}");
    }
}

/// Records a probe of an emulator, whose secrets must not be in any file.
fn recording(name: &str, behavior: Behavior) -> Vec<recorded::Exchange> {
    const TOKEN: &str = "t0ken-that-nobody-may-see";
    let account = AccountId::try_from("023e105f4ecef8ad9ca31a8372d0c353").unwrap();
    let builder = Emulator::builder().real_time().api_token(TOKEN).account_id(account);
    let world = World::of(builder.behavior(behavior));
    let answers = folder(name).join("answers");
    let directory = answers.to_str().unwrap();
    let probe = ["doctor", "--probe", world.id(), "--probe-lease", "400ms", "--record", directory];
    world.command(&probe).assert().success();
    let exchanges = recorded::read(&answers);
    let files: String =
        fs::read_dir(&answers).unwrap().map(|file| fs::read_to_string(file.unwrap().path()).unwrap()).collect();
    for secret in [TOKEN, world.emulator.account_id().as_str(), world.id()] {
        assert!(!files.contains(secret), "{secret}");
    }
    exchanges.iter().for_each(|exchange| assert_named(&exchange.fields));
    // Ids of messages, leases and references are long.
    let words = files.split(|c: char| !c.is_ascii_alphanumeric());
    let longest = words.max_by_key(|word| word.len()).unwrap();
    assert!(longest.len() < 25, "{longest}");
    world.command(&probe).assert().code(2);
    exchanges
}

/// Each lease, reference and id is a name, or made up by the probe.
fn assert_named(json: &Value) {
    let is_named = |text: &str| text.is_empty() || text.starts_with('<') || text.starts_with("probe");
    match json {
        Value::Object(fields) => {
            for (name, value) in fields {
                if let (Some(text), "lease_id" | "ref" | "id") = (value.as_str(), name.as_str()) {
                    assert!(is_named(text), "{text}");
                }
                if let (Some(warnings), "warnings") = (value.as_object(), name.as_str()) {
                    assert!(warnings.keys().all(|key| is_named(key)), "{warnings:?}");
                }
                assert_named(value);
            }
        }
        Value::Array(values) => values.iter().for_each(assert_named),
        _ => {}
    }
}

/// Records a probe, does something once it has begun, and interrupts it when this is in its files. Returns them.
fn interrupted(name: &str, world: &World, begun: impl FnOnce(), until: impl Fn(&str) -> bool) -> String {
    let answers = folder(name).join("answers");
    let options = ["--probe-lease", "400ms", "--record", answers.to_str().unwrap()];
    let mut command = world.program(&[&["doctor", "--probe", world.id()], options.as_slice()].concat());
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let files = || {
        let files = fs::read_dir(&answers).into_iter().flatten();
        files.map(|file| fs::read_to_string(file.unwrap().path()).unwrap()).collect::<String>()
    };
    eventually("the probe has begun", || !files().is_empty());
    begun();
    eventually("it is recorded", || until(&files()));
    signal(&child, Signal::TERM);
    assert_eq!(child.wait().unwrap().code(), Some(5));
    files()
}

#[test]
fn a_recording_has_no_body_of_a_user() {
    const SECRET: &str = "what only its user may read";
    let world = World::new();
    let messages = [PushMessage::text(SECRET), PushMessage::json(&serde_json::json!({ "user": SECRET })).unwrap()];
    let is_recorded = |files: &str| files.matches(r#""body":"<body>""#).count() >= 2;
    let files = interrupted("user", &world, || world.push(&messages), is_recorded);
    assert!(!files.contains("only its user"), "{files}");
}

#[test]
fn a_recording_has_only_the_length_of_a_page() {
    let world = World::new();
    let inject = || world.emulator.inject(Fault::Challenged.on(Operation::PullMessages));
    let files = interrupted("page", &world, inject, |files| files.contains(r#""cf-mitigated":"challenge""#));
    let response = files.split(r#""cf-mitigated":"challenge""#).nth(1).unwrap().lines().nth(1).unwrap();
    assert!(response.starts_with(r#"  "response": "<"#) && response.ends_with(r#" characters>""#), "{response}");
}

#[test]
fn a_recording_shows_where_the_emulator_answers_otherwise() {
    let turned = [
        ("usual", Behavior::new()),
        ("late", Behavior::new().late_acks(false)),
        ("counts", Behavior::new().counts(false).warnings(WarningsForm::List)),
        ("others", Behavior::new().json_bodies(JsonBodies::Base64).acks_after_extend(false)),
    ];
    let recordings: Vec<_> = turned
        .map(|(name, behavior)| std::thread::spawn(move || (name, recording(name, behavior))))
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .collect();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for (name, exchanges) in recordings {
        let differences = runtime.block_on(recorded::differences(&exchanges, Behavior::new()));
        let (switches, left) = runtime.block_on(recorded::explained(&exchanges));
        let switches: Vec<_> = switches.iter().map(String::as_str).collect();
        let told = differences.join("\n");
        let (says, explaining): (&str, &[&str]) = match name {
            "usual" => ("", &[]),
            "late" => ("result.ackCount is 0, with the emulator 1", &["late_acks=false"]),
            "counts" => ("result.ackCount is absent, with the emulator 1", &["counts=false", "warnings=\"list\""]),
            _ => ("body is `", &["acks_after_extend=false", "json_bodies=\"base64\""]),
        };
        assert!(told.contains(says) && (name == "usual") == told.is_empty(), "{name}: {told}");
        assert_eq!((switches.as_slice(), left.as_slice()), (explaining, [].as_slice()), "{name}");
    }
}

#[test]
fn interrupted_probes_keep_their_report_and_leave_no_message() {
    let world = World::new();
    let mut command = world.program(&["doctor", "--probe", world.id()]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.contains("an unknown field")), "answers are printed as they come");
    assert!(!world.messages().is_empty());
    signal(&child, Signal::TERM);
    let mut errors = String::new();
    child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(5));
    assert!(errors.ends_with("cf-queues: interrupted: the report is not complete\n"), "{errors}");
    assert!(world.messages().is_empty());
}
