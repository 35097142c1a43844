//! Owns other DHCP servers: makes them speak before we serve, keeps listening while we do, says once per change.

use super::netlink::{self, Hears, Packets};
use crate::base::{Mac, Timestamp};
use crate::dhcp::rival::{self, Spoken};
use crate::dhcp::{CLIENT_PORT, SERVER_PORT, route};
use crate::lifecycle::{Event, What};
use crate::problem::{Problem, reason};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsFd as _;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// When the probes leave after the start, and what `secs` they carry: servers that ping an address first answer the
/// first one after 1 to 3 s; those that wait their turn answer only clients that have been waiting.
pub const PROBES: [(u64, u16); 2] = [(0, 0), (1500, 8)];
/// How long answers are waited for.
pub const LISTEN: Duration = Duration::from_millis(4000);
/// A server that was heard within this time is there.
const PRESENT_SECS: u64 = 180;
/// Servers that are remembered: no network has more, and if it has, these are enough to refuse it.
const MANY: usize = 64;
/// After this silence, hearing it again is news.
const NEWS_SECS: u64 = 3600;

/// Another DHCP server that answered on an interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rival {
    pub interface: String,
    pub server: Ipv4Addr,
    /// The Ethernet address that its packet came from.
    pub mac: Mac,
    /// Whether it gives boot information only (proxyDHCP), no addresses.
    pub proxy: bool,
    /// What it offers, for people.
    pub offer: String,
    #[serde(skip)]
    kind: String,
}

impl Rival {
    fn new(interface: &str, mac: Mac, from: Ipv4Addr, spoken: &Spoken) -> Rival {
        let server = if spoken.server.is_unspecified() { from } else { spoken.server };
        Rival {
            interface: interface.to_string(),
            server,
            mac,
            proxy: spoken.is_proxy(),
            offer: spoken.sentence(),
            kind: spoken.kind(),
        }
    }
    /// "192.168.1.1 (52:54:00:…) answers on eth0: address …, router …".
    pub fn sentence(&self) -> String {
        format!("{} ({}) answers on {}: {}", self.server, self.mac, self.interface, self.offer)
    }
}

/// Asks on `interface` and lists every DHCP server that answers within four seconds. Takes nothing from any.
///
/// A server in this process does not hear it: frames that leave do not come back in.
pub fn probe(interface: &str) -> Result<Vec<Rival>, Problem> {
    let fail = |e: std::io::Error| refused(interface, &e);
    let Some(link) = netlink::interface(interface).map_err(fail)? else {
        return Err(Problem::environment(format!("there is no interface named {interface}")));
    };
    let ear = Packets::open(link.index, Hears::DhcpReplies).map_err(fail)?;
    let mut found: Vec<Rival> = Vec::new();
    let start = Instant::now();
    let mut probes = PROBES.iter();
    let mut next = probes.next();
    while start.elapsed() < LISTEN {
        if let Some((at, secs)) = next
            && start.elapsed() >= Duration::from_millis(*at)
        {
            next = probes.next();
            // A link that is down answers nothing; it is not this function's to complain.
            let _ = speak(&ear, *secs);
        }
        let mut wait = [PollFd::new(ear.as_fd(), PollFlags::POLLIN)];
        let _ = poll(&mut wait, PollTimeout::from(50u8));
        for rival in heard(&ear, interface) {
            if !found.iter().any(|f| f.server == rival.server && f.kind == rival.kind) {
                found.push(rival);
            }
        }
    }
    Ok(found)
}

/// Sends two DISCOVERs that take nothing: as a plain client and as a PXE client, each from an address that is made up once
/// and then kept: a server that pings an address before it offers it, three seconds for each new client, knows these two.
pub fn speak(ear: &Packets, secs: u16) -> std::io::Result<()> {
    static MADE_UP: OnceLock<[[u8; 6]; 2]> = OnceLock::new();
    let from = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, CLIENT_PORT);
    let to = SocketAddrV4::new(Ipv4Addr::BROADCAST, SERVER_PORT);
    for (pxe, mut mac) in [false, true].into_iter().zip(*MADE_UP.get_or_init(rand::random)) {
        // Locally administered, not a group (IEEE 802c).
        mac[0] = mac[0] & 0xfc | 2;
        let message = rival::probe(rand::random(), Mac(mac), pxe, secs);
        ear.send(Mac([0xff; 6]), &route::udp(from, to, &message))?;
    }
    Ok(())
}

/// What other servers said since last time.
pub fn heard(ear: &Packets, interface: &str) -> Vec<Rival> {
    let mut buffer = [0u8; 2048];
    let mut found = Vec::new();
    while let Ok(Some((length, mac))) = ear.receive(&mut buffer) {
        if let Some((from, payload)) = route::read_udp(&buffer[..length])
            && let Some(spoken) = rival::read(payload)
        {
            found.push(Rival::new(interface, mac, from, &spoken));
        }
    }
    found
}

