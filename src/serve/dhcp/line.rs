//! Owns one interface's packets: drains them, decides under one look at the ledger, makes the facts durable in one
//! flush, and only then sends the ACKs.

use super::air::{Errand, Queue};
use super::{Shared, Tally};
use crate::base::{Mac, Timestamp};
use crate::boot::decide::identity;
use crate::dhcp::answer::Verdict;
use crate::dhcp::{Heard, Kind, Me, Reply, SERVER_PORT, packet, route};
use crate::lifecycle::Event;
use crate::problem::{Problem, reason};
use crate::serve::netlink::{self, Hears, Interface, Packets};
use crate::serve::ports::{self, Transport};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrIn, recv, sendmsg};
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{self, IoSlice};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Packets that share one look at the ledger and one flush.
const BATCH: usize = 256;
/// How often the interface itself is looked at.
const LOOK: Duration = Duration::from_secs(2);

/// One interface that is served.
pub struct Line {
    shared: Arc<Shared>,
    queue: Arc<Queue>,
    name: String,
    server: Ipv4Addr,
    wire: Wire,
    looked: Instant,
    /// Whether the interface still has our address.
    fit: bool,
}

/// The sockets of a line; made anew when the interface was gone.
struct Wire {
    index: u32,
    udp: Socket,
    frames: Packets,
}

/// Port 67 of one interface.
///
/// Bound to the interface: other interfaces' DHCP (libvirt's, a hotspot's) is not disturbed (field-pain #25).
pub fn listen(interface: &str) -> io::Result<Socket> {
    let udp = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    udp.bind_device(Some(interface.as_bytes()))?;
    udp.set_broadcast(true)?;
    udp.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, SERVER_PORT).into())?;
    Ok(udp)
}

impl Wire {
    fn open(link: &Interface) -> io::Result<Wire> {
        let udp = listen(&link.name)?;
        // A burst of 4,096 machines fits; the system's 208 KiB loses most of 512 (performance facts, DHCP).
        ports::widen(&udp);
        let frames = Packets::open(link.index, Hears::Nothing)?;
        Ok(Wire { index: link.index, udp, frames })
    }
}

/// What comes of a batch.
#[derive(Default)]
struct Outcome {
    now: Vec<Reply>,
    /// Only after the events are durable.
    after: Vec<Reply>,
    events: Vec<Event>,
    ignored: u64,
}

impl Line {
    pub fn bind(
        shared: Arc<Shared>,
        queue: Arc<Queue>,
        link: &Interface,
        server: Ipv4Addr,
    ) -> Result<Line, Problem> {
        let wire = Wire::open(link).map_err(|e| cannot_bind(&link.name, &e))?;
        Ok(Line { shared, queue, name: link.name.clone(), server, wire, looked: Instant::now(), fit: true })
    }

    /// Serves until told to stop. An interface that goes away is waited for.
    pub fn run(mut self) {
        let mut batch = Vec::with_capacity(BATCH);
        while !self.shared.stopped() {
            if self.looked.elapsed() >= LOOK {
                self.look();
            }
            let waiting = {
                let mut fds = [PollFd::new(self.wire.udp.as_fd(), PollFlags::POLLIN)];
                poll(&mut fds, PollTimeout::from(200u8)).unwrap_or(0) > 0
            };
            if !waiting {
                continue;
            }
            match self.drain(&mut batch) {
                Ok(()) if self.fit => self.take(&mut batch),
                Ok(()) => batch.clear(),
                Err(e) => {
                    self.shared.trouble(&self.name, Some(format!("DHCP on {}: {}", self.name, reason(&e))));
                    std::thread::sleep(Duration::from_millis(200));
                }
            }
        }
    }

    /// Reads all that waits, at most a batch.
    fn drain(&self, batch: &mut Vec<Heard>) -> io::Result<()> {
        let mut buffer = [0u8; 4096];
        batch.clear();
        for _ in 0..BATCH {
            let length = match recv(self.wire.udp.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(n) => n,
                Err(nix::errno::Errno::EAGAIN) => break,
                Err(nix::errno::Errno::EINTR) => continue,
                Err(e) => return Err(e.into()),
            };
            // A fault in a decoder costs one packet, not the server.
            let read = std::panic::catch_unwind(|| packet::read(&buffer[..length]));
            match read {
                Ok(Ok(heard)) => batch.push(heard),
                Ok(Err(why)) => {
                    tracing::debug!("{}: {length} bytes: {why}", self.name);
                    Tally::add(&self.shared.tally.rejected, 1);
                }
                Err(_) => Tally::add(&self.shared.tally.rejected, 1),
            }
        }
        Tally::add(&self.shared.tally.heard, batch.len() as u64);
        Ok(())
    }

