//! The standard library, with locks and atomics whose every order loom tries.

pub use std::*;

pub mod sync {
    pub use loom::sync::{Mutex, MutexGuard};
    pub use std::sync::*;

    pub mod atomic {
        pub use loom::sync::atomic::AtomicU64;
        pub use std::sync::atomic::*;
    }
}
