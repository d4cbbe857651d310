//! The texts of `--help`, and what it costs.

use crate::world::{bare, is_as_it_was, processor_time};

fn commands() -> Vec<String> {
    let help = bare(&["--help"]).output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let section = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap().to_owned();
    let lines = section.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let names = lines.map(|line| line.split_whitespace().next().unwrap().to_owned());
    names.filter(|name| name != "help").collect()
}

#[test]
fn help_is_as_it_was() {
    for command in std::iter::once(String::new()).chain(commands()) {
        let arguments: Vec<&str> = [command.as_str(), "--help"].into_iter().filter(|word| !word.is_empty()).collect();
        let output = bare(&arguments).assert().success();
        let help = String::from_utf8(output.get_output().stdout.clone()).unwrap();
        is_as_it_was(&format!("help/{}.txt", if command.is_empty() { "cf-queues" } else { &command }), &help);
    }
}

#[test]
fn every_command_has_an_example() {
    let commands = commands();
    assert!(commands.len() >= 12, "{commands:?}");
    for command in commands {
        let output = bare(&[&command, "--help"]).assert().success();
        let help = String::from_utf8(output.get_output().stdout.clone()).unwrap();
        assert!(
            help.split_once("\nExample")
                .is_some_and(|(_, examples)| examples.contains(&format!("cf-queues {command}"))),
            "{help}"
        );
    }
}

#[test]
fn help_is_a_command_too() {
    for arguments in [&["help"][..], &["help", "redrive"]] {
        bare(arguments).assert().success();
    }
}

#[test]
fn completions_are_for_every_shell() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let output = bare(&["completions", shell]).assert().success();
        assert!(String::from_utf8_lossy(&output.get_output().stdout).contains("CF_QUEUES_COMPLETE"), "{shell}");
    }
}

#[test]
fn help_takes_at_most_ten_times_an_empty_program() {
    let twenty = |program: &str| {
        let script = format!("for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do {program}; done");
        processor_time(&mut std::process::Command::new("sh"), &script)
    };
    let help = format!("{} --help", env!("CARGO_BIN_EXE_cf-queues"));
    let (took, nothing) = (twenty(&help), twenty("/usr/bin/env true"));
    assert!(took <= 10 * nothing, "{took:?}, {nothing:?}");
}
