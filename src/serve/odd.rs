//! Owns the side door of TFTP for requests that the engine must not get as they are: those that async-tftp drops
//! without a word (names with bytes that are no ASCII, from ROMs that append 0xFF, field-pain #19; padding after the
//! options), and those of clients whose large packets get lost on the way, which are given smaller blocks (#37).
//!
//! Two sockets share the port. A kernel filter sends well-formed requests to the engine's and the others to ours; we
//! mend such a request, ask the engine in the client's place, and pass the packets of that one transfer on.

use super::names;
use nix::sys::socket::{setsockopt, sockopt::AttachReusePortCbpf};
use socket2::{Domain, Protocol, Socket, Type};
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// What the engine's side and the side door know of each other.
#[derive(Clone, Default)]
pub struct Side(Arc<Inner>);

#[derive(Default)]
struct Inner {
    /// Our stand-in address → the client that it stands for, and when that ended: the engine tells of it later still.
    aliases: Mutex<HashMap<SocketAddr, (SocketAddr, Option<Instant>)>>,
    /// Clients whose large packets seem to get lost: the largest block for them, and since when.
    doubts: Mutex<HashMap<Ipv4Addr, (u16, Instant)>>,
    /// The engine's socket, by which the filter is set.
    engine: OnceLock<UdpSocket>,
}

/// The block sizes that a doubtful way is tried with, one after the other (field-pain #37).
const SMALLER: [u16; 2] = [1024, 512];
/// How long a doubt lasts after it came up; a client that boots asks for two or three files.
const DOUBTED: Duration = Duration::from_secs(600);
/// Clients that are doubted at once: each costs a step of the filter.
const DOUBTS: usize = 64;

impl Side {
    /// The filter in front of `engine` may be changed from now on.
    pub fn steer(&self, engine: UdpSocket) {
        let _ = self.0.engine.set(engine);
    }

    /// The client behind an address that the engine saw.
    pub fn real(&self, seen: SocketAddr) -> SocketAddr {
        lock(&self.0.aliases).get(&seen).map_or(seen, |(client, _)| *client)
    }

    /// A transfer to `client` stood still at its first packets: its next one is tried with smaller blocks, of the size
    /// that is returned. None: there is nothing smaller, or no side door to do it.
    pub fn doubt(&self, client: Ipv4Addr) -> Option<u16> {
        let engine = self.0.engine.get()?;
        let mut doubts = lock(&self.0.doubts);
        doubts.retain(|_, (_, since)| since.elapsed() < DOUBTED);
        let was = doubts.get(&client).map_or(u16::MAX, |(block, _)| *block);
        if was == u16::MAX && doubts.len() >= DOUBTS {
            return None;
        }
        let block = SMALLER.into_iter().find(|b| *b < was)?;
        doubts.insert(client, (block, Instant::now()));
        let clients: Vec<Ipv4Addr> = doubts.keys().copied().collect();
        attach(engine, &clients).ok()?;
        Some(block)
    }

