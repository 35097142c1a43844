//! Owns the GUID Partition Table (UEFI 2.10 §5.3): make one, read one, grow one to a larger disk. Bytes in, bytes out.

/// Bytes per sector: the only size that the prepared roots are made for.
pub const SECTOR: u64 = 512;
/// Partition entries of a table that we make, and bytes per entry.
const ENTRIES: u64 = 128;
const ENTRY: usize = 128;
/// Sectors of header and entries, at each end of the disk.
pub const TABLE_SECTORS: u64 = 1 + ENTRIES * ENTRY as u64 / SECTOR;

/// A GUID in the byte order of the disk.
pub type Guid = [u8; 16];

/// Partition types (UEFI 2.10 §5.3.3, the Discoverable Partitions Specification, GRUB's manual).
pub const TYPE_BIOS_BOOT: Guid = guid(0x21686148, 0x6449, 0x6E6F, 0x744E, 0x656564454649);
pub const TYPE_ESP: Guid = guid(0xC12A7328, 0xF81F, 0x11D2, 0xBA4B, 0x00A0C93EC93B);
pub const TYPE_ROOT_AMD64: Guid = guid(0x4F68BCE3, 0xE8CD, 0x4DB1, 0x96E7, 0xFBCAF984B709);

/// A GUID as it is printed → as it lies on the disk (first three fields little-endian).
const fn guid(a: u32, b: u16, c: u16, d: u16, e: u64) -> Guid {
    let (a, b, c, d, e) =
        (a.to_le_bytes(), b.to_le_bytes(), c.to_le_bytes(), d.to_be_bytes(), e.to_be_bytes());
    [a[0], a[1], a[2], a[3], b[0], b[1], c[0], c[1], d[0], d[1], e[2], e[3], e[4], e[5], e[6], e[7]]
}

/// One partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// From 1, as the kernel counts.
    pub number: u32,
    pub kind: Guid,
    pub id: Guid,
    /// First and last sector, inclusive.
    pub first: u64,
    pub last: u64,
    pub name: String,
}

/// A partition table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    pub disk: Guid,
    /// Sectors of the whole disk.
    pub sectors: u64,
    pub partitions: Vec<Partition>,
}

impl Table {
    /// The first sectors (protective MBR without boot code, header, entries) and the last ones (entries, header).
    pub fn bytes(&self) -> (Vec<u8>, Vec<u8>) {
        let mut entries = vec![0u8; ENTRIES as usize * ENTRY];
        for p in &self.partitions {
            let Some(e) = entries.chunks_exact_mut(ENTRY).nth(p.number.wrapping_sub(1) as usize) else {
                continue;
            };
            e[0..16].copy_from_slice(&p.kind);
            e[16..32].copy_from_slice(&p.id);
            e[32..40].copy_from_slice(&p.first.to_le_bytes());
            e[40..48].copy_from_slice(&p.last.to_le_bytes());
            for (slot, unit) in e[56..128].chunks_exact_mut(2).zip(p.name.encode_utf16()) {
                slot.copy_from_slice(&unit.to_le_bytes());
            }
        }
        let last = self.sectors - 1;
        let backup_entries = last - (TABLE_SECTORS - 1);
        let mut head = protective_mbr(self.sectors);
        head.extend(self.header(1, last, 2, &entries));
        head.extend(&entries);
        let mut tail = entries.clone();
        tail.extend(self.header(last, 1, backup_entries, &entries));
        (head, tail)
    }

