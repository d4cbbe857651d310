//! The public types that are generated from the document are those that `tests/public-api.txt` lists.

use std::collections::BTreeSet;

use super::{document, is_replaced};

/// The generated types that `src/types.rs` exports, with their fields.
fn generated() -> BTreeSet<String> {
    let exported = include_str!("../../src/types.rs");
    let document = document();
    let mut found = BTreeSet::new();
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        let is_exported = exported.split(|character: char| !character.is_alphanumeric()).any(|word| word == name);
        for field in
            schema["properties"].as_object().into_iter().flatten().map(|(field, _)| field).filter(|_| is_exported)
        {
            found.insert(format!("{name}::{}", rust_name(field)));
        }
    }
    found
}

/// `ackCount` is `ack_count`, and `ref` is `ref_`.
fn rust_name(field: &str) -> String {
    let mut name = String::new();
    for character in field.chars() {
        if character.is_uppercase() {
            name.push('_');
        }
        name.push(character.to_ascii_lowercase());
    }
    if ["ref", "type"].contains(&name.as_str()) { name + "_" } else { name }
}

#[test]
fn the_public_types_are_as_listed() {
    const FIELD: &str = "pub cloudflare_queues::types::";
    let listed = include_str!("../public-api.txt").lines().filter_map(|line| line.strip_prefix(FIELD));
    let listed = listed.filter_map(|line| line.split_once(": ")).map(|(field, _)| field.to_owned());
    let listed: BTreeSet<_> = listed.filter(|field| !is_replaced(field.split("::").next().unwrap())).collect();
    let generated = generated();
    let changed: Vec<_> = generated.symmetric_difference(&listed).collect();
    assert!(changed.is_empty(), "users may break by {changed:?}: .ci/run says how to list the interface anew");
}
