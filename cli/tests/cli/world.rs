//! An emulator in the test's process, and the program alongside it.

use std::{
    fs,
    io::{BufRead, BufReader, PipeReader, PipeWriter, Write},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    thread,
    time::{Duration, Instant},
};

use assert_cmd::Command;
use cloudflare_queues::{
    PushMessage, Queue, QueueId,
    emulator::{EmulatedQueue, Emulator, EmulatorBuilder, QueuedMessage},
    reqwest,
};
use rustix::{
    fs::{OFlags, fcntl_setfl},
    process::{Pid, Signal, kill_process},
};
use serde_json::Value;
use tokio::runtime::Runtime;

/// How long a busy machine may take for what is waited for. A test fails after it.
const PATIENCE: Duration = Duration::from_secs(600);

pub struct World {
    pub emulator: Emulator,
    pub runtime: Runtime,
}

impl World {
    pub fn new() -> Self {
        Self::of(Emulator::builder().real_time())
    }

    pub fn of(builder: EmulatorBuilder) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        Self { emulator: runtime.block_on(builder.start()).unwrap(), runtime }
    }

    /// One whose queue delivers messages so many times after the first one.
    pub fn retrying(max_retries: u32) -> Self {
        Self::of(Emulator::builder().real_time().queue(EmulatedQueue::new().max_retries(max_retries)))
    }

    pub fn variables(&self) -> [(&'static str, String); 3] {
        [
            ("CLOUDFLARE_BASE_URL", self.emulator.base_url()),
            ("CLOUDFLARE_API_TOKEN", self.emulator.api_token()),
            ("CLOUDFLARE_ACCOUNT_ID", self.emulator.account_id().to_string()),
        ]
    }

    /// The program, connected to the emulator.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = bare(arguments);
        command.envs(self.variables());
        command
    }

    /// The same, to be run alongside the test.
    pub fn program(&self, arguments: &[&str]) -> std::process::Command {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_cf-queues"));
        command.args(arguments).envs(self.variables()).stdin(Stdio::null());
        command
    }

    /// Standard output of a command that succeeds.
    pub fn run(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).assert().success().get_output().stdout.clone();
        String::from_utf8(output).unwrap()
    }

    /// Its lines, as JSON.
    pub fn objects(&self, arguments: &[&str]) -> Vec<Value> {
        objects(&self.run(arguments))
    }

    pub fn queue(&self) -> Queue {
        self.emulator.queue().unwrap()
    }

    /// The id of the queue that every emulator has.
    pub fn id(&self) -> &str {
        self.emulator.queue_id().as_str()
    }

    /// Another queue.
    pub fn other(&self) -> String {
        self.emulator.create_queue(EmulatedQueue::new()).to_string()
    }

    pub fn push(&self, messages: &[PushMessage]) {
        self.runtime.block_on(self.queue().push_all(messages)).unwrap();
    }

    /// What a Worker sends, of any content type. The emulator needs its control.
    pub fn send(&self, content_type: &str, body: &str) {
        let url = self.emulator.base_url().replace("/client/v4", "");
        let url = format!("{url}/_emulator/queues/{}/broker/message", self.id());
        let send = async {
            let request = reqwest::Client::new().post(url).header("x-msg-fmt", content_type).body(body.to_owned());
            request.send().await.unwrap().error_for_status().unwrap();
        };
        self.runtime.block_on(send);
    }

    pub fn push_numbers(&self, count: usize) {
        self.push(&(0..count).map(|number| PushMessage::text(number.to_string())).collect::<Vec<_>>());
    }

    pub fn messages(&self) -> Vec<QueuedMessage> {
        self.messages_of(self.id())
    }

    pub fn messages_of(&self, queue: &str) -> Vec<QueuedMessage> {
        self.emulator.messages(&QueueId::try_from(queue).unwrap())
    }

    pub fn texts(&self, queue: &str) -> Vec<String> {
        let messages = self.messages_of(queue);
        messages.iter().map(|message| message.body.text().unwrap().into_owned()).collect()
    }
}

/// Compares a text with a file below `tests`. To accept a new text: `UPDATE_TEXTS=1 cargo test -p cf-queues as_it_was`.
pub fn is_as_it_was(file: &str, text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(file);
    if std::env::var_os("UPDATE_TEXTS").is_some() {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, text).unwrap();
    }
    let before = fs::read_to_string(&file).unwrap_or_default();
    assert_eq!(text, before, "{}: UPDATE_TEXTS=1 takes it over", file.display());
}

