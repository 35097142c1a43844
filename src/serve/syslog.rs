//! Owns the installers' remote log: UDP for d-i, TCP (one message per line) for anaconda; by node, bounded.

use super::shared::Shared;
use super::syslines;
use crate::base::{Mac, Timestamp};
use crate::lifecycle::{Event, State, What};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::{Semaphore, watch};

/// Lines that a node may say at once, and per second in the long run.
const BURST: f64 = 400.0;
const RATE: f64 = 20.0;
/// The longest message read, in bytes.
const MESSAGE: usize = 8192;
/// TCP senders at once.
const SENDERS: usize = 2048;
/// How long a TCP sender may be silent.
const SILENCE: Duration = Duration::from_secs(3600);
/// The shortest time between two packages' progress of one node, in milliseconds.
const EVERY: u64 = 2_000;

/// What one node may still say.
struct Budget {
    left: f64,
    at: Timestamp,
    dropped: u64,
    /// The last progress that was taken, and when.
    step: String,
    stepped: Timestamp,
}

/// Takes lines in.
pub struct Sink {
    shared: Arc<Shared>,
    budgets: Mutex<HashMap<Mac, Budget>>,
}

impl Sink {
    pub fn new(shared: Arc<Shared>) -> Arc<Sink> {
        Arc::new(Sink { shared, budgets: Mutex::default() })
    }

    /// One message from `from`. Those of nobody we know are ignored.
    pub fn take(&self, from: IpAddr, raw: &[u8]) {
        let Some(mac) = self.shared.who(from) else { return };
        let Some(line) = syslines::line(raw).map(|line| self.shared.scrub(mac, line)) else { return };
        let now = self.shared.clock.now();
        let mut budgets = self.budgets.lock().unwrap_or_else(|e| e.into_inner());
        let b = budgets.entry(mac).or_insert_with(|| Budget {
            left: BURST,
            at: now,
            dropped: 0,
            step: String::new(),
            stepped: Timestamp(0),
        });
        b.left = (b.left + now.since(b.at) as f64 / 1000.0 * RATE).min(BURST);
        b.at = now;
        if let Some(step) = syslines::progress(&line) {
            self.progress(mac, b, step, now);
        }
        if b.left < 1.0 {
            b.dropped += 1;
            return;
        }
        if b.dropped > 0 {
            let line = format!("({} lines dropped: the log is faster than {RATE} lines a second)", b.dropped);
            self.shared.to.note(Event::new(now, mac, What::Log { line }));
            b.dropped = 0;
            b.left -= 1.0;
        }
        b.left -= 1.0;
        self.shared.to.note(Event::new(now, mac, What::Log { line }));
    }

    /// A step is told when it changes; packages, which change all the time, every two seconds; a failure at once.
    fn progress(&self, mac: Mac, b: &mut Budget, step: syslines::Step, now: Timestamp) {
        let soon = step.percent.is_none() && !step.failed && now.since(b.stepped) < EVERY;
        if b.step == step.step || soon {
            return;
        }
        let State::Installing { arming, .. } = *self.shared.hub.ledger().state(mac) else { return };
        b.step.clone_from(&step.step);
        b.stepped = now;
        let what = What::Progressed { arming, step: step.step, percent: step.percent, bytes: None };
        self.shared.to.note(Event::new(now, mac, what));
    }
}

/// Datagrams until `stop` says so.
pub async fn udp(socket: UdpSocket, sink: Arc<Sink>, mut stop: watch::Receiver<bool>) {
    let mut buf = vec![0u8; MESSAGE];
    loop {
        let got = tokio::select! {
            got = socket.recv_from(&mut buf) => got,
            _ = stop.wait_for(|s| *s) => return,
        };
        match got {
            // Some senders put several lines into one datagram.
            Ok((len, from)) => buf[..len].split(|b| *b == b'\n').for_each(|l| sink.take(from.ip(), l)),
            Err(e) => {
                tracing::debug!("syslog: {e}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// Streams of lines until `stop` says so.
pub async fn tcp(listener: TcpListener, sink: Arc<Sink>, mut stop: watch::Receiver<bool>) {
    let room = Arc::new(Semaphore::new(SENDERS));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|s| *s) => return,
        };
        let Ok((stream, from)) = accepted else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let Ok(seat) = room.clone().try_acquire_owned() else { continue };
        let (sink, mut stop) = (sink.clone(), stop.clone());
        tokio::spawn(async move {
            let mut lines = Lines { reader: BufReader::with_capacity(MESSAGE, stream), line: Vec::new() };
            loop {
                let next = tokio::select! {
                    next = tokio::time::timeout(SILENCE, lines.next()) => next,
                    _ = stop.wait_for(|s| *s) => break,
                };
                let Ok(Ok(Some(line))) = next else { break };
                sink.take(from.ip().to_canonical(), line);
            }
            drop(seat);
        });
    }
}

/// Lines of bounded length; the rest of a longer one is skipped.
struct Lines<R> {
    reader: BufReader<R>,
    line: Vec<u8>,
}

impl<R: tokio::io::AsyncRead + Unpin> Lines<R> {
    async fn next(&mut self) -> std::io::Result<Option<&[u8]>> {
        self.line.clear();
        loop {
            let seen = self.reader.fill_buf().await?;
            if seen.is_empty() {
                return Ok((!self.line.is_empty()).then_some(&self.line));
            }
            // NUL ends a message too: RFC 6587 section 3.4.2 names both.
            let end = seen.iter().position(|b| matches!(b, b'\n' | 0));
            let part = &seen[..end.unwrap_or(seen.len())];
            let room = MESSAGE.saturating_sub(self.line.len());
            self.line.extend_from_slice(&part[..part.len().min(room)]);
            let used = part.len() + usize::from(end.is_some());
            self.reader.consume(used);
            if end.is_some() {
                return Ok(Some(&self.line));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_are_cut_at_newline_or_nul_and_bounded() {
        let long = [vec![b'x'; 3 * MESSAGE], b"\nlast".to_vec()].concat();
        let input = [b"one\ntwo\0\n".to_vec(), long].concat();
        let mut lines = Lines { reader: BufReader::with_capacity(7, &input[..]), line: Vec::new() };
        let mut got = Vec::new();
        while let Some(line) = lines.next().await.unwrap() {
            got.push(line.to_vec());
        }
        assert_eq!(got[0], b"one");
        assert_eq!(got[1], b"two");
        assert_eq!(got[2], b"");
        assert_eq!(got[3].len(), MESSAGE);
        assert_eq!(got[4], b"last");
    }
}
