//! Owns the signature guard: what lies on a disk, told from its bytes. Pure: bytes in, findings out.
//!
//! A disk that carries somebody's data is not written unless a person named its serial number (field-pain #79,
//! #80). Offsets are those of the formats' own documentation; each row of the table names its format.

use super::gpt;
use std::io;

/// Something that bytes can be read from: a disk, a part of it, a test's vector.
pub trait ReadAt {
    /// Fills as much of `buf` as there is at `offset`; returns how much.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize>;
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Found {
    /// `ext4 file system`, `LVM physical volume`, …
    pub what: String,
    /// Where: `the whole disk` or `partition 3`.
    pub place: String,
}

impl std::fmt::Display for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} on {}", self.what, self.place)
    }
}

/// Bytes that an installation by Bootstead leaves in the gap before the first partition, until it is complete.
pub const MARKER: &[u8] = b"BOOTSTEAD UNFINISHED\n";
/// Where they are: behind the largest usual partition table, before the first partition.
pub const MARKER_AT: u64 = 512 * 1024;

/// A magic number: format, offset from the start (or, negative, from the end), bytes.
const MAGIC: &[(&str, i64, &[u8])] = &[
    ("LVM physical volume", 0, b"LABELONE"),
    ("LVM physical volume", 512, b"LABELONE"),
    ("LVM physical volume", 1024, b"LABELONE"),
    ("LVM physical volume", 1536, b"LABELONE"),
    ("Linux RAID member (1.1)", 0, &[0xfc, 0x4e, 0x2b, 0xa9, 1, 0, 0, 0]),
    ("Linux RAID member (1.2)", 4096, &[0xfc, 0x4e, 0x2b, 0xa9, 1, 0, 0, 0]),
    ("Ceph bluestore OSD", 0, b"bluestore block device\n"),
    ("Ceph OSD journal", 0, b"ceph fsid "),
    ("xfs file system", 0, b"XFSB"),
    ("btrfs file system", 0x10040, b"_BHRfS_M"),
    ("LUKS encrypted volume", 0, b"LUKS\xba\xbe"),
    ("LUKS encrypted volume (second header)", 0x4000, b"SKUL\xba\xbe"),
    ("swap space", 4086, b"SWAPSPACE2"),
    ("swap space", 4086, b"SWAP-SPACE"),
    ("hibernation image", 4086, b"S1SUSPEND"),
    ("ntfs file system", 3, b"NTFS    "),
    ("exfat file system", 3, b"EXFAT   "),
    ("BitLocker volume", 3, b"-FVE-FS-"),
    ("ReFS file system", 3, b"ReFS\0\0\0\0"),
    ("vfat file system", 54, b"FAT12   "),
    ("vfat file system", 54, b"FAT16   "),
    ("vfat file system", 82, b"FAT32   "),
    ("f2fs file system", 1024, &[0x10, 0x20, 0xf5, 0xf2]),
    ("jfs file system", 32768, b"JFS1"),
    ("reiserfs file system", 65588, b"ReIsEr"),
    ("gfs2 file system", 65536, &[0x01, 0x16, 0x19, 0x70, 0, 0, 0, 1]),
    ("ocfs2 file system", 8192, b"OCFSV2"),
    ("bcache device", 4120, &[0xc6, 0x85, 0x73, 0xf6, 0x4e, 0x1a, 0x45, 0xca]),
    ("Oracle ASM disk", 32, b"ORCLDISK"),
    ("VMware VMFS volume", 0x10_0000, &[0x0d, 0xd0, 0x01, 0xc0]),
    ("VMware VMFS volume", 0x20_0000, &[0x5e, 0xf1, 0xab, 0x2f]),
    ("squashfs file system", 0, b"hsqs"),
    ("ISO 9660 file system", 32769, b"CD001"),
    ("stratis pool", 0x200, b"!Stra0tis\x86\xff\x02^\x41rh"),
    ("minix file system", 1040, &[0x7f, 0x13]),
    ("Intel firmware RAID member", -1024, b"Intel Raid ISM Cfg Sig. "),
    ("DDF firmware RAID member", -512, &[0xde, 0x11, 0xde, 0x11]),
    ("Promise firmware RAID member", -32256, b"Promise Technology, Inc."),
    ("DRBD device", -4036, &[0x83, 0x74, 0x02, 0x67]),
    ("DRBD device", -4036, &[0x83, 0x74, 0x02, 0x6b]),
    ("DRBD device", -4036, &[0x83, 0x74, 0x02, 0x6d]),
];

