//! Connections that are refused, hang or break, and who owns them.

use std::{
    net::TcpListener,
    thread,
    time::{Duration, Instant},
};

use cloudflare_queues::{
    AckError, ClientBuilder, Error, ErrorKind, PullOptions, PushMessage, Queue,
    emulator::{Emulator, Fault},
};
use tokio::task::JoinSet;

use support::{ACCOUNT, Act, Op, RAY, Server, quick};

use crate::faults::{self, place};

use ErrorKind::{Timeout, Transport};

const SUCCESS: &str = r#"{"success":true,"result":{}}"#;

#[tokio::test]
async fn every_operation_is_retried_if_no_connection_was_made() {
    for op in Op::ALL {
        let error = op.call(&support::stubborn_queue(&support::nowhere(), 3)).await.unwrap_err();
        assert_eq!((error.kind(), error.attempts()), (Transport, 3), "{error}");
        assert!(!error.may_have_arrived(), "{error}");
        assert!(error.to_string().contains("the connection could not be made"), "{error}");
        assert_eq!((error.status(), error.ray_id()), (None, None));
        assert_eq!(error.operation(), Some(op.id()));
    }
}

#[tokio::test]
async fn may_have_arrived_covers_all_attempts() {
    // No other test listens there, so that none takes the port once it is given back.
    let listener = TcpListener::bind("[::1]:0").or_else(|_| TcpListener::bind("127.0.0.1:0")).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        stream.peek(&mut [0]).unwrap();
        // The listener is gone before the first attempt fails.
        drop(listener);
    });
    let error = Op::Ack.call(&support::stubborn_queue(&url, 3)).await.unwrap_err();
    server.join().unwrap();
    assert_eq!((error.kind(), error.attempts()), (Transport, 3), "{error}");
    assert!(error.may_have_arrived(), "the first of three attempts may have: {error}");
}

#[tokio::test]
async fn every_operation_is_retried_after_a_failed_handshake() {
    for op in Op::ALL {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let server = thread::spawn(move || (0..3).for_each(|_| drop(listener.accept().unwrap())));
        let error = op.call(&support::stubborn_queue(&url, 3)).await.unwrap_err();
        server.join().unwrap();
        assert_eq!((error.kind(), error.attempts(), error.may_have_arrived()), (Transport, 3, false), "{error}");
    }
}

#[tokio::test]
async fn max_in_flight_bounds_the_connections() {
    let server = Server::playing([support::bare_success()]);
    let queue = support::open(support::builder(&server.url).max_in_flight(4));
    let mut calls = JoinSet::new();
    for _ in 0..1000 {
        let queue = queue.clone();
        calls.spawn(async move { Op::Ack.call(&queue).await });
    }
    while let Some(call) = calls.join_next().await {
        call.unwrap().unwrap();
    }
    assert_eq!(server.requests().len(), 1000);
    assert!(server.connections() <= 8, "{}", server.connections());
}

#[test]
#[cfg(unix)]
fn a_lack_of_descriptors_is_named_with_what_to_do() {
    use std::{env, fs::File, iter, process::Command};

    // In a process of its own, since the other tests need some.
    const CHILD: &str = "WIRE_TEST_LACKS_DESCRIPTORS";
    if env::var_os(CHILD).is_none() {
        let test = "connections::a_lack_of_descriptors_is_named_with_what_to_do";
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -n 64 && exec \"$0\" --exact \"$1\""]).arg(env::current_exe().unwrap()).arg(test);
        let output = command.env(CHILD, "1").output().unwrap();
        assert!(output.status.success(), "{output:?}");
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let queue = support::queue(&support::nowhere());
    let files: Vec<_> = iter::from_fn(|| File::open("/dev/null").ok()).collect();
    let error = runtime.block_on(Op::Pull.call(&queue)).unwrap_err();
    drop(files);
    assert_eq!((error.kind(), error.may_have_arrived()), (Transport, false), "{error}");
    assert!(error.to_string().contains("no descriptor left") && error.next_step().contains("max_in_flight"), "{error}");
}

#[tokio::test]
async fn errors_of_stalled_bodies_keep_status_and_ray_id() {
    let stall = format!("HTTP/1.1 200 OK\r\ncf-ray: {RAY}\r\ncontent-length: 500\r\n\r\n{{");
    let server = Server::playing([Act::Stall(stall.into_bytes())]);
    // A busy machine may not receive the head within a short time.
    let with_status = async |timeout| {
        let error =
            Op::Pull.call(&support::open(support::builder(&server.url).call_timeout(timeout))).await.unwrap_err();
        assert_eq!(error.kind(), Timeout, "{error}");
        error.status().map(|status| (status, error.ray_id().map(str::to_owned)))
    };
    let mut timeout = Duration::from_millis(100);
    let seen = loop {
        match with_status(timeout).await {
            None if timeout < Duration::from_secs(100) => timeout *= 2,
            seen => break seen,
        }
    };
    assert_eq!(seen, Some((200, Some(RAY.to_owned()))));
}

