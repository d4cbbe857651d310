//! Bounds are stated in the document, and texts state the same ones.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::Value;

use super::{document, walk};

/// The document's bounds by this keyword that are whole multiples of one of these units, in that unit.
fn bounds(keyword: &str, units: &[u64]) -> BTreeSet<u64> {
    let mut bounds = BTreeSet::new();
    walk(&document()["components"], "", &mut |_, schema| {
        let bound = schema.get(keyword).and_then(Value::as_u64);
        bounds
            .extend(units.iter().filter_map(|unit| bound.filter(|bound| bound % unit == 0).map(|bound| bound / unit)));
    });
    bounds
}

/// Every number that stands after these words.
fn stated_after(text: &str, words: &str) -> BTreeSet<u64> {
    let after = text.match_indices(words).filter_map(|(at, _)| text.get(at + words.len()..));
    let digits = |text: &str| {
        text.chars().take_while(|character| character.is_ascii_digit() || *character == ',').collect::<String>()
    };
    after.filter_map(|text| digits(text).trim_end_matches(',').replace(',', "").parse().ok()).collect()
}

/// Every number that stands before this word.
fn stated(text: &str, word: &str) -> BTreeSet<u64> {
    let numbers = text.match_indices(word).filter_map(|(at, _)| {
        let start = text[..at].rfind(|character: char| !character.is_ascii_digit()).map_or(0, |other| other + 1);
        text[start..at].parse().ok()
    });
    numbers.collect()
}

fn texts(path: &Path) -> Vec<(String, String)> {
    if path.is_dir() {
        return fs::read_dir(path).unwrap().flat_map(|entry| texts(&entry.unwrap().path())).collect();
    }
    vec![(path.display().to_string(), fs::read_to_string(path).unwrap())]
}

#[test]
fn no_text_states_another_bound_than_the_document() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let days = bounds("maximum", &[86_400]);
    let most: BTreeSet<_> = [("maximum", 3600), ("maxItems", 1), ("maxLength", 1)]
        .iter()
        .flat_map(|(keyword, unit)| bounds(keyword, &[1, *unit]))
        .collect();
    let bounds = [(" hours", bounds("maximum", &[3600, 3_600_000])), (" KB", bounds("x-max-bytes", &[1000]))];
    let mut found = 0;
    for (path, text) in ["README.md", "guide", "src"].into_iter().flat_map(|path| texts(&root.join(path))) {
        // The emulator has bounds of its own, where it is controlled.
        let ranges = if path.contains("control") { BTreeSet::new() } else { stated_after(&text, "1 to ") };
        assert!(ranges.is_subset(&most), "{path}: 1 to {ranges:?}, where the document's bounds are {most:?}");
        assert!(stated_after(&text, " seconds to ").is_subset(&days), "{path}: days other than {days:?}");
        for (unit, bounds) in &bounds {
            let stated = stated(&text, unit);
            found += stated.len();
            assert!(stated.is_subset(bounds), "{path}: {stated:?}{unit}, where the document's bounds are {bounds:?}");
        }
    }
    assert!(found > 10, "nothing was found, so nothing was compared");
}
