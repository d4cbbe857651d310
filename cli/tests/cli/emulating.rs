//! `emulator`.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    os::unix::fs::symlink,
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::world::{bare, eventually, folder, signal};

/// The program as an emulator, which ends with the test.
struct Serving {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Serving {
    fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cf-queues"));
        Self::of(command.args(["emulator", "--port", "0"]).args(arguments))
    }

    fn of(command: &mut Command) -> Self {
        Self::with_stdin(command, Stdio::null())
    }

    fn with_stdin(command: &mut Command, stdin: Stdio) -> Self {
        let mut child = command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, output }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "the emulator has ended");
        line
    }

    /// What it says of itself, on its first line.
    fn announced(&mut self) -> Value {
        serde_json::from_str(&self.line()).unwrap()
    }

    /// Ends it, and gives its exit code and what it wrote to standard error.
    fn end(mut self, by: Signal) -> (Option<i32>, String) {
        signal(&self.child, by);
        let mut errors = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
        (self.child.wait().unwrap().code(), errors)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A request without credentials, and the envelope of its response.
fn ask(announced: &Value, method: &str, path: &str, body: &Value) -> Value {
    let address = announced["url"].as_str().unwrap().strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    let (body, length) = (body.to_string(), body.to_string().len());
    let head = format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n");
    write!(stream, "{head}content-length: {length}\r\n\r\n{body}").unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    serde_json::from_str(response.split_once("\r\n\r\n").unwrap().1).unwrap()
}

/// The control's description of a queue.
fn queue(announced: &Value, name: &str) -> Value {
    let all = ask(announced, "GET", "/_emulator", &json!({}));
    let queues = all["result"]["queues"].as_array().unwrap();
    queues.iter().find(|queue| queue["queue_name"] == name).unwrap().clone()
}

#[test]
fn one_line_says_what_a_program_needs() {
    let mut serving = Serving::start(&["--queue", "orders,dead_letter_queue=orders-dead"]);
    let announced = serving.announced();
    let run = |arguments: &[&str]| {
        let mut command = bare(arguments);
        for (variable, field) in [
            ("CLOUDFLARE_BASE_URL", "base_url"),
            ("CLOUDFLARE_API_TOKEN", "api_token"),
            ("CLOUDFLARE_ACCOUNT_ID", "account_id"),
        ] {
            command.env(variable, announced[field].as_str().unwrap());
        }
        String::from_utf8(command.assert().success().get_output().stdout.clone()).unwrap()
    };
    run(&["push", "orders", "hello"]);
    assert!(run(&["peek", announced["queues"]["orders"].as_str().unwrap(), "--bodies"]).contains("hello"));
    assert!(run(&["ls"]).contains(announced["queues"]["orders-dead"].as_str().unwrap()), "made since it is named");
    assert_eq!(ask(&announced, "GET", "/health", &json!({}))["result"]["status"], "ok");
}

#[test]
fn no_certificates_are_needed() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cf-queues"));
    // Here, the system has none.
    let none = folder("emulator-no-certificates");
    command.env("SSL_CERT_FILE", none.join("none.pem")).env("SSL_CERT_DIR", &none);
    let mut serving = Serving::of(command.args(["emulator", "--port", "0"]));
    let announced = serving.announced();
    assert_eq!(ask(&announced, "GET", "/health", &json!({}))["result"]["status"], "ok");
    let mut client = bare(&["peek", "queue-1", "--base-url", announced["base_url"].as_str().unwrap()]);
    client.env("CLOUDFLARE_API_TOKEN", "emulator-token").env("SSL_CERT_FILE", none.join("none.pem"));
    client.env("CLOUDFLARE_ACCOUNT_ID", announced["account_id"].as_str().unwrap()).env("SSL_CERT_DIR", &none);
    client.assert().success();
}

#[test]
fn it_ends_at_once_on_sigterm_and_on_ctrl_c() {
    for by in [Signal::TERM, Signal::INT] {
        let file = folder("emulator-ends").join("emulator.env");
        let mut serving = Serving::start(&["--write-env", file.to_str().unwrap()]);
        let announced = serving.announced();
        assert!(file.exists());
        // Somebody waits for a response, for longer than this test waits for the end.
        let fault = json!({ "fault": "delay", "seconds": 86_400 });
        assert_eq!(ask(&announced, "POST", "/_emulator/faults", &fault)["success"], true);
        let mut waiting =
            TcpStream::connect(announced["url"].as_str().unwrap().strip_prefix("http://").unwrap()).unwrap();
        let head = "POST /client/v4/accounts/x/queues/y/messages/pull HTTP/1.1\r\nhost: x\r\n";
        write!(waiting, "{head}authorization: Bearer emulator-token\r\ncontent-length: 0\r\n\r\n").unwrap();
        eventually("it is received", || ask(&announced, "GET", "/_emulator", &json!({}))["result"]["faults"] == 0);
        assert_eq!(serving.end(by), (Some(0), String::new()));
        assert!(!file.exists(), "nobody is to take it for one that serves");
    }
}

