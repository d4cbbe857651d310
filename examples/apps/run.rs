//! Runs the programs as a user would.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail")]

use std::process::Command;

#[test]
fn every_order_counts_once_although_it_is_pushed_twice() {
    let output = Command::new(env!("CARGO_BIN_EXE_sqlite")).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "1000 messages acknowledged, 1000 pieces sold\n");
}

#[test]
fn jobs_of_apalis_are_acknowledged_and_retried() {
    let output = Command::new(env!("CARGO_BIN_EXE_apalis")).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    // One job fails at each of the four deliveries that a queue makes by default.
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "acknowledged 9, retried 4\n");
}

#[cfg(unix)]
mod production {
    use std::{
        collections::BTreeSet,
        io::{BufRead, BufReader, Lines, Read, Write},
        net::TcpStream,
        process::{Child, ChildStdout, Command, Stdio},
        sync::{Arc, Mutex},
    };

    use cloudflare_queues::{
        PushMessage,
        emulator::{Emulator, Fault, Operation},
    };

    struct Production {
        child: Child,
        lines: Lines<BufReader<ChildStdout>>,
        address: String,
    }

    impl Production {
        /// With the account, the queue and the base URL in the environment.
        fn start(arguments: &[&str], account_id: &str, queue_id: &str, base_url: &str, expected: &str) -> Self {
            let mut command = Command::new(env!("CARGO_BIN_EXE_production"));
            command.args(arguments).env("LISTEN", "0.0.0.0:0").stdout(Stdio::piped()).stderr(Stdio::piped());
            command.env("CLOUDFLARE_API_TOKEN", "of-the-user").env("CLOUDFLARE_BASE_URL", base_url);
            command.env("CLOUDFLARE_ACCOUNT_ID", account_id).env("CLOUDFLARE_QUEUE_ID", queue_id);
            let mut child = command.spawn().unwrap();
            let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
            assert!(lines.next().unwrap().unwrap().ends_with(expected));
            let address = lines.next().unwrap().unwrap();
            let address = address.strip_prefix("http://0.0.0.0").unwrap();
            let address = format!("127.0.0.1{address}");
            let mut log = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
            let production = Self { child, lines, address };
            assert!(log.any(|line| line.contains("done")), "the handler logs");
            // What it logs later must not fill the pipe.
            std::thread::spawn(move || log.for_each(drop));
            production
        }

        fn get(&self, path: &str) -> String {
            let mut stream = TcpStream::connect(&self.address).unwrap();
            write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
            let mut response = String::new();
            stream.read_to_string(&mut response).unwrap();
            response
        }

        fn is(&self, path: &str, status: u16) -> bool {
            self.get(path).starts_with(&format!("HTTP/1.1 {status} "))
        }

        fn terminate(mut self) -> String {
            let id = self.child.id().to_string();
            assert!(Command::new("kill").args(["-s", "TERM", &id]).status().unwrap().success());
            let last = self.lines.next().unwrap().unwrap();
            assert!(self.child.wait().unwrap().success());
            last
        }
    }

    impl Drop for Production {
        /// It does not outlive a test that failed.
        fn drop(&mut self) {
            let _ = self.child.kill();
        }
    }

    #[test]
    fn production_serves_health_and_metrics_and_ends_on_sigterm() {
        // It stays on the emulator although the environment names a queue, and one that cannot be reached.
        let unreachable = "http://127.0.0.1:9/client/v4";
        let production = Production::start(&[], "of-the-user", "of-the-user", unreachable, " on an embedded emulator");
        let health = production.get("/readyz");
        assert!(health.starts_with("HTTP/1.1 200 ") && health.contains(r#""status":"working""#), "{health}");
        let metrics = loop {
            let metrics = production.get("/metrics");
            if metrics.contains("queue_backlog_messages{") {
                break metrics;
            }
        };
        let shows = |name: &str, value: &str| {
            let is_there = |line: &str| line.starts_with(name) && line.ends_with(value);
            assert!(metrics.lines().any(is_there), "{name}: {metrics}");
        };
        shows("messaging_client_consumed_messages_total{", " 1");
        // It is there although nothing of the kind has happened.
        shows("cloudflare_queues_consumer_lost_leases_total{", " 0");
        // Quantiles of several processes cannot be added up, but buckets can.
        shows("# TYPE messaging_process_duration_seconds", " histogram");
        // A metric is followed by its labels.
        let before = include_str!("grafana.json").split('{');
        let names = before.filter_map(|text| text.rsplit(|c: char| !c.is_ascii_lowercase() && c != '_').next());
        let names: BTreeSet<_> = names.filter(|name| !name.is_empty()).collect();
        assert!(names.len() > 20, "{names:?}");
        names.into_iter().for_each(|name| shows(&format!("{name}{{"), ""));
        assert_eq!(production.terminate(), "acknowledged 1, not confirmed 0");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_outage_makes_a_consumer_unready_but_restarts_nothing() {
        let emulator = Emulator::builder().api_token("of-the-user").start().await.unwrap();
        emulator.queue().unwrap().push(&PushMessage::text("hello")).await.unwrap();
        let operations = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&operations);
        emulator.on_request(move |request| seen.lock().unwrap().extend(request.operation));
        let (account_id, queue_id) = (emulator.account_id().as_str(), emulator.queue_id().as_str());
        let expected = " as the environment says";
        let production = Production::start(&["--real"], account_id, queue_id, &emulator.base_url(), expected);
        while !production.is("/readyz", 200) {}

        emulator.inject(Fault::ServerError(503).on(Operation::PullMessages).until_removed());
        while !production.is("/readyz", 503) {}
        assert!(production.is("/livez", 200));
        emulator.remove_faults();
        while !production.is("/readyz", 200) {}

        assert_eq!(production.terminate(), "acknowledged 1, not confirmed 0");
        assert!(!operations.lock().unwrap().contains(&Operation::PushMessage), "nothing is pushed to a real queue");
    }
}
