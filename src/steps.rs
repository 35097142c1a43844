//! Owns `Step`: the one thing that the agent does on a node at a time; the contract between plan and agent.
//!
//! Texts may hold two placeholders. [`SECRET`] names a secret: the server puts the value in when the step leaves for
//! the one node that needs it, so plans can be printed and compared. [`INTERFACE`] names an address: the node puts
//! the interface in that has it (field-pain #103).

use crate::base::Sha256;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `@@secret:NAME@@`, `@@secret:NAME:8@@` (the first eight characters), `@@secret:NAME/2@@` (second version).
pub const SECRET: &str = "@@secret:";
/// `@@interface:10.77.0.11@@`
pub const INTERFACE: &str = "@@interface:";
const END: &str = "@@";

/// What is done. Each kind is idempotent: where nothing is to do, nothing is done, and the agent says so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Step {
    /// All of them installed, by the node's own package manager; services are kept from starting meanwhile.
    Packages {
        names: Vec<String>,
    },
    /// This content, mode and owner; what it replaces is kept as `PATH.bootstead-before`, once.
    File {
        path: String,
        content: String,
        mode: u32,
        owner: String,
        group: String,
    },
    /// A symbolic link.
    Link {
        path: String,
        to: String,
    },
    Directory {
        path: String,
        mode: u32,
        owner: String,
        group: String,
    },
    /// The file is not there.
    Remove {
        path: String,
    },
    Service(Service),
    /// Kernel settings: written to /etc/sysctl.d/90-bootstead-PART.conf, set, and read back.
    Sysctl {
        file: String,
        values: BTreeMap<String, String>,
    },
    User {
        name: String,
        system: bool,
        home: Option<String>,
        shell: Option<String>,
        groups: Vec<String>,
    },
    Run(Run),
    /// Waits until the check passes.
    Wait {
        check: Check,
    },
    /// Runs the script with `$DIR`, a folder for its files, and hands them to the server as one `tar.gz`.
    Collect(Run),
    /// Fetches the archive that the server has for this node, unpacks it, and runs the script with `$DIR`, its files.
    BringBack(BringBack),
    /// Asks again and again while something else happens, and prints a [`Measured`].
    Measure(Measure),
}

/// A system service (systemd's word).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    pub name: String,
    pub running: bool,
    pub enabled: bool,
    /// It is restarted when one of these changed on this node since it was last started by the agent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
    /// Its own log files: what it wrote there during a start that failed is reported with the failure.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub logs: Vec<String>,
    /// How it is started the very first time, for example `galera_new_cluster`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<String>,
    /// Must pass in the end, whether something was done or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<Check>,
}

/// A shell script (`sh -eu`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    pub script: String,
    /// Environment variables: the way of secrets into a script, never its arguments.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Exit code 0: there is nothing to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unless: Option<String>,
    /// There is nothing to do where this path exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub creates: Option<String>,
    /// It changed something only if its output holds this text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed_if: Option<String>,
    /// The account that it runs as; root where none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// How often it is tried again after a failure.
    #[serde(default)]
    pub retries: u32,
}

/// The way back of what [`Step::Collect`] took.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BringBack {
    pub run: Run,
    /// Of the archive: only this one is unpacked.
    pub bytes: u64,
    pub sha256: Sha256,
}

/// Something that must come true within `timeout` seconds; tried every second.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    #[serde(flatten)]
    pub what: Probe,
    pub timeout: u32,
}

/// What is asked during a drill, and for how long; seconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measure {
    pub targets: Vec<Target>,
    /// At least so long.
    pub least: u32,
    /// Then until everything has answered for so long.
    pub quiet: u32,
    /// At most so long.
    pub most: u32,
}

/// One thing that is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// `keystone.api`
    pub id: String,
    pub title: String,
    pub check: Probe,
}

/// What was seen; times are milliseconds since the measuring began.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measured {
    pub millis: u64,
    pub targets: Vec<Series>,
}

