//! Owns making a bootable raw disk of a root folder: GPT, BIOS boot partition, EFI system partition, ext4. Works on
//! plain files: no loop device, no mount.

use super::tool::run;
use crate::base::Sha256;
use crate::problem::Problem;
use crate::system::gpt::{Partition, SECTOR, TYPE_BIOS_BOOT, TYPE_ESP, TYPE_ROOT_AMD64, Table, version4};
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

const MIB: u64 = 1 << 20;
/// FAT32 needs 33 MiB; the rest is for later boot loaders and firmware updates.
const ESP_MIB: u64 = 64;
/// Sectors per MiB.
const PER_MIB: u64 = MIB / SECTOR;
/// First sector of the BIOS boot partition.
const CORE_SECTOR: u64 = PER_MIB;

/// Identities of a root's file systems.
#[derive(Debug, Clone)]
pub struct Ids {
    /// UUID of the root file system.
    pub root: String,
    /// FAT volume number, eight hexadecimal digits.
    pub esp: String,
    seed: Sha256,
}

impl Ids {
    pub fn new(seed: Sha256) -> Ids {
        let mut id = [0u8; 16];
        id.copy_from_slice(&seed.0[..16]);
        id[6] = id[6] & 0x0f | 0x40;
        id[8] = id[8] & 0x3f | 0x80;
        let hex: String = id.iter().map(|b| format!("{b:02x}")).collect();
        let root = format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]);
        Ids { root, esp: seed.to_string()[32..40].to_uppercase(), seed }
    }
    /// As fstab wants it: `ABCD-1234`.
    pub fn esp_uuid(&self) -> String {
        format!("{}-{}", &self.esp[..4], &self.esp[4..])
    }
    /// Puts the root's UUID into a text.
    pub fn fill(&self, text: &str) -> String {
        text.replace("@ROOT@", &self.root)
    }
    fn guid(&self, number: u8) -> [u8; 16] {
        let mut id = [0u8; 16];
        id.copy_from_slice(&Sha256::hmac(&self.seed.0, &[number]).0[..16]);
        version4(id)
    }
}

/// Where things are on the made disk.
#[derive(Debug)]
pub struct Layout {
    pub root_partition: u32,
}

/// GRUB's modules, so that a later grub.cfg of update-grub finds what it asks for.
pub fn copy_grub_modules(root: &Path) -> Result<(), Problem> {
    copy_modules_of(root, "i386-pc")?;
    copy_modules_of(root, "x86_64-efi")
}

fn copy_modules_of(root: &Path, platform: &str) -> Result<(), Problem> {
    let (from, to) = (root.join("usr/lib/grub").join(platform), root.join("boot/grub").join(platform));
    fs::create_dir_all(&to).map_err(|e| Problem::io("make the folder", &to, &e))?;
    for entry in fs::read_dir(&from).map_err(|e| Problem::io("read the folder", &from, &e))?.flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|x| x == "mod" || x == "lst") {
            let to = to.join(entry.file_name());
            fs::copy(&path, &to).map_err(|e| Problem::io("write", &to, &e))?;
        }
    }
    Ok(())
}

/// Makes the disk `raw` of the folder `root`.
pub fn make(root: &Path, raw: &Path, ids: &Ids, work: &Path) -> Result<Layout, Problem> {
    let core = core_image(root, ids, work)?;
    let root_mib = root_size(root, work)?;
    let table = table(root_mib, ids);
    let file = File::create(raw).map_err(|e| Problem::io("make", raw, &e))?;
    file.set_len(table.sectors * SECTOR).map_err(|e| Problem::io("make", raw, &e))?;
    let of = |n: u32| table.partitions.iter().find(|p| p.number == n).map_or(0, |p| p.first * SECTOR);

    let offset = format!("offset={},lazy_itable_init=1,lazy_journal_init=0,nodiscard", of(3));
    let size = format!("{root_mib}M");
    let arguments: [&std::ffi::OsStr; 16] = [
        "-q".as_ref(),
        "-F".as_ref(),
        "-t".as_ref(),
        "ext4".as_ref(),
        "-m".as_ref(),
        "1".as_ref(),
        "-J".as_ref(),
        "size=32".as_ref(),
        "-U".as_ref(),
        ids.root.as_ref(),
        "-d".as_ref(),
        root.as_ref(),
        "-E".as_ref(),
        offset.as_ref(),
        raw.as_ref(),
        size.as_ref(),
    ];
    run("mke2fs", "e2fsprogs", arguments, work)?;
    esp(root, raw, of(2), ids, work)?;

    let (mut head, tail) = table.bytes();
    put_boot_code(&mut head, root)?;
    let write =
        |bytes: &[u8], at: u64| file.write_all_at(bytes, at).map_err(|e| Problem::io("write", raw, &e));
    write(&tail, table.sectors * SECTOR - tail.len() as u64)?;
    write(&core, of(1))?;
    write(&head, 0)?;
    Ok(Layout { root_partition: 3 })
}

