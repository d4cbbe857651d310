//! What a proxy or a firewall says is not what the service says.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use cloudflare_queues::{Client, Consumer, Credentials, ErrorKind, RetryPolicy, Verdict};
use support::{Act, Op, Server, response};
use tokio::sync::Notify;

fn page(status: u16) -> Act {
    Act::Respond(response(status, &[("content-type", "text/html")], "<html>no</html>"))
}

#[tokio::test]
async fn only_the_services_code_says_that_something_is_deleted() {
    let table = [
        (Op::DeleteQueue, page(404), false),
        (Op::DeleteQueue, support::refused(404, 7003), false),
        (Op::DeleteQueue, support::refused(404, 0), false),
        (Op::DeleteQueue, support::refused(404, 11000), true),
        (Op::DeleteConsumer, page(404), false),
        (Op::DeleteConsumer, support::refused(404, 7003), false),
        (Op::DeleteConsumer, support::refused(404, 11000), false),
        (Op::DeleteConsumer, support::refused(404, 11006), true),
        (Op::DeleteSubscription, page(404), false),
        (Op::DeleteSubscription, support::refused(404, 7003), false),
        (Op::DeleteSubscription, support::refused(404, 0), true),
    ];
    for (op, second, is_deleted) in table {
        let server = Server::playing([page(502), second.clone()]);
        let result = op.call(&support::stubborn_queue(&server.url, 2)).await;
        assert_eq!(result.is_ok(), is_deleted, "{op:?} {second:?}: {result:?}");
        assert_eq!(server.requests().len(), 2, "{op:?}");
        assert!(result.is_ok() || result.is_err_and(|error| error.may_have_arrived()), "{op:?}");
    }
}

#[tokio::test]
async fn a_page_does_not_end_the_run_of_a_consumer() {
    for status in [400, 401, 403, 404, 405, 407, 409] {
        let message = r#"{"success":true,"result":{"messages":[{"lease_id":"a","body":"1"}],"ackCount":1}}"#;
        let server = Server::start(move |nth, _| if nth == 0 { page(status) } else { support::ok(message) });
        let handled = Arc::new(Notify::new());
        let stop = Arc::clone(&handled);
        let consumer = Consumer::new(support::queue(&server.url));
        let handler = move |_| {
            handled.notify_one();
            async { Verdict::Ack }
        };
        let report = consumer.run_until(async move { stop.notified().await }, handler).await.unwrap();
        assert!(report.error.is_none(), "{status}: {:?}", report.error);
    }
}

#[tokio::test]
async fn a_page_does_not_lead_to_new_credentials() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let credentials = Credentials::from_provider(move || {
        count.fetch_add(1, Ordering::SeqCst);
        async { Ok(Credentials::api_token("a-token")?) }
    });
    let server = Server::playing([page(403)]);
    let builder = Client::builder(credentials).base_url(&server.url).retry(RetryPolicy::none());
    let error = Op::Pull.call(&support::open(builder)).await.unwrap_err();
    assert_eq!((error.kind(), asked.load(Ordering::SeqCst)), (ErrorKind::ServiceFailure, 1), "{error}");
}

#[tokio::test]
async fn a_proxy_that_wants_credentials_is_named() {
    let server = Server::playing([page(407)]);
    // Over TLS, the proxy refuses to connect.
    let proxied = support::builder("https://api.example").proxy(reqwest::Proxy::all(&server.url).unwrap());
    for queue in [support::queue(&server.url), support::open(proxied)] {
        let error = Op::Push.call(&queue).await.unwrap_err();
        assert!(error.to_string().contains("a proxy wants credentials of its own"), "{error}");
        assert!(!error.may_have_arrived(), "{error}");
    }
}

#[tokio::test]
async fn identity_in_any_spelling_is_no_encoding() {
    for encoding in ["Identity", "IDENTITY", "identity, Identity", " identity ", ""] {
        let act = Act::Respond(response(200, &[("content-encoding", encoding)], r#"{"success":true,"result":{}}"#));
        let server = Server::playing([act]);
        Op::Ack.call(&support::queue(&server.url)).await.unwrap();
    }
    for encoding in ["gzip", "identity, gzip", "x-identity"] {
        let act = Act::Respond(response(200, &[("content-encoding", encoding)], r#"{"success":true,"result":{}}"#));
        let error = Op::Ack.call(&support::queue(&Server::playing([act]).url)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnexpectedResponse, "{encoding}");
    }
}