/// A queue of an emulator, with retries that follow at once.
fn on(emulator: &Emulator, builder: impl FnOnce(ClientBuilder) -> ClientBuilder) -> Queue {
    let client = builder(emulator.in_process_builder().unwrap().retry(quick(5))).build().unwrap();
    client.queue(emulator.account_id(), emulator.queue_id()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn only_idempotent_operations_are_retried_after_a_timeout() {
    for op in Op::ALL {
        let emulator = Emulator::in_process();
        let queue = on(&emulator, |builder| builder.request_timeout(Duration::from_secs(1)));
        emulator.inject(Fault::Delay(Duration::from_secs(60)));
        let kind = op.call(&queue).await.err().map(|error| error.kind());
        assert_eq!(kind == Some(Timeout), !op.is_idempotent(), "{op:?}: {kind:?}");
        assert_eq!(emulator.requests(), if op.is_idempotent() { 2 } else { 1 }, "{op:?}");
    }
}

#[tokio::test]
async fn an_ack_past_its_deadline_is_sent_once() {
    let failure = || Act::Respond(support::response(500, &[], ""));
    let server = Server::playing([failure(), failure(), support::ok(SUCCESS)]);
    let mut request = support::acks(["a", "b"]).deadline(Instant::now());
    let queue = support::stubborn_queue(&server.url, 3);
    // The second time, it is what the first one returned, with the deadline.
    for _ in 0..2 {
        let AckError { error, unconfirmed, .. } = queue.ack(request).await.unwrap_err();
        assert_eq!((error.status(), error.attempts()), (Some(500), 1), "{error}");
        assert_eq!(support::leases(&unconfirmed), ["a", "b"]);
        request = unconfirmed;
    }
    assert!(queue.ack(request).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_counted_from_the_attempt_that_succeeded() {
    let emulator = Emulator::in_process();
    let queue = on(&emulator, |builder| builder);
    queue.push(&PushMessage::text("hello")).await.unwrap();
    emulator.inject(Fault::RateLimited { code: 10250, retry_after: Some(Duration::from_secs(1)) });
    let start = tokio::time::Instant::now();
    let lease = Duration::from_millis(500);
    let batch = queue.pull(PullOptions::new().visibility_timeout(lease)).await.unwrap();
    let waited = start.elapsed();
    assert!(waited >= Duration::from_secs(1), "{waited:?}");
    assert_eq!(batch.messages[0].lease_deadline, (start + waited + lease).into_std());

    emulator.inject(Fault::Slow { before: lease / 4, after: lease / 4, fault: None });
    let start = tokio::time::Instant::now();
    let extended = queue.extend(&batch, Duration::from_secs(60)).await.unwrap();
    assert_eq!((start.elapsed(), extended.deadline()), (lease / 2, Some((start + Duration::from_secs(60)).into_std())));
}

#[tokio::test]
async fn an_ack_is_not_sent_again_after_its_deadline() {
    let server = Server::playing([Act::Respond(support::response(503, &[("retry-after", "60")], ""))]);
    let request = support::acks(["a"]).deadline(Instant::now() + Duration::from_secs(55));
    let error = support::stubborn_queue(&server.url, 3).ack(request).await.unwrap_err().error;
    assert_eq!((error.kind(), error.attempts()), (ErrorKind::ServiceFailure, 1), "{error}");
    assert!(error.to_string().contains("deadline leaves no time for another attempt"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_deadline_far_away_does_not_extend_the_call() {
    let emulator = Emulator::in_process();
    emulator.inject(Fault::Delay(Duration::from_secs(3600)));
    let start = tokio::time::Instant::now();
    let request = support::acks(["a"]).deadline((start + Duration::from_secs(3600)).into_std());
    let queue = on(&emulator, |builder| builder.call_timeout(Duration::from_secs(10)));
    let error = queue.ack(request).await.unwrap_err().error;
    assert_eq!((error.kind(), start.elapsed()), (Timeout, Duration::from_secs(10)), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_request_may_take_30_seconds_and_a_call_120() {
    let emulator = Emulator::in_process();
    let client = emulator.in_process_builder().unwrap().build().unwrap();
    let queue = client.queue(emulator.account_id(), emulator.queue_id()).unwrap();
    emulator.inject(Fault::Delay(Duration::from_secs(3600)).until_removed());
    let took = async |op: Op| {
        let start = tokio::time::Instant::now();
        assert_eq!(op.call(&queue).await.unwrap_err().kind(), Timeout);
        start.elapsed()
    };
    assert_eq!(took(Op::Push).await, Duration::from_secs(30), "it is sent once");
    // Four attempts, and what is left after the waits between them.
    assert_eq!(took(Op::Ack).await, Duration::from_secs(120));
}

#[tokio::test]
async fn the_connect_timeout_bounds_connecting_and_nothing_else() {
    let (silent, stalled) = (place(faults::Fault::Silence), place(faults::Fault::Play(Act::Stall(Vec::new()))));
    // Nobody responds to the handshake.
    let handshake = silent.url.replace("http:", "https:");
    for (place, url, is_connected, seconds) in [(&silent, &handshake, false, 2), (&stalled, &stalled.url, true, 30)] {
        let queue = support::open(support::builder(url).connect_timeout(Duration::from_secs(2)));
        let call = async {
            let start = tokio::time::Instant::now();
            (Op::Ack.call(&queue).await.unwrap_err(), start.elapsed().as_secs())
        };
        let (error, took) = place.call(true, call).await;
        assert_eq!((error.kind(), error.may_have_arrived(), took), (Timeout, is_connected, seconds), "{error}");
    }
}

#[tokio::test]
async fn timeouts_of_any_length_are_fine() {
    let server = Server::playing([support::ok(SUCCESS)]);
    let builder = support::builder(&server.url).call_timeout(Duration::MAX).request_timeout(Duration::MAX);
    Op::Ack.call(&support::open(builder.connect_timeout(Duration::MAX))).await.unwrap();
}

#[tokio::test]
async fn requests_go_through_the_given_proxy() {
    let proxy = Server::playing([support::ok(SUCCESS)]);
    let builder = support::builder("http://queues.invalid/client/v4").allow_plain_http();
    let queue = support::open(builder.proxy(reqwest::Proxy::all(&proxy.url).unwrap()));
    for op in Op::ALL {
        op.call(&queue).await.unwrap();
    }
    let requests = proxy.requests();
    assert_eq!(requests.len(), Op::ALL.len());
    let path = format!(" http://queues.invalid/client/v4/accounts/{ACCOUNT}/");
    assert!(requests.iter().all(|request| request.line.contains(&path)), "{requests:?}");
}

#[tokio::test]
async fn requests_go_through_the_given_client_with_our_user_agent() {
    let server = Server::playing([support::ok(SUCCESS)]);
    let mut headers = reqwest::header::HeaderMap::new();
    headers.insert("x-of-the-application", "yes".parse().unwrap());
    let http = reqwest::Client::builder().no_proxy().user_agent("another").default_headers(headers).build().unwrap();
    Op::Ack.call(&support::open(support::builder(&server.url).http_client(http))).await.unwrap();
    let request = server.requests().remove(0);
    assert_eq!(request.headers["x-of-the-application"], "yes");
    assert_eq!(request.headers["user-agent"], concat!("cloudflare-queues/", env!("CARGO_PKG_VERSION")));
    assert_eq!(request.headers["authorization"], format!("Bearer {}", support::TOKEN));
}

#[tokio::test]
async fn calls_share_a_connection() {
    let server = Server::playing([support::ok(SUCCESS)]);
    let queue = support::queue(&server.url);
    for op in Op::ALL {
        op.call(&queue).await.unwrap();
        op.call(&queue.clone()).await.unwrap();
    }
    assert_eq!((server.requests().len(), server.connections()), (2 * Op::ALL.len(), 1));
}

#[test]
fn an_error_is_one_word_wide_and_can_cross_threads() {
    fn shared<T: Send + Sync + std::error::Error + 'static>() {}
    shared::<Error>();
    assert_eq!(size_of::<Error>(), size_of::<usize>());
}

#[tokio::test]
async fn a_given_client_that_follows_a_redirect_is_found_out() {
    let other = Server::playing([support::ok(SUCCESS)]);
    let server = Server::playing([Act::Respond(support::response(307, &[("location", &other.url)], ""))]);
    let builder = support::builder(&server.url).http_client(reqwest::Client::builder().no_proxy().build().unwrap());
    let error = Op::Ack.call(&support::open(builder)).await.unwrap_err();
    assert_eq!((error.kind(), error.may_have_arrived()), (ErrorKind::UnexpectedResponse, true), "{error}");
    assert!(error.to_string().contains("followed a redirect"), "{error}");
    assert_eq!(other.requests().len(), 1);
}

#[tokio::test]
async fn the_timeouts_of_a_given_client_are_timeouts() {
    let server = Server::playing([Act::Stall(Vec::new())]);
    let (given, soon) = (|| reqwest::Client::builder().no_proxy(), Duration::from_secs(1));
    let queue = |url: &str, given: reqwest::ClientBuilder| {
        support::open(support::builder(url).http_client(given.build().unwrap()).retry(quick(1)))
    };
    let late = queue(&server.url, given().timeout(soon));
    let error = support::unanswered(&server.arrivals(), Op::Ack.call(&late)).await.unwrap_err();
    assert_eq!((error.kind(), error.may_have_arrived()), (Timeout, true), "{error}");

    // Nobody responds to the handshake.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let unconnected = queue(&format!("https://{}", silent.local_addr().unwrap()), given().connect_timeout(soon));
    let error = Op::Ack.call(&unconnected).await.unwrap_err();
    assert_eq!((error.kind(), error.may_have_arrived()), (Timeout, false), "{error}");
}
