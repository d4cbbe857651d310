//! Credentials that change while the client runs.

use std::{
    future::pending,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use cloudflare_queues::{Client, Credentials, ErrorKind, PullOptions, Queue, RetryPolicy, emulator::Emulator};
use support::{ACCOUNT, QUEUE, Server};
use tokio::time::{Instant, sleep};

/// A server that accepts one token, a queue, and how often its provider was called.
struct World {
    server: Server,
    queue: Queue,
    accepted: Arc<Mutex<&'static str>>,
    provided: Arc<Mutex<Result<&'static str, &'static str>>>,
    asked: Arc<AtomicUsize>,
}

fn world() -> World {
    let accepted = Arc::new(Mutex::new("first-token"));
    let provided = Arc::new(Mutex::new(Ok("first-token")));
    let asked = Arc::new(AtomicUsize::new(0));
    let expected = Arc::clone(&accepted);
    let server = Server::start(move |_, request| {
        match request.headers["authorization"] == format!("Bearer {}", expected.lock().unwrap()) {
            true => support::ok(r#"{"success":true,"result":{}}"#),
            false => support::refused(401, 10000),
        }
    });
    let (present, count) = (Arc::clone(&provided), Arc::clone(&asked));
    let credentials = Credentials::from_provider(move || {
        count.fetch_add(1, Ordering::SeqCst);
        let present = *present.lock().unwrap();
        async move {
            tokio::task::yield_now().await;
            Ok(Credentials::api_token(present?)?)
        }
    });
    let client = Client::builder(credentials).base_url(&server.url).retry(RetryPolicy::none()).build().unwrap();
    World { queue: client.queues(ACCOUNT).unwrap().queue(QUEUE).unwrap(), server, accepted, provided, asked }
}

impl World {
    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    async fn pull(&self) -> Result<(), ErrorKind> {
        self.queue.pull(PullOptions::new()).await.map(drop).map_err(|error| error.kind())
    }
}

#[tokio::test]
async fn a_replaced_token_is_requested_again_before_the_call_fails() {
    let world = world();
    assert_eq!((world.pull().await, world.pull().await, world.asked()), (Ok(()), Ok(()), 1));
    *world.accepted.lock().unwrap() = "second-token";
    *world.provided.lock().unwrap() = Ok("second-token");
    // Also an operation that is not idempotent: a refused request was not carried out.
    assert_eq!((world.pull().await, world.asked(), world.server.requests().len()), (Ok(()), 2, 4));
}

#[tokio::test]
async fn the_same_token_again_is_not_sent_again() {
    let world = world();
    *world.accepted.lock().unwrap() = "second-token";
    assert_eq!(world.pull().await, Err(ErrorKind::Unauthorized));
    assert_eq!((world.asked(), world.server.requests().len()), (2, 1));
}

#[tokio::test]
async fn callers_that_wait_for_new_credentials_share_them() {
    let world = world();
    world.pull().await.unwrap();
    *world.accepted.lock().unwrap() = "second-token";
    *world.provided.lock().unwrap() = Ok("second-token");
    let calls: Vec<_> = (0..20)
        .map(|_| {
            let queue = world.queue.clone();
            tokio::spawn(async move { queue.pull(PullOptions::new()).await.map(drop) })
        })
        .collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(world.asked(), 2);
}

#[tokio::test]
async fn a_failing_provider_sends_nothing() {
    let world = world();
    *world.provided.lock().unwrap() = Err("the vault is sealed");
    let error = world.queue.pull(PullOptions::new()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CredentialsUnavailable);
    assert!(error.is_transient() && !error.may_have_arrived());
    assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "the vault is sealed");
    assert_eq!(world.server.requests().len(), 0);
    *world.provided.lock().unwrap() = Ok("first-token");
    assert_eq!(world.pull().await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_provider_has_until_the_end_of_the_call() {
    let queue = support::open(Client::builder(Credentials::from_provider(pending)).base_url(support::nowhere()));
    let start = tokio::time::Instant::now();
    let error = queue.pull(PullOptions::new()).await.unwrap_err();
    assert_eq!((error.kind(), start.elapsed().as_secs()), (ErrorKind::CredentialsUnavailable, 120), "{error}");
}

#[tokio::test]
async fn a_provider_of_providers_sends_nothing() {
    let server = Server::playing([support::bare_success()]);
    let provide = || async { Ok(Credentials::from_provider(|| async { Ok(Credentials::api_token("t0ken")?) })) };
    let queue = support::open(Client::builder(Credentials::from_provider(provide)).base_url(&server.url));
    let error = queue.pull(PullOptions::new()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CredentialsUnavailable, "{error}");
    assert!(error.to_string().contains("returned another provider"), "{error}");
    assert_eq!(server.requests().len(), 0);
}

#[tokio::test]
async fn only_a_refusal_of_the_credentials_asks_for_others() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let credentials = Credentials::from_provider(move || {
        let number = count.fetch_add(1, Ordering::SeqCst);
        async move { Ok(Credentials::api_token(format!("token-{number}"))?) }
    });
    let server = Server::playing([support::refused(500, 0), support::refused(429, 10250), support::bare_success()]);
    let builder = Client::builder(credentials).base_url(&server.url).retry(support::quick(3));
    let queue = support::open(builder);
    let _ = queue.ack(support::acks(["a"])).await.unwrap();
    assert_eq!((asked.load(Ordering::SeqCst), server.requests().len()), (1, 3));

    // Once in a call, however new the credentials are.
    server.play(support::refused(401, 10000));
    let error = queue.ack(support::acks(["a"])).await.unwrap_err().error;
    assert_eq!((error.kind(), error.attempts()), (ErrorKind::Unauthorized, 2), "{error}");
    assert_eq!(asked.load(Ordering::SeqCst), 2);

    let late = support::acks(["a"]).deadline(Instant::now().into_std());
    let error = queue.ack(late).await.unwrap_err().error;
    assert_eq!((error.kind(), error.attempts()), (ErrorKind::Unauthorized, 1), "{error}");
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_failed_renewal_reports_every_attempt_before_it() {
    let asked = AtomicUsize::new(0);
    let credentials = Credentials::from_provider(move || {
        let is_first = asked.fetch_add(1, Ordering::SeqCst) == 0;
        async move { if is_first { Ok(Credentials::api_token("t0ken")?) } else { Err("the vault is sealed".into()) } }
    });
    let server = Server::playing([support::refused(500, 0), support::refused(401, 10000)]);
    let builder = Client::builder(credentials).base_url(&server.url).retry(support::quick(3));
    let error = support::open(builder).ack(support::acks(["a"])).await.unwrap_err().error;
    assert_eq!((error.kind(), error.attempts()), (ErrorKind::CredentialsUnavailable, 2), "{error}");
    assert!(error.may_have_arrived() && !error.to_string().contains("nothing was sent"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn credentials_that_come_after_the_deadline_are_not_sent() {
    let emulator = Emulator::in_process();
    let asked = AtomicUsize::new(0);
    let credentials = Credentials::from_provider(move || {
        let is_first = asked.fetch_add(1, Ordering::SeqCst) == 0;
        async move {
            if is_first {
                return Ok(Credentials::api_token("an-old-one")?);
            }
            sleep(Duration::from_secs(20)).await;
            Ok(Credentials::api_token("emulator-token")?)
        }
    });
    let client = emulator.in_process_builder().unwrap().credentials(credentials).build().unwrap();
    let queue = client.queue(emulator.account_id(), emulator.queue_id()).unwrap();
    let request = support::acks(["a"]).deadline((Instant::now() + Duration::from_secs(10)).into_std());
    let start = Instant::now();
    let error = queue.ack(request).await.unwrap_err().error;
    assert_eq!((error.kind(), error.attempts()), (ErrorKind::CredentialsUnavailable, 1), "{error}");
    assert_eq!((emulator.requests(), start.elapsed()), (1, Duration::from_secs(10)));
}

#[tokio::test(start_paused = true)]
async fn concurrent_calls_share_a_failure_of_the_provider() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let credentials = Credentials::from_provider(move || {
        count.fetch_add(1, Ordering::SeqCst);
        async {
            sleep(Duration::from_secs(10)).await;
            Err("the vault is sealed".into())
        }
    });
    let emulator = Emulator::in_process();
    let client = emulator.in_process_builder().unwrap().credentials(credentials).build().unwrap();
    let queue = client.queue(emulator.account_id(), emulator.queue_id()).unwrap();
    let start = Instant::now();
    let (one, two) = tokio::join!(queue.pull(PullOptions::new()), queue.pull(PullOptions::new()));
    for error in [one.unwrap_err(), two.unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::CredentialsUnavailable, "{error}");
    }
    assert_eq!((asked.load(Ordering::SeqCst), start.elapsed()), (1, Duration::from_secs(10)));
    queue.pull(PullOptions::new()).await.unwrap_err();
    assert_eq!(asked.load(Ordering::SeqCst), 2, "a later call asks again");
}
