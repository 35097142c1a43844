//! Owns calls of the system's own tools (apt, dpkg-deb, gpgv …): checked for before, and clear when they fail.

use crate::problem::Problem;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Debian package that has each tool.
const PACKAGE: &[(&str, &str)] = &[
    ("apt-get", "apt"),
    ("apt-config", "apt"),
    ("apt-helper", "apt"),
    ("dpkg-deb", "dpkg"),
    ("gpgv", "gpgv"),
    ("depmod", "kmod"),
    ("curl", "curl"),
];

/// The tool's path: in PATH, in the system folders, or where apt keeps its helper.
pub fn find(tool: &str) -> Result<PathBuf, Problem> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/bin", "/bin", "/usr/lib/apt"].map(PathBuf::from));
    folders.map(|d| d.join(tool)).find(|p| p.is_file()).ok_or_else(|| {
        let package = PACKAGE.iter().find(|(t, _)| *t == tool).map_or(tool, |(_, p)| p);
        Problem::environment(format!("the program {tool} is needed and is not installed here"))
            .help(format!("on Debian: apt-get install {package}"))
    })
}

/// Checks for all at once.
pub fn need(tools: &[&str]) -> Result<(), Problem> {
    tools.iter().try_for_each(|t| find(t).map(drop))
}

/// A command without a terminal, speaking English.
pub fn command(tool: &str) -> Result<Command, Problem> {
    let mut command = Command::new(find(tool)?);
    command.env("LC_ALL", "C.UTF-8").env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
    Ok(command)
}

/// Runs to the end and returns its standard output; a failure tells what it said.
pub fn output(mut command: Command, doing: &str) -> Result<Vec<u8>, Problem> {
    let tool = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .map_err(|e| Problem::environment(format!("cannot {doing}: {tool} does not start: {e}")))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    if is_full(&said) {
        return Err(full());
    }
    Err(Problem::environment(format!("cannot {doing}")).why(format!("{tool} said: {}", last_words(&said))))
}

/// Whether a tool's words say that the disk is full.
pub fn is_full(said: &str) -> bool {
    said.contains("No space left on device") || said.contains("enough free space")
}

/// What to say then.
pub fn full() -> Problem {
    Problem::environment("the disk is full; nothing was published").help(
        "free some space on the file system of the state folder, then run the same command again: it goes on where \
         it stopped",
    )
}

/// The errors among a tool's words, else the last lines.
pub fn last_words(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    let errors: Vec<&str> = lines.iter().filter(|l| l.starts_with("E:")).copied().collect();
    let chosen = if errors.is_empty() {
        &lines[lines.len().saturating_sub(3)..]
    } else {
        &errors[..errors.len().min(4)]
    };
    if chosen.is_empty() { "nothing".to_string() } else { chosen.join("; ") }
}
