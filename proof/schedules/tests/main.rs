//! The acker, the pusher and the consumer under many schedules: random ones, and ones that delay single tasks for long
//! (PCT).
//!
//! `PROOF_SCHEDULES` sets the number of schedules per test, and `PROOF_SEED` the first seed. A failing schedule is
//! printed; set `PROOF_REPLAY` to repeat it.

mod acker;
mod consumer;
mod pusher;
mod world;

use std::{env, future::Future, time::Instant};

use shuttle::{
    Config, MaxSteps, Runner,
    scheduler::{PctScheduler, RandomScheduler, ReplayScheduler, Scheduler},
};

/// How many times PCT changes its mind about who goes first.
const DEPTHS: [usize; 2] = [2, 5];

/// `is_patient`: whether time passes only when nobody can go on; otherwise, it may also pass too fast.
fn explore<F: Future<Output = ()>>(name: &str, is_patient: bool, test: impl Fn() -> F + Copy + Send + Sync + 'static) {
    let number = |name: &str, default| env::var(name).map_or(default, |value| value.parse::<u64>().unwrap());
    let (schedules, seed) = (number("PROOF_SCHEDULES", 300) as usize, number("PROOF_SEED", 1));
    if let Ok(schedule) = env::var("PROOF_REPLAY") {
        return run(ReplayScheduler::new_from_encoded(&schedule), is_patient, test);
    }
    let (started, third) = (Instant::now(), schedules.div_ceil(3));
    run(RandomScheduler::new_from_seed(seed, third), is_patient, test);
    for depth in DEPTHS {
        run(PctScheduler::new_from_seed(seed, depth, third), is_patient, test);
    }
    let (count, took) = (third * 3, started.elapsed());
    println!("{name}: {count} schedules in {took:.1?}, {:.0} a second", count as f64 / took.as_secs_f64());
}

fn run<F: Future<Output = ()>>(
    scheduler: impl Scheduler + 'static,
    is_patient: bool,
    test: impl Fn() -> F + Copy + Send + Sync + 'static,
) {
    let mut config = Config::new();
    config.stack_size = 256 << 10;
    config.max_steps = MaxSteps::FailAfter(100_000);
    Runner::new(scheduler, config).run(move || {
        tokio::runtime::run(is_patient, test());
    });
}

/// Each test as a `#[test]` of its own.
macro_rules! schedules {
    ($($name:ident: $is_patient:expr)+) => {
        $(
            #[test]
            fn $name() {
                crate::explore(stringify!($name), $is_patient, || async { super::$name().await });
            }
        )+
    };
}
pub(crate) use schedules;
