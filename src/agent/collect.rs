//! Owns collecting: a script's files packed into one archive, and how it goes to the server in pieces.

use super::apply::{Done, Failed};
use super::client::{Client, Lost};
use super::host::Host;
use super::shell::{run as run_command, script};
use crate::api::{self, Collected, PIECE_BYTES};
use crate::base::digest::Hasher;
use crate::problem::reason;
use crate::steps::Run;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Runs the script with `$DIR` and packs what it wrote there. Only root reads it, on its way too.
pub fn collect(host: &Host, step: &Run, limit: Duration) -> Result<Done, Failed> {
    let folder = Folder::make(host.memory.folder(), COLLECT)?;
    let mut env = step.env.clone();
    let files = folder.0.join("files");
    crate::disk::make_folder(&files, 0o700)?;
    env.insert("DIR".to_string(), files.display().to_string());
    script(host, &step.script, &env, None, limit)?.well("the script")?;
    // The archive outlives this call: beside the folder, which does not.
    let archive = folder.0.with_extension("tar.gz");
    let kept = Gone(archive.clone());
    let made = std::fs::OpenOptions::new().write(true).create_new(true).open(&archive);
    made.and_then(|f| f.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600)))
        .map_err(|e| Failed::io("make", &archive, &e))?;
    let mut tar = Command::new("tar");
    tar.arg("-czf").arg(&archive).arg("-C").arg(&files).arg(".");
    run_command(tar, "tar", limit)?.well("tar")?;
    let collected = read(&archive)?;
    let output = serde_json::to_string(&collected).map_err(|e| Failed::new(e.to_string()))?;
    std::mem::forget(kept);
    Ok(Done { output, file: Some(archive), ..Done::default() })
}

/// Size and digest of a file.
fn read(path: &Path) -> Result<Collected, Failed> {
    let mut file = std::fs::File::open(path).map_err(|e| Failed::io("read", path, &e))?;
    let (mut hasher, mut bytes) = (Hasher::new(), 0);
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer).map_err(|e| Failed::io("read", path, &e))? {
            0 => return Ok(Collected { bytes, sha256: hasher.finish() }),
            n => {
                hasher.update(&buffer[..n]);
                bytes += n as u64;
            }
        }
    }
}

/// Sends it, from its beginning: what a lost server had of it is replaced.
pub async fn send(client: &mut Client, path: &Path, look: u64, id: &str) -> Result<(), Lost> {
    let here = |e: std::io::Error| Lost::Here(format!("cannot read {}: {}", path.display(), reason(&e)));
    let mut file = std::fs::File::open(path).map_err(here)?;
    let mut at = 0;
    loop {
        let mut piece = Vec::with_capacity(PIECE_BYTES);
        (&mut file).take(PIECE_BYTES as u64).read_to_end(&mut piece).map_err(here)?;
        if piece.is_empty() {
            return Ok(());
        }
        let size = piece.len() as u64;
        client.send(&format!("{}?look={look}&id={id}&at={at}", api::PIECE), piece).await?;
        at += size;
    }
}

/// How folders of what is collected and of what is brought back begin.
const COLLECT: &str = "collect-";
pub const BRING_BACK: &str = "bring-back-";

/// Removes what an agent that was killed left behind: it may be a dump of everything.
pub fn tidy(state: &Path) {
    for entry in std::fs::read_dir(state).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let ours = |word: &str| name.to_string_lossy().starts_with(word);
        if ours(COLLECT) || ours(BRING_BACK) {
            let path = entry.path();
            let _ = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
        }
    }
}

/// A folder that goes with the value; only its owner reads it.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn make(state: &Path, word: &str) -> Result<Folder, Failed> {
        static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let n = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let state = std::path::absolute(state).map_err(|e| Failed::io("find", state, &e))?;
        let path = state.join(format!("{word}{}-{n}", std::process::id()));
        crate::disk::make_folder(&path, 0o700)?;
        Ok(Folder(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A file that goes with the value, unless somebody else takes it over.
struct Gone(PathBuf);

impl Drop for Gone {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
