//! Owns what others say on one interface: who uses which address (ARP), which other DHCP servers answer.

use super::Shared;
use crate::base::{Mac, Timestamp};
use crate::dhcp::arp;
use crate::dhcp::turn::QUARANTINE_SECS;
use crate::lifecycle::{Event, What};
use crate::problem::{Problem, reason};
use crate::serve::netlink::{self, Hears, Interface, Packets};
use crate::serve::rivals::{self, Rival};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;
use std::os::fd::AsFd as _;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// How many free pool addresses are kept probed ahead.
const AHEAD: usize = 512;
/// Probes under way at one time: a quiet trickle, not a storm.
const AT_ONCE: usize = 64;
/// Two probes so far apart, and a verdict so long after the second (RFC 5227 spaces them wider because its hosts wait
/// for nothing else; here nobody waits).
const BETWEEN: Duration = Duration::from_millis(250);
const VERDICT: Duration = Duration::from_millis(400);
/// How often other DHCP servers are asked to speak while we serve.
const ASK_RIVALS: Duration = Duration::from_secs(60);
/// After a link came up they are asked so many seconds later: a switch port with spanning tree passes nothing on for
/// 30 s or more (field-pain #27), and until then silence proves nothing. No oftener: a server that pings an address before
/// it offers it (dnsmasq) does nothing else meanwhile.
const AFTER_LINK: [u64; 4] = [0, 5, 18, 36];
/// So long after a link came up discovered machines get nothing yet.
const UNSURE: Duration = Duration::from_secs(40);

/// Why an address is probed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Errand {
    /// To offer it later.
    Pool,
    /// It is this node's own; somebody else on it is worth an alarm.
    Node(Mac),
    /// This machine declined it: who has it?
    Declined(Mac),
}

/// Addresses that wait to be probed.
#[derive(Debug, Default)]
pub struct Queue(Mutex<VecDeque<(Ipv4Addr, Errand)>>);

impl Queue {
    pub fn add(&self, address: Ipv4Addr, errand: Errand) {
        let mut all = self.lock();
        // Beyond this nobody waits for the answer any more.
        if all.len() < 8192 {
            all.push_back((address, errand));
        }
    }
    fn lock(&self) -> MutexGuard<'_, VecDeque<(Ipv4Addr, Errand)>> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// An address being probed.
struct Flight {
    errand: Errand,
    sent: u8,
    next: Instant,
}

/// The ears on one interface.
pub struct Air {
    shared: Arc<Shared>,
    queue: Arc<Queue>,
    name: String,
    server: Ipv4Addr,
    wire: Wire,
    flights: BTreeMap<Ipv4Addr, Flight>,
    refilled: Option<Instant>,
    asked_rivals: Instant,
    /// Whether the interface has a link.
    carrier: bool,
    /// When it came up while we served, or when we began to serve, until all of `AFTER_LINK` were asked; how many were.
    link: Option<(Instant, usize)>,
}

struct Wire {
    index: u32,
    mac: Mac,
    arp: Packets,
    ear: Packets,
}

impl Wire {
    fn open(link: &Interface) -> std::io::Result<Wire> {
        Ok(Wire {
            index: link.index,
            mac: link.mac.unwrap_or(Mac([2, 0, 0, 0, 0, 0])),
            arp: Packets::open(link.index, Hears::Arp)?,
            ear: Packets::open(link.index, Hears::DhcpReplies)?,
        })
    }
}

impl Air {
    pub fn bind(
        shared: Arc<Shared>,
        queue: Arc<Queue>,
        link: &Interface,
        server: Ipv4Addr,
    ) -> Result<Air, Problem> {
        let wire = Wire::open(link).map_err(|e| {
            Problem::environment(format!("cannot listen for frames on {}: {}", link.name, reason(&e))).help(
                "run it as root, or: setcap cap_net_bind_service,cap_net_raw=+ep $(command -v bootstead)",
            )
        })?;
        Ok(Air {
            shared,
            queue,
            name: link.name.clone(),
            server,
            wire,
            flights: BTreeMap::new(),
            refilled: None,
            asked_rivals: Instant::now(),
            carrier: link.carrier,
            link: None,
        })
    }

