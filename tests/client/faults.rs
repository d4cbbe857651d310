//! Every fault of a network or a service, and what the caller of each operation sees.

use std::{
    net::TcpListener,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use cloudflare_queues::{Client, Credentials, ErrorKind, PushMessage, Pusher, Queue, pusher::PusherOptions};

use support::{Act, Arrivals, Op, RAY, Server};

use crate::tls;

use ErrorKind::*;

pub(crate) const TOKEN: &str = "s3cret-token-0123456789";
pub(crate) const EMAIL: &str = "s3cret-email@example.com";
pub(crate) const KEY: &str = "s3cret-key-0123456789";

const SUCCESS: &str = r#"{"success":true,"errors":[],"messages":[],"result":{}}"#;
const HEAD: &str = "HTTP/1.1 200 OK\r\ncf-ray: 8f1c2d3e4f5a6b7c-FRA\r\n";

/// The fault of every request of a call.
pub(crate) enum Fault {
    Play(Act),
    /// Nothing listens.
    Refuse,
    /// Connections are accepted and never used.
    Silence,
    /// Connections are closed before a request is read.
    Hangup,
    /// The peer of a TLS handshake speaks something else.
    NoTls,
    /// Requests over TLS to a host of this name, which shows a trusted certificate for `localhost`.
    Tls(&'static str),
}

/// Where requests get a fault.
pub(crate) struct Place {
    pub(crate) url: String,
    /// How many requests were sent, if known.
    sent: Option<Box<dyn Fn() -> usize>>,
    arrivals: Arc<Arrivals>,
}

impl Place {
    pub(crate) fn of(server: Server) -> Self {
        let (url, arrivals) = (server.url.clone(), server.arrivals());
        Self { url, sent: Some(Box::new(move || server.requests().len())), arrivals }
    }

    pub(crate) async fn call<F: Future>(&self, hangs: bool, call: F) -> F::Output {
        if hangs { support::unanswered(&self.arrivals, call).await } else { call.await }
    }
}

/// What a caller sees.
#[derive(Clone, Copy)]
pub(crate) struct Seen {
    /// `None` for success.
    kind: Option<ErrorKind>,
    may_have_arrived: bool,
    /// How often an operation of three attempts is sent: an idempotent one, and any other.
    requests: [u32; 2],
    /// Whether no response comes.
    pub(crate) hangs: bool,
}

impl Seen {
    const SUCCESS: Self = Self { kind: None, may_have_arrived: true, requests: ONCE, hangs: false };
    /// Nothing arrived.
    const UNSENT: Self = Self { kind: Some(Transport), may_have_arrived: false, requests: ALWAYS, hangs: false };
    /// It may have arrived and been carried out.
    const LOST: Self = Self { kind: Some(Transport), may_have_arrived: true, requests: IDEMPOTENT, hangs: false };
    const LATE: Self = Self { kind: Some(Timeout), hangs: true, ..Self::LOST };
    const UNREADABLE: Self = Self { kind: Some(UnexpectedResponse), ..Self::SUCCESS };
    const FAILED: Self = Self { kind: Some(ServiceFailure), ..Self::LOST };
    const BUSY: Self = Self { kind: Some(RateLimited), ..Self::UNSENT };

    /// Someone has to act before the same request can succeed.
    const fn refused(kind: ErrorKind) -> Self {
        Self { kind: Some(kind), may_have_arrived: false, requests: ONCE, hangs: false }
    }
}

const ONCE: [u32; 2] = [1, 1];
const IDEMPOTENT: [u32; 2] = [3, 1];
const ALWAYS: [u32; 2] = [3, 3];

type Row = (&'static str, Fault, Seen);

/// The table of retries: every fault, and its result.
#[rustfmt::skip] // One line per row, so that the whole promise is visible at a glance.
pub(crate) fn table(elsewhere: &str) -> Vec<Row> {
    use Fault::{Hangup, NoTls, Play, Refuse, Silence, Tls};
    let raw = |tail: &str| format!("{HEAD}{tail}").into_bytes();
    let cut = |tail: &str| Play(Act::Cut(raw(tail)));
    let stall = |tail: &str| Play(Act::Stall(raw(tail)));
    let sent = |bytes: &[u8]| Play(Act::Cut(bytes.to_vec()));
    let status = |status, headers: &[(&str, &str)]| Play(Act::Respond(support::response(status, headers, "{}")));
    let page = |status| Play(Act::Respond(support::response(status, &[], "<html>")));
    let body = |body: &str| Play(support::ok(body));
    let code = |status, code| Play(support::refused(status, code));
    let doubled = [support::response(200, &[], SUCCESS), support::response(200, &[], "{}")].concat();
    let late_request = Seen { kind: Some(Timeout), ..Seen::FAILED };
    let unsuccessful = Seen { kind: Some(Rejected), ..Seen::UNREADABLE };
    let mut rows = vec![
        ("a connection that is refused", Refuse, Seen::UNSENT),
        ("a connection that is never spoken on", Silence, Seen::LATE),
        ("a connection that is closed at once", Hangup, Seen::LOST),
        ("TLS that is none", NoTls, Seen::UNSENT),
        ("TLS with a certificate for its name", Tls("localhost"), Seen::SUCCESS),
        ("TLS with a certificate for another name", Tls("127.0.0.1"), Seen::UNSENT),
        ("a reset during the request", Play(Act::Reset), Seen::LOST),
        ("a connection closed after the request", sent(b""), Seen::LOST),
        ("silence after the request", Play(Act::Stall(Vec::new())), Seen::LATE),
        ("a head that is cut off", cut(""), Seen::LOST),
        ("a head that stalls", stall(""), Seen::LATE),
        ("a head of 1 MB", cut(&format!("x-large: {}\r\ncontent-length: 0\r\n\r\n", "x".repeat(1 << 20))), Seen::LOST),
        ("a body that is cut off", cut("content-length: 54\r\n\r\n{"), Seen::LOST),
        ("a body that stalls", stall("content-length: 54\r\n\r\n{"), Seen::LATE),
        ("a chunk that is cut off", cut("transfer-encoding: chunked\r\n\r\n9\r\n{\"s"), Seen::LOST),
        ("a chunk without a size", cut("transfer-encoding: chunked\r\n\r\nno\r\n"), Seen::LOST),
        ("a length that is too long", cut(&format!("content-length: 99\r\n\r\n{SUCCESS}")), Seen::LOST),
        ("a length that is too short", cut(&format!("content-length: 9\r\n\r\n{SUCCESS}")), Seen::FAILED),
        ("a length that is no number", cut("content-length: no\r\n\r\n{}"), Seen::LOST),
        ("two lengths", cut("content-length: 2\r\ncontent-length: 3\r\n\r\n{}"), Seen::LOST),
        ("a body that never ends", Play(Act::Flood(raw("\r\n"), usize::MAX)), Seen::UNREADABLE),
        ("a body that announces 1 TB", stall("content-length: 1099511627776\r\n\r\n"), Seen::UNREADABLE),
        ("one byte after the other", Play(Act::Drip(raw("content-length: 99\r\n\r\n"))), Seen::LATE),
        ("garbage", sent(b"\0\xff\x01 garbage \r\n\r\n"), Seen::LOST),
        ("another protocol", sent(b"SSH-2.0-OpenSSH_9.9\r\n\r\n"), Seen::LOST),
        ("an interim response and no other", sent(b"HTTP/1.1 103 Early Hints\r\n\r\n"), Seen::LOST),
        ("a response without a length", sent(format!("HTTP/1.0 200 OK\r\n\r\n{SUCCESS}").as_bytes()), Seen::SUCCESS),
        ("a response that is doubled", Play(Act::Respond(doubled)), Seen::SUCCESS),
        ("HTML under 200", body("<html>"), Seen::FAILED),
        ("an empty response", body(""), Seen::FAILED),
        ("JSON that is cut off", body(r#"{"success":true,"#), Seen::FAILED),
        ("success without a result", body(r#"{"success":true,"result":null}"#), Seen::UNREADABLE),
        ("no success under 200", body(r#"{"success":false}"#), unsuccessful),
        ("success under another status", Play(Act::Respond(support::response(202, &[], SUCCESS))), Seen::SUCCESS),
        ("success under a failure's status", Play(Act::Respond(support::response(500, &[], SUCCESS))), Seen::FAILED),
        ("a compressed response", status(200, &[("content-encoding", "gzip")]), Seen::FAILED),
        ("a redirect to another host", status(307, &[("location", elsewhere)]), Seen::FAILED),
        ("a redirect that turns it into a GET", status(302, &[("location", elsewhere)]), Seen::FAILED),
        ("malformed credentials", code(400, 6003), Seen::refused(Unauthorized)),
        ("refused credentials", code(401, 10000), Seen::refused(Unauthorized)),
        ("a lacking permission", code(403, 10000), Seen::refused(Unauthorized)),
        ("a refused request", code(400, 10026), Seen::refused(Rejected)),
        ("no queue", code(404, 11000), Seen::refused(NotFound)),
        ("no pull consumer", code(405, 0), Seen::refused(NotPullConsumer)),
        ("a request that took too long", status(408, &[]), late_request),
        ("a paused queue", code(409, 0), Seen::refused(DeliveryPaused)),
        ("a wait beyond the cap", status(429, &[("retry-after", "61")]), Seen::refused(RateLimited)),
        ("too many requests", page(429), Seen::BUSY),
        ("a page of a proxy", page(403), Seen::FAILED),
        ("another page of a proxy", page(404), Seen::FAILED),
        ("a failing service", code(500, 15000), Seen::FAILED),
        ("a page of the edge", page(502), Seen::FAILED),
        ("another page of the edge", page(522), Seen::FAILED),
    ];
    rows.extend([971, 10250, 10429].map(|limit| ("a rate", code(429, limit), Seen::BUSY)));
    rows.extend([10251, 10252, 10253].map(|quota| ("a quota", code(429, quota), Seen::refused(RateLimited))));
    rows
}

pub(crate) fn place(fault: Fault) -> Place {
    let arrivals = Arc::new(Arrivals::default());
    match fault {
        Fault::Refuse => Place { url: support::nowhere(), sent: None, arrivals },
        Fault::Play(act) => Place::of(Server::playing([act])),
        Fault::Tls(name) => {
            let (port, heard) = tls::serve(support::response(200, &[("connection", "close")], SUCCESS));
            let sent = Box::new(move || heard.load(Ordering::SeqCst));
            Place { url: format!("https://{name}:{port}"), sent: Some(sent), arrivals }
        }
        Fault::Silence | Fault::Hangup | Fault::NoTls => {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let (keeps, scheme) = match fault {
                Fault::Silence => (true, "http"),
                Fault::NoTls => (false, "https"),
                _ => (false, "http"),
            };
            let arrived = Arc::clone(&arrivals);
            std::thread::spawn(move || {
                let mut kept = Vec::new();
                for stream in listener.incoming().map_while(Result::ok) {
                    if keeps && stream.peek(&mut [0]).is_ok() {
                        kept.push(stream);
                        arrived.add();
                    }
                }
            });
            Place { url: format!("{scheme}://{address}"), sent: None, arrivals }
        }
    }
}

/// A queue whose calls have three attempts, with each kind of credentials.
pub(crate) fn queues(url: &str) -> [Queue; 2] {
    [Credentials::api_token(TOKEN), Credentials::email_and_key(EMAIL, KEY)].map(|credentials| {
        let builder = Client::builder(credentials.unwrap()).base_url(url).retry(support::quick(3));
        let builder = if url.starts_with("https:") { builder.http_client(tls::client()) } else { builder };
        support::open(builder)
    })
}

#[tokio::test]
async fn faults_end_calls_and_report_whether_they_may_have_arrived() {
    let elsewhere = Server::playing([support::bare_success()]);
    for (row, fault, seen) in table(&elsewhere.url) {
        let Seen { kind, may_have_arrived, requests: [twice, others], hangs } = seen;
        let place = place(fault);
        let sent = || place.sent.as_ref().map(|sent| sent() as u32);
        let [queue, _] = queues(&place.url);
        for op in Op::ALL {
            // What is heard over TLS does not fit its response to the request.
            if op.is_list() && row == "TLS with a certificate for its name" {
                continue;
            }
            let before = sent();
            let result = place.call(hangs, op.call(&queue)).await;
            let expected = if op.is_idempotent() { twice } else { others };
            // A request that timed out may arrive later.
            if let (Some(before), Some(after), false) = (before, sent(), hangs) {
                // Without a connection, no request and so no credential leaves.
                let expected = if (kind, may_have_arrived) == (Some(Transport), false) { 0 } else { expected };
                assert_eq!(after - before, expected, "{op:?}, {row}");
            }
            let Err(error) = result else {
                let is_enough = op.may_lack_a_result() && row == "success without a result";
                assert!(kind.is_none() || is_enough, "{op:?}, {row}");
                continue;
            };
            assert_eq!(Some(error.kind()), kind.map(|kind| op.sees(kind)), "{op:?}, {row}: {error}");
            assert_eq!(error.may_have_arrived(), may_have_arrived, "{op:?}, {row}: {error}");
            assert_eq!(error.attempts(), expected, "{op:?}, {row}: {error}");
            assert_eq!(error.operation(), Some(op.id()), "{row}: {error}");
            assert!(error.ray_id().is_none_or(|ray_id| ray_id == RAY), "{op:?}, {row}: {error}");
        }
    }
    assert_eq!(elsewhere.connections(), 0, "a credential went to another host");
}

/// Each row of the README's table, and faults that are of its kind.
#[test]
fn the_readmes_table_of_failures_is_that_of_retries() {
    let (retried, error) = ("retried", "error");
    let rows = [
        (
            "no connection was made; 429, unless a quota is used up",
            [retried, retried],
            ALWAYS,
            &["a connection that is refused", "TLS that is none", "too many requests", "a rate"][..],
        ),
        (
            "the connection broke or timed out later; 408; 5xx; a response that is not the service's",
            [retried, "error: it may have been carried out"],
            IDEMPOTENT,
            &[
                "a reset during the request",
                "a body that is cut off",
                "silence after the request",
                "a request that took too long",
                "a failing service",
                "a page of the edge",
            ],
        ),
        (
            "anything else",
            [error, error],
            ONCE,
            &["a quota", "refused credentials", "a lacking permission", "a refused request", "no queue"],
        ),
    ];
    let table = table("https://elsewhere.invalid");
    for (failure, cells, requests, faults) in rows {
        let row = format!("\n| {failure} | {} | {} |\n", cells[0], cells[1]);
        assert!(include_str!("../../README.md").contains(&row), "{row}");
        for name in faults {
            let seen: Vec<_> = table.iter().filter(|(row, ..)| row == name).map(|(.., seen)| seen).collect();
            assert!(!seen.is_empty(), "{name}");
            for seen in seen {
                let may_have_arrived = cells[1].contains("carried out");
                assert_eq!((seen.requests, seen.may_have_arrived), (requests, may_have_arrived), "{name}");
            }
        }
    }
}

#[tokio::test]
async fn a_receipt_says_what_every_fault_did_to_its_message() {
    let elsewhere = Server::playing([support::bare_success()]);
    for (row, fault, seen) in table(&elsewhere.url) {
        let Seen { kind, may_have_arrived, requests: [_, requests], hangs } = seen;
        let place = place(fault);
        let sent = || place.sent.as_ref().map(|sent| sent() as u32);
        let [queue, _] = queues(&place.url);
        let options = PusherOptions::new().linger(Duration::ZERO).give_up_after(Duration::ZERO);
        let pusher = Pusher::with_options(queue, options).unwrap();
        let (before, message) = (sent(), PushMessage::text("hello"));
        let outcome = place.call(hangs, async { pusher.push(message.clone()).await.unwrap().await }).await;
        if let (Some(before), Some(after), false) = (before, sent(), hangs) {
            let is_unsent = (kind, may_have_arrived) == (Some(Transport), false);
            assert_eq!(after - before, if is_unsent { 0 } else { requests }, "{row}");
        }
        match outcome {
            Ok(()) => assert!(kind.is_none() || row == "success without a result", "{row}"),
            Err(failed) => {
                assert_eq!(Some(failed.error.kind()), kind, "{row}: {}", failed.error);
                assert_eq!(failed.error.may_have_arrived(), may_have_arrived, "{row}: {}", failed.error);
                assert_eq!(failed.message, (!may_have_arrived).then_some(message), "{row}");
            }
        }
    }
}

#[tokio::test]
async fn a_closed_pooled_connection_loses_and_duplicates_nothing() {
    let success = || support::response(200, &[], SUCCESS);
    // One closes after each response and announces nothing, so that a request may be on its way by then. The other
    // takes in every second request on a connection, and closes instead of responding, which is all the same to a
    // client.
    let closing = [
        Server::playing([Act::Cut(success())]),
        Server::start(move |nth, _| if nth % 2 == 0 { Act::Respond(success()) } else { Act::Cut(Vec::new()) }),
    ];
    for server in closing {
        for op in Op::ALL {
            let queue = support::stubborn_queue(&server.url, 4);
            for _ in 0..20 {
                let before = server.requests().len();
                let result = op.call(&queue).await;
                let received = server.requests().len() - before;
                if let Err(error) = result {
                    assert!(!op.is_idempotent(), "{op:?}: {error}");
                    assert!(error.kind() == Transport && error.may_have_arrived(), "{op:?}: {error}");
                }
                assert!(op.is_idempotent() || received <= 1, "{op:?} was received {received} times");
            }
        }
    }
}
