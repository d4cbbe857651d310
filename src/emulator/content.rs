//! The body of a stored message.

use std::{borrow::Cow, sync::Arc};

use base64::{Engine, prelude::BASE64_STANDARD};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::reply::Refusal;
use crate::{
    error::codes,
    message::{body::ContentType, push::PushMessage},
};

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Content {
    /// The text of a `text` body, the compact JSON text of a `json` body, base64 of any other.
    pub(super) body: Arc<str>,
    pub(super) content_type: ContentType,
    /// What sent it, as the service names it.
    pub(super) source: Cow<'static, str>,
}

impl Content {
    /// What a Worker sends as these bytes, with one of the four content types.
    pub(super) fn of_worker(content_type: &str, bytes: &[u8]) -> Result<Self, Refusal> {
        let content_type = ContentType::from(content_type);
        if matches!(content_type, ContentType::Other(_)) {
            let text = "the content type is `text`, `json`, `bytes` or `v8`";
            return Err(Refusal::bad_request(codes::MESSAGE_METADATA, text));
        }
        if bytes.len() > PushMessage::MAX_SIZE {
            return Err(Refusal::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                codes::MESSAGE_SIZE,
                "a message holds at most 128 KB",
            ));
        }
        let body = match content_type {
            ContentType::Text => str::from_utf8(bytes).map_err(|_| Refusal::malformed("the text is not UTF-8"))?.into(),
            ContentType::Json => {
                let json: &RawValue =
                    serde_json::from_slice(bytes).map_err(|_| Refusal::malformed("the body is not JSON"))?;
                json.get().into()
            }
            _ => BASE64_STANDARD.encode(bytes).into(),
        };
        Ok(Self { body, content_type, source: "worker".into() })
    }

    /// How many bytes were sent.
    pub(super) fn bytes(&self) -> usize {
        match self.content_type {
            ContentType::Text | ContentType::Json => self.body.len(),
            _ => self.body.trim_end_matches('=').len() * 3 / 4,
        }
    }
}
