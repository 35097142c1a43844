//! Owns `plan`: the site, the parts and what was done so far → the immutable list of steps for every node.
//!
//! Steps are ordered, not roles: each says what it needs. Same input, same bytes.

use super::view::{View, family, manager};
use crate::base::digest::Hasher;
use crate::base::{Mac, Sha256};
use crate::lifecycle::Work;
use crate::problem::{Problem, Problems, did_you_mean};
use crate::profiles::part::{CheckRow, On, Part, Row, Serial, Wanted, full};
use crate::site::{Catalog, Node, Site};
use crate::steps::{Check, Probe, Run, SECRET, Service, Step, placeholders, secret_name, versioned};
use crate::tree::template::Names;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Seconds that a step may take where its row says nothing: generous, because slow is no failure.
const TIMEOUT: u32 = 300;
/// Packages come over the network and unpack on slow disks.
const PACKAGES: u32 = 1800;

/// What is to be done, on every node, in an order that holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub site: String,
    /// Which node of each part is its first: elected once, recorded with the plan.
    pub elected: BTreeMap<String, Mac>,
    /// No step stands before one that it needs.
    pub steps: Vec<Planned>,
}

/// One step on one node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Planned {
    pub node: String,
    pub mac: Mac,
    /// `galera.join`
    pub id: String,
    /// Of the step and its inputs: another digest is another step, and it is done again.
    pub digest: Sha256,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<Need>,
    /// It was done once for the whole cluster if it was done on any node.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub once: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Seconds.
    pub timeout: u32,
    pub step: Step,
}

/// What must be before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Need {
    /// This step on the same node.
    Own(String),
    /// This step on every node that has it; so many may have failed.
    All { id: String, allow_failed: usize },
    /// A turn: of this step's nodes, in the plan's order, at most `width` are at it; so many may have failed.
    Turn { id: String, width: usize, allow_failed: usize },
    /// This step's packages have one version on every node that has it.
    Same { id: String },
}

impl Plan {
    /// Digest of everything in it: what was shown is what is done.
    pub fn digest(&self) -> Sha256 {
        Sha256::of(&serde_json::to_vec(self).unwrap_or_default())
    }
    pub fn find(&self, node: &str, id: &str) -> Option<&Planned> {
        self.steps.get(self.place(node, id)?)
    }
    /// Where this step of this node stands.
    pub fn place(&self, node: &str, id: &str) -> Option<usize> {
        self.steps.iter().position(|s| s.node == node && s.id == id)
    }
}

/// Makes the plan. `versions` says which secrets were rotated (2 is the second version).
///
/// All problems at once; those of a template name its place.
pub fn plan(
    site: &Site,
    catalog: &Catalog,
    work: &Work,
    versions: &BTreeMap<String, u32>,
) -> Result<Plan, Problems> {
    let view = View::new(site, catalog, work)?;
    let mut maker = Maker { view: &view, work, versions, problems: Problems::default(), steps: Vec::new() };
    maker.rows();
    let order = maker.order();
    maker.needs();
    let Maker { mut problems, mut steps, .. } = maker;
    let Some(order) = order.map_err(|p| problems.push(p)).ok().filter(|_| problems.errors() == 0) else {
        problems.sort();
        return Err(problems);
    };
    steps.sort_by(|a, b| {
        let key = |i: &Instance| (order[&i.planned.id], i.place);
        key(a).cmp(&key(b)).then_with(|| a.planned.node.cmp(&b.planned.node))
    });
    let elected = view.first.iter().map(|(part, mac)| (part.to_string(), *mac)).collect();
    let plan =
        Plan { site: site.name.clone(), elected, steps: steps.into_iter().map(|i| i.planned).collect() };
    // The planner is not its own judge.
    let found = super::audit::audit(site, catalog, &plan);
    if found.errors() > 0 { Err(found) } else { Ok(plan) }
}

struct Maker<'a> {
    view: &'a View<'a>,
    work: &'a Work,
    versions: &'a BTreeMap<String, u32>,
    problems: Problems,
    steps: Vec<Instance<'a>>,
}

/// A planned step, and the row that it was made from.
struct Instance<'a> {
    planned: Planned,
    part: &'a Part,
    row: &'a Row,
    /// Place of the row among all rows.
    place: usize,
}

