//! Tables, and lines of JSON, as they were.

use cloudflare_queues::{
    PushMessage,
    emulator::{EmulatedQueue, Emulator},
};

use crate::world::{World, is_as_it_was};

#[test]
fn output_is_as_it_was() {
    let world = World::of(Emulator::builder().queue(EmulatedQueue::new().max_retries(5)));
    world.push(&[PushMessage::text("hello\tworld"), PushMessage::json(&[1, 2]).unwrap()]);
    world.other();
    let url = world.emulator.base_url();
    for (name, arguments) in [
        ("ls", &["ls"][..]),
        ("info", &["info", world.id()]),
        ("peek", &["peek", world.id()]),
        ("peek-bodies", &["peek", world.id(), "--bodies"]),
        ("doctor", &["doctor", world.id()]),
        ("redrive-dry-run", &["redrive", world.id(), &world.other(), "--dry-run"]),
    ] {
        for format in ["table", "ndjson"] {
            let shown = world.run(&[arguments, &["--output", format]].concat());
            // The port differs, and so does the time.
            let shown = shown.replace(&url, "http://127.0.0.1:54321/client/v4");
            let shown: Vec<_> = shown.split_inclusive([' ', ',', '\n']).map(without_time).collect();
            is_as_it_was(&format!("output/{name}.{format}"), &shown.concat());
        }
    }
}

/// A word without the digits of a time, as in `2026-11-25T15:00:00.000Z` and `3s`.
fn without_time(word: &str) -> String {
    let is_time = word.contains("Z") && word.contains(":") && word.contains("T");
    let is_age = word.trim_end().strip_suffix('s').is_some_and(|age| age.parse::<u32>().is_ok());
    if is_time || is_age { word.replace(|c: char| c.is_ascii_digit(), "0") } else { word.to_owned() }
}