/// What was seen of one thing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Series {
    pub id: String,
    pub title: String,
    /// How often it was asked, and how often that failed.
    pub asked: u32,
    pub failed: u32,
    pub outages: Vec<Outage>,
}

/// From the last good answer to the next one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outage {
    pub from: u64,
    /// None: it did not come back while it was measured.
    pub until: Option<u64>,
    /// How the first attempt failed.
    pub why: String,
}

/// What is looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Probe {
    /// `address:port` takes a connection.
    Tcp(String),
    /// A GET of this URL answers with one of these codes.
    Http { url: String, status: Vec<u16> },
    /// This script ends with 0.
    Run { script: String, env: BTreeMap<String, String> },
    /// This path exists.
    File(String),
}

impl Step {
    /// What it does, in a few words for people.
    pub fn sentence(&self) -> String {
        match self {
            Step::Packages { names } => match names.as_slice() {
                [one] => format!("package {one}"),
                [first, ..] => format!("{} packages: {first} …", names.len()),
                [] => "no package".to_string(),
            },
            Step::File { path, .. } => format!("file {path}"),
            Step::Link { path, to } => format!("link {path} → {to}"),
            Step::Directory { path, .. } => format!("folder {path}"),
            Step::Remove { path } => format!("no {path}"),
            Step::Service(s) => match (s.running, &s.start) {
                (true, Some(start)) => format!("service {} started by {start}", s.name),
                (true, None) => format!("service {}", s.name),
                (false, _) => format!("service {} stopped", s.name),
            },
            Step::Sysctl { values, .. } => match values.iter().next() {
                Some((k, v)) if values.len() == 1 => format!("sysctl {k} = {v}"),
                _ => format!("{} sysctl settings", values.len()),
            },
            Step::User { name, .. } => format!("account {name}"),
            Step::Run(run) => {
                let line = run.script.lines().map(str::trim).find(|l| !l.is_empty() && !l.starts_with('#'));
                let line = line.unwrap_or_default();
                let short: String = line.chars().take(56).collect();
                format!("run {short}{}", if short.len() < run.script.trim().len() { " …" } else { "" })
            }
            Step::Wait { check } => format!("wait for {}", check.sentence()),
            Step::Measure(m) => format!("measure {} things", m.targets.len()),
            Step::Collect(_) => "collect what a backup needs".to_string(),
            Step::BringBack(_) => "bring back what a backup has".to_string(),
        }
    }

    /// Every text in it, to look for placeholders and to put values in.
    pub fn texts_mut(&mut self) -> Vec<&mut String> {
        match self {
            Step::Packages { names } => names.iter_mut().collect(),
            Step::File { path, content, owner, group, .. } => vec![path, content, owner, group],
            Step::Link { path, to } => vec![path, to],
            Step::Directory { path, owner, group, .. } => vec![path, owner, group],
            Step::Remove { path } => vec![path],
            Step::Service(s) => {
                let mut all: Vec<&mut String> = s.files.iter_mut().chain(&mut s.logs).collect();
                all.extend(s.start.as_mut());
                all.extend(s.ready.as_mut().into_iter().flat_map(|r| r.what.texts_mut()));
                all
            }
            Step::Sysctl { values, .. } => values.values_mut().collect(),
            Step::User { .. } => Vec::new(),
            Step::Run(run) | Step::Collect(run) | Step::BringBack(BringBack { run, .. }) => {
                let mut all = vec![&mut run.script];
                all.extend(run.env.values_mut());
                all.extend(run.unless.as_mut());
                all
            }
            Step::Wait { check } => check.what.texts_mut(),
            Step::Measure(m) => m.targets.iter_mut().flat_map(|t| t.check.texts_mut()).collect(),
        }
    }

    /// Every text in it, to read.
    pub fn texts(&self) -> Vec<String> {
        self.clone().texts_mut().into_iter().map(|t| t.clone()).collect()
    }

    /// Whether the agent can say what it would change without changing it.
    pub fn can_compare(&self) -> bool {
        !matches!(
            self,
            Step::Run(_) | Step::Wait { .. } | Step::Measure(_) | Step::Collect(_) | Step::BringBack(_)
        )
    }