impl<'a> Maker<'a> {
    /// Every row on every node that it is meant for.
    fn rows(&mut self) {
        let mut place = 0;
        let parts: Vec<&Part> = self.view.catalog.parts.values().collect();
        for part in parts {
            let members = self.view.members.get(part.name.as_str()).cloned().unwrap_or_default();
            // What runs already must not be made anew beside it (field-pain #106).
            let exists = members.iter().any(|node| {
                let services = part.steps.iter().filter(|r| r.service.is_some());
                services.clone().any(|r| {
                    let outcome = self.work.outcome(node.mac(), &full(&part.name, &r.id));
                    outcome.is_some_and(|o| !matches!(o.end, crate::lifecycle::work::End::Failed { .. }))
                })
            });
            let mut names: HashMap<Mac, Names> = HashMap::new();
            for node in &members {
                match self.view.names(&part.name, node) {
                    Ok(n) => {
                        names.insert(node.mac(), n);
                    }
                    Err(p) => self.say(p),
                }
            }
            for row in &part.steps {
                place += 1;
                for node in &members {
                    let first = self.view.is_first(&part.name, node);
                    let meant = match row.on {
                        On::All => true,
                        On::First | On::Once => first,
                        On::Rest => !first,
                    };
                    let Some(names) = names.get(&node.mac()).filter(|_| meant) else { continue };
                    match self.one(part, row, node, names, exists) {
                        Ok(Some(planned)) => self.steps.push(Instance { planned, part, row, place }),
                        Ok(None) => {}
                        Err(p) => self.say(p),
                    }
                }
            }
        }
    }

    /// One mistake in a template is one problem, not one per node.
    fn say(&mut self, problem: Problem) {
        if !self.problems.0.iter().any(|p| p.what == problem.what && p.at == problem.at) {
            self.problems.push(problem);
        }
    }

    fn one(
        &self,
        part: &Part,
        row: &Row,
        node: &Node,
        names: &Names,
        exists: bool,
    ) -> Result<Option<Planned>, Problem> {
        let templates = &self.view.catalog.part_templates;
        let shown = format!("profiles/parts/{}/part.toml, step {}", part.name, row.id);
        let pm = manager(self.view.catalog, self.view.site, node).unwrap_or("apt");
        if !row.family.is_empty() && !row.family.iter().any(|f| f == family(pm)) {
            return Ok(None);
        }
        if let Some(when) = &row.when
            && !templates.holds(&shown, when, names)?
        {
            return Ok(None);
        }
        let text = |source: &str| templates.text_with(&shown, source, names);
        let Some(mut step) = self.step(part, row, pm, &text, names, exists)? else { return Ok(None) };
        for t in step.texts_mut() {
            self.declared(part, &shown, t)?;
        }
        let mut digest = Hasher::new();
        // How a service is begun for the very first time, and where it says what went wrong, is no reason to see to it
        // again.
        let mut lasting = step.clone();
        if let Step::Service(s) = &mut lasting {
            s.start = None;
            s.logs.clear();
        }
        digest.update(&lasting.digest().0);
        if let Some(inputs) = &row.inputs {
            digest.update(text(inputs)?.as_bytes());
        }
        let usual = if row.packages.is_some() { PACKAGES } else { TIMEOUT };
        Ok(Some(Planned {
            node: node.name.clone(),
            mac: node.mac(),
            id: full(&part.name, &row.id),
            digest: digest.finish(),
            needs: Vec::new(),
            once: row.on == On::Once,
            why: row.why.clone(),
            timeout: row.timeout.unwrap_or(usual),
            step,
        }))
    }

    /// Every secret in a text must be declared by the part; rotated ones get their version.
    fn declared(&self, part: &Part, shown: &str, text: &mut String) -> Result<(), Problem> {
        for inner in placeholders(text, SECRET) {
            let (name, ..) = secret_name(inner);
            if !part.secrets.contains_key(name) {
                let problem = Problem::input(format!("{shown}: the secret {name:?} is not declared"));
                return Err(match did_you_mean(name, part.secrets.keys().map(String::as_str)) {
                    Some(near) => problem.help(format!("did you mean {near:?}?")),
                    None => problem.help(format!("add `{name} = \"password\"` to the part's [secrets]")),
                });
            }
        }
        if !self.versions.is_empty() && text.contains(SECRET) {
            let versioned = versioned(text, self.versions);
            *text = versioned.map_err(Problem::fault)?;
        }
        Ok(())
    }

