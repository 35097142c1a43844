//! Owns `image verify`: reads every stored byte again and compares it with what was verified at first.

use super::{MANIFEST, publish};
use crate::base::Sha256;
use crate::base::digest::Hasher;
use crate::images::{Held, Manifest};
use crate::problem::Problem;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// Re-hashes the folder `name` of `images`; every damaged file is a problem that names it.
///
/// A file that is sound but was touched (copied, restored from a backup) is accepted again from then on.
pub fn verify(images: &Path, name: &str, watch: &mut dyn FnMut(u64)) -> Result<Vec<Problem>, Problem> {
    let dir = images.join(name);
    let path = dir.join(MANIFEST);
    let text = std::fs::read_to_string(&path).map_err(|e| Problem::io("read", &path, &e))?;
    let mut manifest = Manifest::read(&text)
        .map_err(|e| Problem::environment(format!("{} cannot be used: {e}", path.display())))?;
    let (mut problems, mut touched) = (Vec::new(), false);
    for (at, known) in &mut manifest.stored {
        let path = dir.join(at);
        let found = match publish::stored(&path, watch) {
            Ok(found) => found,
            Err(p) => {
                problems.push(p);
                continue;
            }
        };
        if (found.size, found.sha256) != (known.size, known.sha256) {
            problems.push(damaged(&path, &known.sha256, &found.sha256, name));
        } else if found.mtime_ns != known.mtime_ns {
            known.mtime_ns = found.mtime_ns;
            touched = true;
        }
    }
    if !problems.is_empty() {
        problems.extend(inner_damage(&dir, &manifest, name));
    }
    if touched {
        let text = serde_json::to_string_pretty(&manifest).map_err(|e| Problem::fault(e.to_string()))?;
        let new = dir.join("manifest.json.new");
        std::fs::write(&new, text + "\n")
            .and_then(|()| File::open(&new)?.sync_all())
            .and_then(|()| std::fs::rename(&new, &path))
            .map_err(|e| Problem::io("write", &path, &e))?;
    }
    Ok(problems)
}

fn damaged(path: &Path, expected: &Sha256, found: &Sha256, name: &str) -> Problem {
    Problem::environment(format!("{} is damaged", path.display()))
        .why(format!("its sha256 is {}…, {}… was verified", found.short(), expected.short()))
        .help(format!("fetch or import {name} again; it replaces the damaged image as a whole"))
}

/// For a damaged medium: which of the files inside it are damaged.
fn inner_damage(dir: &Path, manifest: &Manifest, name: &str) -> Vec<Problem> {
    let inside = manifest.files.iter().filter(|(_, h)| !h.extents.is_empty());
    let check = |(path, held): (&String, &Held)| {
        let file = File::open(dir.join(&held.at)).ok()?;
        let found = digest_of(&file, &held.extents, &mut |_| ()).unwrap_or_else(|_| Sha256::of(b""));
        (found != held.sha256).then(|| {
            damaged(
                Path::new(&format!("{}:/{path}", dir.join(&held.at).display())),
                &held.sha256,
                &found,
                name,
            )
        })
    };
    inside.filter_map(check).collect()
}

/// The digest of the bytes at `extents` of `file`.
pub fn digest_of(file: &File, extents: &[(u64, u64)], watch: &mut dyn FnMut(u64)) -> std::io::Result<Sha256> {
    let (mut hasher, mut buffer) = (Hasher::new(), vec![0u8; 1 << 18]);
    for &(mut at, mut left) in extents {
        while left > 0 {
            let n = left.min(buffer.len() as u64) as usize;
            file.read_exact_at(&mut buffer[..n], at)?;
            hasher.update(&buffer[..n]);
            watch(n as u64);
            at += n as u64;
            left -= n as u64;
        }
    }
    Ok(hasher.finish())
}
