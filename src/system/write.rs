//! Owns writing a prepared root to the chosen disk: fetched piece by piece, hashed before and read back after.
//!
//! Order, so that a power cut at any moment leaves a disk that does not boot something half-written: old tables are
//! blanked at both ends and the marker is set; everything behind the first MiB is written and read back; the first
//! MiB (boot code, partition table) is handed to `finish`, which writes it last.

use super::client::Client;
use super::host;
use super::manifest::{DATA_FILE, Manifest, PIECE, Piece};
use super::report::{self, Progress};
use super::signs::{MARKER, MARKER_AT};
use crate::base::Sha256;
use crate::problem::reason;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, sync_channel};

/// Stretch at the disk's end that is blanked: backup partition tables, RAID superblocks, ZFS labels.
const TAIL: u64 = 4 << 20;

/// Where the prepared root comes from.
pub struct Source<'a> {
    pub client: &'a Client,
    /// Path of `root.img` on the server.
    pub path: String,
    pub manifest: &'a Manifest,
}

/// The manifest's path → the data file's path beside it.
pub fn data_path(manifest_path: &str) -> String {
    let folder = manifest_path.rsplit_once('/').map_or("", |(f, _)| f);
    format!("{folder}/{DATA_FILE}")
}

/// Writes all but the first MiB, reads everything back, and returns that first MiB.
pub fn write(source: &Source<'_>, path: &str, size: u64, progress: &Progress) -> Result<Vec<u8>, String> {
    let failed = |what: &str, e: io::Error| format!("cannot {what} {path}: {}", reason(&e));
    let disk = host::open_disk(path).map_err(|e| failed("open", e))?;
    blank(&disk, source.manifest, size, progress).map_err(|e| failed("blank", e))?;
    progress.step("writing", source.manifest.data_bytes());
    let head = transfer(source, &disk, path, progress)?;
    disk.sync_all().and_then(|()| host::flush_buffers(&disk)).map_err(|e| failed("flush", e))?;
    read_back(source.manifest, path, progress)?;
    Ok(head)
}

/// Blanks the old tables and what the image wants to be zero, and sets the marker.
fn blank(disk: &File, manifest: &Manifest, size: u64, progress: &Progress) -> io::Result<()> {
    let gaps = manifest.gaps();
    progress.step("blanking", gaps.iter().map(|g| g.1).sum());
    let mut head = vec![0u8; PIECE as usize];
    head[MARKER_AT as usize..MARKER_AT as usize + MARKER.len()].copy_from_slice(MARKER);
    disk.write_all_at(&head, 0)?;
    zero(disk, size.saturating_sub(TAIL).max(PIECE), size)?;
    disk.sync_all()?;
    for (at, len) in gaps {
        zero(disk, at.max(PIECE), at + len)?;
        progress.add(len);
    }
    Ok(())
}

/// Zeroes from `start` to `end`; by writing where the disk has no request for it.
fn zero(disk: &File, start: u64, end: u64) -> io::Result<()> {
    if start >= end {
        return Ok(());
    }
    if host::zero_out(disk, start, end - start).is_ok() {
        return Ok(());
    }
    let zeros = vec![0u8; PIECE as usize];
    let mut at = start;
    while at < end {
        let n = (end - at).min(PIECE);
        disk.write_all_at(&zeros[..n as usize], at)?;
        at += n;
    }
    Ok(())
}

/// Streams the data; workers unpack, check and write. Returns the first MiB.
fn transfer(source: &Source<'_>, disk: &File, path: &str, progress: &Progress) -> Result<Vec<u8>, String> {
    let head = Mutex::new(vec![0u8; PIECE as usize]);
    let first_error: Mutex<Option<String>> = Mutex::new(None);
    let workers = std::thread::available_parallelism().map_or(1, |n| n.get()).min(4);
    let (send, receive) = sync_channel::<(&Piece, Vec<u8>)>(2 * workers);
    let receive = Mutex::new(receive);
    let fetched = std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some((piece, packed)) = next(&receive) {
                    if lock(&first_error).is_some() {
                        continue; // empty the channel, so that the reader is not stuck
                    }
                    match place(piece, &packed, disk, path, &head) {
                        Ok(()) => progress.add(piece.len),
                        Err(e) => *lock(&first_error) = Some(e),
                    }
                }
            });
        }
        let result =
            fetch(source, |piece, packed| send.send((piece, packed)).is_ok() && lock(&first_error).is_none());
        drop(send);
        result
    });
    if let Some(e) = first_error.into_inner().unwrap_or_else(|e| e.into_inner()) {
        return Err(e);
    }
    fetched?;
    Ok(head.into_inner().unwrap_or_else(|e| e.into_inner()))
}