    /// Same step, same digest.
    pub fn digest(&self) -> Sha256 {
        Sha256::of(&serde_json::to_vec(self).unwrap_or_default())
    }
}

impl Probe {
    fn texts_mut(&mut self) -> Vec<&mut String> {
        match self {
            Probe::Tcp(t) | Probe::File(t) => vec![t],
            Probe::Http { url, .. } => vec![url],
            Probe::Run { script, env } => std::iter::once(script).chain(env.values_mut()).collect(),
        }
    }
}

impl Check {
    pub fn sentence(&self) -> String {
        match &self.what {
            Probe::Tcp(at) => format!("{at} to take connections"),
            Probe::Http { url, .. } => format!("{url} to answer"),
            Probe::File(path) => format!("{path} to be there"),
            Probe::Run { script, .. } => {
                let line = script.lines().map(str::trim).find(|l| !l.is_empty()).unwrap_or_default();
                format!("`{}` to succeed", line.chars().take(50).collect::<String>())
            }
        }
    }
}

/// The names inside placeholders of one kind (`secret:` names may carry `/VERSION` and `:LENGTH`).
pub fn placeholders<'a>(text: &'a str, kind: &'a str) -> impl Iterator<Item = &'a str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let start = rest.find(kind)? + kind.len();
        let end = start + rest[start..].find(END)?;
        let name = &rest[start..end];
        rest = &rest[end + END.len()..];
        Some(name)
    })
}

/// Replaces every placeholder of one kind; the first that `value` cannot resolve is the error.
pub fn fill(
    text: &str,
    kind: &str,
    mut value: impl FnMut(&str) -> Result<String, String>,
) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(kind) {
        let inner = start + kind.len();
        let Some(len) = rest[inner..].find(END) else { break };
        out.push_str(&rest[..start]);
        out.push_str(&value(&rest[inner..inner + len])?);
        rest = &rest[inner + len + END.len()..];
    }
    out.push_str(rest);
    Ok(out)
}

/// Gives every secret's placeholder the version of `versions`; those that are at their first have none.
pub fn versioned(text: &str, versions: &BTreeMap<String, u32>) -> Result<String, String> {
    fill(text, SECRET, |inner| {
        let (name, _, length) = secret_name(inner);
        let version = versions.get(name).filter(|v| **v > 1).map(|v| format!("/{v}")).unwrap_or_default();
        let length = length.map(|n| format!(":{n}")).unwrap_or_default();
        Ok(format!("{SECRET}{name}{version}{length}{END}"))
    })
}

/// A secret's placeholder taken apart: name, version, length.
pub fn secret_name(inner: &str) -> (&str, u32, Option<usize>) {
    let (name, length) = match inner.split_once(':') {
        Some((name, n)) => (name, n.parse().ok()),
        None => (inner, None),
    };
    match name.split_once('/') {
        Some((name, version)) => (name, version.parse().unwrap_or(1), length),
        None => (name, 1, length),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_found_and_filled() {
        let text = "a @@secret:db@@ b @@secret:key/2:8@@ @@interface:10.0.0.1@@";
        assert_eq!(placeholders(text, SECRET).collect::<Vec<_>>(), ["db", "key/2:8"]);
        assert_eq!(secret_name("key/2:8"), ("key", 2, Some(8)));
        let filled = fill(text, SECRET, |n| Ok(n.to_uppercase())).unwrap();
        assert_eq!(filled, "a DB b KEY/2:8 @@interface:10.0.0.1@@");
        let versions = BTreeMap::from([("db".to_string(), 3), ("key".to_string(), 1)]);
        let versioned = versioned(text, &versions).unwrap();
        assert_eq!(versioned, "a @@secret:db/3@@ b @@secret:key:8@@ @@interface:10.0.0.1@@");
        assert!(fill(text, INTERFACE, |n| Err(format!("no {n}"))).is_err());
        assert_eq!(fill("@@secret:open", SECRET, |_| Ok(String::new())).unwrap(), "@@secret:open");
    }
}
