//! The spans of handlers, with OpenTelemetry's names.

use tracing::{Span, field};

use super::{handlers::Handled, settings::MakeSpan};
use crate::{flow::contained::caught, message::Message, queue::ids::QueueId};

/// The span of a handler that works on a message, or on a batch of so many.
pub(super) fn process(queue_id: &QueueId, message: &Message, batch: Option<usize>) -> Span {
    tracing::info_span!(
        "process",
        otel.kind = "consumer",
        otel.status_code = field::Empty,
        messaging.system = "cloudflare_queues",
        messaging.operation.name = "process",
        messaging.destination.name = queue_id.as_str(),
        messaging.message.id = batch.is_none().then_some(message.id.as_str()),
        attempts = message.attempts.filter(|_| batch.is_none()),
        messaging.batch.message_count = batch,
        error.type = field::Empty,
    )
}

/// The span that a function of the user makes. `None` if it panics.
pub(super) fn made(make: &MakeSpan, message: &Message) -> Option<Span> {
    let made = caught(|| make(message));
    if made.is_none() {
        tracing::warn!(messaging.message.id = message.id, "the function of the span panicked");
    }
    made
}

/// Records a failure in the span of a handler.
pub(super) fn failed(span: &Span, what: &str) {
    span.record("otel.status_code", "ERROR");
    span.record("error.type", what);
}

/// Logs the errors of a handler, within its span.
pub(super) fn note(span: &Span, handled: &[Handled]) {
    let mut last = None;
    for error in handled.iter().filter_map(|handled| handled.returned.as_ref().err()) {
        // A failure of the whole batch has the same text for each message.
        if last.replace(error) != Some(error) {
            failed(span, "handler");
            tracing::warn!(parent: span, %error, "the handler failed");
        }
    }
}
