//! Owns reading the disks of the machine: their names, sizes, identities from /sys, and what lies on them.

use super::facts::{Disk, names, text};
use super::signs::{self, Found, ReadAt};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;

impl ReadAt for File {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(self, buf, offset)
    }
}

/// Every disk of the machine, by kernel name, with what lies on it.
pub fn all() -> Vec<Disk> {
    names("/sys/block").into_iter().filter_map(|name| one(&name)).collect()
}

/// Kernel names of devices that are no disks of their own: memory, files, optical drives, stacked devices.
const NOT_DISKS: [&str; 10] = ["loop", "ram", "zram", "sr", "fd", "dm-", "md", "nbd", "drbd", "mtdblock"];

fn one(name: &str) -> Option<Disk> {
    if NOT_DISKS.iter().any(|p| name.starts_with(p)) || (name.contains("boot") && name.starts_with("mmc")) {
        return None;
    }
    let at = |file: &str| text(&format!("/sys/block/{name}/{file}"));
    let device = fs::canonicalize(format!("/sys/block/{name}")).ok()?.to_string_lossy().into_owned();
    // NVMe in its multipath mode lists each path as a hidden device: not a disk that can be opened.
    if at("hidden").as_deref() == Some("1") {
        return None;
    }
    let size = at("size").and_then(|s| s.parse::<u64>().ok()).unwrap_or(0) * 512;
    let mut disk = Disk {
        size,
        model: at("device/model"),
        serial: at("serial").or_else(|| at("device/serial")).or_else(|| unit_serial(name)),
        wwn: at("wwid").or_else(|| at("device/wwid")).and_then(|w| wwn(&w)),
        by_path: by_path(&device),
        removable: at("removable").as_deref() == Some("1"),
        usb: device.contains("/usb"),
        read_only: at("ro").as_deref() == Some("1"),
        rotational: at("queue/rotational").as_deref() == Some("1"),
        sector: at("queue/logical_block_size").and_then(|s| s.parse().ok()).unwrap_or(512),
        name: name.to_string(),
        ..Disk::default()
    };
    if size > 0 {
        inspect(&mut disk);
    }
    Some(disk)
}

/// Reads what lies on the disk. A disk that cannot be read is not blank: it counts as claimed.
fn inspect(disk: &mut Disk) {
    let path = format!("/dev/{}", disk.name);
    let looked =
        File::open(&path).and_then(|file| Ok((signs::scan(&file, disk.size)?, signs::unfinished(&file)?)));
    match looked {
        Ok((found, unfinished)) => (disk.found, disk.unfinished) = (found, unfinished),
        Err(e) => {
            let what = format!("something unreadable ({})", crate::problem::reason(&e));
            disk.found = vec![Found { what, place: "the whole disk".to_string() }];
        }
    }
    for partition in names(&format!("/sys/block/{}", disk.name)) {
        let holders = names(&format!("/sys/block/{}/{partition}/holders", disk.name));
        if partition.starts_with(&disk.name) && !holders.is_empty() {
            let what = format!("something in use by {}", holders.join(" and "));
            disk.found.push(Found { what, place: partition });
        }
    }
}

/// The SCSI unit serial number (VPD page 0x80): four bytes of header, then text. ATA disks have it too, by libata.
fn unit_serial(name: &str) -> Option<String> {
    let page = fs::read(format!("/sys/block/{name}/device/vpd_pg80")).ok()?;
    let text = String::from_utf8_lossy(page.get(4..)?)
        .trim_matches(|c: char| c.is_whitespace() || c == '\0')
        .to_string();
    (!text.is_empty()).then_some(text)
}

/// The kernel's spelling of a world wide identifier → udev's.
fn wwn(wwid: &str) -> Option<String> {
    match wwid.split_once('.') {
        Some(("naa", hex)) => Some(format!("0x{hex}")),
        Some(("eui" | "uuid" | "nvme", _)) => Some(wwid.to_string()),
        _ => None,
    }
}

/// The name below /dev/disk/by-path that udev would give, from the device's path in /sys.
fn by_path(device: &str) -> Option<String> {
    let parts: Vec<&str> = device.split('/').collect();
    let is_pci = |p: &str| {
        let b = p.as_bytes();
        b.len() == 12 && b[4] == b':' && b[7] == b':' && b[10] == b'.'
    };
    let last_pci = parts.iter().rposition(|p| is_pci(p))?;
    let (pci, rest) = (parts[last_pci], &parts[last_pci + 1..]);
    let find = |prefix: &str| rest.iter().find_map(|p| p.strip_prefix(prefix));
    let scsi = rest.iter().rev().find(|p| p.split(':').count() == 4).copied();
    if rest.first().is_some_and(|p| p.starts_with("virtio")) && scsi.is_none() {
        return Some(format!("pci-{pci}"));
    }
    if let Some(name) = rest.last().filter(|n| n.starts_with("nvme")) {
        let namespace = name.rsplit_once('n').map_or("1", |(_, n)| n);
        return Some(format!("pci-{pci}-nvme-{namespace}"));
    }
    let scsi = scsi?;
    if find("ata").is_some() {
        let port = text(&ata_port_file(&parts, last_pci)?)?;
        return Some(format!("pci-{pci}-ata-{port}"));
    }
    // udev counts SCSI hosts relative to the adapter; a plain adapter has one, which is 0.
    let (_, target) = scsi.split_once(':')?;
    Some(format!("pci-{pci}-scsi-0:{target}"))
}

/// `/sys/devices/…/ata3/ata_port/ata3/port_no`.
fn ata_port_file(parts: &[&str], last_pci: usize) -> Option<String> {
    let ata = parts[last_pci + 1..].iter().find(|p| p.starts_with("ata"))?;
    Some(format!("{}/{ata}/ata_port/{ata}/port_no", parts[..=last_pci].join("/")))
}

/// Reads exactly `len` bytes at `offset`.
pub fn read_exact_at(file: &File, offset: u64, len: usize) -> io::Result<Vec<u8>> {
    let mut buf = vec![0; len];
    file.read_exact_at(&mut buf, offset)?;
    Ok(buf)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_world_wide_names_are_spelled_as_udev_does() {
        let d = "/sys/devices/pci0000:00/0000:00";
        assert_eq!(by_path(&format!("{d}:05.0/virtio2/block/vda")).unwrap(), "pci-0000:00:05.0");
        assert_eq!(
            by_path(&format!("{d}:1d.0/0000:01:00.0/nvme/nvme0/nvme0n1")).unwrap(),
            "pci-0000:01:00.0-nvme-1"
        );
        assert_eq!(
            by_path(&format!("{d}:04.0/virtio1/host2/target2:0:3/2:0:3:1/block/sda")).unwrap(),
            "pci-0000:00:04.0-scsi-0:0:3:1"
        );
        assert_eq!(by_path("/sys/devices/virtual/block/vdx"), None);
        assert_eq!(wwn("naa.5000c500a1b2c3d4").unwrap(), "0x5000c500a1b2c3d4");
        assert_eq!(wwn("eui.0025385971b0a6c1").unwrap(), "eui.0025385971b0a6c1");
        assert_eq!(wwn("t10.ATA QEMU"), None);
    }

    #[test]
    fn this_machines_disks_can_be_listed() {
        for d in all() {
            assert!(!d.name.starts_with("loop") && !d.describe().is_empty());
        }
    }
}
