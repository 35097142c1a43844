//! Owns what the kernel knows of interfaces, and packet sockets (packet(7)): frames of our own making. The only
//! unsafe code of the server: three system calls whose address type no crate builds safely.

use crate::base::Mac;
use crate::problem::{Problem, reason};
use crate::site::Site;
use nix::net::if_::InterfaceFlags;
use socket2::{Domain, SockFilter, Socket, Type};
use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// One network interface as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    pub name: String,
    pub index: u32,
    /// None for interfaces without an Ethernet address.
    pub mac: Option<Mac>,
    /// IPv4 addresses and their prefix lengths.
    pub addresses: Vec<(Ipv4Addr, u8)>,
    /// Whether it is switched on.
    pub up: bool,
    /// Whether its link works (a cable, a peer).
    pub carrier: bool,
}

impl Interface {
    pub fn has(&self, address: Ipv4Addr) -> bool {
        self.addresses.iter().any(|(a, _)| *a == address)
    }
}

/// All interfaces of this machine (of this network namespace), by index.
pub fn interfaces() -> io::Result<Vec<Interface>> {
    let mut found: BTreeMap<String, Interface> = BTreeMap::new();
    for part in nix::ifaddrs::getifaddrs()? {
        let one = found.entry(part.interface_name.clone()).or_insert_with(|| Interface {
            name: part.interface_name.clone(),
            index: nix::net::if_::if_nametoindex(part.interface_name.as_str()).unwrap_or(0),
            mac: None,
            addresses: Vec::new(),
            up: false,
            carrier: false,
        });
        one.up |= part.flags.contains(InterfaceFlags::IFF_UP);
        one.carrier |= part.flags.contains(InterfaceFlags::IFF_RUNNING);
        let Some(address) = part.address else { continue };
        if let Some(link) = address.as_link_addr() {
            one.mac = link.addr().filter(|a| *a != [0; 6]).map(Mac);
        } else if let Some(ip) = address.as_sockaddr_in() {
            let mask = part.netmask.as_ref().and_then(|m| m.as_sockaddr_in().map(|m| u32::from(m.ip())));
            one.addresses.push((ip.ip(), mask.map_or(32, u32::count_ones) as u8));
        }
    }
    let mut all: Vec<Interface> = found.into_values().collect();
    all.sort_by_key(|i| i.index);
    Ok(all)
}

/// The interface of that name; none where it is gone.
pub fn interface(name: &str) -> io::Result<Option<Interface>> {
    Ok(interfaces()?.into_iter().find(|i| i.name == name))
}

/// The interfaces that the site says are served, each with our address on it; or what is wrong with them.
pub fn served(site: &Site) -> Result<Vec<(Interface, Ipv4Addr)>, Problem> {
    let all = interfaces()
        .map_err(|e| Problem::environment(format!("cannot list the network interfaces: {}", reason(&e))))?;
    choose(site, &all)
}

fn choose(site: &Site, all: &[Interface]) -> Result<Vec<(Interface, Ipv4Addr)>, Problem> {
    let (ours, network) = (site.server.address, site.provisioning().cidr);
    if site.server.interfaces.is_empty() {
        let Some(found) = all.iter().find(|i| i.has(ours)) else { return Err(absent(site, all)) };
        return Ok(vec![(found.clone(), ours)]);
    }
    let mut served = Vec::new();
    for name in &site.server.interfaces {
        let Some(found) = all.iter().find(|i| i.name == *name) else {
            return Err(Problem::environment(format!("there is no interface named {name}"))
                .why(format!("server.interfaces names it; interfaces: {}", have(all)))
                .help("correct server.interfaces, or plug it in"));
        };
        let inside = || found.addresses.iter().map(|(a, _)| *a).find(|a| network.contains(*a));
        let Some(address) = found.has(ours).then_some(ours).or_else(inside) else {
            return Err(Problem::environment(format!("interface {name} has no address on {network}"))
                .why("machines on it could not reach this server")
                .help(giving(site, all, name)));
        };
        served.push((found.clone(), address));
    }
    if !all.iter().any(|i| i.has(ours)) {
        return Err(absent(site, all));
    }
    Ok(served)
}

