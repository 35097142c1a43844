//! Checks `[cluster]` and what the roles' parts need of the site: each other, virtual addresses, an odd number.

use super::Check;
use crate::profiles::Part;
use crate::site::model::{Cluster, Node, Role, Vip};
use crate::site::report::{Tell as _, Where};
use crate::site::wire::RoleTable;
use std::collections::BTreeMap;

/// The parts of a role: its own list, else its profile's.
pub fn of_role(c: &mut Check, profile: &str, table: &RoleTable) -> Vec<String> {
    let Some(list) = &table.parts else {
        return c.catalog.profiles.get(profile).map(|p| p.parts.clone()).unwrap_or_default();
    };
    let mut out: Vec<String> = Vec::new();
    for text in list {
        if !c.catalog.parts.contains_key(text.as_str()) {
            let known = c.catalog.parts.keys().map(String::as_str);
            c.report.error(text, format!("there is no part {:?}", **text)).meant(text, known);
        } else if out.iter().any(|o| o == text.as_str()) {
            c.report.error(text, format!("the part {} is listed twice", **text)).so("take one of them out");
        } else {
            out.push(text.to_string());
        }
    }
    out
}

/// `[cluster]`, and whether the parts of the roles in use fit together.
pub fn check(
    c: &mut Check,
    roles: &BTreeMap<String, Role>,
    vips: &BTreeMap<String, Vip>,
    nodes: &[Node],
) -> Option<Cluster> {
    let table = c.file.cluster.as_ref()?;
    let network = match &table.network {
        Some(text) => c.knows_network(text, text.into()).then(|| text.to_string()),
        None => c.provisioning.clone(),
    };
    let used: Vec<&Role> = roles.values().filter(|r| nodes.iter().any(|n| n.role == r.name)).collect();
    let catalog = c.catalog;
    for role in &used {
        let at = role_at(c, role);
        for part in role.parts.iter().filter_map(|p| catalog.parts.get(p)) {
            fits(c, role, part, &used, at.clone());
        }
        addresses(c, role, vips, at.clone());
        if let Some(network) = &network
            && !role.parts.is_empty()
            && let Some(node) =
                nodes.iter().find(|n| n.role == role.name && !n.addresses.contains_key(network))
        {
            c.report
                .error(at, format!("{} has no address on {network}, the cluster's network", node.name))
                .so(format!("add `addresses.{network} = …` to the role {}", role.name));
        }
    }
    for part in catalog.parts.values().filter(|p| p.quorum) {
        let has = |r: &&&Role| r.parts.contains(&part.name);
        let members = nodes.iter().filter(|n| used.iter().any(|r| r.name == n.role && has(&r))).count();
        if members > 0
            && members % 2 == 0
            && let Some(role) = used.iter().find(has)
        {
            let at = role_at(c, role);
            c.report
                .error(at, format!("{members} nodes have the part {}, whose members vote", part.name))
                .because("of an even number of voters one half cannot go on without the other")
                .so("make it an odd number: 3 survive one loss, 5 survive two");
        }
    }
    time(c, roles, nodes);
    Some(Cluster { network: network? })
}

/// A cluster whose nodes nobody tells the time: in a room without internet their own clocks drift apart (field-pain #88).
fn time(c: &mut Check, roles: &BTreeMap<String, Role>, nodes: &[Node]) {
    let told = |network: &String| c.networks.get(network).is_some_and(|n| !n.ntp.is_empty());
    let makes = |node: &&Node| roles.get(&node.role).is_some_and(|r| !r.parts.is_empty());
    let untold = |node: &&Node| !node.addresses.keys().chain(&c.provisioning).any(told);
    let Some(node) = nodes.iter().filter(makes).find(untold) else { return };
    let file = c.file;
    let at = c.provisioning.as_ref().and_then(|p| file.network.keys().find(|k| k.as_str() == p));
    let Some(at) = at else { return };
    let what = format!("no network of {} has `ntp`: nothing tells this cluster's nodes the time", node.name);
    c.report
        .warning(at, what)
        .because(
            "without internet their clocks drift apart; a node whose clock is 5 s off gets no more steps, and tokens and \
             certificates are refused",
        )
        .so(format!("write a time server that they reach into [network.{}]: ntp = [\"10.77.0.254\"]", **at));
}

fn fits(c: &mut Check, role: &Role, part: &Part, used: &[&Role], at: Where) {
    for need in part.needs.iter().filter(|n| !role.parts.contains(n)) {
        c.report
            .error(
                at.clone(),
                format!("the part {} of role {} needs {need} on the same node", part.name, role.name),
            )
            .so(format!("add {need:?} to the role's `parts`"));
    }
    for need in part.elsewhere.iter().filter(|n| !used.iter().any(|r| r.parts.contains(n))) {
        c.report
            .error(
                at.clone(),
                format!("the part {} of role {} needs {need}, and no node has it", part.name, role.name),
            )
            .so(format!("give a role with nodes the part {need:?}"));
    }
}

/// A virtual address that is missing is one mistake, however many parts want it.
fn addresses(c: &mut Check, role: &Role, vips: &BTreeMap<String, Vip>, at: Where) {
    let mut lacking: BTreeMap<&str, Vec<&Part>> = BTreeMap::new();
    for part in role.parts.iter().filter_map(|p| c.catalog.parts.get(p)) {
        for need in part.vips.iter().filter(|n| !vips.contains_key(*n)) {
            lacking.entry(need).or_default().push(part);
        }
    }
    for (need, parts) in lacking {
        let names: Vec<&str> = parts.iter().map(|p| p.name.as_str()).collect();
        let (who, because) = match parts.as_slice() {
            [part] => (format!("the part {} of role {} needs", part.name, role.name), part.summary.clone()),
            _ => (
                format!("the parts {} of role {} need", names.join(", "), role.name),
                "clients find their services at it, whichever node has it".to_string(),
            ),
        };
        c.report
            .error(at.clone(), format!("{who} the virtual address {need}"))
            .because(because)
            .so(format!("add [vip.{need}] with its network and address"));
    }
}

fn role_at(c: &Check, role: &Role) -> Where {
    let found = c.file.role.iter().find(|(k, _)| k.as_str() == role.name).map(|(k, _)| Where::from(k));
    found.unwrap_or(Where::Toml(0..0))
}
