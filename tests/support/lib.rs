//! Shared by the tests: a server that follows a script, byte by byte, and records requests; and the operations.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used, reason = "a test may fail")]

mod operations;
pub mod recorded;

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use cloudflare_queues::{AckRequest, Client, ClientBuilder, Credentials, Queue, RetryPolicy};
use serde_json::Value;

pub use operations::{Given, Op};

pub const ACCOUNT: &str = "023e105f4ecef8ad9ca31a8372d0c353";
pub const QUEUE: &str = "b01b5594f784d0165c2985833f5660dd";
pub const TOKEN: &str = "t0ken-that-nobody-may-see";
pub const RAY: &str = "8f1c2d3e4f5a6b7c-FRA";

/// What the server does with one request.
#[derive(Clone, Debug)]
pub enum Act {
    /// Sends these bytes, and waits for the next request.
    Respond(Vec<u8>),
    /// Sends these bytes, and closes the connection.
    Cut(Vec<u8>),
    /// Sends these bytes, and nothing more.
    Stall(Vec<u8>),
    /// Sends these bytes, and then one space after another.
    Drip(Vec<u8>),
    /// Resets the connection.
    Reset,
    /// Sends these bytes, and then as many more as the client accepts, up to this number.
    Flood(Vec<u8>, usize),
}

impl Act {
    /// The result of a list is a list. An empty list is as long as an empty object.
    fn fit_for(self, request: &Request) -> Self {
        let path = request.line.split([' ', '?']).nth(1).unwrap_or_default();
        let is_list = request.line.starts_with("GET ")
            && ["/queues", "/consumers", "/subscriptions"].iter().any(|list| path.ends_with(list));
        let fit = |bytes: Vec<u8>| match String::from_utf8(bytes) {
            Ok(text) if is_list => text.replace(r#""result":{}"#, r#""result":[]"#).into_bytes(),
            Ok(text) => text.into_bytes(),
            Err(error) => error.into_bytes(),
        };
        match self {
            Self::Respond(bytes) => Self::Respond(fit(bytes)),
            Self::Cut(bytes) => Self::Cut(fit(bytes)),
            other => other,
        }
    }
}

/// A request as it was received.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    pub line: String,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Request {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Leaves the last byte unread, since a socket that is closed with unread data is reset.
    fn read(stream: &mut TcpStream) -> io::Result<Self> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r") {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            head.extend(byte);
        }
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        let line = lines.next().unwrap().to_owned();
        let headers: BTreeMap<_, _> = lines
            .map(|line| line.split_once(": ").unwrap())
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        // The last byte may be that of the head.
        let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        if let Some(end) = length.checked_sub(1) {
            stream.read_exact(&mut [0])?;
            stream.read_exact(&mut body[..end])?;
            stream.peek(&mut body[end..])?;
        } else {
            stream.peek(&mut [0])?;
        }
        Ok(Self { line, headers, body })
    }
}

/// An HTTP server on loopback that can misbehave.
pub struct Server {
    pub url: String,
    seen: Arc<Seen>,
    floods: Mutex<mpsc::Receiver<usize>>,
}

/// How many requests have arrived, for a thread that waits for the next one.
#[derive(Default)]
pub struct Arrivals {
    count: Mutex<usize>,
    changed: Condvar,
}

impl Arrivals {
    pub fn add(&self) {
        *self.count.lock().unwrap() += 1;
        self.changed.notify_all();
    }

    pub fn count(&self) -> usize {
        *self.count.lock().unwrap()
    }

    /// Blocks until there are more than this number. Ten minutes without one are left to the test to judge.
    pub fn wait_beyond(&self, count: usize) {
        let lock = self.count.lock().unwrap();
        let _ = self.changed.wait_timeout_while(lock, Duration::from_secs(600), |now| *now <= count).unwrap();
    }
}

/// The result of a call that gets no response. The clock stands still until its request has arrived, and then passes at
/// once: a timeout of any length takes no time, and none is too short for a busy machine. For runtimes of one thread.
pub async fn unanswered<F: Future>(arrivals: &Arc<Arrivals>, call: F) -> F::Output {
    tokio::time::pause();
    let (arrivals, before) = (Arc::clone(arrivals), arrivals.count());
    // The clock of tokio does not advance while a blocking task runs.
    let arriving = tokio::task::spawn_blocking(move || arrivals.wait_beyond(before));
    let result = call.await;
    arriving.await.unwrap();
    tokio::time::resume();
    result
}

#[derive(Default)]
struct Seen {
    arrivals: Arc<Arrivals>,
    instead: Mutex<Option<Act>>,
    connections: AtomicUsize,
    requests: Mutex<Vec<Request>>,
}

/// The folders with what was recorded, each by one probe.
pub fn recordings() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/recorded");
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.is_dir()).collect()
}

impl Server {
    /// Plays one act per request, and repeats the last one.
    pub fn playing(acts: impl Into<Vec<Act>>) -> Self {
        let acts = acts.into();
        Self::start(move |nth, _| acts[nth.min(acts.len() - 1)].clone())
    }

