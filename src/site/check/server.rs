//! Checks `[server]`.

use super::Check;
use crate::base::IpRange;
use crate::site::model::{DhcpMode, Server};
use crate::site::report::Tell as _;
use crate::site::wire::Text;
use std::net::Ipv4Addr;

pub fn check(c: &mut Check) -> Option<Server> {
    let table = c.file.server.as_ref()?;
    let provisioning = c.provisioning.clone();
    let network = provisioning.as_deref().and_then(|p| c.networks.get(p)).cloned();
    let address = table.address.as_ref().and_then(|t| c.address(t, t.into()));
    if let (Some(address), Some(text), Some(network)) = (address, &table.address, &network)
        && c.is_host(&network.name, address, text.into())
    {
        // The engineer's own laptop may be the gateway of an isolated network.
        if network.gateway != Some(address) {
            c.take(address, "Bootstead itself", text.into());
        }
        if network.pool.is_some_and(|p| p.contains(address)) {
            c.report
                .error(text, format!("Bootstead's own address {address} is inside the pool"))
                .because("it would be given to another machine")
                .so("shorten the pool, or take an address outside of it");
        }
    }
    for name in &table.interfaces {
        if name.is_empty() || name.len() > 15 || name.contains(['/', ' ']) {
            c.report
                .error(name, format!("{:?} cannot be the name of a network interface", **name))
                .so("`ip -br link` lists them");
        }
    }
    if let Some(second) = table.interfaces.get(1) {
        // Two ports with addresses in one network: answers would leave by the wrong one, and machines behind the
        // second would be told to load from an address that they cannot reach.
        c.report
            .error(second, "Bootstead serves the provisioning network by one interface")
            .so("join the ports with a bridge and name that: ip link add br0 type bridge; ip link set PORT master br0");
    }
    let also = also(c, &table.also, address, network.as_ref().and_then(|n| n.pool));
    let dhcp = table.dhcp.unwrap_or(DhcpMode::Full);
    let discover = table.discover.as_ref().is_some_and(|d| **d);
    if let (Some(flag), Some(network)) = (&table.discover, &network)
        && discover
        && dhcp == DhcpMode::Full
        && network.pool.is_none()
        && c.file.network.iter().any(|(k, t)| k.as_str() == network.name && t.pool.is_none())
    {
        c.report
            .error(flag, "discover needs a pool of addresses for machines that are not nodes yet")
            .so(format!("add `pool = …` to [network.{}]", network.name));
    }
    let tolerate = table.tolerate.iter().filter_map(|t| c.address(t, t.into())).collect();
    let lease_secs = table.lease.as_ref().map_or(Some(43_200), |t| lease(c, t));
    Some(Server {
        interfaces: table.interfaces.iter().map(|t| t.to_string()).collect(),
        address: address?,
        also,
        http_port: table.http_port.as_ref().map_or(80, |p| **p),
        agent_port: table.agent_port.as_ref().map_or(8443, |p| **p),
        provisioning: provisioning?,
        dhcp,
        discover,
        tolerate,
        lease_secs: lease_secs?,
    })
}

/// Further addresses of the server: nobody else's, none twice.
fn also(c: &mut Check, list: &[Text], own: Option<Ipv4Addr>, pool: Option<IpRange>) -> Vec<Ipv4Addr> {
    let mut out = Vec::new();
    for text in list {
        let Some(address) = c.address(text, text.into()) else { continue };
        if Some(address) == own || out.contains(&address) {
            c.report
                .error(text, format!("{address} is Bootstead's address already"))
                .so("take it out of `also`: agents try `address` first, then these");
            continue;
        }
        if pool.is_some_and(|p| p.contains(address)) {
            c.report
                .error(text, format!("Bootstead's further address {address} is inside the pool"))
                .because("it would be given to another machine")
                .so("shorten the pool, or take an address outside of it");
        }
        if c.take(address, "Bootstead itself (also)", text.into()) {
            out.push(address);
        }
    }
    out
}

/// `90s`, `30m`, `12h`, `2d` → seconds.
fn lease(c: &mut Check, text: &Text) -> Option<u32> {
    let digits = text.trim_end_matches(|ch: char| !ch.is_ascii_digit());
    let unit = match &text[digits.len()..] {
        "s" => Some(1u32),
        "m" => Some(60),
        "h" => Some(3600),
        "d" => Some(86_400),
        _ => None,
    };
    let secs = digits.parse::<u32>().ok().zip(unit).and_then(|(n, u)| n.checked_mul(u));
    match secs {
        Some(s) if (120..=30 * 86_400).contains(&s) => Some(s),
        Some(_) => {
            c.report
                .error(text, format!("a lease of {} is not sane", **text))
                .so("use 2m to 30d; 12h is usual");
            None
        }
        None => {
            c.report
                .error(text, format!("{:?} is not a time", **text))
                .so("write a number and s, m, h or d: \"12h\"");
            None
        }
    }
}
