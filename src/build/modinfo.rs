//! Owns what a kernel module says of itself: the `.modinfo` section of its ELF file; and the choice of modules that
//! the fast lane's system carries. Pure.

use std::collections::{BTreeMap, BTreeSet};

/// One module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModInfo {
    /// Patterns of the devices that it drives.
    pub aliases: Vec<String>,
    /// Modules that must be there first.
    pub depends: Vec<String>,
    /// Modules or aliases that should be there first.
    pub soft: Vec<String>,
}

/// Reads `.modinfo` of a 64-bit little-endian ELF file (ELF-64 Object File Format); `None` where it is none.
pub fn read(elf: &[u8]) -> Option<ModInfo> {
    let number = |at: usize, len: usize| {
        let bytes = elf.get(at..at.checked_add(len)?)?;
        Some(bytes.iter().rev().fold(0u64, |n, b| n << 8 | u64::from(*b)) as usize)
    };
    if elf.get(..6)? != [0x7f, b'E', b'L', b'F', 2, 1] {
        return None;
    }
    let (table, size, count, names) = (number(40, 8)?, number(58, 2)?, number(60, 2)?, number(62, 2)?);
    let section = |i: usize| {
        let at = table.checked_add(i.checked_mul(size)?)?;
        let (start, len) = (number(at.checked_add(24)?, 8)?, number(at.checked_add(32)?, 8)?);
        Some((number(at, 4)?, elf.get(start..start.checked_add(len)?)?))
    };
    let (_, names) = section(names)?;
    let (_, info) = (0..count)
        .filter_map(section)
        .find(|(name, _)| names.get(*name..).is_some_and(|n| n.starts_with(b".modinfo\0")))?;
    let mut out = ModInfo::default();
    for entry in info.split(|b| *b == 0) {
        let entry = String::from_utf8_lossy(entry);
        match entry.split_once('=') {
            Some(("alias", v)) => out.aliases.push(v.to_string()),
            Some(("depends", v)) => {
                out.depends.extend(v.split(',').filter(|d| !d.is_empty()).map(plain_name));
            }
            Some(("softdep", v)) => {
                let before = v.trim().strip_prefix("pre:").and_then(|v| v.split("post:").next());
                out.soft.extend(before.unwrap_or_default().split_whitespace().map(plain_name));
            }
            _ => {}
        }
    }
    Some(out)
}

/// A module's name as the kernel knows it: `-` counts as `_`.
pub fn plain_name(name: &str) -> String {
    name.replace('-', "_")
}

/// Whether the system carries the module at `path` (below the modules' folder, `kernel/drivers/…/x.ko`).
///
/// Ethernet, disks and what they stand on. Not: wireless, USB (nothing on USB is ever written or booted from here),
/// network storage, tape, optical drives, file systems other than the prepared root's.
pub fn carried(path: &str) -> bool {
    const FOLDERS: [&str; 21] = [
        "drivers/net/ethernet/",
        "drivers/net/phy/",
        "drivers/net/mdio/",
        "drivers/net/pcs/",
        "drivers/net/vmxnet3/",
        "drivers/net/hyperv/",
        "drivers/net/virtio_net",
        "drivers/net/xen-netfront",
        "drivers/nvme/host/nvme.",
        "drivers/ata/",
        "drivers/scsi/",
        "drivers/message/fusion/",
        "drivers/block/virtio_blk",
        "drivers/block/xen-blkfront",
        "drivers/block/mtip32xx/",
        "drivers/virtio/",
        "drivers/hv/",
        "drivers/pci/controller/",
        "drivers/char/hw_random/virtio-rng",
        "fs/ext4/",
        "fs/efivarfs/",
    ];
    const CRYPTO: [&str; 3] =
        ["crypto/crc32c_generic", "arch/x86/crypto/crc32c-intel", "arch/arm64/crypto/crc"];
    const NOT: [&str; 24] = [
        "/fcoe/",
        "/libfc/",
        "/bnx2fc/",
        "/bnx2i/",
        "/qla4xxx/",
        "/cxgbi/",
        "iscsi",
        "/st.",
        "/ch.",
        "/ses.",
        "/sr_mod.",
        "/osst",
        "/pcmcia/",
        "scsi_debug",
        "/be2iscsi/",
        "/qedi/",
        "/qedf/",
        "/fnic/",
        "/csiostor/",
        "/elx/",
        "pata_pcmcia",
        "/lpfc/",
        "/bfa/",
        "/qla2xxx/",
    ];
    let below = path.strip_prefix("kernel/").unwrap_or(path);
    FOLDERS.iter().chain(&CRYPTO).any(|f| below.starts_with(f)) && !NOT.iter().any(|n| below.contains(n))
}

/// The chosen modules, and the two index files that `system::modules` reads.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// Names in order, dependencies included.
    pub modules: Vec<String>,
    pub alias: String,
    pub deps: String,
}

