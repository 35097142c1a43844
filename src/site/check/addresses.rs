//! Checks the addresses of nodes: those that are written for a node, and those of its role's ranges.

use super::Check;
use crate::site::model::Role;
use crate::site::report::Tell as _;
use crate::site::rows::{Cell, RawNode};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

/// The addresses that are written for one node, judged.
#[derive(Default)]
pub struct Written {
    good: BTreeMap<String, Ipv4Addr>,
    /// Networks for which anything is written, right or wrong.
    networks: BTreeSet<String>,
}

/// Judges what is written for a node; this needs neither its role nor its name to be right.
pub fn written(c: &mut Check, raw: &RawNode, who: &str) -> Written {
    let mut out = Written::default();
    for (network, cell) in &raw.addresses {
        out.networks.insert(network.text.clone());
        if !c.knows_network(&network.text, network.at.clone()) {
            continue;
        }
        let Some(address) = c.address(&cell.text, cell.at.clone()) else { continue };
        if c.is_host(&network.text, address, cell.at.clone()) {
            not_in_pool(c, &network.text, address, who, cell);
            c.take(address, who, cell.at.clone());
            out.good.insert(network.text.clone(), address);
        }
    }
    out
}

/// Adds the addresses of the role's ranges to what is written for node number `number`.
///
/// `told` holds addresses whose place in a range is reported where the range is judged (gateways, virtual addresses,
/// ranges that overlap): one mistake is one problem.
pub fn with_ranges(
    c: &mut Check,
    role: &Role,
    raw: &RawNode,
    (who, number): (&str, u32),
    written: Written,
    told: &mut BTreeSet<Ipv4Addr>,
) -> BTreeMap<String, Ipv4Addr> {
    let Written { good: mut out, networks } = written;
    for (network, range) in role.ranges.iter().filter(|(n, _)| !networks.contains(*n)) {
        match range.nth(u64::from(number) - 1) {
            Some(address) => {
                if !told.contains(&address) {
                    c.take(address, who, raw.at.clone());
                    told.insert(address);
                }
                out.insert(network.clone(), address);
            }
            None => too_short(c, role, network, number),
        }
    }
    if let Some(p) = c.provisioning.clone()
        && !out.contains_key(&p)
        && !networks.contains(&p)
        && !has_range(c, &role.name, &p)
        && !raw.cut.iter().any(|key| key.starts_with("addresses"))
    {
        no_boot_address(c, role, raw, &p);
    }
    out
}

/// Whether the file gives the role a range on the network, readable or not.
fn has_range(c: &Check, role: &str, network: &str) -> bool {
    let table = c.file.role.iter().find(|(k, _)| k.as_str() == role);
    table.is_some_and(|(_, t)| t.addresses.keys().any(|k| k.as_str() == network))
        || c.report.was_cut(&format!("role.{role}.addresses"))
        || c.report.was_cut(&format!("role.{role}.addresses.{network}"))
}

fn no_boot_address(c: &mut Check, role: &Role, raw: &RawNode, provisioning: &str) {
    let table = c.file.role.iter().find(|(k, _)| k.as_str() == role.name);
    let at = table.map_or(raw.at.clone(), |(k, _)| k.into());
    let what = format!("the nodes of {} have no address on {provisioning}", role.name);
    if !c.report.problems.0.iter().any(|p| p.what == what) {
        c.report
            .error(at, what)
            .because("that is the network they boot and install from")
            .so(format!("add `addresses = {{ {provisioning} = \"first-last\" }}` to the role"));
    }
}

fn not_in_pool(c: &mut Check, network: &str, address: Ipv4Addr, name: &str, cell: &Cell) {
    if let Some(pool) = c.networks.get(network).and_then(|n| n.pool)
        && pool.contains(address)
    {
        c.report
            .error(cell.at.clone(), format!("the address of {name}, {address}, is inside the pool {pool}"))
            .because("it may be given to another machine before this one asks")
            .so("take an address outside of the pool, or move the pool");
    }
}

/// Once per range, with the number that is needed in the end.
fn too_short(c: &mut Check, role: &Role, network: &str, number: u32) {
    let table = c.file.role.iter().find(|(k, _)| k.as_str() == role.name);
    let text = table.and_then(|(_, t)| t.addresses.iter().find(|(k, _)| k.as_str() == network));
    let Some((_, text)) = text else { return };
    let what = format!("the range of {} on {network} is too short for its nodes", role.name);
    let why = |n: u32| {
        let len = role.ranges[network].len();
        let plural = if len == 1 { "" } else { "es" };
        format!("it has {len} address{plural}, and the role has a node number {n}")
    };
    match c.report.problems.0.iter_mut().find(|p| p.what == what) {
        Some(p) => p.why = Some(why(number)),
        None => {
            c.report.error(text, what).because(why(number)).so("let it end later");
        }
    }
}
