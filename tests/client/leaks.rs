//! No fault makes the client show a secret, to its caller, in a trace, or on the terminal.

use std::{env, error::Error as _, fmt::Write, process::Command};

use cloudflare_queues::Error;
use serde_json::json;
use tokio::runtime::Builder;

use support::{Act, Op, Server};

use crate::{
    faults::{EMAIL, Fault, KEY, Place, TOKEN, place, queues, table},
    trace,
};

const LEASE: &str = "s3cret-lease..eyJhbGciOiJkaXIifQ";
const BODY: &str = "s3cret-body, of a customer";

/// Everything that an error and its sources can show.
fn shown(error: &Error) -> String {
    let mut text = format!("{error} {error:?} {error:#?}");
    let mut source = error.source();
    while let Some(error) = source {
        write!(text, " {error} {error:?} {error:#?}").unwrap();
        source = error.source();
    }
    text
}

/// Responses that quote every secret.
fn quoting() -> impl Iterator<Item = Fault> {
    let quote = format!("{TOKEN} {EMAIL} {KEY} {LEASE} {BODY}");
    let html = format!("<html>{quote}</html>");
    let responses = [(200, html.clone()), (503, html), (200, quote)].into_iter();
    responses.map(|(status, body)| Fault::Play(Act::Respond(support::response(status, &[], body))))
}

/// Responses that quote what the service was sent, and nothing else: other text cannot be recognised as a secret.
fn echoing() -> Server {
    Server::start(|nth, request| {
        let sent = format!("{:?} {}", request.headers, String::from_utf8_lossy(&request.body));
        let known = [TOKEN, EMAIL, KEY, LEASE, BODY].into_iter().filter(|secret| sent.contains(secret));
        let fault = json!({"code": 10250, "message": known.collect::<Vec<_>>().join(" ")});
        let body = json!({"success": false, "errors": [fault.clone(), fault]}).to_string();
        Act::Respond(support::response([400, 429, 503, 200][nth % 4], &[], body))
    })
}

/// In a process of its own, of which nothing else writes to the terminal.
#[test]
fn no_fault_leaks_a_secret_or_writes_to_the_terminal() {
    const CHILD: &str = "WIRE_TEST_SHOWS_FAULTS";
    if env::var_os(CHILD).is_some() {
        return Builder::new_current_thread().enable_all().build().unwrap().block_on(errors_and_traces_show_nothing());
    }
    let test = "leaks::no_fault_leaks_a_secret_or_writes_to_the_terminal";
    let mut command = Command::new(env::current_exe().unwrap());
    let output = command.args(["--exact", test, "--nocapture"]).env(CHILD, "1").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    // The test runner writes only to its standard output, where lints of the library allow no line of ours.
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert!(!String::from_utf8_lossy(&output.stdout).contains("s3cret"));
}

async fn errors_and_traces_show_nothing() {
    trace::keep();
    let elsewhere = Server::playing([support::bare_success()]);
    let mut errors = String::new();
    let faults = table(&elsewhere.url).into_iter().map(|(_, fault, seen)| (place(fault), seen.hangs));
    let mut places: Vec<_> = faults.chain(quoting().map(|fault| (place(fault), false))).collect();
    let echoing = Place::of(echoing());
    let echoes = echoing.url.clone();
    places.push((echoing, false));
    for (place, hangs) in places {
        for queue in queues(&place.url) {
            // The other operations work in the same way, and only this place quotes what it was sent.
            let ops = if place.url == echoes { &Op::ALL[..] } else { &Op::MESSAGES[..] };
            for op in ops {
                if let Err(error) = place.call(hangs, op.call_with(&queue, LEASE, BODY)).await {
                    errors += &shown(&error);
                }
            }
        }
    }
    let trace = trace::kept();
    assert!(trace.contains("sending the request again") && trace.contains("hyper_util"), "nothing was traced");
    for text in [errors, trace] {
        let leak = text.lines().find(|line| line.contains("s3cret"));
        assert_eq!(leak, None);
    }
}
