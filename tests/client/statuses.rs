//! Responses with another status than 200.

use std::time::{Duration, SystemTime};

use cloudflare_queues::{Client, Credentials, ErrorKind, Queue, RetryPolicy};

use support::{Act, Op, RAY, Server};

use ErrorKind::*;

/// A status, the code in its body (an HTML page stands for none), the kind of error, and what the error says.
type Row = (u16, Option<i64>, ErrorKind, &'static str);

#[rustfmt::skip]
const TABLE: &[Row] = &[
    (400, Some(6003), Unauthorized, "the credentials are malformed"),
    (400, Some(6111), Unauthorized, "the credentials are malformed"),
    (400, Some(6103), Unauthorized, "the credentials are malformed"),
    (400, Some(10026), Rejected, "code 10026"),
    (400, Some(10207), Rejected, "code 10207"),
    (400, Some(7003), NotFound, "check the account id and the queue id"),
    (400, Some(10107), NotFound, "check the account id and the queue id"),
    (400, None, ServiceFailure, "check the base URL, and what a proxy or firewall on the way refuses"),
    (401, Some(10000), Unauthorized, "check the credentials"),
    (401, None, ServiceFailure, "check the base URL, and what a proxy or firewall on the way refuses"),
    (403, Some(10000), Unauthorized, "the permission Queues Write"),
    (403, Some(9109), Unauthorized, "the permission Queues Write"),
    (403, None, ServiceFailure, "check the base URL, and what a proxy or firewall on the way refuses"),
    (404, Some(10104), NotFound, "check the account id and the queue id"),
    (404, Some(7003), NotFound, "check the account id and the queue id"),
    (404, None, ServiceFailure, "check the base URL, and what a proxy or firewall on the way refuses"),
    (405, Some(0), NotPullConsumer, "enable the HTTP pull consumer"),
    (405, None, ServiceFailure, "check the base URL, and what a proxy or firewall on the way refuses"),
    (408, None, Timeout, "try again"),
    (409, Some(0), DeliveryPaused, "resume delivery"),
    (409, None, ServiceFailure, "check the base URL, and what a proxy or firewall on the way refuses"),
    (407, None, Transport, "a proxy wants credentials of its own; give the proxy's credentials"),
    (413, None, Rejected, "the service refused the request"),
    (422, Some(10208), Rejected, "code 10208"),
    (429, Some(10250), RateLimited, "code 10250"),
    (429, Some(10251), RateLimited, "code 10251"),
    (429, Some(10252), RateLimited, "code 10252"),
    (429, Some(10253), RateLimited, "code 10253"),
    (429, Some(971), RateLimited, "code 971"),
    (429, Some(10429), RateLimited, "code 10429"),
    (429, None, RateLimited, "try again later"),
    (500, Some(15000), ServiceFailure, "code 15000"),
    (500, None, ServiceFailure, "try again, but the request may have arrived"),
    (501, None, ServiceFailure, "try again, but the request may have arrived"),
    (502, None, ServiceFailure, "try again, but the request may have arrived"),
    (503, None, ServiceFailure, "try again, but the request may have arrived"),
    (504, None, ServiceFailure, "try again, but the request may have arrived"),
    (201, None, ServiceFailure, "the request may have arrived"),
    (202, Some(0), Rejected, "did not carry out the call"),
    (206, None, ServiceFailure, "the request may have arrived"),
    (207, None, ServiceFailure, "the request may have arrived"),
    (207, Some(10026), Rejected, "code 10026"),
    (226, Some(15000), ServiceFailure, "the request may have arrived"),
    (300, None, ServiceFailure, "redirect"),
    (302, None, ServiceFailure, "redirect"),
    (302, Some(10000), ServiceFailure, "redirect"),
    (399, None, ServiceFailure, "redirect"),
    (425, None, ServiceFailure, "the request may have arrived"),
    (425, Some(0), Rejected, "code 0"),
    (431, None, ServiceFailure, "the request may have arrived"),
    (451, None, ServiceFailure, "the request may have arrived"),
    (451, Some(1020), Rejected, "code 1020"),
    (511, None, ServiceFailure, "the request may have arrived"),
    (499, None, ServiceFailure, "check the base URL, and what a proxy or firewall on the way refuses"),
    (600, None, ServiceFailure, "the request may have arrived"),
];

async fn assert_row(server: &Server, queue: &Queue, &(status, code, kind, says): &Row) {
    let page = || Act::Respond(support::response(status, &[("content-type", "text/html")], "<html>no</html>"));
    server.play(code.map_or_else(page, |code| support::refused(status, code)));
    for op in Op::ALL {
        let error = op.call(queue).await.unwrap_err();
        assert_eq!(error.kind(), op.sees(kind), "{op:?} {status} {code:?}: {error}");
        assert_eq!(error.status(), Some(status), "{status} {code:?}: {error}");
        assert_eq!(error.ray_id(), Some(RAY), "{status} {code:?}: {error}");
        assert_eq!(error.operation(), Some(op.id()), "{status} {code:?}: {error}");
        let codes = code.filter(|_| !(300..=399).contains(&status));
        assert_eq!(error.api_errors().first().map(|error| error.code), codes, "{status}: {error}");
        assert!(error.to_string().contains(says) || !Op::MESSAGES.contains(&op), "{status} {code:?}: {error}");
        assert!(!error.to_string().contains("a push") || [Op::Push, Op::PushBatch].contains(&op), "{op:?}: {error}");
        assert!(error.to_string().contains(&format!("(status {status}, cf-ray {RAY})")), "{error}");
        let is_refused = [407, 413, 429].contains(&status) || code.is_some() && (400..=499).contains(&status);
        assert_eq!(error.may_have_arrived(), !is_refused, "{error}");
    }
}

#[tokio::test]
async fn each_status_is_an_error_of_its_kind_for_each_operation() {
    let server = Server::playing([]);
    let queue = support::queue(&server.url);
    for row in TABLE {
        assert_row(&server, &queue, row).await;
    }
}

#[tokio::test]
async fn each_status_of_cloudflares_edge_is_a_service_failure() {
    let server = Server::playing([]);
    let queue = support::queue(&server.url);
    for status in 520..=530 {
        assert_row(&server, &queue, &(status, None, ServiceFailure, "the service failed")).await;
    }
}

#[tokio::test]
async fn only_statuses_of_success_are_ok() {
    let server = Server::playing([]);
    let queue = support::queue(&server.url);
    let success = r#"{"success":true,"errors":[],"result":{}}"#;
    for status in [201, 202, 203, 207, 226, 299] {
        server.play(Act::Respond(support::response(status, &[], success)));
        for op in Op::ALL {
            op.call(&queue).await.unwrap_or_else(|error| panic!("{op:?} {status}: {error}"));
        }
        let outcome = queue.ack(support::acks(["a"])).await.unwrap();
        assert_eq!((outcome.acks.confirmed, outcome.acks.accepted), (None, 1), "{status}");
    }
    for status in [300, 302, 400, 404, 500] {
        server.play(Act::Respond(support::response(status, &[], success)));
        for op in Op::ALL {
            let error = op.call(&queue).await.unwrap_err();
            assert_eq!((error.status(), error.ray_id()), (Some(status), Some(RAY)), "{error}");
        }
    }
    let no_content = format!("HTTP/1.1 204 No Content\r\ncf-ray: {RAY}\r\n\r\n");
    server.play(Act::Respond(no_content.into_bytes()));
    for op in Op::ALL {
        let error = op.call(&queue).await.unwrap_err();
        assert_eq!((error.kind(), error.status(), error.ray_id()), (ServiceFailure, Some(204), Some(RAY)), "{error}");
    }
}

#[tokio::test]
async fn a_malformed_credential_is_recognised_by_its_error_chain() {
    let body = r#"{"success":false,"errors":[{"code":6003,"message":"Invalid request headers",
        "error_chain":[{"code":6111,"message":"Invalid format for Authorization header"}]}],"result":null}"#;
    let server = Server::playing([Act::Respond(support::response(400, &[], body))]);
    let error = Op::Pull.call(&support::queue(&server.url)).await.unwrap_err();
    assert_eq!(error.kind(), Unauthorized);
    assert!(error.has_code(6003) && error.has_code(6111));
    assert!(error.to_string().contains("because of code 6111"), "{error}");
}

