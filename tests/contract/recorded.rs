//! The emulator against what was recorded, in `tests/fixtures/recorded`.

use std::{env, fs};

use cloudflare_queues::emulator::Behavior;
use support::recorded::{differences, explained, read};

#[tokio::test]
async fn the_emulator_answers_as_was_recorded() {
    for folder in support::recordings() {
        let exchanges = read(&folder);
        let differences = differences(&exchanges, Behavior::new()).await;
        // What the emulator leaves out on purpose, such as a link in an error.
        let known = folder.join("differences.txt");
        if env::var_os("UPDATE_TEXTS").is_some() && (known.exists() || !differences.is_empty()) {
            fs::write(&known, differences.join("\n") + "\n").unwrap();
        }
        let known = fs::read_to_string(&known).unwrap_or_default();
        if known.lines().eq(&differences) {
            continue;
        }
        let (switches, left) = explained(&exchanges).await;
        panic!(
            "{}:\n{}\n\nUPDATE_TEXTS=1 takes them over; these switches explain all but {}: {switches:?}\n{}",
            folder.display(),
            differences.join("\n"),
            left.len(),
            left.join("\n")
        );
    }
}

#[tokio::test]
async fn an_emulator_that_answers_otherwise_is_told_from_a_recording() {
    let turned = [
        (
            Behavior::new().late_acks(false),
            "a late acknowledgement while nobody holds",
            "ackCount is 1, with the emulator 0",
        ),
        (Behavior::new().counts(false), "an acknowledgement by the old id", "ackCount is 1, with the emulator absent"),
        (Behavior::new().acks_after_extend(false), "an acknowledgement by the old id", "with the emulator 0"),
        (Behavior::new().large_requests(true), "an extension of 101 leases", "status is 400, with the emulator 200"),
    ];
    let emulated = support::recordings().into_iter().find(|folder| folder.ends_with("emulator")).unwrap();
    let exchanges = read(&emulated);
    for (behavior, asked, says) in turned {
        let differences = differences(&exchanges, behavior).await;
        let is_named = differences.iter().any(|line| line.contains(asked) && line.contains(says));
        assert!(is_named, "{asked}: {}", differences.join("\n"));
    }
}
