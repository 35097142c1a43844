//! profiles/parts/PART/part.toml → [`Part`]: the cluster half of roles. A role lists the parts that its nodes have.

use super::Var;
use super::secret::Declared;
use crate::problem::{Problem, did_you_mean};
use crate::tree::Tree;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One folder of `profiles/parts/`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// The folder's name; filled when read.
    #[serde(skip)]
    pub name: String,
    pub summary: String,
    /// The members vote: an even number is refused (field-pain #109).
    #[serde(default)]
    pub quorum: bool,
    /// A part whose nodes are added at any time (compute): their names stand in nobody else's files.
    #[serde(default)]
    pub grows: bool,
    /// Virtual addresses of the site that it needs.
    #[serde(default)]
    pub vips: Vec<String>,
    /// Parts that the same node must have.
    #[serde(default)]
    pub needs: Vec<String>,
    /// Parts that some node of the site must have.
    #[serde(default)]
    pub elsewhere: Vec<String>,
    /// Open ports, `3306/tcp`; with variables, `{lvs_port}/{lvs_protocol}`; protocols by name, `vrrp` or `ipip`.
    #[serde(default)]
    pub ports: Vec<String>,
    #[serde(default)]
    pub vars: BTreeMap<String, Var>,
    #[serde(default)]
    pub secrets: BTreeMap<String, Declared>,
    #[serde(default, rename = "step")]
    pub steps: Vec<Row>,
    #[serde(default)]
    pub verify: Vec<Verify>,
    /// What the part's users see of it, measured while something is broken on purpose.
    #[serde(default, rename = "probe")]
    pub probes: Vec<ProbeRow>,
    #[serde(default, rename = "drill")]
    pub drills: Vec<Drill>,
    /// What a backup of the cluster takes of it.
    #[serde(default)]
    pub backup: Option<Backup>,
    /// How it is begun anew when all members are down.
    #[serde(default)]
    pub recover: Option<Recover>,
}

/// On which of the part's nodes a step runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum On {
    #[default]
    All,
    /// The part's first node, elected once and recorded.
    First,
    /// All but the first.
    Rest,
    /// One actor for the whole cluster: what it did once counts, also when it leaves.
    Once,
}

/// Whether nodes take turns: at most [`Row::batch`] of them at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Serial {
    /// One node at a time.
    Always,
    /// Together the first time (when nothing runs yet), one at a time in later plans.
    Later,
}

/// One `[[step]]`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Row {
    pub id: String,
    #[serde(default)]
    pub on: On,
    /// Steps on the same node that must be done before.
    #[serde(default)]
    pub after: Vec<String>,
    /// Steps that must be done on every node before.
    #[serde(default)]
    pub after_all: Vec<String>,
    /// Package steps whose packages must have one version on every node before (field-pain #118): a quorum whose
    /// members speak different versions is made, and falls apart later.
    #[serde(default)]
    pub same_versions: Vec<String>,
    /// `after_all` and turns go on although so many nodes failed.
    #[serde(default)]
    pub allow_failed: usize,
    #[serde(default)]
    pub serial: Option<Serial>,
    /// So many nodes at a time where they take turns; 1 unless it says otherwise.
    #[serde(default)]
    pub batch: Option<usize>,
    /// An expression over the context; the step is left out where it is false.
    #[serde(default)]
    pub when: Option<String>,
    /// `debian`, `el`; empty: both.
    #[serde(default)]
    pub family: Vec<String>,
    /// A template whose text counts as an input: when it changes, the step runs again.
    #[serde(default)]
    pub inputs: Option<String>,
    /// Seconds until the step counts as failed.
    #[serde(default)]
    pub timeout: Option<u32>,
    #[serde(default)]
    pub retries: u32,
    /// One sentence for people who read the plan.
    #[serde(default)]
    pub why: Option<String>,

    // exactly one of these
    #[serde(default)]
    pub packages: Option<BTreeMap<String, Vec<String>>>,
    #[serde(default)]
    pub file: Option<String>,
    #[serde(default)]
    pub remove: Option<String>,
    #[serde(default)]
    pub directory: Option<String>,
    #[serde(default)]
    pub link: Option<String>,
    #[serde(default)]
    pub service: Option<String>,
    #[serde(default)]
    pub sysctl: Option<BTreeMap<String, String>>,
    #[serde(default)]
    pub user: Option<UserRow>,
    #[serde(default)]
    pub run: Option<String>,
    #[serde(default)]
    pub wait: Option<CheckRow>,

    // of a file, directory or link
    #[serde(default)]
    pub template: Option<String>,
    #[serde(default)]
    pub content: Option<String>,
    #[serde(default)]
    pub owner: Option<String>,
    #[serde(default)]
    pub group: Option<String>,
    #[serde(default)]
    pub mode: Option<String>,
    #[serde(default)]
    pub to: Option<String>,
    // of a service
    #[serde(default)]
    pub state: Option<Wanted>,
    #[serde(default = "yes")]
    pub enabled: bool,
    #[serde(default)]
    pub files: Vec<String>,
    /// Log files of its own: where it does not come up, what it wrote there meanwhile is shown.
    #[serde(default)]
    pub logs: Vec<String>,
    #[serde(default)]
    pub start: Option<String>,
    #[serde(default)]
    pub ready: Option<CheckRow>,
    // of a script
    #[serde(default)]
    pub unless: Option<String>,
    #[serde(default)]
    pub creates: Option<String>,
    #[serde(default)]
    pub changed_if: Option<String>,
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    #[serde(default, rename = "as")]
    pub account: Option<String>,
}

