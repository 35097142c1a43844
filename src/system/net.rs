//! Owns bringing up the one port that the machine booted from: found by MAC, link waited for, address set.

use super::facts::{names, text};
use super::host::say;
use crate::base::{Cidr, Mac};
use crate::problem::reason;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::cmdline::Told;

/// Some drivers load firmware or train a link before the port appears.
const PORT_WAIT: Duration = Duration::from_secs(60);
/// A switch without portfast forwards nothing for 30 s and more (field-pain #27); bad autonegotiation takes longer.
const LINK_WAIT: Duration = Duration::from_secs(180);

/// Finds the port, waits for its link, gives it its address. `more` is called while waiting (to load modules).
pub fn up(told: &Told, mut more: impl FnMut()) -> Result<String, String> {
    let begin = Instant::now();
    let name = loop {
        if let Some(name) = find(told.mac) {
            break name;
        }
        if begin.elapsed() > PORT_WAIT {
            let have: Vec<String> =
                super::facts::ports().iter().map(|p| format!("{} ({})", p.name, p.mac)).collect();
            let have = if have.is_empty() { "none".to_string() } else { have.join(", ") };
            return Err(format!(
                "no network port has the address {}; found: {have} (its driver may be missing in this system)",
                told.mac
            ));
        }
        more();
        sleep(Duration::from_millis(200));
    };
    let socket = socket().map_err(|e| format!("cannot make a socket: {}", reason(&e)))?;
    let failed = |what: &str, e: io::Error| format!("cannot {what} on {name}: {}", reason(&e));
    let _ = flags_up(&socket, "lo");
    flags_up(&socket, &name).map_err(|e| failed("switch on the port", e))?;
    wait_for_link(&name)?;
    set_address(&socket, &name, libc::SIOCSIFADDR, told.address).map_err(|e| failed("set the address", e))?;
    let mask = Cidr::containing(told.address, told.prefix).netmask();
    set_address(&socket, &name, libc::SIOCSIFNETMASK, mask).map_err(|e| failed("set the netmask", e))?;
    if let Some(gateway) = told.gateway {
        default_route(&socket, gateway).map_err(|e| failed("set the default route", e))?;
    }
    Ok(name)
}

fn find(mac: Mac) -> Option<String> {
    let want = mac.to_string();
    // A bond or VLAN may carry the same address; the port with a device behind it is the real one.
    names("/sys/class/net").into_iter().find(|n| {
        text(&format!("/sys/class/net/{n}/address")).as_deref() == Some(want.as_str())
            && std::path::Path::new(&format!("/sys/class/net/{n}/device")).exists()
    })
}

fn wait_for_link(name: &str) -> Result<(), String> {
    let begin = Instant::now();
    let mut told = false;
    while text(&format!("/sys/class/net/{name}/carrier")).as_deref() != Some("1") {
        if begin.elapsed() > LINK_WAIT {
            return Err(format!("{name} has no link; look at its cable and its switch port"));
        }
        if begin.elapsed() > Duration::from_secs(5) && !told {
            told = true;
            say(&format!("waiting for a link on {name} (up to 3 minutes)"));
        }
        sleep(Duration::from_millis(100));
    }
    Ok(())
}

fn socket() -> io::Result<OwnedFd> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
    Ok(socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?)
}

/// An `ifreq` for this port, all else zero.
fn request(name: &str) -> io::Result<libc::ifreq> {
    // SAFETY: ifreq is plain numbers; all zero is a valid value.
    let mut r: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.len() >= r.ifr_name.len() {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    for (to, from) in r.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    Ok(r)
}

/// Asks the kernel; `argument` must be what `code` wants.
fn ask<T>(socket: &OwnedFd, code: libc::Ioctl, argument: &mut T) -> io::Result<()> {
    // SAFETY: the callers pair each code with the struct that the kernel documents for it (netdevice(7)).
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), code, argument) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn flags_up(socket: &OwnedFd, name: &str) -> io::Result<()> {
    let mut r = request(name)?;
    ask(socket, libc::SIOCGIFFLAGS as libc::Ioctl, &mut r)?;
    // SAFETY: SIOCGIFFLAGS has filled this member of the union.
    let flags = unsafe { r.ifr_ifru.ifru_flags };
    r.ifr_ifru.ifru_flags = flags | libc::IFF_UP as libc::c_short;
    ask(socket, libc::SIOCSIFFLAGS as libc::Ioctl, &mut r)
}

fn set_address(socket: &OwnedFd, name: &str, code: libc::c_ulong, address: Ipv4Addr) -> io::Result<()> {
    let mut r = request(name)?;
    r.ifr_ifru.ifru_addr = sockaddr(address);
    ask(socket, code as libc::Ioctl, &mut r)
}

fn default_route(socket: &OwnedFd, gateway: Ipv4Addr) -> io::Result<()> {
    // SAFETY: rtentry is plain numbers and pointers; all zero is a valid value (no device named).
    let mut route: libc::rtentry = unsafe { std::mem::zeroed() };
    route.rt_dst = sockaddr(Ipv4Addr::UNSPECIFIED);
    route.rt_genmask = sockaddr(Ipv4Addr::UNSPECIFIED);
    route.rt_gateway = sockaddr(gateway);
    route.rt_flags = libc::RTF_UP | libc::RTF_GATEWAY;
    ask(socket, libc::SIOCADDRT as libc::Ioctl, &mut route)
}

/// An IPv4 address as the kernel's generic socket address: family, port (2 bytes), address, padding.
fn sockaddr(address: Ipv4Addr) -> libc::sockaddr {
    let mut data = [0 as libc::c_char; 14];
    for (to, from) in data[2..6].iter_mut().zip(address.octets()) {
        *to = from as libc::c_char;
    }
    libc::sockaddr { sa_family: libc::AF_INET as libc::sa_family_t, sa_data: data }
}
