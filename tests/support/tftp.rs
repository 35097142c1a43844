//! Owns a TFTP client that can do everything that clients do wrong, and the server that the conformance suite asks: the
//! engine with its side door, as `bootstead serve` runs it, with a table of files.

#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

use bootstead::serve::odd::{self, Side};
use bootstead::serve::tftp::{Ended, Files, Limits, Opened, TftpEngine};
use bootstead::serve::{names, ports};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::watch;

pub struct Table {
    files: BTreeMap<String, Arc<[u8]>>,
    pub ended: Mutex<Vec<Ended>>,
}

impl Files for Table {
    fn open(&self, _client: SocketAddr, name: &[u8]) -> Option<Opened> {
        let name = names::base(name)?;
        Some(Opened { bytes: self.files.get(&name)?.clone(), name })
    }
    fn ended(&self, transfer: Ended) {
        self.ended.lock().unwrap().push(transfer);
    }
}

/// The engine with its side door, as the server runs it.
pub struct Server {
    pub at: SocketAddr,
    pub table: Arc<Table>,
    stop: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
}

pub fn content(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i as u32).wrapping_mul(2_654_435_761).to_be_bytes()[i % 3]).collect()
}

impl Server {
    pub fn start(address: Ipv4Addr, engine: fn() -> Box<dyn TftpEngine>) -> Server {
        let sizes = [0, 1, 511, 512, 513, 1468, 4404, 1 << 20];
        let mut files: BTreeMap<String, Arc<[u8]>> =
            sizes.iter().map(|n| (format!("f{n}"), content(*n).into())).collect();
        files.insert("snponly.efi".into(), content(70_000).into());
        files.insert("roll".into(), content(65_600 * 8).into());
        let table = Arc::new(Table { files, ended: Mutex::default() });
        let (socket, door) = ports::tftp(SocketAddrV4::new(address, 0)).unwrap();
        let at = socket.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        let mut threads = Vec::new();
        let (files, halted): (Arc<dyn Files>, _) = (table.clone(), stopped.clone());
        threads.push(std::thread::spawn(move || {
            engine().serve(socket, Limits::for_mtu(1500), files, halted).unwrap();
        }));
        let door = door.unwrap();
        threads.push(std::thread::spawn(move || {
            odd::serve(&door, &Side::default(), &stopped).unwrap();
        }));
        Server { at, table, stop, threads }
    }
    pub fn file(&self, name: &str) -> &[u8] {
        &self.table.files[name]
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        self.threads.drain(..).for_each(|t| t.join().unwrap());
    }
}

pub fn client() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
    socket
}

pub fn rrq(name: &[u8], options: &[(&str, &str)]) -> Vec<u8> {
    let mut out = [&[0, 1], name, b"\0octet\0"].concat();
    for (option, value) in options {
        out.extend([option.as_bytes(), b"\0", value.as_bytes(), b"\0"].concat());
    }
    out
}

pub fn ack(block: u16) -> Vec<u8> {
    [[0, 4], block.to_be_bytes()].concat()
}

/// A packet: opcode, second word, the rest; and who sent it.
pub struct Packet {
    pub op: u8,
    pub word: u16,
    pub rest: Vec<u8>,
    pub from: SocketAddr,
}

pub fn receive(socket: &UdpSocket) -> Result<Packet, String> {
    let mut buf = vec![0; 66_000];
    let (len, from) = socket.recv_from(&mut buf).map_err(|e| format!("no packet: {e}"))?;
    if len < 4 {
        return Err(format!("a packet of {len} bytes"));
    }
    let op = buf[1];
    // An OACK has no second word.
    let start = if op == 6 { 2 } else { 4 };
    Ok(Packet { op, word: u16::from_be_bytes([buf[2], buf[3]]), rest: buf[start..len].to_vec(), from })
}

pub fn want(packet: Packet, op: u8, word: u16) -> Result<Packet, String> {
    if packet.op == op && (op == 6 || packet.word == word) {
        return Ok(packet);
    }
    let text = String::from_utf8_lossy(&packet.rest[..packet.rest.len().min(60)]).into_owned();
    Err(format!("wanted packet {op} number {word}, got {} number {} {text:?}", packet.op, packet.word))
}

/// Fetches in lock step; `options` must say the block size if it is not 512.
pub fn fetch(
    server: &Server,
    socket: &UdpSocket,
    name: &[u8],
    options: &[(&str, &str)],
) -> Result<Vec<u8>, String> {
    socket.send_to(&rrq(name, options), server.at).unwrap();
    follow(socket, options)
}

pub fn follow(socket: &UdpSocket, options: &[(&str, &str)]) -> Result<Vec<u8>, String> {
    let size = |o: &(&str, &str)| (o.0 == "blksize").then(|| o.1.parse::<usize>().unwrap().min(1468));
    let block_size = options.iter().find_map(size).unwrap_or(512);
    let mut out = Vec::new();
    let mut next = 1u16;
    if !options.is_empty() {
        let oack = want(receive(socket)?, 6, 0)?;
        socket.send_to(&ack(0), oack.from).unwrap();
    }
    loop {
        let packet = want(receive(socket)?, 3, next)?;
        out.extend_from_slice(&packet.rest);
        socket.send_to(&ack(next), packet.from).unwrap();
        if packet.rest.len() < block_size {
            return Ok(out);
        }
        next = next.wrapping_add(1);
    }
}

/// Value of an option in an OACK.
pub fn option(oack: &[u8], name: &str) -> Option<String> {
    let texts: Vec<String> =
        oack.split(|b| *b == 0).map(|t| String::from_utf8_lossy(t).to_lowercase()).collect();
    texts.chunks(2).find(|c| c[0] == name).map(|c| c[1].clone())
}
