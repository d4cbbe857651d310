//! Input that is refused before anything is sent.

use std::time::Duration;

use cloudflare_queues::{AckRequest, Client, Credentials, Error, ErrorKind, PullOptions, PushMessage};

use support::{ACCOUNT, Server};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const NANOSECOND: Duration = Duration::from_nanos(1);

#[track_caller]
fn assert_refused(error: &Error, row: &str, says: &[&str]) {
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{row}: {error}");
    for words in says {
        assert!(error.to_string().contains(words), "{row}: `{error}` does not say `{words}`");
    }
    assert!(error.to_string().contains("nothing was sent"), "{row}: {error}");
    assert_eq!((error.attempts(), error.may_have_arrived()), (0, false), "{row}: {error}");
    assert_eq!((error.status(), error.ray_id(), error.api_errors()), (None, None, &[][..]), "{row}: {error}");
}

#[test]
fn an_id_that_would_not_stand_in_a_path_is_refused() {
    let client = support::builder("http://127.0.0.1:9").build().unwrap();
    let long = "a".repeat(33);
    let (length, characters) = ("must have 1 to 32 characters", "may hold only letters, digits, `_` and `-`");
    let table = [
        ("", length),
        (long.as_str(), "must have 1 to 32 characters, but has 33"),
        (".", characters),
        ("..", characters),
        ("a/b", characters),
        ("a\\b", characters),
        ("a b", characters),
        ("a\n", characters),
        ("é", characters),
        ("%2e", characters),
        ("%2e%2e", characters),
        ("a?b", characters),
        ("a#b", characters),
        ("my.queue", characters),
    ];
    for (id, says) in table {
        assert_refused(&client.queues(id).unwrap_err(), id, &["account_id: ", says]);
        assert_refused(&client.queues(ACCOUNT).unwrap().queue(id).unwrap_err(), id, &["queue_id: ", says]);
    }
    for id in ["a", "_", "-", "0", &"a".repeat(32), "Az09_-"] {
        client.queues(id).unwrap().queue(id).unwrap();
    }
}

#[test]
fn an_id_with_other_characters_is_refused_with_the_reason() {
    let client = support::builder("http://127.0.0.1:9").build().unwrap();
    // 17 characters, but 34 bytes.
    let error = client.queues("é".repeat(17)).unwrap_err();
    assert!(!error.to_string().contains("1 to 32 characters, but has 17"), "{error}");
}

#[tokio::test]
async fn an_invalid_ack_is_refused_and_returns_every_lease() {
    let new = AckRequest::new;
    let twice = "is in the request twice";
    #[rustfmt::skip]
    let table: [(&str, AckRequest, &[&str]); 9] = [
        ("no lease", new(), &["acks, retries: ", "must have at least one lease"]),
        ("empty ack", new().ack("a").ack(""), &["lease_id: ", "lease 2 of the request is empty"]),
        ("empty retry", new().retry(""), &["lease_id: ", "lease 1 of the request is empty"]),
        ("ack twice", new().ack("a").ack("b").ack("a"), &["lease_id: lease 3 ", twice]),
        ("retry twice", new().retry("a").retry_in("a", DAY), &["lease_id: lease 2 ", twice]),
        ("in both lists", new().ack("a").retry("a"), &["lease_id: lease 2 ", twice]),
        ("in both lists, the other way", new().retry("a").ack("a"), &["lease_id: lease 2 ", twice]),
        ("a long delay", new().retry_in("a", DAY + NANOSECOND), &["delay: ", "at most 24 hours"]),
        ("an endless delay", new().retry_in("a", Duration::MAX), &["delay: ", "at most 24 hours"]),
    ];
    let server = Server::playing([support::bare_success()]);
    let queue = support::queue(&server.url);
    for (row, request, says) in table {
        let given = support::leases(&request);
        let failed = queue.ack(request).await.unwrap_err();
        assert_refused(&failed.error, row, says);
        assert_eq!((failed.outcome.acks.requested, failed.outcome.retries.requested), (0, 0), "{row}");
        assert_eq!(support::leases(&failed.unconfirmed), given, "{row}");
    }
    assert_eq!(server.connections(), 0);

    let longest = AckRequest::new().retry_in("a", DAY);
    let _ = queue.ack(longest).await.unwrap();
}