/// Whether sockets can be bound to `address`, which the site or `--listen` names; if not, the one sentence that says so
/// for all of them.
pub fn servable(site: &Site, listen: Option<Ipv4Addr>) -> Result<(), Problem> {
    let address = listen.unwrap_or(site.server.address);
    match UdpSocket::bind((address, 0)) {
        Err(e) if e.kind() == io::ErrorKind::AddrNotAvailable => {}
        // Whatever else is in the way is said of the port that it concerns.
        _ => return Ok(()),
    }
    let all = interfaces().unwrap_or_default();
    if listen.is_none() {
        return Err(absent(site, &all));
    }
    Err(Problem::environment(format!("no interface of this machine has the address {address}"))
        .why(format!("--listen names it; interfaces: {}", have(&all)))
        .help(format!(
            "leave --listen out to serve on {}, or give an address of this machine",
            site.server.address
        )))
}

/// That `server.address` is on no interface, with the command that puts it there.
fn absent(site: &Site, all: &[Interface]) -> Problem {
    let ours = site.server.address;
    Problem::environment(format!("no interface of this machine has the address {ours}"))
        .why(format!("server.address says that machines reach this one there; interfaces: {}", have(all)))
        .help(giving(site, all, likely(&site.server.interfaces, all).unwrap_or("INTERFACE")))
}

/// The command that gives `server.address` back to this machine after it was lost.
pub fn restoring(site: &Site) -> String {
    let all = interfaces().unwrap_or_default();
    giving(site, &all, likely(&site.server.interfaces, &all).unwrap_or("INTERFACE"))
}

/// The commands, as one line, that give `server.address` to interface `name`, and switch it on where it is off.
fn giving(site: &Site, all: &[Interface], name: &str) -> String {
    let off = all.iter().any(|i| i.name == name && !i.up);
    let switch = if off { format!("sudo ip link set {name} up && ") } else { String::new() };
    let prefix = site.provisioning().cidr.prefix();
    format!("{switch}sudo ip address add {}/{prefix} dev {name}", site.server.address)
}

/// The interface that the provisioning network is probably plugged into: the one that the site names, else the only one
/// without an address that has a link, else the only one without an address, else the only one there is.
fn likely<'a>(named: &[String], all: &'a [Interface]) -> Option<&'a str> {
    let only = |wanted: &dyn Fn(&Interface) -> bool| {
        let mut fit = all.iter().filter(|i| wanted(i)).map(|i| i.name.as_str());
        fit.next().filter(|_| fit.next().is_none())
    };
    all.iter()
        .map(|i| i.name.as_str())
        .find(|name| named.iter().any(|n| n == name))
        .or_else(|| only(&|i| i.mac.is_some() && i.carrier && i.addresses.is_empty()))
        .or_else(|| only(&|i| i.mac.is_some() && i.addresses.is_empty()))
        .or_else(|| only(&|i| i.mac.is_some()))
}

/// The interfaces with their addresses, for people.
fn have(all: &[Interface]) -> String {
    let names: Vec<String> = all
        .iter()
        .filter(|i| i.mac.is_some())
        .map(|i| match i.addresses.first() {
            Some((a, p)) => format!("{} ({a}/{p})", i.name),
            None => format!("{} (no address)", i.name),
        })
        .collect();
    if names.is_empty() { "there is none with a cable's socket".to_string() } else { names.join(", ") }
}

/// What a packet socket hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hears {
    /// Nothing: it only sends.
    Nothing,
    Arp,
    /// UDP to port 68: what DHCP servers say to clients. The kernel drops everything else.
    DhcpReplies,
    /// DHCP, and of TFTP requests, option replies, errors, the first block and its acknowledgement; both directions,
    /// whole Ethernet frames.
    Boot,
}

/// Frames on one interface, past the kernel's own IP: to clients that have no address, from no address.
pub struct Packets {
    socket: Socket,
    index: u32,
    ethertype: u16,
}

