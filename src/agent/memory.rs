//! Owns what the agent must not forget: the newest plan it saw, and which files changed since a service was started.

use crate::base::Sha256;
use crate::disk;
use crate::problem::Problem;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

#[derive(Debug, Default, Serialize, Deserialize)]
struct Kept {
    generation: u32,
    /// Counts every change of a file.
    count: u64,
    /// The count when a file was last changed, by its path.
    files: BTreeMap<String, u64>,
    /// The count when a service was last (re)started, by its name.
    services: BTreeMap<String, u64>,
    /// What was in a service's files then, by service and path.
    #[serde(default)]
    content: BTreeMap<String, BTreeMap<String, Sha256>>,
}

/// Written to disk before what it says is done: a killed agent restarts a service too often, never too seldom.
pub struct Memory {
    path: PathBuf,
    kept: Mutex<Kept>,
}

impl Memory {
    pub fn open(state: &Path) -> Result<Memory, Problem> {
        let path = state.join("memory.json");
        let kept = if path.exists() {
            serde_json::from_str(&disk::read_text(&path)?).map_err(|e| {
                Problem::environment(format!("{} is damaged: {e}", path.display()))
                    .help("remove it; the agent then restarts the services that it keeps, once")
            })?
        } else {
            Kept::default()
        };
        Ok(Memory { path, kept: Mutex::new(kept) })
    }

    /// The agent's own folder: only root reads what lies there.
    pub fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("/"))
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn write(&self, kept: &Kept) -> Result<(), Problem> {
        let text = serde_json::to_string(kept).map_err(|e| Problem::fault(e.to_string()))?;
        disk::write(&self.path, text.as_bytes(), 0o600)
    }

    /// The newest plan ever seen: an older one is never worked for.
    pub fn generation(&self) -> u32 {
        self.lock().generation
    }

    pub fn saw(&self, generation: u32) -> Result<(), Problem> {
        let mut kept = self.lock();
        if generation > kept.generation {
            kept.generation = generation;
            self.write(&kept)?;
        }
        Ok(())
    }

    /// A file is about to be changed.
    pub fn file(&self, path: &str) -> Result<(), Problem> {
        let mut kept = self.lock();
        kept.count += 1;
        let count = kept.count;
        kept.files.insert(path.to_string(), count);
        self.write(&kept)
    }

    /// The files among these that changed since the service was started, by whose hand ever; and where the count is
    /// now. `now` reads a file.
    pub fn stale(
        &self,
        service: &str,
        files: &[String],
        now: &dyn Fn(&str) -> Option<Sha256>,
    ) -> (Vec<String>, u64) {
        let kept = self.lock();
        let started = kept.services.get(service).copied().unwrap_or(0);
        let then = kept.content.get(service);
        let newer = |f: &&String| {
            kept.files.get(*f).is_some_and(|c| *c > started)
                || then.and_then(|t| t.get(*f)).is_some_and(|was| now(f).as_ref() != Some(was))
        };
        (files.iter().filter(newer).cloned().collect(), kept.count)
    }

    /// The service runs with its files as they were when the count was `count`.
    pub fn started(
        &self,
        service: &str,
        count: u64,
        content: BTreeMap<String, Sha256>,
    ) -> Result<(), Problem> {
        let mut kept = self.lock();
        let mut known = kept.content.get(service).cloned().unwrap_or_default();
        known.extend(content);
        if kept.services.get(service) == Some(&count) && kept.content.get(service) == Some(&known) {
            return Ok(());
        }
        kept.services.insert(service.to_string(), count);
        kept.content.insert(service.to_string(), known);
        self.write(&kept)
    }
}
