//! Owns the end of an installation: the grown partition table, the node's files on the new root, and last of all
//! what makes the disk bootable.

use super::facts::Disk;
use super::gpt::{SECTOR, TABLE_SECTORS, TYPE_ESP, Table, version4};
use super::host;
use super::manifest::{Manifest, PIECE};
use super::signs::{MARKER, MARKER_AT};
use super::write::Aligned;
use crate::api::OrderFile;
use crate::problem::reason;
use std::fs::{self, File, Permissions};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::{Component, Path};
use std::time::{Duration, Instant};

const ROOT: &str = "/run/root";
/// Linux data: what the EFI system partition calls itself until the installation is complete.
const TYPE_UNFINISHED: [u8; 16] =
    [0xAF, 0x3D, 0xC6, 0x0F, 0x83, 0x84, 0x72, 0x47, 0x8E, 0x79, 0x3D, 0x69, 0xD8, 0x47, 0x7D, 0xE4];

/// The first MiB and the backup table, in the two forms that are written.
struct Ends {
    /// Mountable, but neither BIOS nor UEFI boots it; carries the marker.
    unfinished: Vec<u8>,
    complete: Vec<u8>,
    tail_unfinished: Vec<u8>,
    tail_complete: Vec<u8>,
}

/// Makes the written disk a system: tables, files, size, boot code.
pub fn finish(disk: &Disk, manifest: &Manifest, head: Vec<u8>, files: &[OrderFile]) -> Result<(), String> {
    let path = format!("/dev/{}", disk.name);
    let failed = |what: &str, e: io::Error| format!("cannot {what} {path}: {}", reason(&e));
    let random = random().map_err(|e| failed("make new identities for", e))?;
    let (ends, root) = ends(head, disk.size / SECTOR, manifest.root_partition, random)?;

    put(&path, disk.size, &ends.unfinished, &ends.tail_unfinished)?;
    host::open_disk(&path)
        .and_then(|f| host::reread_partitions(&f))
        .map_err(|e| failed("make the kernel read the new partitions of", e))?;
    let partition = partition_name(&disk.name, manifest.root_partition);
    wait_for(&format!("/dev/{partition}"))?;
    host::mount(&format!("/dev/{partition}"), ROOT, "ext4")
        .map_err(|e| failed("mount the new root of", e))?;
    let filled = fill(files, root);
    host::unmount(ROOT).map_err(|e| failed("unmount the new root of", e))?;
    filled?;

    put(&path, disk.size, &ends.complete, &ends.tail_complete)
}

/// Both forms of the disk's ends, and the root partition's bytes.
fn ends(
    mut head: Vec<u8>,
    sectors: u64,
    root_number: u32,
    mut random: impl FnMut() -> [u8; 16],
) -> Result<(Ends, u64), String> {
    let table = Table::read(&head).ok_or("the prepared root has no valid partition table")?;
    let table = table.grown(sectors, root_number, &mut random)?;
    let root = table.partitions.iter().find(|p| p.number == root_number).ok_or("it has no root partition")?;
    let root_bytes = (root.last - root.first + 1) * SECTOR;
    let overlay = |head: &mut [u8], table: &Table| {
        let (front, tail) = table.bytes();
        // Boot code and BIOS disk signature stay; the MBR's partition entries and the GPT are the grown ones.
        head[446..front.len()].copy_from_slice(&front[446..]);
        tail
    };
    let tail_complete = overlay(&mut head, &table);

    let mut pending = table.clone();
    for p in pending.partitions.iter_mut().filter(|p| p.kind == TYPE_ESP) {
        p.kind = TYPE_UNFINISHED;
    }
    let mut unfinished = head.clone();
    unfinished[..440].fill(0);
    let tail_unfinished = overlay(&mut unfinished, &pending);
    let at = MARKER_AT as usize;
    unfinished[at..at + MARKER.len()].copy_from_slice(MARKER);
    unfinished[at + MARKER.len()..at + MARKER.len() + 16].copy_from_slice(&table.disk);
    Ok((Ends { unfinished, complete: head, tail_unfinished, tail_complete }, root_bytes))
}

/// Writes both ends of the disk and reads them back.
fn put(path: &str, size: u64, head: &[u8], tail: &[u8]) -> Result<(), String> {
    let failed = |e: io::Error| format!("cannot write the partition table of {path}: {}", reason(&e));
    let tail_at = size / SECTOR * SECTOR - TABLE_SECTORS * SECTOR;
    let disk = host::open_disk(path).map_err(failed)?;
    // The backup first: if the power goes in between, the primary table decides.
    disk.write_all_at(tail, tail_at).map_err(failed)?;
    disk.write_all_at(head, 0).map_err(failed)?;
    disk.sync_all().and_then(|()| host::flush_buffers(&disk)).map_err(failed)?;
    let direct = host::open_direct(path).map_err(failed)?;
    let mut buffer = Aligned::default();
    let front_good = buffer.read(&direct, 0, PIECE).map_err(failed)? == head;
    let back_good = buffer.read(&direct, tail_at, tail.len() as u64).map_err(failed)? == tail;
    if front_good && back_good {
        return Ok(());
    }
    Err(format!("{path} does not hold the partition table that was written to it: the disk is faulty"))
}

