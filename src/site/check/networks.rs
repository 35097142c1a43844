//! Checks `[network.NAME]`.

use super::Check;
use crate::base::{Cidr, IpRange};
use crate::site::model::Network;
use crate::site::naming;
use crate::site::report::{Tell as _, Where};
use crate::site::wire::{NetworkTable, Text};
use std::collections::BTreeMap;

pub fn check(c: &mut Check) {
    c.provisioning = provisioning(c);
    for (name, table) in &c.file.network {
        if let Err(why) = naming::label(name) {
            c.report
                .error(name, format!("{:?} cannot be the name of a network", **name))
                .because(why)
                .so(naming::instead(name));
        }
        if let Some(network) = one(c, name, table) {
            c.networks.insert(name.to_string(), network);
        }
    }
    between(c);
    // Gateways are machines too: their addresses are taken. Two networks may name one router.
    for (name, table) in &c.file.network {
        if let (Some(text), Some(Some(gateway))) =
            (&table.gateway, c.networks.get(name.as_str()).map(|n| n.gateway))
            && !c.taken.contains_key(&gateway)
        {
            c.take(gateway, &format!("the gateway of {}", **name), text.into());
        }
    }
}

/// The name of the network that machines boot from.
fn provisioning(c: &mut Check) -> Option<String> {
    let server = c.file.server.as_ref();
    if let Some(name) = server.and_then(|s| s.provisioning.as_ref()) {
        return c.knows_network(name, name.into()).then(|| name.to_string());
    }
    let names: Vec<&str> = c.network_names().collect();
    if names.contains(&"provisioning") {
        return Some("provisioning".to_string());
    }
    match names.as_slice() {
        [one] => Some(one.to_string()),
        [] => {
            c.report
                .error(server.map_or(Where::Toml(0..0), Where::from), "the site file has no network")
                .so("add [network.provisioning] with its cidr");
            None
        }
        _ => {
            let at = server.map_or(Where::Toml(0..0), Where::from);
            c.report
                .error(at, "which network do machines boot from?")
                .because("there are several networks, and none is named provisioning")
                .so(format!("add `provisioning = …` to [server]: one of {}", names.join(", ")));
            None
        }
    }
}

fn one(c: &mut Check, name: &Text, table: &NetworkTable) -> Option<Network> {
    let cidr = match table.cidr.as_ref().map(|t| (t, Cidr::parse(t))) {
        None => None,
        Some((_, Ok(cidr))) => Some(cidr),
        Some((t, Err(why))) => {
            c.report
                .error(t, format!("{:?} is not a network", **t))
                .because(why)
                .so("write its first address and the prefix length, for example 10.77.0.0/24");
            None
        }
    };
    if let (Some(cidr), Some(t)) = (cidr, &table.cidr)
        && !(8..=30).contains(&cidr.prefix())
    {
        c.report
            .error(t, format!("a network of prefix length {} is of no use here", cidr.prefix()))
            .so("use a prefix length from 8 to 30");
    }
    let dns = table.dns.iter().filter_map(|t| c.address(t, t.into())).collect();
    for t in &table.ntp {
        if t.parse::<std::net::IpAddr>().is_err() && naming::domain(&t.to_lowercase()).is_err() {
            c.report
                .error(t, format!("{:?} is neither an address nor a name of a time server", **t))
                .so("write one such as 10.77.0.254 or ntp.site.example");
        }
    }
    let gateway = table.gateway.as_ref().and_then(|t| c.address(t, t.into()));
    let cidr = cidr?;
    let network = Network {
        name: name.to_string(),
        cidr,
        vlan: table.vlan.as_ref().map(|v| **v),
        mtu: table.mtu.as_ref().map(|v| **v),
        gateway,
        dns,
        ntp: table.ntp.iter().map(|t| t.to_string()).collect(),
        pool: None,
    };
    // `is_host` looks the network up.
    c.networks.insert(name.to_string(), network.clone());
    if let (Some(text), Some(gateway)) = (&table.gateway, gateway) {
        c.is_host(name, gateway, text.into());
    }
    let pool = table.pool.as_ref().and_then(|t| pool(c, name, t));
    Some(Network { pool, ..network })
}

fn pool(c: &mut Check, name: &Text, text: &Text) -> Option<IpRange> {
    if c.provisioning.as_deref().is_some_and(|p| p != name.as_str()) {
        c.report
            .error(text, format!("the network {} cannot have a pool", **name))
            .because("addresses are served only on the provisioning network")
            .so("take the line out");
        return None;
    }
    let range = c.range(name, text, "the pool")?;
    if range.len() > 65_536 {
        c.report.error(text, "a pool of more than 65536 addresses is of no use").so("let it end earlier");
    }
    Some(range)
}

impl Check<'_> {
    /// A range of host addresses on `network`; reports where it is none.
    pub(super) fn range(&mut self, network: &str, text: &Text, what: &str) -> Option<IpRange> {
        let range = match IpRange::parse(text) {
            Ok(r) => r,
            Err(why) => {
                self.report
                    .error(text, format!("{:?} is not a range of addresses", **text))
                    .because(why)
                    .so("write the first and the last address: 10.77.0.11-10.77.0.19");
                return None;
            }
        };
        let fits =
            self.is_host(network, range.first, text.into()) && self.is_host(network, range.last, text.into());
        if !fits {
            return None;
        }
        let gateway = self.networks.get(network).and_then(|n| n.gateway);
        if let Some(gateway) = gateway.filter(|g| range.contains(*g)) {
            self.report
                .error(text, format!("{what} contains {gateway}, the gateway of {network}"))
                .so("let the range begin or end beside it");
        }
        Some(range)
    }
}

/// Rules between networks: no overlap, no VLAN twice.
fn between(c: &mut Check) {
    let at: BTreeMap<&str, &NetworkTable> = c.file.network.iter().map(|(k, t)| (k.as_str(), &**t)).collect();
    let networks: Vec<Network> = c.networks.values().cloned().collect();
    for (i, a) in networks.iter().enumerate() {
        for b in &networks[i + 1..] {
            let (Some(ta), Some(tb)) = (at.get(a.name.as_str()), at.get(b.name.as_str())) else { continue };
            if a.cidr.overlaps(&b.cidr)
                && let (Some(sa), Some(sb)) = (&ta.cidr, &tb.cidr)
            {
                let line = c.report.line(&sa.into());
                c.report
                    .error(sb, format!("the networks {} and {} overlap", b.name, a.name))
                    .because(format!("{} is {} ({line})", a.name, a.cidr))
                    .so("give one of them addresses of its own");
            }
            if let (Some(va), Some(vb)) = (&ta.vlan, &tb.vlan)
                && va == vb
            {
                let line = c.report.line(&va.into());
                c.report
                    .error(vb, format!("the networks {} and {} have the same VLAN {}", b.name, a.name, **va))
                    .because(format!("{} has it by {line}", a.name))
                    .so("one VLAN carries one network");
            }
        }
    }
}
