//! Removes secrets from the service's texts, which may quote what was sent.
//!
//! The rule: every run of at least [`PART`] bytes that a text shares with a secret is removed, and so is a shorter
//! secret of at least [`WHOLE`] bytes that is quoted in full. Secrets are the credential, and every string, key and
//! number in the request, both as written and with JSON escapes decoded, except for the [words](document::WORDS) of the
//! OpenAPI document. A secret that is quoted in another encoding, such as base64, is not recognised.

use std::collections::HashSet;

use crate::document;

const PART: usize = 8;
const WHOLE: usize = 4;
/// How many bytes of a text are kept, to within a character.
const MAX_TEXT: usize = 16 << 10;
const REDACTED: &str = "[redacted]";

#[derive(Default)]
pub(crate) struct Redactor {
    secrets: Vec<String>,
    /// It is not known what was sent, so none of the service's text is shown.
    is_blind: bool,
}

impl Redactor {
    pub(crate) fn new<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Self {
        let mut redactor = Self::default();
        secrets.into_iter().for_each(|secret| redactor.add(secret));
        redactor
    }

    /// Adds the contents of a request's body: any nesting, any order, repeated keys.
    pub(crate) fn add_request(&mut self, json: &[u8]) {
        let Ok(mut rest) = str::from_utf8(json) else {
            self.is_blind = true;
            return;
        };
        while let Some(start) = rest.find(|next: char| !"{}[],: \t\r\n".contains(next)) {
            rest = rest.get(start..).unwrap_or_default();
            let end = if rest.starts_with('"') {
                end_of_string(rest)
            } else {
                rest.find(|next: char| "{}[],: \t\r\n".contains(next)).unwrap_or(rest.len())
            };
            let (token, after) = rest.split_at_checked(end).unwrap_or((rest, ""));
            self.add_token(token);
            rest = after;
        }
    }

    fn add_token(&mut self, token: &str) {
        let written = token.trim_matches('"');
        if document::WORDS.contains(&written) || ["true", "false", "null"].contains(&token) {
            return;
        }
        self.add(written);
        if written.contains('\\') {
            match serde_json::from_str::<String>(token) {
                Ok(unescaped) => self.add(&unescaped),
                // Half of a surrogate pair is sent as written.
                Err(_) => self.is_blind = true,
            }
        }
    }

    fn add(&mut self, secret: &str) {
        if secret.len() >= WHOLE {
            self.secrets.push(secret.to_owned());
        }
    }

    pub(crate) fn redact(&self, text: &mut String) {
        self.redact_all([text]);
    }

    /// Redacts several texts, and indexes the secrets once.
    pub(crate) fn redact_all<'t>(&self, texts: impl IntoIterator<Item = &'t mut String>) {
        let mut texts: Vec<&mut String> = texts.into_iter().collect();
        if self.is_blind {
            texts.into_iter().for_each(|text| REDACTED.clone_into(text));
            return;
        }
        texts.iter_mut().for_each(|text| shorten(text));
        // The texts are short and the secrets may be long: keep only what they have in common.
        let in_texts: HashSet<&[u8]> = texts.iter().flat_map(|text| text.as_bytes().windows(PART)).collect();
        let parts = self.secrets.iter().flat_map(|secret| secret.as_bytes().windows(PART));
        let whole = self.secrets.iter().filter(|secret| secret.len() < PART).map(|secret| secret.as_bytes());
        let shared: HashSet<&[u8]> = parts.filter(|part| in_texts.contains(part)).chain(whole).collect();
        for text in &mut texts {
            let hidden = hidden(text, &shared);
            if hidden.contains(&true) {
                **text = without(text, &hidden);
            }
        }
    }
}

/// Marks the bytes of a text that are quoted from a secret.
fn hidden(text: &str, shared: &HashSet<&[u8]>) -> Vec<bool> {
    let mut hidden = vec![false; text.len()];
    // A request may have as many secrets as bytes, so they are looked up by length, and not one by one.
    for length in WHOLE..=PART {
        let quoted = text.as_bytes().windows(length).enumerate().filter(|(_, part)| shared.contains(part));
        for (at, _) in quoted {
            hidden.iter_mut().skip(at).take(length).for_each(|hidden| *hidden = true);
        }
    }
    hidden
}

