//! Reads a JSON text in one pass.
//!
//! Most of a pull is bodies, and most bodies are strings full of escapes. `serde_json` spends 70 instructions on each
//! escape, more than decoding the JSON inside takes. All other values are read by `serde_json`, one by one, so that a
//! malformed value does not affect the others. Skipped values are not validated, and neither are bodies in full:
//! control characters within a body are accepted.

use serde::de::DeserializeOwned;

use crate::message::body::MessageBody;

/// A JSON text, and the position in it.
pub(crate) struct Scanner {
    text: Vec<u8>,
    at: usize,
    /// How much is read before its memory is freed.
    step: usize,
    /// Whether none was freed.
    is_whole: bool,
    /// A buffer for unescaping strings.
    scratch: Vec<u8>,
}

/// A text that is not JSON.
#[derive(Debug)]
pub(crate) struct NoJson;

impl Scanner {
    pub(crate) fn new(text: Vec<u8>) -> Self {
        let step = (text.len() / 8).max(1 << 18);
        Self::in_steps(text, step)
    }

    /// Like [`new`](Self::new), but frees memory each time this much was read.
    pub(crate) fn in_steps(text: Vec<u8>, step: usize) -> Self {
        Self { text, at: 0, step, is_whole: true, scratch: Vec::new() }
    }

