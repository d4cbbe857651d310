//! The features that only some applications use.

use std::{env, process::Command};

/// If the packages that `cargo test` selects enabled these features, cargo would build their dependencies for the
/// examples as well. So their tests run in a separate cargo.
#[test]
fn the_mocks_and_the_schemas_pass_their_tests() {
    for tests in [["--test", "features"], ["--doc", "mock"]] {
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()));
        cargo.args(["test", "-p", "cloudflare-queues", "-p", env!("CARGO_PKG_NAME"), "--features"]);
        let output = cargo.arg(concat!(env!("CARGO_PKG_NAME"), "/full")).args(tests).output().unwrap();
        let [stdout, stderr] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        assert!(output.status.success(), "{tests:?}: {}: {stderr}{stdout}", output.status);
        assert!(stdout.lines().any(|line| line.ends_with("... ok")), "{tests:?} ran nothing: {stdout}");
    }
}