pub fn objects(lines: &str) -> Vec<Value> {
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The program, without anything in its environment that is about Cloudflare.
pub fn bare(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cf-queues"));
    for (name, _) in std::env::vars_os()
        .filter(|(name, _)| ["CLOUDFLARE_", "CF_QUEUES_"].iter().any(|start| name.to_string_lossy().starts_with(start)))
    {
        command.env_remove(name);
    }
    command.args(arguments).timeout(PATIENCE);
    command
}

pub fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// Two signals: of different kinds, since two of one kind that arrive together count as one.
pub fn two_signals(child: &Child) {
    signal(child, Signal::TERM);
    signal(child, Signal::INT);
}

/// A hangup, unless it was ignored when these tests were started, as by `nohup`: then it stays ignored.
pub fn hangup() -> Option<Signal> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok());
    ignored.is_none_or(|signals| signals & 1 == 0).then_some(Signal::HUP)
}

/// The processor time that this script's programs take, with all that they start.
pub fn processor_time(command: &mut std::process::Command, script: &str) -> Duration {
    let output = command.args(["-c", &format!("{{ {script}; }} >/dev/null 2>&1; times")]).output().unwrap();
    let times = String::from_utf8(output.stdout).unwrap();
    // The second line is that of the programs, such as `0m0.120s 0m0.040s`.
    let times = times.lines().nth(1).unwrap().split_whitespace().map(|time| {
        let (minutes, seconds) = time.trim_end_matches('s').split_once('m').unwrap();
        60.0 * minutes.parse::<f64>().unwrap() + seconds.parse::<f64>().unwrap()
    });
    Duration::from_secs_f64(times.sum())
}

/// A pipe that is full, and has no reader who reads.
pub fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    fcntl_setfl(&writer, OFlags::NONBLOCK).unwrap();
    while writer.write(b"\n").is_ok() {}
    fcntl_setfl(&writer, OFlags::empty()).unwrap();
    (reader, writer)
}

/// The exit code, which comes sooner or later.
pub fn exit_code(child: &mut Child) -> Option<i32> {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        if started.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("it goes on");
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// Waits until this is so.
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < PATIENCE, "{what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// A folder of this test alone.
pub fn folder(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// A service that gives this result to each pull, one after the other, and then an empty one; and counts
/// acknowledgements. Returns its base URL.
pub fn scripted(results: Vec<Value>) -> String {
    scripted_with(results, serde_json::json!({ "backlog_count": 0 }))
}

/// The same, with these metrics.
pub fn scripted_with(results: Vec<Value>, metrics: Value) -> String {
    let results = std::sync::Mutex::new(results.into_iter());
    answering(move |operation, body| match operation {
        "pull" => results.lock().unwrap().next().unwrap_or_else(|| serde_json::json!({})),
        "ack" => serde_json::json!({
            "ackCount": body["acks"].as_array().map_or(0, Vec::len),
            "retryCount": body["retries"].as_array().map_or(0, Vec::len),
        }),
        "consumers" => serde_json::json!([{ "type": "http_pull", "dead_letter_queue": "failed" }]),
        "queues" => serde_json::json!([]),
        "metrics" => metrics.clone(),
        _ => serde_json::json!({}),
    })
}

/// A service whose results are those of a function of the last part of the path, and of the body. Returns its base URL.
pub fn answering(result: impl Fn(&str, &Value) -> Value + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/client/v4", listener.local_addr().unwrap());
    let result = std::sync::Arc::new(result);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, result) = (BufReader::new(stream.unwrap()), std::sync::Arc::clone(&result));
            thread::spawn(move || {
                while let Some((line, body)) = request(&mut stream) {
                    let path = line.split([' ', '?']).nth(1).unwrap();
                    let result = result(path.rsplit('/').next().unwrap(), &body);
                    let body = serde_json::json!({ "success": true, "result": result }).to_string();
                    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                    stream.get_mut().write_all(head.as_bytes()).unwrap();
                }
            });
        }
    });
    url
}

fn request(stream: &mut impl BufRead) -> Option<(String, Value)> {
    let mut first = String::new();
    stream.read_line(&mut first).ok().filter(|read| *read > 0)?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).ok()?;
        match line.trim_end().to_ascii_lowercase().split_once(": ") {
            Some(("content-length", value)) => length = value.parse().unwrap(),
            Some(_) => {}
            None => break,
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    Some((first, serde_json::from_slice(&body).unwrap_or_default()))
}
