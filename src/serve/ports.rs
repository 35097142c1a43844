//! Owns binding: all or nothing, and a taken port names who holds it.

use crate::problem::{Problem, reason};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, UdpSocket};
use std::os::unix::net::UnixListener;
use std::path::Path;

/// The receive buffer that a burst of a whole rack fits into, in bytes.
const BURST: usize = 16 << 20;

/// Which transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    Udp,
    Tcp,
}

impl Transport {
    fn name(self) -> &'static str {
        match self {
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
        }
    }
}

/// A process that holds a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    pub pid: u32,
    /// Its command name (`dnsmasq`).
    pub name: String,
    /// The address that it is bound to; 0.0.0.0 is all of them.
    pub address: Ipv4Addr,
}

/// A bound UDP socket with a large receive buffer. `purpose` is for people: `TFTP`.
pub fn udp(address: SocketAddrV4, purpose: &str) -> Result<UdpSocket, Problem> {
    let bind = || -> io::Result<UdpSocket> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        socket.bind(&address.into())?;
        widen(&socket);
        Ok(socket.into())
    };
    bind().map_err(|e| explain(&e, Transport::Udp, address, purpose))
}

/// TFTP's socket, and its side door for odd requests where the kernel can tell them apart.
pub fn tftp(address: SocketAddrV4) -> Result<(UdpSocket, Option<UdpSocket>), Problem> {
    super::odd::bind(address.into(), widen).map_err(|e| explain(&e, Transport::Udp, address, "TFTP"))
}

/// The kernel gives what it may; beyond rmem_max only to those who may administer the network.
pub fn widen(socket: &Socket) {
    use nix::sys::socket::{setsockopt, sockopt::RcvBufForce};
    if setsockopt(socket, RcvBufForce, &BURST).is_err() {
        let _ = socket.set_recv_buffer_size(BURST);
    }
}

/// A listening TCP socket that does not block.
pub fn tcp(address: SocketAddrV4, purpose: &str) -> Result<TcpListener, Problem> {
    let bind = || -> io::Result<TcpListener> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        // Connections of the last run may linger in TIME_WAIT; this lets a restart bind at once.
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(4096)?;
        socket.set_nonblocking(true)?;
        Ok(socket.into())
    };
    bind().map_err(|e| explain(&e, Transport::Tcp, address, purpose))
}

/// The operator's socket, for its owner only. The caller holds the state folder's lock, so a file that is there
/// already is of a run that is over.
pub fn unix(path: &Path) -> Result<UnixListener, Problem> {
    use std::os::unix::fs::PermissionsExt as _;
    let fail = |e: io::Error| Problem::io("make the control socket", path, &e);
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(fail(e)),
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(|e| match e.kind() {
        io::ErrorKind::InvalidInput => {
            Problem::environment(format!("the path of the control socket {} is too long", path.display()))
                .help("a UNIX socket's path has at most 107 bytes; use a shorter --state folder")
        }
        _ => fail(e),
    })?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(fail)?;
    listener.set_nonblocking(true).map_err(fail)?;
    Ok(listener)
}

/// Says who holds a port, which right is missing, which address is not there.
pub fn explain(error: &io::Error, transport: Transport, address: SocketAddrV4, purpose: &str) -> Problem {
    let what = format!("cannot serve {purpose} on {address} ({})", transport.name());
    match error.kind() {
        io::ErrorKind::AddrInUse => match holder(transport, address) {
            Some(h) => {
                Problem::environment(format!("{what}: process {} ({}) holds this port", h.pid, h.name))
                    .why("nothing was started: half a boot server is worse than none")
                    .help(stop(&h))
            }
            None => Problem::environment(format!("{what}: another process holds this port")).help(format!(
                "run as root `ss -lp{} sport = :{}` to see which",
                letter(transport),
                address.port()
            )),
        },
        io::ErrorKind::PermissionDenied => {
            Problem::environment(format!("{what}: ports below 1024 need the right CAP_NET_BIND_SERVICE"))
                .help(
                    "run it as root, or: setcap cap_net_bind_service,cap_net_raw=+ep $(command -v bootstead)",
                )
        }
        // Only where it went between the look at it (`netlink::servable`) and now.
        io::ErrorKind::AddrNotAvailable => {
            Problem::environment(format!("{what}: this machine does not have the address {}", address.ip()))
                .help("`bootstead doctor` says which interface lacks it, and the command that puts it there")
        }
        _ => Problem::environment(format!("{what}: {}", reason(error))),
    }
}

