//! Owns one look at something: a port, a web server's status, a script, a file.

use super::apply::Failed;
use super::host::Host;
use super::shell::script;
use crate::problem::reason;
use crate::steps::Probe;
use std::io::{Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

/// How long one attempt may take.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    pub connect: Duration,
    pub answer: Duration,
    pub script: Duration,
}

/// For checks: slow is no failure.
pub const PATIENT: Patience = Patience {
    connect: Duration::from_secs(10),
    answer: Duration::from_secs(10),
    script: Duration::from_secs(60),
};

/// Looks once.
pub fn probe(host: &Host, what: &Probe, patience: Patience) -> Result<(), Failed> {
    match what {
        Probe::Tcp(at) => connect(at, patience).map(drop),
        Probe::File(path) => match host.path(path)?.exists() {
            true => Ok(()),
            false => Err(Failed::new(format!("{path} is not there"))),
        },
        Probe::Run { script: text, env } => {
            script(host, text, env, None, patience.script)?.well("the check").map(drop)
        }
        Probe::Http { url, status } => {
            let code = http(url, patience)?;
            match status.contains(&code) {
                true => Ok(()),
                false => Err(Failed::new(format!("{url} answers {code}"))),
            }
        }
    }
}

fn connect(at: &str, patience: Patience) -> Result<TcpStream, Failed> {
    let failed = |e: std::io::Error| Failed::new(format!("{at}: {}", reason(&e)));
    let address = at.to_socket_addrs().map_err(failed)?.next();
    let address = address.ok_or_else(|| Failed::new(format!("{at} is no address")))?;
    TcpStream::connect_timeout(&address, patience.connect).map_err(failed)
}

/// The status of one plain GET (RFC 9112); the body is not read.
fn http(url: &str, patience: Patience) -> Result<u16, Failed> {
    let rest = url.strip_prefix("http://").ok_or_else(|| Failed::new(format!("{url} is not http://…")))?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let at = if host.contains(':') { host.to_string() } else { format!("{host}:80") };
    let mut stream = connect(&at, patience)?;
    let failed = |e: std::io::Error| Failed::new(format!("{url}: {}", reason(&e)));
    stream.set_read_timeout(Some(patience.answer)).map_err(failed)?;
    let request =
        format!("GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nUser-Agent: bootstead\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(failed)?;
    let mut head = [0u8; 16];
    let mut got = 0;
    while got < 12 {
        match stream.read(&mut head[got..]).map_err(failed)? {
            0 => break,
            n => got += n,
        }
    }
    let text = String::from_utf8_lossy(&head[..got]);
    let code = text.split(' ').nth(1).and_then(|c| c.get(..3)).and_then(|c| c.parse().ok());
    code.ok_or_else(|| Failed::new(format!("{url} does not answer as a web server does")))
}