    /// Reads an object. `each` is called with the field's name if it is one of `names`, and must read its value.
    pub(crate) fn fields<const N: usize>(
        &mut self,
        names: [&'static str; N],
        mut each: impl FnMut(&mut Self, &str) -> Result<(), NoJson>,
    ) -> Result<(), NoJson> {
        self.sequence([b'{', b'}'], |scanner| {
            let key = scanner.string()?;
            let mut name = names.into_iter().find(|name| name.as_bytes() == key);
            if name.is_none() && key.contains(&b'\\') {
                let key = [b"\"", key, b"\""].concat();
                let key: Option<String> = serde_json::from_slice(&key).ok();
                name = names.into_iter().find(|name| Some(*name) == key.as_deref());
            }
            scanner.expect(b':')?;
            each(scanner, name.unwrap_or_default())
        })
    }

    /// Reads an array, and frees its memory along the way.
    pub(crate) fn entries(&mut self, mut each: impl FnMut(&mut Self) -> Result<(), NoJson>) -> Result<(), NoJson> {
        self.sequence([b'[', b']'], |scanner| {
            if scanner.at >= scanner.step {
                scanner.text.drain(..scanner.at);
                scanner.text.shrink_to_fit();
                scanner.at = 0;
                scanner.is_whole = false;
            }
            each(scanner)
        })
    }

    /// Reads a value. `None` if it is not a `T`.
    pub(crate) fn read<T: DeserializeOwned>(&mut self) -> Result<Option<T>, NoJson> {
        Ok(serde_json::from_slice(self.skip()?).ok())
    }

    /// Skips the next value if it is this object, and returns whether it is.
    pub(crate) fn skip_object(&mut self, object: &[u8]) -> bool {
        self.peek();
        // The end of an object is where it is in `object`, whatever follows.
        let is_next = object.starts_with(b"{") && self.rest().starts_with(object);
        if is_next {
            self.at = self.at.saturating_add(object.len());
        }
        is_next
    }

    /// Reads `null`, and nothing else.
    pub(crate) fn null<T>(&mut self) -> Result<Option<T>, NoJson> {
        if self.skip()? == b"null" { Ok(None) } else { Err(NoJson) }
    }

    /// Skips a value, and returns its text.
    pub(crate) fn skip(&mut self) -> Result<&[u8], NoJson> {
        let first = self.peek();
        let start = self.at;
        match first.ok_or(NoJson)? {
            b'"' => drop(self.string()?),
            b'{' | b'[' => self.skip_nested()?,
            _ => {
                let is_part = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
                self.at = self.at.saturating_add(self.rest().iter().take_while(is_part).count());
            }
        }
        self.text.get(start..self.at).filter(|text| !text.is_empty()).ok_or(NoJson)
    }

    /// Reads a message's body, whatever it is.
    pub(crate) fn body(&mut self) -> Result<MessageBody, NoJson> {
        if self.peek() != Some(b'"') {
            return self.read()?.ok_or(NoJson);
        }
        let Self { text, at, scratch, .. } = self;
        let string = text.get(at.saturating_add(1)..).ok_or(NoJson)?;
        let (plain, rest) = string.split_at_checked(plain(string)).ok_or(NoJson)?;
        let (length, body) = if rest.starts_with(b"\"") {
            (plain.len(), plain)
        } else {
            scratch.clear();
            scratch.extend_from_slice(plain);
            match unescape(rest, scratch) {
                Some(length) => (plain.len().saturating_add(length), scratch.as_slice()),
                None => return self.read()?.ok_or(NoJson),
            }
        };
        // Including the quotes.
        *at = at.saturating_add(length).saturating_add(2);
        str::from_utf8(body).map(MessageBody::unquoted).map_err(|_| NoJson)
    }

    /// The text between the quotes of a string.
    fn string(&mut self) -> Result<&[u8], NoJson> {
        self.expect(b'"')?;
        let start = self.at;
        loop {
            self.at = self.at.saturating_add(plain(self.rest()));
            match self.rest().first() {
                Some(b'"') => break,
                Some(b'\\') => self.at = self.at.saturating_add(2),
                _ => return Err(NoJson),
            }
        }
        let end = self.at;
        self.at = end.saturating_add(1);
        self.text.get(start..end).ok_or(NoJson)
    }

    fn sequence(
        &mut self,
        [open, close]: [u8; 2],
        mut each: impl FnMut(&mut Self) -> Result<(), NoJson>,
    ) -> Result<(), NoJson> {
        self.expect(open)?;
        if self.peek() == Some(close) {
            return self.expect(close);
        }
        loop {
            each(self)?;
            match self.peek() {
                Some(b',') => self.expect(b',')?,
                _ => return self.expect(close),
            }
        }
    }

    /// Skips an array or an object of any depth.
    fn skip_nested(&mut self) -> Result<(), NoJson> {
        let mut depth: usize = 0;
        loop {
            match self.peek().ok_or(NoJson)? {
                b'"' => {
                    self.string()?;
                    continue;
                }
                b'{' | b'[' => depth = depth.saturating_add(1),
                b'}' | b']' => depth = depth.saturating_sub(1),
                _ => {}
            }
            self.at = self.at.saturating_add(1);
            if depth == 0 {
                return Ok(());
            }
        }
    }

    /// The text. `None` if the memory of a part was freed.
    pub(crate) fn into_text(self) -> Option<Vec<u8>> {
        self.is_whole.then_some(self.text)
    }

    /// The next byte that is not white space.
    pub(crate) fn peek(&mut self) -> Option<u8> {
        let blank = self.rest().iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')).count();
        self.at = self.at.saturating_add(blank);
        self.rest().first().copied()
    }

    fn expect(&mut self, byte: u8) -> Result<(), NoJson> {
        let next = self.peek();
        self.at = self.at.saturating_add(1);
        if next == Some(byte) { Ok(()) } else { Err(NoJson) }
    }

    fn rest(&self) -> &[u8] {
        self.text.get(self.at..).unwrap_or_default()
    }
}

/// The number of bytes before a quote or a backslash.
fn plain(bytes: &[u8]) -> usize {
    let mut at: usize = 0;
    while let Some(chunk) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
        match special(chunk) {
            0 => at = at.saturating_add(CHUNK),
            special => return at.saturating_add(position(special)),
        }
        // A text that is not short may be long.
        if at == 2 * CHUNK {
            let (blocks, _) = bytes.get(at..).unwrap_or_default().as_chunks();
            at = at.saturating_add(blocks.iter().take_while(|block| is_plain(block)).count().saturating_mul(64));
        }
    }
    let rest = bytes.get(at..).unwrap_or_default();
    at.saturating_add(rest.iter().take_while(|byte| !matches!(byte, b'"' | b'\\')).count())
}

/// Whether no byte is a quote or a backslash. Without an early end, this is compiled to vector instructions.
fn is_plain(block: &[u8; 64]) -> bool {
    block.iter().map(|byte| u8::from(*byte == b'"') | u8::from(*byte == b'\\')).fold(0, u8::max) == 0
}

/// How many bytes are examined together.
const CHUNK: usize = 8;

