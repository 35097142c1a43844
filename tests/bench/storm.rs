//! Owns the boot storm: N simulated nodes that boot at once (DHCP, TFTP, DHCP as iPXE, script, kernel, initrd, answer
//! file), and what they felt. It plays the nodes only; which servers answer is the caller's affair.
//!
//! DHCP goes as through a relay (giaddr is this machine), so that one socket can play every node. Retransmission is
//! a firmware's: 4 s, doubling. Every byte is counted; a short or failed transfer is a failed node.
//!
//! Kernels and initrds are received by a thread of their own and thrown away in the kernel: what the small requests felt
//! is the servers' doing, not that of a generator which is busy copying.
//!
//! Usage: `storm --server IP --me IP --nodes N [--mac-base aa:bb:cc:00:00:00] [--loader FILE] [--timeout SECS]`

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench tool, not the product")]

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::runtime::{Builder, Handle};
use tokio::sync::{Mutex, mpsc};

type Waiting = Arc<Mutex<HashMap<u32, mpsc::Sender<Vec<u8>>>>>;

#[derive(Clone)]
struct Plan {
    server: Ipv4Addr,
    me: Ipv4Addr,
    loader: String,
    window: u16,
    /// Where the bulk is received.
    bulk: Handle,
}

#[derive(Default, Clone)]
struct Felt {
    dhcp: Duration,
    tftp: Duration,
    script: Duration,
    bulk: Duration,
    answer: Duration,
    retransmits: u32,
    bytes: u64,
}

fn main() {
    let mut args: HashMap<String, String> = HashMap::new();
    let mut words = std::env::args().skip(1);
    while let Some(w) = words.next() {
        if let Some(name) = w.strip_prefix("--") {
            args.insert(name.to_string(), words.next().unwrap_or_default());
        }
    }
    if args.contains_key("bench") && !args.contains_key("server") {
        // `cargo bench` without arguments runs every bench; this one needs servers to boot from.
        eprintln!("storm: run tests/bench/run, which starts the servers");
        return;
    }
    let get = |k: &str, d: &str| args.get(k).cloned().unwrap_or_else(|| d.to_string());
    let nodes: u32 = get("nodes", "512").parse().expect("--nodes is a number");
    let bulk = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let plan = Plan {
        bulk: bulk.handle().clone(),
        server: get("server", "10.79.0.1").parse().expect("--server is an address"),
        me: get("me", "10.79.0.2").parse().expect("--me is an address"),
        loader: get("loader", "undionly.kpxe"),
        window: get("window", "1").parse().expect("--window is a number"),
    };
    let limit: u64 = get("timeout", "120").parse().expect("--timeout is in seconds");
    let base: Vec<u8> = get("mac-base", "52:54:00:00:00:00")
        .split(':')
        .map(|p| u8::from_str_radix(p, 16).expect("--mac-base is a MAC address"))
        .collect();
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let failed = runtime.block_on(run(plan, nodes, base, Duration::from_secs(limit)));
    std::process::exit(if failed == 0 { 0 } else { 1 });
}

