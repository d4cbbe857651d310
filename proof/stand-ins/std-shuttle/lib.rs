//! The standard library, with locks and atomics at which shuttle may let another task go on.

pub use std::*;

pub mod sync {
    pub use shuttle::sync::{Mutex, MutexGuard};
    pub use std::sync::*;

    pub mod atomic {
        pub use shuttle::sync::atomic::AtomicU64;
        pub use std::sync::atomic::*;
    }
}