    /// The largest block for a client, where its way is doubted.
    fn block(&self, client: &SocketAddr) -> Option<u16> {
        let IpAddr::V4(client) = client.ip() else { return None };
        lock(&self.0.doubts).get(&client).map(|(block, _)| *block)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

/// Transfers through the side door at once; each has a thread.
const MOST: usize = 64;
/// How long a transfer may be silent.
const SILENCE: Duration = Duration::from_secs(6);
/// How long a stand-in is known after its transfer: the engine goes on for some seconds when the client is gone.
const REMEMBERED: Duration = Duration::from_secs(60);
/// How many bytes of a name the filter looks at.
const NAME: u32 = 128;

/// Takes `address` twice: the engine's socket and the side door's. Where the kernel has no such filter there is no
/// side door. `widen` sets up the engine's receive buffer.
pub fn bind(address: SocketAddr, widen: impl Fn(&Socket)) -> io::Result<(UdpSocket, Option<UdpSocket>)> {
    // Sockets that share a port let another process of the same user in: first see that nobody is there.
    let alone = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    alone.bind(&address.into())?;
    let address = alone.local_addr()?.as_socket().unwrap_or(address);
    drop(alone);
    let make = || -> io::Result<Socket> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_reuse_port(true)?;
        socket.bind(&address.into())?;
        Ok(socket)
    };
    let engine = make()?;
    widen(&engine);
    let side = make()?;
    let engine: UdpSocket = engine.into();
    match attach(&engine, &[]) {
        Ok(()) => Ok((engine, Some(side.into()))),
        Err(e) => {
            tracing::debug!("no side door for odd TFTP names: {e}");
            Ok((engine, None))
        }
    }
}

/// Puts the filter in front of the two sockets, in the place of the one that was there.
fn attach(engine: &UdpSocket, doubted: &[Ipv4Addr]) -> nix::Result<()> {
    let mut program = filter(doubted);
    let fprog = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    setsockopt(engine, AttachReusePortCbpf, &fprog)
}

/// The filter: 0 sends a packet to the engine, 1 to the side door. It sees the UDP payload, and the IP header by a
/// place of its own.
fn filter(doubted: &[Ipv4Addr]) -> Vec<libc::sock_filter> {
    let op = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    let ret = |k| op(libc::BPF_RET | libc::BPF_K, 0, 0, k);
    let load = |k| op(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 0, 0, k);
    let equal = |k, jt, jf| op(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, jt, jf, k);
    let mut out = Vec::new();
    if !doubted.is_empty() {
        // The sender's address.
        let at = libc::SKF_NET_OFF as u32 + 12;
        out.push(op(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, at));
        for client in doubted {
            out.push(equal(u32::from(*client), 0, 1));
            out.push(ret(1));
        }
    }
    out.extend([
        // X = length - 2; the last byte must be NUL, the one before it not.
        op(libc::BPF_LD | libc::BPF_W | libc::BPF_LEN, 0, 0, 0),
        op(libc::BPF_ALU | libc::BPF_SUB | libc::BPF_K, 0, 0, 2),
        op(libc::BPF_MISC | libc::BPF_TAX, 0, 0, 0),
        op(libc::BPF_LD | libc::BPF_B | libc::BPF_IND, 0, 0, 1),
        equal(0, 1, 0),
        ret(1),
        op(libc::BPF_LD | libc::BPF_B | libc::BPF_IND, 0, 0, 0),
        equal(0, 0, 1),
        ret(1),
    ]);
    // The name: up to its NUL, all below 0x80.
    for at in 2..2 + NAME {
        out.push(load(at));
        out.push(equal(0, 0, 1));
        out.push(ret(0));
        out.push(op(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 0, 1, 0x80));
        out.push(ret(1));
    }
    out.push(ret(1));
    out
}

/// Serves the side door until `stop` says so. Blocks.
pub fn serve(door: &UdpSocket, side: &Side, stop: &watch::Receiver<bool>) -> io::Result<()> {
    door.set_read_timeout(Some(Duration::from_millis(250)))?;
    let engine = door.local_addr()?;
    let busy = Arc::new(AtomicUsize::new(0));
    let mut recent: HashMap<SocketAddr, Instant> = HashMap::new();
    let mut buf = [0u8; 2048];
    while !*stop.borrow() {
        let (len, client) = match door.recv_from(&mut buf) {
            Ok(got) => got,
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => continue,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        let Some(mut request) = names::clean_request(&buf[..len]) else { continue };
        if let Some(block) = side.block(&client) {
            request = names::with_blocks_of(&request, block);
        }
        recent.retain(|_, at| at.elapsed() < Duration::from_secs(1));
        // A client that repeats its request within a second has not seen our first packet yet.
        if recent.insert(client, Instant::now()).is_some() || busy.load(Ordering::Relaxed) >= MOST {
            continue;
        }
        busy.fetch_add(1, Ordering::Relaxed);
        let (side, counted) = (side.clone(), busy.clone());
        let spawned =
            std::thread::Builder::new().name("tftp-odd".into()).stack_size(128 * 1024).spawn(move || {
                if let Err(e) = relay(client, engine, &request, &side) {
                    tracing::debug!(%client, "an odd TFTP transfer ended: {e}");
                }
                counted.fetch_sub(1, Ordering::Relaxed);
            });
        if spawned.is_err() {
            busy.fetch_sub(1, Ordering::Relaxed);
        }
    }
    Ok(())
}

/// One transfer: what the engine sends goes to the client, what the client sends goes to the engine.
fn relay(client: SocketAddr, engine: SocketAddr, request: &[u8], side: &Side) -> io::Result<()> {
    let socket = UdpSocket::bind(SocketAddr::new(engine.ip(), 0))?;
    socket.set_read_timeout(Some(SILENCE))?;
    let me = socket.local_addr()?;
    {
        let mut aliases = lock(&side.0.aliases);
        aliases.retain(|_, (_, ended)| ended.is_none_or(|at| at.elapsed() < REMEMBERED));
        aliases.insert(me, (client, None));
    }
    let result = (|| {
        socket.send_to(request, engine)?;
        let mut transfer = None;
        let mut buf = [0u8; 2048];
        loop {
            let (len, from) = socket.recv_from(&mut buf)?;
            let packet = &buf[..len];
            if from == client {
                if let Some(transfer) = transfer {
                    socket.send_to(packet, transfer)?;
                }
                if packet.starts_with(&[0, 5]) {
                    return Ok(());
                }
            } else if from.ip() == engine.ip() && transfer.is_none_or(|t| t == from) {
                transfer = Some(from);
                socket.send_to(packet, client)?;
                if packet.starts_with(&[0, 5]) {
                    return Ok(());
                }
            }
        }
    })();
    lock(&side.0.aliases).insert(me, (client, Some(Instant::now())));
    result
}