#[test]
fn shells_read_the_variables_as_printed_and_as_written() {
    let file = folder("emulator-env").join("emulator.env");
    let queues = ["--queue", "orders", "--queue", "mails-2", "--write-env", file.to_str().unwrap()];
    let mut serving = Serving::start(&[&["--env"], &queues[..]].concat());
    let mut printed = String::new();
    while !printed.contains("CLOUDFLARE_QUEUE_ID_MAILS_2") {
        printed.push_str(&serving.line());
    }
    let written = fs::read_to_string(&file).unwrap();
    assert_eq!(printed, written.lines().map(|line| format!("export {line}\n")).collect::<String>());
    let shell = |lines: &str, name: &str| {
        let script = format!("{lines}printenv {name}");
        let output = Command::new("sh").args(["-c", &script]).env_clear().output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(shell(&printed, "CLOUDFLARE_QUEUE_ID"), shell(&printed, "CLOUDFLARE_QUEUE_ID_ORDERS"));
    assert_eq!(shell(&printed, "CLOUDFLARE_API_TOKEN"), "emulator-token\n");
    assert!(shell(&printed, "CLOUDFLARE_API_BASE_URL").ends_with("/client/v4\n"));
}

#[test]
fn a_file_sets_queues_as_arguments_do() {
    let file = folder("emulator-config").join("queues.toml");
    let text = r#"
        [[queues]]
        name = "orders"
        delivery_delay = 5
        delivery_paused = true
        message_retention_period = 3600
        visibility_timeout_ms = 1500
        max_retries = 0
        retry_delay = 7
        dead_letter_queue = "failed"

        [[queues]]
        name = "failed"
    "#;
    fs::write(&file, text).unwrap();
    let argument = "orders,delivery_delay=5,delivery_paused=true,message_retention_period=3600,\
                    visibility_timeout_ms=1500,max_retries=0,retry_delay=7,dead_letter_queue=failed";
    for arguments in [["--config", file.to_str().unwrap()], ["--queue", argument]] {
        let mut serving = Serving::start(&arguments);
        let announced = serving.announced();
        assert_eq!(announced["queues"].as_object().unwrap().len(), 2, "nothing but these");
        let expected = json!({
            "http_pull": true,
            "delivery_delay": 5.0,
            "delivery_paused": true,
            "message_retention_period": 3600.0,
            "visibility_timeout_ms": 1500.0,
            "max_retries": 0,
            "retry_delay": 7.0,
            "dead_letter_queue": "failed",
        });
        assert_eq!(queue(&announced, "orders")["settings"], expected);
        assert_eq!(queue(&announced, "failed")["settings"]["max_retries"], 3);
    }
}

/// What is wrong, as it is told with exit code 2.
fn complaint(arguments: &[&str]) -> String {
    complaint_with_code(2, arguments)
}

fn complaint_with_code(code: i32, arguments: &[&str]) -> String {
    let assert = bare(&[&["emulator", "--port", "0"], arguments].concat()).assert().code(code);
    assert!(assert.get_output().stdout.is_empty());
    String::from_utf8(assert.get_output().stderr.clone()).unwrap()
}

#[test]
fn a_queue_that_cannot_be_read_is_named() {
    for (argument, named) in [
        ("orders,max_retrys=1", "max_retrys"),
        ("orders,max_retries=many", "max_retries"),
        ("orders,max_retries=-1", "max_retries"),
        ("orders,max_retries=101", "max_retries"),
        ("orders,message_retention_period=59", "message_retention_period"),
        ("orders,delivery_delay=86401", "delivery_delay"),
        ("orders,delivery_paused=1", "delivery_paused"),
        ("orders,id=a/b", "id"),
        ("orders,max_retries", "max_retries"),
        ("orders,max_retries=1,max_retries=2", "`max_retries` is given twice"),
        ("orders,dead_letter_queue=orders", "dead_letter_queue"),
        ("Orders", "`Orders`"),
        ("", "``"),
    ] {
        let told = complaint(&["--queue", argument]);
        assert!(told.contains(named) && told.contains("--queue"), "{argument}: {told}");
        assert_eq!(told.lines().count(), 1, "{told}");
    }
    assert!(complaint(&["--queue", "orders", "--queue", "orders"]).contains("`orders` is listed twice"));
}

#[test]
fn a_file_that_cannot_be_read_is_named_with_the_line() {
    let file = folder("emulator-wrong").join("queues.toml");
    for (text, named) in [
        ("[[queues]]\nname = \"orders\"\nmax_retrys = 1\n", "max_retrys"),
        ("[[queues]]\nmax_retries = 1\n", "name"),
        ("[[queue]]\nname = \"orders\"\n", "queue"),
        ("queues = []\n", "`queues`"),
        ("[[queues]\n", "1"),
        ("", "queues"),
    ] {
        fs::write(&file, text).unwrap();
        let told = complaint(&["--config", file.to_str().unwrap()]);
        assert!(told.contains(named) && told.contains("queues.toml"), "{text}: {told}");
    }
    let missing = Path::new("/nonexistent/queues.toml");
    assert!(complaint(&["--config", missing.to_str().unwrap()]).contains("/nonexistent/queues.toml"));
    assert!(complaint(&["--config", "x.toml", "--queue", "orders"]).contains("--queue"));
}

#[test]
fn the_behavior_is_set_by_switches_and_by_a_file() {
    let file = folder("emulator-behavior").join("queues.toml");
    fs::write(&file, "[[queues]]\nname = \"orders\"\n[behavior]\nlate_acks = false\nmax_lease = 90\n").unwrap();
    let switches = ["--behavior", "warnings=list", "--behavior", "max_lease=60.5", "--behavior", "large_requests"];
    let mut serving = Serving::start(&[&["--config", file.to_str().unwrap()], &switches[..]].concat());
    let shown = ask(&serving.announced(), "GET", "/_emulator/behavior", &json!({}))["result"].take();
    let set = ["late_acks", "warnings", "max_lease", "large_requests"].map(|name| shown[name].clone());
    assert_eq!(set, [json!(false), json!("list"), json!(60.5), json!(true)]);
    for (switch, named) in [("late_ack=true", "`late_acks`"), ("warnings=table", "`map`"), ("counts=7", "counts=7")] {
        let told = complaint(&["--behavior", switch]);
        assert!(told.contains(named) && told.contains("--behavior"), "{told}");
    }
}

#[test]
fn account_token_queue_ids_and_messages_are_chosen() {
    let file = folder("emulator-identity").join("queues.toml");
    let text = r#"
        [[queues]]
        name = "orders"
        id = "0123456789abcdef0123456789abcdef"
        messages = [
            { body = "a string", attempts = 2 },
            { body = { n = 1 }, age = 60, times = 2 },
            { body = "AP8=", content_type = "bytes", delay = 60 },
        ]
    "#;
    fs::write(&file, text).unwrap();
    let (account, other) = ("1".repeat(32), "2".repeat(32));
    let tokens = ["--token", "first", "--token", &format!("{other}=second")];
    let identity = ["--account", &account, "--config", file.to_str().unwrap(), "--host", "localhost"];
    let mut serving = Serving::start(&[&identity, &tokens[..]].concat());
    let announced = serving.announced();
    assert_eq!(announced["account_id"], account);
    assert_eq!(announced["api_token"], "first");
    assert_eq!(announced["queues"]["orders"], "0123456789abcdef0123456789abcdef");
    let counts = queue(&announced, "orders");
    assert_eq!((&counts["visible"], &counts["delayed"]), (&json!(3), &json!(1)));
    for (token, account, code) in [
        ("first", &account, 0),
        ("first", &other, 0),
        ("second", &other, 0),
        ("second", &account, 4),
        ("third", &account, 4),
    ] {
        let mut command = bare(&["ls", "--account", account, "--base-url", announced["base_url"].as_str().unwrap()]);
        command.env("CLOUDFLARE_API_TOKEN", token).assert().code(code);
    }
    let emptied = ask(&announced, "POST", "/_emulator/reset", &json!({}))["result"]["queues"].take();
    assert_eq!((emptied.as_array().unwrap().len(), &emptied[0]["queue_id"]), (1, &announced["queues"]["orders"]));
    let announced = Serving::start(&tokens[2..]).announced();
    assert_eq!(announced["api_token"], "emulator-token");
    let mut any = Serving::start(&["--token", "any", "--queue", "orders,id=12345678901234567890123456789012"]);
    let announced = any.announced();
    let account = announced["account_id"].as_str().unwrap();
    let mut command = bare(&["ls", "--account", account, "--base-url", announced["base_url"].as_str().unwrap()]);
    let listed = command.env("CLOUDFLARE_API_TOKEN", "any-token").assert().success().get_output().stdout.clone();
    assert!(String::from_utf8(listed).unwrap().contains("12345678901234567890123456789012"));
}

#[test]
fn an_address_that_is_taken_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let assert = bare(&["emulator", "--port", &port]).assert().code(2);
    assert!(String::from_utf8_lossy(&assert.get_output().stderr).contains(&port));
}