/// Everything that is recognised on a device of `size` bytes: on the whole disk, and in each of its partitions.
///
/// Empty means blank as far as anybody can tell: no known signature, and nothing but zeros in the first sectors.
pub fn scan(disk: &dyn ReadAt, size: u64) -> io::Result<Vec<Found>> {
    let whole = "the whole disk";
    let mut found = area(disk, 0, size, whole)?;
    let head = read(disk, 0, 34 * 512)?;
    let parts = partitions(disk, &head, size, &mut found)?;
    for (number, first, bytes) in &parts {
        let end = first.saturating_add(*bytes).min(size);
        if *first > 0 && end > *first {
            found.extend(area(disk, *first, end - *first, &format!("partition {number}"))?);
        }
    }
    if found.is_empty() {
        let mut first = read(disk, 0, 64 * 1024)?;
        // Windows and some BIOSes write a disk signature or boot code alone into a blank disk's first sector.
        if first.len() >= 512 && first[510..512] == [0x55, 0xaa] && first[446..510] == [0; 64] {
            first[..512].fill(0);
        }
        if first.iter().any(|b| *b != 0) {
            found.push(Found { what: "data of an unknown kind".to_string(), place: whole.to_string() });
        }
    }
    Ok(found)
}

/// Whether a disk holds nothing but an installation of ours that did not get to its end (power cut, pulled cable).
///
/// Its tables were blanked when it began and, later, replaced by one whose identity stands behind the marker: so
/// whatever else is recognised is a part of that installation, and a table that somebody made since is not.
pub fn unfinished(disk: &dyn ReadAt) -> io::Result<bool> {
    let marker = read(disk, MARKER_AT, MARKER.len() + 16)?;
    let Some(id) = marker.strip_prefix(MARKER) else { return Ok(false) };
    let head = read(disk, 0, 34 * 512)?;
    Ok(match gpt::Table::read(&head) {
        Some(table) => table.disk == id,
        None => head.iter().all(|b| *b == 0),
    })
}

/// Partitions as (number, first byte, bytes); says so in `found` that there is a table.
fn partitions(
    disk: &dyn ReadAt,
    head: &[u8],
    size: u64,
    found: &mut Vec<Found>,
) -> io::Result<Vec<(u32, u64, u64)>> {
    let mut out = Vec::new();
    let mut table = |kind: &str, count: usize| {
        let what =
            format!("{kind} partition table with {count} partition{}", if count == 1 { "" } else { "s" });
        found.push(Found { what, place: "the whole disk".to_string() });
    };
    if let Some(gpt) = gpt::Table::read(head) {
        table("GPT", gpt.partitions.len());
        for p in gpt.partitions {
            let bytes = p.last.saturating_sub(p.first).saturating_add(1).saturating_mul(512);
            out.push((p.number, p.first.saturating_mul(512), bytes));
        }
        return Ok(out);
    }
    let backup = read(disk, size.saturating_sub(512), 512)?;
    if head.get(512..520) == Some(b"EFI PART") || backup.starts_with(b"EFI PART") {
        table("damaged GPT", 0);
    }
    let boot_sector = head.len() >= 512 && head[510..512] == [0x55, 0xaa];
    if !boot_sector {
        return Ok(out);
    }
    let entries: Vec<_> = head[446..510].chunks_exact(16).enumerate().filter(|(_, e)| e[4] != 0).collect();
    // A FAT or NTFS boot sector ends in 55 AA as well; its "entries" then are text and point nowhere.
    let sane = entries.iter().all(|(_, e)| matches!(e[0], 0 | 0x80));
    if entries.is_empty() || !sane {
        return Ok(out);
    }
    table("MBR", entries.len());
    for (i, e) in entries {
        let sector =
            |at: usize| u64::from(u32::from_le_bytes([e[at], e[at + 1], e[at + 2], e[at + 3]])) * 512;
        out.push((i as u32 + 1, sector(8), sector(12)));
    }
    Ok(out)
}

