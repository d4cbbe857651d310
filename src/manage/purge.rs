//! The progress of deleting all messages of a queue.

use std::time::SystemTime;

use serde_json::Value;

use crate::document::fields::described;

described! {
    /// The progress of deleting all messages of a queue, as the service reports it.
    PurgeStatus
}

impl PurgeStatus {
    /// When the deletion began.
    pub fn started(&self) -> Option<SystemTime> {
        self.0.time("started_at")
    }

    /// When the deletion ended, if it has and the service sent the time.
    pub fn completed(&self) -> Option<SystemTime> {
        self.0.time("completed")
    }

    /// Whether the deletion has ended. The published document has a text of unspecified form here, and another
    /// Cloudflare tool reads a boolean with another name. Both work.
    pub fn is_complete(&self) -> bool {
        ["completed", "complete"].iter().any(|name| match self.fields().get(*name) {
            Some(Value::Bool(is_complete)) => *is_complete,
            Some(Value::String(text)) => !["", "false", "null"].contains(&text.trim().to_ascii_lowercase().as_str()),
            _ => false,
        })
    }
}
