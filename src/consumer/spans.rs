//! The spans of handlers, with OpenTelemetry's names.

use tracing::{Span, field};

use super::handlers::Handled;
use crate::{message::Message, queue::ids::QueueId};

pub(super) fn process(queue_id: &QueueId, message: &Message) -> Span {
    tracing::info_span!(
        "process",
        otel.kind = "consumer",
        otel.status_code = field::Empty,
        messaging.system = "cloudflare_queues",
        messaging.operation.name = "process",
        messaging.destination.name = queue_id.as_str(),
        messaging.message.id = message.id,
        attempts = message.attempts,
        error.type = field::Empty,
    )
}

pub(super) fn process_batch(queue_id: &QueueId, messages: usize) -> Span {
    tracing::info_span!(
        "process",
        otel.kind = "consumer",
        otel.status_code = field::Empty,
        messaging.system = "cloudflare_queues",
        messaging.operation.name = "process",
        messaging.destination.name = queue_id.as_str(),
        messaging.batch.message_count = messages,
        error.type = field::Empty,
    )
}

/// Logs the errors of a handler, within its span.
pub(super) fn note(span: &Span, handled: &[Handled]) {
    let mut last = None;
    for error in handled.iter().filter_map(|handled| handled.returned.as_ref().err()) {
        // A failure of the whole batch has the same text for each message.
        if last.replace(error) != Some(error) {
            span.record("otel.status_code", "ERROR");
            span.record("error.type", "handler");
            tracing::warn!(parent: span, %error, "the handler failed");
        }
    }
}