impl Packets {
    /// Opens it on the interface `index`. Needs CAP_NET_RAW.
    pub fn open(index: u32, hears: Hears) -> io::Result<Packets> {
        let (ethertype, form) = match hears {
            Hears::Arp => (libc::ETH_P_ARP, Type::DGRAM),
            Hears::Nothing | Hears::DhcpReplies => (libc::ETH_P_IP, Type::DGRAM),
            Hears::Boot => (libc::ETH_P_ALL, Type::RAW),
        };
        let ethertype = ethertype as u16;
        // Without a protocol until it is bound: nothing from other interfaces can slip in between.
        let socket = Socket::new(Domain::PACKET, form, None)?;
        // A burst of a whole rack's answers.
        socket.set_send_buffer_size(4 << 20)?;
        if hears == Hears::DhcpReplies {
            socket.attach_filter(&to_port_68())?;
        }
        if hears == Hears::Boot {
            socket.attach_filter(&of_booting())?;
            let _ = socket.set_recv_buffer_size(4 << 20);
        }
        let packets = Packets { socket, index, ethertype };
        let listen = if hears == Hears::Nothing { 0 } else { ethertype };
        let address = packets.address(Mac([0; 6]), listen);
        // SAFETY: `address` is a whole sockaddr_ll, and its true size is passed.
        let done = unsafe {
            libc::bind(packets.socket.as_raw_fd(), (&raw const address).cast(), size_of_val(&address) as u32)
        };
        if done == 0 { Ok(packets) } else { Err(io::Error::last_os_error()) }
    }

    /// Sends an IP or ARP packet in a frame to `to`.
    pub fn send(&self, to: Mac, packet: &[u8]) -> io::Result<()> {
        let address = self.address(to, self.ethertype);
        // SAFETY: the buffer and the whole sockaddr_ll live through the call, and their true sizes are passed.
        let sent = unsafe {
            libc::sendto(
                self.socket.as_raw_fd(),
                packet.as_ptr().cast(),
                packet.len(),
                0,
                (&raw const address).cast(),
                size_of_val(&address) as u32,
            )
        };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// The next packet that came in, and who sent it; `None` when none waits. What this machine itself sent is
    /// skipped.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<(usize, Mac)>> {
        loop {
            // SAFETY: sockaddr_ll is plain numbers, for which zero is a value.
            let mut from: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
            let mut from_len = size_of_val(&from) as libc::socklen_t;
            // SAFETY: both buffers live through the call, and their true sizes are passed.
            let got = unsafe {
                libc::recvfrom(
                    self.socket.as_raw_fd(),
                    buffer.as_mut_ptr().cast(),
                    buffer.len(),
                    libc::MSG_DONTWAIT,
                    (&raw mut from).cast(),
                    &raw mut from_len,
                )
            };
            if got < 0 {
                let error = io::Error::last_os_error();
                return if error.kind() == io::ErrorKind::WouldBlock { Ok(None) } else { Err(error) };
            }
            if from.sll_pkttype == libc::PACKET_OUTGOING {
                continue;
            }
            let a = from.sll_addr;
            return Ok(Some((got as usize, Mac([a[0], a[1], a[2], a[3], a[4], a[5]]))));
        }
    }

