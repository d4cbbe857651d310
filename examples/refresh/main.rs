//! Brings `openapi/upstream.json` up to Cloudflare's published document, and says what that means for the client.
//!
//! `cargo run --example refresh -- PATH`, where PATH is the complete OpenAPI document in JSON, prints every change since the last
//! refresh. The exit status is 0 if nothing changed or only what does no harm, 1 if a change needs an edit, and 2 if the document
//! could not be read, in which case nothing is written.

pub(crate) mod account;
pub(crate) mod compare;
mod cut;
pub(crate) mod places;
pub(crate) mod report;

use std::{fs, io, path::Path, process::ExitCode};

use serde_json::{Value, json};

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [document] = arguments.as_slice() else {
        eprintln!("usage: cargo run --example refresh -- PATH_TO_OPENAPI_JSON");
        return ExitCode::from(2);
    };
    let openapi = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi");
    match refresh(&openapi, Path::new(document)) {
        Ok(report) => {
            print!("{}", report.text);
            ExitCode::from(u8::from(report.needs_edit))
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

/// Refreshes `upstream.json` in the directory that also holds `queues.json` and the table in `README.md`.
pub(crate) fn refresh(openapi: &Path, document: &Path) -> Result<report::Report, String> {
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
