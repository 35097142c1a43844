//! Owns running other programs: their output in the problem when they fail, and the package to install when missing.

use crate::problem::{Problem, reason};
use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

/// Runs a program to its end and returns its standard output.
pub fn run(
    program: &str,
    package: &str,
    arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
    folder: &Path,
) -> Result<String, Problem> {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .env("LC_ALL", "C.UTF-8")
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(Stdio::null())
        .output()
        .map_err(|e| {
            Problem::environment(format!("cannot run {program}: {}", reason(&e)))
                .help(format!("install it: apt-get install {package}"))
        })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let lines: Vec<&str> = said.lines().filter(|l| !l.trim().is_empty()).collect();
    let last = lines[lines.len().saturating_sub(6)..].join("\n         ");
    Err(Problem::environment(format!("{program} failed ({})", output.status)).why(if last.is_empty() {
        "it did not say why".to_string()
    } else {
        format!("it said: {last}")
    }))
}
