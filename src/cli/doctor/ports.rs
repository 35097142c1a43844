//! Owns the check of the ports: free, or held by whom (field-pain #25).

use super::Finding;
use crate::problem::reason;
use crate::serve::{dhcp, netlink};
use crate::site::{DhcpMode, Site};
use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;

/// Bound to the interfaces that are served, so that another interface's DHCP server (libvirt's, LXD's) is in nobody's way.
const DHCP: u16 = 67;

const AGENTS: &str = "the nodes' agents";

/// A socket that is bound to a port.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Bound {
    address: Ipv4Addr,
    port: u16,
    inode: u64,
}

/// A process that holds a socket.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Holder {
    pid: u32,
    name: String,
}

/// `mine` is the process of a running bootstead on this state folder.
pub fn look(site: &Site, mine: Option<u32>) -> Vec<Finding> {
    let ours = site.server.address;
    let (udp, tcp) = (bound("udp"), bound("tcp"));
    let holders = holders();
    let mut out = Vec::new();
    for (port, protocol, what) in wanted(site) {
        let table = if protocol == "udp" { &udp } else { &tcp };
        if port == DHCP {
            let held: Vec<&Bound> =
                table.iter().filter(|b| b.port == port && overlaps(b.address, ours)).collect();
            let others = held.iter().map(|b| holders.get(&b.inode)).collect::<Vec<_>>();
            // Whatever is beside ours, ours has its port.
            let is_ours = mine.is_some() && others.iter().flatten().any(|h| Some(h.pid) == mine);
            let found = (!held.is_empty() && !is_ours).then(|| beside(site, &others));
            out.push((port, protocol, found));
            continue;
        }
        let taken = table.iter().find(|b| b.port == port && overlaps(b.address, ours));
        let Some(b) = taken else {
            out.push((port, protocol, None));
            continue;
        };
        match holders.get(&b.inode) {
            Some(h) if Some(h.pid) == mine => out.push((port, protocol, None)),
            holder => out.push((port, protocol, Some(taken_by(b, protocol, what, holder)))),
        }
    }
    let free: Vec<String> =
        out.iter().filter(|(.., f)| f.is_none()).map(|(p, t, _)| format!("{p}/{t}")).collect();
    let mut findings: Vec<Finding> = out.into_iter().filter_map(|(.., f)| f).collect();
    if !free.is_empty() {
        let word = if mine.is_some() { "free or ours" } else { "free" };
        findings.insert(0, Finding::ok("ports", format!("{} {word}", free.join(", "))));
    }
    findings
}

/// What other holders of port 67 mean. The kernel's table does not show which interface a socket is bound to, so the
/// port is tried as serving binds it.
fn beside(site: &Site, holders: &[Option<&Holder>]) -> Finding {
    let named: Vec<String> =
        holders.iter().flatten().map(|h| format!("{} (pid {})", h.name, h.pid)).collect();
    let who = if named.is_empty() { "a process of another user".to_string() } else { named.join(", ") };
    let interfaces = match netlink::served(site) {
        Ok(served) => served.into_iter().map(|(interface, _)| interface.name).collect::<Vec<_>>(),
        // The check of the interfaces says what is wrong with them.
        Err(_) => Vec::new(),
    };
    let tried: Vec<(&String, io::Result<()>)> =
        interfaces.iter().map(|name| (name, dhcp::listen(name).map(drop))).collect();
    judge(&who, holders, &tried)
}

fn judge(who: &str, holders: &[Option<&Holder>], tried: &[(&String, io::Result<()>)]) -> Finding {
    let refused = tried.iter().find_map(|(name, result)| Some((name, result.as_ref().err()?)));
    let names: Vec<&str> = tried.iter().map(|(name, _)| name.as_str()).collect();
    let names = names.join(", ");
    match refused {
        None if tried.is_empty() => Finding::warning(
            "ports",
            format!("67/udp (DHCP) is held by {who}; whether on an interface of ours cannot be told yet"),
            "put the site's address on its interface, then run `bootstead doctor` again",
        ),
        None => Finding::ok("ports", format!("67/udp (DHCP) is free on {names}; {who} has it elsewhere")),
        Some((name, e)) if e.kind() == io::ErrorKind::AddrInUse => {
            let help = match holders {
                [Some(h)] => cure(h, DHCP),
                _ => "sudo ss -lupn 'sport = :67'   # names each with its interface; stop the one there"
                    .to_string(),
            };
            Finding::error("ports", format!("67/udp (DHCP) on {name} is held by {who}"), help)
        }
        Some((name, e)) => Finding::warning(
            "ports",
            format!(
                "67/udp (DHCP) is held by {who}; whether on {name} cannot be told by this user: {}",
                reason(e)
            ),
            "sudo bootstead doctor",
        ),
    }
}

