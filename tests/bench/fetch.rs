//! Owns many clients that fetch at once, over TFTP or HTTP, and what they felt. Which server answers is the caller's
//! affair. Every byte is counted; a short or failed transfer is a failure.
//!
//! Usage: `fetch tftp --server IP:PORT --name FILE --bytes N --clients N [--block 1468] [--window 1]`
//!        `fetch bulk --server IP:PORT --path /FILE --bytes N --clients N [--rounds N]`

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench tool, not the product")]

use nix::poll::{PollFd, PollFlags};
use nix::sys::socket::{MsgFlags, recv};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};
use tokio::net::UdpSocket;

fn main() {
    let mut words = std::env::args().skip(1).filter(|w| w != "--bench");
    let Some(what) = words.next() else {
        eprintln!("fetch: run tests/bench/run, which starts the servers");
        return;
    };
    let mut args: HashMap<String, String> = HashMap::new();
    while let Some(word) = words.next() {
        args.insert(word.trim_start_matches("--").to_string(), words.next().unwrap_or_default());
    }
    let number = |name: &str, or: u64| args.get(name).map_or(or, |v| v.parse().unwrap());
    let server: SocketAddr = args["server"].parse().unwrap();
    let (bytes, clients) = (number("bytes", 0), number("clients", 512) as usize);
    let began = Instant::now();
    let (failed, again) = match what.as_str() {
        "tftp" => {
            let wish = Wish {
                server,
                name: args["name"].clone(),
                bytes,
                block: number("block", 1468) as usize,
                window: number("window", 1) as u16,
            };
            tftp(wish, clients)
        }
        _ => (bulk(server, &args["path"], bytes, clients, number("rounds", 1)), 0),
    };
    let seconds = began.elapsed().as_secs_f64();
    println!("seconds={seconds:.3} failed={failed} retransmits={again}");
}

#[derive(Clone)]
struct Wish {
    server: SocketAddr,
    name: String,
    bytes: u64,
    block: usize,
    window: u16,
}

fn tftp(wish: Wish, clients: usize) -> (usize, u32) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let tasks: Vec<_> = (0..clients).map(|_| tokio::spawn(one(wish.clone()))).collect();
        let (mut failed, mut again) = (0, 0);
        for task in tasks {
            match task.await.unwrap() {
                Some(n) => again += n,
                None => failed += 1,
            }
        }
        (failed, again)
    })
}

/// One transfer; how often something had to be sent again.
async fn one(wish: Wish) -> Option<u32> {
    let socket = UdpSocket::bind((std::net::Ipv4Addr::UNSPECIFIED, 0)).await.ok()?;
    let mut request = format!("\0\u{1}{}\0octet\0blksize\0{}\0", wish.name, wish.block).into_bytes();
    if wish.window > 1 {
        request.extend_from_slice(format!("windowsize\0{}\0", wish.window).as_bytes());
    }
    let (mut peer, mut window, mut last, mut got) = (wish.server, 1, request, 0u64);
    socket.send_to(&last, peer).await.ok()?;
    let (mut next, mut again, mut buf) = (1u16, 0, [0u8; 2048]);
    loop {
        // UEFI's patience.
        let received = tokio::time::timeout(Duration::from_secs(4), socket.recv_from(&mut buf)).await;
        let Ok(Ok((len, from))) = received else {
            again += 1;
            if again > 20 {
                return None;
            }
            socket.send_to(&last, peer).await.ok()?;
            continue;
        };
        peer = from;
        let number = u16::from_be_bytes([buf[2], buf[3]]);
        match buf[1] {
            6 => {
                let texts: Vec<&[u8]> = buf[2..len].split(|b| *b == 0).collect();
                let agreed = texts.windows(2).find(|w| w[0].eq_ignore_ascii_case(b"windowsize"));
                window = agreed.map_or(1, |w| String::from_utf8_lossy(w[1]).parse().unwrap_or(1));
                last = vec![0, 4, 0, 0];
                socket.send_to(&last, peer).await.ok()?;
            }
            3 if number == next => {
                got += len as u64 - 4;
                let end = len - 4 < wish.block;
                if end || next.is_multiple_of(window) {
                    last = [[0, 4], next.to_be_bytes()].concat();
                    socket.send_to(&last, peer).await.ok()?;
                }
                next = next.wrapping_add(1);
                if end {
                    return (got == wish.bytes).then_some(again);
                }
            }
            3 => {}
            _ => return None,
        }
    }
}

