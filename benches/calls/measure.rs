//! Runs of a client in processes of their own, and what they took.

use std::{
    env,
    process::{Command, Output},
};

use crate::load::{Load, Result};

/// Of one call.
pub(crate) struct Cost {
    pub(crate) instructions: f64,
    pub(crate) allocations: f64,
    pub(crate) bytes: f64,
}

/// Of one call, and of the run that it was part of.
#[derive(Clone, Copy)]
pub(crate) struct Time {
    pub(crate) microseconds: f64,
    pub(crate) megabytes: f64,
    pub(crate) connections: f64,
}

pub(crate) fn has_valgrind() -> bool {
    Command::new("valgrind").arg("--version").output().is_ok_and(|output| output.status.success())
}

pub(crate) fn cost(load: &Load) -> Result<Cost> {
    let few = load.in_flight * if load.leases > 100 { 1 } else { 20 };
    let more = few * 5;
    let difference = |counts: &dyn Fn(usize) -> Result<Vec<f64>>| -> Result<Vec<f64>> {
        let (few_counts, more_counts) = (counts(few)?, counts(more)?);
        let calls = (more - few) as f64;
        Ok(few_counts.iter().zip(more_counts).map(|(few, more)| (more - few) / calls).collect())
    };
    let instructions = difference(&|calls| numbers(&valgrind("callgrind", load, calls)?, "Collected :"))?;
    let heap = difference(&|calls| numbers(&valgrind("dhat", load, calls)?, "Total:"))?;
    match (&instructions[..], &heap[..]) {
        ([instructions], [bytes, allocations]) => {
            Ok(Cost { instructions: *instructions, allocations: *allocations, bytes: *bytes })
        }
        other => Err(format!("valgrind printed {other:?}").into()),
    }
}

/// Bytes, at the worst moment of two calls.
pub(crate) fn heap_peak(load: &Load) -> Result<f64> {
    numbers(&valgrind("dhat", load, 1)?, "At t-gmax:")?.first().copied().ok_or_else(|| "no peak".into())
}

/// Of five runs of each, taken in turn: the least time and memory, and the most connections.
pub(crate) fn times(loads: &[Load]) -> Result<Vec<Time>> {
    let mut times = vec![Time { microseconds: f64::MAX, megabytes: f64::MAX, connections: 0.0 }; loads.len()];
    for _ in 0..5 {
        for (load, time) in loads.iter().zip(&mut times) {
            let load = Load { calls: 16_384, ..load.clone() };
            let output = output(Command::new(env::current_exe()?).args(load.to_args()))?;
            let figures: Vec<f64> = output.split_whitespace().map(str::parse).collect::<std::result::Result<_, _>>()?;
            let [nanoseconds, kilobytes, connections] = figures[..] else { return Err("three figures".into()) };
            time.microseconds = time.microseconds.min(nanoseconds / 1e3 / load.calls as f64);
            time.megabytes = time.megabytes.min(kilobytes / 1e3);
            time.connections = time.connections.max(connections);
        }
    }
    Ok(times)
}

fn valgrind(tool: &str, load: &Load, calls: usize) -> Result<String> {
    let load = Load { calls, ..load.clone() };
    let mut command = Command::new("valgrind");
    command.args([format!("--tool={tool}"), format!("--{tool}-out-file=/dev/null")]);
    output(command.arg(env::current_exe()?).args(load.to_args()))
}

fn output(command: &mut Command) -> Result<String> {
    let Output { status, stdout, stderr } = command.output()?;
    let said = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    if status.success() { Ok(said) } else { Err(said.into()) }
}

/// What stands behind a label in valgrind's words.
fn numbers(said: &str, label: &str) -> Result<Vec<f64>> {
    let (_, figures) = said.split_once(label).ok_or("valgrind said something else")?;
    let line = figures.lines().next().unwrap_or_default().replace(',', "");
    Ok(line.split_whitespace().filter_map(|word| word.parse().ok()).collect())
}
