//! Owns what each kind of step does on a node, and what it would do.

use super::collect::collect;
use super::files::{file_difference, folder_is, own, parents, write_file};
use super::host::Host;
use super::measure::measure;
use super::packages;
use super::probe::{PATIENT, probe};
use super::service;
use super::shell::{run, script};
use crate::problem::reason;
use crate::steps::{Check, Run, Step};
use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// What a step did, or would do.
#[derive(Debug, Default)]
pub struct Done {
    pub changed: bool,
    pub output: String,
    /// A file for the server; it is removed when the server has it.
    pub file: Option<std::path::PathBuf>,
    /// Of packages: which version of each is installed now.
    pub versions: BTreeMap<String, String>,
}

impl Done {
    pub fn nothing() -> Done {
        Done::default()
    }
    pub(super) fn changed(output: impl Into<String>) -> Done {
        Done { changed: true, output: output.into(), ..Done::default() }
    }
}

/// Why a step could not be done: one sentence, and what was printed.
#[derive(Debug)]
pub struct Failed {
    pub why: String,
    pub output: String,
}

impl Failed {
    pub fn new(why: impl Into<String>) -> Failed {
        Failed { why: why.into(), output: String::new() }
    }
    /// `cannot DOING PATH: the system's reason`
    pub fn io(doing: &str, path: &Path, e: &std::io::Error) -> Failed {
        Failed::new(format!("cannot {doing} {}: {}", path.display(), reason(e)))
    }
}

impl From<crate::problem::Problem> for Failed {
    fn from(p: crate::problem::Problem) -> Failed {
        Failed::new(p.what)
    }
}

/// For what only asks or sets something.
pub(super) const QUICK: Duration = Duration::from_secs(30);

/// Does a step, at most for `limit`. Where nothing is to do, nothing is done.
pub fn apply(host: &Host, step: &Step, limit: Duration) -> Result<Done, Failed> {
    let step = &resolved(host, step)?;
    match step {
        Step::Packages { names } => {
            let done = packages::install(host, names, limit)?;
            Ok(Done { versions: packages::versions(host, names)?, ..done })
        }
        Step::File { path, content, mode, owner, group } => {
            let Some(difference) = file_difference(host, path, content, *mode, owner, group)? else {
                return Ok(Done::nothing());
            };
            write_file(host, path, content, *mode, owner, group)?;
            Ok(Done::changed(difference))
        }
        Step::Link { path, to } => {
            let at = host.path(path)?;
            if std::fs::read_link(&at).is_ok_and(|now| now == Path::new(to)) {
                return Ok(Done::nothing());
            }
            host.memory.file(path)?;
            if std::fs::symlink_metadata(&at).is_ok() {
                std::fs::remove_file(&at).map_err(|e| Failed::io("replace", &at, &e))?;
            }
            parents(&at)?;
            symlink(to, &at).map_err(|e| Failed::io("make the link", &at, &e))?;
            Ok(Done::changed(format!("{path} → {to}")))
        }
        Step::Directory { path, mode, owner, group } => {
            let at = host.path(path)?;
            if folder_is(host, &at, *mode, owner, group)? {
                return Ok(Done::nothing());
            }
            std::fs::create_dir_all(&at).map_err(|e| Failed::io("make the folder", &at, &e))?;
            own(host, &at, *mode, owner, group)?;
            Ok(Done::changed(format!("{path} ({mode:04o} {owner}:{group})")))
        }
        Step::Remove { path } => {
            let at = host.path(path)?;
            if std::fs::symlink_metadata(&at).is_err() {
                return Ok(Done::nothing());
            }
            host.memory.file(path)?;
            std::fs::remove_file(&at).map_err(|e| Failed::io("remove", &at, &e))?;
            Ok(Done::changed(format!("{path} removed")))
        }
        Step::Service(service) => service::keep(host, service, limit),
        Step::Sysctl { file, values } => sysctl(host, file, values),
        Step::User { name, system, home, shell, groups } => {
            user(host, name, *system, home.as_deref(), shell.as_deref(), groups)
        }
        Step::Run(run) => run_script(host, run, limit),
        Step::Wait { check } => {
            wait(host, check, limit)?;
            Ok(Done::nothing())
        }
        Step::Collect(run) => collect(host, run, limit),
        Step::BringBack(_) => Err(Failed::new("its archive was not fetched")),
        Step::Measure(m) => {
            let seen = measure(host, m);
            let output = serde_json::to_string(&seen).map_err(|e| Failed::new(e.to_string()))?;
            Ok(Done { output, ..Done::default() })
        }
    }
}