/// Marks the first quote or backslash by the high bit of its byte. The bytes after it may be marked as well.
fn special(chunk: &[u8; CHUNK]) -> u64 {
    const ONES: u64 = u64::from_ne_bytes([1; CHUNK]);
    const HIGH: u64 = u64::from_ne_bytes([0x80; CHUNK]);
    let word = u64::from_le_bytes(*chunk);
    // The lowest byte that is zero borrows from its own high bit, and the ones below it do not.
    let zero = |word: u64| word.wrapping_sub(ONES) & !word;
    (zero(word ^ (ONES * u64::from(b'"'))) | zero(word ^ (ONES * u64::from(b'\\')))) & HIGH
}

/// The first marked byte.
fn position(special: u64) -> usize {
    (special.trailing_zeros() / 8) as usize
}

/// Unescapes the string at the start, and returns its length. `None` if it has no end, or a longer escape than these.
fn unescape(string: &[u8], text: &mut Vec<u8>) -> Option<usize> {
    // How much of the string was read, and how much of the text is in use.
    let (mut at, mut end) = (0_usize, text.len());
    loop {
        let rest = string.get(at..)?;
        let Some(target) = text.get_mut(end..).and_then(<[u8]>::first_chunk_mut) else {
            text.resize(text.len().saturating_mul(2).saturating_add(2 * CHUNK), 0);
            continue;
        };
        let plain = if let Some(chunk) = rest.first_chunk() {
            // Copies a fixed amount, of which the excess is overwritten, which is cheaper than copying a few bytes.
            *target = *chunk;
            match special(chunk) {
                0 => {
                    (at, end) = (at.saturating_add(CHUNK), end.saturating_add(CHUNK));
                    continue;
                }
                special => position(special),
            }
        } else {
            let plain = rest.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
            target.get_mut(..plain)?.copy_from_slice(rest.get(..plain)?);
            plain
        };
        (at, end) = (at.saturating_add(plain), end.saturating_add(plain));
        if string.get(at) == Some(&b'"') {
            text.truncate(end);
            return Some(at);
        }
        *text.get_mut(end)? = match *string.get(at.saturating_add(1))? {
            escaped @ (b'"' | b'\\' | b'/') => escaped,
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            _ => return None,
        };
        (at, end) = (at.saturating_add(2), end.saturating_add(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::body::{Body, ContentType};

    #[test]
    fn the_first_quote_or_backslash_is_found_at_any_position() {
        // These differ from a quote or a backslash by one bit, or follow one of them.
        for filler in [b'a', b'#', b']', 0x21, 0x5b, 0xa2, 0xdc, 0, 0xff] {
            for (special, position) in
                [b'"', b'\\'].into_iter().flat_map(|special| (0..300).map(move |at| (special, at)))
            {
                let mut text = [filler; 310];
                text[position] = special;
                assert_eq!(plain(&text), position, "{filler}");
                assert_eq!(plain(&text[..=position]), position, "{filler}");
                for after in [b'"', b'\\'] {
                    text[position + 1..].fill(after);
                    assert_eq!(plain(&text), position, "{filler}");
                }
            }
            assert_eq!(plain(&[filler; 310]), 310);
        }
    }

    #[test]
    fn short_escapes_are_read_without_the_parser() {
        for escape in [r"\b", r"\f", r"\n", r"\r", r"\t", r#"\""#, r"\\"] {
            for (before, after) in (0..20).flat_map(|before| (0..20).map(move |after| (before, after))) {
                let text = format!(r#""\/{}{escape}{}""#, "a".repeat(before), "b".repeat(after));
                let mut scanner = Scanner::new(format!("{text},7").into());
                let body = Body::new(scanner.body().unwrap(), ContentType::Text);
                assert_eq!(body.text().unwrap(), serde_json::from_str::<String>(&text).unwrap());
                // What the parser reads keeps its escapes.
                assert!(body.raw().starts_with("\"/"), "{text}");
                assert_eq!(scanner.rest(), b",7");
            }
        }
    }

    #[test]
    fn a_bracket_in_a_string_does_not_end_an_object() {
        for value in [r#"{"}":"]","a":[{"b":"\"}"}]}"#, r#"["]",["[",{}],"{"]"#] {
            let mut scanner = Scanner::new(format!(" {value},7").into());
            assert_eq!(scanner.skip().unwrap(), value.as_bytes());
            assert_eq!(scanner.rest(), b",7");
        }
    }

    #[test]
    fn only_null_is_read_as_null() {
        let null = |text: &str| Scanner::new(text.into()).null::<()>().is_ok();
        assert!(null(" null") && !null("7") && !null(r#""null""#) && !null(""));
    }
}
