//! What lies in the images folder (`STATE/images`): open it for serving, verify, fetch, import, build a mirror.
//!
//! Layout: `NAME/manifest.json` beside the image's stored files; `loaders/` likewise; `.work/NAME` while one is made.
//! A folder is published by one rename, after every file in it was verified; what has no sound manifest is not served.

pub mod apt;
pub mod bake;
pub mod download;
pub mod fetch;
mod firmware;
pub mod import;
pub mod mirror;
pub mod progress;
pub mod publish;
pub mod stage;
pub mod tools;
pub mod verify;

use crate::base::Sha256;
use crate::images::{Held, Manifest, Stock, Stored};
use crate::problem::Problem;
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// The folder of the boot loaders, beside the images.
pub const LOADERS: &str = "loaders";
/// The manifest's name in each folder.
pub const MANIFEST: &str = "manifest.json";

/// The images folder, opened for serving. Cheap to share; reads no file but those asked for.
#[derive(Debug, Default)]
pub struct Shelf {
    folders: BTreeMap<String, Folder>,
}

#[derive(Debug)]
struct Folder {
    dir: PathBuf,
    manifest: Manifest,
    /// Media that many files are served from (ISO files): opened once.
    media: Mutex<BTreeMap<String, Arc<File>>>,
}

/// One file, ready to be sent: read `extents` one after the other with pread.
#[derive(Debug, Clone)]
pub struct Served {
    pub file: Arc<File>,
    /// (offset, length) in bytes; their lengths add up to `size`. One for most files, several for those of an
    /// ISO's multi-extent files; none for an empty file.
    pub extents: Vec<(u64, u64)>,
    pub size: u64,
    /// For the ETag: the content's own digest.
    pub sha256: Sha256,
}

impl Served {
    /// The extents that hold the bytes `from..to` of the file, as (offset, length) in `file`.
    pub fn range(&self, from: u64, to: u64) -> Vec<(u64, u64)> {
        let (mut out, mut start) = (Vec::new(), 0u64);
        for &(at, len) in &self.extents {
            let end = start.saturating_add(len);
            let (a, b) = (from.max(start), to.min(end));
            if a < b {
                out.push((at + (a - start), b - a));
            }
            start = end;
        }
        out
    }
}

impl Shelf {
    /// Opens the images folder `dir`. What is not sound is left out of the stock and reported; a missing folder is
    /// an empty shelf.
    pub fn open(dir: &Path) -> (Shelf, Stock, Vec<Problem>) {
        let (mut shelf, mut stock, mut problems) = (Shelf::default(), Stock::default(), Vec::new());
        for name in names(dir, &mut problems) {
            let folder = match Folder::open(&dir.join(&name)) {
                Ok(Some(folder)) => folder,
                Ok(None) => continue,
                Err(p) => {
                    problems.push(p);
                    continue;
                }
            };
            let damaged = folder.quick_check(&name);
            let mut stocked = folder.manifest.stocked();
            for (at, problem) in damaged {
                stocked.files.retain(|path, _| folder.manifest.files.get(path).is_some_and(|h| h.at != at));
                problems.push(problem);
            }
            if name == LOADERS {
                stock.loaders = stocked.files;
            } else {
                stock.images.insert(name.clone(), stocked);
            }
            shelf.folders.insert(name, folder);
        }
        (shelf, stock, problems)
    }

    /// The file `path` of `image`; `None` if there is none or it changed since it was verified (which is logged).
    pub fn file(&self, image: &str, path: &str) -> Option<Served> {
        if image == LOADERS {
            return None;
        }
        self.take(image, path)
    }

    /// A boot loader by its served name.
    pub fn loader(&self, name: &str) -> Option<Served> {
        self.take(LOADERS, name)
    }

    /// Names of the image folders (not of the loaders').
    pub fn images(&self) -> impl Iterator<Item = (&str, &Manifest)> {
        self.folders.iter().filter(|(n, _)| *n != LOADERS).map(|(n, f)| (n.as_str(), &f.manifest))
    }

    /// What the folder `name` (an image, or `loaders`) holds.
    pub fn manifest(&self, name: &str) -> Option<&Manifest> {
        self.folders.get(name).map(|f| &f.manifest)
    }

