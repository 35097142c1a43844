//! Owns packages: apt and dnf. No service starts while they are installed: it would start with its sample
//! configuration, on all addresses, and half of them would hang.

use super::apply::{Done, Failed};
use super::host::Host;
use super::shell::run;
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::{Duration, Instant};

/// Debian asks this program whether a service may be started by a package.
const POLICY: &str = "/usr/sbin/policy-rc.d";
const POLICY_TEXT: &str =
    "#!/bin/sh\n# Bootstead installs packages; it starts their services itself.\nexit 101\n";

/// Removes what an agent that was killed while installing left behind.
pub fn tidy(host: &Host) {
    if let Ok(path) = host.path(POLICY)
        && std::fs::read_to_string(&path).is_ok_and(|t| t == POLICY_TEXT)
    {
        let _ = std::fs::remove_file(&path);
    }
}

/// Those that are not installed.
pub fn missing(host: &Host, names: &[String]) -> Result<Vec<String>, Failed> {
    let limit = Duration::from_secs(60);
    let mut missing = Vec::new();
    if apt(host)? {
        let mut command = Command::new("dpkg-query");
        command.args(["-W", "-f", "${Package} ${db:Status-Abbrev}\\n"]).args(names);
        // It ends with 1 where one is unknown; what it printed counts.
        let ran = run(command, "dpkg-query", limit)?;
        for name in names {
            let line = |l: &str| l.split_once(' ').is_some_and(|(p, s)| p == name && s.trim() == "ii");
            if !ran.output.lines().any(line) {
                missing.push(name.clone());
            }
        }
        return Ok(missing);
    }
    for name in names {
        let mut command = Command::new("rpm");
        command.args(["-q", "--whatprovides", name]);
        if !run(command, "rpm", limit)?.ok() {
            missing.push(name.clone());
        }
    }
    Ok(missing)
}

/// The version of each that is installed; one without a version (a virtual package) is left out.
pub fn versions(host: &Host, names: &[String]) -> Result<BTreeMap<String, String>, Failed> {
    let limit = Duration::from_secs(60);
    let mut found = BTreeMap::new();
    if apt(host)? {
        let mut command = Command::new("dpkg-query");
        command.args(["-W", "-f", "${Package} ${Version}\\n"]).args(names);
        let ran = run(command, "dpkg-query", limit)?;
        for line in ran.output.lines() {
            if let Some((name, version)) = line.split_once(' ')
                && names.iter().any(|n| n == name)
            {
                found.insert(name.to_string(), version.trim().to_string());
            }
        }
        return Ok(found);
    }
    for name in names {
        let mut command = Command::new("rpm");
        command.args(["-q", "--whatprovides", "--qf", "%{EPOCHNUM}:%{VERSION}-%{RELEASE}\\n", name]);
        let ran = run(command, "rpm", limit)?;
        if let Some(version) = ran.output.lines().next().filter(|_| ran.ok()) {
            found.insert(name.clone(), version.trim().to_string());
        }
    }
    Ok(found)
}

fn apt(host: &Host) -> Result<bool, Failed> {
    if host.path("/usr/bin/apt-get")?.exists() {
        return Ok(true);
    }
    if host.path("/usr/bin/dnf")?.exists() {
        return Ok(false);
    }
    Err(Failed::new("this node has neither apt-get nor dnf"))
}

/// How long a source of packages may be out of reach before the step fails.
const GONE: Duration = Duration::from_secs(180);

/// Installs what is missing. Steps that wait for each other's package manager are done in one run of it: a run costs
/// seconds, whatever it installs.
pub fn install(host: &Host, names: &[String], limit: Duration) -> Result<Done, Failed> {
    if missing(host, names)?.is_empty() {
        return Ok(Done::nothing());
    }
    host.wants(names);
    let _alone = host.packages();
    let all = host.wanted();
    let mine = missing(host, names)?;
    if mine.is_empty() {
        let output = "installed together with another step's packages".to_string();
        return Ok(Done { changed: true, output, ..Done::default() });
    }
    if all.len() > names.len()
        && let Ok(together) = missing(host, &all)
        && together.len() > mine.len()
        && let Ok(done) = install_these(host, &together, names, limit)
    {
        return Ok(done);
    }
    // One that cannot be had must not keep the others from being installed.
    let wanted = missing(host, names)?;
    install_these(host, &wanted, names, limit)
}