#[tokio::test]
async fn an_invalid_extension_is_refused() {
    let server = Server::playing([support::bare_success()]);
    let queue = support::queue(&server.url);
    let table: [(&str, &[&str], Duration, &str); 5] = [
        ("no lease", &[], DAY / 2, "extend: the request must have at least one lease"),
        ("an empty lease", &["a", ""], DAY / 2, "lease_id: lease 2 of the request is empty"),
        ("a lease twice", &["a", "b", "a"], DAY / 2, "lease_id: lease 3 is in the request twice"),
        ("no time", &["a"], Duration::ZERO, "visibility_timeout: must be 1 ms to 12 hours"),
        ("a long time", &["a"], DAY / 2 + NANOSECOND, "visibility_timeout: must be 1 ms to 12 hours"),
    ];
    for (row, leases, timeout, says) in table {
        let failed = queue.extend(leases.iter().copied(), timeout).await.unwrap_err();
        assert_refused(&failed.error, row, &[says]);
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_pull_out_of_bounds_is_refused() {
    let hours = |hours: u64| Duration::from_secs(hours * 3600);
    let millisecond = Duration::from_millis(1);
    let (size, timeout) =
        ("batch_size: must be 1 to 100, but is ", "visibility_timeout: must be 1 ms to 12 hours, but is ");
    let table = [
        (0, millisecond, Some(size)),
        (101, millisecond, Some(size)),
        (u32::MAX, millisecond, Some(size)),
        (1, Duration::ZERO, Some(timeout)),
        (1, Duration::from_nanos(999_999), Some(timeout)),
        (1, hours(12) + NANOSECOND, Some(timeout)),
        (1, hours(12) + millisecond, Some(timeout)),
        (1, Duration::MAX, Some(timeout)),
        (1, millisecond, None),
        (100, hours(12), None),
    ];
    for (batch_size, visibility_timeout, says) in table {
        let server = Server::playing([support::bare_success()]);
        let options = PullOptions::new().batch_size(batch_size).visibility_timeout(visibility_timeout);
        let result = support::queue(&server.url).pull(options).await;
        let row = format!("{options:?}");
        match says {
            Some(says) => assert_refused(&result.unwrap_err(), &row, &[says]),
            None => drop(result.unwrap_or_else(|error| panic!("{row}: {error}"))),
        }
        assert_eq!(server.connections(), usize::from(says.is_none()), "{row}");
    }
}

fn json_of(bytes: usize) -> PushMessage {
    // `["…"]` has four bytes in addition to the text.
    PushMessage::json(&["j".repeat(bytes - 4)]).unwrap()
}

#[tokio::test]
async fn a_push_out_of_bounds_is_refused() {
    let size = |bytes: usize| format!("body: must have at most 128000 bytes (128 KB), but has {bytes}");
    let delay = "delay: must be at most 24 hours, but is ".to_owned();
    let table = [
        ("text at the bound", PushMessage::text("t".repeat(128_000)), None),
        ("text over it", PushMessage::text("t".repeat(128_001)), Some(size(128_001))),
        ("bytes are counted, not characters", PushMessage::text("é".repeat(64_001)), Some(size(128_002))),
        ("what is escaped counts once", PushMessage::text("\"".repeat(128_000)), None),
        ("json at the bound", json_of(128_000), None),
        ("json over it", json_of(128_001), Some(size(128_001))),
        ("a day of delay", PushMessage::text("t").delay(DAY), None),
        ("more than a day", PushMessage::text("t").delay(DAY + NANOSECOND), Some(delay.clone())),
        ("no end of delay", PushMessage::text("t").delay(Duration::MAX), Some(delay)),
        ("empty text", PushMessage::text(""), None),
    ];
    for (row, message, says) in table {
        let server = Server::playing([support::bare_success()]);
        let queue = support::queue(&server.url);
        let one = queue.push(&message).await;
        let batch = queue.push_batch(&[PushMessage::text("t"), message]).await;
        for result in [one, batch] {
            match &says {
                Some(says) => assert_refused(&result.unwrap_err(), row, &[says]),
                None => drop(result.unwrap_or_else(|error| panic!("{row}: {error}"))),
            }
        }
        assert_eq!(server.requests().len(), if says.is_some() { 0 } else { 2 }, "{row}");
    }
}

#[tokio::test]
async fn a_push_batch_out_of_bounds_is_refused() {
    let texts = |count| vec![PushMessage::text("t"); count];
    let full = || PushMessage::text("t".repeat(128_000));
    let table = [
        ("none", texts(0), Some("number of messages: must be 1 to 100, but is 0")),
        ("one", texts(1), None),
        ("a hundred", texts(100), None),
        ("one more", texts(101), Some("number of messages: must be 1 to 100, but is 101")),
        ("all bytes", vec![full(), json_of(128_000)], None),
        (
            "one byte more",
            vec![full(), json_of(128_000), PushMessage::text("t")],
            Some("messages: must have at most 256000 bytes (256 KB) in total, but have 256001"),
        ),
    ];
    for (row, messages, says) in table {
        let server = Server::playing([support::bare_success()]);
        let result = support::queue(&server.url).push_batch(&messages).await;
        match says {
            Some(says) => assert_refused(&result.unwrap_err(), row, &[says]),
            None => drop(result.unwrap_or_else(|error| panic!("{row}: {error}"))),
        }
        assert_eq!(server.connections(), usize::from(says.is_none()), "{row}");
    }
}

#[test]
fn a_bare_string_cannot_be_pushed_as_json() {
    let says = ["body: ", "no bare string as `json`; push it as `text`"];
    for text in ["", "text", "{\"json\": 1}"] {
        assert_refused(&PushMessage::json(text).unwrap_err(), text, &says);
        assert_refused(&PushMessage::json(&serde_json::json!(text)).unwrap_err(), text, &says);
        assert_refused(&PushMessage::json(&Some('c')).unwrap_err(), text, &says);
    }
    let unspeakable = std::collections::BTreeMap::from([((1, 2), 3)]);
    assert_refused(&PushMessage::json(&unspeakable).unwrap_err(), "a map without text keys", &["body: "]);
}

#[test]
fn a_base_url_that_would_not_do_is_refused() {
    let (absolute, host) = ("base URL: must be an absolute URL", "base URL: must have a host");
    let extra = "base URL: must have no user name, password, query or fragment";
    let plain = "base URL: must be https, unless its host is loopback or allow_plain_http() is called";
    let table = [
        ("", absolute),
        ("client/v4", absolute),
        ("/client/v4", absolute),
        ("api.cloudflare.com/client/v4", absolute),
        ("https://", absolute),
        ("https://:443", absolute),
        ("file:///client/v4", host),
        ("mailto:me@example.com", host),
        ("https://me@example.com", extra),
        ("https://me:pass@example.com", extra),
        ("https://:pass@example.com", extra),
        ("https://example.com/?a=b", extra),
        ("https://example.com/#a", extra),
        ("ftp://example.com", "base URL: must be https"),
        ("ftp://localhost", "base URL: must be https"),
        ("ws://127.0.0.1", "base URL: must be https"),
        ("http://example.com", plain),
        ("http://localhost.example.com", plain),
        ("http://127.0.0.1.example.com", plain),
        ("http://10.0.0.1", plain),
        ("http://[::2]", plain),
        ("http://0.0.0.0", plain),
    ];
    for (url, says) in table {
        assert_refused(&support::builder(url).build().unwrap_err(), url, &[says]);
    }
    support::builder("http://example.com").allow_plain_http().build().unwrap();
    assert!(support::builder("ftp://example.com").allow_plain_http().build().is_err());
    let fine =
        ["http://localhost", "http://LOCALHOST:8080/a", "http://127.0.0.1", "http://127.1.2.3:1", "http://[::1]:1/"];
    for url in fine.into_iter().chain(["https://example.com", "HTTPS://example.com:8443/client/v4/"]) {
        support::builder(url).build().unwrap_or_else(|error| panic!("{url}: {error}"));
    }
}

#[test]
fn a_credential_that_cannot_stand_in_a_header_is_refused() {
    for secret in ["", " ", "a b", "a\n", "a\r\nx-other: 1", "é", "\u{0}", " padded"] {
        assert_refused(&Credentials::api_token(secret).unwrap_err(), secret, &["API token: must"]);
        assert_refused(&Credentials::email_and_key(secret, "k").unwrap_err(), secret, &["email: must"]);
        assert_refused(&Credentials::email_and_key("e", secret).unwrap_err(), secret, &["API key: must"]);
    }
}

#[test]
fn a_proxy_for_a_given_client_is_refused() {
    let proxy = reqwest::Proxy::all("http://127.0.0.1:9").unwrap();
    let builder = Client::builder(Credentials::api_token("t").unwrap());
    let error = builder.proxy(proxy).http_client(reqwest::Client::new()).build().unwrap_err();
    assert_refused(&error, "both", &["proxy: set it on the given HTTP client"]);
}

#[test]
fn a_client_that_could_send_nothing_is_refused() {
    for (requests, says) in [(0, "but is 0"), (usize::MAX, "must be 1 to")] {
        let error = support::builder("http://127.0.0.1:9").max_in_flight(requests).build().unwrap_err();
        assert_refused(&error, "requests", &["max_in_flight: ", says]);
    }
}
