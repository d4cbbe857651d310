//! The code that the build script generates from `openapi/queues.json`.
//!
//! Of each method, the lines before `exec` run: they build the request, which the hook in `http/call.rs` keeps. The
//! lines after it never do, since the hook does not return; the method's type says what `http/response.rs` has to read.

#![allow(
    clippy::all,
    clippy::unwrap_used,
    dead_code,
    unreachable_pub,
    reason = "the generator writes for every document, and for public modules"
)]

include!(concat!(env!("OUT_DIR"), "/client.rs"));

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fmt::Debug};

    use serde::de::DeserializeOwned;
    use serde_json::{Value, json};

    const SECRET: &str = "s3cret-of-a-customer";

    include!(concat!(env!("OUT_DIR"), "/types.rs"));

    /// A value of a schema, with a secret wherever the document has one, and in fields that it does not have: so in any
    /// JSON, whatever the code reads of it.
    fn sample(document: &Value, schema: &Value) -> Value {
        let sample = |schema| sample(document, schema);
        if schema.get("x-secret").is_some() {
            return json!(SECRET);
        }
        if let Some(reference) = schema["$ref"].as_str() {
            return sample(document.pointer(&reference[1..]).unwrap());
        }
        if let Some(part) = ["allOf", "oneOf"].iter().find_map(|keyword| schema[keyword].get(0)) {
            return sample(part);
        }
        let unknown = || ("of_tomorrow".to_owned(), json!(SECRET));
        match schema["type"].as_str() {
            _ if schema["enum"].is_array() => schema["enum"][0].clone(),
            Some("array") => json!([sample(&schema["items"])]),
            Some("boolean") => json!(true),
            Some("integer" | "number") => schema.get("minimum").cloned().unwrap_or(json!(7)),
            Some("object") => {
                let fields = schema["properties"].as_object().into_iter().flatten();
                // It refers to itself.
                let fields = fields.filter(|(name, _)| *name != "error_chain");
                let fields = fields.map(|(name, field)| (name.clone(), sample(field)));
                fields.chain([unknown()]).collect()
            }
            Some("string") => json!("2026-11-05T08:30:00Z"),
            _ if schema["x-reads"]["properties"].is_object() => sample(&schema["x-reads"]),
            _ => json!([{ "of_tomorrow": SECRET }, { "body": SECRET }]),
        }
    }

    fn shown<T: DeserializeOwned + Debug>(document: &Value, name: &str) -> String {
        let text = sample(document, &document["components"]["schemas"][name]).to_string();
        format!("{:#?}", serde_json::from_str::<T>(&text).unwrap_or_else(|error| panic!("{name}: {error}, {text}")))
    }

    #[test]
    fn no_type_on_the_wire_shows_a_secret() {
        let document: Value = serde_json::from_str(include_str!("../../openapi/queues.json")).unwrap();
        let mut checked = 0;
        macro_rules! check {
            ($name:literal, $type:ty) => {
                let shown = shown::<$type>(&document, $name);
                assert!(!shown.contains(SECRET), "{}: {shown}", $name);
                checked += 1;
            };
        }
        every_type!(check);
        assert_eq!(checked, document["components"]["schemas"].as_object().unwrap().len());
    }

    /// A type without the ways to its parts: `Option<u32>`.
    fn plain(path: &str) -> String {
        let mut plain = String::new();
        for part in path.split("::") {
            let end = plain.rfind(|character: char| !(character.is_alphanumeric() || character == '_'));
            plain.truncate(end.map_or(0, |end| end + 1));
            plain += part;
        }
        plain
    }

    #[test]
    fn the_public_types_are_as_listed() {
        let is_exported = |field: &str| {
            let name = field.split("::").next().unwrap();
            include_str!("../types.rs").split(|character: char| !character.is_alphanumeric()).any(|word| word == name)
        };
        let generated = FIELDS.iter().filter(|(field, _)| is_exported(field));
        let generated: BTreeSet<_> = generated.map(|(field, of)| format!("{field}: {}", plain(of))).collect();
        let listed = include_str!("../../tests/public-api.txt").lines();
        let listed = listed.filter_map(|line| line.strip_prefix("pub cloudflare_queues::types::")?.split_once(": "));
        let listed: BTreeSet<_> = listed.map(|(field, of)| format!("{field}: {}", plain(of))).collect();
        let changed: Vec<_> = generated.symmetric_difference(&listed).collect();
        assert!(changed.is_empty(), "users may break by {changed:?}: .ci/run says how to list the interface anew");
    }
}