    fn header(&self, here: u64, other: u64, entries_at: u64, entries: &[u8]) -> Vec<u8> {
        let mut h = vec![0u8; SECTOR as usize];
        h[0..8].copy_from_slice(b"EFI PART");
        h[8..12].copy_from_slice(&0x0001_0000u32.to_le_bytes());
        h[12..16].copy_from_slice(&92u32.to_le_bytes());
        h[24..32].copy_from_slice(&here.to_le_bytes());
        h[32..40].copy_from_slice(&other.to_le_bytes());
        h[40..48].copy_from_slice(&(1 + TABLE_SECTORS).to_le_bytes());
        h[48..56].copy_from_slice(&(self.sectors - 1 - TABLE_SECTORS).to_le_bytes());
        h[56..72].copy_from_slice(&self.disk);
        h[72..80].copy_from_slice(&entries_at.to_le_bytes());
        h[80..84].copy_from_slice(&(ENTRIES as u32).to_le_bytes());
        h[84..88].copy_from_slice(&(ENTRY as u32).to_le_bytes());
        h[88..92].copy_from_slice(&crc32(entries).to_le_bytes());
        let crc = crc32(&h[..92]);
        h[16..20].copy_from_slice(&crc.to_le_bytes());
        h
    }

    /// Reads the primary table out of a disk's first bytes; `None` where there is none or a checksum is wrong.
    pub fn read(head: &[u8]) -> Option<Table> {
        let h = head.get(512..1024)?;
        if &h[0..8] != b"EFI PART" {
            return None;
        }
        let u32_at = |i: usize| u32::from_le_bytes([h[i], h[i + 1], h[i + 2], h[i + 3]]);
        let u64_at = |i: usize| u64::from(u32_at(i)) | u64::from(u32_at(i + 4)) << 32;
        let size = u32_at(12) as usize;
        if !(92..=512).contains(&size) {
            return None;
        }
        let mut clean = h[..size].to_vec();
        clean[16..20].fill(0);
        if crc32(&clean) != u32_at(16) {
            return None;
        }
        let (count, entry) = (u32_at(80) as usize, u32_at(84) as usize);
        if !(ENTRY..=4096).contains(&entry) || count > 1024 {
            return None;
        }
        let start = usize::try_from(u64_at(72).checked_mul(SECTOR)?).ok()?;
        let entries = head.get(start..start.checked_add(count * entry)?)?;
        if crc32(entries) != u32_at(88) {
            return None;
        }
        let partitions = entries
            .chunks_exact(entry)
            .enumerate()
            .filter(|(_, e)| e[0..16] != [0; 16])
            .filter_map(|(i, e)| {
                let wide = |at: usize| Some(u64::from_le_bytes(e.get(at..at + 8)?.try_into().ok()?));
                let units = e[56..128].chunks_exact(2).map(|c| u16::from_le_bytes([c[0], c[1]]));
                let name: Vec<u16> = units.take_while(|u| *u != 0).collect();
                Some(Partition {
                    number: i as u32 + 1,
                    kind: e[0..16].try_into().ok()?,
                    id: e[16..32].try_into().ok()?,
                    first: wide(32)?,
                    last: wide(40)?,
                    name: String::from_utf16_lossy(&name),
                })
            })
            .collect();
        Some(Table { disk: h[56..72].try_into().ok()?, sectors: u64_at(32).checked_add(1)?, partitions })
    }

    /// The same table on a disk of `sectors`: partition `grow` ends at the disk's end (1 MiB aligned), identities new.
    ///
    /// `fresh` gives random bytes: two machines written from one image must not share disk or partition identities.
    pub fn grown(
        mut self,
        sectors: u64,
        grow: u32,
        mut fresh: impl FnMut() -> [u8; 16],
    ) -> Result<Table, String> {
        if sectors < self.sectors {
            return Err(format!("the disk has {sectors} sectors, the prepared root needs {}", self.sectors));
        }
        let end = (sectors - TABLE_SECTORS) / 2048 * 2048 - 1;
        let past = self.partitions.iter().filter(|p| p.number != grow).map(|p| p.last).max().unwrap_or(0);
        let Some(root) = self.partitions.iter_mut().find(|p| p.number == grow) else {
            return Err(format!("the prepared root has no partition {grow}"));
        };
        if past >= root.first {
            return Err(format!("partition {grow} is not the last one"));
        }
        root.last = root.last.max(end);
        self.sectors = sectors;
        self.disk = version4(fresh());
        for p in &mut self.partitions {
            p.id = version4(fresh());
        }
        Ok(self)
    }
}

