//! Runs of a client in processes of their own, and what they took.

use std::{
    env,
    process::{Command, Output},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use crate::load::{Call, Load, Result};

/// What is measured of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum What {
    /// Of one call, as the difference of two runs.
    Instructions,
    /// Of one call, too.
    Allocations,
    /// Of a process that makes one call, from its start.
    FirstInstructions,
    /// Milliseconds of the processor, of such a process.
    FirstTime,
    /// Bytes, of such a process.
    HeapPeak,
    /// Microseconds of the processor for one call, and connections.
    Time,
}

impl What {
    /// Neighbours on the machine change no count.
    fn is_counted(self) -> bool {
        !matches!(self, Self::Time | Self::FirstTime)
    }
}

pub(crate) type Figure = Option<f64>;

pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) what: What,
    /// What a count is divided by.
    pub(crate) unit: f64,
    /// The largest ratio that is to be reached, in words.
    pub(crate) goal: &'static str,
    /// By hand, ours, bare and hyper.
    pub(crate) loads: [Option<Load>; 4],
}

pub(crate) struct Measured {
    pub(crate) name: String,
    pub(crate) goal: String,
    pub(crate) figures: [Figure; 4],
}

/// Counts two runs at a time, and then times one at a time.
pub(crate) fn all(rows: &[Row]) -> Result<Vec<Measured>> {
    let cells: Vec<_> = rows.iter().flat_map(|row| row.loads.iter().map(move |load| (row.what, load))).collect();
    let counted = in_parallel(&cells, |(what, load)| match load {
        Some(load) if what.is_counted() => count(*what, load).map(Some),
        _ => Ok(None),
    })?;
    let mut measured = Vec::new();
    for (row, figures) in rows.iter().zip(counted.chunks(4)) {
        let of = |name: &str, figures: [Figure; 4], unit: f64| Measured {
            name: format!("{}: {name}", row.name),
            goal: row.goal.to_owned(),
            figures: figures.map(|figure| figure.map(|figure| figure / unit)),
        };
        let counted = || figures.try_into();
        match row.what {
            What::Instructions => measured.push(of("instructions", counted()?, row.unit)),
            What::Allocations => measured.push(of("allocations", counted()?, 1.0)),
            What::FirstInstructions => measured.push(of("millions of instructions", counted()?, 1e6)),
            What::HeapPeak => measured.push(of("peak of the heap, in responses", counted()?, row.unit)),
            What::FirstTime => measured.push(of("ms of the processor", times(&row.loads)?.0, 1e6)),
            What::Time => {
                let (times, connections) = times(&row.loads)?;
                measured.push(of("µs of the processor", times, 1e3));
                if row.loads.iter().flatten().any(|load| load.in_flight > 1) {
                    measured.push(Measured { goal: String::new(), ..of("connections", connections, 1.0) });
                }
            }
        }
    }
    Ok(measured)
}

fn in_parallel<T: Sync>(cells: &[T], figure: impl Fn(&T) -> Result<Figure> + Sync) -> Result<Vec<Figure>> {
    let (figures, next) = (Mutex::new(vec![None; cells.len()]), AtomicUsize::new(0));
    let work = || -> Result<()> {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(cell) = cells.get(at) else { return Ok(()) };
            let figure = figure(cell)?;
            if let Some(slot) = figures.lock().unwrap_or_else(PoisonError::into_inner).get_mut(at) {
                *slot = figure;
            }
        }
    };
    thread::scope(|scope| {
        let other = scope.spawn(work);
        work().and(other.join().unwrap_or_else(|_| Err("a thread panicked".into())))
    })?;
    Ok(figures.into_inner().unwrap_or_else(PoisonError::into_inner))
}

fn count(what: What, load: &Load) -> Result<f64> {
    // What takes long is done less often.
    let (few, more) = match load.call {
        Call::Pull(_, messages, size) if messages * size > 1_000_000 => (1, 2),
        Call::Ack(leases) | Call::Push(leases) if leases > 100 => (1, 2),
        _ => (10, 30),
    };
    let first = |tool, label| number(&valgrind(tool, load, 0)?, label);
    let each = |tool, label| -> Result<f64> {
        let counted = |calls| number(&valgrind(tool, load, calls)?, label);
        Ok((counted(more)? - counted(few)?) / (more - few) as f64)
    };
    match what {
        What::Instructions => each("cachegrind", "I   refs:"),
        What::Allocations => each("dhat", "bytes in "),
        What::FirstInstructions => first("cachegrind", "I   refs:"),
        What::HeapPeak => first("dhat", "At t-gmax:"),
        What::Time | What::FirstTime => Err("the time is not counted".into()),
    }
}

/// Of three runs of each, taken in turn: the least time of a call, and the most connections.
fn times(loads: &[Option<Load>; 4]) -> Result<([Figure; 4], [Figure; 4])> {
    let (mut times, mut connections) = ([None; 4], [None; 4]);
    for _ in 0..3 {
        for ((load, time), most) in loads.iter().zip(&mut times).zip(&mut connections) {
            let Some(load) = load else { continue };
            let output = output(Command::new(env::current_exe()?).args(["run", &serde_json::to_string(load)?]))?;
            let figures: Vec<f64> = output.split_whitespace().map(str::parse).collect::<std::result::Result<_, _>>()?;
            let [nanoseconds, opened] = figures[..] else { return Err("two figures".into()) };
            let nanoseconds = nanoseconds / load.calls.max(1) as f64;
            *time = Some(time.map_or(nanoseconds, |time: f64| time.min(nanoseconds)));
            *most = Some(most.map_or(opened, |most: f64| most.max(opened)));
        }
    }
    Ok((times, connections))
}

fn valgrind(tool: &str, load: &Load, calls: usize) -> Result<String> {
    let load = Load { calls, ..load.clone() };
    let mut command = Command::new("valgrind");
    command.args([format!("--tool={tool}"), format!("--{tool}-out-file=/dev/null")]);
    // Instructions alone take half as long to count.
    command.args((tool == "cachegrind").then_some("--cache-sim=no"));
    output(command.arg(env::current_exe()?).args(["run", &serde_json::to_string(&load)?]))
}

fn output(command: &mut Command) -> Result<String> {
    let Output { status, stdout, stderr } = command.output()?;
    let output = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    if status.success() { Ok(output) } else { Err(output.into()) }
}

/// The first figure behind a label in valgrind's words.
fn number(output: &str, label: &str) -> Result<f64> {
    let (_, figures) = output.split_once(label).ok_or_else(|| format!("valgrind printed {output}"))?;
    let figure = figures.split_whitespace().next().unwrap_or_default();
    Ok(figure.replace(',', "").parse()?)
}