    fn take(&self, folder: &str, path: &str) -> Option<Served> {
        let folder_ = self.folders.get(folder)?;
        let held = folder_.manifest.files.get(path)?;
        match folder_.serve(held) {
            Ok(served) => Some(served),
            Err(why) => {
                tracing::error!(
                    image = folder,
                    file = path,
                    "not served: {why}; run `bootstead image verify {folder}`"
                );
                None
            }
        }
    }
}

impl Folder {
    /// `Ok(None)`: the folder has no manifest, so it is none of ours.
    fn open(dir: &Path) -> Result<Option<Folder>, Problem> {
        let path = dir.join(MANIFEST);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Problem::io("read", &path, &e)),
        };
        let manifest = Manifest::read(&text).map_err(|e| {
            Problem::environment(format!("{} cannot be used: {e}", path.display()))
                .help("remove the image with `bootstead image remove` and fetch or import it again")
        })?;
        Ok(Some(Folder { dir: dir.to_path_buf(), manifest, media: Mutex::default() }))
    }

    /// Compares size and time of every stored file with what was verified: stored file → its problem.
    fn quick_check(&self, name: &str) -> Vec<(String, Problem)> {
        let check = |(at, stored): (&String, &Stored)| {
            let path = self.dir.join(at);
            let problem = match std::fs::metadata(&path) {
                Ok(meta) => Problem::environment(format!(
                    "{} is not served: {}",
                    path.display(),
                    unchanged(&meta, stored).err()?
                )),
                Err(e) => Problem::io("look at", &path, &e),
            };
            let help =
                format!("run `bootstead image verify {name}`; fetch or import it again if it is damaged");
            Some((at.clone(), problem.help(help)))
        };
        self.manifest.stored.iter().filter_map(check).collect()
    }

    fn serve(&self, held: &Held) -> Result<Served, String> {
        let stored = self.manifest.stored.get(&held.at).ok_or("the manifest does not list it")?;
        let shared = !held.extents.is_empty();
        let cached = || self.media.lock().unwrap_or_else(|e| e.into_inner());
        let kept = shared.then(|| cached().get(&held.at).cloned()).flatten();
        let file = match kept {
            Some(file) => file,
            None => {
                let file = Arc::new(File::open(self.dir.join(&held.at)).map_err(|e| e.to_string())?);
                if shared {
                    cached().insert(held.at.clone(), file.clone());
                }
                file
            }
        };
        unchanged(&file.metadata().map_err(|e| e.to_string())?, stored)?;
        let extents = match (shared, held.size) {
            (true, _) => held.extents.iter().copied().filter(|e| e.1 > 0).collect(),
            (false, 0) => Vec::new(),
            (false, size) => vec![(0, size)],
        };
        Ok(Served { file, extents, size: held.size, sha256: held.sha256 })
    }
}

/// Whether a file looks as it did when it was verified.
fn unchanged(meta: &std::fs::Metadata, stored: &Stored) -> Result<(), String> {
    if meta.len() != stored.size {
        return Err(format!("it has {} bytes, {} were verified", meta.len(), stored.size));
    }
    if mtime_ns(meta) != stored.mtime_ns {
        return Err("it was changed since it was verified".to_string());
    }
    Ok(())
}

/// Modification time in nanoseconds since 1970.
fn mtime_ns(meta: &std::fs::Metadata) -> i64 {
    meta.mtime().saturating_mul(1_000_000_000).saturating_add(meta.mtime_nsec())
}

/// Folder names in `dir` that may be images, sorted.
fn names(dir: &Path, problems: &mut Vec<Problem>) -> Vec<String> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) => {
            if e.kind() != std::io::ErrorKind::NotFound {
                problems.push(Problem::io("read the folder", dir, &e));
            }
            return Vec::new();
        }
    };
    let mut names: Vec<String> = entries
        .filter_map(|e| e.ok()?.file_name().into_string().ok())
        .filter(|n| crate::images::manifest::is_image_name(n))
        .collect();
    names.sort();
    names
}

#[cfg(test)]
mod import_tests;
#[cfg(test)]
mod tests;
