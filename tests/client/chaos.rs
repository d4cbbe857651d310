//! Whatever fails, nothing is lost, and nothing is reported that did not happen.
//!
//! A seed determines everything: requests use no socket, time is tokio's paused clock, there is one thread, and every
//! choice is drawn from a generator with that seed. A request survives its client, and may arrive later than the next
//! one.

mod lives;
mod python;
mod world;

use std::{
    env, fs,
    hash::{DefaultHasher, Hash, Hasher},
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, Instant as StdInstant},
};

use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use self::world::{ROUND, Totals, Trace, World};

/// More than the clients of a seed have ever taken.
const AN_AGE: Duration = Duration::from_secs(24 * 3600);

/// Clients come and go until almost nothing is left. Then what they were told is compared with what is there.
async fn run(seed: u64, trace: Trace) -> Totals {
    let world = World::new(seed, trace).await;
    let started = Instant::now();
    let mut lives = JoinSet::new();
    // Some of them leave something behind.
    let enough = world.below(60) as usize;
    while world.backlog() > enough {
        assert!(started.elapsed() < AN_AGE, "the clients get nowhere");
        world.foresee();
        world.note(format_args!("{} are left", world.backlog()));
        while lives.len() < 6 {
            lives.spawn(life(Arc::clone(&world)));
        }
        sleep(Duration::from_millis(world.below(3000))).await;
        while let Some(life) = lives.try_join_next() {
            life.unwrap();
        }
        if world.below(20) == 0 {
            world.rotate().await;
        }
        if world.below(10) == 0 {
            world.jump();
        }
    }
    while let Some(life) = lives.join_next().await {
        life.unwrap();
    }
    world.check().await
}

/// Runs one of the lives, which may end at any point.
async fn life(world: Arc<World>) {
    let death = if world.below(3) == 0 { Duration::from_millis(world.below(20_000)) } else { AN_AGE };
    let life = async {
        match world.below(5) {
            0 => world.consume().await,
            1 => world.acknowledge_singly().await,
            2 => world.stream().await,
            _ => world.acknowledge_together().await,
        }
    };
    if timeout(death, life).await.is_err() {
        world.note("a client died");
        world.told().totals.died += 1;
    }
}

/// The result of a seed, and everything that happened.
fn replay(seed: u64) -> (Totals, String) {
    let trace = Trace::default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let totals = catch_unwind(AssertUnwindSafe(|| runtime.block_on(run(seed, Arc::clone(&trace)))));
    let trace = mem::take(&mut *trace.lock().unwrap());
    let totals = totals.unwrap_or_else(|_| {
        let path = format!("{}/chaos-{seed}.txt", env!("CARGO_TARGET_TMPDIR"));
        fs::write(&path, &trace).unwrap();
        panic!("CHAOS_SEED={seed} CHAOS_MESSAGES=1 cargo test chaos: does the same again; {path} has all that happened")
    });
    (totals, trace)
}

#[test]
fn a_seed_replays_to_the_letter() {
    let [(totals, first), (again, second)] = [replay(1), replay(1)];
    let differing = first.lines().zip(second.lines()).find(|(first, second)| first != second);
    assert_eq!(differing, None);
    assert_eq!((totals, first.len()), (again, second.len()));
    assert!(first.lines().count() > ROUND as usize, "next to nothing happened: {first}");
}

/// `CHAOS_MESSAGES` sets the number of messages, and `CHAOS_SEED` the first seed, for example a failing one to replay.
/// Runs with the same totals and the same hash were the same to the letter. Without variables, there are few messages:
/// a workflow runs a million once a week.
#[test]
fn no_message_is_lost_and_no_confirmation_untrue_in_chaos() {
    let number = |name: &str, default| env::var(name).map_or(default, |value| value.parse::<u64>().unwrap());
    let (first, started) = (number("CHAOS_SEED", 1), StdInstant::now());
    let seeds = number("CHAOS_MESSAGES", 3000).div_ceil(u64::from(ROUND));
    let (mut totals, mut hasher) = (Totals::default(), DefaultHasher::new());
    let mut last = String::new();
    for seed in first..first + seeds {
        let (of_seed, trace) = replay(seed);
        assert_ne!(trace, last, "the seed determines nothing");
        totals.add(of_seed);
        trace.hash(&mut hasher);
        last = trace;
    }
    println!("{totals:?}, {:016x} in {:?}", hasher.finish(), started.elapsed());
}