fn next<T>(receive: &Mutex<Receiver<T>>) -> Option<T> {
    lock(receive).recv().ok()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

/// Reads the data file in order and hands on each packed piece; a lost connection goes on where it broke off.
fn fetch<'a>(source: &Source<'a>, mut hand_on: impl FnMut(&'a Piece, Vec<u8>) -> bool) -> Result<(), String> {
    let (mut pieces, mut offset) = (source.manifest.pieces.iter(), 0u64);
    let mut now = pieces.next();
    while now.is_some() {
        let what = format!("fetch {}", source.path);
        let reply = report::patiently(&what, || source.client.get(&source.path, offset))?;
        if reply.status != 200 && reply.status != 206 {
            return Err(report::body(&what, reply).err().unwrap_or_default());
        }
        let mut body = reply.into_body();
        while let Some(piece) = now {
            let mut packed = vec![0u8; piece.stored as usize];
            if body.read_exact(&mut packed).is_err() {
                // A short pause, or a server that closes at once would be asked in a tight loop.
                std::thread::sleep(std::time::Duration::from_millis(500));
                break;
            }
            offset += piece.stored;
            now = pieces.next();
            if !hand_on(piece, packed) {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Unpacks and checks one piece, then writes it; the first MiB is kept back.
fn place(piece: &Piece, packed: &[u8], disk: &File, path: &str, head: &Mutex<Vec<u8>>) -> Result<(), String> {
    let raw = unpack(piece, packed)?;
    if piece.at < PIECE {
        lock(head)[piece.at as usize..(piece.at + piece.len) as usize].copy_from_slice(&raw);
        return Ok(());
    }
    disk.write_all_at(&raw, piece.at)
        .map_err(|e| format!("cannot write to {path} at byte {}: {}", piece.at, reason(&e)))
}

/// A packed piece → its raw bytes, if they are what the manifest says.
fn unpack(piece: &Piece, packed: &[u8]) -> Result<Vec<u8>, String> {
    let damaged = || {
        format!(
            "the prepared root is damaged at byte {} (its digest is wrong); run `bootstead image verify` on the server",
            piece.at
        )
    };
    let mut raw = Vec::with_capacity(piece.len as usize);
    let unpacked = flate2::read::GzDecoder::new(packed).take(piece.len + 1).read_to_end(&mut raw);
    if unpacked.is_err() || raw.len() as u64 != piece.len || Sha256::of(&raw) != piece.sha256 {
        return Err(damaged());
    }
    Ok(raw)
}

/// Reads the disk itself, past the kernel's memory, and compares.
fn read_back(manifest: &Manifest, path: &str, progress: &Progress) -> Result<(), String> {
    progress.step("reading back", manifest.raw_size);
    let disk = host::open_direct(path).map_err(|e| format!("cannot read {path}: {}", reason(&e)))?;
    let mut buffer = Aligned::default();
    let mut check = |at: u64, len: u64, good: &dyn Fn(&[u8]) -> bool| -> Result<(), String> {
        let bytes =
            buffer.read(&disk, at, len).map_err(|e| format!("cannot read back {path}: {}", reason(&e)))?;
        progress.add(len);
        if good(bytes) {
            return Ok(());
        }
        Err(format!(
            "{path} does not hold what was written to it (byte {at}): the disk, its cable or controller is faulty"
        ))
    };
    for piece in manifest.pieces.iter().filter(|p| p.at >= PIECE) {
        check(piece.at, piece.len, &|bytes| Sha256::of(bytes) == piece.sha256)?;
    }
    for (at, len) in manifest.gaps() {
        let (mut at, end) = (at.max(PIECE), at + len);
        while at < end {
            let n = (end - at).min(PIECE);
            check(at, n, &|bytes| bytes.iter().all(|b| *b == 0))?;
            at += n;
        }
    }
    Ok(())
}

/// Memory for direct reads: the kernel wants its address to be a multiple of the sector size.
pub struct Aligned {
    memory: Vec<u8>,
    start: usize,
}

impl Default for Aligned {
    fn default() -> Aligned {
        let memory = vec![0u8; PIECE as usize + 4096];
        let start = memory.as_ptr().align_offset(4096).min(4096);
        Aligned { memory, start }
    }
}

impl Aligned {
    /// At most one MiB at a time.
    pub fn read(&mut self, disk: &File, at: u64, len: u64) -> io::Result<&[u8]> {
        let part = &mut self.memory[self.start..self.start + len.min(PIECE) as usize];
        disk.read_exact_at(part, at)?;
        Ok(part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn a_piece_is_what_its_digest_says_or_it_is_refused() {
        let raw = vec![7u8; 8192];
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(&raw).unwrap();
        let packed = gz.finish().unwrap();
        let piece = Piece { at: 0, len: 8192, stored: packed.len() as u64, sha256: Sha256::of(&raw) };
        assert_eq!(unpack(&piece, &packed).unwrap(), raw);
        let mut refused = 0;
        for i in 0..packed.len() {
            let mut bad = packed.clone();
            bad[i] ^= 0x10;
            // Some bits of gzip mean nothing (time, padding): then the content is still right. Never another one.
            match unpack(&piece, &bad) {
                Ok(same) => assert_eq!(same, raw, "byte {i}"),
                Err(_) => refused += 1,
            }
        }
        assert!(refused > packed.len() / 2);
        assert!(unpack(&Piece { len: 4096, ..piece }, &packed).is_err());
        assert_eq!(data_path("/images/debian12/root.json"), "/images/debian12/root.img");
    }
}
