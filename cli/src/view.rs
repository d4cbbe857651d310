//! A message as it is shown.

use std::time::SystemTime;

use cloudflare_queues::{Body, PeekedMessage};
use serde::Serialize;

use crate::output::{Row, cell};

/// What is shown of a message that was peeked.
#[derive(Debug, Serialize)]
pub(crate) struct Look {
    id: String,
    timestamp: Option<String>,
    attempts: Option<u32>,
    content_type: String,
    size: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
}

impl Look {
    pub(crate) fn new(message: &PeekedMessage, with_body: bool) -> Self {
        Self {
            id: message.id.clone(),
            timestamp: message.timestamp.map(time),
            attempts: message.attempts,
            content_type: message.body.content_type().to_string(),
            size: size(&message.body),
            body: with_body.then(|| text(&message.body)),
        }
    }
}

impl Row for Look {
    fn head(&self) -> Vec<&'static str> {
        let body = self.body.as_ref().map(|_| "BODY");
        ["ID", "TIME", "ATTEMPTS", "TYPE", "BYTES"].into_iter().chain(body).collect()
    }

    fn cells(&self) -> Vec<String> {
        let time = self.timestamp.clone().unwrap_or_default();
        let mut cells =
            vec![self.id.clone(), time, cell(self.attempts), self.content_type.clone(), self.size.to_string()];
        cells.extend(self.body.clone());
        cells
    }
}

pub(crate) fn time(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time).to_string()
}

/// How many bytes the body has; what it takes on the wire if it cannot be decoded.
pub(crate) fn size(body: &Body) -> usize {
    body.bytes().map_or(body.raw().len(), |bytes| bytes.len())
}

/// The body as text; as it is on the wire if it is none.
pub(crate) fn text(body: &Body) -> String {
    body.text().map_or_else(|_| body.raw().to_owned(), std::borrow::Cow::into_owned)
}
