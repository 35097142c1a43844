//! Owns the small HTTP/1.1 client of a blank machine: one request per connection, to an address, never to a name.
//!
//! Not hyper: pid 1 of a small initrd has no runtime; and a static program must not look up names (NSS).

use crate::base::Secret;
use std::io::{self, BufRead as _, BufReader, Read, Write as _};
use std::net::{SocketAddr, SocketAddrV4, TcpStream};
use std::time::Duration;

/// Nothing for this long: the connection is dead (pulled cable, stopped server).
const SILENCE: Duration = Duration::from_secs(30);
/// The largest reply that is read into memory.
const SMALL: u64 = 32 << 20;

/// Where to ask, and as whom.
#[derive(Debug, Clone)]
pub struct Client {
    pub server: SocketAddrV4,
    pub token: Secret,
}

/// A reply whose body has not been read yet.
pub struct Reply {
    pub status: u16,
    /// First byte of a 206's Content-Range.
    pub from: u64,
    body: Box<dyn Read>,
}

impl Reply {
    /// The whole body; an error where it is cut short or too large.
    pub fn bytes(self) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        self.body.take(SMALL + 1).read_to_end(&mut out)?;
        if out.len() as u64 > SMALL { Err(io::Error::other("the reply is too large")) } else { Ok(out) }
    }
    pub fn into_body(self) -> Box<dyn Read> {
        self.body
    }
}

impl Client {
    /// `GET path`, from byte `from` on.
    pub fn get(&self, path: &str, from: u64) -> io::Result<Reply> {
        let range = if from > 0 { format!("Range: bytes={from}-\r\n") } else { String::new() };
        let reply = self.ask("GET", path, &range, b"")?;
        if reply.status == 200 && from > 0 || reply.status == 206 && reply.from != from {
            return Err(io::Error::other("the server ignored the range"));
        }
        Ok(reply)
    }

    /// `POST path` with a JSON body.
    pub fn post(&self, path: &str, json: &[u8]) -> io::Result<Reply> {
        let head = format!("Content-Type: application/json\r\nContent-Length: {}\r\n", json.len());
        self.ask("POST", path, &head, json)
    }

    fn ask(&self, method: &str, path: &str, head: &str, body: &[u8]) -> io::Result<Reply> {
        let mut stream = TcpStream::connect_timeout(&SocketAddr::V4(self.server), Duration::from_secs(10))?;
        stream.set_read_timeout(Some(SILENCE))?;
        stream.set_write_timeout(Some(SILENCE))?;
        stream.set_nodelay(true)?;
        let mut request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nUser-Agent: bootstead/{}\r\nAuthorization: Bearer {}\r\nConnection: close\r\n{head}\r\n",
            self.server,
            env!("CARGO_PKG_VERSION"),
            self.token.reveal(),
        )
        .into_bytes();
        request.extend(body);
        stream.write_all(&request)?;
        read_reply(BufReader::with_capacity(256 * 1024, stream))
    }
}

/// Reads a reply's head (RFC 9112 §4 to §6) and prepares its body.
fn read_reply(mut stream: impl io::BufRead + 'static) -> io::Result<Reply> {
    let bad = |what: &str| io::Error::other(format!("the server's answer is no HTTP: {what}"));
    loop {
        let line = head_line(&mut stream)?;
        let mut words = line.split(' ');
        if !words.next().is_some_and(|v| v.starts_with("HTTP/1.")) {
            return Err(bad("status line"));
        }
        let status: u16 = words.next().and_then(|s| s.parse().ok()).ok_or_else(|| bad("status"))?;
        let (mut length, mut chunked, mut from, mut fields) = (None, false, 0, 0);
        loop {
            let line = head_line(&mut stream)?;
            if line.is_empty() {
                break;
            }
            fields += 1;
            if fields > 100 {
                return Err(bad("too many header fields"));
            }
            let (name, value) = line.split_once(':').ok_or_else(|| bad("header field"))?;
            let value = value.trim();
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = Some(value.parse::<u64>().map_err(|_| bad("content length"))?),
                "transfer-encoding" => chunked = value.to_ascii_lowercase().ends_with("chunked"),
                "content-range" => {
                    let first = value.strip_prefix("bytes ").and_then(|v| v.split('-').next());
                    from = first.and_then(|f| f.parse().ok()).ok_or_else(|| bad("content range"))?;
                }
                _ => {}
            }
        }
        if (100..200).contains(&status) {
            continue;
        }
        let body: Box<dyn Read> = match (chunked, length) {
            (true, _) => Box::new(Chunked { stream, left: 0, end: false, first: true }),
            (false, Some(left)) => Box::new(Exact { stream, left }),
            (false, None) => Box::new(stream),
        };
        return Ok(Reply { status, from, body });
    }
}

