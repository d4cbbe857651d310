//! For tests of what is logged: a thread without a subscriber must not switch a log statement off for all threads.

use std::sync::Once;

use tracing::{
    Event, Metadata, Subscriber,
    span::{Attributes, Id, Record},
};

/// From now on, every log statement of this crate is looked at on every thread.
pub(crate) fn keep_on() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| tracing::subscriber::set_global_default(Everything).unwrap());
}

struct Everything;

impl Subscriber for Everything {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("cloudflare_queues")
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