async fn run(plan: Plan, nodes: u32, base: Vec<u8>, limit: Duration) -> usize {
    let socket = UdpSocket::bind((plan.me, 67)).await.expect("port 67 of the generator's address");
    // 512 offers at once do not fit the default buffer: the generator must not be what loses them.
    let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(16 << 20);
    let socket = Arc::new(socket);
    let waiting: Waiting = Arc::default();
    let (s, w) = (socket.clone(), waiting.clone());
    tokio::spawn(async move {
        let mut buffer = vec![0u8; 2048];
        while let Ok(n) = s.recv(&mut buffer).await {
            if n >= 240 {
                let xid = u32::from_be_bytes([buffer[4], buffer[5], buffer[6], buffer[7]]);
                if let Some(tx) = w.lock().await.get(&xid) {
                    let _ = tx.try_send(buffer[..n].to_vec());
                }
            }
        }
    });
    let start = Instant::now();
    let mut tasks = Vec::new();
    for i in 0..nodes {
        let mut mac = [base[0], base[1], base[2], 0, 0, 0];
        // Scattered: an odd factor permutes the lower 24 bits, so no two nodes share an address.
        let n = (i + 1).wrapping_mul(0x9e_3779);
        mac[3] = (n >> 16) as u8;
        mac[4] = (n >> 8) as u8;
        mac[5] = n as u8;
        let (plan, socket, waiting) = (plan.clone(), socket.clone(), waiting.clone());
        tasks.push(tokio::spawn(async move {
            match tokio::time::timeout(limit, boot(plan, mac, i, socket, waiting)).await {
                Ok(r) => r,
                Err(_) => Err("timed out".to_string()),
            }
        }));
    }
    let (mut felt, mut errors) = (Vec::new(), Vec::new());
    for t in tasks {
        match t.await {
            Ok(Ok(f)) => felt.push(f),
            Ok(Err(e)) => errors.push(e),
            Err(e) => errors.push(e.to_string()),
        }
    }
    let p99 = |pick: fn(&Felt) -> Duration| {
        let mut all: Vec<Duration> = felt.iter().map(pick).collect();
        all.sort();
        all.get(all.len().saturating_mul(99) / 100).or(all.last()).map_or(0.0, |d| d.as_secs_f64() * 1000.0)
    };
    println!(
        "nodes={nodes} failed={} seconds={:.3} dhcp_p99_ms={:.1} tftp_p99_ms={:.1} script_p99_ms={:.1} \
         bulk_p99_ms={:.1} answer_p99_ms={:.1} retransmits={} mib={}",
        errors.len(),
        start.elapsed().as_secs_f64(),
        p99(|f| f.dhcp),
        p99(|f| f.tftp),
        p99(|f| f.script),
        p99(|f| f.bulk),
        p99(|f| f.answer),
        felt.iter().map(|f| f.retransmits).sum::<u32>(),
        felt.iter().map(|f| f.bytes).sum::<u64>() >> 20,
    );
    errors.sort();
    errors.dedup();
    for e in errors.iter().take(5) {
        eprintln!("storm: {e}");
    }
    nodes as usize - felt.len()
}

async fn boot(
    plan: Plan,
    mac: [u8; 6],
    i: u32,
    socket: Arc<UdpSocket>,
    waiting: Waiting,
) -> Result<Felt, String> {
    let mut felt = Felt::default();
    let t = Instant::now();
    let (_, me) = dhcp(&plan, mac, 2 * i + 1, false, &socket, &waiting, &mut felt.retransmits).await?;
    felt.dhcp = t.elapsed();
    let t = Instant::now();
    felt.bytes += tftp(&plan, &mut felt.retransmits).await?;
    felt.tftp = t.elapsed();
    let t = Instant::now();
    let (url, _) = dhcp(&plan, mac, 2 * i + 2, true, &socket, &waiting, &mut felt.retransmits).await?;
    felt.dhcp = felt.dhcp.max(t.elapsed());
    let hyphens = mac.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join("-");
    let url = url
        .replace("${netX/mac:hexhyp}", &hyphens)
        .replace("${platform}", "pcbios")
        .replace("${buildarch}", "i386");
    let t = Instant::now();
    let script = http(me, &url, true).await?;
    felt.script = t.elapsed();
    let text = String::from_utf8_lossy(&script.1).to_string();
    let t = Instant::now();
    let mut answer = None;
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if matches!(words.first(), Some(&"kernel") | Some(&"initrd")) {
            let url =
                words.iter().find(|w| w.starts_with("http")).ok_or_else(|| format!("no URL in: {line}"))?;
            let url = url.to_string();
            let fetched = plan.bulk.spawn(async move { http(me, &url, false).await });
            felt.bytes += fetched.await.map_err(|e| e.to_string())??.0;
            answer = answer.or(words.iter().find_map(|w| w.strip_prefix("inst.ks=").map(str::to_string)));
        }
    }
    felt.bulk = t.elapsed();
    let answer = answer.ok_or_else(|| {
        format!("the script names no inst.ks: {}", text.lines().take(3).collect::<Vec<_>>().join(" / "))
    })?;
    let t = Instant::now();
    felt.bytes += http(me, &answer, false).await?.0;
    felt.answer = t.elapsed();
    Ok(felt)
}

