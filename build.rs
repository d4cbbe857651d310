//! Turns `openapi/queues.json` into the client's types and methods.

use std::{env, error::Error, fs, path::Path};

use openapiv3::OpenAPI;
use progenitor::{GenerationSettings, Generator, HooksMode, InterfaceStyle};

const DOCUMENT: &str = "openapi/queues.json";

/// Schemas that are written by hand, because they redact, tolerate or share more than generated code can.
const REPLACED: [(&str, &str); 5] = [
    ("ApiError", "crate::error::ApiError"),
    ("LeaseId", "crate::lease::LeaseId"),
    ("MessageBody", "crate::message::MessageBody"),
    ("MessageRef", "crate::lease::MessageRef"),
    ("Warnings", "crate::ack::Warnings"),
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={DOCUMENT}");
    let document: OpenAPI = serde_json::from_str(&fs::read_to_string(DOCUMENT)?)?;
    let out = env::var("OUT_DIR")?;

    let mut generator = Generator::new(&settings(&document));
    write(&out, "client.rs", generator.generate_tokens(&document)?)?;
    if env::var_os("CARGO_FEATURE_MOCK").is_some() {
        write(&out, "mock.rs", generator.httpmock(&document, "crate::generated")?)?;
    }
    Ok(())
}

fn settings(document: &OpenAPI) -> GenerationSettings {
    let mut settings = GenerationSettings::new();
    settings
        .with_interface(InterfaceStyle::Positional)
        // Without an implementation of the hooks, requests would leave without credentials: make that a compile error.
        .with_hooks(HooksMode::Expected)
        .with_inner_type(quote::quote!(std::sync::Arc<crate::transport::Call>))
        .with_map_type("::std::collections::BTreeMap");
    if env::var_os("CARGO_FEATURE_SCHEMARS").is_some() {
        settings.with_derive("::schemars::JsonSchema");
    }
    for (schema, ours) in REPLACED {
        settings.with_replacement(schema, ours, std::iter::empty());
    }
    // One envelope for every answer: `FooResponse` wraps `FooResult`.
    for name in document.components.iter().flat_map(|components| components.schemas.keys()) {
        if let Some(operation) = name.strip_suffix("Response") {
            let envelope = format!("crate::envelope::Envelope<crate::generated::types::{operation}Result>");
            settings.with_replacement(name, envelope, std::iter::empty());
        }
    }
    settings
}

fn write(out: &str, name: &str, tokens: proc_macro2::TokenStream) -> Result<(), Box<dyn Error>> {
    let file = syn::parse2(tokens)?;
    fs::write(Path::new(out).join(name), prettyplease::unparse(&file))?;
    Ok(())
}
