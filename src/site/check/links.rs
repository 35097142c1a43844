//! Checks `[[role.NAME.link]]`: ports, bonds and what they carry; makes the default link where there is none.

use super::Check;
use crate::site::model::{Bond, Link};
use crate::site::report::Tell as _;
use crate::site::wire::{LinkTable, RoleTable, Text};
use std::collections::BTreeSet;

/// The Linux bonding driver's modes (Documentation/networking/bonding.rst).
const MODES: &[&str] =
    &["balance-rr", "active-backup", "balance-xor", "broadcast", "802.3ad", "balance-tlb", "balance-alb"];

/// The number of a port's name: `nic2` → 2.
pub fn port(name: &str) -> Option<usize> {
    name.strip_prefix("nic")?.parse().ok().filter(|n| (1..=64).contains(n))
}

/// How many ports a node needs for these links.
pub fn ports(links: &[Link]) -> usize {
    let names = links.iter().flat_map(|l| match &l.bond {
        Some(bond) => bond.members.as_slice(),
        None => std::slice::from_ref(&l.name),
    });
    names.filter_map(|n| port(n)).max().unwrap_or(0)
}

pub fn check(c: &mut Check, role: &Text, table: &RoleTable) -> Vec<Link> {
    if table.link.is_empty() {
        return default(c, role, table);
    }
    let (mut used, mut carried) = (BTreeSet::new(), BTreeSet::new());
    let mut links: Vec<Link> = Vec::new();
    for link in &table.link {
        let Some(name) = &link.name else { continue };
        let bond = bond(c, name, link);
        let members: Vec<Text> = match (&link.bond, &link.bond.as_ref().and_then(|b| b.members.as_ref())) {
            (Some(_), Some(m)) => m.to_vec(),
            (Some(_), None) => Vec::new(),
            (None, _) => vec![name.clone()],
        };
        for m in &members {
            if port(m).is_none() {
                let what = format!("{:?} is not a port", **m);
                c.report
                    .error(m, what)
                    .so("ports are nic1 (the first MAC address), nic2, …; a bond needs `bond = {…}`");
            } else if !used.insert(m.to_string()) {
                c.report
                    .error(m, format!("the port {} is in two links", **m))
                    .so("take it out of one of them: a port is a link of its own, or a member of one bond");
            }
        }
        if links.iter().any(|l| l.name == **name) && link.bond.is_some() {
            c.report
                .error(name, format!("there are two links named {}", **name))
                .so("give one of them another name, for example bond1");
        }
        for (network, tagged) in
            link.untagged.iter().map(|n| (n, false)).chain(link.tagged.iter().map(|n| (n, true)))
        {
            carries(c, name, network, tagged, &mut carried);
        }
        let made = Link {
            name: name.to_string(),
            bond,
            untagged: link.untagged.as_ref().map(|t| t.to_string()),
            tagged: link.tagged.iter().map(|t| t.to_string()).collect(),
            mtu: link.mtu.as_ref().map(|m| **m),
        };
        mtu(c, link, &made);
        links.push(made);
    }
    not_carried(c, role, table, &carried);
    links
}

/// One network on one link: known, tagged only with a VLAN id, carried once, the boot network untagged.
fn carries(c: &mut Check, link: &Text, network: &Text, tagged: bool, carried: &mut BTreeSet<String>) {
    if !c.knows_network(network, network.into()) {
        return;
    }
    if !carried.insert(network.to_string()) {
        c.report
            .error(network, format!("the network {} is on two links", **network))
            .so("take it out of one of them, or make the two links one bond");
    }
    let boot = c.provisioning.as_deref() == Some(network.as_str());
    if tagged && !boot && c.networks.contains_key(network.as_str()) && !has_vlan(c, network) {
        c.report
            .error(network, format!("{} is tagged on {} and has no VLAN", **network, **link))
            .so(format!("add `vlan = …` to [network.{}], or make it `untagged`", **network));
    }
    if tagged && boot {
        c.report
            .error(network, format!("{} must be untagged on {}", **network, **link))
            .because("firmware boots from the network without a VLAN tag")
            .so("make it `untagged`, and set the switch port's native VLAN");
    }
}