/// The ports that `serve` binds, and what for. The agents' is bound whether or not the site has a cluster.
fn wanted(site: &Site) -> Vec<(u16, &'static str, &'static str)> {
    let mut ports = vec![
        (69, "udp", "TFTP"),
        (site.server.http_port, "tcp", "HTTP"),
        (site.server.agent_port, "tcp", AGENTS),
        (514, "udp", "the installers' log"),
        (514, "tcp", "the installers' log"),
    ];
    if site.server.dhcp == DhcpMode::Full {
        ports.insert(0, (DHCP, "udp", "DHCP"));
    }
    ports
}

/// The ports that machines come to, which a firewall must let in. Agents come only where there is a cluster.
pub fn reached(site: &Site) -> Vec<(u16, &'static str)> {
    let come = |what: &str| what != AGENTS || site.cluster.is_some();
    wanted(site).into_iter().filter(|(.., what)| come(what)).map(|(port, t, _)| (port, t)).collect()
}

fn overlaps(bound: Ipv4Addr, ours: Ipv4Addr) -> bool {
    bound.is_unspecified() || bound == ours
}

fn taken_by(b: &Bound, protocol: &str, what: &str, holder: Option<&Holder>) -> Finding {
    let at = format!("{}/{protocol} ({what}) on {}", b.port, b.address);
    match holder {
        None => Finding::error(
            "ports",
            format!("{at} is held by a process of another user"),
            format!("sudo ss -lpn 'sport = :{}'   # names it", b.port),
        ),
        Some(h) => {
            Finding::error("ports", format!("{at} is held by {} (pid {})", h.name, h.pid), cure(h, b.port))
        }
    }
}

/// How the usual holders let go of a port.
fn cure(h: &Holder, port: u16) -> String {
    match h.name.as_str() {
        "dnsmasq" => {
            "sudo systemctl stop dnsmasq   # if it is libvirt's: virsh net-destroy default".to_string()
        }
        "systemd-resolve" | "systemd-resolved" => "sudo systemctl stop systemd-resolved".to_string(),
        "rsyslogd" => {
            "remove the imudp and imtcp inputs from /etc/rsyslog.conf, then restart rsyslog".to_string()
        }
        "nginx" | "apache2" | "httpd" | "lighttpd" | "caddy" | "tftpd" | "in.tftpd" | "inetd" | "xinetd"
        | "dhcpd" | "kea-dhcp4" | "isc-dhcp-server" => {
            format!("sudo systemctl stop {}   # or let bootstead use another port", service(&h.name))
        }
        "bootstead" => format!("another bootstead serves already: kill {}, or use its --state folder", h.pid),
        name => format!("stop {name} (kill {}), or move it away from port {port}", h.pid),
    }
}

fn service(name: &str) -> &str {
    match name {
        "tftpd" | "in.tftpd" => "tftpd-hpa",
        "dhcpd" => "isc-dhcp-server",
        "kea-dhcp4" => "kea-dhcp4-server",
        "inetd" | "xinetd" => "inetd",
        other => other,
    }
}

/// The bound sockets of this network namespace: of `udp`, or the listening ones of `tcp`.
fn bound(protocol: &str) -> Vec<Bound> {
    let mut all = Vec::new();
    for (file, listening) in
        [(protocol.to_string(), protocol == "tcp"), (format!("{protocol}6"), protocol == "tcp")]
    {
        let text = std::fs::read_to_string(format!("/proc/net/{file}")).unwrap_or_default();
        all.extend(parse(&text, listening));
    }
    all
}

