//! Owns an image in the making: its folder `.work/NAME/stage` and what will be served from it.

use super::progress::Progress;
use super::publish;
use crate::base::Sha256;
use crate::images::manifest::FORMAT;
use crate::images::{Held, Manifest};
use crate::problem::Problem;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// An image that is being made.
pub struct Stage {
    pub images: PathBuf,
    pub name: String,
    /// `.work/NAME`: caches beside the stage.
    pub work: PathBuf,
    /// What will become the image's folder.
    pub dir: PathBuf,
    pub origin: BTreeMap<String, String>,
    pub gaps: Vec<String>,
    /// Stored file → the digest it must have (none: whatever it has now is the truth, for files made here).
    stored: BTreeMap<String, Option<Sha256>>,
    /// Served path → stored file.
    served: BTreeMap<String, String>,
    _claim: publish::Claim,
}

impl Stage {
    /// Begins, or goes on with what an earlier try left.
    pub fn open(images: &Path, name: &str) -> Result<Stage, Problem> {
        let work = publish::work_dir(images, name)?;
        let claim = publish::claim(images, name)?;
        let dir = work.join("stage");
        fs::create_dir_all(&dir).map_err(|e| Problem::io("make the folder", &dir, &e))?;
        Ok(Stage {
            images: images.to_path_buf(),
            name: name.to_string(),
            work,
            dir,
            origin: BTreeMap::new(),
            gaps: Vec::new(),
            stored: BTreeMap::new(),
            served: BTreeMap::new(),
            _claim: claim,
        })
    }

    /// Declares the staged file `path`: it is served under its own path, once its digest is checked.
    pub fn add(&mut self, path: &str, sha256: Option<Sha256>) {
        self.stored.insert(path.to_string(), sha256);
        self.served.insert(path.to_string(), path.to_string());
    }

    /// Serves the staged file `at` under `path` as well.
    pub fn alias(&mut self, path: &str, at: &str) {
        self.served.insert(path.to_string(), at.to_string());
    }

    /// Writes a file made here.
    pub fn write(&mut self, path: &str, bytes: &[u8]) -> Result<(), Problem> {
        let to = self.dir.join(path);
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent).map_err(|e| Problem::io("make the folder", parent, &e))?;
        }
        // Never through a hard link into the published image.
        let _ = fs::remove_file(&to);
        fs::write(&to, bytes).map_err(|e| Problem::io("write", &to, &e))?;
        self.add(path, Some(Sha256::of(bytes)));
        Ok(())
    }

    /// Takes a file that the published image has already (same path, same size) into the stage, without copying.
    pub fn reuse(&self, path: &str, size: u64) {
        let (old, new) = (self.images.join(&self.name).join(path), self.dir.join(path));
        if new.exists() || fs::metadata(&old).map_or(true, |m| m.len() != size) {
            return;
        }
        if let Some(parent) = new.parent() {
            let _ = fs::create_dir_all(parent);
        }
        // Only a shortcut: where it fails, the file is downloaded.
        let _ = fs::hard_link(&old, &new);
    }

    /// Reads every file once more, compares it with its digest, and publishes the image.
    pub fn publish(self) -> Result<Manifest, Problem> {
        let size = |path: &String| fs::metadata(self.dir.join(path)).map_or(0, |m| m.len());
        let mut progress = Progress::new("verifying", self.stored.keys().map(size).sum());
        let mut manifest = Manifest {
            format: FORMAT,
            origin: self.origin.clone(),
            gaps: self.gaps.clone(),
            ..Manifest::default()
        };
        for (path, expected) in &self.stored {
            let stored = publish::stored(&self.dir.join(path), &mut |n| progress.add(n))?;
            if expected.is_some_and(|sha256| sha256 != stored.sha256) {
                let path = self.dir.join(path);
                let _ = fs::remove_file(&path);
                return Err(Problem::environment(format!("{} is damaged", path.display()))
                    .why("what was read back from the disk is not what was verified when it arrived")
                    .help("check the disk, then run the same command again"));
            }
            manifest.stored.insert(path.clone(), stored);
        }
        progress.finish();
        for (path, at) in &self.served {
            if let Some(stored) = manifest.stored.get(at) {
                let held =
                    Held { size: stored.size, sha256: stored.sha256, at: at.clone(), extents: Vec::new() };
                manifest.files.insert(path.clone(), held);
            }
        }
        self.sweep(&self.dir, &manifest)?;
        publish::publish(&self.images, &self.name, &self.dir, &manifest)?;
        publish::clear(&self.work)?;
        Ok(manifest)
    }

    /// Removes what earlier tries left in the stage and nobody declared.
    fn sweep(&self, dir: &Path, manifest: &Manifest) -> Result<(), Problem> {
        let failed = |e: std::io::Error| Problem::io("read the folder", dir, &e);
        for entry in fs::read_dir(dir).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.is_dir() {
                self.sweep(&path, manifest)?;
            } else if let Ok(below) = path.strip_prefix(&self.dir)
                && !below.to_str().is_some_and(|p| manifest.stored.contains_key(p))
            {
                fs::remove_file(&path).map_err(|e| Problem::io("remove", &path, &e))?;
            }
        }
        Ok(())
    }
}
