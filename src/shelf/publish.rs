//! Owns publishing: an image is made in `.work/NAME`, made durable, then put into its place by one rename.

use super::{MANIFEST, mtime_ns};
use crate::base::Sha256;
use crate::base::digest::Hasher;
use crate::images::{Manifest, Stored, manifest::is_image_name};
use crate::problem::Problem;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Where the image `name` is made. It is kept when something fails, so that the next try goes on from there.
pub fn work_dir(images: &Path, name: &str) -> Result<PathBuf, Problem> {
    if !is_image_name(name) {
        return Err(Problem::input(format!("{name:?} cannot name an image"))
            .help("use letters, digits, `.`, `_` and `-`, at most 64"));
    }
    let dir = images.join(".work").join(name);
    fs::create_dir_all(&dir).map_err(|e| Problem::io("make the folder", &dir, &e))?;
    Ok(dir)
}

/// Holds the right to make `name`, as long as it lives: two commands at once would spoil each other's work.
pub struct Claim(#[allow(dead_code, reason = "the lock ends with the file")] File);

/// Takes the right to make `name`; a second command gets a clear sentence.
pub fn claim(images: &Path, name: &str) -> Result<Claim, Problem> {
    let dir = work_dir(images, name)?;
    let path = dir.with_file_name(format!("{name}.lock"));
    let file = File::create(&path).map_err(|e| Problem::io("make", &path, &e))?;
    match file.try_lock() {
        Ok(()) => Ok(Claim(file)),
        Err(fs::TryLockError::WouldBlock) => {
            Err(Problem::environment(format!("another command is working on image {name}"))
                .help("wait until it is done"))
        }
        Err(fs::TryLockError::Error(e)) => Err(Problem::io("lock", &path, &e)),
    }
}

/// Reads a whole file: its state on disk and digest. `watch` is told the bytes of each piece read.
pub fn stored(path: &Path, watch: &mut dyn FnMut(u64)) -> Result<Stored, Problem> {
    let failed = |e: std::io::Error| Problem::io("read", path, &e);
    let mut file = File::open(path).map_err(failed)?;
    let meta = file.metadata().map_err(failed)?;
    let (mut hasher, mut size, mut buffer) = (Hasher::new(), 0u64, vec![0u8; 1 << 18]);
    loop {
        let n = file.read(&mut buffer).map_err(failed)?;
        if n == 0 {
            break;
        }
        hasher.update(&buffer[..n]);
        size += n as u64;
        watch(n as u64);
    }
    Ok(Stored { size, mtime_ns: mtime_ns(&meta), sha256: hasher.finish() })
}

/// The state of a file whose digest is known already.
pub fn state(path: &Path, sha256: Sha256) -> Result<Stored, Problem> {
    let meta = fs::metadata(path).map_err(|e| Problem::io("look at", path, &e))?;
    Ok(Stored { size: meta.len(), mtime_ns: mtime_ns(&meta), sha256 })
}

/// The digest of a whole file.
pub fn digest(path: &Path) -> Result<Sha256, Problem> {
    Ok(stored(path, &mut |_| ())?.sha256)
}

/// Puts the finished `stage` (a folder with the stored files) into its place as image `name`, with its manifest.
///
/// The caller has verified every file. Everything is on disk before the rename; an older image of that name stays
/// until then and is removed after it. A crash leaves either the old one or the new one.
pub fn publish(images: &Path, name: &str, stage: &Path, manifest: &Manifest) -> Result<(), Problem> {
    let text = serde_json::to_string_pretty(manifest).map_err(|e| Problem::fault(e.to_string()))?;
    Manifest::read(&text).map_err(|e| Problem::fault(format!("the manifest of {name} is wrong: {e}")))?;
    let path = stage.join(MANIFEST);
    fs::write(&path, text + "\n").map_err(|e| Problem::io("write", &path, &e))?;
    for at in manifest.stored.keys().map(|at| stage.join(at)).chain([path]) {
        File::open(&at).and_then(|f| f.sync_all()).map_err(|e| Problem::io("write", &at, &e))?;
    }
    sync_folders(stage)?;
    let (place, old) = (images.join(name), images.join(".work").join(format!("{name}.old")));
    clear(&old)?;
    if place.exists() {
        fs::rename(&place, &old).map_err(|e| Problem::io("move", &place, &e))?;
    }
    if let Err(e) = fs::rename(stage, &place) {
        // Best effort: the old image was good.
        let _ = fs::rename(&old, &place);
        return Err(Problem::io("publish", &place, &e));
    }
    sync(images)?;
    clear(&old)
}

/// Removes the image `name` and what was begun of it; `false` if there was nothing.
pub fn remove(images: &Path, name: &str) -> Result<bool, Problem> {
    let _claim = claim(images, name)?;
    let (place, work) = (images.join(name), images.join(".work"));
    let was = place.exists();
    // Out of sight by one rename: a crash in the middle leaves no half image.
    let gone = work.join(format!("{name}.old"));
    clear(&gone)?;
    if was {
        fs::rename(&place, &gone).map_err(|e| Problem::io("remove", &place, &e))?;
    }
    clear(&gone)?;
    clear(&work.join(name))?;
    Ok(was)
}

/// Removes a folder with all that is in it; one that is not there is fine.
pub fn clear(dir: &Path) -> Result<(), Problem> {
    match fs::remove_dir_all(dir) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(Problem::io("remove the folder", dir, &e)),
    }
}

fn sync_folders(dir: &Path) -> Result<(), Problem> {
    let failed = |e: std::io::Error| Problem::io("read the folder", dir, &e);
    for entry in fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_type().map_err(failed)?.is_dir() {
            sync_folders(&entry.path())?;
        }
    }
    sync(dir)
}

fn sync(dir: &Path) -> Result<(), Problem> {
    File::open(dir).and_then(|f| f.sync_all()).map_err(|e| Problem::io("write", dir, &e))
}
