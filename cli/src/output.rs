//! Tables for people, one JSON object a line for programs.

use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;
use comfy_table::{Table, presets};
use serde::Serialize;

/// A form of output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Columns for people
    Table,
    /// One JSON object a line
    Ndjson,
}

impl Format {
    /// What was asked for, or what fits where the output goes.
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

/// Prints rows, all at once, so that their columns line up.
pub(crate) fn print<R: Row>(format: Format, rows: &[R]) -> io::Result<()> {
    let mut out = anstream::stdout().lock();
    match format {
        Format::Ndjson => rows.iter().try_for_each(|row| writeln!(out, "{}", json(row)?))?,
        Format::Table => write!(out, "{}", table(rows))?,
    }
    out.flush()
}

pub(crate) fn json(row: &impl Serialize) -> io::Result<String> {
    Ok(serde_json::to_string(row)?)
}

/// A value that may be unknown.
pub(crate) fn cell(value: Option<impl ToString>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

fn table<R: Row>(rows: &[R]) -> String {
    let Some(first) = rows.first() else { return String::new() };
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(first.head());
    for row in rows {
        table.add_row(row.cells().iter().map(|cell| plain(cell)));
    }
    let mut text: String = table.lines().map(|line| format!("{}\n", line.trim_end())).collect();
    if let Some(end) = text.find('\n') {
        text.insert_str(end, "\u{1b}[0m");
        text.insert_str(0, "\u{1b}[1m");
    }
    text
}

/// Text that a terminal takes for nothing but text.
pub(crate) fn plain(text: &str) -> String {
    text.chars()
        .flat_map(|character| {
            let control = character.is_control();
            let escaped = control.then(|| character.escape_default()).into_iter().flatten();
            escaped.chain((!control).then_some(character))
        })
        .collect()
}
