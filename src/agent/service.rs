//! Owns what the agent does about a system service (systemd's word): enabled, started, restarted where a file of its
//! changed, and what it said where it does not come up.

use super::apply::{Done, Failed, QUICK, wait};
use super::host::Host;
use super::shell::{Ran, run, script};
use crate::base::Sha256;
use crate::steps::Service;
use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

fn systemctl(arguments: &[&str], limit: Duration) -> Result<Ran, Failed> {
    let mut command = Command::new("systemctl");
    command.args(arguments);
    run(command, &format!("systemctl {}", arguments.join(" ")), limit)
}

fn is(name: &str, question: &str) -> Result<bool, Failed> {
    Ok(systemctl(&[question, "--quiet", name], QUICK)?.ok())
}

/// What is not as the step wants it, in words.
pub fn difference(host: &Host, s: &Service) -> Result<Vec<&'static str>, Failed> {
    let mut wrong = Vec::new();
    if is(&s.name, "is-active")? != s.running {
        wrong.push(if s.running { "it does not run" } else { "it runs" });
    }
    if s.running && s.enabled && !is(&s.name, "is-enabled")? {
        wrong.push("it would not start by itself after a reboot");
    }
    let (stale, _) = host.memory.stale(&s.name, &s.files, &|f| content(host, f));
    if s.running && !stale.is_empty() {
        wrong.push("a file of it changed since it was started");
    }
    Ok(wrong)
}

/// Makes it so.
pub fn keep(host: &Host, s: &Service, limit: Duration) -> Result<Done, Failed> {
    let mut did = Vec::new();
    let active = is(&s.name, "is-active")?;
    if !s.running {
        if active {
            systemctl(&["stop", &s.name], limit)?.well(&format!("stopping {}", s.name))?;
            did.push("stopped");
        }
        if is(&s.name, "is-enabled")? {
            systemctl(&["disable", &s.name], limit)?.well(&format!("disabling {}", s.name))?;
            did.push("disabled");
        }
        return Ok(done(did, &s.name));
    }
    if s.enabled && !is(&s.name, "is-enabled")? {
        systemctl(&["enable", &s.name], limit)?.well(&format!("enabling {}", s.name))?;
        did.push("enabled");
    }
    // Read before the start: a file that is changed meanwhile is news the next time.
    let found = s.files.iter().filter_map(|f| Some((f.clone(), content(host, f)?))).collect();
    let said = Said::before(host, s);
    let (stale, count) = host.memory.stale(&s.name, &s.files, &|f| content(host, f));
    if !active {
        // A unit that gave up earlier does not start again before that is forgotten.
        let _ = systemctl(&["reset-failed", &s.name], QUICK);
        match &s.start {
            Some(start) => {
                script(host, start, &BTreeMap::new(), None, limit)?
                    .well(start)
                    .map(drop)
                    .map_err(|failed| said.with(failed))?;
            }
            None => {
                systemctl(&["start", &s.name], limit)?
                    .well(&format!("starting {}", s.name))
                    .map(drop)
                    .map_err(|failed| said.with(failed))?;
            }
        }
        did.push("started");
    } else if !stale.is_empty() {
        systemctl(&["restart", &s.name], limit)?
            .well(&format!("restarting {}", s.name))
            .map(drop)
            .map_err(|failed| said.with(failed))?;
        did.push("restarted");
    }
    if let Some(ready) = &s.ready {
        wait(host, ready, limit).map_err(|failed| said.with(failed))?;
    }
    host.memory.started(&s.name, count, found)?;
    Ok(done(did, &s.name))
}

/// Digest of a file; none where it is not there.
fn content(host: &Host, path: &str) -> Option<Sha256> {
    std::fs::read(host.path(path).ok()?).ok().map(|bytes| Sha256::of(&bytes))
}

fn done(did: Vec<&str>, name: &str) -> Done {
    match did.is_empty() {
        true => Done::nothing(),
        false => Done::changed(format!("{name} {}", did.join(", "))),
    }
}

/// A service that does not come up says why in its journal or in log files of its own.
struct Said<'a> {
    service: &'a Service,
    /// Path on this machine, name in the step, and length before the start, in bytes.
    logs: Vec<(PathBuf, &'a str, u64)>,
}

impl<'a> Said<'a> {
    /// Lines of the journal, and of each log.
    const LINES: usize = 25;
    /// Of a log, from its end, in bytes.
    const MOST: u64 = 8 * 1024;

    fn before(host: &Host, service: &'a Service) -> Self {
        let length = |path: &PathBuf| std::fs::metadata(path).map_or(0, |m| m.len());
        let logs = service.logs.iter().filter_map(|name| {
            let path = host.path(name).ok()?;
            let length = length(&path);
            Some((path, name.as_str(), length))
        });
        Self { service, logs: logs.collect() }
    }

    /// The failure, and what was said since then.
    fn with(&self, failed: Failed) -> Failed {
        let lines = Self::LINES.to_string();
        let mut command = Command::new("journalctl");
        command.args(["-u", &self.service.name, "-n", &lines, "--no-pager", "-o", "cat"]);
        let journal = run(command, "journalctl", QUICK).map(|r| r.output).unwrap_or_default();
        let mut output = format!("{}\n{journal}", failed.output).trim().to_string();
        for (path, name, length) in &self.logs {
            let Some(new) = Self::since(path, *length).filter(|new| !new.is_empty()) else { continue };
            output.push_str(&format!("\n{name}:\n{new}"));
        }
        Failed { why: failed.why, output }
    }

    /// The last lines of what a log has beyond `length`; from its begin if it was made anew meanwhile.
    fn since(path: &Path, length: u64) -> Option<String> {
        let mut file = std::fs::File::open(path).ok()?;
        let size = file.metadata().ok()?.len();
        let from = if size < length { 0 } else { length };
        file.seek(SeekFrom::Start(from.max(size.saturating_sub(Self::MOST)))).ok()?;
        let mut bytes = Vec::new();
        file.take(Self::MOST).read_to_end(&mut bytes).ok()?;
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        Some(lines[lines.len().saturating_sub(Self::LINES)..].join("\n").trim().to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_log_only_what_was_said_since_the_start_is_shown() {
        let folder = std::env::temp_dir().join(format!("bootstead-said-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("nova.log");
        std::fs::write(&path, "of yesterday\n").unwrap();
        let length = std::fs::metadata(&path).unwrap().len();
        assert_eq!(Said::since(&path, length), Some(String::new()));
        std::fs::write(&path, "of yesterday\nno such account\n").unwrap();
        assert_eq!(Said::since(&path, length).as_deref(), Some("no such account"));
        // made anew meanwhile: all of it is new
        std::fs::write(&path, "short\n").unwrap();
        assert_eq!(Said::since(&path, length).as_deref(), Some("short"));
        let many: String = (0..2000).map(|n| format!("line {n}\n")).collect();
        std::fs::write(&path, many).unwrap();
        let last = Said::since(&path, 0).unwrap();
        assert!(last.starts_with("line 1975\n") && last.ends_with("line 1999"), "{last}");
        assert_eq!(Said::since(&folder.join("none"), 0), None);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
