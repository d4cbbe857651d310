//! Whether an emulator serves, for a container image without a shell.

use std::{
    io::{self, Read, Write},
    net::{TcpStream, ToSocketAddrs},
    time::Duration,
};

use crate::exit::{Exit, Failure};

const PATIENCE: Duration = Duration::from_secs(5);

/// Asks the emulator at a URL, such as `http://127.0.0.1:8790`, whether it serves.
pub(super) fn check(url: &str) -> Result<(), Failure> {
    // It may hold a password.
    let wrong = || Failure::new(Exit::Input, "--health: not an address such as http://127.0.0.1:8790");
    let rest = url.strip_prefix("http://").ok_or_else(wrong)?;
    let is_host = |authority: &&str| !authority.is_empty() && !authority.contains('@');
    let authority = rest.split(['/', '?', '#']).next().filter(is_host).ok_or_else(wrong)?;
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let address = if has_port { authority.to_owned() } else { format!("{authority}:80") };
    let failed = |what: String| Failure::new(Exit::Service, format!("{authority}: {what}"));
    match status(&address, authority) {
        Ok(status) if status == "200" => Ok(()),
        Ok(status) => Err(failed(format!("the response has the status {status}"))),
        Err(error) => Err(failed(error.to_string())),
    }
}

fn status(address: &str, host: &str) -> io::Result<String> {
    let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in address.to_socket_addrs()? {
        let mut stream = match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => stream,
            Err(error) => {
                failure = error;
                continue;
            }
        };
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "GET /health HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n")?;
        let mut response = String::new();
        stream.take(4096).read_to_string(&mut response)?;
        return Ok(response.split(' ').nth(1).unwrap_or("that none can read").to_owned());
    }
    Err(failure)
}
