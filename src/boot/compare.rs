//! Owns what a changed site changes, per node: facts, and the lines of the files that it would get. Pure.

use super::answers::{self, Rendered};
use crate::base::{Mac, Secret};
use crate::problem::Problem;
use crate::site::{Catalog, Node, Site};
use serde::Serialize;
use similar::TextDiff;
use std::collections::{BTreeMap, BTreeSet};

/// What happens to nodes; those to which exactly the same happens are together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    pub kind: Kind,
    /// Names of the nodes, as they are in the new site (in the old one, if removed).
    pub nodes: Vec<String>,
    /// What is different about the node itself: `role: compute → storage`.
    pub facts: Vec<String>,
    pub files: Vec<FileChange>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Removed,
    Added,
    Changed,
}

/// One file's lines, as a unified diff without a header.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct FileChange {
    pub what: String,
    pub diff: String,
}

/// Everything that differs for a node when `new` takes the place of `old`. A node is the same one if it has the same
/// MAC, or else the same name (another machine in its place).
pub fn compare(old: &Site, new: &Site, catalog: &Catalog, token: &Secret) -> Result<Vec<Change>, Problem> {
    let mut groups: BTreeMap<(Kind, Vec<String>, Vec<FileChange>), Vec<String>> = BTreeMap::new();
    let mut gone: BTreeMap<Mac, &Node> = old.nodes.iter().map(|n| (n.mac(), n)).collect();
    let kept: BTreeSet<Mac> = new.nodes.iter().map(Node::mac).collect();
    for a in &new.nodes {
        let by_name = || old.node_by_name(&a.name).filter(|b| !kept.contains(&b.mac()));
        let key = match gone.get(&a.mac()).copied().or_else(by_name) {
            Some(b) => {
                gone.remove(&b.mac());
                let facts = facts(old, b, new, a);
                let files = files(
                    shown(answers::all(old, catalog, b, token)?, old),
                    shown(answers::all(new, catalog, a, token)?, new),
                );
                if facts.is_empty() && files.is_empty() {
                    continue;
                }
                (Kind::Changed, facts, files)
            }
            None => (Kind::Added, vec![format!("{}, role {}", a.mac(), a.role)], Vec::new()),
        };
        groups.entry(key).or_default().push(a.name.clone());
    }
    for (mac, b) in gone {
        let key = (Kind::Removed, vec![format!("{mac}, role {}", b.role)], Vec::new());
        groups.entry(key).or_default().push(b.name.clone());
    }
    Ok(groups.into_iter().map(|((kind, facts, files), nodes)| Change { kind, nodes, facts, files }).collect())
}

/// The files without the password's hash, which belongs on no screen.
fn shown(mut files: Vec<Rendered>, site: &Site) -> Vec<Rendered> {
    if let Some(hash) = &site.access.password_hash {
        for f in &mut files {
            f.content = f.content.replace(hash.as_str(), "[password hash]");
        }
    }
    files
}

fn facts(old: &Site, b: &Node, new: &Site, a: &Node) -> Vec<String> {
    let mut out = Vec::new();
    let mut note = |what: &str, before: String, after: String| {
        if before != after {
            out.push(format!("{what}: {before} → {after}"));
        }
    };
    let (rb, ra) = (old.role(b), new.role(a));
    note("name", b.name.clone(), a.name.clone());
    note("role", b.role.clone(), a.role.clone());
    note("image", rb.image.clone(), ra.image.clone());
    note("lane", format!("{:?}", rb.lane).to_lowercase(), format!("{:?}", ra.lane).to_lowercase());
    let list = |n: &Node| n.macs.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    note("ports", list(b), list(a));
    let networks: BTreeSet<&String> = b.addresses.keys().chain(a.addresses.keys()).collect();
    for network in networks {
        let at = |n: &Node| n.addresses.get(network).map_or("none".to_string(), ToString::to_string);
        note(&format!("address on {network}"), at(b), at(a));
    }
    let disk = |site: &Site, n: &Node| {
        site.disk_rule(n).and_then(|r| serde_json::to_string(r).ok()).unwrap_or_else(|| "none".to_string())
    };
    note("disk", disk(old, b), disk(new, a));
    note("erase", b.erase.join(" "), a.erase.join(" "));
    if old.access.password_hash != new.access.password_hash {
        out.push("the password is another one".to_string());
    }
    out
}

fn files(old: Vec<Rendered>, new: Vec<Rendered>) -> Vec<FileChange> {
    let mut before: BTreeMap<String, String> = old.into_iter().map(|f| (f.what, f.content)).collect();
    let mut pairs: Vec<(String, String, String)> = new
        .into_iter()
        .map(|f| (before.remove(&f.what).unwrap_or_default(), f.content, f.what))
        .map(|(old, new, what)| (what, old, new))
        .collect();
    pairs.extend(before.into_iter().map(|(what, old)| (what, old, String::new())));
    pairs
        .into_iter()
        .filter(|(_, old, new)| old != new)
        .map(|(what, old, new)| FileChange {
            diff: TextDiff::from_lines(&old, &new).unified_diff().context_radius(1).to_string(),
            what,
        })
        .collect()
}
