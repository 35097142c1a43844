//! Owns the side door of TFTP for requests that async-tftp drops without a word: names with bytes that are no ASCII
//! (ROMs that append 0xFF, field-pain #19), and padding after the options.
//!
//! Two sockets share the port. A kernel filter sends well-formed requests to the engine's and odd ones to ours; we
//! clean an odd request, ask the engine in the client's place, and pass the packets of that one transfer on.

use super::names;
use nix::sys::socket::{setsockopt, sockopt::AttachReusePortCbpf};
use socket2::{Domain, Protocol, Socket, Type};
use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Our stand-in address → the client that it stands for.
pub type Aliases = Arc<Mutex<HashMap<SocketAddr, SocketAddr>>>;

/// The client behind an address that the engine saw.
pub fn real(aliases: &Aliases, seen: SocketAddr) -> SocketAddr {
    aliases.lock().unwrap_or_else(|e| e.into_inner()).get(&seen).copied().unwrap_or(seen)
}

/// Transfers through the side door at once; each has a thread.
const MOST: usize = 64;
/// How long a transfer may be silent.
const SILENCE: Duration = Duration::from_secs(6);
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
    let mut program = filter();
    let fprog = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    match setsockopt(&engine, AttachReusePortCbpf, &fprog) {
        Ok(()) => Ok((engine.into(), Some(side.into()))),
        Err(e) => {
            tracing::debug!("no side door for odd TFTP names: {e}");
            Ok((engine.into(), None))
        }
    }
}

/// The filter: 0 sends a packet to the engine, 1 to the side door. It sees the UDP payload.
fn filter() -> Vec<libc::sock_filter> {
    let op = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    let ret = |k| op(libc::BPF_RET | libc::BPF_K, 0, 0, k);
    let load = |k| op(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 0, 0, k);
    let equal = |k, jt, jf| op(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, jt, jf, k);
    let mut out = vec![
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
    ];
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
pub fn serve(door: &UdpSocket, aliases: &Aliases, stop: &watch::Receiver<bool>) -> io::Result<()> {
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
        let Some(request) = names::clean_request(&buf[..len]) else { continue };
        recent.retain(|_, at| at.elapsed() < Duration::from_secs(1));
        // A client that repeats its request within a second has not seen our first packet yet.
        if recent.insert(client, Instant::now()).is_some() || busy.load(Ordering::Relaxed) >= MOST {
            continue;
        }
        busy.fetch_add(1, Ordering::Relaxed);
        let (aliases, counted) = (aliases.clone(), busy.clone());
        let spawned =
            std::thread::Builder::new().name("tftp-odd".into()).stack_size(128 * 1024).spawn(move || {
                if let Err(e) = relay(client, engine, &request, &aliases) {
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
fn relay(client: SocketAddr, engine: SocketAddr, request: &[u8], aliases: &Aliases) -> io::Result<()> {
    let socket = UdpSocket::bind(SocketAddr::new(engine.ip(), 0))?;
    socket.set_read_timeout(Some(SILENCE))?;
    let me = socket.local_addr()?;
    aliases.lock().unwrap_or_else(|e| e.into_inner()).insert(me, client);
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
    aliases.lock().unwrap_or_else(|e| e.into_inner()).remove(&me);
    result
}
