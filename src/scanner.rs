//! Goes through a JSON text once, and hands its values on to where they are kept.
//!
//! Bodies are most of a pull, and mostly strings full of escapes, at which `serde_json` spends 70 instructions each: more
//! than decoding the JSON in them takes. All other values are read by `serde_json`, each by itself, so that an odd one
//! costs nothing but itself. What is only passed over is not checked.

use std::mem;

use serde::de::DeserializeOwned;

use crate::body::MessageBody;

/// A JSON text, and how far it was read.
pub(crate) struct Scanner {
    text: Vec<u8>,
    at: usize,
    /// As much is read before its memory is given back.
    step: usize,
    /// A string while it is unescaped.
    scratch: Vec<u8>,
}

/// What cannot be read at all, since it is no JSON.
#[derive(Debug)]
pub(crate) struct NoJson;

impl Scanner {
    pub(crate) fn new(text: Vec<u8>) -> Self {
        Self { at: 0, step: (text.len() / 8).max(1 << 19), text, scratch: Vec::new() }
    }

    /// Reads an object. `each` is given the one of `names` that a field has, and has to read its value.
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

    /// Reads an array, whose memory is given back on the way.
    pub(crate) fn entries(&mut self, mut each: impl FnMut(&mut Self) -> Result<(), NoJson>) -> Result<(), NoJson> {
        self.sequence([b'[', b']'], |scanner| {
            if scanner.at >= scanner.step {
                scanner.text.drain(..scanner.at);
                scanner.text.shrink_to_fit();
                scanner.at = 0;
            }
            each(scanner)
        })
    }

    /// Reads a value; `None` if it is no `T`.
    pub(crate) fn read<T: DeserializeOwned>(&mut self) -> Result<Option<T>, NoJson> {
        Ok(serde_json::from_slice(self.skip()?).ok())
    }

    /// Reads `null`, and nothing else.
    pub(crate) fn null<T>(&mut self) -> Result<Option<T>, NoJson> {
        if self.skip()? == b"null" { Ok(None) } else { Err(NoJson) }
    }

    /// Passes a value over, and returns its text.
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
        // The quotes, too.
        *at = at.saturating_add(length).saturating_add(2);
        str::from_utf8(body).map(MessageBody::unquoted).map_err(|_| NoJson)
    }

    /// What stands between the quotes of a string.
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

    /// Passes over an array or an object, however deep it is.
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

    /// What is left of the text: all of it, unless it is large.
    pub(crate) fn into_text(self) -> Vec<u8> {
        self.text
    }

    /// The next byte that is no white space.
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

/// How many bytes come before a quote or a backslash.
fn plain(bytes: &[u8]) -> usize {
    let is_special = |byte: &u8| u8::from(*byte == b'"') | u8::from(*byte == b'\\');
    // Without an early end, this is compiled to vector instructions.
    let is_plain = |block: &&[u8; 64]| block.iter().map(is_special).fold(0, u8::max) == 0;
    let mut at: usize = 0;
    while let Some(chunk) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
        match special(chunk) {
            0 => at = at.saturating_add(CHUNK),
            special => return at.saturating_add(place(special)),
        }
        // What is not short may be long.
        if at == 2 * CHUNK {
            let (blocks, _) = bytes.get(at..).unwrap_or_default().as_chunks();
            at = at.saturating_add(blocks.iter().take_while(is_plain).count().saturating_mul(64));
        }
    }
    let rest = bytes.get(at..).unwrap_or_default();
    at.saturating_add(rest.iter().take_while(|byte| is_special(byte) == 0).count())
}

/// So many bytes are looked at together.
const CHUNK: usize = 8;

/// The high bit of each byte that is a quote or a backslash.
fn special(chunk: &[u8; CHUNK]) -> u64 {
    const ONES: u64 = u64::from_ne_bytes([1; CHUNK]);
    const LOW: u64 = ONES * 0x7f;
    let word = u64::from_le_bytes(*chunk);
    // Of what is zero, no sum reaches the high bit, and no sum reaches the next byte.
    let zero = |word: u64| !(((word & LOW) + LOW) | word | LOW);
    zero(word ^ (ONES * u64::from(b'"'))) | zero(word ^ (ONES * u64::from(b'\\')))
}

/// The first byte that is marked.
fn place(special: u64) -> usize {
    (special.trailing_zeros() / 8) as usize
}

/// Unescapes the string at the front of this, and returns how long it was; `None` if it has no end, or takes more than
/// this.
fn unescape(string: &[u8], text: &mut Vec<u8>) -> Option<usize> {
    let (mut at, mut unmarked): (usize, u64) = (0, u64::MAX);
    loop {
        let rest = string.get(at..)?;
        let byte = if let Some(chunk) = rest.first_chunk() {
            let special = special(chunk) & mem::replace(&mut unmarked, u64::MAX);
            let length = text.len();
            // All of it is copied, and what was too much is dropped: that takes less than to copy a few bytes.
            text.extend_from_slice(chunk);
            if special == 0 {
                at = at.saturating_add(CHUNK);
                continue;
            }
            let plain = place(special);
            text.truncate(length.saturating_add(plain));
            at = at.saturating_add(plain);
            *chunk.get(plain)?
        } else {
            let byte = *rest.first()?;
            if mem::replace(&mut unmarked, u64::MAX) != u64::MAX || !matches!(byte, b'"' | b'\\') {
                text.push(byte);
                at = at.saturating_add(1);
                continue;
            }
            byte
        };
        if byte == b'"' {
            return Some(at);
        }
        at = at.saturating_add(1);
        let escaped = match *string.get(at)? {
            // It stands for itself, and is copied with what follows.
            b'"' | b'\\' | b'/' => {
                unmarked = !0xff;
                continue;
            }
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            _ => return None,
        };
        text.push(escaped);
        at = at.saturating_add(1);
    }
}
