//! Updates `openapi/upstream.json` to Cloudflare's published document, and reports what that means for the client.

pub mod account;
pub mod compare;
mod cut;
pub mod places;
pub mod report;
#[path = "../../../openapi/rules.rs"]
pub mod rules;
mod shape;
mod unreadable;

use std::{fs, io, path::Path};

use serde_json::{Value, json};

/// Refreshes `upstream.json` in the directory that also holds `queues.json` and the tables in `README.md`. `source` is
/// the document's commit or date, which is kept with what was read of it first.
///
/// # Errors
///
/// A text, if a file cannot be read or the document cannot be used. Then nothing is written.
pub fn refresh(openapi: &Path, document: &Path, source: &str) -> Result<report::Report, String> {
    let fragment = json(&openapi.join("queues.json"))?;
    let ours = places::read(&fragment).map_err(|error| format!("openapi/queues.json: {error}"))?;
    let named = |error| format!("{}: the document {error}; nothing was written", document.display());
    let bytes = fs::read(document).map_err(|error| failed(document, &error))?;
    let text = String::from_utf8(bytes).map_err(|error| named(unreadable::binary(error.as_bytes()).to_owned()))?;
    let mut published = cut::cut(&text, &fragment).map_err(named)?;
    let after = places::read(&published).map_err(|error| named(format!("cannot be compared: {error}")))?;

    let path = openapi.join("upstream.json");
    let mut known = match path.exists() {
        true => json(&path)?,
        false => json!({}),
    };
    let before = places::read(&known).map_err(|error| format!("openapi/upstream.json: {error}"))?;
    let since = known.as_object_mut().and_then(|known| known.remove(SOURCE));
    let is_same = known == published;
    let source = since.filter(|_| is_same).unwrap_or_else(|| source.into());
    if let Some(published) = published.as_object_mut() {
        published.insert(SOURCE.to_owned(), source);
    }
    let text = serde_json::to_string_pretty(&published).map_err(|error| error.to_string())? + "\n";
    fs::write(&path, text).map_err(|error| failed(&path, &error))?;

    let table = account::table(&read(&openapi.join("README.md"))?);
    let account = account::account(&ours, &after, &table);
    let mut report = report::Report::default();
    report.changes(&ours, &before, &after, &account);
    report.others(&known, &published);
    if report.is_empty() {
        report.line(if is_same { "nothing changed" } else { "harmless: only the layout of the document changed" });
    }
    report.account(&account);
    Ok(report)
}

/// The field of `upstream.json` that names its source.
const SOURCE: &str = "x-source";

fn json(path: &Path) -> Result<Value, String> {
    serde_json::from_str(&read(path)?).map_err(|error| format!("{}: {error}", path.display()))
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| failed(path, &error))
}

fn failed(path: &Path, error: &io::Error) -> String {
    format!("{}: {error}", path.display())
}