/// DISCOVER to ACK; returns the boot file that the ACK names, and the address.
async fn dhcp(
    plan: &Plan,
    mac: [u8; 6],
    xid: u32,
    ipxe: bool,
    socket: &UdpSocket,
    waiting: &Waiting,
    retransmits: &mut u32,
) -> Result<(String, Ipv4Addr), String> {
    let (tx, mut rx) = mpsc::channel(4);
    waiting.lock().await.insert(xid, tx);
    let to = SocketAddr::from((plan.server, 67));
    let offer = exchange(socket, to, &packet(plan, mac, xid, ipxe, 1, None), &mut rx, 2, retransmits).await?;
    let address = Ipv4Addr::new(offer[16], offer[17], offer[18], offer[19]);
    let server = option(&offer, 54).ok_or("an OFFER without a server id")?;
    let request = packet(plan, mac, xid, ipxe, 3, Some((address, server)));
    let ack = exchange(socket, to, &request, &mut rx, 5, retransmits).await?;
    waiting.lock().await.remove(&xid);
    let file = option(&ack, 67).unwrap_or_else(|| ack[108..236].to_vec());
    Ok((String::from_utf8_lossy(&file).trim_end_matches('\0').to_string(), address))
}

async fn exchange(
    socket: &UdpSocket,
    to: SocketAddr,
    bytes: &[u8],
    rx: &mut mpsc::Receiver<Vec<u8>>,
    want: u8,
    retransmits: &mut u32,
) -> Result<Vec<u8>, String> {
    for wait in [4u64, 8, 16, 32] {
        socket.send_to(bytes, to).await.map_err(|e| e.to_string())?;
        let end = tokio::time::Instant::now() + Duration::from_secs(wait);
        while let Ok(Some(reply)) = tokio::time::timeout_at(end, rx.recv()).await {
            match option(&reply, 53).and_then(|t| t.first().copied()) {
                Some(t) if t == want => return Ok(reply),
                Some(6) => return Err("NAK".to_string()),
                _ => {}
            }
        }
        *retransmits += 1;
    }
    Err(format!("no DHCP message of type {want}"))
}

fn packet(
    plan: &Plan,
    mac: [u8; 6],
    xid: u32,
    ipxe: bool,
    kind: u8,
    take: Option<(Ipv4Addr, Vec<u8>)>,
) -> Vec<u8> {
    let mut p = vec![0u8; 240];
    p[..4].copy_from_slice(&[1, 1, 6, 1]);
    p[4..8].copy_from_slice(&xid.to_be_bytes());
    p[24..28].copy_from_slice(&plan.me.octets());
    p[28..34].copy_from_slice(&mac);
    p[236..240].copy_from_slice(&[99, 130, 83, 99]);
    let mut add = |code: u8, value: &[u8]| {
        p.push(code);
        p.push(value.len() as u8);
        p.extend_from_slice(value);
    };
    add(53, &[kind]);
    if let Some((address, server)) = take {
        add(50, &address.octets());
        add(54, &server);
    }
    add(55, &[1, 3, 6, 12, 15, 42, 43, 60, 66, 67]);
    add(60, b"PXEClient:Arch:00000:UNDI:002001");
    add(93, &[0, 0]);
    if ipxe {
        add(77, b"iPXE");
    }
    p.push(255);
    p
}

fn option(packet: &[u8], code: u8) -> Option<Vec<u8>> {
    let mut i = 240;
    while i + 1 < packet.len() && packet[i] != 255 {
        if packet[i] == 0 {
            i += 1;
            continue;
        }
        let (c, n) = (packet[i], packet[i + 1] as usize);
        if c == code {
            return packet.get(i + 2..i + 2 + n).map(<[u8]>::to_vec);
        }
        i += 2 + n;
    }
    None
}