/// What is recognised in one stretch of the disk.
fn area(disk: &dyn ReadAt, start: u64, size: u64, place: &str) -> io::Result<Vec<Found>> {
    let mut found: Vec<Found> = Vec::new();
    let mut add = |what: &str| {
        if !found.iter().any(|f| f.what == what) {
            found.push(Found { what: what.to_string(), place: place.to_string() });
        }
    };
    let head = read(disk, start, size.min(128 * 1024) as usize)?;
    for (what, offset, magic) in MAGIC {
        let at = if *offset >= 0 { *offset as u64 } else { size.saturating_sub(offset.unsigned_abs()) };
        if at.saturating_add(magic.len() as u64) > size {
            continue;
        }
        let hit = match head.get(at as usize..at as usize + magic.len()) {
            Some(bytes) => bytes == *magic,
            None => read(disk, start + at, magic.len())? == *magic,
        };
        if hit {
            add(what);
        }
    }
    if let Some(kind) = ext(&head) {
        add(kind);
    }
    // md 1.0 lies 8 to 12 KiB before the end, md 0.90 in the last whole 64 KiB block before the last.
    for (what, at) in [
        ("Linux RAID member (1.0)", (size / 512).saturating_sub(16) / 8 * 8 * 512),
        ("Linux RAID member (0.90)", (size / 65536 * 65536).saturating_sub(65536)),
    ] {
        if size > 65536 && read(disk, start + at, 4)? == [0xfc, 0x4e, 0x2b, 0xa9] {
            add(what);
        }
    }
    if zfs(disk, start, size)? {
        add("ZFS pool member");
    }
    Ok(found)
}

/// ext2, ext3 or ext4, by the superblock's feature words.
fn ext(head: &[u8]) -> Option<&'static str> {
    let sb = head.get(1024..2048)?;
    if sb[0x38..0x3a] != [0x53, 0xef] {
        return None;
    }
    let word = |at: usize| u32::from_le_bytes([sb[at], sb[at + 1], sb[at + 2], sb[at + 3]]);
    let (compat, incompat) = (word(0x5c), word(0x60));
    Some(if incompat & 0x8 != 0 {
        "external ext journal"
    } else if incompat & 0x2c0 != 0 {
        "ext4 file system"
    } else if compat & 0x4 != 0 {
        "ext3 file system"
    } else {
        "ext2 file system"
    })
}

/// An uberblock in one of ZFS's four labels (two at each end, 256 KiB each, uberblocks in their second half).
fn zfs(disk: &dyn ReadAt, start: u64, size: u64) -> io::Result<bool> {
    const LABEL: u64 = 256 * 1024;
    let aligned = size / LABEL * LABEL;
    for label in [0, LABEL, aligned.saturating_sub(2 * LABEL), aligned.saturating_sub(LABEL)] {
        if label + LABEL > size {
            continue;
        }
        let ring = read(disk, start + label + LABEL / 2, (LABEL / 2) as usize)?;
        let hit = |b: &[u8]| {
            b.starts_with(&0x00ba_b10cu64.to_le_bytes()) || b.starts_with(&0x00ba_b10cu64.to_be_bytes())
        };
        if ring.chunks(1024).any(hit) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// At most `len` bytes at `offset`; fewer where the device ends.
fn read(disk: &dyn ReadAt, offset: u64, len: usize) -> io::Result<Vec<u8>> {
    let mut buf = vec![0u8; len];
    let mut have = 0;
    while have < len {
        match disk.read_at(offset + have as u64, &mut buf[have..])? {
            0 => break,
            n => have += n,
        }
    }
    buf.truncate(have);
    Ok(buf)
}

#[cfg(test)]
#[path = "signs_tests.rs"]
mod tests;
