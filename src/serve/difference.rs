//! Owns what reading the site again changes, in words: how much is other, and what somebody would not expect.

use crate::api::NO_CHANGE;
use crate::boot::bound::changed;
use crate::lifecycle::{Ledger, State};
use crate::problem::Problem;
use crate::site::{Node, Site};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// What a new site changes, in one line.
pub fn difference(old: &Site, new: &Site) -> String {
    let by_mac = |site: &Site| site.nodes.iter().map(|n| (n.mac(), n.clone())).collect::<BTreeMap<_, _>>();
    let (before, after) = (by_mac(old), by_mac(new));
    let added = after.keys().filter(|m| !before.contains_key(m)).count();
    let removed = before.keys().filter(|m| !after.contains_key(m)).count();
    let changed = after.iter().filter(|(m, n)| before.get(m).is_some_and(|b| b != *n)).count();
    let mut parts = Vec::new();
    for (count, word) in [(added, "added"), (removed, "removed"), (changed, "changed")] {
        if count > 0 {
            parts.push(format!("{count} {word}"));
        }
    }
    let nodes = if parts.is_empty() { NO_CHANGE.to_string() } else { parts.join(", ") };
    let rest = [
        ("roles", old.roles != new.roles),
        ("networks", old.networks != new.networks),
        ("access", old.access != new.access),
        ("virtual addresses", old.vips != new.vips),
        ("[server]", old.server != new.server),
    ];
    let rest: Vec<&str> = rest.iter().filter(|(_, differs)| *differs).map(|(name, _)| *name).collect();
    if rest.is_empty() { nodes } else { format!("{nodes}; other {}", rest.join(", ")) }
}

/// What a new site does to machines that have a life already, one sentence each.
pub fn surprises(old: &Site, new: &Site, ledger: &Ledger) -> Vec<String> {
    let mut said = Vec::new();
    let waiting: Vec<&str> =
        new.nodes.iter().filter(|n| changed(new, ledger, n)).map(|n| n.name.as_str()).collect();
    if !waiting.is_empty() {
        said.push(format!(
            "armed for something else than the site says now, and not installed until they are disarmed and armed \
             again: {}",
            some(&waiting)
        ));
    }
    // The ledger knows a machine by its first MAC address.
    for node in &old.nodes {
        let lives = *ledger.state(node.mac()) != State::Expected;
        let now = new.node_by_mac(node.mac()).or_else(|| new.node_by_name(&node.name));
        let Some(now) = now.filter(|now| lives && now.mac() != node.mac()) else { continue };
        said.push(format!(
            "{} is {} under its first MAC address {}; as {} {} begins a new life: put the old address first again, \
             unless it is another machine",
            node.name,
            ledger.state(node.mac()).name(),
            node.mac(),
            now.mac(),
            now.name
        ));
    }
    said
}

/// Whether the new site may be taken: installed nodes keep name and addresses, or a person said how many do not. A row
/// taken out of a table without numbers renames all below it, and their disks, certificates and peers know the old names.
pub fn agreed(old: &Site, new: &Site, ledger: &Ledger, moved: Option<usize>) -> Result<(), Problem> {
    let mut said = Vec::new();
    for before in &old.nodes {
        let Some(now) = new.nodes.iter().find(|n| n.mac() == before.mac()) else { continue };
        let state = ledger.state(before.mac());
        let lives = matches!(state, State::Installed { .. } | State::Installing { .. });
        if !lives || (now.name == before.name && now.addresses == before.addresses) {
            continue;
        }
        let address = |n: &Node| n.addresses.values().map(Ipv4Addr::to_string).collect::<Vec<_>>().join(" ");
        said.push(format!("{} ({}) → {} ({})", before.name, address(before), now.name, address(now)));
    }
    if said.is_empty() || moved == Some(said.len()) {
        return Ok(());
    }
    let names: Vec<&str> = said.iter().map(String::as_str).collect();
    Err(Problem::input(format!(
        "the site file gives {} installed {} another name or address: {}",
        said.len(),
        if said.len() == 1 { "node" } else { "nodes" },
        some(&names)
    ))
    .why("nodes without a name or number in their row are counted in the order of the rows")
    .help(format!(
        "put back what was there, or give each node its `number`; if it is meant: bootstead node reload --yes {}",
        said.len()
    )))
}

/// At most eight names.
fn some(names: &[&str]) -> String {
    match names.len() {
        0..=8 => names.join(", "),
        n => format!("{} and {} more", names[..8].join(", "), n - 8),
    }
}