    /// The next whole frame, whoever sent it, ourselves too; `None` when none waits.
    pub fn frame(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        use nix::sys::socket::{MsgFlags, recv};
        match recv(self.socket.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT) {
            Ok(length) => Ok(Some(length)),
            Err(nix::errno::Errno::EAGAIN) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    fn address(&self, mac: Mac, ethertype: u16) -> libc::sockaddr_ll {
        let mut to = [0; 8];
        to[..6].copy_from_slice(&mac.0);
        libc::sockaddr_ll {
            sll_family: libc::AF_PACKET as u16,
            sll_protocol: ethertype.to_be(),
            sll_ifindex: self.index as i32,
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 6,
            sll_addr: to,
        }
    }
}

impl AsFd for Packets {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Classic BPF over an IPv4 packet: protocol UDP, not a later fragment, destination port 68.
fn to_port_68() -> [SockFilter; 9] {
    let op = |code: u32, jt: u8, jf: u8, k: u32| SockFilter::new(code as u16, jt, jf, k);
    let (ld, ldx, jmp, ret) = (libc::BPF_LD, libc::BPF_LDX, libc::BPF_JMP, libc::BPF_RET);
    [
        op(ld | libc::BPF_B | libc::BPF_ABS, 0, 0, 9),
        op(jmp | libc::BPF_JEQ | libc::BPF_K, 0, 6, 17),
        op(ld | libc::BPF_H | libc::BPF_ABS, 0, 0, 6),
        op(jmp | libc::BPF_JSET | libc::BPF_K, 4, 0, 0x1fff),
        // X = 4 × (first byte & 15), the header's length; then the half word at X + 2.
        op(ldx | libc::BPF_B | libc::BPF_MSH, 0, 0, 0),
        op(ld | libc::BPF_H | libc::BPF_IND, 0, 0, 2),
        op(jmp | libc::BPF_JEQ | libc::BPF_K, 0, 1, 68),
        op(ret | libc::BPF_K, 0, 0, u32::MAX),
        op(ret | libc::BPF_K, 0, 0, 0),
    ]
}

/// Classic BPF over an Ethernet frame: what `Hears::Boot` says.
fn of_booting() -> Vec<SockFilter> {
    let op = |code: u32, jt: u8, jf: u8, k: u32| SockFilter::new(code as u16, jt, jf, k);
    let (ld, ldx, jmp, ret) = (libc::BPF_LD, libc::BPF_LDX, libc::BPF_JMP, libc::BPF_RET);
    let half = |mode: u32, k: u32| op(ld | libc::BPF_H | mode, 0, 0, k);
    let (abs, ind) = (libc::BPF_ABS, libc::BPF_IND);
    let equal = |k: u32, jt: u8, jf: u8| op(jmp | libc::BPF_JEQ | libc::BPF_K, jt, jf, k);
    // Jumps count the instructions that are left out; 21 takes the frame, 22 leaves it.
    vec![
        half(abs, 12),
        equal(0x0800, 0, 20),
        op(ld | libc::BPF_B | abs, 0, 0, 23),
        equal(17, 0, 18),
        half(abs, 20),
        op(jmp | libc::BPF_JSET | libc::BPF_K, 16, 0, 0x1fff),
        op(ldx | libc::BPF_B | libc::BPF_MSH, 0, 0, 14),
        // ports
        half(ind, 14),
        equal(67, 12, 0),
        equal(68, 11, 0),
        half(ind, 16),
        equal(67, 9, 0),
        equal(68, 8, 0),
        equal(69, 7, 0),
        // TFTP's opcode: ERROR, OACK; DATA and ACK only of blocks 0 and 1
        half(ind, 22),
        equal(5, 5, 0),
        equal(6, 4, 0),
        op(jmp | libc::BPF_JGE | libc::BPF_K, 0, 4, 3),
        op(jmp | libc::BPF_JGT | libc::BPF_K, 3, 0, 4),
        half(ind, 24),
        op(jmp | libc::BPF_JGT | libc::BPF_K, 1, 0, 1),
        op(ret | libc::BPF_K, 0, 0, u32::MAX),
        op(ret | libc::BPF_K, 0, 0, 0),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_interface_is_found_with_its_address() {
        let lo = interface("lo").unwrap().unwrap();
        assert!(lo.has(Ipv4Addr::LOCALHOST));
        assert_eq!(lo.mac, None);
        assert_eq!(interface("no-such-thing0").unwrap(), None);
    }
    #[test]
    fn the_interface_that_lacks_the_address_is_guessed_where_it_can_be() {
        let one = |name: &str, carrier: bool, address: Option<(Ipv4Addr, u8)>| Interface {
            name: name.into(),
            index: 0,
            mac: (name != "lo").then_some(Mac([2, 0, 0, 0, 0, 1])),
            addresses: address.into_iter().collect(),
            up: true,
            carrier,
        };
        let office = Some((Ipv4Addr::new(192, 0, 2, 7), 24));
        let lo = one("lo", true, Some((Ipv4Addr::LOCALHOST, 8)));
        let all = [lo.clone(), one("eth0", true, office), one("eth1", true, None), one("eth2", false, None)];
        assert_eq!(likely(&[], &all), Some("eth1"), "the only one with a link and no address");
        assert_eq!(likely(&["eth2".into()], &all), Some("eth2"), "the site file says so");
        assert_eq!(likely(&["gone".into()], &all), Some("eth1"));
        assert_eq!(likely(&[], &[lo.clone(), one("eth0", true, office)]), Some("eth0"), "there is no other");
        assert_eq!(likely(&[], &[one("a", true, None), one("b", true, None)]), None);
        let unplugged = [lo.clone(), one("eth0", true, office), one("eth1", false, None)];
        assert_eq!(likely(&[], &unplugged), Some("eth1"), "the only one without an address");
        assert_eq!(likely(&[], &[lo]), None);
    }
}
