//! The report of a probe.

use std::{
    io::{self, Write},
    time::SystemTime,
};

use serde::Serialize;

use crate::{
    exit::Failure,
    output::{self, Format},
    record::time,
};

const NOT_ASKED: [(&str, &str); 4] = [
    ("whether extensions are billed, or count towards a limit", "no response says so; headers about limits are shown"),
    ("whether an extension is silently cut to a maximum", "it would take 12 hours to see"),
    ("`v8` bodies", "they can only be pushed by a Worker"),
    ("responses of a paused queue, and of one without a pull consumer", "that would change the queue's settings"),
];

/// A question, and what was seen.
#[derive(Serialize)]
pub(super) struct Answer<'a> {
    pub(super) topic: &'static str,
    pub(super) asked: &'a str,
    pub(super) seen: &'a str,
}

/// A report in Markdown, unless something else is asked for. Each answer is printed at once, so that those of a probe
/// that is interrupted are not lost.
pub(super) struct Report {
    format: Option<Format>,
    topic: &'static str,
    answers: u64,
}

impl Report {
    pub(super) fn begin(format: Option<Format>) -> Result<Self, Failure> {
        if format != Some(Format::Ndjson) {
            let (version, now) = (env!("CARGO_PKG_VERSION"), time(SystemTime::now()));
            writeln!(io::stdout(), "# How a queue responds\n\nBy cf-queues {version}, {now}.")?;
        }
        Ok(Self { format, topic: "", answers: 0 })
    }

    /// Prints an answer. Returns how many there are.
    pub(super) fn add(&mut self, answer: &Answer<'_>) -> Result<u64, Failure> {
        let mut out = io::stdout().lock();
        if self.format == Some(Format::Ndjson) {
            writeln!(out, "{}", output::json(answer)?)?;
        } else {
            let Answer { topic, asked, seen } = *answer;
            if topic != self.topic {
                self.topic = topic;
                writeln!(out, "\n## {topic}\n")?;
            }
            writeln!(out, "- {asked}\n  `{}`", seen.replace('`', "'"))?;
        }
        out.flush()?;
        self.answers += 1;
        Ok(self.answers)
    }

    /// Adds the open questions that the probe cannot ask, and why.
    pub(super) fn not_asked(&mut self) -> Result<(), Failure> {
        for (asked, seen) in NOT_ASKED {
            self.add(&Answer { topic: "Not asked", asked, seen })?;
        }
        Ok(())
    }
}
