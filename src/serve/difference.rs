//! Owns what reading the site again changes, in words: how much is other, and what somebody would not expect.

use crate::boot::bound::changed;
use crate::lifecycle::{Ledger, State};
use crate::site::Site;
use std::collections::BTreeMap;

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
    let nodes = if parts.is_empty() { "the same nodes".to_string() } else { parts.join(", ") };
    let rest = [
        ("roles", old.roles != new.roles),
        ("networks", old.networks != new.networks),
        ("access", old.access != new.access),
        ("virtual addresses", old.vips != new.vips),
        ("[server] (its address, port and interfaces count after a restart)", old.server != new.server),
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
            "armed for something else than the site says now, and not installed until they are forgotten and armed \
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

/// At most eight names.
fn some(names: &[&str]) -> String {
    match names.len() {
        0..=8 => names.join(", "),
        n => format!("{} and {} more", names[..8].join(", "), n - 8),
    }
}
