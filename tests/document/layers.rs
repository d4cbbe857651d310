//! The folders of the library are layers: each names only itself and those below it.

use std::{fs, path::Path};

/// From the lowest to the highest. What is generated in `document` names types of `message`, `manage` and `http`, since
/// the document does; no source does.
pub(crate) const LAYERS: [&str; 12] = [
    "document", "error", "flow", "message", "http", "queue", "manage", "acker", "pusher", "consumer", "client",
    "emulator",
];

#[test]
fn no_layer_names_a_higher_one() {
    let mut upwards = Vec::new();
    for (height, layer) in LAYERS.iter().enumerate() {
        for (file, code) in sources(layer) {
            let named = named(&code);
            let higher = |name: &&String| LAYERS.iter().position(|layer| layer == name).is_none_or(|at| at > height);
            upwards.extend(named.iter().filter(higher).map(|name| format!("{file} names {name}")));
        }
    }
    assert!(upwards.is_empty(), "{upwards:#?}");
}

/// The files of a layer, without tests and comments.
pub(crate) fn sources(layer: &str) -> Vec<(String, String)> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../src");
    let mut paths = vec![Path::new(layer).to_owned(), Path::new(layer).with_extension("rs")];
    let mut files = Vec::new();
    while let Some(path) = paths.pop() {
        let within = source.join(&path);
        if path.ends_with("tests") || path.ends_with("tests.rs") {
            continue;
        } else if let Ok(entries) = fs::read_dir(&within) {
            paths.extend(entries.map(|entry| path.join(entry.unwrap().file_name())));
        } else if path.extension().is_some_and(|extension| extension == "rs") && within.exists() {
            let text = fs::read_to_string(within).unwrap();
            let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
            let code = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
            files.push((path.display().to_string(), code));
        }
    }
    assert!(!files.is_empty(), "{layer} has no source");
    files
}

/// The first names after `crate::`, also those in braces.
fn named(code: &str) -> Vec<String> {
    let word = |text: &str| text.chars().take_while(|it| it.is_alphanumeric() || *it == '_').collect::<String>();
    let mut names = Vec::new();
    for (at, root) in code.match_indices("crate::") {
        let rest = &code[at + root.len()..];
        // A macro of this crate names it by `$crate`, and ends here too.
        let Some(group) = rest.strip_prefix('{') else {
            names.push(word(rest));
            continue;
        };
        let (mut depth, mut is_first) = (1, true);
        for (at, character) in group.char_indices() {
            if is_first && depth == 1 && character.is_alphabetic() {
                names.push(word(&group[at..]));
                is_first = false;
            }
            match character {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 1 => is_first = true,
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
    }
    names
}