/// Every client on a connection of its own, from four threads; what arrives is thrown away in the kernel.
fn bulk(server: SocketAddr, path: &str, bytes: u64, clients: usize, rounds: u64) -> usize {
    const THREADS: usize = 4;
    let threads: Vec<_> = (0..THREADS)
        .map(|t| {
            let path = path.to_string();
            let mine = clients / THREADS + usize::from(t < clients % THREADS);
            std::thread::spawn(move || {
                // All of a thread's clients are served side by side: a little of each, in turn.
                let mut open: Vec<Client> =
                    (0..mine).filter_map(|_| Client::new(server, &path, rounds)).collect();
                let mut failed = mine - open.len();
                while !open.is_empty() {
                    for at in ready(&open).into_iter().rev() {
                        match open[at].take(bytes, &path) {
                            Some(true) => {}
                            done => {
                                failed += usize::from(done.is_none());
                                open.swap_remove(at);
                            }
                        }
                    }
                }
                failed
            })
        })
        .collect();
    threads.into_iter().map(|t| t.join().unwrap()).sum()
}

struct Client {
    stream: TcpStream,
    got: u64,
    rounds: u64,
    /// The head of the response is still to be read.
    head: bool,
}

impl Client {
    fn new(server: SocketAddr, path: &str, rounds: u64) -> Option<Client> {
        let stream = TcpStream::connect(server).ok()?;
        let mut client = Client { stream, got: 0, rounds, head: true };
        client.ask(path)?;
        Some(client)
    }
    fn ask(&mut self, path: &str) -> Option<()> {
        self.head = true;
        self.got = 0;
        self.stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).ok()
    }
    /// Takes what is there. `Some(true)`: go on; `Some(false)`: done; `None`: failed.
    fn take(&mut self, bytes: u64, path: &str) -> Option<bool> {
        if self.head {
            let mut seen = Vec::new();
            let mut byte = [0];
            while !seen.ends_with(b"\r\n\r\n") {
                self.stream.read_exact(&mut byte).ok()?;
                seen.push(byte[0]);
            }
            self.head = false;
            return seen.starts_with(b"HTTP/1.1 200").then_some(true);
        }
        // MSG_TRUNC on TCP throws bytes away without copying them (tcp(7)).
        let mut room = [0u8; 1 << 20];
        let left = (bytes - self.got).min(room.len() as u64) as usize;
        let flags = MsgFlags::MSG_TRUNC | MsgFlags::MSG_DONTWAIT;
        match recv(self.stream.as_raw_fd(), &mut room[..left], flags) {
            Ok(0) => None,
            Ok(n) => {
                self.got += n as u64;
                if self.got < bytes {
                    return Some(true);
                }
                self.rounds -= 1;
                if self.rounds == 0 {
                    return Some(false);
                }
                self.ask(path).map(|()| true)
            }
            Err(nix::errno::Errno::EAGAIN) => Some(true),
            Err(_) => None,
        }
    }
}

/// Which of the clients have something to read.
fn ready(open: &[Client]) -> Vec<usize> {
    let mut fds: Vec<PollFd<'_>> =
        open.iter().map(|c| PollFd::new(c.stream.as_fd(), PollFlags::POLLIN)).collect();
    let _ = nix::poll::poll(&mut fds, 1000u16);
    fds.iter().enumerate().filter(|(_, f)| f.any() == Some(true)).map(|(i, _)| i).collect()
}
