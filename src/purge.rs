//! How far the deletion of all messages of a queue is.

use std::time::SystemTime;

use serde_json::Value;

use crate::fields::described;

described! {
    /// How far the deletion of all messages of a queue is, as the service describes it.
    PurgeStatus
}

impl PurgeStatus {
    /// When the deletion began.
    pub fn started(&self) -> Option<SystemTime> {
        self.0.time("started_at")
    }

    /// When the deletion ended, if it did and the service says when.
    pub fn completed(&self) -> Option<SystemTime> {
        self.0.time("completed")
    }

    /// Whether the deletion has ended. The service's document calls it a text, without saying of which form; another
    /// tool of Cloudflare reads a boolean of another name. Both are understood.
    pub fn is_complete(&self) -> bool {
        ["completed", "complete"].iter().any(|name| match self.fields().get(*name) {
            Some(Value::Bool(is_complete)) => *is_complete,
            Some(Value::String(text)) => !["", "false", "null"].contains(&text.trim().to_ascii_lowercase().as_str()),
            _ => false,
        })
    }
}
