//! What two documents say differently, and whether the client can live with it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde_json::Value;

use crate::{
    places::{Operation, Place},
    shape::allows,
};

/// A place of an operation that two documents describe differently.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// Such as `request /acks/*/lease_id`.
    pub place: String,
    /// The keyword at odds; none if one of the two does not have the place at all.
    pub keyword: Option<String>,
    /// What the one says, in words.
    pub left: String,
    /// What the other says.
    pub right: String,
}

/// Where two descriptions of an operation are at odds, without what stands within a place that only one of them has.
pub fn differences(left: &Operation, right: &Operation) -> Vec<Difference> {
    let mut places: Vec<_> = left.places.keys().chain(right.places.keys()).collect();
    places.sort();
    places.dedup();
    let mut differences = Vec::new();
    for place in places {
        match (left.places.get(place), right.places.get(place)) {
            (Some(old), Some(new)) => facts(place, old, new, &mut differences),
            // What stands within a place that only one of them has is not listed by itself, nor what is as above.
            (old, new) if parent(place).is_none_or(|parent| has_parts(left, parent) && has_parts(right, parent)) => {
                let (place, left, right) = (place.clone(), describe(old), describe(new));
                differences.push(Difference { place, keyword: None, left, right });
            }
            _ => {}
        }
    }
    differences
}

fn facts(place: &str, left: &Place, right: &Place, differences: &mut Vec<Difference>) {
    let keywords: BTreeMap<_, _> = left.facts.iter().chain(&right.facts).collect();
    for keyword in keywords.into_keys() {
        let (old, new) = (left.facts.get(keyword), right.facts.get(keyword));
        if old != new {
            differences.push(Difference {
                place: place.to_owned(),
                keyword: Some(keyword.clone()),
                left: show(keyword, old),
                right: show(keyword, new),
            });
        }
    }
}

/// The status of a failure that a place belongs to.
pub(crate) fn failure(place: &str) -> Option<&str> {
    let status = place.strip_prefix("response ")?.split(' ').next()?;
    (!status.starts_with('2')).then_some(status)
}

/// Our description of an operation, with what is read of each failure that is published: the errors of its envelope.
/// Ours has only one response.
pub(crate) fn with_failures(ours: &Operation, published: &Operation) -> Operation {
    const RESPONSE: &str = "response 200";
    let mut whole = ours.clone();
    let statuses: BTreeSet<_> = published.places.keys().filter_map(|place| failure(place)).collect();
    for (place, found) in &ours.places {
        let Some(rest) = place.strip_prefix(RESPONSE) else { continue };
        if rest.is_empty() || rest.starts_with(" /errors") {
            let read = |status| (format!("response {status}{rest}"), Place { is_tolerant: true, ..found.clone() });
            whole.places.extend(statuses.iter().map(read));
        }
    }
    whole
}

/// The headers that the client reads.
const HEADERS: [&str; 4] = ["cf-mitigated", "cf-ray", "date", "retry-after"];

/// Whether the client can live with what is published at a place: what it sends has to be allowed there, and what it
/// reads has to be as wide and has to be there.
pub(crate) fn lives_with(place: &str, keyword: Option<&str>, all_published: &Operation, all_ours: &Operation) -> bool {
    let is_request = place.starts_with("request");
    match (all_published.places.get(place), all_ours.places.get(place), keyword) {
        _ if place == "operation" => true,
        // A document need not say where the service is, nor what stands in a part of the path.
        (None, ..) if place == "request server" || place.starts_with("request path ") => true,
        // Any other success is a failure to the client.
        (Some(_), None, _) if place.starts_with("response 2") && !place.starts_with("response 200") => false,
        (None, None, _) => !place.split_once(" header ").is_some_and(|(_, name)| HEADERS.contains(&name)),
        (None, Some(_), _) => false,
        (Some(published), None, _) => !(is_request && published.facts.contains_key("required")),
        (Some(published), Some(ours), None) => {
            let mut keywords = published.facts.keys().chain(ours.facts.keys());
            keywords.all(|keyword| lives_with(place, Some(keyword), all_published, all_ours))
        }
        // No field may be sent that is not published.
        (Some(published), Some(_), Some("additionalProperties")) if is_request => {
            let is_extra = |field: &&String| parent(field) == Some(place) && !all_published.places.contains_key(*field);
            !published.facts.contains_key("additionalProperties") || !all_ours.places.keys().any(|it| is_extra(&it))
        }
        (Some(published), Some(_), Some("alternatives")) if is_request => {
            let sends = |name: &str| {
                let field = all_ours.places.get(&within(place, name));
                field.is_some_and(|field| field.facts.contains_key("required"))
            };
            let required = published.facts.get("alternatives").and_then(Value::as_array).into_iter().flatten();
            let mut required = required.filter_map(|names| names.as_str()?.strip_prefix('(')?.strip_suffix(')'));
            required.all(|names| names.split_whitespace().all(sends))
        }
        // How a list or an object is written makes no difference to other values.
        (Some(_), Some(ours), Some("style" | "explode")) if !may_have_parts(ours) && !place.contains(" path ") => true,
        (Some(published), Some(ours), Some(keyword)) => {
            let (published, ours) = (published.facts.get(keyword), ours.facts.get(keyword));
            if is_request { allows(keyword, ours, published) } else { allows(keyword, published, ours) }
        }
    }
}