/// MiB for the root file system: what is in it, room for its own tables and for the first boot.
fn root_size(root: &Path, work: &Path) -> Result<u64, Problem> {
    let arguments = ["-s".as_ref(), "-x".as_ref(), "-k".as_ref(), root.as_os_str()];
    let du = run("du", "coreutils", arguments, work)?;
    let kib: u64 = du.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0);
    if kib == 0 {
        return Err(Problem::fault(format!("cannot tell the size of {}", root.display())));
    }
    Ok(kib / 1024 * 108 / 100 + 160)
}

fn table(root_mib: u64, ids: &Ids) -> Table {
    let at = |mib: u64| mib * PER_MIB;
    let part = |number: u32, kind, first_mib: u64, mibs: u64, name: &str| Partition {
        number,
        kind,
        id: ids.guid(number as u8),
        first: at(first_mib),
        last: at(first_mib + mibs) - 1,
        name: name.to_string(),
    };
    Table {
        disk: ids.guid(0),
        // One MiB before the first partition, one behind the last.
        sectors: at(1 + 1 + ESP_MIB + root_mib + 1),
        partitions: vec![
            part(1, TYPE_BIOS_BOOT, 1, 1, "bios"),
            part(2, TYPE_ESP, 2, ESP_MIB, "esp"),
            part(3, TYPE_ROOT_AMD64, 2 + ESP_MIB, root_mib, "root"),
        ],
    }
}

/// The EFI system partition: Debian's signed shim and GRUB, under the fallback name (every firmware finds it) and
/// under Debian's own.
fn esp(root: &Path, raw: &Path, offset: u64, ids: &Ids, work: &Path) -> Result<(), Problem> {
    let image = work.join("esp.img");
    let file = File::create(&image).map_err(|e| Problem::io("make", &image, &e))?;
    file.set_len(ESP_MIB * MIB).map_err(|e| Problem::io("make", &image, &e))?;
    let format = ["-F", "32", "-n", "ESP", "-i", ids.esp.as_str(), "esp.img"];
    run("mkfs.vfat", "dosfstools", format, work)?;
    let early = work.join("grub-esp.cfg");
    let text = ids.fill(include_str!("files/grub-early.cfg"));
    fs::write(&early, text).map_err(|e| Problem::io("write", &early, &e))?;
    run("mmd", "mtools", ["-i", "esp.img", "::EFI", "::EFI/BOOT", "::EFI/debian"], work)?;
    let shim = root.join("usr/lib/shim/shimx64.efi.signed");
    let manager = root.join("usr/lib/shim/mmx64.efi.signed");
    let grub = root.join("usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed");
    for (from, to) in [
        (&shim, "::EFI/BOOT/BOOTX64.EFI"),
        (&grub, "::EFI/BOOT/grubx64.efi"),
        (&manager, "::EFI/BOOT/mmx64.efi"),
        (&shim, "::EFI/debian/shimx64.efi"),
        (&grub, "::EFI/debian/grubx64.efi"),
        (&manager, "::EFI/debian/mmx64.efi"),
        (&early, "::EFI/debian/grub.cfg"),
    ] {
        run("mcopy", "mtools", ["-i".as_ref(), "esp.img".as_ref(), from.as_os_str(), to.as_ref()], work)?;
    }
    let bytes = fs::read(&image).map_err(|e| Problem::io("read", &image, &e))?;
    let disk = fs::OpenOptions::new().write(true).open(raw).map_err(|e| Problem::io("open", raw, &e))?;
    disk.write_all_at(&bytes, offset).map_err(|e| Problem::io("write", raw, &e))
}

