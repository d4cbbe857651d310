//! Turns `openapi/queues.json` into the client's types and methods.

#[allow(unreachable_pub, reason = "it is also a module of the refresh, whose tests use it")]
#[path = "openapi/rules.rs"]
mod rules;

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    error::Error,
    fs,
    path::Path,
};

use openapiv3::OpenAPI;
use proc_macro2::TokenStream;
use progenitor::{GenerationSettings, Generator, HooksMode, InterfaceStyle};
use quote::{ToTokens, format_ident, quote};
use rules::{Stated, snake_case};
use serde_json::{Map, Value};
use syn::{
    Field, Fields, File, ImplItem, ImplItemFn, Item, ItemMod, ItemStruct, Path as SynPath, Token, TraitItem,
    TraitItemFn, Type, parse_quote, punctuated::Punctuated,
};

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

pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={DOCUMENT}");
    let json: Value = serde_json::from_str(&fs::read_to_string(DOCUMENT)?)?;
    let stated = rules::stated(&json);
    stated.faults.iter().for_each(|fault| println!("cargo::error={fault}"));
    let document: OpenAPI = serde_json::from_value(json.clone())?;
    let out = env::var("OUT_DIR")?;

    let replaced = replaced(&document);
    let mut generator = Generator::new(&settings(&replaced));
    let client = described(syn::parse2(generator.generate_tokens(&document)?)?)?;
    write(&out, "operations.rs", operations(&document, &json)?)?;
    write(&out, "limits.rs", limits(&json, &stated))?;
    write(&out, "types.rs", types(&document, &replaced, &client)?)?;
    write_file(&out, "client.rs", client)?;
    if env::var_os("CARGO_FEATURE_MOCK").is_some() {
        write_file(&out, "mock.rs", documented(generator.httpmock(&document, "crate::document::generated")?)?)?;
    }
    Ok(())
}

fn settings(replaced: &BTreeMap<String, String>) -> GenerationSettings {
    let mut settings = GenerationSettings::new();
    settings
        .with_interface(InterfaceStyle::Positional)
        // Without an implementation of the hooks, requests would leave without credentials: make that a compile error.
        .with_hooks(HooksMode::Expected)
        .with_map_type("::std::collections::BTreeMap");
    if env::var_os("CARGO_FEATURE_SCHEMARS").is_some() {
        settings.with_derive("::schemars::JsonSchema");
    }
    for (schema, ours) in replaced {
        settings.with_replacement(schema, ours, std::iter::empty());
    }
    settings
}

/// The components that are not generated, each with the type that takes its place.
fn replaced(document: &OpenAPI) -> BTreeMap<String, String> {
    let mut replaced: BTreeMap<_, _> =
        REPLACED.iter().map(|(schema, ours)| ((*schema).to_owned(), (*ours).to_owned())).collect();
    for (name, schema) in document.components.iter().flat_map(|components| &components.schemas) {
        // A secret without a type of its own is shown by no `Debug` all the same.
        if schema.as_item().is_some_and(|schema| schema.schema_data.extensions.contains_key("x-secret")) {
            replaced.entry(name.clone()).or_insert_with(|| "crate::message::lease::LeaseId".to_owned());
        }
        // One envelope for every response: `FooResponse` wraps `FooResult`.
        if let Some(operation) = name.strip_suffix("Response") {
            let result = format!("{operation}Result");
            let result = replaced
                .get(&result)
                .cloned()
                .unwrap_or_else(|| format!("crate::document::generated::types::{result}"));
            replaced.insert(name.clone(), format!("crate::http::envelope::Envelope<{result}>"));
        }
    }
    replaced
}

