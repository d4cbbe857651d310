//! Slows down pulling step by step while the work on messages fails.

/// How many outcomes lie between two steps up, and between two steps down.
const UP: u32 = 16;
const DOWN: u32 = 4;
/// Below this part of the tolerated share of failures, a step is taken back.
const RECOVERED: f64 = 0.5;
/// The weight of the last outcome in the share.
const WEIGHT: f64 = 1.0 / 8.0;
/// A lower threshold counts as this, so that a step can be taken back.
const LEAST: f64 = 1.0 / 64.0;
/// With this many steps, a wait of a millisecond grows to a minute.
const MOST: u32 = 16;

#[derive(Debug)]
pub(super) struct Brake {
    what: &'static str,
    /// The tolerated share of failures.
    threshold: f64,
    failing: f64,
    since_step: u32,
    /// By how many steps pulling is slowed down.
    pub(super) step: u32,
}

impl Brake {
    pub(super) fn new(what: &'static str, threshold: f64) -> Self {
        Self { what, threshold: threshold.max(LEAST), failing: 0.0, since_step: 0, step: 0 }
    }

    pub(super) fn record(&mut self, has_failed: bool) {
        self.failing += (f64::from(u8::from(has_failed)) - self.failing) * WEIGHT;
        self.since_step = self.since_step.saturating_add(1);
        let before = self.step;
        if self.failing > self.threshold && self.since_step >= UP {
            self.step = self.step.saturating_add(1).min(MOST);
            self.since_step = 0;
        } else if self.failing <= self.threshold * RECOVERED && self.since_step >= DOWN {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The steps after each of so many outcomes.
    fn steps(brake: &mut Brake, outcomes: usize, has_failed: bool) -> Vec<u32> {
        let step = |_| {
            brake.record(has_failed);
            brake.step
        };
        (0..outcomes).map(step).collect()
    }

    #[test]
    fn slowdown_rises_every_sixteenth_failure_and_falls_by_fours() {
        let mut brake = Brake::new("handlers", 0.5);
        assert_eq!(steps(&mut brake, 33, true), [[0; 15].as_slice(), &[1; 16], &[2; 2]].concat());
        // The share of failures falls below a quarter with the eleventh success.
        assert_eq!(steps(&mut brake, 16, false), [[2; 10].as_slice(), &[1; 4], &[0; 2]].concat());
    }

    #[test]
    fn successes_do_not_slow_down_at_zero_tolerance() {
        assert_eq!(steps(&mut Brake::new("handlers", 0.0), 100, false), [0; 100]);
    }

    #[test]
    fn a_single_failure_at_zero_tolerance_is_forgotten() {
        let mut brake = Brake::new("handlers", 0.0);
        steps(&mut brake, 1, true);
        let steps = steps(&mut brake, 100, false);
        assert_eq!((steps.iter().max(), steps.last()), (Some(&1), Some(&0)));
    }

    #[test]
    fn the_threshold_itself_is_tolerated() {
        for outcomes in 1..50 {
            let mut brake = Brake::new("handlers", 1.0);
            steps(&mut brake, outcomes, true);
            let steps = steps(&mut Brake::new("handlers", brake.failing), outcomes, true);
            assert!(steps.iter().all(|step| *step == 0), "{outcomes}");
        }
    }

    #[test]
    fn the_steps_end_at_sixteen() {
        assert_eq!(steps(&mut Brake::new("handlers", 0.5), 1000, true).last(), Some(&16));
    }
}
