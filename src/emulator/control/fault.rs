//! Faults as JSON.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{Result, fields::Fields};
use crate::{
    document::operation::Operation,
    emulator::{
        fault::{Fault, Injection},
        reply::Refusal,
    },
    error::codes,
};

/// A fault, and the requests that it applies to.
pub(super) fn read(mut fields: Fields) -> Result<Injection> {
    let operations = fields.optional("operations", operations)?.unwrap_or_default();
    let times = fields.optional("times", Fields::count)?;
    let until_removed = fields.optional("until_removed", Fields::truth)?.unwrap_or_default();
    if until_removed && times.is_some() {
        return Err(Refusal::malformed("`times` does not go with `until_removed`"));
    }
    let injection = operations.into_iter().fold(Injection::from(fault(fields)?), Injection::on);
    Ok(if until_removed { injection.until_removed() } else { injection.times(times.unwrap_or(1)) })
}

fn fault(mut fields: Fields) -> Result<Fault> {
    let name = fields.required("fault", Fields::text)?;
    let fault = match &*name {
        "rate_limited" => Fault::RateLimited {
            code: fields.optional("code", code)?.unwrap_or(codes::OVERLOADED),
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
            fault: match fields.optional("then", Fields::object)? {
                Some(then) => Some(Box::new(fault(then)?)),
                None => None,
            },
        },
        _ => {
            let names = "rate_limited, forbidden, challenged, server_error, not_success, delay, cut_off, \
                         reset_before, reset_after, slow";
            return Err(Refusal::malformed(format!("`fault` is one of {names}")));
        }
    };
    fields.end()?;
    Ok(fault)
}

/// A pending fault, in the form in which it can be injected again.
pub(super) fn show(id: u64, injection: &Injection) -> Value {
    let mut shown = show_fault(injection.fault());
    let operations: Vec<_> = injection.operations().iter().map(|operation| operation.id()).collect();
    if !operations.is_empty() {
        shown.insert("operations".to_owned(), operations.into());
    }
    match injection.left() {
        Some(times) => shown.insert("times".to_owned(), times.into()),
        None => shown.insert("until_removed".to_owned(), true.into()),
    };
    json!({ "id": id, "injected": shown })
}

fn show_fault(fault: &Fault) -> Map<String, Value> {
    let seconds = |duration: &Duration| Value::from(duration.as_secs_f64());
    let fields = match fault {
        Fault::RateLimited { code, retry_after } => {
            let wait = retry_after.as_ref().map(|wait| ("retry_after", seconds(wait)));
            [("code", (*code).into())].into_iter().chain(wait).collect()
        }
        Fault::ServerError(status) => vec![("status", (*status).into())],
        Fault::Delay(delay) => vec![("seconds", seconds(delay))],
        Fault::Slow { before, after, fault } => {
            let then = fault.as_ref().map(|fault| ("then", show_fault(fault).into()));
            [("before", seconds(before)), ("after", seconds(after))].into_iter().chain(then).collect()
        }
        _ => vec![],
    };
    let named = std::iter::once(("fault", Value::from(fault.name()))).chain(fields);
    named.map(|(name, value)| (name.to_owned(), value)).collect()
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
