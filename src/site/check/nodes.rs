//! Checks nodes: their MAC addresses, roles, names, numbers, addresses, disks; and how many of each role there are.

use super::{Check, addresses, links, roles as role_check, vars};
use crate::base::Mac;
use crate::site::model::{Node, Role};
use crate::site::naming::{self, Naming};
use crate::site::report::{Tell as _, Where};
use crate::site::rows::{Cell, RawNode, mac_help, split_macs};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

/// A raw node with what is settled about it so far.
struct Draft {
    raw: RawNode,
    macs: Vec<Mac>,
    number: Option<u32>,
}

pub fn check(c: &mut Check, roles: &BTreeMap<String, Role>, raw: Vec<RawNode>) -> Vec<Node> {
    let mut seen: BTreeMap<Mac, Where> = BTreeMap::new();
    let mut drafts: BTreeMap<&str, Vec<Draft>> = BTreeMap::new();
    let mut strays: Vec<RawNode> = Vec::new();
    let none = raw.is_empty();
    let mut unknown = BTreeMap::new();
    for raw in raw {
        let macs = macs(c, &raw, &mut seen);
        match role(c, &raw, roles, &mut unknown) {
            Some(role) => drafts.entry(&role.name).or_default().push(Draft { macs, number: None, raw }),
            None => strays.push(raw),
        }
    }
    for (problem, count) in unknown.into_values().filter(|(_, count)| *count > 1) {
        c.report.problems.0[problem].why = Some(format!("{count} rows have it"));
    }
    let mut names: BTreeMap<String, Where> = BTreeMap::new();
    let mut told: BTreeSet<Ipv4Addr> = c.taken.keys().copied().collect();
    let mut nodes = Vec::new();
    for (name, list) in &mut drafts {
        let role = &roles[*name];
        number(c, role, list);
        for draft in list {
            nodes.extend(one(c, role, draft, &mut names, &mut told));
        }
    }
    for raw in &strays {
        without_role(c, roles, raw, &mut names);
    }
    counts(c, roles, &drafts);
    if none && c.report.problems.errors() == 0 {
        let at = c.file.site.as_ref().map_or(Where::Toml(0..0), Where::from);
        c.report
            .warning(at, "there are no nodes yet")
            .so("list machines in nodes.csv (mac,role), or add [[node]] tables");
    }
    nodes.sort_by(|a: &Node, b| a.name.cmp(&b.name));
    nodes
}

fn macs(c: &mut Check, raw: &RawNode, seen: &mut BTreeMap<Mac, Where>) -> Vec<Mac> {
    let mut out = Vec::new();
    for cell in &raw.macs {
        for text in split_macs(&cell.text) {
            match Mac::parse(text) {
                Err(why) => {
                    let help = mac_help(cell, text, &why);
                    let problem = c.report.error(cell.at.clone(), format!("{text:?} is not a MAC address"));
                    problem.because(why.to_string()).so(help);
                }
                Ok(mac) => {
                    if let Some(there) = seen.get(&mac).cloned() {
                        let line = c.report.line(&there);
                        c.report
                            .error(cell.at.clone(), format!("the MAC address {mac} is there twice"))
                            .because(format!("it is also in {line}"))
                            .so("one port belongs to one machine; look at the machine's label again");
                    } else {
                        seen.insert(mac, cell.at.clone());
                        out.push(mac);
                    }
                }
            }
        }
    }
    if raw.macs.is_empty() && !raw.has_cut("mac") && !raw.has_cut("macs") {
        c.report
            .error(raw.at.clone(), "this node has no MAC address")
            .because("a machine is known by the address of the port that it boots from")
            .so("look at its label or its BMC, or let it boot once: it is listed as discovered");
    }
    out
}

