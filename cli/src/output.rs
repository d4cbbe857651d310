//! Tables for humans, one JSON object per line for programs.

use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;
use comfy_table::{Table, presets};
use serde::Serialize;

const BOLD: &str = "\u{1b}[1m";
const PLAIN: &str = "\u{1b}[0m";

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

/// A value that may be unknown.
pub(crate) fn cell(value: Option<impl ToString>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
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

/// Text without anything that a terminal interprets.
pub(crate) fn plain(text: &str) -> String {
    text.chars()
        .flat_map(|character| {
            let control = character.is_control();
            let escaped = control.then(|| character.escape_default()).into_iter().flatten();
            escaped.chain((!control).then_some(character))
        })
        .collect()
}