fn yes() -> bool {
    true
}

/// What a service is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Wanted {
    Started,
    Stopped,
}

/// An account.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UserRow {
    pub name: String,
    #[serde(default)]
    pub system: bool,
    #[serde(default)]
    pub home: Option<String>,
    #[serde(default)]
    pub shell: Option<String>,
    #[serde(default)]
    pub groups: Vec<String>,
}

/// A check: exactly one of `tcp`, `http`, `run`, `file`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckRow {
    #[serde(default)]
    pub tcp: Option<String>,
    #[serde(default)]
    pub http: Option<String>,
    #[serde(default)]
    pub status: Vec<u16>,
    #[serde(default)]
    pub run: Option<String>,
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    #[serde(default)]
    pub file: Option<String>,
    #[serde(default = "minute")]
    pub timeout: u32,
}

impl CheckRow {
    fn shape(&self) -> Result<(), String> {
        let kinds = [self.tcp.is_some(), self.http.is_some(), self.run.is_some(), self.file.is_some()];
        match kinds.iter().filter(|k| **k).count() {
            1 => Ok(()),
            _ => Err("a check is exactly one of tcp, http, run, file".to_string()),
        }
    }
}

fn minute() -> u32 {
    60
}

/// One `[[verify]]`: what an administrator would look at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Verify {
    pub id: String,
    pub title: String,
    #[serde(default)]
    pub on: On,
    #[serde(default)]
    pub when: Option<String>,
    /// Prints what is to be seen; exit code 0 is good.
    pub run: String,
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    #[serde(default = "minute")]
    pub timeout: u32,
}

/// One `[[probe]]`: asked some times a second during a drill. `tcp` and `http` are asked from a node that is not what is
/// broken, and no member of the broken part if there is another; `run` on a member of this part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProbeRow {
    pub id: String,
    pub title: String,
    #[serde(default)]
    pub when: Option<String>,
    pub check: CheckRow,
}

/// One `[[drill]]`: something that is broken on purpose, on one member: by a script, or by cutting its power.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Drill {
    pub id: String,
    pub title: String,
    #[serde(default)]
    pub when: Option<String>,
    /// Ends with 0 on the member that it is about; none: the part's first node.
    #[serde(default)]
    pub find: Option<String>,
    /// Breaks it.
    #[serde(default)]
    pub run: Option<String>,
    /// The machine loses its power.
    #[serde(default)]
    pub power: bool,
    /// Undoes it after the outage was measured, where it does not come back by itself.
    #[serde(default)]
    pub mend: Option<String>,
    /// The longest outage, in seconds, that any probe may see.
    pub outage: u32,
    /// Seconds until every check of the site must pass again.
    #[serde(default = "minutes")]
    pub back: u32,
}

fn minutes() -> u32 {
    300
}

/// `[backup]`: what cannot be made anew from the site and its secrets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Backup {
    #[serde(default = "first")]
    pub on: On,
    /// Writes files into `$DIR`.
    pub run: String,
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Seconds.
    #[serde(default = "hour")]
    pub timeout: u32,
    /// One sentence: how it is brought back, or what to know of it.
    pub restore: String,
    /// Brings it back: `$DIR` has the files. None where that is not safe without a person.
    #[serde(default)]
    pub bring_back: Option<String>,
    /// What `bring_back` overwrites: "every database of the services".
    #[serde(default)]
    pub overwrites: Option<String>,
}

fn first() -> On {
    On::First
}

fn hour() -> u32 {
    3600
}

/// `[recover]`: scripts for a quorum that is wholly down.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Recover {
    /// Prints `running|down UUID SEQNO SAFE` as its last line. Data stay as they are; a start that hangs may be ended.
    pub state: String,
    /// Begins the cluster on the member that was chosen.
    pub begin: String,
    /// Joins it, on the others, one after the other.
    pub join: String,
    /// Seconds that each may take.
    #[serde(default = "minute")]
    pub timeout: u32,
}

