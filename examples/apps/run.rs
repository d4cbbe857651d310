//! Runs the programs as a user would.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail")]

use std::process::Command;

#[test]
fn every_order_is_written_once() {
    let output = Command::new(env!("CARGO_BIN_EXE_sqlite")).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "1000 rows, 1000 messages acknowledged\n");
}

#[cfg(unix)]
#[test]
fn a_consumer_in_production_shows_its_health_and_ends_on_sigterm() {
    use std::{
        io::{BufRead, BufReader, Read, Write},
        net::TcpStream,
        process::{Child, Stdio},
    };

    /// Does not outlive a test that failed.
    struct Running(Child);
    impl Drop for Running {
        fn drop(&mut self) {
            let _ = self.0.kill();
        }
    }

    let mut command = Command::new(env!("CARGO_BIN_EXE_production"));
    // It stays on the emulator although the environment names a queue, and one that cannot be reached.
    for name in ["CLOUDFLARE_API_TOKEN", "CLOUDFLARE_ACCOUNT_ID", "CLOUDFLARE_QUEUE_ID"] {
        command.env(name, "of-the-user");
    }
    command.env("CLOUDFLARE_BASE_URL", "http://127.0.0.1:9/client/v4");
    command.env("PORT", "0").stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = Running(command.spawn().unwrap());
    let mut lines = BufReader::new(child.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut log = BufReader::new(child.0.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.next().unwrap().ends_with(" on an embedded emulator"));
    let address = lines.next().unwrap().strip_prefix("http://").unwrap().to_owned();
    assert!(log.any(|line| line.contains("done")), "the handler logs");

    let get = |path: &str| {
        let mut stream = TcpStream::connect(&address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        response
    };
    let health = get("/healthz");
    assert!(health.starts_with("HTTP/1.1 200 ") && health.contains(r#""status":"working""#), "{health}");
    assert!(get("/metrics").contains("queue_messages_pulled_total 1\n"));

    assert!(Command::new("kill").args(["-s", "TERM", &child.0.id().to_string()]).status().unwrap().success());
    assert_eq!(lines.next().as_deref(), Some("acknowledged 1, not confirmed 0"));
    assert!(child.0.wait().unwrap().success());
}