/// Reads the loader with block size 1468; returns its size.
async fn tftp(plan: &Plan, retransmits: &mut u32) -> Result<u64, String> {
    let socket = UdpSocket::bind((plan.me, 0)).await.map_err(|e| e.to_string())?;
    let mut rrq = vec![0, 1];
    let window = plan.window.to_string();
    let mut words = vec![plan.loader.as_str(), "octet", "tsize", "0", "blksize", "1468"];
    if plan.window > 1 {
        words.extend(["windowsize", window.as_str()]);
    }
    for word in words {
        rrq.extend_from_slice(word.as_bytes());
        rrq.push(0);
    }
    let (mut to, mut last): (SocketAddr, Vec<u8>) = ((plan.server, 69).into(), rrq);
    let (mut block, mut total, mut size, mut in_window) = (0u16, 0u64, 512usize, 0u16);
    let mut buffer = [0u8; 2048];
    socket.send_to(&last, to).await.map_err(|e| e.to_string())?;
    let mut tries = 0;
    loop {
        let Ok(got) = tokio::time::timeout(Duration::from_secs(4), socket.recv_from(&mut buffer)).await
        else {
            tries += 1;
            *retransmits += 1;
            if tries > 8 {
                return Err("TFTP: no answer".to_string());
            }
            socket.send_to(&last, to).await.map_err(|e| e.to_string())?;
            continue;
        };
        let (n, from) = got.map_err(|e| e.to_string())?;
        if n < 4 || from.ip() != to.ip() {
            continue;
        }
        match buffer[1] {
            6 => {
                to = from;
                size = 1468;
                last = vec![0, 4, 0, 0];
            }
            3 => {
                to = from;
                let number = u16::from_be_bytes([buffer[2], buffer[3]]);
                if number != block.wrapping_add(1) {
                    continue;
                }
                block = number;
                total += n as u64 - 4;
                in_window += 1;
                last = vec![0, 4, buffer[2], buffer[3]];
                let end = n - 4 < size;
                if !end && in_window < plan.window {
                    continue;
                }
                in_window = 0;
                if end {
                    socket.send_to(&last, to).await.map_err(|e| e.to_string())?;
                    return Ok(total);
                }
            }
            5 => return Err(format!("TFTP: {}", String::from_utf8_lossy(&buffer[4..n - 1]))),
            _ => continue,
        }
        tries = 0;
        socket.send_to(&last, to).await.map_err(|e| e.to_string())?;
    }
}

/// GET over a connection of its own from the node's address, which storm.sh makes one of this machine; returns the body's length, and the body if it is kept.
async fn http(me: Ipv4Addr, url: &str, keep: bool) -> Result<(u64, Vec<u8>), String> {
    let rest = url.strip_prefix("http://").ok_or_else(|| format!("not an http URL: {url}"))?;
    let (host, path) = rest.split_once('/').ok_or_else(|| format!("no path: {url}"))?;
    let address = if host.contains(':') { host.to_string() } else { format!("{host}:80") };
    let address: SocketAddr = address.parse().map_err(|_| format!("not an address: {host}"))?;
    let fail = |e: std::io::Error| format!("HTTP {url}: {e}");
    let socket = TcpSocket::new_v4().map_err(fail)?;
    socket.bind((me, 0).into()).map_err(fail)?;
    let mut stream = socket.connect(address).await.map_err(fail)?;
    let request =
        format!("GET /{path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: storm\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(fail)?;
    let mut head = Vec::new();
    let mut buffer = vec![0u8; 256 * 1024];
    let split = loop {
        let n = stream.read(&mut buffer).await.map_err(fail)?;
        if n == 0 {
            return Err(format!("HTTP {url}: closed before the header's end"));
        }
        head.extend_from_slice(&buffer[..n]);
        if let Some(at) = head.windows(4).position(|w| w == b"\r\n\r\n") {
            break at + 4;
        }
    };
    let text = String::from_utf8_lossy(&head[..split]).to_lowercase();
    if !text.starts_with("http/1.1 200") {
        return Err(format!("HTTP {url}: {}", text.lines().next().unwrap_or_default()));
    }
    let length: u64 = text
        .lines()
        .find_map(|l| l.strip_prefix("content-length:"))
        .and_then(|v| v.trim().parse().ok())
        .ok_or_else(|| format!("HTTP {url}: no Content-Length"))?;
    let mut body = head.split_off(split);
    let mut got = body.len() as u64;
    while got < length {
        let n = if keep { stream.read(&mut buffer).await } else { discard(&stream, &mut buffer).await };
        let n = n.map_err(fail)?;
        if n == 0 {
            return Err(format!("HTTP {url}: ended after {got} of {length} bytes"));
        }
        got += n as u64;
        if keep {
            body.extend_from_slice(&buffer[..n]);
        }
    }
    Ok((got, body))
}

/// Takes what has arrived, without copying it (MSG_TRUNC of TCP); how much it was.
async fn discard(stream: &TcpStream, buffer: &mut [u8]) -> std::io::Result<usize> {
    use nix::sys::socket::{MsgFlags, recv};
    loop {
        stream.readable().await?;
        let flags = MsgFlags::MSG_TRUNC | MsgFlags::MSG_DONTWAIT;
        let got = stream.try_io(Interest::READABLE, || Ok(recv(stream.as_raw_fd(), buffer, flags)?));
        match got {
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
            other => return other,
        }
    }
}
