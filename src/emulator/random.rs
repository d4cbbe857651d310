//! Pseudo-random numbers.

use std::sync::atomic::{AtomicU64, Ordering};

/// Always starts with the same numbers.
#[derive(Debug, Default)]
pub(super) struct Sequence(AtomicU64);

impl Sequence {
    pub(super) fn next(&self) -> u64 {
        mix(self.0.fetch_add(1, Ordering::Relaxed).wrapping_add(1))
    }
}

/// SplitMix64.
pub(super) fn mix(number: u64) -> u64 {
    let state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
