//! The response of an ack, and its outcome.

use std::time::Duration;

use cloudflare_queues::{AckOutcome, AckRequest, LeaseId};
use serde_json::json;

use support::Server;

const FIRST: &str = "eyJhbGciOiJkaXIifQ..first";
const SECOND: &str = "eyJhbGciOiJkaXIifQ..second";

/// The outcomes of one ack and one retry, if these are the responses.
async fn outcomes_of<const N: usize>(responses: [String; N]) -> [AckOutcome; N] {
    let server = Server::playing(responses.each_ref().map(support::ok));
    let queue = support::queue(&server.url);
    let mut outcomes = Vec::new();
    for response in responses {
        let request = AckRequest::new().ack(FIRST).retry(SECOND);
        outcomes.push(queue.ack(request).await.unwrap_or_else(|error| panic!("{response}: {error}")));
    }
    outcomes.try_into().unwrap()
}

fn success(result: serde_json::Value) -> String {
    json!({"success": true, "errors": [], "messages": [], "result": result}).to_string()
}

#[tokio::test]
async fn a_missing_count_is_accepted_and_not_zero() {
    let (all, none, absent) = ((Some(1), 0), (Some(0), 0), (None, 1));
    let table = [
        (r#"{"ackCount": 1, "retryCount": 1}"#, all, all),
        (r#"{"ackCount": 1.0, "retryCount": 1e0}"#, all, all),
        (r#"{"ackCount": 1, "retryCount": 0}"#, all, none),
        (r#"{"ackCount": null, "retryCount": null}"#, absent, absent),
        (r#"{"ackCount": 1}"#, all, absent),
        (r#"{"retryCount": 1}"#, absent, all),
        (r#"{"retryCount": 0, "warnings": null}"#, absent, none),
        (r#"{"ackCount": -1, "retryCount": 0.5}"#, none, none),
        (r#"{"ackCount": 2, "retryCount": 1.5}"#, none, none),
        (r#"{"ackCount": "1", "retryCount": {}}"#, absent, absent),
        (r#"{"ackCount": true, "retryCount": [1]}"#, absent, absent),
        (r#"{"ackCount": "all", "retryCount": false}"#, absent, absent),
        (r#"{"ackCount": 1e300, "retryCount": -1e300}"#, none, none),
        (r#"{"ackCount": 18446744073709551615, "retryCount": 0.0}"#, none, none),
        (r#"{"ackCount": 1, "ackCount": 1}"#, absent, absent),
        (r#"{"retryCount": 1, "retryCount": 0, "retryCount": 0, "ackCount": 1}"#, all, absent),
        (r#"{"warnings": ["hm"]}"#, absent, absent),
        (r#"{"warnings": {"another lease": "hm"}}"#, absent, absent),
        (r#"{}"#, absent, absent),
        ("null", absent, absent),
        (r#"{"ackCount": 1, "retryCount": 1, "somethingNew": {"a": [1]}}"#, all, all),
    ];
    let responses = table.map(|(result, ..)| format!(r#"{{"success": true, "errors": [], "result": {result}}}"#));
    for ((result, acks, retries), outcome) in table.into_iter().zip(outcomes_of(responses).await) {
        for (counts, expected) in [(outcome.acks, acks), (outcome.retries, retries)] {
            assert_eq!((counts.requested, (counts.confirmed, counts.accepted)), (1, expected), "{result}");
        }
        assert_eq!(outcome.is_complete(), (acks, retries) == (all, all), "{result}");
    }
}

#[tokio::test]
async fn a_warning_without_a_count_speaks_against_its_lease() {
    let warned = |warnings: serde_json::Value| success(json!({ "warnings": warnings }));
    let text = format!("{FIRST} is not known");
    let [map, list, both] =
        outcomes_of([json!({FIRST: "gone"}), json!([text]), json!({FIRST: "gone", SECOND: "gone"})].map(warned)).await;
    for (outcome, retried) in [(map, 1), (list, 1), (both, 0)] {
        assert_eq!((outcome.acks.accepted, outcome.acks.doubtful()), (0, 1), "{outcome:?}");
        assert_eq!((outcome.retries.accepted, outcome.retries.doubtful()), (retried, 1 - retried), "{outcome:?}");
    }
}

const MALFORMED: &str = "the result is not of the documented form";

#[tokio::test]
async fn a_success_with_an_unreadable_result_is_accepted_with_a_warning() {
    let results = [json!("done"), json!(true), json!(false), json!(7), json!([]), json!([null, null]), json!([{}])];
    let server = Server::playing([]);
    let queue = support::queue(&server.url);
    for result in results {
        server.play(support::ok(success(result.clone())));
        let settled = queue.ack(AckRequest::new().ack(FIRST).retry(SECOND)).await.unwrap();
        for counts in [settled.acks, settled.retries] {
            assert_eq!((counts.confirmed, counts.accepted, settled.is_complete()), (None, 1, false), "{result}");
        }
        assert_eq!((settled.warnings.len(), settled.warnings[0].message.as_str()), (1, MALFORMED), "{result}");
        let extended = queue.extend([FIRST], Duration::from_secs(60)).await.unwrap();
        assert_eq!((extended.extensions.accepted, extended.deadline()), (1, None), "{result}");
        assert_eq!(extended.warnings[0].message, MALFORMED, "{result}");
        let deleted = queue.delete_messages([FIRST]).await.unwrap();
        assert_eq!((deleted.deletions.accepted, deleted.is_complete()), (1, false), "{result}");
        assert_eq!((deleted.errors.len(), deleted.warnings[0].message.as_str()), (0, MALFORMED), "{result}");
    }
}

#[tokio::test]
async fn deletions_are_accepted_unless_an_error_or_warning_concerns_them() {
    let pointed = json!([{ "message": "no", "source": { "pointer": "/refs/0/ref" } }]);
    // The result, how many of three deletions are accepted, and the subjects of errors and warnings.
    let table = [
        (json!({ "errors": pointed }), 2, vec![Some("a")]),
        (json!({ "errors": [{ "message": "a and c are not there" }] }), 1, vec![Some("a"), Some("c")]),
        (json!({ "errors": [{ "message": "no" }] }), 0, vec![None]),
        (json!({ "errors": { "message": "no" } }), 0, vec![None]),
        (json!({ "errors": { "b": "no" } }), 2, vec![Some("b")]),
        (json!({ "errors": "no" }), 0, vec![None]),
        (json!({ "errors": 7 }), 0, vec![None]),
        (json!({ "errors": null, "warnings": { "b": "odd" } }), 2, vec![Some("b")]),
        (json!({ "warnings": ["odd"] }), 3, vec![None]),
        (json!({ "warnings": { "message": "odd" } }), 3, vec![None]),
        (json!({ "warnings": { "another": "odd" } }), 3, vec![Some("another")]),
        (json!({ "errors": [], "warnings": [] }), 3, vec![]),
    ];
    let server = Server::playing(table.each_ref().map(|(result, ..)| support::ok(success(result.clone()))));
    let queue = support::queue(&server.url);
    for (result, accepted, subjects) in table {
        let outcome = queue.delete_messages(["a", "b", "c"]).await.unwrap();
        let found: Vec<_> = outcome.errors.iter().chain(&outcome.warnings).map(|it| it.subject.clone()).collect();
        let subjects: Vec<_> = subjects.into_iter().map(|subject| subject.map(Into::into)).collect();
        assert_eq!((outcome.deletions.accepted, found), (accepted, subjects), "{result}");
        assert_eq!(outcome.is_complete(), outcome.errors.is_empty() && outcome.warnings.is_empty(), "{result}");
    }
}

#[tokio::test]
async fn errors_in_a_success_count_against_the_leases_they_name() {
    let [ack, retry, both, none] = [[true, false], [false, true], [true; 2], [false; 2]];
    let pointing = |pointer: &str| json!([{ "code": 7, "message": "no", "source": { "pointer": pointer } }]);
    // The errors in a success without counts, and whether the ack and the retry are named.
    let table = [
        (pointing("/acks/0/lease_id"), ack),
        (pointing("/acks/0"), ack),
        (pointing("#/acks/0/lease_id"), ack),
        (pointing("/body/acks/0/lease_id"), ack),
        (pointing("acks[0].lease_id"), ack),
        (pointing("/retries/0/delay_seconds"), retry),
        (json!([{ "code": 7, "message": format!("{SECOND} is unknown") }]), retry),
        (json!([format!("{SECOND} and {FIRST} are unknown")]), both),
        (json!([{ "code": 7, "error_chain": [{ "code": 8, "source": { "pointer": "/acks/0" } }] }]), ack),
        (pointing("/acks/1/lease_id"), none),
        (pointing("/acks/-1/lease_id"), none),
        (pointing("/acks/99999999999999999999"), none),
        (pointing("/0/acks"), none),
        (pointing("/acks"), none),
        (pointing(""), none),
        (json!([{ "code": 7 }]), none),
        (json!("odd"), none),
        (json!(7), none),
    ];
    let server = Server::playing([]);
    let queue = support::queue(&server.url);
    for (errors, named) in table {
        let body = json!({ "success": true, "errors": errors, "result": {} }).to_string();
        server.play(support::ok(&body));
        let outcome = queue.ack(AckRequest::new().ack(FIRST).retry(SECOND)).await.unwrap();
        let doubtful = [outcome.acks.doubtful(), outcome.retries.doubtful()];
        assert_eq!(doubtful, named.map(u64::from), "{body}");
        assert_eq!(outcome.acks.accepted + outcome.retries.accepted, 2 - doubtful.iter().sum::<u64>(), "{body}");
        let texts: Vec<_> = outcome.warnings.iter().map(|warning| &warning.message).collect();
        assert!(texts.iter().all(|text| text.starts_with("code ") && !text.contains(FIRST)), "{texts:?}");
        assert_eq!(texts.len(), named.iter().filter(|is_named| **is_named).count().max(1), "{body}");
    }
    let body = |list: &str| json!({ "success": true, "errors": pointing(&format!("/{list}/1")), "result": {} });
    server.play(support::ok(body("extend").to_string()));
    let extended = queue.extend(["a", "b", "c"], Duration::from_secs(60)).await.unwrap();
    assert_eq!((extended.extensions.accepted, extended.warnings[0].subject.clone()), (2, Some("b".into())));
    server.play(support::ok(body("refs").to_string()));
    let deleted = queue.delete_messages(["a", "b", "c"]).await.unwrap();
    assert_eq!((deleted.deletions.accepted, deleted.errors[0].subject.clone()), (2, Some("b".into())));
}

#[tokio::test]
async fn long_texts_in_a_success_are_cut_off() {
    let long = "é".repeat(10_000);
    let bodies = [
        json!({ "success": true, "errors": [{ "code": 7, "message": long }], "result": {} }),
        json!({ "success": true, "result": { "warnings": [long] } }),
    ];
    for outcome in outcomes_of(bodies.map(|body| body.to_string())).await {
        let message = &outcome.warnings[0].message;
        assert!((4000..=4096).contains(&message.len()) && message.contains("éé"), "{}", message.len());
    }
}

#[tokio::test]
async fn warnings_of_any_form_concern_only_the_leases_they_name() {
    let [first, second, both, none] = [[true, false], [false, true], [true; 2], [false; 2]];
    let texts = [FIRST, SECOND].map(|lease| format!("{lease} is unknown"));
    let pointed = json!({ "message": "gone", "source": { "pointer": "/retries/0/lease_id" } });
    let table = [
        (json!(texts), both),
        (json!(texts.join(", ")), both),
        (json!([texts.join(", ")]), both),
        (json!([{ FIRST: "gone" }]), first),
        (json!([{ FIRST: "gone", SECOND: "gone" }]), both),
        (json!([[texts[1]]]), second),
        (json!([{ "lease_id": SECOND, "message": "gone" }]), second),
        (json!([pointed]), second),
        (json!({ FIRST: null }), first),
        (json!({ FIRST: ["gone"], "another": "gone" }), first),
        (json!({ "another": texts[0] }), none),
        (json!({ "0": "gone" }), none),
        (json!([0]), none),
        (json!(7), none),
        (json!(false), none),
        (json!("odd"), none),
        (json!([null]), none),
    ];
    for (warnings, named) in table {
        // Without counts, with a count of those that are not named, and with a count of all.
        let unnamed = named.map(|is_named| u64::from(!is_named));
        let results = [
            json!({ "warnings": warnings }),
            json!({ "ackCount": unnamed[0], "retryCount": unnamed[1], "warnings": warnings }),
            json!({ "ackCount": 1, "retryCount": 1, "warnings": warnings }),
        ];
        let [uncounted, partial, all] = outcomes_of(results.map(success)).await;
        let of =
            |outcome: &AckOutcome| [outcome.acks, outcome.retries].map(|counts| (counts.confirmed, counts.accepted));
        assert_eq!(of(&uncounted), unnamed.map(|unnamed| (None, unnamed)), "{warnings}");
        assert_eq!(of(&partial), unnamed.map(|unnamed| (Some(unnamed), 0)), "{warnings}");
        assert_eq!(partial.is_complete(), named == none, "{warnings}");
        assert!(all.is_complete() && !uncounted.is_complete(), "{warnings}");
    }
    let repeated =
        format!(r#"{{"warnings":{{"{FIRST}":"gone"}},"ackCount":0,"ackCount":1,"warnings":["{SECOND} too"]}}"#);
    let body = format!(r#"{{"success":true,"result":{repeated}}}"#);
    let [outcome] = outcomes_of([body]).await;
    assert_eq!((outcome.acks.confirmed, outcome.acks.accepted, outcome.retries.accepted), (None, 0, 0));
}

#[tokio::test]
async fn an_extension_is_certain_only_if_all_leases_are_counted() {
    // What is returned for two leases, how many are confirmed and accepted, and whether the deadline is known.
    let table = [
        (json!({"extendCount": 2}), Some(2), 0, true),
        (json!({"extendCount": 2, "warnings": {"a": "hm", "b": "hm"}}), Some(2), 0, true),
        (json!({"extendCount": 2, "warnings": ["hm"]}), Some(2), 0, true),
        (json!({"extendCount": 1}), Some(1), 0, false),
        (json!({"extendCount": 1, "warnings": {"a": "hm"}}), Some(1), 0, false),
        (json!({"extendCount": 3}), Some(0), 0, false),
        (json!({"extendCount": -2}), Some(0), 0, false),
        (json!({"extendCount": 1.5}), Some(0), 0, false),
        (json!({"extendCount": "2"}), None, 2, false),
        (json!({"extendCount": 1, "warnings": {"a": "hm", "b": "hm"}}), Some(1), 0, false),
        (json!({"extendCount": 2, "warnings": 7}), Some(2), 0, true),
        (json!({"warnings": {"0": "hm"}}), None, 2, false),
        (json!({"extendCount": null}), None, 2, false),
        (json!({"warnings": {"a": "hm"}}), None, 1, false),
        (json!({"warnings": ["hm"]}), None, 2, false),
        (json!({}), None, 2, false),
        (json!(null), None, 2, false),
    ];
    let server = Server::playing(table.each_ref().map(|(result, ..)| support::ok(success(result.clone()))));
    let queue = support::queue(&server.url);
    for (result, confirmed, accepted, is_certain) in table {
        let outcome = queue.extend(["a", "b"], Duration::from_secs(60)).await.unwrap();
        let counts = outcome.extensions;
        assert_eq!((counts.requested, counts.confirmed, counts.accepted), (2, confirmed, accepted), "{result}");
        assert_eq!((outcome.is_complete(), outcome.deadline().is_some()), (is_certain, is_certain), "{result}");
    }
}

#[tokio::test]
async fn warnings_of_any_form_are_read() {
    let table = [
        (json!({}), vec![]),
        (json!({"warnings": null}), vec![]),
        (json!({"warnings": []}), vec![]),
        (json!({"warnings": {}}), vec![]),
        (json!({"warnings": ["one", "two"]}), vec![(None, "one"), (None, "two")]),
        (json!({"warnings": {FIRST: "gone"}}), vec![(Some(FIRST), "gone")]),
        (json!({"warnings": {FIRST: {"code": 7}}}), vec![(Some(FIRST), r#"{"code":7}"#)]),
        (json!({"warnings": [{"message": "odd"}, 7]}), vec![(None, "odd"), (None, "7")]),
        (json!({"warnings": "odd"}), vec![(None, "odd")]),
        (json!({"warnings": 7}), vec![(None, "7")]),
    ];
    let responses = table.each_ref().map(|(result, _)| success(result.clone()));
    for ((result, expected), outcome) in table.into_iter().zip(outcomes_of(responses).await) {
        let warnings: Vec<_> =
            outcome.warnings.iter().map(|warning| (warning.subject.clone(), warning.message.as_str())).collect();
        let expected: Vec<_> = expected.into_iter().map(|(lease, text)| (lease.map(LeaseId::from), text)).collect();
        assert_eq!(warnings, expected, "{result}");
    }
}

#[tokio::test]
async fn a_list_of_warnings_is_attributed_and_redacted() {
    let [outcome] = outcomes_of([fixture!("ack.2025-list-warnings.json").to_owned()]).await;
    let [named, unnamed] = &outcome.warnings[..] else { panic!("{outcome:?}") };
    assert_eq!(named.subject, Some(FIRST.into()));
    assert_eq!(named.message, "the lease [redacted] is not known");
    assert_eq!(unnamed.subject, None);
    assert_eq!(unnamed.message, "some leases were passed over");
}

#[tokio::test]
async fn a_map_of_warnings_is_attributed_and_redacted() {
    let [outcome] = outcomes_of([fixture!("ack.map-warnings.json").to_owned()]).await;
    let [first, second] = &outcome.warnings[..] else { panic!("{outcome:?}") };
    assert_eq!(first.subject, Some(FIRST.into()));
    assert_eq!(first.message, "[redacted] is not known");
    assert_eq!(second.subject, Some(SECOND.into()));
    assert_eq!(second.message, "this lease has run out");
}

#[tokio::test]
async fn a_warning_names_its_lease_even_if_another_is_its_prefix() {
    let server = Server::playing([support::ok(success(json!({"warnings": ["lease-10 is not known"]})))]);
    let request = support::acks(["lease-1", "lease-10"]);
    let outcome = support::queue(&server.url).ack(request).await.unwrap();
    assert_eq!(outcome.warnings[0].subject, Some("lease-10".into()));
    assert_eq!(outcome.warnings[0].message, "[redacted] is not known");
}

#[tokio::test]
async fn an_outcome_is_complete_only_if_all_leases_are_counted() {
    // How many acks and retries are requested, what is returned, and whether that is complete.
    let table = [
        (2, 0, json!({"ackCount": 2}), true),
        (2, 0, json!({"ackCount": 2, "retryCount": 0}), true),
        (2, 0, json!({"ackCount": 2.0, "warnings": []}), true),
        (2, 0, json!({"ackCount": 1}), false),
        (2, 0, json!({"ackCount": 3}), false),
        (2, 0, json!({"ackCount": 0}), false),
        (2, 0, json!({"ackCount": null}), false),
        (2, 0, json!({}), false),
        (2, 0, json!({"retryCount": 2}), false),
        (2, 0, json!({"ackCount": -2}), false),
        (2, 0, json!({"ackCount": 2.5}), false),
        (2, 0, json!({"ackCount": 2, "warnings": ["hm"]}), true),
        (2, 0, json!({"ackCount": 2, "warnings": {"lease 0": "hm", "lease 1": "hm"}}), true),
        (2, 0, json!({"ackCount": 2, "warnings": "hm"}), true),
        (2, 0, json!({"ackCount": 1, "warnings": {"lease 0": "hm"}}), false),
        (0, 2, json!({"retryCount": 2}), true),
        (0, 2, json!({"ackCount": 0, "retryCount": 2, "warnings": null}), true),
        (0, 2, json!({"retryCount": 1}), false),
        (0, 2, json!({"ackCount": 2}), false),
        (1, 1, json!({"ackCount": 1, "retryCount": 1, "warnings": {}}), true),
        (1, 1, json!({"ackCount": 1}), false),
        (1, 1, json!({"retryCount": 1}), false),
        (1, 1, json!({"ackCount": 2, "retryCount": 0}), false),
    ];
    let server = Server::playing(table.each_ref().map(|(_, _, result, _)| support::ok(success(result.clone()))));
    let queue = support::queue(&server.url);
    for (acks, retries, result, complete) in table {
        let mut request = AckRequest::new();
        for n in 0..acks + retries {
            let lease = format!("lease {n}");
            request = if n < acks { request.ack(lease) } else { request.retry(lease) };
        }
        let outcome = queue.ack(request).await.unwrap();
        assert_eq!(outcome.is_complete(), complete, "{acks} acks and {retries} retries, then {result}");
    }
}
