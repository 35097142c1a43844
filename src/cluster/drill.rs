//! Owns drills: what is broken on purpose, on which node, what is measured meanwhile and from where. Pure.

use super::plan::check;
use super::view::{Look, View, look};
use crate::base::Mac;
use crate::lifecycle::Work;
use crate::problem::{Problem, Problems, did_you_mean};
use crate::profiles::part::{Drill, On, Verify};
use crate::site::{Catalog, Node, Site};
use crate::steps::{Measure, Probe, Step, Target};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One drill of the site, as it is listed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Listed {
    /// `vip.power`
    pub name: String,
    pub title: String,
    /// The machine loses its power.
    pub power: bool,
    /// The members that it could be about.
    pub members: Vec<String>,
    /// Seconds that anything may be out, and until everything must be whole again.
    pub outage: u32,
    pub back: u32,
}

/// A step of a drill on the nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Act {
    /// Which member is it about?
    Find,
    /// What users see is measured from other nodes.
    Measure,
    Break,
    Mend,
}

/// Longest and shortest measuring, and how long everything must have answered before it ends; seconds.
const MOST: u32 = 150;
const LEAST: u32 = 15;
const QUIET: u32 = 8;

/// As a mains failure: nobody hears a word, nothing is written back; the machine starts again by itself.
/// (sysrq is the kernel's own way; where it cannot be reached, as in a container, the system call does it.)
const CUT: &str = r#"
for link in /sys/class/net/*; do
  name=${link##*/}
  [ "$name" = lo ] || ip link set "$name" down || echo "$name stays up" >&2
done
if [ -w /proc/sysrq-trigger ]; then echo b >/proc/sysrq-trigger; fi
exec reboot -ff
"#;

/// Every drill that the site's parts have.
pub fn drills(site: &Site, catalog: &Catalog, work: &Work) -> Result<Vec<Listed>, Problems> {
    let view = View::new(site, catalog, work)?;
    let mut all = Vec::new();
    for (part, members) in &view.members {
        let (Some(found), Some(first)) = (catalog.parts.get(*part), members.first()) else { continue };
        for drill in &found.drills {
            let names = view.names(part, first)?;
            let shown = format!("profiles/parts/{part}/part.toml, drill {}", drill.id);
            if let Some(when) = &drill.when
                && !catalog.part_templates.holds(&shown, when, &names)?
            {
                continue;
            }
            all.push(Listed {
                name: format!("{part}.{}", drill.id),
                title: catalog.part_templates.text_with(&shown, &drill.title, &names)?,
                power: drill.power,
                members: members.iter().map(|n| n.name.clone()).collect(),
                outage: drill.outage,
                back: drill.back,
            });
        }
    }
    // What does the least harm first.
    all.sort_by_key(|d| d.power);
    Ok(all)
}

/// What is to be done on the nodes for one act of a drill. `victim` is none only for [`Act::Find`]; `here` tells whose
/// agent answers.
pub fn act(
    site: &Site,
    catalog: &Catalog,
    work: &Work,
    name: &str,
    act: Act,
    victim: Option<&str>,
    here: &dyn Fn(Mac) -> bool,
) -> Result<Vec<Look>, Problems> {
    let view = View::new(site, catalog, work)?;
    let (part, drill) = find(catalog, name)?;
    let members = view.members.get(part).cloned().unwrap_or_default();
    if act == Act::Find {
        let mut out = Vec::new();
        for node in &members {
            let script = match &drill.find {
                Some(script) => script.clone(),
                None if view.is_first(part, node) => ":".to_string(),
                None => continue,
            };
            out.extend(script_look(&view, part, drill, "find", &script, node)?);
        }
        return Ok(out);
    }
    let node = victim
        .and_then(|v| members.iter().find(|n| n.name == v))
        .copied()
        .ok_or_else(|| Problem::input(format!("{} has no part in {name}", victim.unwrap_or("nobody"))))?;
    let script = match act {
        Act::Break if drill.power => Some(CUT.to_string()),
        Act::Break => drill.run.clone(),
        Act::Mend => drill.mend.clone(),
        Act::Find | Act::Measure => return measuring(&view, part, drill, node, here),
    };
    let word = if act == Act::Break { "break" } else { "mend" };
    Ok(match script {
        Some(script) => script_look(&view, part, drill, word, &script, node)?.into_iter().collect(),
        None => Vec::new(),
    })
}