#[test]
fn the_last_emulator_owns_the_env_file() {
    let file = folder("emulator-two").join("emulator.env");
    let path = file.to_str().unwrap();
    fs::write(&file, "stale").unwrap();
    let mut first = Serving::start(&["--write-env", path]);
    let port = first.announced()["url"].as_str().unwrap().rsplit(':').next().unwrap().to_owned();
    let has_port = |port: &str| fs::read_to_string(&file).unwrap().contains(&format!(":{port}/"));
    assert!(has_port(&port), "the stale file is replaced");
    bare(&["emulator", "--port", &port, "--write-env", path]).assert().code(2);
    assert!(has_port(&port), "one that cannot serve leaves the file");
    let mut second = Serving::start(&["--write-env", path]);
    let port = second.announced()["url"].as_str().unwrap().rsplit(':').next().unwrap().to_owned();
    assert_eq!(first.end(Signal::TERM), (Some(0), String::new()));
    assert!(has_port(&port), "the first one leaves what the second one wrote");
    assert_eq!(second.end(Signal::TERM), (Some(0), String::new()));
    assert!(!file.exists());
}

#[test]
fn frozen_clocks_only_advance_and_requests_are_logged_if_wanted() {
    let mut serving = Serving::start(&["--frozen", "--log", "--host", "0.0.0.0"]);
    let announced = serving.announced();
    assert!(announced["url"].as_str().unwrap().starts_with("http://127.0.0.1:"), "an address to connect to");
    let now = || ask(&announced, "GET", "/_emulator", &json!({}))["result"]["now_ms"].as_u64().unwrap();
    let before = now();
    assert_eq!(ask(&announced, "POST", "/_emulator/advance", &json!({ "seconds": 90 }))["success"], true);
    assert_eq!(now() - before, 90_000);
    ask(&announced, "POST", "/client/v4/accounts/x/queues?name=s3cret", &json!({}));
    let (code, log) = serving.end(Signal::TERM);
    let lines: Vec<_> = log.lines().map(|line| line.split_once(' ').unwrap().1).collect();
    assert_eq!(code, Some(0));
    assert!(lines[0].starts_with("POST /_emulator/advance 200 "), "{log}");
    assert!(lines[1].starts_with("POST /client/v4/accounts/x/queues 401 "), "{log}");
    assert!(lines[1].ends_with(": authentication error (10000)") && lines.len() == 2, "{log}");
}