    fn step(
        &self,
        part: &Part,
        row: &Row,
        pm: &str,
        text: &dyn Fn(&str) -> Result<String, Problem>,
        names: &Names,
        exists: bool,
    ) -> Result<Option<Step>, Problem> {
        let texts = |list: &[String]| list.iter().map(|t| text(t)).collect::<Result<Vec<_>, _>>();
        let optional = |t: &Option<String>| t.as_deref().map(text).transpose();
        let map = |m: &BTreeMap<String, String>| {
            m.iter().map(|(k, v)| Ok((k.clone(), text(v)?))).collect::<Result<BTreeMap<_, _>, Problem>>()
        };
        let owner = row.owner.clone().unwrap_or_else(|| "root".to_string());
        let group = row.group.clone().unwrap_or_else(|| owner.clone());
        let mode = |usual| row.mode.as_ref().and_then(|m| u32::from_str_radix(m, 8).ok()).unwrap_or(usual);
        let step = if let Some(packages) = &row.packages {
            match packages.get(pm) {
                Some(list) if !list.is_empty() => Step::Packages { names: texts(list)? },
                _ => return Ok(None),
            }
        } else if let Some(path) = &row.file {
            let content = match (&row.template, &row.content) {
                (Some(name), _) => {
                    let name = format!("profiles/parts/{}/{name}", part.name);
                    self.view.catalog.part_templates.render_with(&name, names)?
                }
                (None, Some(content)) => text(content)?,
                (None, None) => String::new(),
            };
            Step::File { path: text(path)?, content, mode: mode(0o644), owner, group }
        } else if let Some(path) = &row.remove {
            Step::Remove { path: text(path)? }
        } else if let Some(path) = &row.directory {
            Step::Directory { path: text(path)?, mode: mode(0o755), owner, group }
        } else if let Some(path) = &row.link {
            Step::Link { path: text(path)?, to: optional(&row.to)?.unwrap_or_default() }
        } else if let Some(name) = &row.service {
            Step::Service(Service {
                name: text(name)?,
                running: row.state != Some(Wanted::Stopped),
                enabled: row.enabled && row.state != Some(Wanted::Stopped),
                files: texts(&row.files)?,
                logs: texts(&row.logs)?,
                start: optional(&row.start)?.filter(|_| !exists),
                ready: row.ready.as_ref().map(|c| check(c, text)).transpose()?,
            })
        } else if let Some(values) = &row.sysctl {
            let file = format!("/etc/sysctl.d/90-bootstead-{}.conf", part.name);
            Step::Sysctl { file, values: map(values)? }
        } else if let Some(user) = &row.user {
            Step::User {
                name: user.name.clone(),
                system: user.system,
                home: user.home.clone(),
                shell: user.shell.clone(),
                groups: user.groups.clone(),
            }
        } else if let Some(script) = &row.run {
            Step::Run(Run {
                script: text(script)?,
                env: map(&row.env)?,
                unless: optional(&row.unless)?,
                creates: optional(&row.creates)?,
                changed_if: row.changed_if.clone(),
                user: row.account.clone(),
                retries: row.retries,
            })
        } else if let Some(what) = &row.wait {
            Step::Wait { check: check(what, text)? }
        } else {
            return Err(Problem::fault(format!("part {}, step {}: no kind", part.name, row.id)));
        };
        Ok(Some(step))
    }

    /// The steps that a name in `after` stands for: itself, or, where `when` or `family` left it out everywhere, what
    /// it would have come after.
    fn before(&self, part: &str, name: &str, there: &dyn Fn(&str) -> bool) -> Vec<String> {
        let mut out = Vec::new();
        let mut look = vec![full(part, name.trim_end_matches('?'))];
        let mut seen = HashSet::new();
        while let Some(id) = look.pop() {
            if !seen.insert(id.clone()) {
                continue;
            }
            if there(&id) {
                out.push(id);
                continue;
            }
            let Some((part, row)) = id.split_once('.') else { continue };
            let row = self.view.catalog.parts.get(part).and_then(|p| p.steps.iter().find(|r| r.id == row));
            look.extend(row.into_iter().flat_map(|r| &r.after).map(|a| full(part, a.trim_end_matches('?'))));
        }
        out.sort_unstable();
        out
    }