/// GRUB's core for BIOS, made by the root's own GRUB, told where it will lie.
fn core_image(root: &Path, ids: &Ids, work: &Path) -> Result<Vec<u8>, Problem> {
    let early = root.join("tmp/grub-early.cfg");
    let text = ids.fill(include_str!("files/grub-early.cfg"));
    fs::write(&early, text).map_err(|e| Problem::io("write", &early, &e))?;
    let mut arguments = vec![root.as_os_str()];
    let words = "grub-mkimage -O i386-pc -d /usr/lib/grub/i386-pc -p /boot/grub -c /tmp/grub-early.cfg \
                 -o /tmp/core.img biosdisk part_gpt ext2 search search_fs_uuid normal configfile linux \
                 serial terminal echo test boot sleep reboot halt";
    arguments.extend(words.split_whitespace().map(std::ffi::OsStr::new));
    run("chroot", "coreutils", arguments, work)?;
    let made = root.join("tmp/core.img");
    let mut core = fs::read(&made).map_err(|e| Problem::io("read", &made, &e))?;
    for path in [made, early] {
        fs::remove_file(&path).map_err(|e| Problem::io("remove", &path, &e))?;
    }
    place_core(&mut core)
        .map_err(|e| Problem::fault(format!("GRUB's core image is not as expected: {e}")))?;
    Ok(core)
}

/// Writes into GRUB's core image where the rest of it lies: what grub-bios-setup does (util/setup.c).
///
/// The first sector ends with a list of (start sector, 8 bytes; count, 2 bytes; segment, 2 bytes). grub-mkimage has
/// filled in count and segment.
fn place_core(core: &mut Vec<u8>) -> Result<(), String> {
    if core.len() <= 512 || core.len() as u64 > MIB {
        return Err(format!("it has {} bytes", core.len()));
    }
    core.resize(core.len().next_multiple_of(512), 0);
    let rest = core.len() / 512 - 1;
    let count = u16::from_le_bytes([core[508], core[509]]) as usize;
    if count != rest {
        return Err(format!("it says {count} sectors, it has {rest}"));
    }
    core[500..508].copy_from_slice(&(CORE_SECTOR + 1).to_le_bytes());
    Ok(())
}

/// Puts GRUB's boot sector into the MBR: everything but the partition entries.
fn put_boot_code(head: &mut [u8], root: &Path) -> Result<(), Problem> {
    let path = root.join("usr/lib/grub/i386-pc/boot.img");
    let boot = fs::read(&path).map_err(|e| Problem::io("read", &path, &e))?;
    if boot.len() != 512 {
        return Err(Problem::fault(format!("{} has {} bytes, not 512", path.display(), boot.len())));
    }
    head[..440].copy_from_slice(&boot[..440]);
    // include/grub/i386/pc/boot.h: KERNEL_SECTOR, BOOT_DRIVE (FF: the one that the BIOS booted), DRIVE_CHECK (two
    // NOPs: trust the BIOS's drive number, as for every hard disk).
    head[0x5c..0x64].copy_from_slice(&CORE_SECTOR.to_le_bytes());
    head[0x64] = 0xff;
    head[0x66..0x68].copy_from_slice(&[0x90, 0x90]);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_aligned_and_the_core_knows_its_place() {
        let ids = Ids::new(Sha256::of(b"seed"));
        let t = table(500, &ids);
        assert!(t.partitions.iter().all(|p| p.first % 2048 == 0 && (p.last + 1) % 2048 == 0));
        assert!(t.partitions.windows(2).all(|w| w[0].last + 1 == w[1].first));
        assert_eq!(Table::read(&t.bytes().0), Some(t));
        assert_eq!(ids.root.len(), 36);
        assert_eq!(ids.esp_uuid().len(), 9);

        let mut core = vec![1u8; 1500];
        core[508..510].copy_from_slice(&2u16.to_le_bytes());
        place_core(&mut core).unwrap();
        assert_eq!(core.len(), 1536);
        assert_eq!(core[500..508], 2049u64.to_le_bytes());
        core[508] = 9;
        assert!(place_core(&mut core).is_err());
        assert!(place_core(&mut vec![0; 100]).is_err());
    }
}
