//! Turns `openapi/queues.json` into the client's types and methods.

use std::{collections::BTreeSet, env, error::Error, fs, path::Path};

use openapiv3::OpenAPI;
use proc_macro2::TokenStream;
use progenitor::{GenerationSettings, Generator, HooksMode, InterfaceStyle};
use quote::{format_ident, quote};
use serde_json::{Map, Value};
use syn::{File, ImplItem, ImplItemFn, Item, TraitItem, TraitItemFn, parse_quote};

const DOCUMENT: &str = "openapi/queues.json";

/// Schemas that are written by hand, because they redact, tolerate or share more than generated code can.
const REPLACED: [(&str, &str); 18] = [
    ("ApiError", "crate::error::api::ApiError"),
    ("ConsumerPayload", "crate::manage::ConsumerSettings"),
    ("ConsumerResult", "crate::manage::ConsumerDescription"),
    ("ConsumersResult", "crate::http::envelope::List<crate::manage::ConsumerDescription>"),
    ("ContentType", "crate::message::body::ContentType"),
    ("EventSource", "crate::manage::EventSource"),
    ("LeaseId", "crate::message::lease::LeaseId"),
    ("MessageBody", "crate::message::body::MessageBody"),
    ("MessageRef", "crate::message::lease::MessageRef"),
    ("Metadata", "crate::message::Metadata"),
    ("NothingResult", "crate::http::envelope::Nothing"),
    ("PurgeStatusResult", "crate::manage::PurgeStatus"),
    ("QueueResult", "crate::manage::QueueDescription"),
    ("QueueSettingsPayload", "crate::manage::QueueSettings"),
    ("QueuesResult", "crate::http::envelope::List<crate::manage::QueueDescription>"),
    ("SubscriptionResult", "crate::manage::SubscriptionDescription"),
    ("SubscriptionsResult", "crate::http::envelope::List<crate::manage::SubscriptionDescription>"),
    ("Warnings", "crate::message::warning::Warnings"),
];

/// What bounds an input, as a keyword of the document, and what it is called in a constant's name.
const BOUNDS: [(&str, &str); 6] = [
    ("minimum", "MIN"),
    ("maximum", "MAX"),
    ("minItems", "MIN_ITEMS"),
    ("maxItems", "MAX_ITEMS"),
    ("maxLength", "MAX_LENGTH"),
    ("x-max-bytes", "MAX_BYTES"),
];

pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={DOCUMENT}");
    let json: Value = serde_json::from_str(&fs::read_to_string(DOCUMENT)?)?;
    let document: OpenAPI = serde_json::from_value(json.clone())?;
    let out = env::var("OUT_DIR")?;

    let mut generator = Generator::new(&settings(&document));
    write(&out, "client.rs", generator.generate_tokens(&document)?)?;
    write(&out, "operations.rs", operations(&document)?)?;
    write(&out, "limits.rs", limits(&json))?;
    if env::var_os("CARGO_FEATURE_MOCK").is_some() {
        write_file(&out, "mock.rs", documented(generator.httpmock(&document, "crate::document::generated")?)?)?;
    }
    Ok(())
}

fn settings(document: &OpenAPI) -> GenerationSettings {
    let mut settings = GenerationSettings::new();
    settings
        .with_interface(InterfaceStyle::Positional)
        // Without an implementation of the hooks, requests would leave without credentials: make that a compile error.
        .with_hooks(HooksMode::Expected)
        .with_inner_type(quote!(std::sync::Arc<crate::http::call::Call>))
        .with_map_type("::std::collections::BTreeMap");
    if env::var_os("CARGO_FEATURE_SCHEMARS").is_some() {
        settings.with_derive("::schemars::JsonSchema");
    }
    for (schema, ours) in REPLACED {
        settings.with_replacement(schema, ours, std::iter::empty());
    }
    // A secret without a type of its own is shown by no `Debug` all the same.
    for (name, schema) in document.components.iter().flat_map(|components| &components.schemas) {
        let is_secret = schema.as_item().is_some_and(|schema| schema.schema_data.extensions.contains_key("x-secret"));
        if is_secret && !REPLACED.iter().any(|(schema, _)| schema == name) {
            settings.with_replacement(name, "crate::message::lease::LeaseId", std::iter::empty());
        }
    }
    // One envelope for every response: `FooResponse` wraps `FooResult`.
    for name in document.components.iter().flat_map(|components| components.schemas.keys()) {
        if let Some(operation) = name.strip_suffix("Response") {
            let result = format!("{operation}Result");
            let replaced = REPLACED.iter().find(|(schema, _)| *schema == result);
            let result =
                replaced.map_or(format!("crate::document::generated::types::{result}"), |(_, ours)| (*ours).to_owned());
            let envelope = format!("crate::http::envelope::Envelope<{result}>");
            settings.with_replacement(name, envelope, std::iter::empty());
        }
    }
    settings
}