    /// Before serving: who else is a DHCP server here? The first pool addresses are probed meanwhile.
    pub fn survey(&mut self) -> Vec<Rival> {
        let mut found: Vec<Rival> = Vec::new();
        let start = Instant::now();
        let mut probes = rivals::PROBES.iter().peekable();
        while start.elapsed() < rivals::LISTEN && !self.shared.stopped() {
            if let Some((at, secs)) = probes.peek()
                && start.elapsed() >= Duration::from_millis(*at)
            {
                let _ = rivals::speak(&self.wire.ear, *secs);
                probes.next();
            }
            for rival in self.turn(Duration::from_millis(50)) {
                if !found.contains(&rival) {
                    found.push(rival);
                }
            }
        }
        // What was asked without a link was not asked.
        self.carrier = matches!(netlink::interface(&self.name), Ok(Some(link)) if link.carrier);
        found
    }

    /// Listens until told to stop.
    pub fn run(mut self) {
        let mut looked = Instant::now();
        // A survey over a link that was down, or behind a port that did not pass anything on yet, proves nothing.
        self.link = Some((Instant::now(), 2));
        while !self.shared.stopped() {
            let rivals = self.turn(Duration::from_millis(100));
            let now = self.shared.now();
            self.ask_after_link();
            if self.asked_rivals.elapsed() >= ASK_RIVALS {
                self.asked_rivals = Instant::now();
                let _ = rivals::speak(&self.wire.ear, 8);
            }
            let news: Vec<Event> = {
                let mut watch = self.shared.watch();
                rivals.iter().filter_map(|r| watch.note(r, now)).collect()
            };
            if !news.is_empty() {
                self.shared.record(news);
            }
            if looked.elapsed() >= Duration::from_secs(1) {
                looked = Instant::now();
                self.alarm(now);
                self.look();
            }
        }
    }

    /// While a rival answers: the site's own nodes are served (their addresses are the operator's word, and a wrong
    /// answer from the other side is what they need saving from); discovered machines get nothing, because an
    /// address of ours could be one of the other's.
    fn alarm(&self, now: Timestamp) {
        let tolerate = self.shared.hub.world().site.server.tolerate.clone();
        let present = self.shared.watch().present(&tolerate, now);
        self.shared.desk().rival_here = !present.is_empty();
        let names: Vec<String> = present.iter().map(Ipv4Addr::to_string).collect();
        let sentence = format!(
            "another DHCP server ({}) answers on this network: the site's nodes are served, discovered machines are \
             not, until it is gone or named under tolerate",
            names.join(", ")
        );
        self.shared.trouble("rival", (!present.is_empty()).then_some(sentence));
    }

    /// An interface that was plugged in again has another number; a cable that was plugged in may lead elsewhere.
    fn look(&mut self) {
        let Ok(Some(link)) = netlink::interface(&self.name) else {
            self.carrier = false;
            return;
        };
        if link.carrier && !self.carrier {
            tracing::info!("{} has a link: looking for other DHCP servers there", self.name);
            self.shared.desk().unsure.insert(self.name.clone());
            self.link = Some((Instant::now(), 0));
        }
        self.carrier = link.carrier;
        if link.index != self.wire.index
            && let Ok(wire) = Wire::open(&link)
        {
            self.wire = wire;
        }
    }

    /// Asks other servers to speak while it is not sure that they could hear us.
    fn ask_after_link(&mut self) {
        let Some((since, asked)) = self.link else { return };
        if AFTER_LINK.get(asked).is_some_and(|at| since.elapsed() >= Duration::from_secs(*at)) {
            let secs = u16::try_from(since.elapsed().as_secs()).unwrap_or(u16::MAX);
            let _ = rivals::speak(&self.wire.ear, secs);
            self.link = Some((since, asked + 1));
        }
        if since.elapsed() >= UNSURE {
            self.link = None;
            self.shared.desk().unsure.remove(&self.name);
        }
    }

    /// One round: waits at most `wait` for packets, takes them in, moves the probes on. Returns rivals heard.
    fn turn(&mut self, wait: Duration) -> Vec<Rival> {
        {
            let mut fds = [
                PollFd::new(self.wire.arp.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.wire.ear.as_fd(), PollFlags::POLLIN),
            ];
            let _ = poll(&mut fds, PollTimeout::from(wait.as_millis() as u8));
        }
        self.hear_arp();
        self.refill();
        self.launch();
        self.advance();
        let server = self.server;
        rivals::heard(&self.wire.ear, &self.name).into_iter().filter(|r| r.server != server).collect()
    }

