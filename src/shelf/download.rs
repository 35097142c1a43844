//! Owns downloads: many files at once by apt's own helper, resumed, each verified, with progress.
//!
//! apt-helper and not a client of ours: it knows this machine's proxies, credentials and mirror methods. One helper
//! asks one connection for one file after the other; with a server 100 ms away four of them are four times as quick.

use super::apt::{Apt, decode};
use super::progress::Progress;
use super::{publish, tools};
use crate::base::Sha256;
use crate::problem::Problem;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

/// Helpers at once.
const HELPERS: usize = 4;
/// Files per helper call: keeps the argument list short.
const BATCH: usize = 100;

/// One file to get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    pub url: String,
    pub to: PathBuf,
    /// In bytes, if known.
    pub size: Option<u64>,
    pub sha256: Option<Sha256>,
}

/// What could not be got: URL → the server's reason.
pub type Failed = BTreeMap<String, String>;

/// Gets all `jobs`; those that are there already and sound are not asked for again. Returns what failed.
///
/// A file that came damaged is removed and counts as failed. A begun file stays for the next try.
pub fn download(apt: &Apt, what: &str, jobs: &[Job]) -> Result<Failed, Problem> {
    let mut todo = Vec::new();
    for job in jobs {
        if let Some(parent) = job.to.parent() {
            fs::create_dir_all(parent).map_err(|e| Problem::io("make the folder", parent, &e))?;
        }
        if !is_sound(job)? {
            todo.push(job);
        }
    }
    if todo.is_empty() {
        return Ok(Failed::new());
    }
    let total = todo.iter().filter_map(|j| j.size).sum();
    let mut progress = Progress::new(what, total);
    let mut failed = run(apt, &todo, &mut progress)?;
    progress.finish();
    for job in &todo {
        let known = job.size.is_some() || job.sha256.is_some();
        let arrived = if known { is_sound(job)? } else { job.to.exists() };
        if !failed.contains_key(&job.url) && !arrived {
            let _ = fs::remove_file(&job.to);
            failed.insert(job.url.clone(), "it came incomplete or damaged".to_string());
        }
    }
    Ok(failed)
}

/// The same, where every file is needed.
pub fn download_all(apt: &Apt, what: &str, jobs: &[Job]) -> Result<(), Problem> {
    let failed = download(apt, what, jobs)?;
    let Some((url, reason)) = failed.first_key_value() else { return Ok(()) };
    let more = if failed.len() > 1 { format!(" (and {} more)", failed.len() - 1) } else { String::new() };
    Err(Problem::environment(format!("cannot download {url}{more}: {reason}"))
        .help("run the same command again: what has arrived is kept"))
}

fn is_sound(job: &Job) -> Result<bool, Problem> {
    let Ok(meta) = fs::metadata(&job.to) else { return Ok(false) };
    match (job.size, &job.sha256) {
        (Some(size), _) if size != meta.len() => Ok(false),
        (_, Some(sha256)) => {
            let sound = publish::digest(&job.to)? == *sha256;
            if !sound && job.size == Some(meta.len()) {
                // A damaged file of full length: nothing to resume.
                fs::remove_file(&job.to).map_err(|e| Problem::io("remove", &job.to, &e))?;
            }
            Ok(sound)
        }
        // Without a digest there is no telling whether an old copy is the current one: those are small indexes.
        _ => Ok(false),
    }
}

fn run(apt: &Apt, todo: &[&Job], progress: &mut Progress) -> Result<Failed, Problem> {
    // Spread over the helpers, so that each has long and short ones.
    let helpers = HELPERS.min(todo.len().div_ceil(8)).max(1);
    let size = BATCH.min(todo.len().div_ceil(helpers));
    let mut batches: Vec<&[&Job]> = todo.chunks(size).collect();
    batches.reverse();
    let (mut failed, mut running) = (Failed::new(), Vec::<(Child, &[&Job])>::new());
    let present =
        |jobs: &[&Job]| jobs.iter().map(|j| fs::metadata(&j.to).map_or(0, |m| m.len())).sum::<u64>();
    let mut done = 0;
    while !batches.is_empty() || !running.is_empty() {
        while running.len() < helpers
            && let Some(batch) = batches.pop()
        {
            running.push((start(apt, batch)?, batch));
        }
        std::thread::sleep(Duration::from_millis(100));
        let (mut still, mut broken) = (Vec::new(), None);
        for (mut child, batch) in running {
            let ended =
                child.try_wait().map_err(|e| Problem::environment(format!("apt-helper got lost: {e}")))?;
            if ended.is_none() {
                still.push((child, batch));
                continue;
            }
            let output = child.wait_with_output().map_err(|e| Problem::environment(e.to_string()))?;
            done += present(batch);
            broken = broken.or(collect(&mut failed, batch, &String::from_utf8_lossy(&output.stderr)).err());
        }
        running = still;
        if let Some(problem) = broken {
            for (child, _) in &mut running {
                // Best effort: it may have ended by itself.
                let _ = child.kill();
                let _ = child.wait();
            }
            return Err(problem);
        }
        progress.set(done + running.iter().map(|(_, b)| present(b)).sum::<u64>());
    }
    Ok(failed)
}