/// The problem of a rival that the site does not tolerate.
pub fn refusal(rivals: &[Rival]) -> Problem {
    let lines: Vec<String> = rivals.iter().map(Rival::sentence).collect();
    let named: Vec<String> = rivals.iter().map(|r| format!("\"{}\"", r.server)).collect();
    Problem::environment(format!("another DHCP server is on this network: {}", lines.join("; ")))
        .why("with two of them some machines would install and others land on the other's network")
        .help(format!(
            "unplug from that network or switch that server off; if it may stay, name it in the site file: \
             [server] tolerate = [{}]",
            named.join(", ")
        ))
}

fn refused(interface: &str, error: &std::io::Error) -> Problem {
    let problem = Problem::environment(format!("cannot listen for frames on {interface}: {}", reason(error)));
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => problem
            .help("run it as root, or: setcap cap_net_bind_service,cap_net_raw=+ep $(command -v bootstead)"),
        _ => problem.help("is the interface there and switched on? (ip link)"),
    }
}

/// What is remembered of rivals while serving.
#[derive(Debug, Default)]
pub struct Watch {
    heard: BTreeMap<(String, Ipv4Addr), Seen>,
}

#[derive(Debug)]
struct Seen {
    /// Every way it was heard to answer: it may treat PXE clients otherwise than plain ones.
    kinds: BTreeSet<String>,
    gives: bool,
    last: Timestamp,
}

impl Watch {
    /// Takes note of a rival; the event if that is news.
    pub fn note(&mut self, rival: &Rival, now: Timestamp) -> Option<Event> {
        let key = (rival.interface.clone(), rival.server);
        if self.heard.len() >= MANY && !self.heard.contains_key(&key) {
            return None;
        }
        let seen =
            self.heard.entry(key).or_insert_with(|| Seen { kinds: BTreeSet::new(), gives: false, last: now });
        let back = now.since(seen.last) > NEWS_SECS * 1000;
        seen.last = now;
        seen.gives |= !rival.proxy;
        // Whoever changes its answer all the time is told of a few times, not for ever.
        let new = seen.kinds.len() < 8 && seen.kinds.insert(rival.kind.clone());
        let news = back || new;
        news.then(|| {
            let offer = format!("{} (from {})", rival.offer, rival.mac);
            Event::server(
                now,
                What::RivalHeard { interface: rival.interface.clone(), server: rival.server, offer },
            )
        })
    }

    /// Takes note that `client` chose `server` on our own segment; the event if that server was not heard lately.
    pub fn chosen(
        &mut self,
        interface: &str,
        server: Ipv4Addr,
        client: Mac,
        now: Timestamp,
    ) -> Option<Event> {
        let key = (interface.to_string(), server);
        if let Some(seen) = self.heard.get_mut(&key)
            && now.since(seen.last) <= NEWS_SECS * 1000
        {
            seen.last = now;
            return None;
        }
        // Whoever makes up servers shall not fill memory and journal.
        if self.heard.len() >= MANY {
            return None;
        }
        self.heard.insert(key, Seen { kinds: BTreeSet::new(), gives: true, last: now });
        let offer = format!("{client} took an address from it");
        Some(Event::server(now, What::RivalHeard { interface: interface.to_string(), server, offer }))
    }

    /// The servers that give addresses here now and that the site does not tolerate.
    pub fn present(&self, tolerate: &[Ipv4Addr], now: Timestamp) -> Vec<Ipv4Addr> {
        self.heard
            .iter()
            .filter(|((_, server), seen)| {
                seen.gives && !tolerate.contains(server) && now.since(seen.last) <= PRESENT_SECS * 1000
            })
            .map(|((_, server), _)| *server)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rival(offer: &str) -> Rival {
        Rival {
            interface: "eth0".into(),
            server: [10, 0, 0, 9].into(),
            mac: Mac([2, 0, 0, 0, 0, 1]),
            proxy: false,
            offer: offer.into(),
            kind: offer.into(),
        }
    }

    #[test]
    fn a_rival_is_told_once_per_change_and_is_gone_after_three_minutes() {
        let mut watch = Watch::default();
        let t = |s: u64| Timestamp(0).plus_secs(s);
        assert!(watch.note(&rival("a"), t(0)).is_some());
        assert!(watch.note(&rival("a"), t(60)).is_none());
        assert!(watch.note(&rival("b"), t(120)).is_some());
        assert_eq!(watch.chosen("eth0", [10, 0, 0, 9].into(), Mac([2, 0, 0, 0, 0, 2]), t(130)), None);
        let there = vec![Ipv4Addr::new(10, 0, 0, 9)];
        assert_eq!(watch.present(&[], t(300)), there);
        assert_eq!(watch.present(&there, t(300)), Vec::<Ipv4Addr>::new(), "tolerated");
        assert_eq!(watch.present(&[], t(311)), Vec::<Ipv4Addr>::new(), "silent for three minutes");
        assert!(watch.note(&rival("b"), t(9000)).is_some(), "back after hours");
    }

    #[test]
    fn the_refusal_names_the_server_and_what_to_type() {
        let p = refusal(&[rival("address 10.0.0.77, router 10.0.0.9")]);
        assert_eq!(p.exit, crate::problem::Exit::Environment);
        let text = p.to_string();
        for part in
            ["10.0.0.9 (02:00:00:00:00:01) answers on eth0: address 10.0.0.77", "tolerate = [\"10.0.0.9\"]"]
        {
            assert!(text.contains(part), "{text}");
        }
    }
}