/// Closes `wanted` over dependencies and writes the index. `all` knows every module of the kernel by name.
pub fn choose(all: &BTreeMap<String, ModInfo>, wanted: &[String]) -> Choice {
    let mut chosen = BTreeSet::new();
    for module in wanted {
        chosen.extend(order(all, module));
        chosen.insert(module.clone());
    }
    let mut choice = Choice::default();
    for name in &chosen {
        let needs = order(all, name);
        choice.deps.push_str(&format!("{name}: {}\n", needs.join(" ")));
        for alias in all.get(name).into_iter().flat_map(|i| &i.aliases) {
            choice.alias.push_str(&format!("{alias} {name}\n"));
        }
    }
    choice.modules = chosen.into_iter().collect();
    choice
}

/// Everything that `module` needs, first one first, without itself.
fn order(all: &BTreeMap<String, ModInfo>, module: &str) -> Vec<String> {
    fn visit(
        all: &BTreeMap<String, ModInfo>,
        name: &str,
        seen: &mut BTreeSet<String>,
        out: &mut Vec<String>,
    ) {
        // A soft dependency may be an alias or built in: then it is none of ours.
        let Some(info) = all.get(name) else { return };
        if !seen.insert(name.to_string()) {
            return;
        }
        for need in info.soft.iter().chain(&info.depends) {
            visit(all, need, seen, out);
        }
        out.push(name.to_string());
    }
    let (mut seen, mut out) = (BTreeSet::new(), Vec::new());
    visit(all, module, &mut seen, &mut out);
    out.pop();
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// An ELF file with nothing but a `.modinfo` section.
    fn elf(info: &[u8]) -> Vec<u8> {
        let names = b"\0.modinfo\0.shstrtab\0";
        let mut out = vec![0u8; 64];
        out[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1]);
        let (info_at, names_at) = (64, 64 + info.len());
        let table = names_at + names.len();
        out[40..48].copy_from_slice(&(table as u64).to_le_bytes());
        out[58..60].copy_from_slice(&64u16.to_le_bytes());
        out[60..62].copy_from_slice(&3u16.to_le_bytes());
        out[62..64].copy_from_slice(&2u16.to_le_bytes());
        out.extend(info);
        out.extend(names);
        for (name, at, len) in [(0u32, 0, 0), (1, info_at, info.len()), (10, names_at, names.len())] {
            let mut header = vec![0u8; 64];
            header[..4].copy_from_slice(&name.to_le_bytes());
            header[24..32].copy_from_slice(&(at as u64).to_le_bytes());
            header[32..40].copy_from_slice(&(len as u64).to_le_bytes());
            out.extend(header);
        }
        out
    }

    #[test]
    fn a_module_says_what_it_drives_and_needs() {
        let text =
            b"license=GPL\0alias=pci:v1d2*\0softdep=pre: crc32c post: x\0depends=mbcache,jbd2,libcrc-x\0";
        let info = read(&elf(text)).unwrap();
        assert_eq!(info.aliases, ["pci:v1d2*"]);
        assert_eq!(info.depends, ["mbcache", "jbd2", "libcrc_x"]);
        assert_eq!(info.soft, ["crc32c"]);
        assert_eq!(read(b"no ELF"), None);
    }

    #[test]
    fn the_choice_is_closed_and_ordered() {
        let info = |depends: &[&str], alias: &str| ModInfo {
            aliases: vec![alias.to_string()],
            depends: depends.iter().map(|d| d.to_string()).collect(),
            soft: vec!["builtin".to_string()],
        };
        let all: BTreeMap<String, ModInfo> = [
            ("a".to_string(), info(&["b", "c"], "pci:a*")),
            ("b".to_string(), info(&["c"], "x")),
            ("c".to_string(), info(&["a"], "y")), // a circle must not hang
            ("d".to_string(), info(&[], "z")),
        ]
        .into();
        let choice = choose(&all, &["a".to_string()]);
        assert_eq!(choice.modules, ["a", "b", "c"]);
        assert!(choice.deps.starts_with("a: c b\n"), "{}", choice.deps);
        assert!(choice.alias.contains("pci:a* a\n") && !choice.alias.contains("z d"));
    }

    #[test]
    fn what_is_carried() {
        for yes in [
            "kernel/drivers/net/ethernet/intel/e1000e/e1000e.ko",
            "kernel/drivers/scsi/megaraid/megaraid_sas.ko",
            "kernel/drivers/block/virtio_blk.ko",
            "kernel/fs/ext4/ext4.ko",
            "kernel/crypto/crc32c_generic.ko",
        ] {
            assert!(carried(yes), "{yes}");
        }
        for no in [
            "kernel/drivers/net/wireless/ath/ath.ko",
            "kernel/drivers/usb/storage/usb-storage.ko",
            "kernel/drivers/scsi/iscsi_tcp.ko",
            "kernel/sound/soundcore.ko",
        ] {
            assert!(!carried(no), "{no}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..300), magic: bool) {
            if magic && bytes.len() > 6 { bytes[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1]); }
            let _ = read(&bytes);
        }
    }
}