fn find<'a>(catalog: &'a Catalog, name: &'a str) -> Result<(&'a str, &'a Drill), Problem> {
    let all =
        || catalog.parts.values().flat_map(|p| p.drills.iter().map(move |d| format!("{}.{}", p.name, d.id)));
    let found = name
        .split_once('.')
        .and_then(|(part, id)| Some((part, catalog.parts.get(part)?.drills.iter().find(|d| d.id == id)?)));
    found.ok_or_else(|| {
        let known: Vec<String> = all().collect();
        let problem = Problem::input(format!("no part has a drill {name:?}"));
        match did_you_mean(name, known.iter().map(String::as_str)) {
            Some(near) => problem.help(format!("did you mean {near:?}?")),
            None => problem.help(format!("these there are: {}", known.join(", "))),
        }
    })
}

fn script_look(
    view: &View,
    part: &str,
    drill: &Drill,
    word: &str,
    script: &str,
    node: &Node,
) -> Result<Option<Look>, Problem> {
    let row = Verify {
        id: format!("{}:{word}", drill.id),
        title: drill.title.clone(),
        on: On::All,
        when: drill.when.clone(),
        run: script.to_string(),
        env: BTreeMap::new(),
        timeout: 60,
    };
    look(view, part, &row, node)
}

/// Ports and pages are asked from one node outside of what is broken, as a user would; scripts on a member of their own
/// part, because only such a node may have the secrets that they need.
fn measuring(
    view: &View,
    part: &str,
    drill: &Drill,
    victim: &Node,
    here: &dyn Fn(Mac) -> bool,
) -> Result<Vec<Look>, Problems> {
    let there = |n: &&Node| n.name != victim.name && here(n.mac());
    let members = &view.members[part];
    let outside = view.nodes.iter().copied().filter(there);
    let Some(watcher) = outside.min_by_key(|n| members.iter().any(|m| m.name == n.name)) else {
        return Err(Problem::environment(format!(
            "nobody is there to measure from while {} is broken",
            victim.name
        ))
        .help("a drill needs another node whose agent answers")
        .into());
    };
    let mut by_node: BTreeMap<&str, (&Node, Vec<Target>)> = BTreeMap::new();
    for (other, found) in &view.catalog.parts {
        let Some(own) = view.members.get(other.as_str()).filter(|m| !m.is_empty()) else { continue };
        for row in &found.probes {
            let on = match row.check.run {
                Some(_) => own.iter().copied().find(|n| there(n)),
                None => Some(watcher),
            };
            // The names are those of the part's own nodes: the watcher may not have the part.
            let Some(on) = on else { continue };
            let named = if own.iter().any(|n| n.name == on.name) { on } else { own[0] };
            let names = view.names(other, named)?;
            let templates = &view.catalog.part_templates;
            let shown = format!("profiles/parts/{other}/part.toml, probe {}", row.id);
            if let Some(when) = &row.when
                && !templates.holds(&shown, when, &names)?
            {
                continue;
            }
            let text = |source: &str| templates.text_with(&shown, source, &names);
            let check: Probe = check(&row.check, &text)?.what;
            let target = Target { id: format!("{other}.{}", row.id), title: text(&row.title)?, check };
            by_node.entry(&on.name).or_insert_with(|| (on, Vec::new())).1.push(target);
        }
    }
    let looks = by_node.into_values().map(|(node, targets)| Look {
        node: node.name.clone(),
        mac: node.mac(),
        id: format!("{part}.{}:measure", drill.id),
        title: format!("{} things are measured", targets.len()),
        step: Step::Measure(Measure { targets, least: LEAST, quiet: QUIET, most: MOST }),
        timeout: MOST + 30,
    });
    Ok(looks.collect())
}