    /// A number for every step's name, so that no name comes before one that it needs.
    fn order(&self) -> Result<HashMap<String, usize>, Problem> {
        let mut needs: BTreeMap<String, HashSet<String>> = BTreeMap::new();
        let there: HashSet<&str> = self.steps.iter().map(|i| i.planned.id.as_str()).collect();
        for i in &self.steps {
            let list = needs.entry(i.planned.id.clone()).or_default();
            for a in i.row.after.iter().chain(&i.row.after_all).chain(&i.row.same_versions) {
                list.extend(self.before(&i.part.name, a, &|id| there.contains(id)));
            }
        }
        let mut order: HashMap<String, usize> = HashMap::new();
        while order.len() < needs.len() {
            let level: Vec<(String, usize)> = needs
                .iter()
                .filter(|(id, _)| !order.contains_key(*id))
                .filter_map(|(id, before)| {
                    let levels: Option<Vec<usize>> = before.iter().map(|b| order.get(b).copied()).collect();
                    Some((id.clone(), levels?.into_iter().max().map_or(0, |l| l + 1)))
                })
                .collect();
            if level.is_empty() {
                let left: Vec<&str> =
                    needs.keys().filter(|id| !order.contains_key(*id)).map(String::as_str).collect();
                return Err(Problem::input(format!("these steps wait for each other: {}", left.join(", ")))
                    .help("look at their `after` and `after_all` in profiles/parts"));
            }
            order.extend(level);
        }
        Ok(order)
    }

    /// What each step needs, now that it is known which steps there are.
    fn needs(&mut self) {
        let mut there: HashMap<&str, HashSet<&str>> = HashMap::new();
        for i in &self.steps {
            there.entry(&i.planned.id).or_default().insert(&i.planned.node);
        }
        let planned = self.steps.iter().map(|i| &i.planned);
        let together = super::together::together(planned, &self.view.catalog.parts, self.work);
        let mut all: Vec<Vec<Need>> = Vec::with_capacity(self.steps.len());
        for i in &self.steps {
            let mut needs = Vec::new();
            let is = |id: &str| there.contains_key(id);
            for id in i.row.after.iter().flat_map(|a| self.before(&i.part.name, a, &is)) {
                match there.get(id.as_str()) {
                    Some(nodes) if nodes.contains(i.planned.node.as_str()) => needs.push(Need::Own(id)),
                    _ => needs.push(Need::All { id, allow_failed: 0 }),
                }
            }
            for id in i.row.after_all.iter().flat_map(|a| self.before(&i.part.name, a, &is)) {
                needs.push(Need::All { id, allow_failed: i.row.allow_failed });
            }
            let same = i.row.same_versions.iter().map(|s| full(&i.part.name, s)).filter(|id| is(id));
            needs.extend(same.map(|id| Need::Same { id }));
            let takes_turns = match i.row.serial {
                Some(Serial::Always) => true,
                Some(Serial::Later) => self.work.ever_done(&i.planned.id),
                None => false,
            };
            let id = i.planned.id.as_str();
            if let Some(writers) = together.get(id) {
                let all = writers.iter().map(|w| Need::All { id: w.to_string(), allow_failed: 0 });
                needs.extend(all);
            } else if takes_turns && there[id].len() > 1 {
                let (width, allow_failed) = (i.row.batch.unwrap_or(1), i.row.allow_failed);
                needs.push(Need::Turn { id: id.to_string(), width, allow_failed });
            }
            all.push(needs);
        }
        for (i, needs) in self.steps.iter_mut().zip(all) {
            i.planned.needs = needs;
        }
    }
}

pub(super) fn check(
    row: &CheckRow,
    text: &dyn Fn(&str) -> Result<String, Problem>,
) -> Result<Check, Problem> {
    let what = if let Some(at) = &row.tcp {
        Probe::Tcp(text(at)?)
    } else if let Some(url) = &row.http {
        let status = if row.status.is_empty() { vec![200] } else { row.status.clone() };
        Probe::Http { url: text(url)?, status }
    } else if let Some(path) = &row.file {
        Probe::File(text(path)?)
    } else {
        let env = row.env.iter().map(|(k, v)| Ok((k.clone(), text(v)?))).collect::<Result<_, Problem>>()?;
        Probe::Run { script: text(row.run.as_deref().unwrap_or_default())?, env }
    };
    Ok(Check { what, timeout: row.timeout })
}
