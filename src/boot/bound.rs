//! Owns what an arming is bound to: what a person was shown before a disk is erased is what is installed, or nothing.
//!
//! A row put into the nodes' table shifts numbers, names and addresses of those below it; an arming must not follow.

use super::decide::Why;
use crate::base::Sha256;
use crate::lifecycle::{Ledger, State, What};
use crate::site::{Node, Site};
use serde::Serialize;

/// What an installation is, of all that a site says of a node: which machine becomes what, and which disks it loses.
/// Its packages, users and variables are not in it: with another value of those it is still the same installation.
#[derive(Serialize)]
struct Shown<'a> {
    name: &'a str,
    macs: &'a [crate::base::Mac],
    addresses: &'a std::collections::BTreeMap<String, std::net::Ipv4Addr>,
    role: &'a str,
    image: &'a str,
    lane: crate::lifecycle::Lane,
    disk: Option<&'a crate::base::DiskRule>,
    data_disks: &'a [crate::site::DataDisk],
}

/// The digest of what installing `node` would be by this site. `None` if it cannot be written as text, which plain data
/// always can: an arming then never fits.
pub fn bound(site: &Site, node: &Node) -> Option<Sha256> {
    let role = site.role(node);
    let shown = Shown {
        name: &node.name,
        macs: &node.macs,
        addresses: &node.addresses,
        role: &role.name,
        image: &role.image,
        lane: role.lane,
        disk: site.disk_rule(node),
        data_disks: &role.data_disks,
    };
    serde_json::to_vec(&shown).ok().map(|text| Sha256::of(&text))
}

/// The fact that `node` is armed, for one installation as the site has it now.
pub fn armed(site: &Site, node: &Node, arming: u32, by: String, erase: Vec<String>) -> What {
    let role = site.role(node);
    let bound = bound(site, node);
    What::Armed { arming, by, image: role.image.clone(), role: role.name.clone(), erase, bound }
}

/// Whether `node` is armed for something else than the site says now; nothing is installed then. False once its
/// installation has begun.
pub fn changed(site: &Site, ledger: &Ledger, node: &Node) -> bool {
    let waits = matches!(ledger.state(node.mac()), State::Armed { .. } | State::Booting { .. });
    // Journals of before have armings without it.
    let was = ledger.record(node.mac()).and_then(|r| r.bound);
    waits && was.is_some_and(|was| Some(was) != bound(site, node))
}

/// The same for whoever hands out answers or orders; `Err` says what to do.
pub fn unchanged(site: &Site, ledger: &Ledger, node: &Node) -> Result<(), String> {
    match changed(site, ledger, node) {
        true => Err(Why::Changed { node: node.name.clone() }.to_string()),
        false => Ok(()),
    }
}
