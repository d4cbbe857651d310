//! What programs need to know to use an emulator.

use std::{
    borrow::Cow,
    fs,
    io::{self, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
};

use cloudflare_queues::emulator::Emulator;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::output::{self, Format};

#[derive(Serialize)]
pub(super) struct Announcement {
    /// Where the page is.
    pub(super) url: String,
    pub(super) base_url: String,
    pub(super) api_token: String,
    pub(super) account_id: String,
    /// By name.
    pub(super) queues: Map<String, Value>,
    #[serde(skip)]
    variables: Vec<(String, String)>,
}

impl Announcement {
    /// `queues` are names and ids; `CLOUDFLARE_QUEUE_ID` is the first one.
    pub(super) fn new(
        emulator: &Emulator,
        address: SocketAddr,
        public_url: Option<&str>,
        queues: &[(String, String)],
    ) -> Self {
        let own = || format!("http://{}", reachable(address));
        let url = public_url.map_or_else(own, |url| url.trim_end_matches('/').to_owned());
        let (base_url, api_token) = (format!("{url}/client/v4"), emulator.api_token());
        let account_id = emulator.account_id().to_string();
        let mut variables = vec![
            ("CLOUDFLARE_BASE_URL".to_owned(), base_url.clone()),
            // For wrangler.
            ("CLOUDFLARE_API_BASE_URL".to_owned(), base_url.clone()),
            ("CLOUDFLARE_API_TOKEN".to_owned(), api_token.clone()),
            ("CLOUDFLARE_ACCOUNT_ID".to_owned(), account_id.clone()),
        ];
        variables.extend(queues.first().map(|(_, id)| ("CLOUDFLARE_QUEUE_ID".to_owned(), id.clone())));
        let of_name = |name: &str| format!("CLOUDFLARE_QUEUE_ID_{}", name.to_uppercase().replace('-', "_"));
        variables.extend(queues.iter().map(|(name, id)| (of_name(name), id.clone())));
        let queues = queues.iter().map(|(name, id)| (name.clone(), id.as_str().into())).collect();
        Self { url, base_url, api_token, account_id, queues, variables }
    }

    pub(super) fn print(&self, env: bool, format: Format) -> io::Result<()> {
        let mut out = anstream::stdout().lock();
        if env {
            self.variables.iter().try_for_each(|(name, value)| writeln!(out, "export {name}={}", quoted(value)))?;
        } else if format == Format::Ndjson {
            writeln!(out, "{}", output::json(self)?)?;
        } else {
            writeln!(out, "Serving on {} until ctrl-c; open it in a browser to watch.\n", self.url)?;
            self.variables.iter().try_for_each(|(name, value)| writeln!(out, "{name}={value}"))?;
        }
        out.flush()
    }

    /// Writes the variables to a file atomically, so that a waiting process never sees a part of it.
    pub(super) fn write(&self, path: &Path) -> io::Result<EnvFile> {
        let lines: String = self.variables.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
        let mut partial = path.as_os_str().to_owned();
        partial.push(".part");
        fs::write(&partial, &lines)?;
        fs::rename(&partial, path)?;
        Ok(EnvFile { path: path.to_owned(), lines })
    }
}

/// A file that is deleted when this is dropped, unless another emulator has written it since.
pub(super) struct EnvFile {
    path: PathBuf,
    lines: String,
}

impl Drop for EnvFile {
    fn drop(&mut self) {
        if fs::read_to_string(&self.path).is_ok_and(|lines| lines == self.lines) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A value as a shell takes it.
fn quoted(value: &str) -> Cow<'_, str> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.:/[]".contains(c);
    match value.chars().all(is_plain) {
        true => value.into(),
        false => format!("'{}'", value.replace('\'', r"'\''")).into(),
    }
}

/// Whether clients can reach an emulator by this.
pub(super) fn is_url(text: &str) -> bool {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    // What a URL may have besides its host, a port and a path is of no use here, or special to a shell.
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.:/[]~%".contains(c);
    rest.is_some_and(|rest| {
        rest.chars().all(is_plain) && rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '[')
    })
}

/// The address for clients on this machine.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}
