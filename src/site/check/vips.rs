//! Checks `[vip.NAME]`.

use super::Check;
use crate::base::IpRange;
use crate::site::model::Vip;
use crate::site::naming;
use crate::site::report::{Tell as _, Where};
use std::collections::BTreeMap;

pub fn check(c: &mut Check) -> BTreeMap<String, Vip> {
    let mut vips = BTreeMap::new();
    for (name, table) in &c.file.vip {
        if let Err(why) = naming::label(name) {
            c.report
                .error(name, format!("{:?} cannot be the name of a virtual address", **name))
                .because(why)
                .so(naming::instead(name));
        }
        let (Some(network), Some(text)) = (&table.network, &table.address) else { continue };
        let known = c.knows_network(network, network.into());
        let Some(address) = c.address(text, text.into()) else { continue };
        if !known || !c.is_host(network, address, text.into()) {
            continue;
        }
        let who = format!("the virtual address {}", **name);
        c.take(address, &who, text.into());
        if let Some((what, at)) = range_with(c, network, address) {
            let line = c.report.line(&at);
            c.report
                .error(text, format!("{who} ({address}) is inside {what}"))
                .because(format!("{what} is given out by {line}"))
                .so("take an address outside of every range and pool");
        }
        vips.insert(name.to_string(), Vip { name: name.to_string(), network: network.to_string(), address });
    }
    vips
}

/// The range or pool of `network` that contains `address`.
fn range_with(c: &Check, network: &str, address: std::net::Ipv4Addr) -> Option<(String, Where)> {
    if let Some(table) = c.file.network.iter().find(|(k, _)| k.as_str() == network).map(|(_, t)| t)
        && let Some(pool) = &table.pool
        && IpRange::parse(pool).is_ok_and(|r| r.contains(address))
    {
        return Some((format!("the pool of {network}"), pool.into()));
    }
    c.file.role.iter().find_map(|(role, table)| {
        let text = table.addresses.iter().find(|(k, _)| k.as_str() == network).map(|(_, t)| t)?;
        let range = IpRange::parse(text).ok()?;
        range.contains(address).then(|| (format!("the range of {}", **role), text.into()))
    })
}