/// An enum of the operations, so that a table that leaves one out does not compile.
fn operations(document: &OpenAPI) -> Result<TokenStream, Box<dyn Error>> {
    let (mut variants, mut ids, mut methods) = (Vec::new(), Vec::new(), Vec::new());
    let (mut paths, mut docs) = (Vec::new(), Vec::new());
    for (path, method, operation) in document.operations() {
        let id = operation.operation_id.as_deref().ok_or_else(|| format!("{method} {path} has no operationId"))?;
        variants.push(format_ident!("{}", camel_case(id)));
        ids.push(id.to_owned());
        methods.push(method.to_uppercase());
        paths.push(path);
        docs.push(format!("`{id}`: {}.", operation.summary.as_deref().unwrap_or(path)));
    }
    Ok(quote! {
        /// An operation of the service.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Operation {
            #(#[doc = #docs] #variants),*
        }

        impl Operation {
            #[cfg(feature = "emulator")]
            pub(crate) const ALL: &[Self] = &[#(Self::#variants),*];

            /// The operation's id in the OpenAPI document, as in [`Error::operation`](crate::Error::operation).
            pub fn id(self) -> &'static str {
                match self { #(Self::#variants => #ids),* }
            }

            /// The HTTP method.
            pub(crate) fn method(self) -> &'static str {
                match self { #(Self::#variants => #methods),* }
            }

            /// The path, with a name in braces for each parameter.
            #[cfg(feature = "emulator")]
            pub(crate) fn path(self) -> &'static str {
                match self { #(Self::#variants => #paths),* }
            }
        }
    })
}

fn camel_case(id: &str) -> String {
    let capitalized =
        |word: &str| word.get(..1).map(str::to_uppercase).into_iter().chain(word.get(1..).map(str::to_owned));
    id.split('_').flat_map(capitalized).collect()
}