/// A longer text is of no use, and searching it takes many times its size in memory.
fn shorten(text: &mut String) {
    if let Some((end, _)) = text.char_indices().find(|(at, _)| *at >= MAX_TEXT) {
        text.truncate(end);
    }
}

/// The text with each run of hidden bytes replaced by one mark.
fn without(text: &str, hidden: &[bool]) -> String {
    let mut redacted = String::with_capacity(text.len());
    let mut was_hidden = false;
    for (at, character) in text.char_indices() {
        let is_hidden = hidden.iter().skip(at).take(character.len_utf8()).any(|hidden| *hidden);
        match (is_hidden, was_hidden) {
            (true, false) => redacted.push_str(REDACTED),
            (true, true) => {}
            (false, _) => redacted.push(character),
        }
        was_hidden = is_hidden;
    }
    redacted
}

/// The end of the string at the start of a JSON text.
pub(crate) fn end_of_string(json: &str) -> usize {
    let mut is_escaped = false;
    for (at, byte) in json.bytes().enumerate().skip(1) {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return at.saturating_add(1),
            _ => {}
        }
    }
    json.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redacted(sent: &str, text: &str) -> String {
        let mut redactor = Redactor::new(["t0ken-of-the-account"]);
        redactor.add_request(sent.as_bytes());
        let mut text = text.to_owned();
        redactor.redact(&mut text);
        text
    }

    #[test]
    fn any_part_of_a_secret_is_removed() {
        let sent = r#"{"acks":[{"lease_id":"lease-0123456789-abc"}]}"#;
        assert_eq!(redacted(sent, "no lease-0123456789-abc here"), "no [redacted] here");
        assert_eq!(
            redacted(sent, "tail 56789-abc, middle 3456789-, 01234"),
            "tail [redacted], middle [redacted], 01234"
        );
        assert_eq!(redacted(sent, "token of-the-account"), "token [redacted]");
        assert_eq!(redacted(sent, "lease_id: not known"), "lease_id: not known");
    }

    #[test]
    fn every_part_of_a_body_is_secret_in_any_escaping() {
        let deep = format!(r#"{{"body":{}"4111-1111-2222-3333"{}}}"#, "[".repeat(500), "]".repeat(500));
        let sent = [
            (r#"{"body":"card 4111-1111-2222-3333"}"#, "bad card 4111-1111-2222-3333", "bad [redacted]"),
            (r#"{"body":{"first secret":1,"first secret":2}}"#, "key `first secret`", "key `[redacted]`"),
            (r#"{"body":12345678901234567890123}"#, "8901234567890123 is too large", "[redacted] is too large"),
            (r#"{"body":"caf\u00e9 at noon"}"#, "what is café at noon?", "what is [redacted]?"),
            (r#"{"body":"pin:7"}"#, "no pin:7, no pin", "no [redacted], no pin"),
            (r#"{"body":"4711","to":"471"}"#, "no 4711, no 471", "no [redacted], no 471"),
            (r#"{"body":4747}"#, "no 474747", "no [redacted]"),
            (r#"{"body":"half \ud800"}"#, "anything", "[redacted]"),
            (r#"{"body":"a \"b, c, d\", e"}"#, r#"what is `a "b, c, d", e`?"#, "what is `[redacted]`?"),
            (r#"{"body":"a\\","b":"c, d\\"}"#, r"a\ and c, d\", r"a\ and [redacted]"),
            (&deep, "bad 4111-1111", "bad [redacted]"),
        ];
        for (sent, text, expected) in sent {
            assert_eq!(redacted(sent, text), expected, "{sent}");
        }
    }

    #[test]
    fn truncated_secrets_are_redacted() {
        assert_eq!(redacted(r#"{"body":"4111-1111-22"#, "bad 4111-1111-22"), "bad [redacted]");
    }

    #[test]
    fn texts_about_binary_requests_are_hidden() {
        let mut redactor = Redactor::default();
        redactor.add_request(b"\xff");
        let mut text = "anything".to_owned();
        redactor.redact(&mut text);
        assert_eq!(text, REDACTED);
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(redacted("{}", &"a".repeat(MAX_TEXT)).len(), MAX_TEXT);
        assert_eq!(redacted("{}", &"a".repeat(MAX_TEXT + 1)).len(), MAX_TEXT);
        // The third byte of a character is the first that is too many.
        assert_eq!(redacted("{}", &"日".repeat(MAX_TEXT)).len(), MAX_TEXT.next_multiple_of(3));
    }
}