fn start(apt: &Apt, batch: &[&Job]) -> Result<Child, Problem> {
    let mut command = apt.command("apt-helper")?;
    command.args(["-qq", "download-file"]);
    for job in batch {
        let hash = job.sha256.map(|s| format!("SHA256:{s}")).unwrap_or_default();
        let to = std::path::absolute(&job.to).map_err(|e| Problem::io("find", &job.to, &e))?;
        command.arg(&job.url).arg(to).arg(hash);
    }
    command
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| Problem::environment(format!("apt-helper does not start: {e}")))
}

/// Reads apt-helper's errors: `E: Failed to fetch URL  404  Not Found [IP: …]`.
fn collect(failed: &mut Failed, batch: &[&Job], stderr: &str) -> Result<(), Problem> {
    if tools::is_full(stderr) {
        return Err(tools::full());
    }
    for line in stderr.lines() {
        let Some((url, reason)) = line.strip_prefix("E: Failed to fetch ").and_then(|r| r.split_once(' '))
        else {
            continue;
        };
        let url = decode(url);
        if let Some(job) = batch.iter().find(|j| decode(&j.url) == url) {
            let reason = reason.split(" [IP").next().unwrap_or(reason);
            failed.insert(job.url.clone(), reason.split_whitespace().collect::<Vec<_>>().join(" "));
        }
    }
    Ok(())
}

/// A job for a file of the archive at `url`, kept below `dir` under the same path.
pub fn of_archive(url: &str, filename: &str, dir: &Path, size: u64, sha256: Sha256) -> Job {
    Job { url: format!("{url}/{filename}"), to: dir.join(filename), size: Some(size), sha256: Some(sha256) }
}

/// An error unless all that failed is merely not there: a gap of the mirror is one thing, a broken line another.
pub fn only_absent(failed: &Failed) -> Result<(), Problem> {
    match failed.iter().find(|(_, reason)| !is_absent(reason)) {
        None => Ok(()),
        Some((url, reason)) => Err(Problem::environment(format!("cannot download {url}: {reason}"))
            .help("run the same command again: what has arrived is kept")),
    }
}

/// Whether the server said that there is no such file (and not that something else went wrong).
fn is_absent(reason: &str) -> bool {
    reason.starts_with("404") || reason.starts_with("410")
}

/// Takes files out of a .deb: unpacks it into `to`.
pub fn unpack(deb: &Path, to: &Path) -> Result<(), Problem> {
    publish::clear(to)?;
    fs::create_dir_all(to).map_err(|e| Problem::io("make the folder", to, &e))?;
    let mut command = tools::command("dpkg-deb")?;
    command.arg("-x").arg(deb).arg(to);
    tools::output(command, &format!("unpack {}", deb.display())).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apts_words_become_reasons() {
        let job = Job { url: "http://d/a+b.udeb".into(), to: "x".into(), size: None, sha256: None };
        let mut failed = Failed::new();
        let said =
            "E: Failed to fetch http://d/a%2bb.udeb  404  Not Found [IP: 10.0.0.1 80]\nE: Download Failed\n";
        collect(&mut failed, &[&job], said).unwrap();
        assert_eq!(failed["http://d/a+b.udeb"], "404 Not Found");
        only_absent(&failed).unwrap();
        failed.insert("http://d/b".into(), "Connection failed".into());
        assert!(only_absent(&failed).unwrap_err().what.contains("http://d/b"));
        let full = "E: write of file failed - No space left on device\n";
        assert!(collect(&mut failed, &[&job], full).unwrap_err().what.contains("disk is full"));
    }
}
