//! The progress of a command on standard error: a bar on a terminal, otherwise a line every ten seconds.

use std::{
    collections::HashMap,
    env,
    io::{self, IsTerminal},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::{exit::tell, output::plain};

/// How often a line of progress, or a remark of one kind, is printed.
const BETWEEN_LINES: Duration = Duration::from_secs(10);
/// How many remarks of one kind on single messages are printed one by one.
const MOST_ON_MESSAGES: u32 = 20;

/// A progress bar, and the lines above it. Clones share it.
#[derive(Clone)]
pub(crate) struct Progress {
    bar: ProgressBar,
    lines: Arc<Mutex<Lines>>,
}

struct Lines {
    unit: &'static str,
    /// Whether lines of progress are printed, and when the last one was.
    printed: Option<Instant>,
    /// By kind, when the last remark was printed, and those since.
    remarks: HashMap<&'static str, Remarks>,
}

struct Remarks {
    /// How many were printed one by one.
    shown: u32,
    printed: Instant,
    since: u64,
    last: String,
}

impl Progress {
    pub(crate) fn new() -> Self {
        if !io::stderr().is_terminal() {
            return Self::of_lines();
        }
        let progress = Self::with(ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()));
        progress.begin("messages", None);
        progress.bar.enable_steady_tick(Duration::from_millis(200));
        progress
    }

    pub(crate) fn hidden() -> Self {
        Self::with(ProgressBar::hidden())
    }

    /// Lines, unless standard error is a terminal, and no bar.
    pub(crate) fn of_lines() -> Self {
        let progress = Self::hidden();
        progress.lines().printed = (!io::stderr().is_terminal()).then(Instant::now);
        progress
    }

    fn with(bar: ProgressBar) -> Self {
        let lines = Lines { unit: "messages", printed: None, remarks: HashMap::new() };
        Self { bar, lines: Arc::new(Mutex::new(lines)) }
    }

    fn lines(&self) -> std::sync::MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts from zero, in this unit, up to an expected number.
    pub(crate) fn begin(&self, unit: &'static str, expected: Option<u64>) {
        self.lines().unit = unit;
        let template = match expected {
            Some(_) => format!("{{bar:30}} {{human_pos}}/{{human_len}} {unit}, {{per_sec}}, {{eta}} left"),
            None => format!("{{spinner}} {{human_pos}} {unit}, {{per_sec}}"),
        };
        if let Ok(style) = ProgressStyle::with_template(&template) {
            let style = if is_unicode() { style } else { style.progress_chars("=> ").tick_chars("-\\|/ ") };
            self.bar.set_style(style);
        }
        match expected {
            Some(expected) => self.bar.set_length(expected),
            None => self.bar.unset_length(),
        }
        self.bar.reset();
    }

    pub(crate) fn at(&self, count: u64) {
        // More may have come since the start.
        if self.bar.length().is_some_and(|length| length < count) {
            self.bar.set_length(count);
        }
        self.bar.set_position(count);
        let unit = self.lines().unit;
        self.line(|| {
            let of = self.bar.length().map(|length| format!(" of {}", HumanCount(length))).unwrap_or_default();
            format!("{}{of} {unit}", HumanCount(count))
        });
    }

    /// Prints a line of progress, if the time for one has come. Returns whether it did.
    pub(crate) fn line(&self, text: impl FnOnce() -> String) -> bool {
        let mut lines = self.lines();
        let is_due = lines.printed.is_some_and(|printed| printed.elapsed() >= BETWEEN_LINES);
        if is_due {
            lines.printed = Some(Instant::now());
            self.say(&text());
        }
        is_due
    }

    /// Prints a line, above the bar if there is one.
    pub(crate) fn say(&self, text: &str) {
        self.bar.suspend(|| tell(&format!("cf-queues: {}\n", plain(text))));
    }

    /// Prints a line about something that may happen many times. Of one kind, the next ones are counted.
    pub(crate) fn remark(&self, kind: &'static str, text: &str) {
        self.remark_of(kind, 1, text);
    }

    /// The same, about something that happened so many times.
    pub(crate) fn remark_of(&self, kind: &'static str, times: u64, text: &str) {
        self.remark_up_to(1, kind, times, text);
    }

    /// Prints a line about a single message. Of one kind, those after the first 20 are counted.
    pub(crate) fn remark_on_message(&self, kind: &'static str, text: &str) {
        self.remark_up_to(MOST_ON_MESSAGES, kind, 1, text);
    }

    fn remark_up_to(&self, most: u32, kind: &'static str, times: u64, text: &str) {
        let mut lines = self.lines();
        let first = || Remarks { shown: 0, printed: Instant::now(), since: 0, last: String::new() };
        let remarks = lines.remarks.entry(kind).or_insert_with(first);
        if remarks.shown < most {
            remarks.shown += 1;
            return self.say(text);
        }
        remarks.since = remarks.since.saturating_add(times);
        text.clone_into(&mut remarks.last);
        if remarks.printed.elapsed() >= BETWEEN_LINES {
            self.say_since(remarks);
        }
    }

    /// Prints the remarks of a kind that were only counted.
    pub(crate) fn catch_up(&self, kind: &'static str) {
        self.lines().remarks.get_mut(kind).into_iter().for_each(|remarks| self.say_since(remarks));
    }

    fn say_since(&self, remarks: &mut Remarks) {
        match remarks.since {
            0 => return,
            1 => self.say(&remarks.last),
            more => self.say(&format!("{more} times more, the last one: {}", remarks.last)),
        }
        (remarks.printed, remarks.since) = (Instant::now(), 0);
    }

    /// Removes the bar, and prints the remarks that were only counted.
    pub(crate) fn end(&self) {
        self.bar.finish_and_clear();
        self.lines().remarks.values_mut().for_each(|remarks| self.say_since(remarks));
    }
}

/// Whether the terminal can show more than ASCII.
fn is_unicode() -> bool {
    let set = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().filter_map(env::var_os).find(|value| !value.is_empty());
    set.is_some_and(|value| {
        let value = value.to_string_lossy().to_lowercase();
        value.contains("utf-8") || value.contains("utf8")
    })
}