/// One line of the head, without its end; at most 8 KiB.
fn head_line(stream: &mut impl io::BufRead) -> io::Result<String> {
    let mut line = Vec::new();
    stream.take(8192).read_until(b'\n', &mut line)?;
    if line.last() != Some(&b'\n') {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(String::from_utf8_lossy(&line).trim_end().to_string())
}

/// A body of known length: an early end is an error, never a short file.
struct Exact<R> {
    stream: R,
    left: u64,
}

impl<R: Read> Read for Exact<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 || buf.is_empty() {
            return Ok(0);
        }
        let want = usize::try_from(self.left).unwrap_or(usize::MAX).min(buf.len());
        let n = self.stream.read(&mut buf[..want])?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= n as u64;
        Ok(n)
    }
}

/// Chunked transfer coding (RFC 9112 §7.1).
struct Chunked<R> {
    stream: R,
    left: u64,
    end: bool,
    first: bool,
}

impl<R: io::BufRead> Read for Chunked<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.end || buf.is_empty() {
            return Ok(0);
        }
        if self.left == 0 {
            if !std::mem::take(&mut self.first) {
                head_line(&mut self.stream)?;
            }
            let line = head_line(&mut self.stream)?;
            let size = line.split(';').next().unwrap_or_default().trim();
            self.left = u64::from_str_radix(size, 16).map_err(|_| io::Error::other("bad chunk size"))?;
            if self.left == 0 {
                self.end = true;
                return Ok(0);
            }
        }
        let want = usize::try_from(self.left).unwrap_or(usize::MAX).min(buf.len());
        let n = self.stream.read(&mut buf[..want])?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= n as u64;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn reply(text: &'static [u8]) -> io::Result<Reply> {
        read_reply(text)
    }

    #[test]
    fn bodies_come_whole_or_not_at_all() {
        let r = reply(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").unwrap();
        assert_eq!((r.status, r.bytes().unwrap().as_slice()), (200, b"hello".as_slice()));
        assert!(reply(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello").unwrap().bytes().is_err());
        let r =
            reply(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x\r\nde\r\n0\r\n\r\n");
        assert_eq!(r.unwrap().bytes().unwrap(), b"abcde");
        let cut = reply(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
        assert!(cut.unwrap().bytes().is_err());
        let r = reply(b"HTTP/1.1 206 Partial\r\nContent-Range: bytes 7-9/10\r\nContent-Length: 3\r\n\r\nabc")
            .unwrap();
        assert_eq!((r.status, r.from), (206, 7));
        assert_eq!(
            reply(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 409 Conflict\r\n\r\nno").unwrap().status,
            409
        );
    }

    proptest! {
        #[test]
        fn no_answer_panics(bytes in proptest::collection::vec(any::<u8>(), 0..400), lead: bool) {
            let mut all = if lead { b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n".to_vec() } else { vec![] };
            all.extend(bytes);
            if let Ok(r) = read_reply(io::Cursor::new(all)) { let _ = r.bytes(); }
        }
    }
}
