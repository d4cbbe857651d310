//! `cargo run -p refresh -- PATH SOURCE`, where PATH is Cloudflare's complete OpenAPI document in JSON and SOURCE its
//! commit or date, prints every change since the last refresh. The exit status is 0 if nothing changed or all changes
//! are harmless, 1 if a change needs an edit, and 2 if the document could not be read, in which case nothing is
//! written.

use std::{path::Path, process::ExitCode};

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [document, source] = arguments.as_slice() else {
        eprintln!("usage: cargo run -p refresh -- PATH_TO_OPENAPI_JSON COMMIT_OR_DATE");
        return ExitCode::from(2);
    };
    let openapi = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../openapi");
    match refresh::refresh(&openapi, Path::new(document), &source.to_string_lossy()) {
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
