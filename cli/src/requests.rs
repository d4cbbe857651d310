//! What `--verbose` shows.

use std::io;

use tracing::Level;
use tracing_subscriber::{
    filter::Targets,
    fmt::{format::FmtSpan, layer},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

/// Writes requests and warnings of the library to standard error. No span and no event of it has a secret.
pub(crate) fn log(verbose: bool) {
    if !verbose {
        return;
    }
    let layer = layer().with_span_events(FmtSpan::CLOSE).with_ansi(false).with_target(false).with_writer(io::stderr);
    let own = Targets::new().with_target("cloudflare_queues", Level::INFO);
    tracing_subscriber::registry().with(own).with(layer).init();
}
