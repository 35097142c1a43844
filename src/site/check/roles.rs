//! Checks `[role.NAME]`.

use super::{Check, links, parts, vars};
use crate::base::IpRange;
use crate::lifecycle::Lane;
use crate::site::model::{DataDisk, DiskRule, Role};
use crate::site::naming::{self, Naming};
use crate::site::report::{Cut, Tell as _, Where};
use crate::site::wire::{RoleTable, Text};
use std::collections::BTreeMap;

pub fn check(c: &mut Check) -> BTreeMap<String, Role> {
    let mut roles = BTreeMap::new();
    for (name, table) in &c.file.role {
        if let Err(why) = naming::label(name) {
            c.report
                .error(name, format!("{:?} cannot be the name of a role", **name))
                .because(why)
                .so(naming::instead(name));
        }
        let role = one(c, name, table);
        roles.insert(name.to_string(), role);
    }
    ranges_between(c, &roles);
    roles
}

fn one(c: &mut Check, name: &Text, table: &RoleTable) -> Role {
    let profile = profile(c, name, table);
    let parts = parts::of_role(c, &profile, table);
    let image = table.image.as_ref().map(|i| i.to_string()).unwrap_or_default();
    let lane = table.lane.as_ref().map_or(Lane::Installer, |l| **l);
    if let Some(text) = &table.image {
        match c.catalog.images.get(text.as_str()) {
            None => {
                let known = c.catalog.images.keys().map(String::as_str);
                c.report.error(text, format!("there is no image {:?}", **text)).meant(text, known);
            }
            Some(found) if lane == Lane::Fast && found.root.is_none() => {
                c.report
                    .error(
                        text,
                        format!("the image {} has no prepared root, which the fast lane writes", **text),
                    )
                    .so("leave `lane` out, or take an image with a [root]");
            }
            Some(_) => {}
        }
    }
    if let Some(data) = table.data.first()
        && lane == Lane::Fast
    {
        c.report
            .error(data, format!("the fast lane does not prepare data disks, and {} has one", **name))
            .because("it writes the system disk and nothing else")
            .so("leave `lane` out (the distribution's installer makes them), or leave `data` out");
    }
    if let Some(profile) = c.catalog.profiles.get(&profile) {
        for key in table.vars.keys() {
            vars::declared(c, profile, &parts, &image, key, key.into());
        }
    }
    let naming = table.name.as_ref().map_or_else(|| format!("{}-{{n:02}}", **name), |t| t.to_string());
    if let Some(text) = &table.name
        && let Err(why) = Naming::parse(text)
    {
        c.report
            .error(text, format!("{:?} is no naming rule", **text))
            .because(why)
            .so(format!("write one such as \"{}-{{n:02}}\"", **name));
    }
    for word in table.packages.iter() {
        if word.is_empty() || word.chars().any(|ch| ch.is_whitespace() || ch.is_control() || ch == '#') {
            c.report
                .error(word, format!("{:?} cannot be the name of a package", **word))
                .so("write one name per entry: [\"tcpdump\", \"lldpd\"]");
        }
    }
    let kernel_args = table.kernel_args.as_ref().map(|t| kernel_words(c, t, t.into())).unwrap_or_default();
    let ranges = ranges(c, name, table);
    let links = links::check(c, name, table);
    Role {
        name: name.to_string(),
        profile,
        parts,
        image,
        lane,
        naming,
        ranges,
        links,
        disk: table.disk.as_ref().map(|d| rule(c, d, d.into())),
        data_disks: data_disks(c, table),
        packages: table.packages.iter().map(|t| t.to_string()).collect(),
        kernel_args,
        vars: vars::plain(&table.vars),
    }
}

/// Words for a kernel's command line, of a role or a node.
pub fn kernel_words(c: &mut Check, words: &str, at: Where) -> String {
    // They go into GRUB's, systemd-boot's and installers' own files: what any of them reads as its own is refused.
    let odd = |ch: char| ch.is_control() || !ch.is_ascii() || "\"'`$\\;#&|<>".contains(ch);
    if let Some(ch) = words.chars().find(|ch| odd(*ch)) {
        c.report
            .error(at, format!("kernel_args cannot hold {ch:?}"))
            .because("boot loaders and installers read it as their own")
            .so("write plain words such as console=ttyS1,115200 or hugepages=16, with blanks between them");
    }
    words.trim().to_string()
}

fn profile(c: &mut Check, name: &Text, table: &RoleTable) -> String {
    let known: Vec<&str> = c.catalog.profiles.keys().map(String::as_str).collect();
    match &table.profile {
        Some(text) => {
            if !known.contains(&text.as_str()) {
                c.report.error(text, format!("there is no profile {:?}", **text)).meant(text, known);
            }
            text.to_string()
        }
        None => {
            if !known.contains(&name.as_str()) {
                c.report
                    .error(name, format!("the role {} needs a `profile`", **name))
                    .because(format!("there is no profile of the name {}", **name))
                    .meant(name, known);
            }
            name.to_string()
        }
    }
}