#[test]
fn a_log_for_programs_has_an_object_for_each_request() {
    let mut serving = Serving::start(&["--log", "json"]);
    let announced = serving.announced();
    let path = format!("/client/v4/accounts/{}/queues", announced["account_id"].as_str().unwrap());
    ask(&announced, "POST", &path, &json!({}));
    let (_, log) = serving.end(Signal::TERM);
    let line: Value = serde_json::from_str(&log).unwrap();
    assert_eq!((&line["status"], &line["code"], &line["path"]), (&json!(401), &json!(10000), &json!(path)));
}

#[test]
fn it_ends_with_standard_input_if_wanted() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cf-queues"));
    command.args(["emulator", "--port", "0", "--exit-with-stdin"]);
    let mut serving = Serving::with_stdin(&mut command, Stdio::piped());
    let announced = serving.announced();
    assert_eq!(ask(&announced, "GET", "/health", &json!({}))["result"]["status"], "ok");
    drop(serving.child.stdin.take());
    assert_eq!(serving.child.wait().unwrap().code(), Some(0));
    // Without it, and with an input that has ended, it serves.
    let mut other = Serving::start(&[]);
    let announced = other.announced();
    assert_eq!(ask(&announced, "GET", "/health", &json!({}))["result"]["status"], "ok");
}

