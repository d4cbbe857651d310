//! Every message that a consumer pulls is counted once: what adds up these counts has all of them.

use std::{fs, path::Path};

use serde_json::Value;

/// What adds up, shows or records the counts of `Stats` that add up to `pulled`.
const SUMS: [&str; 6] = [
    "benches/soak.rs",
    "cli/src/commands/consume.rs",
    "proof/schedules/tests/consumer.rs",
    "src/consumer/metrics.rs",
    "src/consumer/tests.rs",
    "tests/client/chaos/lives.rs",
];

fn text(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)).unwrap()
}

/// The fields that the documentation of `Stats` lists.
fn outcomes() -> Vec<String> {
    let stats = text("src/consumer/stats.rs");
    let (_, list) = stats.split_once("counted in exactly one of").unwrap();
    let (list, _) = list.split_once(".\n").unwrap();
    list.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn every_outcome_is_in_each_sum_in_the_metrics_and_on_the_dashboard() {
    let outcomes = outcomes();
    assert!(outcomes.len() >= 7, "{outcomes:?}");
    let dashboard: Value = serde_json::from_str(&text("examples/apps/grafana.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let panel = panels.iter().find(|panel| panel["title"] == "Messages by outcome").unwrap().to_string();
    for outcome in outcomes {
        assert!(panel.contains(&format!("_{outcome}_total{{")), "the panel of outcomes lacks {outcome}");
        for path in SUMS {
            let text = text(path);
            let is_word =
                |part: &str| part.split(|it: char| it != '_' && !it.is_alphanumeric()).any(|it| it == outcome);
            assert!(is_word(&text), "{path} lacks {outcome}");
        }
    }
}
