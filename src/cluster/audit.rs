//! Owns `audit`: judges a plan by rules of its own, without trusting the planner.

use super::plan::{Need, Plan};
use crate::problem::{Problem, Problems};
use crate::site::{Catalog, Site};
use crate::steps::Step;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::Ipv4Addr;

/// Every broken rule. An empty list means that the plan may be done.
pub fn audit(site: &Site, catalog: &Catalog, plan: &Plan) -> Problems {
    let mut problems = Problems::default();
    order(plan, &mut problems);
    one_writer(plan, &mut problems);
    addresses(site, &mut problems);
    quorums(site, catalog, plan, &mut problems);
    bootstraps(plan, &mut problems);
    problems
}

fn rule(problems: &mut Problems, what: String, why: &str) {
    problems.push(Problem::input(what).why(why).help("look at the steps in profiles/parts"));
}

/// Names are used once per node, and what a step needs stands before it.
fn order(plan: &Plan, problems: &mut Problems) {
    let mut last: HashMap<&str, usize> = HashMap::new();
    for (i, p) in plan.steps.iter().enumerate() {
        last.insert(&p.id, i);
    }
    let mut seen: HashSet<(&str, &str)> = HashSet::new();
    for (i, p) in plan.steps.iter().enumerate() {
        for need in &p.needs {
            let fine = match need {
                Need::Own(id) => seen.contains(&(p.node.as_str(), id.as_str())),
                // Who is before is told by the plan's order itself.
                Need::Turn { id, width, .. } => *id == p.id && *width > 0,
                Need::All { id, .. } | Need::Same { id } => last.get(id.as_str()).is_some_and(|l| *l < i),
            };
            if !fine {
                let what = format!("{} on {} stands before {need:?}, which it needs", p.id, p.node);
                rule(problems, what, "a plan's steps are in an order that holds");
            }
        }
        if !seen.insert((&p.node, &p.id)) {
            rule(problems, format!("{} is there twice for {}", p.id, p.node), "a step is done once per node");
        }
    }
}

/// No file is written by two steps: each would undo the other's work, for ever.
fn one_writer(plan: &Plan, problems: &mut Problems) {
    let mut writers: HashMap<(&str, &str), &str> = HashMap::new();
    for p in &plan.steps {
        let path = match &p.step {
            Step::File { path, .. } | Step::Link { path, .. } | Step::Remove { path } => path,
            Step::Sysctl { file, .. } => file,
            _ => continue,
        };
        if let Some(other) = writers.insert((&p.node, path), &p.id) {
            let what = format!("{path} on {} is written by {other} and by {}", p.node, p.id);
            rule(problems, what, "two writers of one file undo each other's work");
        }
    }
}

/// An address is used once: by one node or by one virtual address.
fn addresses(site: &Site, problems: &mut Problems) {
    let mut users: BTreeMap<Ipv4Addr, String> = BTreeMap::new();
    let nodes = site.nodes.iter().flat_map(|n| n.addresses.values().map(move |a| (*a, n.name.clone())));
    let vips = site.vips.values().map(|v| (v.address, format!("the virtual address {}", v.name)));
    for (address, who) in nodes.chain(vips) {
        if let Some(other) = users.insert(address, who.clone()) {
            rule(problems, format!("{address} belongs to {other} and to {who}"), "an address has one owner");
        }
    }
}

/// Services whose members vote are never restarted on two nodes at once, once they run.
fn quorums(site: &Site, catalog: &Catalog, plan: &Plan, problems: &mut Problems) {
    for part in catalog.parts.values().filter(|p| p.quorum) {
        let members = site.nodes.iter().filter(|n| site.role(n).parts.contains(&part.name)).count();
        if members > 0 && members % 2 == 0 {
            let what = format!("{} nodes have the part {}, whose members vote", members, part.name);
            rule(problems, what, "of an even number of voters one half cannot go on without the other");
        }
        for row in part.steps.iter().filter(|r| r.service.is_some() && r.serial.is_none()) {
            let id = format!("{}.{}", part.name, row.id);
            let on: Vec<&str> = plan.steps.iter().filter(|p| p.id == id).map(|p| p.node.as_str()).collect();
            if on.len() > 1 {
                let what = format!("{id} could restart {} at the same time", on.join(" and "));
                rule(problems, what, "the members of a quorum are restarted one at a time: set `serial`");
            }
        }
    }
}

/// A cluster is begun on one node.
fn bootstraps(plan: &Plan, problems: &mut Problems) {
    let mut begun: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for p in &plan.steps {
        if let Step::Service(s) = &p.step
            && s.start.is_some()
        {
            begun.entry(s.name.as_str()).or_default().push(&p.node);
        }
    }
    for (service, nodes) in begun.into_iter().filter(|(_, nodes)| nodes.len() > 1) {
        let what = format!("{service} would be begun anew on {}", nodes.join(" and "));
        rule(problems, what, "a cluster is begun on one node, or it is two clusters");
    }
}