    fn take(&self, batch: &mut Vec<Heard>) {
        let now = self.shared.now();
        let outcome = self.decide(batch, now);
        Tally::add(&self.shared.tally.ignored, outcome.ignored);
        // An OFFER promises nothing that must survive: it does not wait for the disk.
        self.send_all(&outcome.now);
        if self.shared.record(outcome.events) {
            self.send_all(&outcome.after);
        } else {
            Tally::add(&self.shared.tally.withheld, outcome.after.len() as u64);
        }
    }

    fn decide(&self, batch: &mut Vec<Heard>, now: Timestamp) -> Outcome {
        let world = self.shared.hub.world();
        let site = &world.site;
        let url = match site.server.http_port {
            80 => format!("http://{}", self.server),
            port => format!("http://{}:{port}", self.server),
        };
        let me = Me {
            server: self.server,
            url: &url,
            network: site.provisioning(),
            domain: &site.domain,
            lease_secs: site.server.lease_secs,
            alone: site.server.tolerate.is_empty(),
        };
        let mut out = Outcome::default();
        let mut chosen: Vec<(Ipv4Addr, Mac)> = Vec::new();
        let ledger = self.shared.hub.ledger();
        let mut desk = self.shared.desk();
        for heard in batch.drain(..) {
            let turn = desk.turn(world.known(&ledger), &me, &heard, now);
            out.ignored += u64::from(turn.ignored);
            out.events.extend(turn.events);
            chosen.extend(turn.rival.map(|server| (server, heard.ask.mac)));
            if let Some(address) = turn.probe {
                let mac = identity(site, heard.ask.mac);
                let errand = match heard.kind {
                    Kind::Decline => Errand::Declined(mac),
                    _ => Errand::Node(mac),
                };
                self.queue.add(address, errand);
            }
            match turn.reply {
                Some(r) if r.verdict == Verdict::Ack => out.after.push(r),
                Some(r) => out.now.push(r),
                None => {}
            }
        }
        drop((desk, ledger));
        if !chosen.is_empty() {
            let mut watch = self.shared.watch();
            out.events.extend(chosen.iter().filter_map(|(s, m)| watch.chosen(&self.name, *s, *m, now)));
        }
        out
    }

    fn send_all(&self, replies: &[Reply]) {
        let mut sent = 0;
        for reply in replies {
            match self.send(reply) {
                Ok(()) => sent += 1,
                Err(e) => {
                    let to = reply.route.to();
                    tracing::debug!("{}: cannot send to {to}: {}", self.name, reason(&e));
                    self.shared.trouble(
                        &format!("{} send", self.name),
                        Some(format!("DHCP answers cannot leave by {}: {}", self.name, reason(&e))),
                    );
                }
            }
        }
        if sent > 0 {
            self.shared.trouble(&format!("{} send", self.name), None);
        }
        Tally::add(&self.shared.tally.answered, sent);
    }

    fn send(&self, reply: &Reply) -> io::Result<()> {
        let to = reply.route.to();
        if let Some(mac) = reply.route.frame_to() {
            let from = SocketAddrV4::new(self.server, SERVER_PORT);
            return self.wire.frames.send(mac, &route::udp(from, to, &reply.bytes));
        }
        // From our address whatever others the interface has: clients and relays compare it with option 54.
        let source = nix::libc::in_pktinfo {
            ipi_ifindex: self.wire.index as i32,
            ipi_spec_dst: nix::libc::in_addr { s_addr: u32::from(self.server).to_be() },
            ipi_addr: nix::libc::in_addr { s_addr: 0 },
        };
        sendmsg(
            self.wire.udp.as_raw_fd(),
            &[IoSlice::new(&reply.bytes)],
            &[ControlMessage::Ipv4PacketInfo(&source)],
            MsgFlags::empty(),
            Some(&SockaddrIn::from(to)),
        )?;
        Ok(())
    }

    /// Looks at the interface: is it there, has it our address? (`serve::watch` looks after the site's own address
    /// and cable, whoever serves there.)
    fn look(&mut self) {
        self.looked = Instant::now();
        let name = &self.name;
        let Ok(found) = netlink::interface(name) else { return };
        self.fit = found.as_ref().is_some_and(|l| l.has(self.server));
        let elsewhere = self.shared.hub.world().site.server.address != self.server;
        let mut trouble = (!self.fit && elsewhere).then(|| {
            let server = self.server;
            format!(
                "interface {name} has lost the address {server}: DHCP answers nobody there until it is back"
            )
        });
        if let Some(link) = found
            && link.index != self.wire.index
        {
            // Plugged in again: it has another number, and the old sockets hear nothing.
            match Wire::open(&link) {
                Ok(wire) => self.wire = wire,
                Err(e) => trouble = Some(cannot_bind(name, &e).what),
            }
        }
        self.shared.trouble(name, trouble);
    }
}

/// Who is in the way of port 67 on `interface`, and how to make it go (field-pain #25).
pub fn cannot_bind(interface: &str, error: &io::Error) -> Problem {
    let everywhere = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, SERVER_PORT);
    ports::explain(error, Transport::Udp, everywhere, &format!("DHCP by interface {interface}"))
}
