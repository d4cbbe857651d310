//! The Rust version that `Cargo.toml` declares.

use std::{env, process::Command};

use serde_json::Value;

fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env::var_os("CARGO").unwrap_or("cargo".into())).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn numbers(version: &str) -> Vec<u32> {
    version.split('.').map(|number| number.parse().unwrap()).chain([0, 0, 0]).take(3).collect()
}

#[test]
fn no_package_of_the_dependency_tree_declares_a_newer_rust() {
    let version = cargo(&["-vV"]);
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    // Only for this platform: packages for others need not be on this machine.
    let metadata = cargo(&["metadata", "--format-version=1", "--locked", "--filter-platform", host]);
    let metadata: Value = serde_json::from_str(&metadata).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let declared = |package: &Value| package["rust_version"].as_str().map(numbers);
    let ours = packages.iter().find(|package| package["name"] == "cloudflare-queues").and_then(declared).unwrap();
    let newer: Vec<_> = packages.iter().filter(|package| declared(package) > Some(ours.clone())).collect();
    assert!(newer.is_empty(), "{:?}", newer.iter().map(|package| &package["id"]).collect::<Vec<_>>());
}

#[test]
fn the_workflow_tries_the_declared_rust() {
    let declared = concat!(env!("CARGO_PKG_RUST_VERSION"), "\"]");
    let workflow = include_str!("../../.github/workflows/ci.yml");
    assert!(workflow.contains(&format!("toolchain: [stable, \"{declared}")), "{declared} is not tried");
}
