//! Owns `Manifest`: what one image's folder on the shelf holds, as it was verified when it was published.

use super::{Piece, Stocked};
use crate::base::Sha256;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The number of this format; a folder of another one is not served.
pub const FORMAT: u32 = 1;

/// `STATE/images/NAME/manifest.json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    pub format: u32,
    /// What it was made of, for people: packages with versions, the ISO's own name, the mirror's URL and release.
    pub origin: BTreeMap<String, String>,
    /// Path below `/images/NAME/` → what is served there.
    pub files: BTreeMap<String, Held>,
    /// Stored file (path in the image's folder) → what it looked like when it was verified.
    pub stored: BTreeMap<String, Stored>,
    /// What is known to be missing, for people: such an image can be of use, but not for everything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gaps: Vec<String>,
}

/// One served file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Held {
    pub size: u64,
    pub sha256: Sha256,
    /// The stored file that it lies in: a key of `Manifest::stored`.
    pub at: String,
    /// Where in it, as (offset, length) in bytes, in order; empty: the whole stored file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extents: Vec<(u64, u64)>,
}

/// One file on disk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stored {
    pub size: u64,
    /// Modification time, in nanoseconds since 1970: with the size, the quick sign that nobody touched it.
    pub mtime_ns: i64,
    pub sha256: Sha256,
}

impl Manifest {
    /// Reads a manifest; refuses one whose paths or extents could lead anywhere else.
    pub fn read(text: &str) -> Result<Manifest, String> {
        let manifest: Manifest = serde_json::from_str(text).map_err(|e| e.to_string())?;
        if manifest.format != FORMAT {
            return Err(format!("it has format {}, this program reads {FORMAT}", manifest.format));
        }
        for path in manifest.stored.keys().chain(manifest.files.keys()) {
            if !is_safe_path(path) {
                return Err(format!("the path {path:?} is not allowed"));
            }
        }
        for (path, held) in &manifest.files {
            let Some(stored) = manifest.stored.get(&held.at) else {
                return Err(format!("{path} lies in {}, which is not listed", held.at));
            };
            let inside = |&(at, len): &(u64, u64)| at.checked_add(len).is_some_and(|end| end <= stored.size);
            if !held.extents.iter().all(inside) {
                return Err(format!("{path} reaches past the end of {}", held.at));
            }
            let sum = match held.extents.is_empty() {
                true => stored.size,
                false => held.extents.iter().map(|e| e.1).fold(0, u64::saturating_add),
            };
            if sum != held.size {
                return Err(format!("{path} has {} bytes but its place has {sum}", held.size));
            }
        }
        Ok(manifest)
    }

    /// What the boot decision sees of it.
    pub fn stocked(&self) -> Stocked {
        let piece = |h: &Held| Piece { size: h.size, sha256: h.sha256 };
        let files = self.files.iter().map(|(p, h)| (p.clone(), piece(h))).collect();
        Stocked { files, gaps: self.gaps.clone() }
    }

    /// Bytes on disk.
    pub fn bytes(&self) -> u64 {
        self.stored.values().map(|s| s.size).sum()
    }
}

/// Whether `path` is relative, with neither `.` nor `..` nor empty components, nor control characters.
pub fn is_safe_path(path: &str) -> bool {
    !path.is_empty()
        && path.split('/').all(|c| !matches!(c, "" | "." | "..") && !c.chars().any(char::is_control))
}

/// Whether `name` can name an image: one path component of letters, digits, `.`, `_`, `-`, not beginning with a dot.
pub fn is_image_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && !name.starts_with(['.', '-'])
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(at: &str, extents: Vec<(u64, u64)>, size: u64) -> Manifest {
        let sha256 = Sha256::of(b"x");
        Manifest {
            format: FORMAT,
            files: [("linux".to_string(), Held { size, sha256, at: at.to_string(), extents })].into(),
            stored: [(at.to_string(), Stored { size: 10, mtime_ns: 0, sha256 })].into(),
            ..Manifest::default()
        }
    }

    #[test]
    fn a_manifest_that_leads_elsewhere_is_refused() {
        let read = |m: &Manifest| Manifest::read(&serde_json::to_string(m).unwrap());
        let good = one("media.iso", vec![(2, 3), (5, 5)], 8);
        assert_eq!(read(&good).unwrap(), good);
        assert!(read(&one("../../etc/shadow", vec![], 10)).is_err());
        assert!(read(&one("/etc/shadow", vec![], 10)).is_err());
        assert!(read(&one("media.iso", vec![(2, 9)], 9)).is_err());
        assert!(read(&one("media.iso", vec![(u64::MAX, 9)], 9)).is_err());
        assert!(read(&one("media.iso", vec![(0, 3)], 4)).is_err());
        assert!(read(&Manifest { format: 2, ..good }).is_err());
    }

    #[test]
    fn image_names_are_path_components() {
        assert!(is_image_name("el9") && is_image_name("fedora-coreos") && is_image_name("a.b_c"));
        for bad in ["", ".", "..", ".work", "a/b", "a b", "é", "-x", "a\0"] {
            assert!(!is_image_name(bad), "{bad:?}");
        }
    }
}