/// Reads /proc/net/{udp,tcp}{,6} (proc_net_tcp of the kernel's documentation). IPv6 wildcards count as IPv4 ones.
fn parse(text: &str, listening: bool) -> Vec<Bound> {
    const LISTEN: &str = "0A";
    let line = |line: &str| -> Option<Bound> {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (local, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
        if listening && *state != LISTEN {
            return None;
        }
        let (address, port) = local.rsplit_once(':')?;
        let address = match address.len() {
            // The kernel prints the address as a number of this machine's byte order.
            8 => Ipv4Addr::from(u32::from_str_radix(address, 16).ok()?.to_ne_bytes()),
            32 if address.bytes().all(|b| b == b'0') => Ipv4Addr::UNSPECIFIED,
            _ => return None,
        };
        Some(Bound { address, port: u16::from_str_radix(port, 16).ok()?, inode: inode.parse().ok()? })
    };
    text.lines().skip(1).filter_map(line).collect()
}

/// Who holds which socket, by inode; of other users' processes only root sees that.
fn holders() -> BTreeMap<u64, Holder> {
    let mut found = BTreeMap::new();
    let Ok(processes) = std::fs::read_dir("/proc") else { return found };
    for process in processes.flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|n| n.parse::<u32>().ok()) else { continue };
        let Ok(files) = std::fs::read_dir(process.path().join("fd")) else { continue };
        for file in files.flatten() {
            let Ok(target) = std::fs::read_link(file.path()) else { continue };
            let inode = target
                .to_str()
                .and_then(|t| t.strip_prefix("socket:[")?.strip_suffix(']')?.parse::<u64>().ok());
            if let Some(inode) = inode {
                let name = std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
                found.insert(inode, Holder { pid, name: name.trim().to_string() });
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_s_socket_tables_read() {
        let text = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
             12: 017AA8C0:0043 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 23456 2 0 0\n\
             13: 00000000:0045 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 23457 2 0 0\n";
        let all = parse(text, false);
        assert_eq!(all[0], Bound { address: Ipv4Addr::new(192, 168, 122, 1), port: 67, inode: 23456 });
        assert!(overlaps(all[1].address, Ipv4Addr::new(10, 0, 0, 1)) && all[1].port == 69);
        assert!(!overlaps(all[0].address, Ipv4Addr::new(10, 0, 0, 1)));
        assert!(parse(text, true).is_empty());
        assert!(parse("garbage\nmore garbage\n1 2 3 4 5 6 7 8 9 10\n", false).is_empty());
    }

    #[test]
    fn port_67_of_another_interface_is_no_fault_of_this_machine() {
        let libvirt = Holder { pid: 7, name: "dnsmasq".into() };
        let (br0, holders) = ("br0".to_string(), [Some(&libvirt)]);
        let level = |tried: &[(&String, io::Result<()>)]| judge("dnsmasq (pid 7)", &holders, tried);
        let free = level(&[(&br0, Ok(()))]);
        assert_eq!((free.level, free.help), (super::super::Level::Ok, None));
        assert!(free.what.contains("free on br0; dnsmasq (pid 7) has it elsewhere"), "{}", free.what);
        let taken = level(&[(&br0, Err(io::ErrorKind::AddrInUse.into()))]);
        assert_eq!(taken.level, super::super::Level::Error);
        assert!(taken.help.unwrap().contains("stop dnsmasq"));
        let unknown = level(&[(&br0, Err(io::ErrorKind::PermissionDenied.into()))]);
        assert_eq!(unknown.level, super::super::Level::Warning);
        assert_eq!(level(&[]).level, super::super::Level::Warning);
    }

    #[test]
    fn a_bound_port_is_found_with_its_process() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let b = bound("udp").into_iter().find(|b| b.port == port).unwrap();
        assert_eq!(b.address, Ipv4Addr::LOCALHOST);
        assert_eq!(holders()[&b.inode].pid, std::process::id());
    }

    #[test]
    fn the_agents_port_is_bound_always_and_opened_for_a_cluster() {
        let text = "[site]\nname = \"test\"\ndomain = \"test.example\"\n[server]\naddress = \"10.79.0.1\"\n\
                    agent_port = 9443\nprovisioning = \"lan\"\n[network.lan]\ncidr = \"10.79.0.0/16\"\n";
        let files = crate::site::Files { name: "site.toml".into(), text: text.into(), tables: Vec::new() };
        let catalog = crate::site::Catalog::read(&crate::disk::read_tree(None).unwrap()).unwrap();
        let (plain, problems) = crate::site::check(&files, &catalog);
        let plain = plain.unwrap_or_else(|| panic!("{problems:?}"));
        let mut clustered = plain.clone();
        clustered.cluster = Some(crate::site::Cluster { network: "lan".into() });
        for s in [&plain, &clustered] {
            assert!(wanted(s).contains(&(9443, "tcp", AGENTS)));
            assert!(reached(s).contains(&(67, "udp")) && reached(s).contains(&(514, "tcp")));
        }
        assert!(reached(&clustered).contains(&(9443, "tcp")));
        assert!(!reached(&plain).contains(&(9443, "tcp")), "a closed port that nobody comes to is no fault");
    }
}
