//! Names: of queues that are not there, of profiles, and those that a shell completes.

use std::{fs, process::Command};

use cloudflare_queues::emulator::Emulator;

use crate::world::{World, bare, folder, objects};

fn world_of(names: &[&str]) -> World {
    let world = World::of(Emulator::builder().real_time());
    for name in names {
        world.runtime.block_on(world.queue().queues().create(*name)).unwrap();
    }
    world
}

fn told(world: &World, arguments: &[&str]) -> (Option<i32>, String) {
    let output = world.command(arguments).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_wrong_name_is_named_and_near_ones_are_suggested() {
    let world = world_of(&["jobs", "jobs-failed"]);
    for arguments in
        [&["peek", "jbs"][..], &["redrive", "jobs", "jbs"], &["export", "jbs"], &["consume", "jbs", "--", "true"]]
    {
        let (code, told) = told(&world, arguments);
        assert!(
            code == Some(3) && told.contains("no queue named `jbs`") && told.contains("did you mean jobs"),
            "{told}"
        );
    }
    let id = "f".repeat(32);
    let (code, told) = told(&world, &["peek", &id]);
    assert!(code == Some(3) && told.contains(&format!("no queue with the id `{id}`")), "{told}");
}

#[test]
fn a_wrong_account_and_a_network_that_fails_are_named() {
    let world = world_of(&[]);
    for arguments in [&["ls"][..], &["peek", "jobs"], &["peek", world.id()]] {
        let (code, told) = told(&world, &[arguments, &["--account", "another"]].concat());
        assert!(code == Some(3) && told.contains("no such account"), "{arguments:?} {told}");
    }
    let url = "http://127.0.0.1:9/client/v4";
    let (code, told) = told(&world, &["ls", "--base-url", url]);
    assert!(code == Some(6) && told.contains(url) && told.contains("refused"), "{told}");
}

#[test]
fn profiles_name_the_tokens_variable_and_never_the_token() {
    let world = world_of(&["jobs"]);
    let file = folder("profiles").join("profiles.toml");
    let (account, url) = (world.emulator.account_id(), world.emulator.base_url());
    let profile = format!("[test]\naccount = \"{account}\"\nbase_url = \"{url}\"\ntoken_variable = \"THE_TOKEN\"\n");
    fs::write(&file, &profile).unwrap();
    let run = |arguments: &[&str]| {
        let mut command = bare(arguments);
        command.env("CF_QUEUES_PROFILES", &file).env("THE_TOKEN", world.emulator.api_token()).output().unwrap()
    };
    let output = run(&["ls", "--profile", "test"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(objects(str::from_utf8(&output.stdout).unwrap()).iter().any(|line| line["name"] == "jobs"));
    let output = run(&["ls", "--profile", "other"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("but: test"));
    world.push_numbers(1);
    let output = run(&["consume", world.id(), "--profile", "test", "--until-empty", "--", "env"]);
    let seen = String::from_utf8_lossy(&output.stdout);
    assert!(seen.contains("CF_QUEUES_MESSAGE_ID") && !seen.contains("THE_TOKEN"), "{seen}");
    fs::write(&file, profile.replace("THE_TOKEN", "s3cret")).unwrap();
    for command in ["ls", "doctor"] {
        let output = run(&[command, "--profile", "test"]);
        let told = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        let is_told = told.contains("the variable that the profile's token_variable names is not set");
        assert!(output.status.code() == Some(2) && is_told && !told.contains("s3cret"), "{told}");
    }
    for text in
        ["[test]\napi_token = \"s3cret\"", "\ntoken = \"s3cret\"\n[test]", "[test]\ns3cret = 1", "[test]\ns3cret"]
    {
        fs::write(&file, text).unwrap();
        let output = run(&["ls", "--profile", "test"]);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && told.contains("not the token"), "{told}");
        assert!(told.contains("line 2 ") && !told.contains("s3cret"), "{told}");
    }
}

#[test]
fn bash_completes_commands_options_and_queues() {
    let world = world_of(&["jobs", "jobs-failed", "orders"]);
    let script = r#"
        PATH="$(dirname "$1"):$PATH"
        source <(cf-queues completions bash)
        COMP_WORDS=(cf-queues "${@:2}"); COMP_CWORD=$(($# - 1)); COMP_TYPE=9
        $(complete -p cf-queues | sed 's/.*-F \([^ ]*\).*/\1/') cf-queues "${COMP_WORDS[COMP_CWORD]}"
        printf '%s\n' "${COMPREPLY[@]}""#;
    for (words, expected) in [
        (&["red"][..], &["redrive"][..]),
        (&["redrive", "--rai"], &["--raise-retries"]),
        (&["peek", "job"], &["jobs", "jobs-failed"]),
        (&["redrive", "jobs", "ord"], &["orders"]),
    ] {
        let mut command = Command::new("bash");
        command.args(["-c", script, "bash", env!("CARGO_BIN_EXE_cf-queues")]).args(words).envs(world.variables());
        let output = command.output().unwrap();
        let found = String::from_utf8(output.stdout).unwrap();
        let mut found: Vec<_> = found.split_whitespace().collect();
        found.sort_unstable();
        assert_eq!(found, expected, "{words:?} {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn a_usage_line_shows_nothing_that_only_the_environment_sets() {
    let world = world_of(&[]);
    let (code, told) = told(&world, &["peek"]);
    assert!(code == Some(2) && told.contains("Usage: cf-queues peek <QUEUE>"), "{told}");
}

#[test]
fn an_output_format_is_refused_where_it_has_no_meaning() {
    let world = world_of(&[]);
    for arguments in [&["export", world.id()][..], &["completions", "bash"]] {
        let (code, told) = told(&world, &[arguments, &["--output", "table"]].concat());
        assert!(code == Some(2) && told.contains("--output does not apply"), "{told}");
    }
}