/// What `apply` would change; nothing is touched.
pub fn compare(host: &Host, step: &Step) -> Result<Done, Failed> {
    let step = &resolved(host, step)?;
    let said = |text: Option<String>| Ok(text.map_or_else(Done::nothing, Done::changed));
    match step {
        Step::Packages { names } => {
            let missing = packages::missing(host, names)?;
            said((!missing.is_empty()).then(|| format!("not installed: {}", missing.join(", "))))
        }
        Step::File { path, content, mode, owner, group } => {
            said(file_difference(host, path, content, *mode, owner, group)?)
        }
        Step::Link { path, to } => {
            let now = std::fs::read_link(host.path(path)?).ok();
            said((now.as_deref() != Some(Path::new(to))).then(|| format!("{path} does not lead to {to}")))
        }
        Step::Directory { path, mode, owner, group } => {
            let fine = folder_is(host, &host.path(path)?, *mode, owner, group)?;
            said((!fine).then(|| format!("{path} is not a folder {mode:04o} {owner}:{group}")))
        }
        Step::Remove { path } => {
            let there = std::fs::symlink_metadata(host.path(path)?).is_ok();
            said(there.then(|| format!("{path} is there")))
        }
        Step::Service(s) => {
            let wrong = service::difference(host, s)?;
            said((!wrong.is_empty()).then(|| format!("{}: {}", s.name, wrong.join(", "))))
        }
        Step::Sysctl { file, values } => {
            let mut wrong = Vec::new();
            for (key, value) in values {
                let now = sysctl_now(host, key)?;
                if now != *value {
                    wrong.push(format!("{key} is {now}, not {value}"));
                }
            }
            if let Some(difference) =
                file_difference(host, file, &sysctl_text(values), 0o644, "root", "root")?
            {
                wrong.push(difference);
            }
            said((!wrong.is_empty()).then(|| wrong.join("\n")))
        }
        Step::User { name, .. } => {
            said(host.owner(name, "root").is_err().then(|| format!("there is no account {name}")))
        }
        Step::Run(_) | Step::Wait { .. } | Step::Measure(_) | Step::Collect(_) | Step::BringBack(_) => {
            Ok(Done::nothing())
        }
    }
}

fn resolved(host: &Host, step: &Step) -> Result<Step, Failed> {
    let mut step = step.clone();
    for text in step.texts_mut() {
        if text.contains(crate::steps::INTERFACE) {
            *text = host.interfaces(text)?;
        }
    }
    Ok(step)
}

fn sysctl_text(values: &BTreeMap<String, String>) -> String {
    let lines: String = values.iter().map(|(k, v)| format!("{k} = {v}\n")).collect();
    format!("# Written by Bootstead.\n{lines}")
}

/// As sysctl(8) reads a key: dots are the separators unless a slash is (`net/ipv4/conf/eth0.100/arp_ignore`).
fn sysctl_path(key: &str) -> String {
    match key.contains('/') {
        true => format!("/proc/sys/{key}"),
        false => format!("/proc/sys/{}", key.replace('.', "/")),
    }
}

