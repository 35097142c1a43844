//! Owns the files that nodes bring for a backup, and those that they fetch to bring it back: appended piece by piece, judged by the digest that the node says, and
//! under their own name only when whole. Only the server's account reads them.

use crate::api::{Collected, PIECE_BYTES};
use crate::base::digest::Hasher;
use crate::disk;
use crate::problem::Problem;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Where what the looks of one number collected lies.
pub fn folder(state: &Path, look: u64) -> PathBuf {
    state.join("collected").join(look.to_string())
}

/// The file of one node and one part. Both names come from the site and its parts: they are file names.
pub fn path(state: &Path, look: u64, node: &str, id: &str) -> PathBuf {
    let part = id.split('.').next().unwrap_or_default();
    folder(state, look).join(format!("{node}-{part}.tar.gz"))
}

fn begun(path: &Path) -> PathBuf {
    path.with_extension("part")
}

/// Puts a piece at the end of what is there; a first piece begins anew.
pub fn append(path: &Path, at: u64, bytes: &[u8]) -> Result<(), Problem> {
    let begun = begun(path);
    disk::make_folder(path.parent().unwrap_or(Path::new(".")), 0o700)?;
    let mut options = std::fs::OpenOptions::new();
    options.create(true).mode(0o600);
    if at == 0 {
        options.write(true).truncate(true)
    } else {
        options.append(true)
    };
    let io = |e: std::io::Error| Problem::io("write", &begun, &e);
    let mut file = options.open(&begun).map_err(io)?;
    let length = file.metadata().map_err(io)?.len();
    if length != at {
        let name = begun.display();
        return Err(Problem::environment(format!("{name} has {length} bytes, and a piece for {at} came")));
    }
    file.write_all(bytes).map_err(io)
}

/// Takes it for whole if it is what the node says it sent.
pub fn finish(path: &Path, said: &str) -> Result<(), Problem> {
    let begun = begun(path);
    let said: Collected = serde_json::from_str(said)
        .map_err(|_| Problem::environment("what the node says of its file cannot be read"))?;
    if measure(&begun)? != said {
        return Err(Problem::environment("the file that arrived is not the one that the node sent"));
    }
    let io = |e: std::io::Error| Problem::io("read", &begun, &e);
    let file = std::fs::File::open(&begun).map_err(io)?;
    file.sync_all().map_err(io)?;
    std::fs::rename(&begun, path).map_err(|e| Problem::io("put into place", path, &e))
}

/// Size and digest of a file.
pub fn measure(path: &Path) -> Result<Collected, Problem> {
    let io = |e: std::io::Error| Problem::io("read", path, &e);
    let mut file = std::fs::File::open(path).map_err(io)?;
    let (mut hasher, mut bytes, mut buffer) = (Hasher::new(), 0, vec![0; 1 << 16]);
    loop {
        match file.read(&mut buffer).map_err(io)? {
            0 => return Ok(Collected { bytes, sha256: hasher.finish() }),
            n => {
                hasher.update(&buffer[..n]);
                bytes += n as u64;
            }
        }
    }
}

/// Where archives lie that nodes are to bring back.
pub fn back_folder(state: &Path) -> PathBuf {
    state.join("bring-back")
}

/// The one of one node and one part.
pub fn back(state: &Path, node: &str, part: &str) -> PathBuf {
    back_folder(state).join(format!("{node}-{part}.tar.gz"))
}

/// Lays a backup's archive where the server finds it; only its owner reads it.
pub fn lay(from: &Path, to: &Path) -> Result<(), Problem> {
    disk::make_folder(to.parent().unwrap_or(Path::new(".")), 0o700)?;
    let mut source = std::fs::File::open(from).map_err(|e| Problem::io("read", from, &e))?;
    let mut options = std::fs::OpenOptions::new();
    let made = options.create(true).write(true).truncate(true).mode(0o600).open(to);
    let copied = made.and_then(|mut target| std::io::copy(&mut source, &mut target));
    copied.map(drop).map_err(|e| Problem::io("write", to, &e))
}

/// A piece of it; empty at its end.
pub fn piece(path: &Path, at: u64) -> Result<Vec<u8>, Problem> {
    let io = |e: std::io::Error| Problem::io("read", path, &e);
    let mut file = std::fs::File::open(path).map_err(io)?;
    file.seek(SeekFrom::Start(at)).map_err(io)?;
    let mut piece = Vec::with_capacity(PIECE_BYTES);
    file.take(PIECE_BYTES as u64).read_to_end(&mut piece).map_err(io)?;
    Ok(piece)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Sha256;

    #[test]
    fn only_what_was_sent_whole_is_taken() {
        let dir = std::env::temp_dir().join(format!("bs-collected-{}", std::process::id()));
        let path = path(&dir, 7, "ctl1", "galera.backup");
        append(&path, 0, b"lost").unwrap();
        append(&path, 0, b"abc").unwrap();
        append(&path, 3, b"def").unwrap();
        assert!(append(&path, 2, b"x").unwrap_err().what.contains("has 6 bytes"));
        let said = |bytes: u64, text: &[u8]| {
            serde_json::to_string(&Collected { bytes, sha256: Sha256::of(text) }).unwrap()
        };
        assert!(finish(&path, &said(6, b"abcdeX")).is_err() && !path.exists());
        finish(&path, &said(6, b"abcdef")).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"abcdef");
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
