//! Slows down pulling step by step while the work on messages fails.

/// How many outcomes lie between two steps up, and between two steps down.
const UP: u32 = 16;
const DOWN: u32 = 4;
/// Below this part of the tolerated share of failures, a step is taken back.
const RECOVERED: f64 = 0.5;
/// The weight of the last outcome in the share.
const WEIGHT: f64 = 1.0 / 8.0;
/// With this many steps, a wait of a millisecond grows to a minute.
const MOST: u32 = 16;

#[derive(Debug)]
pub(super) struct Brake {
    what: &'static str,
    /// The tolerated share of failures.
    bearable: f64,
    failing: f64,
    since_step: u32,
    step: u32,
}

impl Brake {
    pub(super) fn new(what: &'static str, bearable: f64) -> Self {
        Self { what, bearable, failing: 0.0, since_step: 0, step: 0 }
    }

    /// The number of steps by which pulling is slowed down.
    pub(super) fn step(&self) -> u32 {
        self.step
    }

    pub(super) fn record(&mut self, has_failed: bool) {
        self.failing += (f64::from(u8::from(has_failed)) - self.failing) * WEIGHT;
        self.since_step = self.since_step.saturating_add(1);
        let before = self.step;
        if self.failing > self.bearable && self.since_step >= UP {
            self.step = self.step.saturating_add(1).min(MOST);
            self.since_step = 0;
        } else if self.failing <= self.bearable * RECOVERED && self.since_step >= DOWN {
            self.step = self.step.saturating_sub(1);
            self.since_step = 0;
        }
        if self.step == 0 && before > 0 {
            tracing::info!(what = self.what, "pulling at full speed again");
        } else if self.step != before {
            tracing::warn!(what = self.what, slowdown = self.step, failing = self.failing, "pulling is slowed down");
        }
    }
}
