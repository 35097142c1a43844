//! The ISO reader against images that others made: xorriso and genisoimage, where they are installed.

#![allow(clippy::unwrap_used, reason = "a test")]

use bootstead::images::iso::{index, read_small};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Path → content.
type Files = BTreeMap<String, Vec<u8>>;

fn sample(dir: &Path) -> Files {
    let long = format!("Packages/{}.x86_64.rpm", "a-long-name-".repeat(9));
    let files: Files = [
        (".treeinfo", b"[general]".to_vec()),
        (long.as_str(), vec![7; 70_000]),
        ("a/b/c/d/e/f/g/h/i/j/deep.txt", b"deep".to_vec()),
        ("empty", vec![]),
        ("UPPER.and.lower", b"x".to_vec()),
    ]
    .map(|(n, b)| (n.to_string(), b))
    .into();
    for (path, bytes) in &files {
        let at = dir.join(path);
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        fs::write(at, bytes).unwrap();
    }
    std::os::unix::fs::symlink("a/b/c/d/e/f/g/h/i/j/deep.txt", dir.join("link")).unwrap();
    // Many names, so that folders fill several sectors.
    fs::create_dir_all(dir.join("many")).unwrap();
    for i in 0..300 {
        fs::write(dir.join(format!("many/file-number-{i:04}")), [i as u8]).unwrap();
    }
    files
}

fn made_by(tool: &str, options: &[&str]) -> Option<(Files, Vec<u8>)> {
    let dir =
        std::env::temp_dir().join(format!("bootstead-iso-{tool}-{}-{}", options.len(), std::process::id()));
    let _ = fs::remove_dir_all(&dir);
    let (tree, iso): (PathBuf, PathBuf) = (dir.join("tree"), dir.join("out.iso"));
    fs::create_dir_all(&tree).unwrap();
    let files = sample(&tree);
    let mut command = Command::new(tool);
    if tool == "xorriso" {
        command.args(["-as", "mkisofs"]);
    }
    let status = command
        .args(options)
        .arg("-o")
        .arg(&iso)
        .arg(&tree)
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .status();
    let bytes = status.ok().filter(|s| s.success()).and_then(|_| fs::read(&iso).ok());
    let _ = fs::remove_dir_all(&dir);
    if bytes.is_none() {
        eprintln!("skipped: {tool} is not installed");
    }
    bytes.map(|b| (files, b))
}

#[test]
fn rock_ridge_of_other_tools_is_read_as_they_meant_it() {
    for (tool, options) in [("xorriso", &["-R", "-J", "-quiet"][..]), ("genisoimage", &["-R", "-quiet"][..])]
    {
        let Some((files, image)) = made_by(tool, options) else { continue };
        let found = index(image.as_slice()).unwrap();
        for (path, content) in &files {
            let place =
                found.get(path).unwrap_or_else(|| panic!("{tool}: {path} of {:?}", found.files.keys()));
            assert_eq!(&read_small(image.as_slice(), place, 1 << 20).unwrap(), content, "{tool}: {path}");
        }
        assert_eq!(read_small(image.as_slice(), found.get("link").unwrap(), 99).unwrap(), b"deep", "{tool}");
        assert_eq!(found.files.keys().filter(|p| p.starts_with("many/")).count(), 300, "{tool}");
        assert_eq!(found.files.len(), files.len() + 300, "{tool}: {:?}", found.files.keys());
    }
}

#[test]
fn without_rock_ridge_joliet_names_are_taken() {
    let Some((_, image)) = made_by("genisoimage", &["-J", "-D", "-quiet"]) else { return };
    let found = index(image.as_slice()).unwrap();
    assert!(found.files.contains_key("UPPER.and.lower") && found.files.contains_key("many/file-number-0299"));
}

#[test]
fn without_both_the_short_names_are_in_lower_case() {
    let Some((_, image)) = made_by("genisoimage", &["-D", "-quiet", "-l"]) else { return };
    let found = index(image.as_slice()).unwrap();
    assert!(found.files.contains_key("empty"), "{:?}", found.files.keys().take(9).collect::<Vec<_>>());
}
