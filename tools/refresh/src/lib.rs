//! Brings `openapi/upstream.json` up to Cloudflare's published document, and says what that means for the client.

pub mod account;
pub mod compare;
mod cut;
pub mod places;
pub mod report;

use std::{fs, io, path::Path};

use serde_json::{Value, json};

/// Refreshes `upstream.json` in the directory that also holds `queues.json` and the table in `README.md`.
///
/// # Errors
///
/// In words, if a file cannot be read or the document cannot be used; then nothing is written.
pub fn refresh(openapi: &Path, document: &Path) -> Result<report::Report, String> {
    let fragment = json(&openapi.join("queues.json"))?;
    let ours = places::read(&fragment).map_err(|error| format!("openapi/queues.json: {error}"))?;
    let whole = read(document)?;
    let named = |error| format!("{}: the document {error}; nothing was written", document.display());
    let cut = cut::cut(&whole, &fragment).map_err(named)?;
    drop(whole);
    let after = places::read(&cut.upstream).map_err(|error| named(format!("cannot be compared: {error}")))?;

    let path = openapi.join("upstream.json");
    let before = match path.exists() {
        true => json(&path)?,
        false => json!({}),
    };
    let text = serde_json::to_string_pretty(&cut.upstream).map_err(|error| error.to_string())? + "\n";
    fs::write(&path, text).map_err(|error| failed(&path, &error))?;
    let same_text = before == cut.upstream;
    let before = places::read(&before).map_err(|error| format!("openapi/upstream.json: {error}"))?;

    let mut report = report::Report::default();
    report.changes(&ours, &before, &after);
    if report.text.is_empty() {
        report.line(if same_text { "nothing changed" } else { "harmless: only the layout of the document changed" });
    }
    report.beside(&cut.beside);
    let table = account::table(&read(&openapi.join("README.md"))?);
    report.account(&account::complaints(&ours, &after, &table));
    Ok(report)
}

fn json(path: &Path) -> Result<Value, String> {
    serde_json::from_str(&read(path)?).map_err(|error| format!("{}: {error}", path.display()))
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| failed(path, &error))
}

fn failed(path: &Path, error: &io::Error) -> String {
    format!("{}: {error}", path.display())
}
