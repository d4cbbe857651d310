//! The progress of a command, shown on standard error if that is a terminal.

use std::{
    io::{self, IsTerminal},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::{exit::tell, output::plain};

/// The maximum number of shown remarks on single messages. The counts at the end include all of them.
const MOST_REMARKS: u32 = 20;

/// A progress bar, and the lines above it. Clones share it.
#[derive(Clone)]
pub(crate) struct Progress {
    bar: ProgressBar,
    remarks: Arc<AtomicU32>,
}

impl Progress {
    pub(crate) fn new() -> Self {
        if !io::stderr().is_terminal() {
            return Self::hidden();
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        bar.enable_steady_tick(Duration::from_millis(200));
        let progress = Self { bar, remarks: Arc::default() };
        progress.look_like("{spinner} {human_pos} messages, {per_sec}");
        progress
    }

    /// Sets the expected number of messages.
    pub(crate) fn expect(&self, messages: u64) {
        self.bar.set_length(messages);
        self.look_like("{bar:30} {human_pos}/{human_len} messages, {per_sec}, {eta} left");
    }

    fn look_like(&self, template: &str) {
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style);
        }
    }

    pub(crate) fn hidden() -> Self {
        Self { bar: ProgressBar::hidden(), remarks: Arc::default() }
    }

    pub(crate) fn at(&self, messages: u64) {
        // Messages may have been pushed since the start.
        if self.bar.length().is_some_and(|length| length < messages) {
            self.bar.set_length(messages);
        }
        self.bar.set_position(messages);
    }

    /// Prints a line, above the bar if there is one.
    pub(crate) fn say(&self, text: &str) {
        self.bar.suspend(|| tell(&format!("cf-queues: {}\n", plain(text))));
    }

    /// Prints a line about a single message.
    pub(crate) fn remark(&self, text: &str) {
        match self.remarks.fetch_add(1, Ordering::Relaxed) {
            0..MOST_REMARKS => self.say(text),
            MOST_REMARKS => self.say("further remarks on single messages are left out"),
            _ => {}
        }
    }

    pub(crate) fn end(&self) {
        self.bar.finish_and_clear();
    }
}
