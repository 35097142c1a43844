//! Owns `Manifest`: what a prepared root consists of, piece by piece; written by `build`, read on the blank machine.
//!
//! `root.json` is the manifest, `root.img` beside it holds the pieces one after another, each a gzip member of its
//! own. What no piece covers is zero and does not travel. Every piece carries the digest of its raw bytes, so a
//! damaged byte is found before it reaches the disk and again when the disk is read back.

use crate::base::Sha256;
use serde::{Deserialize, Serialize};

/// The only format there is.
pub const FORMAT: u32 = 1;
/// The largest piece, in raw bytes. A piece never crosses a multiple of this.
pub const PIECE: u64 = 1 << 20;
/// Name of the data file beside the manifest.
pub const DATA_FILE: &str = "root.img";

/// A prepared root.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    pub format: u32,
    /// The image that it was built from (`debian12`).
    pub image: String,
    /// What is inside, for people: suite, kernel.
    pub about: String,
    /// RFC 3339.
    pub built: String,
    /// Bytes on the disk: partition table to backup partition table.
    pub raw_size: u64,
    /// Bytes of `root.img`.
    pub stored_size: u64,
    /// Digest of `root.img`.
    pub stored_sha256: Sha256,
    /// Number of the root partition, from 1: it is the last one and grows to the disk's end.
    pub root_partition: u32,
    /// Sorted by `at`.
    pub pieces: Vec<Piece>,
}

/// Bytes that are not all zero.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Piece {
    /// Offset on the disk.
    pub at: u64,
    /// Raw bytes.
    pub len: u64,
    /// Compressed bytes in `root.img`.
    pub stored: u64,
    /// Digest of the raw bytes.
    pub sha256: Sha256,
}

impl Manifest {
    /// Reads and checks a manifest; the error is a sentence's end ("…").
    pub fn read(bytes: &[u8]) -> Result<Manifest, String> {
        let manifest: Manifest = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        manifest.check()?;
        Ok(manifest)
    }

    /// Whether everything fits together, so that a writer can trust it.
    pub fn check(&self) -> Result<(), String> {
        if self.format != FORMAT {
            return Err(format!("its format is {}, this program reads {FORMAT}", self.format));
        }
        let (mut end, mut stored) = (0u64, 0u64);
        for (i, p) in self.pieces.iter().enumerate() {
            let fits = p.len > 0
                && p.len <= PIECE
                && p.at % 4096 == 0
                && p.len % 4096 == 0
                && p.at / PIECE == (p.at + p.len - 1) / PIECE
                && p.stored <= 2 * PIECE
                && p.at >= end;
            if !fits {
                return Err(format!("piece {i} at byte {} does not fit", p.at));
            }
            end = p.at + p.len;
            stored += p.stored;
        }
        if end > self.raw_size || stored != self.stored_size || !self.raw_size.is_multiple_of(PIECE) {
            return Err("its sizes do not add up".to_string());
        }
        if self.pieces.first().is_none_or(|p| p.at != 0) {
            return Err("it has no partition table".to_string());
        }
        Ok(())
    }

    /// Raw bytes in pieces: what is really written and read back.
    pub fn data_bytes(&self) -> u64 {
        self.pieces.iter().map(|p| p.len).sum()
    }

    /// The stretches that no piece covers, as (offset, length).
    pub fn gaps(&self) -> Vec<(u64, u64)> {
        let (mut out, mut end) = (Vec::new(), 0);
        for p in &self.pieces {
            if p.at > end {
                out.push((end, p.at - end));
            }
            end = p.at + p.len;
        }
        if self.raw_size > end {
            out.push((end, self.raw_size - end));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(at: u64, len: u64) -> Piece {
        Piece { at, len, stored: 10, sha256: Sha256::of(b"") }
    }

    fn manifest(pieces: Vec<Piece>) -> Manifest {
        Manifest {
            format: FORMAT,
            image: "debian12".into(),
            about: String::new(),
            built: String::new(),
            raw_size: 4 * PIECE,
            stored_size: 10 * pieces.len() as u64,
            stored_sha256: Sha256::of(b""),
            root_partition: 3,
            pieces,
        }
    }

    #[test]
    fn pieces_and_gaps_cover_the_disk_exactly_once() {
        let m = manifest(vec![piece(0, 4096), piece(8192, 4096), piece(PIECE, PIECE)]);
        m.check().unwrap();
        assert_eq!(m.gaps(), [(4096, 4096), (12288, PIECE - 12288), (2 * PIECE, 2 * PIECE)]);
        let gaps: u64 = m.gaps().iter().map(|g| g.1).sum();
        assert_eq!(gaps + m.data_bytes(), m.raw_size);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for bad in [
            vec![],
            vec![piece(4096, 4096)],
            vec![piece(0, 4096), piece(0, 4096)],
            vec![piece(0, 100)],
            vec![piece(0, 2 * PIECE)],
            vec![piece(0, 4096), piece(PIECE - 4096, 8192)],
            vec![piece(0, 4096), piece(4 * PIECE, 4096)],
        ] {
            assert!(manifest(bad.clone()).check().is_err(), "{bad:?}");
        }
        assert!(Manifest::read(b"{").is_err());
    }
}
