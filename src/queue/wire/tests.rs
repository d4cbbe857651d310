//! Pulls are read by hand: they come out as the document's types would have them.

use serde_json::json;

use super::*;
use crate::test_world::is_every_case_wanted;

/// Numbers that look like chance, the same in every run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }

    fn pick<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len())]
    }

    /// A JSON string of up to 80 characters, escaped in any way.
    fn string(&mut self) -> String {
        let parts = [
            "a",
            "item 007",
            "{",
            "}",
            "[",
            ",",
            ":",
            "é",
            "日",
            "🦀",
            " ",
            r#"\""#,
            r"\\",
            r"\/",
            r"\n",
            r"\t",
            r"\b",
            r"\f",
            r"\r",
            r"\u00e9",
            r"\ud83e\udd80",
            r"\u0022",
            "==",
        ];
        (0..self.below(80)).map(|_| self.pick(&parts)).fold("\"".to_owned(), |text, part| text + part) + "\""
    }

    fn value(&mut self, depth: usize) -> String {
        match self.below(if depth == 0 { 6 } else { 8 }) {
            0 => "null".to_owned(),
            1 => self.pick(&["true", "false"]).to_owned(),
            2 => self.pick(&["0", "-1", "7", "5.0", "1e3", "1760000000123", "0.1"]).to_owned(),
            3..6 => self.string(),
            6 => {
                let entries: Vec<_> = (0..self.below(4)).map(|_| self.value(depth - 1)).collect();
                format!("[{}]", entries.join(self.pick(&[",", " , "])))
            }
            _ => {
                let fields: Vec<_> =
                    (0..self.below(4)).map(|at| format!(r#""{at}": {}"#, self.value(depth - 1))).collect();
                format!("{{{}}}", fields.join(","))
            }
        }
    }

    fn message(&mut self) -> String {
        let names = ["id", "body", "lease_id", r"lease\u005fid", "attempts", "timestamp_ms", "metadata", "else"];
        let mut fields = Vec::new();
        for name in names {
            // A field that is there twice does not fit the document.
            if name == r"lease\u005fid" && fields.iter().any(|field: &String| field.starts_with("\"lease_id")) {
                continue;
            }
            if self.below(4) > 0 {
                let value = if name == "body" { self.string() } else { self.value(2) };
                fields.push(format!("\"{name}\"{}{value}", self.pick(&[":", " : ", ":\n\t"])));
            }
        }
        format!("{{{}}}", fields.join(self.pick(&[",", ", "])))
    }

    fn response(&mut self) -> String {
        let messages: Vec<_> = (0..self.below(6)).map(|_| self.message()).collect();
        let result = format!(
            r#"{{"else":{},"messages":[{}],"message_backlog_count":{}, "metadata" : {{"metrics":{}}}}}"#,
            self.value(2),
            messages.join(self.pick(&[",", "\r\n,"])),
            self.value(0),
            self.value(1),
        );
        let success = self.pick(&["true", "true", "true", "false", "null"]);
        let (success, errors) = (format!(r#""success":{success}"#), format!(r#""errors":{}"#, self.value(2)));
        let result = format!(r#""result":{result}"#);
        let mut fields = [success, errors, result, format!(r#""messages":{}"#, self.value(2))];
        fields.rotate_left(self.below(4));
        format!("{}{{{}}}\n", self.pick(&["", " "]), fields.join(","))
    }
}

fn opened(envelope: Envelope<PullResult>) -> (Option<bool>, usize, Option<Batch>) {
    let Envelope { success, errors, result, .. } = envelope;
    let now = Instant::now();
    // Only a success has a result.
    let result = result.filter(|_| success == Some(true));
    (
        success,
        errors.unwrap_or_default().len(),
        result.map(|result| Batch { messages: Vec::new(), ..batch(result.clone(), now) }),
    )
}

fn messages_of(envelope: Envelope<PullResult>) -> Option<Vec<PulledMessage>> {
    envelope.result?.messages
}

fn same(one: &PulledMessage, other: &PulledMessage) -> bool {
    let filled = |value: &Option<Value>| value.clone().filter(|value| !value.is_null());
    let body = |message: &PulledMessage| message.body.clone().unwrap_or_default();
    filled(&one.id) == filled(&other.id)
        && filled(&one.attempts) == filled(&other.attempts)
        && filled(&one.timestamp_ms) == filled(&other.timestamp_ms)
        && one.metadata.clone().unwrap_or_default() == other.metadata.clone().unwrap_or_default()
        && one.lease_id.clone().filter(|id| !id.is_empty()) == other.lease_id.clone().filter(|id| !id.is_empty())
        && body(one) == body(other)
}

fn batch_of(response: &str) -> Option<Batch> {
    let envelope = scan(Scanner::new(response.into()), "lease_id").ok()?;
    Some(batch(envelope.result?, Instant::now()))
}

#[test]
fn a_pull_is_read_as_the_document_describes_it() {
    let mut chance = Chance(7);
    let mut messages = 0;
    let responses = if is_every_case_wanted() { 1000 } else { 300 };
    for _ in 0..responses {
        let response = chance.response();
        let document = || response::read::<PullResult>(response.clone().into_bytes()).expect(&response);
        let ours = || scan(Scanner::new(response.clone().into_bytes()), "lease_id").expect(&response);
        assert_eq!(opened(ours()), opened(document()), "{response}");
        let (ours, document) = (messages_of(ours()), messages_of(document()));
        messages += document.iter().flatten().count();
        assert_eq!(ours.iter().flatten().count(), document.iter().flatten().count(), "{response}");
        for (ours, document) in ours.iter().flatten().zip(document.iter().flatten()) {
            assert!(same(ours, document), "{response}\n{ours:?}\n{document:?}");
        }
    }
    assert!(messages > responses, "{messages}");
}

#[test]
fn no_part_of_a_pull_is_taken_for_the_whole() {
    let mut chance = Chance(8);
    for _ in 0..if is_every_case_wanted() { 8 } else { 3 } {
        let response = chance.response();
        let whole = response.trim_end();
        for end in 0..whole.len() {
            assert!(read_pull(whole.as_bytes()[..end].to_vec()).is_err(), "{}", &whole[..end]);
        }
        assert!(read_pull(format!("{response},").into_bytes()).is_err());
    }
}

#[test]
fn large_pulls_free_memory_and_keep_each_message() {
    let body = "\"\\é ".repeat(20_000);
    let message = |number: usize| json!({ "lease_id": format!("lease {number}"), "id": number, "body": body });
    let result = json!({ "messages": (0..8).map(message).collect::<Vec<_>>(), "message_backlog_count": 7 });
    let response = json!({ "result": result, "success": true, "errors": [] }).to_string();
    let batch = batch_of(&response).unwrap();
    assert_eq!((batch.len(), batch.backlog_count), (8, Some(7)));
    for (number, message) in batch.iter().enumerate() {
        assert_eq!(message.lease_id.expose_secret(), format!("lease {number}"));
        assert_eq!(message.id, number.to_string());
        assert_eq!(message.body.raw(), json!(body).to_string());
    }
}

#[test]
fn unreadable_large_responses_are_described_as_a_whole() {
    let message = json!({ "lease_id": "a", "body": "x".repeat(100_000) }).to_string();
    let response = format!(r#"{{"success":true,"result":{{"messages":[{}]"#, [message.as_str(); 10].join(","));
    let error = read_pull(response.into()).unwrap_err();
    assert!(error.to_string().starts_with("the response is not JSON of the documented form; "), "{error}");
}

#[test]
fn small_unreadable_responses_are_left_to_the_parser() {
    let response = r#"{"success":true,"result":{"messages":[{"lease_id":"a"},{}],"messages":7}}"#;
    assert_eq!(scan(Scanner::new(response.into()), "lease_id").unwrap_err(), Some(response.into()));
}

#[test]
fn two_lists_of_messages_are_an_error_and_lose_no_lease() {
    let lists = r#""messages":[{"lease_id":"a"}],"messages":[{"lease_id":"b"}]"#;
    let response = format!(r#"{{"success":true,"result":{{{lists}}}}}"#);
    assert_eq!(batch_of(&response), None);
    let peek = |response: &str| read_peek(response.replace("lease_id", "ref").into());
    assert!(peek(&response).is_err());
    assert!(peek(r#"{"success":true,"result":{"messages":[{"lease_id":"a"}]}}"#).is_ok(), "one is read");
}

#[test]
fn many_entries_with_one_lease_are_told_apart_in_no_time() {
    let message = |number: usize| PulledMessage {
        lease_id: Some(if number.is_multiple_of(100) { format!("{number}").into() } else { "again".into() }),
        ..PulledMessage::default()
    };
    let messages = Some((0..20_000).map(message).collect());
    let start = std::time::Instant::now();
    let batch = batch(PullResult { messages, ..PullResult::default() }, Instant::now());
    assert_eq!((batch.len(), batch.duplicates), (201, 19_799));
    // Comparing each one with all others takes 15 seconds.
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
}

#[test]
fn a_malformed_property_does_not_hide_the_content_type() {
    for odd in [r#""\ud800""#, "1e999", "[1 2]"] {
        let metadata = format!(r#"{{"odd":{odd},"CF-Content-Type":"text","else":7}}"#);
        let message = format!(r#"{{"lease_id":"a","body":"Word","metadata":{metadata}}}"#);
        let batch = batch_of(&format!(r#"{{"success":true,"result":{{"messages":[{message},{{}}]}}}}"#)).unwrap();
        assert_eq!((batch.len(), batch.without_lease), (1, 1), "{odd}");
        assert_eq!(batch.messages[0].body.text().unwrap(), "Word", "{odd}");
    }
}

#[test]
fn messages_in_a_row_with_equal_properties_share_them() {
    let metadata = [r#"{"a":1}"#, r#"{"a":1}"#, r#"{"a":1,"b":2}"#, r#"{"a":1}"#, "7", "75", "null", r#"{"a":1}"#];
    let message = |(at, metadata): (usize, &str)| format!(r#"{{"lease_id":"{at}","metadata":{metadata}}}"#);
    let messages: Vec<_> = metadata.into_iter().enumerate().map(message).collect();
    let batch = batch_of(&format!(r#"{{"success":true,"result":{{"messages":[{}]}}}}"#, messages.join(","))).unwrap();
    assert_eq!(batch.len(), metadata.len());
    for (message, sent) in batch.iter().zip(metadata) {
        let sent: Value = serde_json::from_str(sent).unwrap();
        assert_eq!(*message.metadata, sent.as_object().cloned().unwrap_or_default());
    }
    let is_shared = |one: usize, other: usize| {
        let [one, other] = [one, other].map(|at| &*batch.messages[at].metadata);
        std::ptr::eq(one, other)
    };
    assert!(is_shared(0, 1) && !is_shared(1, 2) && !is_shared(0, 7));
}