/// Reads `profiles/parts/*/part.toml`; what cannot be read or is wrong in itself is reported.
pub fn read(tree: &Tree) -> (BTreeMap<String, Part>, Vec<Problem>) {
    let (mut parts, mut problems) = (BTreeMap::new(), Vec::new());
    for (file, content) in tree.below("profiles/parts") {
        let Some(name) = file.strip_suffix("/part.toml").filter(|n| !n.contains('/')) else { continue };
        let path = format!("profiles/parts/{file}");
        match crate::tree::toml_file::<Part>(&path, content) {
            Ok(part) => {
                parts.insert(name.to_string(), Part { name: name.to_string(), ..part });
            }
            Err(p) => problems.push(p),
        }
    }
    let known: Vec<String> =
        parts.values().flat_map(|p| p.steps.iter().map(|s| format!("{}.{}", p.name, s.id))).collect();
    for part in parts.values() {
        for row in &part.probes {
            if let Err(why) = row.check.shape() {
                problems.push(said(part, format!("probe {}: {why}", row.id), None));
            }
        }
        for row in part.drills.iter().filter(|d| d.power == d.run.is_some()) {
            let what = format!("drill {} needs a `run` or `power = true`, one of both", row.id);
            problems.push(said(part, what, None));
        }
        if part.backup.as_ref().is_some_and(|b| b.bring_back.is_some() != b.overwrites.is_some()) {
            let what = "[backup] `bring_back` needs `overwrites`, which is asked about before, and only then";
            problems.push(said(part, what.to_string(), None));
        }
        for other in part.needs.iter().chain(&part.elsewhere) {
            if !parts.contains_key(other) {
                let near = did_you_mean(other, parts.keys().map(String::as_str));
                problems.push(said(part, format!("it needs the part {other:?}, which does not exist"), near));
            }
        }
        let mut seen = Vec::new();
        for row in &part.steps {
            if seen.contains(&&row.id) {
                problems.push(said(part, format!("two steps are named {:?}", row.id), None));
            }
            seen.push(&row.id);
            if let Err(why) = row.shape() {
                problems.push(said(part, format!("step {}: {why}", row.id), None));
            }
            for other in &row.same_versions {
                let name = full(&part.name, other);
                let found = name.split_once('.').and_then(|(part, id)| {
                    parts.get(part).and_then(|p| p.steps.iter().find(|r| r.id == id && r.packages.is_some()))
                });
                if found.is_none() {
                    let what =
                        format!("step {}: same_versions names {name}, which is no step of packages", row.id);
                    problems.push(said(part, what, None));
                }
            }
            for other in row.after.iter().chain(&row.after_all) {
                let name = full(&part.name, other.trim_end_matches('?'));
                if !other.ends_with('?') && !known.contains(&name) {
                    let near = did_you_mean(&name, known.iter().map(String::as_str));
                    let what = format!("step {} comes after {name}, which does not exist", row.id);
                    problems.push(said(part, what, near));
                }
            }
        }
    }
    problems.extend(super::secret::judge(&parts));
    (parts, problems)
}

/// `galera.join` out of `join` or `galera.join`.
pub fn full(part: &str, id: &str) -> String {
    if id.contains('.') { id.to_string() } else { format!("{part}.{id}") }
}

fn said(part: &Part, what: String, near: Option<&str>) -> Problem {
    let problem = Problem::input(format!("profiles/parts/{}/part.toml: {what}", part.name));
    match near {
        Some(near) => problem.help(format!("did you mean {near:?}?")),
        None => problem,
    }
}

impl Row {
    /// Whether exactly one kind of step is there, with what it needs.
    fn shape(&self) -> Result<(), String> {
        let kinds = [
            ("packages", self.packages.is_some()),
            ("file", self.file.is_some()),
            ("remove", self.remove.is_some()),
            ("directory", self.directory.is_some()),
            ("link", self.link.is_some()),
            ("service", self.service.is_some()),
            ("sysctl", self.sysctl.is_some()),
            ("user", self.user.is_some()),
            ("run", self.run.is_some()),
            ("wait", self.wait.is_some()),
        ];
        let there: Vec<&str> = kinds.iter().filter(|(_, is)| *is).map(|(name, _)| *name).collect();
        match there.as_slice() {
            [_] => {}
            [] => {
                let names: Vec<&str> = kinds.iter().map(|(name, _)| *name).collect();
                return Err(format!("it does nothing; it needs one of {}", names.join(", ")));
            }
            several => return Err(format!("it is several things at once: {}", several.join(", "))),
        }
        if self.file.is_some() && self.template.is_some() == self.content.is_some() {
            return Err("a file needs a `template` or a `content`, one of both".to_string());
        }
        if self.batch.is_some() && self.serial.is_none() {
            return Err("`batch` says how many nodes take their turn together; it needs `serial`".to_string());
        }
        if self.batch == Some(0) {
            return Err("`batch = 0` would let nobody begin".to_string());
        }
        if self.link.is_some() && self.to.is_none() {
            return Err("a link needs `to`".to_string());
        }
        if let Some(mode) = &self.mode
            && (u32::from_str_radix(mode, 8).is_err() || mode.len() > 4)
        {
            return Err(format!("{mode:?} is no mode; write one such as \"0640\""));
        }
        for check in self.wait.iter().chain(&self.ready) {
            check.shape()?;
        }
        if self.id.is_empty() || !self.id.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c)) {
            return Err("its id must be letters, digits and hyphens".to_string());
        }
        if let Some(f) = self.family.iter().find(|f| !["debian", "el"].contains(&f.as_str())) {
            return Err(format!("the family {f:?} is neither debian nor el"));
        }
        Ok(())
    }
}