/// `sda` and 3 → `sda3`; `nvme0n1` and 3 → `nvme0n1p3`.
fn partition_name(disk: &str, number: u32) -> String {
    let p = if disk.ends_with(|c: char| c.is_ascii_digit()) { "p" } else { "" };
    format!("{disk}{p}{number}")
}

fn wait_for(path: &str) -> Result<(), String> {
    let begin = Instant::now();
    while !Path::new(path).exists() {
        if begin.elapsed() > Duration::from_secs(20) {
            return Err(format!("{path} did not appear after partitioning"));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Grows the mounted root to its partition and puts the node's files on it.
fn fill(files: &[OrderFile], root_bytes: u64) -> Result<(), String> {
    let failed = |what: &str, e: io::Error| format!("cannot {what}: {}", reason(&e));
    let (block, _) = host::blocks(ROOT).map_err(|e| failed("look at the new root", e))?;
    File::open(ROOT)
        .and_then(|dir| host::ext4_resize(&dir, root_bytes / block))
        .map_err(|e| failed("grow the new root's file system", e))?;
    host::inside(ROOT, || files.iter().try_for_each(put_file)).map_err(|e| failed("enter the new root", e))?
}

/// Writes one file of the orders; its folders are made as needed.
fn put_file(file: &OrderFile) -> Result<(), String> {
    let failed = |e: io::Error| format!("cannot write {} on the new root: {}", file.path, reason(&e));
    let path = Path::new(&file.path);
    let plain = path.components().skip(1).all(|c| matches!(c, Component::Normal(_)));
    let (true, true, Some(folder)) = (path.is_absolute(), plain, path.parent()) else {
        return Err(format!("the orders name {:?}, which is no plain absolute path", file.path));
    };
    fs::create_dir_all(folder).map_err(failed)?;
    // A link would be followed: the file is to be here.
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed(e)),
        _ => {}
    }
    let mut options = fs::OpenOptions::new();
    std::os::unix::fs::OpenOptionsExt::mode(options.write(true).create_new(true), 0o600);
    let mut out = options.open(path).map_err(failed)?;
    io::Write::write_all(&mut out, file.content.as_bytes()).map_err(failed)?;
    out.set_permissions(Permissions::from_mode(file.mode & 0o7777)).map_err(failed)?;
    out.sync_all().map_err(failed)
}

/// A source of random identities, from the kernel.
fn random() -> io::Result<impl FnMut() -> [u8; 16]> {
    let mut seed = [0u8; 32];
    File::open("/dev/urandom")?.read_exact(&mut seed)?;
    let mut count = 0u64;
    Ok(move || {
        count += 1;
        let digest = crate::base::Sha256::hmac(&seed, &count.to_le_bytes());
        let mut id = [0u8; 16];
        id.copy_from_slice(&digest.0[..16]);
        version4(id)
    })
}

#[cfg(test)]
mod tests {
    use super::super::gpt::{Partition, TYPE_BIOS_BOOT, TYPE_ROOT_AMD64};
    use super::super::signs;
    use super::*;

    fn head() -> Vec<u8> {
        let p = |number, kind, first, last| Partition {
            number,
            kind,
            id: [1; 16],
            first,
            last,
            name: "p".into(),
        };
        let table = Table {
            disk: [7; 16],
            sectors: 40960,
            partitions: vec![
                p(1, TYPE_BIOS_BOOT, 2048, 4095),
                p(2, TYPE_ESP, 4096, 8191),
                p(3, TYPE_ROOT_AMD64, 8192, 36863),
            ],
        };
        let mut head = table.bytes().0;
        head.resize(PIECE as usize, 0);
        head[..4].copy_from_slice(b"boot");
        head
    }

    #[test]
    fn until_the_end_nothing_boots_and_the_disk_counts_as_unfinished() {
        let mut n = 0u8;
        let random = || {
            n += 1;
            [n; 16]
        };
        let sectors = 100 * 2048;
        let (ends, root_bytes) = ends(head(), sectors, 3, random).unwrap();
        assert_eq!(ends.unfinished[..440], [0; 440]);
        assert_eq!(&ends.complete[..4], b"boot");
        let (before, after) = (Table::read(&ends.unfinished).unwrap(), Table::read(&ends.complete).unwrap());
        assert_eq!(before.partitions[1].kind, TYPE_UNFINISHED);
        assert_eq!(after.partitions[1].kind, TYPE_ESP);
        assert_eq!(before.partitions[2], after.partitions[2]);
        assert!(root_bytes > 90 << 20, "{root_bytes}");
        assert!(signs::unfinished(&ends.unfinished).unwrap());
        assert!(!signs::unfinished(&ends.complete).unwrap());
        let small = super::ends(head(), 1000, 3, || [0; 16]);
        assert!(small.is_err());
    }

    #[test]
    fn partitions_are_named_as_the_kernel_does() {
        assert_eq!(partition_name("vda", 3), "vda3");
        assert_eq!(partition_name("nvme0n1", 3), "nvme0n1p3");
    }
}
