//! The service's codes have names.

use crate::layers::{LAYERS, sources};

#[test]
fn service_codes_are_only_in_error_codes() {
    let codes = include_str!("../../src/error/codes.rs").lines().filter(|line| !line.trim_start().starts_with("//"));
    let codes = codes.filter_map(|line| line.split_once(" = ")?.1.strip_suffix(';')).filter(|code| code.len() > 3);
    let codes: Vec<_> = codes.collect();
    assert!(codes.len() > 30, "{codes:?}");
    let mut bare = Vec::new();
    for (file, code) in LAYERS.iter().flat_map(|layer| sources(layer)).filter(|(file, _)| file != "error/codes.rs") {
        let numbers = code.split(|it: char| !it.is_alphanumeric() && it != '_');
        bare.extend(numbers.filter(|number| codes.contains(number)).map(|number| format!("{file} has {number}")));
        // Nor may a new code stand here before it has a name.
        for refusal in code.split("Refusal::").skip(1) {
            let input = refusal.split(['"', ';']).next().unwrap();
            let number = input.split([',', '(']).find(|word| word.trim().starts_with(|it: char| it.is_ascii_digit()));
            bare.extend(number.map(|number| format!("{file} refuses with {number}")));
        }
    }
    assert!(bare.is_empty(), "{bare:#?}");
}
