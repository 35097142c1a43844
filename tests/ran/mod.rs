//! Owns running the program as people do, for the tests of its command line.

#![allow(clippy::unwrap_used, dead_code, reason = "tests; not each of them uses all")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

pub fn bootstead(args: &[&str]) -> Ran {
    let Output { status, stdout, stderr } =
        Command::new(env!("CARGO_BIN_EXE_bootstead")).args(args).env("COLUMNS", "80").output().unwrap();
    Ran {
        code: status.code().unwrap(),
        out: String::from_utf8(stdout).unwrap(),
        err: String::from_utf8(stderr).unwrap(),
    }
}

/// A path that does not exist yet.
pub fn scratch(name: &str) -> String {
    let dir = std::env::temp_dir().join(format!("bootstead-cli-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    dir.to_string_lossy().into_owned()
}
