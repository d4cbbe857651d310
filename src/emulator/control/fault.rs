//! Faults as JSON.

use serde_json::Value;

use super::{Result, fields::Fields};
use crate::{
    document::operation::Operation,
    emulator::{
        fault::{Fault, Injection},
        reply::Refusal,
    },
};

/// A fault, and how often to inject it.
pub(super) fn read(fields: &mut Fields) -> Result<(Injection, usize)> {
    let name = fields.required("fault", Fields::text)?;
    let fault = match &*name {
        "rate_limited" => Fault::RateLimited {
            code: fields.optional("code", code)?.unwrap_or(10250),
            retry_after: fields.optional("retry_after", Fields::duration)?,
        },
        "forbidden" => Fault::Forbidden,
        "challenged" => Fault::Challenged,
        "server_error" => Fault::ServerError(fields.optional("status", status)?.unwrap_or(500)),
        "not_success" => Fault::NotSuccess,
        "delay" => Fault::Delay(fields.required("seconds", Fields::duration)?),
        "cut_off" => Fault::CutOff,
        "reset_before" => Fault::ResetBefore,
        "reset_after" => Fault::ResetAfter,
        "slow" => Fault::Slow {
            before: fields.optional("before", Fields::duration)?.unwrap_or_default(),
            after: fields.optional("after", Fields::duration)?.unwrap_or_default(),
            fault: None,
        },
        _ => {
            let names = "rate_limited, forbidden, challenged, server_error, not_success, delay, cut_off, \
                         reset_before, reset_after, slow";
            return Err(Refusal::malformed(format!("`fault` is one of {names}")));
        }
    };
    let operations = fields.optional("operations", operations)?.unwrap_or_default();
    let injection = operations.into_iter().fold(Injection::from(fault), Injection::on);
    let times = fields.optional("times", Fields::count)?;
    Ok(match fields.optional("until_removed", Fields::truth)? {
        Some(true) if times.is_some() => return Err(Refusal::malformed("`times` does not go with `until_removed`")),
        Some(true) => (injection.until_removed(), 1),
        _ => (injection, times.unwrap_or(1)),
    })
}

fn code(value: Value) -> std::result::Result<i64, &'static str> {
    value.as_i64().ok_or("a whole number")
}

fn status(value: Value) -> std::result::Result<u16, &'static str> {
    let status = value.as_u64().filter(|status| (400..=599).contains(status));
    status.and_then(|status| u16::try_from(status).ok()).ok_or("a status from 400 to 599")
}

fn operations(value: Value) -> std::result::Result<Vec<Operation>, &'static str> {
    let wanted = "a list of ids of operations, such as pull_messages";
    let operation = |id: &Value| Operation::ALL.iter().copied().find(|operation| id == operation.id()).ok_or(wanted);
    value.as_array().filter(|ids| !ids.is_empty()).ok_or(wanted)?.iter().map(operation).collect()
}
