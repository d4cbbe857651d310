//! What the README promises to a new user.

use std::{path::Path, process::Command};

use crate::world::{folder, objects};

#[test]
fn the_readme_leads_from_nothing_to_a_redrive() {
    let readme = include_str!("../../README.md");
    let commands = readme.split("```sh\n").nth(1).unwrap().split("```").next().unwrap();
    let (install, rest) = commands.split_once('\n').unwrap();
    assert_eq!((install, rest.lines().count()), ("cargo install --locked --path cli", 4));
    // What is installed is this program, and another port may be free.
    let program = Path::new(env!("CARGO_BIN_EXE_cf-queues")).parent().unwrap();
    let path = std::env::join_paths(
        [program.to_owned()].into_iter().chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
    );
    let script = rest.replace("cf-queues emulator", "cf-queues emulator --port 0 >/dev/null");
    let script = format!("{script}\nkill $!");
    let mut command = Command::new("sh");
    command.args(["-c", &script]).env("PATH", path.unwrap()).current_dir(folder("readme"));
    let output = command.output().unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{told} {}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(objects(&told).last().unwrap()["moved"], 1000);
}