/// The node's role. `unknown` counts for words of tables in which problem they are told and how often they are there.
fn role<'r>(
    c: &mut Check,
    raw: &RawNode,
    roles: &'r BTreeMap<String, Role>,
    unknown: &mut BTreeMap<String, (usize, usize)>,
) -> Option<&'r Role> {
    let Some(cell) = &raw.role else {
        // In the site file the shape check says it.
        if matches!(raw.at, Where::Cell { .. }) && !raw.has_cut("role") {
            let known: Vec<&str> = roles.keys().map(String::as_str).collect();
            c.report
                .error(raw.at.clone(), "this node has no role")
                .so(format!("one of {}", known.join(", ")));
        }
        return None;
    };
    let known = || roles.keys().map(String::as_str);
    let exact = roles.get(cell.text.as_str());
    // Tables of customers write "Compute".
    let found = exact.or_else(|| match cell.at {
        Where::Cell { .. } => roles.get(&cell.text.to_lowercase()),
        Where::Toml(_) => None,
    });
    if found.is_none() {
        if let Where::Cell { .. } = cell.at {
            let next = c.report.problems.0.len();
            let (_, count) = unknown.entry(cell.text.to_lowercase()).or_insert((next, 0));
            *count += 1;
            if *count > 1 {
                return None;
            }
        }
        c.report
            .error(cell.at.clone(), format!("there is no role {:?}", cell.text))
            .meant(&cell.text, known());
    }
    found
}

/// Gives every node of a role its number: its own, the one of its name, or the next free one.
fn number(c: &mut Check, role: &Role, list: &mut [Draft]) {
    let naming = Naming::parse(&role.naming).ok();
    let domain = domain(c);
    let mut used: BTreeMap<u32, Where> = BTreeMap::new();
    for draft in list.iter_mut() {
        let from_name = || {
            let name = draft.raw.name.as_ref()?;
            Some((naming.as_ref()?.number(short(name, &domain))?, name.at.clone()))
        };
        let Some((n, at)) = draft.raw.number.clone().or_else(from_name) else { continue };
        if n == 0 || n > 1_000_000 {
            c.report.error(at, format!("{n} cannot be the number of a node")).so("nodes are counted from 1");
        } else if let Some(there) = used.get(&n).cloned() {
            let line = c.report.line(&there);
            c.report
                .error(at, format!("two nodes of {} have the number {n}", role.name))
                .because(format!("the other one is in {line}"))
                .so("give one of them another number, or leave the numbers out");
        } else {
            used.insert(n, at);
            draft.number = Some(n);
        }
    }
    let mut next = 1;
    for draft in list.iter_mut().filter(|d| d.number.is_none()) {
        while used.contains_key(&next) {
            next += 1;
        }
        draft.number = Some(next);
        next += 1;
    }
    let unnamed = list.iter().filter(|d| d.raw.name.is_none()).count();
    if unnamed > 1 && naming.is_some_and(|n| !n.numbered()) {
        let rule =
            c.file.role.iter().find(|(k, _)| k.as_str() == role.name).and_then(|(_, t)| t.name.as_ref());
        if let Some(text) = rule {
            c.report
                .error(text, format!("{unnamed} nodes would all be named {:?}", **text))
                .so(format!("put the number into the rule: \"{}-{{n:02}}\"", **text));
        }
    }
}

/// What can be judged of a node without knowing its role: one mistake hides no other.
fn without_role(
    c: &mut Check,
    roles: &BTreeMap<String, Role>,
    raw: &RawNode,
    names: &mut BTreeMap<String, Where>,
) {
    let name = name(c, raw, None, names);
    let who = name.unwrap_or_else(|| nameless(c, raw));
    addresses::written(c, raw, &who);
    if let Some((disk, at)) = &raw.disk {
        role_check::rule(c, disk, at.clone());
    }
    kernel_args(c, raw);
    for (key, cell) in &raw.vars {
        vars::declared_somewhere(c, roles, key, cell.at.clone());
    }
}

fn kernel_args(c: &mut Check, raw: &RawNode) -> String {
    let words = raw.kernel_args.as_ref();
    words.map(|cell| role_check::kernel_words(c, &cell.text, cell.at.clone())).unwrap_or_default()
}