#[tokio::test]
async fn a_firewall_challenge_is_not_reported_as_bad_credentials() {
    let headers = [("cf-mitigated", "challenge"), ("content-type", "text/html")];
    let server = Server::playing([Act::Respond(support::response(403, &headers, "<html>Just a moment</html>"))]);
    for op in Op::ALL {
        let error = op.call(&support::queue(&server.url)).await.unwrap_err();
        assert_eq!((error.kind(), error.status(), error.ray_id()), (Rejected, Some(403), Some(RAY)));
        let text = error.to_string();
        assert!(text.contains("firewall sent a challenge") && text.contains("call from another network"), "{text}");
    }
}

#[tokio::test]
async fn a_failure_keeps_its_status_if_its_body_is_malformed() {
    let bodies = ["", "null", "[]", "{\"errors\":7}", "{\"success\":false,\"errors\":[", "\u{0}", "{}", "<html>"];
    for body in bodies {
        let server = Server::playing([Act::Respond(support::response(503, &[], body))]);
        let error = Op::Push.call(&support::queue(&server.url)).await.unwrap_err();
        assert_eq!((error.kind(), error.status(), error.ray_id()), (ServiceFailure, Some(503), Some(RAY)), "{body}");
    }
    let server = Server::playing([support::cut_off(404, r#"{"success":false,"errors":[{"code":10104}]}"#)]);
    let error = Op::Push.call(&support::queue(&server.url)).await.unwrap_err();
    assert_eq!((error.kind(), error.status(), error.ray_id()), (ServiceFailure, Some(404), Some(RAY)));
}

#[tokio::test]
async fn an_error_keeps_retry_after() {
    let asked = |value: String| async move {
        let act = Act::Respond(support::response(429, &[("retry-after", &value)], "{}"));
        let server = Server::playing([act]);
        Op::Push.call(&support::queue(&server.url)).await.unwrap_err()
    };
    let error = asked("90".into()).await;
    assert_eq!(error.retry_after(), Some(Duration::from_secs(90)));
    assert!(error.to_string().contains("retry after 90 s"), "{error}");

    let wait = asked(httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(1000))).await.retry_after();
    assert!((900..=1000).contains(&wait.unwrap().as_secs()), "{wait:?}");
    assert_eq!(asked("Sun, 06 Nov 1994 08:49:37 GMT".into()).await.retry_after(), Some(Duration::ZERO));
    assert_eq!(asked("soon".into()).await.retry_after(), None);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = Server::playing([support::bare_success()]);
    let target = format!("{}/accounts/a/queues/q/messages", elsewhere.url);
    for status in [301, 302, 303, 307, 308] {
        let server = Server::playing([Act::Respond(support::response(status, &[("location", &target)], ""))]);
        let pair = Credentials::email_and_key("me@example.com", "k3y").unwrap();
        let builder = Client::builder(pair).base_url(&server.url).retry(RetryPolicy::none());
        for queue in [support::queue(&server.url), support::open(builder)] {
            for op in Op::ALL {
                let error = op.call(&queue).await.unwrap_err();
                assert_eq!((error.kind(), error.status()), (ServiceFailure, Some(status)), "{error}");
                assert_eq!(error.ray_id(), Some(RAY));
            }
        }
        assert_eq!(server.requests().len(), 2 * Op::ALL.len());
    }
    assert_eq!(elsewhere.connections(), 0);
}