#[test]
fn the_url_of_clients_is_announced() {
    let mut serving = Serving::start(&["--public-url", "http://queues:8790/"]);
    let announced = serving.announced();
    assert_eq!(announced["url"], "http://queues:8790");
    assert_eq!(announced["base_url"], "http://queues:8790/client/v4");
}

#[test]
fn health_is_asked_without_a_shell() {
    let mut serving = Serving::start(&[]);
    let url = serving.announced()["url"].as_str().unwrap().to_owned();
    bare(&["emulator", "--health", &url]).assert().success();
    bare(&["emulator", "--health", &format!("{url}/client/v4")]).assert().success();
    assert_eq!(serving.end(Signal::TERM).0, Some(0));
    bare(&["emulator", "--health", &url]).assert().code(6);
    for wrong in ["https://localhost", "localhost:8790", "http://"] {
        assert!(complaint(&["--health", wrong]).contains("--health"));
    }
}

#[test]
fn settings_are_read_from_variables() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cf-queues"));
    command.arg("emulator").envs([
        ("CF_QUEUES_EMULATOR_PORT", "0"),
        ("CF_QUEUES_EMULATOR_QUEUES", "orders,max_retries=1 failed"),
        ("CF_QUEUES_EMULATOR_BEHAVIOR", "counts=false max_lease=60"),
        ("CF_QUEUES_EMULATOR_TOKENS", "from-a-variable"),
        ("CF_QUEUES_EMULATOR_FROZEN", "1"),
    ]);
    let mut serving = Serving::of(&mut command);
    let announced = serving.announced();
    assert_eq!(
        (announced["queues"].as_object().unwrap().len(), &announced["api_token"]),
        (2, &json!("from-a-variable"))
    );
    let behavior = ask(&announced, "GET", "/_emulator/behavior", &json!({}))["result"].take();
    assert_eq!((&behavior["counts"], &behavior["max_lease"]), (&json!(false), &json!(60.0)));
    let now = || ask(&announced, "GET", "/_emulator", &json!({}))["result"]["now_ms"].clone();
    assert_eq!(now(), now());
}

#[test]
fn a_variable_with_more_spaces_than_needed_is_read() {
    for (text, queues) in [(" orders   failed ", 2), ("", 1), (" ", 1)] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cf-queues"));
        command.args(["emulator", "--port", "0"]).env("CF_QUEUES_EMULATOR_QUEUES", text);
        command.env("CF_QUEUES_EMULATOR_BEHAVIOR", "").env("CF_QUEUES_EMULATOR_TOKENS", "");
        let announced = Serving::of(&mut command).announced();
        assert_eq!(announced["queues"].as_object().unwrap().len(), queues, "{text:?}");
        assert_eq!(announced["api_token"], "emulator-token");
    }
}

#[test]
fn tokens_accounts_and_urls_that_cannot_be_meant_are_refused() {
    for (arguments, named) in [
        (&["--token", "a", "--token", "b"][..], "ACCOUNT=TOKEN"),
        (&["--token", "a/b=token"], "--token: account_id"),
        (&["--token", "=token"], "--token: account_id"),
        (&["--account", "a/b"], "--account: account_id"),
        (&["--public-url", ""], "--public-url"),
        (&["--public-url", "ftp://queues"], "--public-url"),
        (&["--public-url", "http://queues $(id)"], "--public-url"),
        (&["--public-url", "http://me:s3cret@queues:8790"], "--public-url"),
        (&["--health", "http://me:s3cret@127.0.0.1:9"], "--health"),
        (&["--health", "https://127.0.0.1:9/s3cret"], "--health"),
    ] {
        let told = complaint(arguments);
        assert!(told.contains(named) && told.lines().count() == 1, "{arguments:?}: {told}");
        assert!(!told.contains("s3cret"), "{arguments:?}: {told}");
    }
}

#[test]
fn a_shell_gets_a_token_with_special_characters_as_it_is() {
    let token = "a'b;$(exit)";
    let mut serving = Serving::start(&["--env", "--token", token]);
    // The third is that of the token.
    let printed: String = (0..3).map(|_| serving.line()).collect();
    let script = format!("{printed}printf %s \"$CLOUDFLARE_API_TOKEN\"");
    let output = Command::new("sh").args(["-c", &script]).output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), token);
}

