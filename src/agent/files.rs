//! Owns files and folders of a node: how they differ from what is wanted, and putting them there in one move.

use super::apply::Failed;
use super::host::Host;
use crate::disk;
use similar::TextDiff;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, lchown};
use std::path::Path;

pub fn parents(at: &Path) -> Result<(), Failed> {
    match at.parent() {
        Some(parent) => {
            std::fs::create_dir_all(parent).map_err(|e| Failed::io("make the folder", parent, &e))
        }
        None => Ok(()),
    }
}

pub fn own(host: &Host, at: &Path, mode: u32, owner: &str, group: &str) -> Result<(), Failed> {
    let (uid, gid) = host.owner(owner, group)?;
    let found = std::fs::metadata(at).map_err(|e| Failed::io("look at", at, &e))?;
    if (found.uid(), found.gid()) != (uid, gid) {
        chown(at, Some(uid), Some(gid)).map_err(|e| Failed::io("give away", at, &e))?;
    }
    std::fs::set_permissions(at, std::fs::Permissions::from_mode(mode))
        .map_err(|e| Failed::io("set the mode of", at, &e))
}

pub fn folder_is(host: &Host, at: &Path, mode: u32, owner: &str, group: &str) -> Result<bool, Failed> {
    let Ok(found) = std::fs::metadata(at) else { return Ok(false) };
    let numbers = host.owner(owner, group)?;
    Ok(found.is_dir() && found.mode() & 0o7777 == mode && (found.uid(), found.gid()) == numbers)
}

/// How the file differs from what is wanted, as lines for people; `None`: not at all.
pub fn file_difference(
    host: &Host,
    path: &str,
    content: &str,
    mode: u32,
    owner: &str,
    group: &str,
) -> Result<Option<String>, Failed> {
    let at = host.path(path)?;
    let found = match std::fs::symlink_metadata(&at) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Ok(Some(format!("{path} is not there")));
        }
        Err(e) => return Err(Failed::io("look at", &at, &e)),
        Ok(found) if found.is_dir() => return Err(Failed::new(format!("{path} is a folder, not a file"))),
        Ok(found) => found,
    };
    let mut wrong = Vec::new();
    if found.file_type().is_symlink() {
        wrong.push(format!("{path} is a link"));
    }
    let now = std::fs::read(&at).map_err(|e| Failed::io("read", &at, &e))?;
    if now != content.as_bytes() {
        let now = String::from_utf8_lossy(&now);
        let diff = TextDiff::from_lines(now.as_ref(), content);
        wrong.push(diff.unified_diff().context_radius(1).header(path, path).to_string());
    }
    if found.mode() & 0o7777 != mode && !found.file_type().is_symlink() {
        wrong.push(format!("{path} has the mode {:04o}, not {mode:04o}", found.mode() & 0o7777));
    }
    if (found.uid(), found.gid()) != host.owner(owner, group)? {
        wrong.push(format!("{path} does not belong to {owner}:{group}"));
    }
    Ok((!wrong.is_empty()).then(|| wrong.join("\n")))
}

pub fn write_file(
    host: &Host,
    path: &str,
    content: &str,
    mode: u32,
    owner: &str,
    group: &str,
) -> Result<(), Failed> {
    let at = host.path(path)?;
    let numbers = host.owner(owner, group)?;
    parents(&at)?;
    host.memory.file(path)?;
    // What was there before us is kept, once.
    let before = at.with_file_name(format!(
        "{}.bootstead-before",
        at.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
    ));
    if at.is_file() && !before.exists() && !in_a_scanned_folder(path) {
        let found = std::fs::metadata(&at).map_err(|e| Failed::io("look at", &at, &e))?;
        std::fs::copy(&at, &before).map_err(|e| Failed::io("keep a copy of", &at, &e))?;
        let _ = lchown(&before, Some(found.uid()), Some(found.gid()));
    }
    // Owner and mode are right before the file is in its place: a secret is never readable by others.
    let new = at.with_file_name(format!(
        ".{}.bootstead-new",
        at.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
    ));
    // People know the file, not the name that it has on its way.
    let known = |text: String| text.replace(&new.display().to_string(), &at.display().to_string());
    disk::write(&new, content.as_bytes(), 0o600).map_err(|p| Failed::new(known(p.what)))?;
    chown(&new, Some(numbers.0), Some(numbers.1)).map_err(|e| Failed::io("give away", &new, &e))?;
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(mode))
        .map_err(|e| Failed::io("set the mode of", &new, &e))?;
    std::fs::rename(&new, &at).map_err(|e| Failed::io("put into place", &at, &e))
}

/// Programs read every file of such a folder: a copy there would be read too.
fn in_a_scanned_folder(path: &str) -> bool {
    Path::new(path).parent().is_some_and(|p| {
        p.to_string_lossy().ends_with(".d") || p.ends_with("fernet-keys") || p.ends_with("credential-keys")
    })
}