fn sysctl_now(host: &Host, key: &str) -> Result<String, Failed> {
    let at = host.path(&sysctl_path(key))?;
    let text = std::fs::read_to_string(&at).map_err(|e| Failed::io("read", &at, &e))?;
    Ok(text.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn sysctl(host: &Host, file: &str, values: &BTreeMap<String, String>) -> Result<Done, Failed> {
    let mut did = Vec::new();
    let text = sysctl_text(values);
    if file_difference(host, file, &text, 0o644, "root", "root")?.is_some() {
        write_file(host, file, &text, 0o644, "root", "root")?;
        did.push(format!("{file} written"));
    }
    for (key, value) in values {
        if sysctl_now(host, key)? == *value {
            continue;
        }
        let at = host.path(&sysctl_path(key))?;
        std::fs::write(&at, value).map_err(|e| Failed::io("set", &at, &e))?;
        let now = sysctl_now(host, key)?;
        if now != *value {
            return Err(Failed::new(format!("{key} is {now} after it was set to {value}")));
        }
        did.push(format!("{key} = {value}"));
    }
    Ok(if did.is_empty() { Done::nothing() } else { Done::changed(did.join(", ")) })
}

fn user(
    host: &Host,
    name: &str,
    system: bool,
    home: Option<&str>,
    shell: Option<&str>,
    groups: &[String],
) -> Result<Done, Failed> {
    let mut did = Vec::new();
    if host.owner(name, "root").is_err() {
        let mut command = Command::new("useradd");
        if system {
            command.arg("--system");
        }
        command.arg(if system && home.is_none() { "--no-create-home" } else { "--create-home" });
        command.args(home.into_iter().flat_map(|h| ["--home-dir", h]));
        command.args(shell.into_iter().flat_map(|s| ["--shell", s])).arg(name);
        run(command, "useradd", QUICK)?.well("useradd")?;
        did.push(format!("{name} made"));
    }
    let mut command = Command::new("id");
    command.args(["-nG", name]);
    let has = run(command, "id", QUICK)?.well("id")?;
    for group in groups.iter().filter(|g| !has.split_whitespace().any(|h| h == *g)) {
        let mut command = Command::new("usermod");
        command.args(["-aG", group, name]);
        run(command, "usermod", QUICK)?.well("usermod")?;
        did.push(format!("{name} in {group}"));
    }
    Ok(if did.is_empty() { Done::nothing() } else { Done::changed(did.join(", ")) })
}

fn run_script(host: &Host, r: &Run, limit: Duration) -> Result<Done, Failed> {
    let until = Instant::now() + limit;
    let left = || until.saturating_duration_since(Instant::now()).max(Duration::from_secs(1));
    if let Some(path) = &r.creates
        && host.path(path)?.exists()
    {
        return Ok(Done::nothing());
    }
    if let Some(unless) = &r.unless
        && script(host, unless, &r.env, r.user.as_deref(), left())?.ok()
    {
        return Ok(Done::nothing());
    }
    let mut pause = Duration::from_secs(1);
    let mut tries = 0;
    loop {
        let result =
            script(host, &r.script, &r.env, r.user.as_deref(), left()).and_then(|r| r.well("the script"));
        match result {
            Ok(output) => {
                let changed = r.changed_if.as_ref().is_none_or(|text| output.contains(text.as_str()));
                return Ok(Done { changed, output, ..Done::default() });
            }
            Err(failed) if tries >= r.retries || Instant::now() + pause >= until => return Err(failed),
            Err(_) => {
                tries += 1;
                std::thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_secs(10));
            }
        }
    }
}

/// Tries once a second until the check passes or its time is over.
pub(super) fn wait(host: &Host, check: &Check, limit: Duration) -> Result<(), Failed> {
    let until = Instant::now() + limit.min(Duration::from_secs(u64::from(check.timeout.max(1))));
    loop {
        let failed = match probe(host, &check.what, PATIENT) {
            Ok(()) => return Ok(()),
            Err(failed) => failed,
        };
        if Instant::now() >= until {
            let why = format!("waited {} s for {}: {}", check.timeout, check.sentence(), failed.why);
            return Err(Failed { why, output: failed.output });
        }
        std::thread::sleep(Duration::from_millis(700));
    }
}
