//! Tables for humans, one JSON object per line for programs.

use std::{
    io::{self, IsTerminal, Write},
    time::Duration,
};

use clap::ValueEnum;
use comfy_table::{Table, presets};
use serde::Serialize;

const BOLD: &str = "\u{1b}[1m";
const PLAIN: &str = "\u{1b}[0m";
/// Clears the screen.
pub(crate) const CLEAR: &str = "\u{1b}[H\u{1b}[2J";

/// An output format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Columns for people
    Table,
    /// One JSON object a line
    Ndjson,
}

impl Format {
    /// The requested format, or the one that suits the output: a table for a terminal.
    pub(crate) fn or_fitting(asked: Option<Self>) -> Self {
        let fitting = if io::stdout().is_terminal() { Self::Table } else { Self::Ndjson };
        asked.unwrap_or(fitting)
    }
}

/// Something that is shown as a row or as an object.
pub(crate) trait Row: Serialize {
    fn head(&self) -> Vec<&'static str>;
    fn cells(&self) -> Vec<String>;
}

impl<R: Row> Row for &R {
    fn head(&self) -> Vec<&'static str> {
        (**self).head()
    }

    fn cells(&self) -> Vec<String> {
        (**self).cells()
    }
}

/// Prints rows, all at once, so that their columns line up.
pub(crate) fn print<R: Row>(format: Format, rows: &[R]) -> io::Result<()> {
    Lister::new(format).print(rows)
}

/// Prints rows as they come, under one head.
#[derive(Clone, Copy)]
pub(crate) struct Lister {
    format: Format,
    has_head: bool,
}

impl Lister {
    pub(crate) fn new(format: Format) -> Self {
        Self { format, has_head: false }
    }

    pub(crate) fn print<R: Row>(&mut self, rows: &[R]) -> io::Result<()> {
        let Some(first) = rows.first() else { return Ok(()) };
        let mut out = anstream::stdout().lock();
        match self.format {
            Format::Ndjson => rows.iter().try_for_each(|row| writeln!(out, "{}", json(row)?))?,
            Format::Table => {
                let mut lines = table(&first.head(), rows);
                let width = terminal_size::terminal_size_of(io::stdout()).map(|(width, _)| usize::from(width.0));
                if width.is_some_and(|width| lines.iter().any(|line| line.chars().count() > width)) {
                    rows.iter().try_for_each(|row| writeln!(out, "{}", properties(row)))?;
                    return out.flush();
                }
                if self.has_head {
                    lines.remove(0);
                } else if let Some(head) = lines.first_mut() {
                    *head = format!("{BOLD}{head}{PLAIN}");
                }
                self.has_head = true;
                lines.iter().try_for_each(|line| writeln!(out, "{line}"))?;
            }
        }
        out.flush()
    }
}

/// Writes on a thread of its own, so that a reader that is slow or stuck blocks nothing else.
pub(crate) async fn aside<T: Send + 'static>(write: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(write).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

/// A list of properties, one a line.
pub(crate) fn pairs(pairs: &[(&str, String)]) -> String {
    let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    pairs.iter().map(|(name, value)| format!("{BOLD}{name:width$}{PLAIN}  {}\n", plain(value))).collect()
}

/// One line of JSON.
pub(crate) fn json(row: &impl Serialize) -> io::Result<String> {
    Ok(serde_json::to_string(row)?)
}

/// Writes text as it is.
pub(crate) fn write(text: &str) -> io::Result<()> {
    anstream::stdout().lock().write_all(text.as_bytes())
}

pub(crate) fn yes_or_no(is_so: Option<bool>) -> String {
    cell(is_so.map(|is_so| if is_so { "yes" } else { "no" }))
}

/// A value that may be unknown.
pub(crate) fn cell(value: Option<impl ToString>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

/// A number and what it counts, in the singular or the plural.
pub(crate) fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

pub(crate) fn messages(count: u64) -> String {
    counted(count, "message", "messages")
}

/// How many messages a queue has, if the service says it.
pub(crate) fn backlog(count: Option<u64>) -> String {
    count.map_or_else(|| "an unknown number of messages".to_owned(), messages)
}

/// A time in whole seconds, such as `4 days 2h`.
pub(crate) fn lasting(time: Duration) -> String {
    let text = humantime::format_duration(Duration::from_secs(time.as_secs())).to_string();
    ["day", "month", "year"].into_iter().fold(text, |text, unit| text.replace(unit, &format!(" {unit}")))
}

/// A row that does not fit, as a list.
fn properties<R: Row>(row: &R) -> String {
    pairs(&row.head().into_iter().zip(row.cells()).filter(|(name, _)| !name.is_empty()).collect::<Vec<_>>())
}

fn table<R: Row>(head: &[&str], rows: &[R]) -> Vec<String> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(head);
    for row in rows {
        table.add_row(row.cells().iter().map(|cell| plain(cell)));
    }
    // Each cell has a space on either side.
    table.lines().map(|line| line.strip_prefix(' ').unwrap_or(&line).trim_end().to_owned()).collect()
}

/// Text without anything that moves the cursor or changes the direction of a line.
pub(crate) fn plain(text: &str) -> String {
    text.chars()
        .flat_map(|character| {
            let is_escaped = character.is_control() || is_directional(character);
            let escaped = is_escaped.then(|| character.escape_default()).into_iter().flatten();
            escaped.chain((!is_escaped).then_some(character))
        })
        .collect()
}

/// Separators of lines, and the characters that control the direction of text.
fn is_directional(character: char) -> bool {
    matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{backlog, lasting, messages, plain};

    #[test]
    fn a_single_message_is_in_the_singular() {
        assert_eq!([0, 1, 2].map(messages), ["0 messages", "1 message", "2 messages"]);
        assert_eq!([Some(1), None].map(backlog), ["1 message", "an unknown number of messages"]);
    }

    #[test]
    fn times_have_a_space_before_a_unit_that_is_a_word() {
        let shown = [0, 90, 86_400, 4 * 86_400 + 7200].map(Duration::from_secs).map(lasting);
        assert_eq!(shown, ["0s", "1m 30s", "1 day", "4 days 2h"]);
        assert_eq!(lasting(Duration::from_millis(1999)), "1s");
        assert!(lasting(Duration::MAX).contains(" years "));
    }

    #[test]
    fn text_cannot_move_the_cursor_or_reverse_the_line() {
        let shown = plain("a\u{1b}[2J\r\u{9b}1A\u{202e}b\u{2066}\u{200f}\u{2028}\u{e9}");
        assert_eq!(shown, r"a\u{1b}[2J\r\u{9b}1A\u{202e}b\u{2066}\u{200f}\u{2028}é");
    }
}