/// What a node without a usable name is called in problems.
fn nameless(c: &Check, raw: &RawNode) -> String {
    format!("the node of {}", c.report.line(&raw.at))
}

fn one(
    c: &mut Check,
    role: &Role,
    draft: &Draft,
    names: &mut BTreeMap<String, Where>,
    told: &mut BTreeSet<Ipv4Addr>,
) -> Option<Node> {
    let raw = &draft.raw;
    let number = draft.number?;
    let by_rule = Naming::parse(&role.naming).ok().map(|n| n.name(number));
    let named = name(c, raw, by_rule, names);
    let who = named.clone().unwrap_or_else(|| nameless(c, raw));
    let written = addresses::written(c, raw, &who);
    let addresses = addresses::with_ranges(c, role, raw, (&who, number), written, told);
    let need = links::ports(&role.links);
    if need > draft.macs.len() && !draft.macs.is_empty() {
        let at = raw.macs.last().map_or(raw.at.clone(), |m| m.at.clone());
        c.report
            .error(at, format!("{who} has {} and its role {} uses nic{need}", macs_of(draft), role.name))
            .because("links name ports by the order of the node's MAC addresses")
            .so("list all its MAC addresses: macs = [\"…\", \"…\"], or several in the cell");
    }
    let disk = raw.disk.as_ref().map(|(d, at)| role_check::rule(c, d, at.clone()));
    if disk.is_none() && role.disk.is_none() {
        missing_disk(c, role, raw, &who);
    }
    if let Some(profile) = c.catalog.profiles.get(&role.profile) {
        for (key, cell) in &raw.vars {
            vars::declared(c, profile, &role.parts, &role.image, key, cell.at.clone());
        }
        let file = c.file;
        let has = |key: &str| {
            raw.vars.contains_key(key)
                || role.vars.contains_key(key)
                || file.vars.keys().any(|k| k.as_str() == key)
        };
        let at = raw.role.as_ref().map_or(raw.at.clone(), |r| r.at.clone());
        let whose = named.as_ref().map_or(who, |name| format!("the node {name}"));
        vars::complete(c, profile, &whose, at, &has);
    }
    Some(Node {
        name: named?,
        number,
        role: role.name.clone(),
        macs: draft.macs.clone(),
        addresses,
        disk,
        erase: raw.erase.clone(),
        kernel_args: kernel_args(c, raw),
        vars: raw.vars.iter().map(|(k, v)| (k.clone(), v.text.clone())).collect(),
    })
}

fn domain(c: &Check) -> String {
    let domain = c.file.site.as_ref().and_then(|s| s.domain.as_ref());
    domain.map(|d| d.to_string()).unwrap_or_default()
}

/// A host name without the site's domain: lists often hold the full one.
fn short<'t>(name: &'t Cell, domain: &str) -> &'t str {
    let cut = name.text.strip_suffix(domain).and_then(|n| n.strip_suffix('.'));
    cut.unwrap_or(&name.text)
}

fn macs_of(draft: &Draft) -> String {
    match draft.macs.len() {
        1 => "1 MAC address".to_string(),
        n => format!("{n} MAC addresses"),
    }
}

/// Once per role where the role has none; the role's own place is where it belongs.
fn missing_disk(c: &mut Check, role: &Role, raw: &RawNode, name: &str) {
    let table = c.file.role.iter().find(|(k, _)| k.as_str() == role.name);
    let at = table.map_or(raw.at.clone(), |(k, _)| k.into());
    let what = format!("the role {} has no disk rule", role.name);
    // A rule that is there and wrong is reported already.
    let wrong = raw.has_cut("disk") || c.report.was_cut(&format!("role.{}.disk", role.name));
    if wrong || c.report.problems.0.iter().any(|p| p.what == what) {
        return;
    }
    c.report
        .error(at, what)
        .because(format!("without one it is not known which disk of {name} may be written"))
        .so("add for example `disk = { min_gib = 200, max_gib = 500 }` or `disk = { serial = \"…\" }`");
}

