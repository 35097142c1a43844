//! Owns running programs: bounded in time and output, in a process group of their own, secrets not in arguments.

use super::apply::Failed;
use super::host::Host;
use crate::api::OUTPUT;
use crate::problem::reason;
use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A finished program.
pub struct Ran {
    pub status: ExitStatus,
    /// Both outputs as they came; of a long one the end.
    pub output: String,
}

impl Ran {
    pub fn ok(&self) -> bool {
        self.status.success()
    }
    /// `Err` where it did not end well; the last line that it printed is the reason.
    pub fn well(self, what: &str) -> Result<String, Failed> {
        if self.ok() {
            return Ok(self.output);
        }
        let how = match (self.status.code(), self.status.signal()) {
            (Some(code), _) => format!("ended with {code}"),
            (None, Some(signal)) => format!("was ended by signal {signal}"),
            (None, None) => "did not end well".to_string(),
        };
        let last = self.output.lines().rev().map(str::trim).find(|l| !l.is_empty()).unwrap_or_default();
        let last: String = last.chars().take(300).collect();
        let why = if last.is_empty() { format!("{what} {how}") } else { format!("{what} {how}: {last}") };
        Err(Failed { why, output: self.output })
    }
}

/// Runs a program to its end, at most for `limit`; then its whole group is ended.
pub fn run(mut command: Command, what: &str, limit: Duration) -> Result<Ran, Failed> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child =
        command.spawn().map_err(|e| Failed::new(format!("{what} cannot be started: {}", reason(&e))))?;
    let kept = Arc::new(Mutex::new(Tail::default()));
    let readers = [
        child.stdout.take().map(|o| follow(o, kept.clone())),
        child.stderr.take().map(|e| follow(e, kept.clone())),
    ];
    let status = wait(&mut child, limit);
    // A daemon that it left behind may hold the pipes open: its output is not waited for.
    let until = Instant::now() + Duration::from_millis(500);
    for reader in readers.into_iter().flatten() {
        while !reader.is_finished() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    let output = kept.lock().unwrap_or_else(|e| e.into_inner()).text();
    match status {
        Some(status) => Ok(Ran { status, output }),
        None => {
            let why = format!("{what} took longer than {} s and was ended", limit.as_secs());
            Err(Failed { why, output })
        }
    }
}

fn wait(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let until = Instant::now() + limit;
    let mut pause = Duration::from_millis(2);
    loop {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        if Instant::now() >= until {
            let group = nix::unistd::Pid::from_raw(child.id() as i32);
            let _ = nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL);
            let _ = child.wait();
            return None;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(100));
    }
}

/// The end of an output.
#[derive(Default)]
struct Tail(Vec<u8>);

impl Tail {
    fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
        if self.0.len() > 2 * OUTPUT {
            self.0.drain(..self.0.len() - OUTPUT);
        }
    }
    fn text(&self) -> String {
        let from = self.0.len().saturating_sub(OUTPUT);
        String::from_utf8_lossy(&self.0[from..]).into_owned()
    }
}

fn follow(mut from: impl Read + Send + 'static, to: Arc<Mutex<Tail>>) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        let mut buffer = [0u8; 4096];
        while let Ok(n) = from.read(&mut buffer) {
            if n == 0 {
                return;
            }
            to.lock().unwrap_or_else(|e| e.into_inner()).push(&buffer[..n]);
        }
    })
}

/// Waits until no script of this step runs any more that an earlier agent began.
///
/// What an agent starts survives it (a restart of the agent must not cut a schema in two), so the agent after it would
/// begin the same script beside it (field-pain #113). A script's file is named after its step, and `sh` has that name
/// among its arguments: no lock that a daemon could inherit, no record that a crash could lose.
pub fn alone(host: &Host, limit: Duration) -> Result<(), Failed> {
    let until = Instant::now() + limit;
    let mut told = false;
    while let Some(pid) = running(&host.scripts()) {
        if Instant::now() >= until {
            let why = format!(
                "an earlier run of this step, which outlived its agent, is still at work after {} s (process {pid})",
                limit.as_secs()
            );
            return Err(Failed::new(why));
        }
        if !std::mem::replace(&mut told, true) {
            tracing::info!(pid, "an earlier run of this step is still at work; waiting for its end");
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}

/// A process that runs a script whose file's name begins so.
fn running(name: &str) -> Option<u32> {
    std::fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        let ours = line.split(|b| *b == 0).any(|word| {
            std::path::Path::new(std::ffi::OsStr::from_bytes(word))
                .file_name()
                .is_some_and(|f| f.as_encoded_bytes().starts_with(name.as_bytes()))
        });
        ours.then_some(pid)
    })
}

/// Runs a shell script: `sh -eu`, from a file that only this account can read; so no secret is in a list of
/// processes, and the script may read its input.
pub fn script(
    host: &Host,
    text: &str,
    env: &BTreeMap<String, String>,
    user: Option<&str>,
    limit: Duration,
) -> Result<Ran, Failed> {
    let file = host.scratch(text, user)?;
    let mut command = match user {
        None => Command::new("/bin/sh"),
        Some(user) => {
            // runuser keeps the environment and needs no PAM session.
            let mut command = Command::new("runuser");
            command.args(["-u", user, "--", "/bin/sh"]);
            command
        }
    };
    command.arg("-eu").arg(file.path()).current_dir("/").env_clear();
    command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    command.envs([("LANG", "C.UTF-8"), ("LC_ALL", "C.UTF-8"), ("HOME", "/root")]);
    command.env("DEBIAN_FRONTEND", "noninteractive").envs(env);
    run(command, "the script", limit)
}