/// Marks random bytes as a random GUID (RFC 9562 §5.4), in disk byte order.
pub fn version4(mut id: Guid) -> Guid {
    id[7] = id[7] & 0x0f | 0x40;
    id[8] = id[8] & 0x3f | 0x80;
    id
}

/// The protective MBR (UEFI 2.10 §5.2.3): one partition of type EE over everything.
///
/// It is marked active although UEFI says 0: some BIOSes boot only a disk with an active partition (field-pain #59).
fn protective_mbr(sectors: u64) -> Vec<u8> {
    let mut mbr = vec![0u8; 512];
    let size = u32::try_from(sectors - 1).unwrap_or(u32::MAX);
    mbr[446] = 0x80;
    mbr[447..450].copy_from_slice(&[0x00, 0x02, 0x00]);
    mbr[450] = 0xEE;
    mbr[451..454].copy_from_slice(&[0xFF, 0xFF, 0xFF]);
    mbr[454..458].copy_from_slice(&1u32.to_le_bytes());
    mbr[458..462].copy_from_slice(&size.to_le_bytes());
    mbr[510] = 0x55;
    mbr[511] = 0xAA;
    mbr
}

/// CRC-32 (IEEE 802.3), by flate2, which has it for gzip anyway.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn table() -> Table {
        let p = |number, kind, first, last, name: &str| Partition {
            number,
            kind,
            id: [number as u8; 16],
            first,
            last,
            name: name.into(),
        };
        Table {
            disk: [9; 16],
            sectors: 40960,
            partitions: vec![
                p(1, TYPE_BIOS_BOOT, 2048, 4095, "grub"),
                p(2, TYPE_ESP, 4096, 8191, "esp"),
                p(3, TYPE_ROOT_AMD64, 8192, 36863, "root"),
            ],
        }
    }

    #[test]
    fn a_printed_guid_lies_on_the_disk_as_uefi_wants_it() {
        assert_eq!(&TYPE_BIOS_BOOT, b"Hah!IdontNeedEFI");
    }

    #[test]
    fn what_is_written_is_read_and_both_ends_agree() {
        let t = table();
        let (head, tail) = t.bytes();
        assert_eq!(head.len() as u64, (1 + TABLE_SECTORS) * SECTOR);
        assert_eq!(tail.len() as u64, TABLE_SECTORS * SECTOR);
        assert_eq!(Table::read(&head), Some(t));
        assert_eq!(head[1024..], tail[..tail.len() - 512], "both copies of the entries");
        let mut bad = head.clone();
        bad[1024 + 40] ^= 1;
        assert_eq!(Table::read(&bad), None);
    }

    #[test]
    fn growing_moves_only_the_roots_end_and_renews_every_identity() {
        let mut n = 0u8;
        let g = table()
            .grown(4_194_304, 3, || {
                n += 1;
                [n; 16]
            })
            .unwrap();
        assert_eq!(g.partitions[2].last % 2048, 2047);
        assert!(g.partitions[2].last > 4_190_000 && g.partitions[2].last < g.sectors - TABLE_SECTORS);
        assert_eq!(g.partitions[1].first, 4096);
        let ids: std::collections::BTreeSet<_> = g.partitions.iter().map(|p| p.id).chain([g.disk]).collect();
        assert_eq!(ids.len(), 4);
        assert!(table().grown(100, 3, || [0; 16]).is_err());
        assert!(table().grown(50_000, 2, || [0; 16]).is_err(), "not the last one");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(head in proptest::collection::vec(any::<u8>(), 0..4096), magic: bool) {
            let mut head = head;
            if magic && head.len() > 520 { head[512..520].copy_from_slice(b"EFI PART"); }
            let _ = Table::read(&head);
        }
    }
}