fn may_have_parts(place: &Place) -> bool {
    let kinds = place.facts.get("type").and_then(Value::as_array);
    kinds.is_none_or(|kinds| kinds.iter().any(|kind| kind == "array" || kind == "object"))
}

/// Whether what is published at a place asks no more of the client than before.
pub(crate) fn is_no_stricter(
    place: &str,
    keyword: Option<&str>,
    before: Option<&Place>,
    after: Option<&Place>,
) -> bool {
    let (Some(keyword), Some(before), Some(after)) = (keyword, before, after) else { return false };
    let (before, after) = (before.facts.get(keyword), after.facts.get(keyword));
    if place.starts_with("request") { allows(keyword, before, after) } else { allows(keyword, after, before) }
}

/// The place of a field.
pub(crate) fn within(place: &str, field: &str) -> String {
    let separator = if place.contains(" /") { "/" } else { " /" };
    format!("{place}{separator}{field}")
}

/// The place that a place is within. A media type is part of a place's name.
pub(crate) fn parent(place: &str) -> Option<&str> {
    let fields = place.find(" /")?;
    place.rfind('/').and_then(|end| place.get(..end.max(fields))).map(str::trim_end)
}

/// Whether an operation says what stands within a place.
fn has_parts(operation: &Operation, place: &str) -> bool {
    operation.places.get(place).is_some_and(|place| !place.facts.contains_key("like"))
}

/// A place in words: `left out`, or its type and what else is stated of it.
pub(crate) fn describe(place: Option<&Place>) -> String {
    let Some(place) = place else { return "left out".to_owned() };
    let facts = &place.facts;
    let kind = facts.contains_key("type") || facts.keys().all(|keyword| keyword == "required");
    let kind = kind.then(|| show("type", facts.get("type")));
    let others = facts.iter().filter(|(keyword, _)| !["type", "partial"].contains(&keyword.as_str()));
    let others = others.map(|(keyword, value)| show(keyword, Some(value)));
    kind.into_iter().chain(others).collect::<Vec<_>>().join(", ")
}

fn show(keyword: &str, value: Option<&Value>) -> String {
    match (keyword, value) {
        ("required", Some(_)) => "required".to_owned(),
        ("body", Some(_)) => "no body".to_owned(),
        ("body", None) => "a body".to_owned(),
        ("required", None) => "optional".to_owned(),
        ("type", Some(Value::Array(kinds))) => {
            let (null, others): (Vec<_>, Vec<_>) = kinds.iter().map(plain).partition(|kind| kind == "null");
            [others, null].concat().join(" or ")
        }
        ("type", None) => "any JSON".to_owned(),
        ("partial", Some(_)) => "in some alternatives".to_owned(),
        ("partial", None) => "in all alternatives".to_owned(),
        ("operationId", Some(id)) => plain(id),
        (_, Some(value)) => format!("{keyword} {}", plain(value)),
        (_, None) => format!("no {keyword}"),
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(plain).collect::<Vec<_>>().join(", "),
        Value::Object(map) => map.keys().cloned().collect::<Vec<_>>().join(" and "),
        other => other.to_string(),
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {} | {}", self.place, self.left, self.right)
    }
}