fn letter(transport: Transport) -> char {
    match transport {
        Transport::Udp => 'u',
        Transport::Tcp => 't',
    }
}

/// How to make the usual holders let go (field-pain #25).
fn stop(h: &Holder) -> String {
    match h.name.as_str() {
        "dnsmasq" => {
            "if it is libvirt's, stop that network (virsh net-destroy default); else systemctl stop dnsmasq"
                .into()
        }
        "in.tftpd" => "systemctl stop tftpd-hpa".into(),
        "atftpd" => "systemctl stop atftpd".into(),
        "dhcpd" => "systemctl stop isc-dhcp-server".into(),
        "kea-dhcp4" => "systemctl stop kea-dhcp4-server".into(),
        "rsyslogd" => {
            "take the imudp and imtcp inputs out of rsyslog's configuration, then restart it".into()
        }
        "bootstead" => "another bootstead serves already; stop it first".into(),
        name @ ("nginx" | "apache2" | "httpd" | "caddy" | "lighttpd") => {
            format!("systemctl stop {name}, or choose another http_port in the site file")
        }
        _ => format!("stop that program (kill {}), or disable its service", h.pid),
    }
}

/// Who holds a port at `address` or at all addresses; only root sees the processes of others.
pub fn holder(transport: Transport, address: SocketAddrV4) -> Option<Holder> {
    let table = match transport {
        Transport::Udp => "/proc/net/udp",
        Transport::Tcp => "/proc/net/tcp",
    };
    let text = std::fs::read_to_string(table).ok()?;
    let (at, inode) =
        text.lines().skip(1).filter_map(|l| socket_line(l, transport)).find_map(|(at, inode)| {
            let same = at.ip() == address.ip() || at.ip().is_unspecified() || address.ip().is_unspecified();
            (at.port() == address.port() && same).then_some((at, inode))
        })?;
    let want = format!("socket:[{inode}]");
    for process in std::fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|n| n.parse::<u32>().ok()) else { continue };
        let Ok(open) = std::fs::read_dir(process.path().join("fd")) else { continue };
        let holds = open
            .flatten()
            .any(|fd| std::fs::read_link(fd.path()).is_ok_and(|to| to.to_str() == Some(want.as_str())));
        if holds {
            let name = std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(Holder { pid, name: name.trim().to_string(), address: *at.ip() });
        }
    }
    None
}

/// Local address and inode of a line of /proc/net/{udp,tcp}; of TCP only listening sockets. The kernel prints
/// addresses in the machine's byte order.
fn socket_line(line: &str, transport: Transport) -> Option<(SocketAddrV4, u64)> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    if transport == Transport::Tcp && *fields.get(3)? != "0A" {
        return None;
    }
    let (ip, port) = fields.get(1)?.split_once(':')?;
    let ip = Ipv4Addr::from(u32::from_str_radix(ip, 16).ok()?.to_ne_bytes());
    let port = u16::from_str_radix(port, 16).ok()?;
    Some((SocketAddrV4::new(ip, port), fields.get(9)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_names_its_holder() {
        let held = tcp(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0), "HTTP").unwrap();
        let std::net::SocketAddr::V4(at) = held.local_addr().unwrap() else { panic!() };
        let problem = tcp(at, "HTTP").unwrap_err();
        assert!(problem.what.contains(&format!("process {}", std::process::id())), "{problem}");
        assert_eq!(problem.exit, crate::problem::Exit::Environment);
        let udp_held = udp(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0), "TFTP").unwrap();
        let std::net::SocketAddr::V4(at) = udp_held.local_addr().unwrap() else { panic!() };
        assert!(udp(at, "TFTP").unwrap_err().what.contains("holds this port"));
    }

    #[test]
    fn an_address_that_is_not_here_is_said_so() {
        let problem = tcp(SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 0), "HTTP").unwrap_err();
        assert!(problem.what.contains("does not have the address 192.0.2.1"), "{problem}");
    }
}