/// Has `Debug` show no more of raw JSON, in which anything may stand, than the document describes.
fn described(mut client: File) -> Result<File, Box<dyn Error>> {
    let is_raw = |tokens: TokenStream| ["serde_json ::", "BTreeMap"].iter().any(|it| tokens.to_string().contains(it));
    for item in &mut client.items {
        let Item::Mod(ItemMod { content: Some((_, items)), .. }) = item else { continue };
        let mut shown: Vec<Item> = Vec::new();
        for item in &mut *items {
            let (name, is_raw_type) = match &*item {
                Item::Struct(of) => (of.ident.clone(), is_raw(of.fields.to_token_stream())),
                Item::Enum(of) => (of.ident.clone(), is_raw(of.variants.to_token_stream())),
                _ => continue,
            };
            if !is_raw_type {
                continue;
            }
            let Item::Struct(ItemStruct { attrs, fields: Fields::Named(fields), .. }) = item else {
                return Err(format!("{name} is any JSON: write its type by hand (REPLACED in build.rs)").into());
            };
            for derived in attrs.iter_mut().filter(|attribute| attribute.path().is_ident("derive")) {
                let traits = derived.parse_args_with(Punctuated::<SynPath, Token![,]>::parse_terminated)?.into_iter();
                let traits = traits.filter(|name| !name.is_ident("Debug"));
                *derived = parse_quote!(#[derive(#(#traits),*)]);
            }
            let fields = fields.named.iter().map(|Field { ident, ty, .. }| match is_raw(ty.to_token_stream()) {
                true => quote!(.field(stringify!(#ident), &crate::document::fields::Described(&self.#ident))),
                false => quote!(.field(stringify!(#ident), &self.#ident)),
            });
            shown.push(parse_quote! {
                impl ::std::fmt::Debug for #name {
                    fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                        f.debug_struct(stringify!(#name))#(#fields)*.finish()
                    }
                }
            });
        }
        items.extend(shown);
    }
    Ok(client)
}

/// For tests: a macro that calls another with the name and the type of every component, and the fields of the generated
/// types.
fn types(
    document: &OpenAPI,
    replaced: &BTreeMap<String, String>,
    client: &File,
) -> Result<TokenStream, Box<dyn Error>> {
    let names: Vec<_> = document.components.iter().flat_map(|components| components.schemas.keys()).collect();
    let types = names.iter().map(|name| {
        let ours = replaced.get(*name).cloned().unwrap_or_else(|| format!("crate::document::generated::types::{name}"));
        syn::parse_str::<Type>(&ours)
    });
    let types = types.collect::<syn::Result<Vec<_>>>()?;
    let (mut fields, mut field_types) = (Vec::new(), Vec::new());
    for item in &client.items {
        let Item::Mod(ItemMod { content: Some((_, items)), .. }) = item else { continue };
        for item in items {
            let Item::Struct(ItemStruct { ident, fields: found, .. }) = item else { continue };
            for Field { ident: field, ty, .. } in found {
                let Some(field) = field else { continue };
                fields.push(format!("{ident}::{field}"));
                field_types.push(quote!(#ty).to_string().replace(' ', ""));
            }
        }
    }
    Ok(quote! {
        macro_rules! every_type {
            ($call:ident) => { #($call!(#names, #types);)* };
        }
        const FIELDS: &[(&str, &str)] = &[#((#fields, #field_types)),*];
    })
}

/// An enum of the operations, so that a table that leaves one out does not compile.
fn operations(document: &OpenAPI, json: &Value) -> Result<TokenStream, Box<dyn Error>> {
    let (mut variants, mut ids, mut methods) = (Vec::new(), Vec::new(), Vec::new());
    let (mut paths, mut docs, mut bodies) = (Vec::new(), Vec::new(), Vec::new());
    for (path, method, operation) in document.operations() {
        let id = operation.operation_id.as_deref().ok_or_else(|| format!("{method} {path} has no operationId"))?;
        variants.push(format_ident!("{}", camel_case(id)));
        ids.push(id.to_owned());
        methods.push(method.to_uppercase());
        let at = path.replace('/', "~1");
        let body = json.pointer(&format!("/paths/{at}/{method}/requestBody/content/application~1json/schema"));
        let fields = fields(json, body);
        let names = fields.keys();
        let entries = fields.values().flat_map(|field| self::fields(json, field.get("items")));
        let entries: BTreeSet<_> = entries.map(|(name, _)| name).collect();
        let entries = entries.iter();
        bodies.push(quote! { (&[#(#names),*], &[#(#entries),*]) });
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

            pub(crate) fn by_id(id: &str) -> Option<Self> {
                match id { #(#ids => Some(Self::#variants),)* _ => None }
            }

            /// The HTTP method.
            pub(crate) fn method(self) -> &'static str {
                match self { #(Self::#variants => #methods),* }
            }

            /// The path, with a name in braces for each parameter.
            pub(crate) fn path(self) -> &'static str {
                match self { #(Self::#variants => #paths),* }
            }

            /// The fields of the body, and those of the entries of its lists.
            #[cfg(feature = "emulator")]
            pub(crate) fn fields(self) -> (&'static [&'static str], &'static [&'static str]) {
                match self { #(Self::#variants => #bodies),* }
            }
        }
    })
}

/// The fields of the component that a schema refers to.
fn fields(document: &Value, schema: Option<&Value>) -> Map<String, Value> {
    let reference = schema.and_then(|schema| schema.get("$ref")?.as_str()?.strip_prefix('#'));
    let component = reference.and_then(|reference| document.pointer(reference));
    component.and_then(|component| component.get("properties")?.as_object()).cloned().unwrap_or_default()
}

fn camel_case(id: &str) -> String {
    let capitalized =
        |word: &str| word.get(..1).map(str::to_uppercase).into_iter().chain(word.get(1..).map(str::to_owned));
    id.split('_').flat_map(capitalized).collect()
}

/// A constant for each bound of the document; all words that it uses for fields and values, which are no secrets; and
/// the fields that hold some.
fn limits(document: &Value, stated: &Stated) -> TokenStream {
    let constants = stated.bounds.iter().map(|(name, bound)| {
        let name = format_ident!("{name}");
        quote! { pub(crate) const #name: u64 = #bound; }
    });
    let (mut words, secrets) = (BTreeSet::new(), stated.secrets.iter());
    words_of(document.pointer("/components/schemas").unwrap_or(&Value::Null), &mut words);
    quote! {
        #(#constants)*
        pub(crate) const WORDS: &[&str] = &[#(#words),*];
        pub(crate) const SECRETS: &[&str] = &[#(#secrets),*];
    }
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

fn write(out: &str, name: &str, tokens: TokenStream) -> Result<(), Box<dyn Error>> {
    write_file(out, name, syn::parse2(tokens)?)
}

fn write_file(out: &str, name: &str, file: File) -> Result<(), Box<dyn Error>> {
    fs::write(Path::new(out).join(name), prettyplease::unparse(&file))?;
    Ok(())
}