#[test]
fn a_file_for_queues_has_one_emulator() {
    let file = folder("emulator-locked").join("state");
    let path = file.to_str().unwrap();
    let variables = file.with_file_name("emulator.env");
    let options = ["--persist", path, "--write-env", variables.to_str().unwrap()];
    let mut first = Serving::start(&options);
    let announced = first.announced();
    assert!(complaint_with_code(1, &options).contains("another emulator"));
    complaint(&["--token", "a/b=token", "--write-env", variables.to_str().unwrap()]);
    assert!(variables.exists(), "the file of the one that serves stays");
    assert_eq!(ask(&announced, "GET", "/health", &json!({}))["result"]["status"], "ok");
    first.child.kill().unwrap();
    first.child.wait().unwrap();
    Serving::start(&["--persist", path]).announced();
    // A device would be replaced by a file. Here, at most the link is.
    let link = file.with_file_name("device");
    let _ = fs::remove_file(&link);
    symlink("/dev/null", &link).unwrap();
    let told = complaint_with_code(1, &["--persist", link.to_str().unwrap()]);
    assert!(told.contains("not a regular file"), "{told}");
}

#[test]
fn options_of_a_client_are_refused() {
    assert!(complaint(&["--base-url", "http://localhost:1/client/v4"]).contains("--public-url"));
    assert!(complaint(&["--plain-http"]).contains("--public-url"));
}

#[test]
fn a_bridge_to_wrangler_that_cannot_start_says_what_to_do() {
    // Without wrangler in node_modules here or above.
    let folder = std::env::temp_dir();
    let refused = |arguments: &[&str]| {
        let output = bare(&["emulator", "--port", "0"]).args(arguments).current_dir(&folder).assert().failure();
        String::from_utf8(output.get_output().stderr.clone()).unwrap()
    };
    let told = refused(&["--wrangler"]);
    assert!(told.contains("`npm install --save-dev wrangler`") || told.contains("Node.js is needed"), "{told}");
    let told = refused(&["--queue", "jobs", "--wrangler", "--deliver", "orders"]);
    assert_eq!(told, "cf-queues: --deliver orders: the emulator has no such queue\n");
    assert!(refused(&["--deliver", "queue-1"]).contains("--wrangler"));
}

#[cfg(target_os = "linux")]
#[test]
fn memory_is_given_back_after_a_purge() {
    let mut serving = Serving::start(&[]);
    let announced = serving.announced();
    let status = format!("/proc/{}/status", serving.child.id());
    let resident = || {
        let status = fs::read_to_string(&status).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap().trim();
        line.split(' ').next().unwrap().parse::<u64>().unwrap()
    };
    let before = resident();
    let seeds = json!({ "messages": [{ "body": "x", "times": 100_000 }] });
    ask(&announced, "POST", "/_emulator/queues/queue-1/messages", &seeds);
    let full = resident();
    assert!(full > before + 10_000, "{before} KB, then {full} KB");
    ask(&announced, "POST", "/_emulator/queues/queue-1/purge", &json!({}));
    // Any request after a while does it.
    eventually("it is given back", || {
        ask(&announced, "GET", "/_emulator", &json!({}));
        resident() < before + (full - before) / 2
    });
}

#[test]
fn queues_survive_a_kill_if_they_are_kept() {
    let file = folder("emulator-persist").join("state");
    let _ = fs::remove_file(&file);
    let arguments = ["--persist", file.to_str().unwrap(), "--queue", "orders,max_retries=5,dead_letter_queue=failed"];
    let mut serving = Serving::start(&arguments);
    let first = serving.announced();
    ask(&first, "POST", "/_emulator/queues/orders/messages", &json!({ "messages": [{ "body": "kept", "times": 3 }] }));
    serving.child.kill().unwrap();
    serving.child.wait().unwrap();
    let mut serving = Serving::start(&[&arguments[..2], &["--queue", "orders,max_retries=7"]].concat());
    let second = serving.announced();
    assert_eq!(second["queues"]["orders"], first["queues"]["orders"]);
    let orders = queue(&second, "orders");
    assert_eq!((&orders["visible"], &orders["settings"]["max_retries"]), (&json!(3), &json!(7)));
    queue(&second, "failed");
    assert_eq!(serving.end(Signal::TERM).0, Some(0));
    fs::write(&file, "{}\n").unwrap();
    let told = complaint_with_code(1, &["--persist", file.to_str().unwrap()]);
    assert!(told.contains("--persist") && told.contains("line 1"), "{told}");
}