/// A constant for each bound of the document; all words that it uses for fields and values, which are no secrets; and
/// the fields that hold some.
fn limits(document: &Value) -> TokenStream {
    let (mut constants, mut words, mut secrets) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    let schemas = document.pointer("/components/schemas").unwrap_or(&Value::Null);
    for (schema, content) in schemas.as_object().into_iter().flatten() {
        bounds_of(schema, content, &mut constants);
        for (field, content) in content.get("properties").and_then(Value::as_object).into_iter().flatten() {
            bounds_of(&format!("{schema}_{field}"), content, &mut constants);
        }
    }
    let parameters = document.pointer("/components/parameters").and_then(Value::as_object).into_iter().flatten();
    parameters.for_each(|(name, parameter)| bounds_of(name, &parameter["schema"], &mut constants));
    words_of(schemas, &mut words);
    secrets_of(schemas, schemas, &mut secrets);
    quote! {
        #(#constants)*
        pub(crate) const WORDS: &[&str] = &[#(#words),*];
        pub(crate) const SECRETS: &[&str] = &[#(#secrets),*];
    }
}

fn bounds_of(name: &str, schema: &Value, constants: &mut Vec<TokenStream>) {
    for (keyword, suffix) in BOUNDS {
        if let Some(bound) = schema.get(keyword).and_then(Value::as_u64) {
            let name = format_ident!("{}_{suffix}", snake_case(name).to_uppercase());
            constants.push(quote! { pub(crate) const #name: u64 = #bound; });
        }
    }
}

fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for character in name.chars() {
        if character.is_uppercase() && !snake.is_empty() && !snake.ends_with('_') {
            snake.push('_');
        }
        snake.push(character.to_ascii_lowercase());
    }
    snake
}

fn words_of(schema: &Value, words: &mut BTreeSet<String>) {
    match schema {
        Value::Object(fields) => {
            let values = schema.get("enum").and_then(Value::as_array).into_iter().flatten();
            words.extend(values.filter_map(Value::as_str).map(str::to_owned));
            words.extend(schema.get("properties").and_then(Value::as_object).into_iter().flat_map(Map::keys).cloned());
            fields.values().for_each(|value| words_of(value, words));
        }
        Value::Array(values) => values.iter().for_each(|value| words_of(value, words)),
        _ => {}
    }
}

/// Documents the mocks, of whose items the generator documents only the trait.
fn documented(tokens: TokenStream) -> syn::Result<File> {
    let mut file: File = syn::parse2(tokens)?;
    for item in &mut file.items {
        match item {
            Item::Mod(operations) => {
                let items = operations.content.iter_mut().flat_map(|(_, items)| items);
                items.for_each(document_operation);
            }
            Item::Trait(extension) => {
                for method in &mut extension.items {
                    if let TraitItem::Fn(TraitItemFn { attrs, sig, .. }) = method {
                        let doc = format!("Makes a mock of the operation `{}`.", sig.ident);
                        attrs.push(parse_quote!(#[doc = #doc]));
                    }
                }
            }
            _ => {}
        }
    }
    Ok(file)
}

/// Documents one of the generator's wrappers: `FooWhen` and `FooThen`, with their methods.
fn document_operation(item: &mut Item) {
    match item {
        Item::Struct(wrapper) => {
            let name = wrapper.ident.to_string();
            let doc = match name.strip_suffix("When") {
                Some(operation) => format!("Which requests of `{}` a mock is for.", snake_case(operation)),
                None => format!("What a mock of `{}` responds.", snake_case(name.trim_end_matches("Then"))),
            };
            wrapper.attrs.push(parse_quote!(#[doc = #doc]));
        }
        Item::Impl(wrapper) => {
            for method in &mut wrapper.items {
                if let ImplItem::Fn(ImplItemFn { attrs, sig, .. }) = method {
                    let doc = match sig.ident.to_string().as_str() {
                        "new" => "Wraps httpmock's own.".to_owned(),
                        "into_inner" => "httpmock's own, for what has no method here, such as a failure.".to_owned(),
                        "ok" => "Responds with status 200 and this body.".to_owned(),
                        "body" => "Only requests with this body.".to_owned(),
                        parameter => format!("Only requests with this `{parameter}`."),
                    };
                    attrs.push(parse_quote!(#[doc = #doc]));
                }
            }
        }
        _ => {}
    }
}

/// The fields that refer to a component that is secret.
fn secrets_of(schemas: &Value, schema: &Value, secrets: &mut BTreeSet<String>) {
    for (name, field) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let parts = field.get("allOf").and_then(Value::as_array).into_iter().flatten().chain([field]);
        let names = parts.filter_map(|part| part.get("$ref")?.as_str()?.rsplit('/').next());
        if names.into_iter().any(|name| schemas.get(name).is_some_and(|schema| schema.get("x-secret").is_some())) {
            secrets.insert(name.clone());
        }
    }
    match schema {
        Value::Object(fields) => fields.values().for_each(|value| secrets_of(schemas, value, secrets)),
        Value::Array(values) => values.iter().for_each(|value| secrets_of(schemas, value, secrets)),
        _ => {}
    }
}

fn write(out: &str, name: &str, tokens: TokenStream) -> Result<(), Box<dyn Error>> {
    write_file(out, name, syn::parse2(tokens)?)
}

fn write_file(out: &str, name: &str, file: File) -> Result<(), Box<dyn Error>> {
    fs::write(Path::new(out).join(name), prettyplease::unparse(&file))?;
    Ok(())
}