    /// Asks `script` what to do with each request; the first has number 0.
    pub fn start(script: impl Fn(usize, &Request) -> Act + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (seen, script) = (Arc::new(Seen::default()), Arc::new(script));
        let (flooded, floods) = mpsc::channel();
        let server = Self { url, seen: Arc::clone(&seen), floods: Mutex::new(floods) };
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                seen.connections.fetch_add(1, Ordering::SeqCst);
                let (seen, script, flooded) = (Arc::clone(&seen), Arc::clone(&script), flooded.clone());
                thread::spawn(move || serve(stream, &seen, script.as_ref(), &flooded));
            }
        });
        server
    }

    /// From now on, plays this act for every request, and counts from zero. Clients are expensive, so tables share one.
    pub fn play(&self, act: Act) {
        *self.seen.instead.lock().unwrap() = Some(act);
        self.seen.requests.lock().unwrap().clear();
    }

    pub fn arrivals(&self) -> Arc<Arrivals> {
        Arc::clone(&self.seen.arrivals)
    }

    pub fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    pub fn requests(&self) -> Vec<Request> {
        self.seen.requests.lock().unwrap().clone()
    }

    /// How many bytes the client accepted in a flood, once it is over.
    pub fn flooded(&self) -> usize {
        self.floods.lock().unwrap().recv_timeout(Duration::from_secs(600)).unwrap()
    }
}

fn serve(
    mut stream: TcpStream,
    seen: &Seen,
    script: &dyn Fn(usize, &Request) -> Act,
    flooded: &mpsc::Sender<usize>,
) -> io::Result<()> {
    loop {
        let request = Request::read(&mut stream)?;
        let nth = {
            let mut requests = seen.requests.lock().unwrap();
            requests.push(request.clone());
            requests.len() - 1
        };
        seen.arrivals.add();
        let instead = seen.instead.lock().unwrap().clone();
        let act = instead.unwrap_or_else(|| script(nth, &request)).fit_for(&request);
        if matches!(act, Act::Reset) {
            return Ok(());
        }
        stream.read_exact(&mut [0])?;
        match act {
            Act::Respond(bytes) => stream.write_all(&bytes)?,
            Act::Cut(bytes) => return stream.write_all(&bytes),
            Act::Stall(bytes) => {
                stream.write_all(&bytes)?;
                return stream.read_exact(&mut [0]);
            }
            Act::Drip(bytes) => {
                stream.write_all(&bytes)?;
                loop {
                    thread::sleep(Duration::from_millis(10));
                    stream.write_all(b" ")?;
                }
            }
            Act::Flood(head, size) => {
                stream.write_all(&head)?;
                let (chunk, mut written) = ([b' '; 1 << 16], 0);
                while written < size && stream.write_all(&chunk).is_ok() {
                    written += chunk.len();
                }
                let _ = flooded.send(written);
                return Ok(());
            }
            Act::Reset => {}
        }
    }
}

/// A response with a ray id.
pub fn response(status: u16, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Vec<u8> {
    let length = body.as_ref().len();
    let mut bytes = format!("HTTP/1.1 {status} Status\r\ncf-ray: {RAY}\r\ncontent-length: {length}\r\n").into_bytes();
    for (name, value) in headers {
        bytes.extend(format!("{name}: {value}\r\n").into_bytes());
    }
    bytes.extend(b"\r\n");
    bytes.extend(body.as_ref());
    bytes
}

/// A response that closes its connection before it is complete.
pub fn cut_off(status: u16, body: &str) -> Act {
    let mut bytes = response(status, &[], body);
    bytes.truncate(bytes.len() - body.len() / 2);
    Act::Cut(bytes)
}

pub fn ok(body: impl AsRef<[u8]>) -> Act {
    Act::Respond(response(200, &[("content-type", "application/json")], body))
}

/// A refusal with a code.
pub fn refused(status: u16, code: i64) -> Act {
    let body =
        format!(r#"{{"success":false,"errors":[{{"code":{code},"message":"no"}}],"messages":[],"result":null}}"#);
    Act::Respond(response(status, &[("content-type", "application/json")], body))
}

/// A minimal success, for any operation.
pub fn bare_success() -> Act {
    ok(r#"{"success":true,"result":{}}"#)
}

pub fn builder(url: &str) -> ClientBuilder {
    Client::builder(Credentials::api_token(TOKEN).unwrap()).base_url(url).retry(RetryPolicy::none())
}

pub fn open(builder: ClientBuilder) -> Queue {
    builder.build().unwrap().queues(ACCOUNT).unwrap().queue(QUEUE).unwrap()
}

/// A queue whose every request is sent once.
pub fn queue(url: &str) -> Queue {
    open(builder(url))
}

/// A queue whose requests are sent up to this many times, with almost no wait.
pub fn stubborn_queue(url: &str, max_attempts: u32) -> Queue {
    open(builder(url).retry(quick(max_attempts)))
}

pub fn quick(max_attempts: u32) -> RetryPolicy {
    RetryPolicy::new().max_attempts(max_attempts).initial_backoff(Duration::from_millis(1))
}

/// A URL where nothing listens. The server of another test could take a port that was just given back.
pub fn nowhere() -> String {
    "http://127.0.0.1:9".to_owned()
}

/// A request that acknowledges these leases.
pub fn acks<'a>(leases: impl IntoIterator<Item = &'a str>) -> AckRequest {
    AckRequest::ack_all(leases)
}

pub fn leases(request: &AckRequest) -> Vec<String> {
    request.iter().map(|settlement| settlement.lease.id().expose_secret().into_owned()).collect()
}
