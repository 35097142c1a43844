//! Owns the DHCP bench's crowd: N machines that ask in the same instant, through a relay as perfdhcp does, and what
//! they felt. Which server answers is the caller's affair.
//!
//! burst SERVER OWN-ADDRESS MACHINES ROUNDS    prints per round:
//! done=N p50_ms=N p99_ms=N all_ms=N retransmits=N naks=N

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench tool, not the product")]

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words[..] {
        ["burst", server, own, machines, rounds] => {
            for round in 0..rounds.parse().unwrap() {
                burst(server.parse().unwrap(), own.parse().unwrap(), machines.parse().unwrap(), round);
            }
        }
        // `cargo bench` without arguments runs every bench; this one needs servers to ask.
        _ => eprintln!("dhcp: run tests/bench/dhcp.sh, which starts the servers"),
    }
}

/// The MAC of machine `n`. Scattered, because dnsmasq hashes neighbours to one address and would be at a loss.
fn mac(n: u32) -> [u8; 6] {
    let x = n.wrapping_add(1).wrapping_mul(2_654_435_761);
    let b = x.to_be_bytes();
    [0x52, 0x54, b[0], b[1], b[2], b[3]]
}

struct Machine {
    begun: Instant,
    sent: Instant,
    tries: u32,
    offered: Option<([u8; 4], [u8; 4])>,
    done: Option<Duration>,
}

fn burst(server: Ipv4Addr, own: Ipv4Addr, machines: u32, round: u32) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None).unwrap();
    socket.set_recv_buffer_size(64 << 20).unwrap();
    let _ = nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::RcvBufForce, &(64 << 20));
    socket.bind(&SocketAddrV4::new(own, 67).into()).unwrap();
    let socket: UdpSocket = socket.into();
    socket.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
    let to = SocketAddrV4::new(server, 67);
    let base = round * machines;
    let start = Instant::now();
    let mut all: Vec<Machine> = Vec::new();
    for n in 0..machines {
        let now = Instant::now();
        all.push(Machine { begun: now, sent: now, tries: 0, offered: None, done: None });
        socket.send_to(&message(1, base + n, n, own, None), to).unwrap();
    }
    let (mut retransmits, mut naks, mut left) = (0u32, 0u32, machines);
    let mut buffer = [0u8; 2048];
    while left > 0 && start.elapsed() < Duration::from_secs(40) {
        if let Ok(length) = socket.recv(&mut buffer) {
            let reply = &buffer[..length];
            let n = u32::from_be_bytes(reply[4..8].try_into().unwrap());
            let Some(m) = all.get_mut(n as usize) else { continue };
            match (option(reply, 53), m.offered, m.done) {
                (Some([2]), None, None) => {
                    let id: [u8; 4] = option(reply, 54).unwrap().try_into().unwrap();
                    let address: [u8; 4] = reply[16..20].try_into().unwrap();
                    m.offered = Some((address, id));
                    (m.sent, m.tries) = (Instant::now(), 0);
                    socket.send_to(&message(3, base + n, n, own, m.offered), to).unwrap();
                }
                (Some([5]), Some(_), None) => {
                    m.done = Some(m.begun.elapsed());
                    left -= 1;
                }
                (Some([6]), _, None) => {
                    naks += 1;
                    m.offered = None;
                    socket.send_to(&message(1, base + n, n, own, None), to).unwrap();
                }
                _ => {}
            }
            continue;
        }
        for (n, m) in all.iter_mut().enumerate().filter(|(_, m)| m.done.is_none()) {
            // As firmware does: 1, 2, 4, 8 s.
            if m.sent.elapsed() >= Duration::from_secs(1 << m.tries.min(3)) {
                (m.sent, m.tries) = (Instant::now(), m.tries + 1);
                retransmits += 1;
                let kind = if m.offered.is_some() { 3 } else { 1 };
                socket.send_to(&message(kind, base + n as u32, n as u32, own, m.offered), to).unwrap();
            }
        }
    }
    let mut times: Vec<Duration> = all.iter().filter_map(|m| m.done).collect();
    times.sort();
    let at = |part: f64| times.get((times.len() as f64 * part) as usize).or(times.last());
    let ms = |d: Option<&Duration>| d.map_or(f64::NAN, |d| d.as_secs_f64() * 1000.0);
    println!(
        "done={} p50_ms={:.1} p99_ms={:.1} all_ms={:.1} retransmits={retransmits} naks={naks}",
        times.len(),
        ms(at(0.5)),
        ms(at(0.99)),
        ms(times.last())
    );
}

/// A relayed PXE client's message; `xid` is the machine's number.
fn message(kind: u8, n: u32, xid: u32, relay: Ipv4Addr, offered: Option<([u8; 4], [u8; 4])>) -> Vec<u8> {
    let mut m = vec![0u8; 240];
    m[..4].copy_from_slice(&[1, 1, 6, 1]);
    m[4..8].copy_from_slice(&xid.to_be_bytes());
    m[24..28].copy_from_slice(&relay.octets());
    m[28..34].copy_from_slice(&mac(n));
    m[236..240].copy_from_slice(&[99, 130, 83, 99]);
    m.extend_from_slice(&[53, 1, kind, 57, 2, 5, 0xc0, 93, 2, 0, 0, 55, 6, 1, 3, 6, 54, 66, 67]);
    if let Some((address, server)) = offered {
        m.extend_from_slice(&[50, 4]);
        m.extend_from_slice(&address);
        m.extend_from_slice(&[54, 4]);
        m.extend_from_slice(&server);
    }
    let class = b"PXEClient:Arch:00000:UNDI:002001";
    m.extend_from_slice(&[60, class.len() as u8]);
    m.extend_from_slice(class);
    m.push(255);
    m
}

fn option(packet: &[u8], code: u8) -> Option<&[u8]> {
    let mut at = 240;
    while let [c, rest @ ..] = packet.get(at..)? {
        match c {
            0 => at += 1,
            255 => return None,
            _ => {
                let length = usize::from(*rest.first()?);
                if *c == code {
                    return packet.get(at + 2..at + 2 + length);
                }
                at += 2 + length;
            }
        }
    }
    None
}
