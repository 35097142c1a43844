//! Owns the checks of the network: the interface, its address and cable, and other DHCP servers on it.

use super::Finding;
use crate::serve::{netlink, rivals};
use crate::site::{DhcpMode, Site};
use std::path::Path;

/// What was found out about the served interfaces.
pub struct Served {
    pub findings: Vec<Finding>,
    /// Their names; empty if there are none.
    pub names: Vec<String>,
}

/// Whether the interfaces that the site names are there, up, with our address and a cable.
pub fn look(site: &Site) -> Served {
    let served = match netlink::served(site) {
        Ok(served) => served,
        Err(p) => return Served { findings: vec![Finding::problem("interface", &p)], names: Vec::new() },
    };
    let mut findings = Vec::new();
    let mut names = Vec::new();
    for (interface, address) in served {
        let name = interface.name.clone();
        if !interface.up {
            let help = format!("sudo ip link set {name} up");
            findings.push(Finding::error("interface", format!("{name} is switched off"), help));
        } else if !interface.carrier {
            findings.push(Finding::error(
                "interface",
                format!("{name} has no link: no cable, or nothing at its other end"),
                "plug the cable into the provisioning switch; look at the lights of both ends",
            ));
        } else {
            let speed = speed(&name).map(|s| format!(", {s} Mbit/s")).unwrap_or_default();
            findings.push(Finding::ok("interface", format!("{name} has {address} and a link{speed}")));
        }
        if Path::new("/sys/class/net").join(&name).join("wireless").exists() {
            findings.push(Finding::warning(
                "interface",
                format!("{name} is a wireless interface: machines cannot network-boot over it"),
                "use a cable; name its interface in server.interfaces",
            ));
        }
        names.push(name);
    }
    Served { findings, names }
}

/// Mbit/s, where the driver tells.
fn speed(name: &str) -> Option<u32> {
    let text = std::fs::read_to_string(Path::new("/sys/class/net").join(name).join("speed")).ok()?;
    text.trim().parse::<u32>().ok().filter(|s| *s > 0 && *s < 1_000_000)
}

/// Asks every served interface for other DHCP servers (field-pain #9); takes four seconds each.
pub fn rivals(site: &Site, interfaces: &[String]) -> Vec<Finding> {
    if site.server.dhcp == DhcpMode::Off {
        return vec![Finding::ok("rivals", "the site file says that another DHCP server is in charge here")];
    }
    let mut all = Vec::new();
    for interface in interfaces {
        match rivals::probe(interface) {
            Err(p) => all.push(Finding::problem("rivals", &p)),
            Ok(found) if found.is_empty() => {
                all.push(Finding::ok("rivals", format!("no other DHCP server answers on {interface}")));
            }
            Ok(found) => {
                let (agreed, foreign): (Vec<_>, Vec<_>) =
                    found.into_iter().partition(|r| site.server.tolerate.contains(&r.server));
                all.extend(
                    agreed.iter().map(|r| {
                        Finding::ok("rivals", format!("{}; server.tolerate allows it", r.sentence()))
                    }),
                );
                if !foreign.is_empty() {
                    all.push(Finding::problem("rivals", &rivals::refusal(&foreign)));
                }
            }
        }
    }
    all
}
