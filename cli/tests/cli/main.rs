//! The program as its user sees it, against the emulator.

#![cfg(unix)]
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::expect_used,
    reason = "a test may fail"
)]

mod consuming;
mod counting;
mod doctor;
mod emulating;
mod exporting;
mod failing;
mod help;
mod installing;
mod looking;
mod naming;
mod output;
mod pushing;
mod readme;
#[path = "../../../tests/support/recorded.rs"]
mod recorded;
mod redriving;
mod terminal;
mod world;
