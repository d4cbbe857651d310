//! The part of tokio that the library uses, on top of shuttle.
//!
//! Tasks are shuttle's. Locks and channels are tokio's own, with a point before each of their operations at which
//! shuttle may switch to another task. Time follows a clock that the schedule controls: see [`time`]. `shuttle-tokio`
//! is not used, since its `JoinSet` cannot be polled and its sleeps end at once.

pub mod runtime;
pub mod sync;
pub mod task;
pub mod time;

pub use task::spawn;

/// Where shuttle may let another task go on.
fn point() {
    static POINT: shuttle::sync::atomic::AtomicBool = shuttle::sync::atomic::AtomicBool::new(false);
    if is_within() {
        POINT.load(std::sync::atomic::Ordering::SeqCst);
    }
}

/// Whether there is a schedule to go by: what is left over is dropped when there is none any more.
fn is_within() -> bool {
    !std::thread::panicking() && shuttle::current::get_current_task().is_some()
}