/// Whether the network has a VLAN, or one was written and is wrong.
fn has_vlan(c: &Check, network: &str) -> bool {
    c.networks.get(network).is_some_and(|n| n.vlan.is_some())
        || c.report.was_cut(&format!("network.{network}.vlan"))
}

fn bond(c: &mut Check, name: &Text, link: &LinkTable) -> Option<Bond> {
    let table = link.bond.as_ref()?;
    let shape = (1..=15).contains(&name.len())
        && name.chars().all(|ch| ch.is_ascii_alphanumeric() || "-_".contains(ch))
        && name.starts_with(|ch: char| ch.is_ascii_lowercase());
    if port(name).is_some() || !shape {
        c.report
            .error(name, format!("{:?} cannot be the name of a bond", **name))
            .so("take one such as bond0: at most 15 letters and digits");
    }
    if let Some(mode) = &table.mode
        && !MODES.contains(&mode.as_str())
    {
        c.report
            .error(mode, format!("there is no bond mode {:?}", **mode))
            .meant(mode, MODES.iter().copied());
    }
    if let Some(members) = &table.members
        && members.is_empty()
    {
        c.report.error(members, format!("the bond {} has no members", **name)).so("[\"nic1\", \"nic2\"]");
    }
    for (key, value) in &table.options {
        let word =
            |t: &str| !t.is_empty() && t.chars().all(|ch| ch.is_ascii_alphanumeric() || "_+-.:".contains(ch));
        if !word(key) || !word(&value.0) {
            c.report
                .error(key, format!("the bond option {:?} is not a plain word with a plain value", **key))
                .so("write one such as miimon = 100 or lacp_rate = \"fast\"");
        } else if key.as_str() == "mode" {
            c.report
                .error(key, "the mode is said by `mode`, not by an option")
                .so("write `mode = …` beside `members`");
        }
    }
    Some(Bond {
        mode: table.mode.as_ref()?.to_string(),
        members: table.members.as_ref()?.iter().map(|t| t.to_string()).collect(),
        options: table.options.iter().map(|(k, v)| (k.to_string(), v.0.clone())).collect(),
    })
}

/// A VLAN's packets go through its link, so none is larger than the link's.
fn mtu(c: &mut Check, table: &LinkTable, link: &Link) {
    let Some(at) = &table.mtu else { return };
    for name in link.untagged.iter().chain(&link.tagged) {
        if let Some(m) = c.networks.get(name).and_then(|n| n.mtu)
            && m > **at
        {
            c.report
                .error(at, format!("the MTU of {} is less than that of the network {name} ({m})", link.name))
                .so("raise this one, or leave it out");
        }
    }
}

/// Networks with addresses that no link carries: the addresses would be written nowhere.
fn not_carried(c: &mut Check, role: &Text, table: &RoleTable, carried: &BTreeSet<String>) {
    for (network, _) in table.addresses.iter().filter(|(n, _)| !carried.contains(n.as_str())) {
        if !c.network_names().any(|n| n == network.as_str()) {
            continue;
        }
        if c.provisioning.as_deref() == Some(network.as_str()) {
            c.report
                .error(network, format!("no link of {} carries the provisioning network", **role))
                .so(format!("add `untagged = \"{}\"` to the link that the machine boots from", **network));
        } else {
            c.report
                .warning(network, format!("no link of {} carries {}", **role, **network))
                .because("so its addresses are known here, and no interface of the node has them")
                .so(format!("add {:?} to `tagged` or `untagged` of a link", **network));
        }
    }
}

/// The first port: the provisioning network untagged, every other network of the role with its tag.
fn default(c: &mut Check, role: &Text, table: &RoleTable) -> Vec<Link> {
    let Some(provisioning) = c.provisioning.clone() else { return Vec::new() };
    let mut carried = BTreeSet::from([provisioning.clone()]);
    let mut tagged = Vec::new();
    for network in table.addresses.keys().filter(|n| n.as_str() != provisioning) {
        if has_vlan(c, network) {
            tagged.push(network.to_string());
            carried.insert(network.to_string());
        } else if !c.networks.contains_key(network.as_str()) {
            carried.insert(network.to_string());
        }
    }
    not_carried(c, role, table, &carried);
    vec![Link { name: "nic1".to_string(), bond: None, untagged: Some(provisioning), tagged, mtu: None }]
}
