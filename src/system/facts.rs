//! Owns what a machine is: processor, memory, disks, ports, firmware; read from /sys and /proc.

use super::disks;
use super::signs::Found;
use crate::base::Firmware;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;

/// The hardware report.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Machine {
    pub firmware: Firmware,
    /// None: the firmware does not say.
    pub secure_boot: Option<bool>,
    pub vendor: Option<String>,
    pub product: Option<String>,
    pub serial: Option<String>,
    pub uuid: Option<String>,
    pub cpu_model: String,
    /// Logical processors.
    pub cpus: usize,
    pub memory_mib: u64,
    pub disks: Vec<Disk>,
    pub ports: Vec<Port>,
}

/// A block device that could hold a system.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Disk {
    /// Kernel name (`sda`): for messages only, it may differ at the next boot.
    pub name: String,
    /// Bytes.
    pub size: u64,
    pub model: Option<String>,
    pub serial: Option<String>,
    /// `0x…` or `eui.…`, as udev shows it.
    pub wwn: Option<String>,
    /// Name below /dev/disk/by-path, for PCI-attached NVMe, ATA, SCSI and virtio disks.
    pub by_path: Option<String>,
    pub removable: bool,
    pub usb: bool,
    pub read_only: bool,
    pub rotational: bool,
    /// Bytes per logical sector.
    pub sector: u32,
    /// What lies on it; empty: blank.
    pub found: Vec<Found>,
    /// It holds an installation of ours that did not get to its end.
    pub unfinished: bool,
}

impl Disk {
    /// For people: `sda (10 GiB, QEMU HARDDISK, serial X)`.
    pub fn describe(&self) -> String {
        let mut out = format!("{} ({}", self.name, crate::base::time::size(self.size));
        for part in [
            self.model.clone(),
            self.serial.as_ref().map(|s| format!("serial {s}")),
            self.wwn.as_ref().filter(|_| self.serial.is_none()).map(|w| format!("WWN {w}")),
        ]
        .into_iter()
        .flatten()
        {
            out.push_str(", ");
            out.push_str(&part);
        }
        out.push(')');
        out
    }
}

/// A network port.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Port {
    pub name: String,
    pub mac: String,
    pub driver: Option<String>,
    /// Mbit/s, where a link is up and the driver says.
    pub speed: Option<u32>,
    pub link: bool,
}

/// Looks the machine over. Reads the first and last sectors of every disk.
pub fn machine() -> Machine {
    let dmi = |name: &str| text(&format!("/sys/class/dmi/id/{name}"));
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        cpuinfo.lines().find_map(|l| l.strip_prefix(name)?.split_once(':').map(|(_, v)| v.trim().to_string()))
    };
    Machine {
        firmware: if Path::new("/sys/firmware/efi").exists() { Firmware::Uefi } else { Firmware::Bios },
        secure_boot: secure_boot(),
        vendor: dmi("sys_vendor"),
        product: dmi("product_name"),
        serial: dmi("product_serial"),
        uuid: dmi("product_uuid"),
        cpu_model: field("model name").unwrap_or_default(),
        cpus: cpuinfo.lines().filter(|l| l.starts_with("processor")).count().max(1),
        memory_mib: memory_mib(),
        disks: disks::all(),
        ports: ports(),
    }
}

/// `MemTotal` of /proc/meminfo.
fn memory_mib() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib =
        text.lines().find_map(|l| l.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse().ok());
    kib.unwrap_or(0u64) / 1024
}

/// The firmware's `SecureBoot` variable: four bytes of attributes, then one of value.
fn secure_boot() -> Option<bool> {
    let file = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";
    fs::read(file).ok()?.get(4).map(|b| *b == 1)
}

/// Ethernet ports that belong to hardware.
pub fn ports() -> Vec<Port> {
    let mut out: Vec<Port> = names("/sys/class/net")
        .into_iter()
        .filter(|n| Path::new(&format!("/sys/class/net/{n}/device")).exists())
        .filter_map(|name| {
            let at = |f: &str| text(&format!("/sys/class/net/{name}/{f}"));
            let driver = fs::read_link(format!("/sys/class/net/{name}/device/driver")).ok();
            (at("type").as_deref() == Some("1")).then_some(())?;
            Some(Port {
                mac: at("address")?,
                driver: driver.and_then(|d| Some(d.file_name()?.to_string_lossy().into_owned())),
                speed: at("speed").and_then(|s| s.parse().ok()).filter(|s| *s > 0),
                link: at("carrier").as_deref() == Some("1"),
                name,
            })
        })
        .collect();
    out.sort_by(|a, b| a.name.cmp(&b.name));
    out
}

/// The text of a small file, trimmed; none where it is missing or empty.
pub fn text(path: &str) -> Option<String> {
    let bytes = fs::read(path).ok()?;
    let text =
        String::from_utf8_lossy(&bytes).trim_matches(|c: char| c.is_whitespace() || c == '\0').to_string();
    (!text.is_empty()).then_some(text)
}

/// Names in a folder, sorted.
pub fn names(folder: &str) -> Vec<String> {
    let mut out: Vec<String> = fs::read_dir(folder)
        .map(|d| d.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect())
        .unwrap_or_default();
    out.sort();
    out
}