    fn hear_arp(&mut self) {
        let mut buffer = [0u8; 256];
        let mut events = Vec::new();
        while let Ok(Some((length, _))) = self.wire.arp.receive(&mut buffer) {
            if let Some(said) = arp::read(&buffer[..length])
                && !said.address.is_unspecified()
                && said.mac != self.wire.mac
            {
                events.extend(self.in_use(said.address, said.mac));
            }
        }
        if !events.is_empty() {
            self.shared.record(events);
        }
    }

    /// `mac` uses `address`: is that a fact to record?
    fn in_use(&mut self, address: Ipv4Addr, mac: Mac) -> Option<Event> {
        let now = self.shared.now();
        let world = self.shared.hub.world();
        let site = &world.site;
        let flight = self.flights.remove(&address);
        let what = What::AddressInUse { address, by: Some(mac), until: now.plus_secs(QUARANTINE_SECS) };
        match flight.map(|f| f.errand) {
            Some(Errand::Node(node)) => {
                let own = site.node_by_mac(mac).is_some_and(|n| n.mac() == node);
                (!own).then(|| Event::new(now, node, what))
            }
            Some(Errand::Declined(by)) => (mac != by).then(|| Event::new(now, by, what)),
            // Probed, or merely heard talking: a pool address that nobody has from us.
            Some(Errand::Pool) | None => {
                let ours =
                    site.server.discover && site.provisioning().pool.is_some_and(|p| p.contains(address));
                if !ours {
                    return None;
                }
                let ledger = self.shared.hub.ledger();
                // Whoever has or had it on lease from us is not an intruder.
                if ledger.last_holder(address) == Some(mac)
                    || ledger.holder(address, now).is_some()
                    || ledger.is_set_aside(address, now)
                {
                    return None;
                }
                drop(ledger);
                self.shared.desk().offers.mark_used(address);
                Some(Event::server(now, what))
            }
        }
    }

    /// Once a second: which pool addresses should be known to be free?
    fn refill(&mut self) {
        if self.refilled.is_some_and(|at| at.elapsed() < Duration::from_secs(1)) {
            return;
        }
        self.refilled = Some(Instant::now());
        let world = self.shared.hub.world();
        if !world.site.server.discover {
            return;
        }
        let wanted = {
            let ledger = self.shared.hub.ledger();
            self.shared.desk().offers.to_probe(&world.site, &ledger, AHEAD, self.shared.now())
        };
        let mut queue = self.queue.lock();
        if queue.len() < AHEAD {
            let flights = &self.flights;
            queue.extend(wanted.into_iter().filter(|a| !flights.contains_key(a)).map(|a| (a, Errand::Pool)));
        }
    }

    /// Takes addresses from the queue, those of nodes and declines first.
    fn launch(&mut self) {
        let now = Instant::now();
        let mut queue = self.queue.lock();
        while self.flights.len() < AT_ONCE {
            let urgent = queue.iter().position(|(_, e)| *e != Errand::Pool);
            let Some((address, errand)) = queue.remove(urgent.unwrap_or(0)) else { break };
            self.flights.insert(address, Flight { errand, sent: 0, next: now });
        }
    }

    /// Sends what is due, and takes silence for an answer.
    fn advance(&mut self) {
        let now = Instant::now();
        let mut free = Vec::new();
        self.flights.retain(|address, flight| {
            if now < flight.next {
                return true;
            }
            if flight.sent == 2 {
                free.push((*address, flight.errand));
                return false;
            }
            if self.wire.arp.send(Mac([0xff; 6]), &arp::probe(self.wire.mac, *address)).is_err() {
                // No link: nothing is known about the address.
                return false;
            }
            flight.sent += 1;
            flight.next = now + if flight.sent == 2 { VERDICT } else { BETWEEN };
            true
        });
        let mut desk = self.shared.desk();
        for (address, errand) in free {
            if errand == Errand::Pool {
                desk.offers.mark_clear(address, self.shared.now());
            }
        }
    }
}