fn install_these(host: &Host, wanted: &[String], names: &[String], limit: Duration) -> Result<Done, Failed> {
    if !apt(host)? {
        let mut command = Command::new("dnf");
        command.args(["-y", "--setopt=install_weak_deps=False", "install"]).args(wanted);
        let output = run(command, "dnf", limit)?.well("dnf")?;
        return verify(host, names, output);
    }
    let _quiet = Quiet::keep(host)?;
    // An installation that was cut is finished first; apt refuses everything until then.
    let mut command = Command::new("dpkg");
    command.args(["--configure", "-a", "--force-confold"]).env("DEBIAN_FRONTEND", "noninteractive");
    run(command, "dpkg --configure -a", limit)?.well("dpkg --configure -a")?;
    let until = Instant::now() + limit;
    let gone = Instant::now() + GONE.min(limit);
    loop {
        // Mostly the lists are fresh; only where they are not is the wait for new ones worth it.
        if let Ok(output) = apt_install(wanted, limit) {
            return verify(host, names, output);
        }
        let mut command = apt_get();
        command.args(["update", "-q"]);
        // One source out of many that is out of reach must not hide what the others have.
        let updated = run(command, "apt-get update", limit)?.well("apt-get update");
        match apt_install(wanted, limit).map_err(|failed| both(updated.err(), failed)) {
            Ok(output) => return verify(host, names, output),
            Err(failed) if hindered(&failed.output) && Instant::now() < until => {
                std::thread::sleep(Duration::from_secs(2));
            }
            Err(failed) if unreachable(&failed.output) && Instant::now() < gone => {
                let left = gone.saturating_duration_since(Instant::now()).as_secs();
                tracing::warn!(
                    "the source of packages is out of reach ({}); tried for {left} s more",
                    failed.why
                );
                std::thread::sleep(Duration::from_secs(5));
            }
            Err(failed) => return Err(explained(failed)),
        }
    }
}

/// apt does not say what its commonest words mean here: the node was installed with updates that the source has not.
fn explained(mut failed: Failed) -> Failed {
    if failed.output.contains("held broken packages") {
        failed.why.push_str(
            " This node may have newer packages than its source: on the server, `bootstead image fetch packages-SUITE` \
             brings the source up to date; then `bootstead steps --retry`",
        );
    }
    failed
}

/// Why an installation failed after its lists could not all be had: either may be the cause of the other.
fn both(update: Option<Failed>, install: Failed) -> Failed {
    let Some(update) = update else { return install };
    Failed {
        why: format!("{}; before it, {}", install.why, update.why),
        output: format!("{}\n{}", update.output, install.output),
    }
}

/// Another apt is at work (the daily timers, a person, a step of our own): its lists' lock knows no waiting, and the
/// cache is gone for a moment while it is written.
fn hindered(output: &str) -> bool {
    ["Could not get lock", "Unable to lock", "cache file is corrupted"].iter().any(|t| output.contains(t))
}

/// The source of packages went away half-way: it is mostly the same machine that gives the steps, which restarts.
fn unreachable(output: &str) -> bool {
    [
        "Failed to fetch",
        "Unable to connect",
        "Could not connect",
        "Connection failed",
        "Temporary failure resolving",
    ]
    .iter()
    .any(|t| output.contains(t))
}

fn apt_install(wanted: &[String], limit: Duration) -> Result<String, Failed> {
    let mut command = apt_get();
    command.args(["install", "-q", "-y", "--no-install-recommends"]);
    // A node that dies in between is installed anew or finished by `dpkg --configure -a`: no flush per file.
    command.args(["-o", "Dpkg::Options::=--force-confold", "-o", "Dpkg::Options::=--force-unsafe-io"]);
    command.args(wanted);
    run(command, "apt-get install", limit)?.well("apt-get install")
}

/// Package managers have been seen to end well with a package half configured.
fn verify(host: &Host, names: &[String], output: String) -> Result<Done, Failed> {
    let left = missing(host, names)?;
    if left.is_empty() {
        return Ok(Done { changed: true, output, ..Done::default() });
    }
    Err(Failed { why: format!("{} did not get installed", left.join(", ")), output })
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive").env("LC_ALL", "C.UTF-8");
    // Somebody else's apt (unattended upgrades) is waited for.
    command.args(["-o", "DPkg::Lock::Timeout=300", "-o", "APT::Update::Error-Mode=any"]);
    command
}

/// While this lives, packages start no service.
struct Quiet(Option<std::path::PathBuf>);

impl Quiet {
    fn keep(host: &Host) -> Result<Quiet, Failed> {
        let path = host.path(POLICY)?;
        if path.exists() {
            // The administrator's own policy stays.
            return Ok(Quiet(None));
        }
        let write = || {
            std::fs::write(&path, POLICY_TEXT)?;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))
        };
        write().map_err(|e| {
            Failed::new(format!("{POLICY} cannot be written: {}", crate::problem::reason(&e)))
        })?;
        Ok(Quiet(Some(path)))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            let _ = std::fs::remove_file(path);
        }
    }
}