/// The node's name: its own, else the one of its role's rule. None where there is none, or where it cannot be used.
fn name(
    c: &mut Check,
    raw: &RawNode,
    by_rule: Option<String>,
    names: &mut BTreeMap<String, Where>,
) -> Option<String> {
    let domain = domain(c);
    let name = match &raw.name {
        Some(cell) => short(cell, &domain).to_string(),
        None => by_rule?,
    };
    let at = raw.name.as_ref().map_or(raw.at.clone(), |n| n.at.clone());
    if let Err(why) = naming::label(&name) {
        c.report.error(at, format!("{name:?} cannot be a host name")).because(why).so(naming::instead(&name));
        return None;
    }
    // Linux keeps 64 bytes (HOST_NAME_MAX), and installers set the full name.
    if name.len() + 1 + domain.len() > 64 {
        c.report
            .error(at, format!("the full name {name}.{domain} is longer than 64 characters"))
            .because("Linux keeps no longer host name")
            .so("shorten the naming rule or the domain");
        return None;
    }
    if let Some(there) = names.get(&name).cloned() {
        let line = c.report.line(&there);
        c.report
            .error(at, format!("two nodes are named {name}"))
            .because(format!("the other one is in {line}"))
            .so("give one of them another name or number");
        return None;
    }
    names.insert(name.clone(), at);
    Some(name)
}

/// How many nodes the roles have, against the profile's and the role's own rule.
fn counts(c: &mut Check, roles: &BTreeMap<String, Role>, drafts: &BTreeMap<&str, Vec<Draft>>) {
    for (key, table) in &c.file.role {
        let Some(role) = roles.get(key.as_str()) else { continue };
        let have = drafts.get(key.as_str()).map_or(0, Vec::len) as u32;
        let nodes = |n: u32| format!("{n} node{}", if n == 1 { "" } else { "s" });
        if let Some(count) = &table.count
            && **count != have
            && have > 0
        {
            c.report
                .error(
                    count,
                    format!(
                        "the role {} is to have {}, and {} listed",
                        role.name,
                        nodes(**count),
                        match have {
                            1 => "1 is".to_string(),
                            n => format!("{n} are"),
                        }
                    ),
                )
                .so("correct `count` or the list of nodes; leave `count` out to allow any number");
        }
        let Some(profile) = c.catalog.profiles.get(&role.profile) else { continue };
        if have == 0 {
            continue;
        }
        let rule = &profile.count;
        if rule.quorum && have.is_multiple_of(2) {
            c.report
                .error(key, format!("the role {} has {}, an even number", role.name, nodes(have)))
                .because(format!("members of {} vote, and an even number can split in halves", profile.name))
                .so(allowed(rule, have));
        }
        if have < rule.min || rule.max.is_some_and(|m| have > m) {
            let most = rule.max.map_or(String::new(), |m| format!(", at most {m}"));
            c.report
                .error(key, format!("the role {} has {}", role.name, nodes(have)))
                .because(format!("the profile {} needs at least {}{most}", profile.name, rule.min))
                .so(format!("{}, or give the role another profile", allowed(rule, have)));
        }
    }
}

/// "use 1 or 3": the nearest numbers of nodes to `have` that the rule allows.
fn allowed(rule: &crate::profiles::Count, have: u32) -> String {
    let fits =
        |n: &u32| *n >= rule.min && rule.max.is_none_or(|m| *n <= m) && !(rule.quorum && n.is_multiple_of(2));
    let below = (1..have).rev().find(fits);
    let above = (have + 1..=have.max(rule.min) + 2).find(fits);
    let numbers: Vec<String> = below.into_iter().chain(above).map(|n| n.to_string()).collect();
    format!("use {}", numbers.join(" or "))
}