/// The rule itself, checked: not empty, sizes in order.
pub fn rule(c: &mut Check, rule: &DiskRule, at: Where) -> DiskRule {
    let cut = |cut: &Cut| matches!(&at, Where::Toml(t) if t.contains(&cut.span.start));
    if *rule == DiskRule::default() && c.report.cut.iter().any(cut) {
        // The mistake is reported already.
    } else if *rule == DiskRule::default() {
        c.report
            .error(at, "this disk rule is empty, so every disk would match")
            .because("a machine may hold disks with somebody's data")
            .so("say at least one of serial, wwn, model, by_path, min_gib, max_gib, pick");
    } else if let (Some(min), Some(max)) = (rule.min_gib, rule.max_gib)
        && min > max
    {
        c.report
            .error(at, format!("min_gib ({min}) is more than max_gib ({max}), so no disk matches"))
            .so("let min_gib be the smaller one, or leave one of them out");
    } else if rule.by_path.as_deref().is_some_and(|p| p.contains('/')) {
        c.report
            .error(at, "by_path is the name below /dev/disk/by-path, without slashes")
            .so("for example by_path = \"pci-0000:3b:00.0-nvme-1\"");
    } else if [&rule.serial, &rule.wwn, &rule.model, &rule.by_path]
        .into_iter()
        .flatten()
        .any(|t| t.trim().is_empty())
    {
        c.report.error(at, "this disk rule has an empty text").so("take the empty key out");
    }
    rule.clone()
}

fn data_disks(c: &mut Check, table: &RoleTable) -> Vec<DataDisk> {
    let mut out: Vec<DataDisk> = Vec::new();
    for data in &table.data {
        let (Some(name), Some(disk), Some(mount)) = (&data.name, &data.rule, &data.mount) else { continue };
        if let Err(why) = naming::label(name) {
            c.report
                .error(name, format!("{:?} cannot be the name of a data disk", **name))
                .because(why)
                .so(naming::instead(name));
        }
        let word = |t: &str| t.chars().all(|ch| ch.is_ascii_alphanumeric() || "/-_.".contains(ch));
        if !mount.starts_with('/') || mount.len() < 2 || mount.ends_with('/') || !word(mount) {
            c.report
                .error(mount, format!("{:?} cannot be a mount point", **mount))
                .so("write a path such as /srv/data");
        }
        if let Some(other) = out.iter().find(|d| d.name == **name || d.mount == **mount) {
            let what = format!("the data disks {} and {} share a name or a mount point", other.name, **name);
            c.report.error(data, what).so("give each its own name and its own folder");
        }
        let same = table.disk.as_ref().is_some_and(|d| **d == **disk) || out.iter().any(|d| d.rule == **disk);
        if same {
            c.report
                .error(disk, format!("the data disk {} has the same rule as another disk", **name))
                .because("one rule matches exactly one disk, so both would be the same one")
                .so("tell them apart by serial, model, by_path or size");
        }
        out.push(DataDisk {
            name: name.to_string(),
            rule: rule(c, disk, disk.into()),
            mount: mount.to_string(),
            keep: data.keep,
        });
    }
    out
}

fn ranges(c: &mut Check, role: &Text, table: &RoleTable) -> BTreeMap<String, IpRange> {
    let mut out = BTreeMap::new();
    for (network, text) in &table.addresses {
        if !c.knows_network(network, network.into()) {
            continue;
        }
        let what = format!("the range of {}", **role);
        let Some(range) = c.range(network, text, &what) else { continue };
        if let Some(pool) = c.networks.get(network.as_str()).and_then(|n| n.pool)
            && pool.overlaps(&range)
        {
            c.report
                .error(text, format!("{what} on {} overlaps the pool {pool}", **network))
                .because("an address of the pool may be given to another machine")
                .so("move the pool or the range");
        }
        let own = c.file.server.iter().flat_map(|s| s.address.iter().chain(&s.also));
        let inside: Vec<String> = own
            .filter(|s| s.parse().is_ok_and(|a| range.contains(a)))
            .map(|s| format!("{what} contains {}, Bootstead's own address", **s))
            .collect();
        for said in inside {
            c.report.error(text, said).so("let the range begin or end beside it");
        }
        out.insert(network.to_string(), range);
    }
    out
}

/// Ranges of two roles on one network do not overlap, or one day two nodes have the same address.
fn ranges_between(c: &mut Check, roles: &BTreeMap<String, Role>) {
    let all: Vec<(&String, &String, &IpRange)> =
        roles.iter().flat_map(|(r, role)| role.ranges.iter().map(move |(n, range)| (r, n, range))).collect();
    for (i, (a, network, ra)) in all.iter().enumerate() {
        for (b, _, rb) in all[i + 1..].iter().filter(|(_, n, _)| n == network) {
            if !ra.overlaps(rb) {
                continue;
            }
            let find = |role: &str| {
                let (_, table) = c.file.role.iter().find(|(k, _)| k.as_str() == role)?;
                table
                    .addresses
                    .iter()
                    .find(|(k, _)| k.as_str() == network.as_str())
                    .map(|(_, t)| Where::from(t))
            };
            if let (Some(at), Some(there)) = (find(b), find(a)) {
                let line = c.report.line(&there);
                c.report
                    .error(at, format!("the ranges of {b} and {a} on {network} overlap"))
                    .because(format!("{a} has {ra} by {line}"))
                    .so("give each role a range of its own");
            }
        }
    }
}
