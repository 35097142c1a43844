//! Owns cutting a raw disk into pieces: `root.img`, and the list of pieces for `root.json`.

use crate::base::Sha256;
use crate::base::digest::Hasher;
use crate::problem::Problem;
use crate::system::manifest::{FORMAT, Manifest, PIECE, Piece};
use flate2::Compression;
use flate2::write::GzEncoder;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// Zeros are looked for in blocks of this size.
const BLOCK: usize = 64 * 1024;
/// MiB that are compressed at the same time.
const BATCH: u64 = 64;

/// Cuts the disk `raw` into pieces, writes them to `data`. The caller fills in the manifest's names.
pub fn pack(raw: &Path, data: &Path) -> Result<Manifest, Problem> {
    let input = File::open(raw).map_err(|e| Problem::io("open", raw, &e))?;
    let raw_size = input.metadata().map_err(|e| Problem::io("read", raw, &e))?.len();
    let mut output = File::create(data).map_err(|e| Problem::io("make", data, &e))?;
    let (mut pieces, mut hasher, mut stored_size) = (Vec::new(), Hasher::new(), 0u64);
    let windows: Vec<u64> = (0..raw_size.div_ceil(PIECE)).collect();
    for batch in windows.chunks(BATCH as usize) {
        let packed = pack_batch(&input, raw_size, batch).map_err(|e| Problem::io("read", raw, &e))?;
        for (piece, bytes) in packed {
            output.write_all(&bytes).map_err(|e| Problem::io("write", data, &e))?;
            hasher.update(&bytes);
            stored_size += piece.stored;
            pieces.push(piece);
        }
    }
    output.sync_all().map_err(|e| Problem::io("write", data, &e))?;
    Ok(Manifest {
        format: FORMAT,
        image: String::new(),
        about: String::new(),
        built: String::new(),
        raw_size,
        stored_size,
        stored_sha256: hasher.finish(),
        root_partition: 0,
        pieces,
    })
}

/// Packs some windows of one MiB, on all processors, in order.
fn pack_batch(input: &File, size: u64, batch: &[u64]) -> io::Result<Vec<(Piece, Vec<u8>)>> {
    let workers = std::thread::available_parallelism().map_or(1, |n| n.get());
    let share = batch.len().div_ceil(workers).max(1);
    std::thread::scope(|scope| {
        let threads: Vec<_> = batch
            .chunks(share)
            .map(|windows| {
                scope.spawn(move || {
                    let mut out = Vec::new();
                    for window in windows {
                        out.extend(pack_window(input, size, window * PIECE)?);
                    }
                    io::Result::Ok(out)
                })
            })
            .collect();
        let mut all = Vec::new();
        for thread in threads {
            all.extend(thread.join().map_err(|_| io::Error::other("a worker failed"))??);
        }
        Ok(all)
    })
}

/// The pieces of one window: runs of blocks that are not all zero.
fn pack_window(input: &File, size: u64, at: u64) -> io::Result<Vec<(Piece, Vec<u8>)>> {
    let mut window = vec![0u8; PIECE.min(size - at) as usize];
    input.read_exact_at(&mut window, at)?;
    let (mut out, mut begin) = (Vec::new(), None);
    for start in (0..=window.len()).step_by(BLOCK) {
        let block = window.get(start..(start + BLOCK).min(window.len())).unwrap_or(&[]);
        let zero = block.iter().all(|b| *b == 0);
        match (begin, zero) {
            (None, false) => begin = Some(start),
            (Some(from), true) => {
                out.push(pack_piece(&window[from..start], at + from as u64)?);
                begin = None;
            }
            _ => {}
        }
    }
    if let Some(from) = begin {
        out.push(pack_piece(&window[from..], at + from as u64)?);
    }
    Ok(out)
}

fn pack_piece(raw: &[u8], at: u64) -> io::Result<(Piece, Vec<u8>)> {
    let mut gz = GzEncoder::new(Vec::with_capacity(raw.len() / 2), Compression::default());
    gz.write_all(raw)?;
    let bytes = gz.finish()?;
    Ok((Piece { at, len: raw.len() as u64, stored: bytes.len() as u64, sha256: Sha256::of(raw) }, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Read as _;

    /// A disk made again from pieces.
    fn unpack(manifest: &Manifest, data: &[u8]) -> Vec<u8> {
        let mut disk = vec![0u8; manifest.raw_size as usize];
        let mut from = 0;
        for p in &manifest.pieces {
            let mut raw = Vec::new();
            let packed = &data[from..from + p.stored as usize];
            flate2::read::GzDecoder::new(packed).read_to_end(&mut raw).unwrap();
            assert_eq!(Sha256::of(&raw), p.sha256);
            disk[p.at as usize..(p.at + p.len) as usize].copy_from_slice(&raw);
            from += p.stored as usize;
        }
        disk
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn pieces_give_the_disk_back(
            spots in proptest::collection::vec((0usize..4 << 20, 1usize..200_000), 0..6), nonce in any::<u64>(),
        ) {
            let mut disk = vec![0u8; 4 << 20];
            disk[0] = 1;
            for (at, len) in spots {
                let end = (at + len).min(disk.len());
                disk[at..end].fill(at as u8);
            }
            let folder = std::env::temp_dir().join(format!("bootstead-pack-{}-{nonce}", std::process::id()));
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("raw"), &disk).unwrap();
            let manifest = pack(&folder.join("raw"), &folder.join("data")).unwrap();
            let data = std::fs::read(folder.join("data")).unwrap();
            std::fs::remove_dir_all(&folder).unwrap();
            manifest.check().unwrap();
            prop_assert_eq!(Sha256::of(&data), manifest.stored_sha256);
            prop_assert!(unpack(&manifest, &data) == disk);
        }
    }
}
