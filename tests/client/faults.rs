//! Every fault that a network or a service can produce, and what a caller of each operation sees of it.

use std::{net::TcpListener, sync::atomic::Ordering, time::Duration};

use cloudflare_queues::{Client, Credentials, ErrorKind, Queue};

use support::{Act, Op, RAY, Server};

use crate::tls;

use ErrorKind::*;

pub(crate) const TOKEN: &str = "s3cret-token-0123456789";
pub(crate) const EMAIL: &str = "s3cret-email@example.com";
pub(crate) const KEY: &str = "s3cret-key-0123456789";

const SUCCESS: &str = r#"{"success":true,"errors":[],"messages":[],"result":{}}"#;
const HEAD: &str = "HTTP/1.1 200 OK\r\ncf-ray: 8f1c2d3e4f5a6b7c-FRA\r\n";

/// What befalls every request of a call.
pub(crate) enum Fault {
    Play(Act),
    /// Nobody listens.
    Refuse,
    /// Connections are made and never spoken on.
    Silence,
    /// Connections are closed before a request is read.
    Hangup,
    /// The peer of a TLS handshake speaks something else.
    NoTls,
    /// Requests over TLS to a host of this name, which shows a trusted certificate for `localhost`.
    Tls(&'static str),
}

/// Where a fault awaits requests, and how many it has been sent, if it can tell.
pub(crate) type Place = (String, Option<Box<dyn Fn() -> usize>>);

/// What a caller sees: the kind, or `None` for success; whether the request may have arrived; and how often an
/// operation of three attempts is sent, one that does no harm twice and any other. `None` is as often as the deadline
/// allows.
pub(crate) type Row = (&'static str, Fault, Option<ErrorKind>, bool, Option<[u32; 2]>);

#[rustfmt::skip] // A row a line, so that the whole promise is seen at a glance.
pub(crate) fn table(elsewhere: &str) -> Vec<Row> {
    use Fault::{Hangup, NoTls, Play, Refuse, Silence, Tls};
    let raw = |tail: &str| format!("{HEAD}{tail}").into_bytes();
    let status = |status, headers: &[(&str, &str)], body: &str| Play(Act::Respond(support::response(status, headers, body)));
    let large = format!("x-large: {}\r\ncontent-length: 0\r\n\r\n", "x".repeat(1 << 20));
    let (once, harmless, always) = (Some([1, 1]), Some([3, 1]), Some([3, 3]));
    vec![
        // The fault                               what happens                                             kind
        // arrived  requests
        ("a connection that is refused",           Refuse,                                                  Some(Transport),        false, always),
        ("a connection that is never spoken on",   Silence,                                                 Some(Timeout),          true,  None),
        ("a connection that is closed at once",    Hangup,                                                  Some(Transport),        true,  harmless),
        ("TLS that is none",                       NoTls,                                                   Some(Transport),        false, always),
        ("TLS with a certificate for its name",    Tls("localhost"),                                        None,                   true,  once),
        ("TLS with a certificate for another name", Tls("127.0.0.1"),                                       Some(Transport),        false, always),
        ("a reset during the request",             Play(Act::Reset),                                        Some(Transport),        true,  harmless),
        ("a connection closed after the request",  Play(Act::Cut(Vec::new())),                              Some(Transport),        true,  harmless),
        ("silence after the request",              Play(Act::Stall(Vec::new())),                            Some(Timeout),          true,  None),
        ("a head that is cut off",                 Play(Act::Cut(HEAD.into())),                             Some(Transport),        true,  harmless),
        ("a head that stalls",                     Play(Act::Stall(HEAD.into())),                           Some(Timeout),          true,  None),
        ("a head of 1 MB",                         Play(Act::Cut(raw(&large))),                             Some(Transport),        true,  harmless),
        ("a body that is cut off",                 Play(Act::Cut(raw("content-length: 54\r\n\r\n{"))),      Some(Transport),        true,  harmless),
        ("a body that stalls",                     Play(Act::Stall(raw("content-length: 54\r\n\r\n{"))),    Some(Timeout),          true,  None),
        ("a chunk that is cut off",                Play(Act::Cut(raw("transfer-encoding: chunked\r\n\r\n9\r\n{\"s"))), Some(Transport), true, harmless),
        ("a chunk without a size",                 Play(Act::Cut(raw("transfer-encoding: chunked\r\n\r\nno\r\n"))), Some(Transport), true, harmless),
        ("a length that is too long",              Play(Act::Cut(raw(&format!("content-length: 99\r\n\r\n{SUCCESS}")))), Some(Transport), true, harmless),
        ("a length that is too short",             Play(Act::Cut(raw(&format!("content-length: 9\r\n\r\n{SUCCESS}")))), Some(UnexpectedResponse), true, once),
        ("a length that is no number",             Play(Act::Cut(raw("content-length: no\r\n\r\n{}"))),     Some(Transport),        true,  harmless),
        ("two lengths",                            Play(Act::Cut(raw("content-length: 2\r\ncontent-length: 3\r\n\r\n{}"))), Some(Transport), true, harmless),
        ("a body that never ends",                 Play(Act::Flood(raw("\r\n"), usize::MAX)),               Some(UnexpectedResponse), true,  once),
        ("a body that announces 1 TB",             Play(Act::Stall(raw("content-length: 1099511627776\r\n\r\n"))), Some(UnexpectedResponse), true, once),
        ("one byte after the other",               Play(Act::Drip(raw("content-length: 99\r\n\r\n"))),      Some(Timeout),          true,  None),
        ("garbage",                                Play(Act::Cut(b"\0\xff\x01 garbage \r\n\r\n".to_vec())), Some(Transport),        true,  harmless),
        ("an interim response and no other",         Play(Act::Cut(b"HTTP/1.1 103 Early Hints\r\n\r\n".to_vec())), Some(Transport),   true,  harmless),
        ("a response of no length, as HTTP/1.0 has", Play(Act::Cut(format!("HTTP/1.0 200 OK\r\n\r\n{SUCCESS}").into())), None,           true,  once),
        ("a response that is doubled",              Play(Act::Respond([support::response(200, &[], SUCCESS), support::response(200, &[], "{}")].concat())), None, true, once),
        ("HTML under 200",                         status(200, &[], "<html>"),                              Some(UnexpectedResponse), true,  once),
        ("an empty response",                        status(200, &[], ""),                                    Some(UnexpectedResponse), true,  once),
        ("success without a result",               status(200, &[], r#"{"success":true,"result":null}"#),   Some(UnexpectedResponse), true,  once),
        ("no success under 200",                   status(200, &[], r#"{"success":false}"#),                Some(Rejected),         true,  once),
        ("success under another status",           status(202, &[], SUCCESS),                               Some(UnexpectedResponse), true,  once),
        ("a redirect to another host",             status(307, &[("location", elsewhere)], ""),             Some(UnexpectedResponse), true,  once),
        ("a redirect that turns it into a GET",    status(302, &[("location", elsewhere)], ""),             Some(UnexpectedResponse), true,  once),
        ("refused credentials",                    status(401, &[], "{}"),                                  Some(Unauthorized),     false, once),
        ("no queue",                               status(404, &[], "{}"),                                  Some(NotFound),         false, once),
        ("no pull consumer",                       status(405, &[], "{}"),                                  Some(NotPullConsumer),  false, once),
        ("a request that took too long",           status(408, &[], "{}"),                                  Some(Timeout),          true,  harmless),
        ("a paused queue",                         status(409, &[], "{}"),                                  Some(DeliveryPaused),   false, once),
        ("too many requests",                      Play(support::refused(429, 10250)),                      Some(RateLimited),      false, always),
        ("storage that is full",                   Play(support::refused(429, 10251)),                      Some(RateLimited),      false, once),
        ("a wait beyond the cap",                  status(429, &[("retry-after", "61")], "{}"),             Some(RateLimited),      false, once),
        ("a failing service",                      status(503, &[], "<html>"),                              Some(ServiceFailure),   true,  harmless),
    ]
}

pub(crate) fn place(fault: Fault) -> Place {
    match fault {
        Fault::Refuse => (support::nowhere(), None),
        Fault::Play(act) => {
            let server = Server::playing([act]);
            (server.url.clone(), Some(Box::new(move || server.requests().len())))
        }
        Fault::Tls(name) => {
            let (port, heard) = tls::serve(support::response(200, &[("connection", "close")], SUCCESS));
            (format!("https://{name}:{port}"), Some(Box::new(move || heard.load(Ordering::SeqCst))))
        }
        Fault::Silence | Fault::Hangup | Fault::NoTls => {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let (keeps, scheme) = match fault {
                Fault::Silence => (true, "http"),
                Fault::NoTls => (false, "https"),
                _ => (false, "http"),
            };
            std::thread::spawn(move || {
                let mut kept = Vec::new();
                for stream in listener.incoming().map_while(Result::ok) {
                    kept.extend(keeps.then_some(stream));
                }
            });
            (format!("{scheme}://{address}"), None)
        }
    }
}

/// A queue whose calls are of three attempts, by each sort of credentials. Calls that would hang otherwise end soon.
pub(crate) fn queues(url: &str, hang: bool) -> [Queue; 2] {
    let timeout = if hang { Duration::from_millis(150) } else { Duration::from_secs(30) };
    [Credentials::api_token(TOKEN), Credentials::email_and_key(EMAIL, KEY)].map(|credentials| {
        let builder = Client::builder(credentials.unwrap()).base_url(url).retry(support::quick(3));
        let builder = if url.starts_with("https:") { builder.http_client(tls::client()) } else { builder };
        support::open(builder.call_timeout(timeout))
    })
}

#[tokio::test]
async fn every_fault_ends_in_time_and_says_truly_whether_the_request_may_have_arrived() {
    let elsewhere = Server::playing([support::bare_success()]);
    for (row, fault, kind, may_have_arrived, requests) in table(&elsewhere.url) {
        let (url, heard) = place(fault);
        let heard = || heard.as_ref().map(|heard| heard() as u32);
        let [queue, _] = queues(&url, requests.is_none());
        for op in Op::ALL {
            // What is heard over TLS does not fit its response to the request.
            if op.is_list() && row == "TLS with a certificate for its name" {
                continue;
            }
            let before = heard();
            let call = op.call(&queue);
            // A call that outlives its deadline by so much does not end by itself.
            let result = tokio::time::timeout(Duration::from_secs(60), call).await.expect(row);
            let expected = requests.map(|[harmless, others]| if op.is_idempotent() { harmless } else { others });
            if let (Some(before), Some(after)) = (before, heard()) {
                let sent = after - before;
                // Without a connection, no request and so no credential leaves.
                let expected = if (kind, may_have_arrived) == (Some(Transport), false) { Some(0) } else { expected };
                assert!(expected.map_or(sent <= 3, |expected| sent == expected), "{op:?}, {row}: {sent} requests");
            }
            let Err(error) = result else {
                let is_enough = op.is_without_result() && row == "success without a result";
                assert!(kind.is_none() || is_enough, "{op:?}, {row}");
                continue;
            };
            assert_eq!(Some(error.kind()), kind.map(|kind| op.sees(kind)), "{op:?}, {row}: {error}");
            assert_eq!(error.may_have_arrived(), may_have_arrived, "{op:?}, {row}: {error}");
            assert!(expected.is_none_or(|expected| error.attempts() == expected), "{op:?}, {row}: {error}");
            assert!(error.ray_id().is_none_or(|ray_id| ray_id == RAY), "{op:?}, {row}: {error}");
        }
    }
    assert_eq!(elsewhere.connections(), 0, "a credential went to another host");
}

#[tokio::test]
async fn a_pooled_connection_that_the_service_closed_costs_no_ack_and_doubles_nothing() {
    let success = || support::response(200, &[], SUCCESS);
    // One closes after each response and announces nothing, so that a request may be on its way by then. The other
    // takes in every second request on a connection, and closes instead of responding, which is all the same to a
    // client.
    let closing = [
        Server::playing([Act::Cut(success())]),
        Server::start(move |nth, _| if nth % 2 == 0 { Act::Respond(success()) } else { Act::Cut(Vec::new()) }),
    ];
    for server in closing {
        let queue = support::stubborn_queue(&server.url, 4);
        for op in Op::MESSAGES {
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
