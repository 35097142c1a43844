//! Tests of the signature guard: every row of the table, tables of partitions, laws.

use super::*;
use proptest::prelude::*;

impl ReadAt for Vec<u8> {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let rest = self.get(offset as usize..).unwrap_or(&[]);
        let n = rest.len().min(buf.len());
        buf[..n].copy_from_slice(&rest[..n]);
        Ok(n)
    }
}

const MIB: usize = 1 << 20;

fn found(disk: &Vec<u8>) -> Vec<String> {
    scan(disk, disk.len() as u64).unwrap().iter().map(Found::to_string).collect()
}

fn with(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut disk = vec![0; 4 * MIB];
    disk[at..at + bytes.len()].copy_from_slice(bytes);
    disk
}

#[test]
fn a_blank_disk_is_blank_and_a_bare_boot_sector_too() {
    assert!(found(&vec![0; 4 * MIB]).is_empty());
    assert!(found(&with(440, &[1, 2, 3, 4])).len() == 1, "without 55 AA it is unknown data");
    let mut bare = with(440, &[1, 2, 3, 4]);
    bare[510..512].copy_from_slice(&[0x55, 0xaa]);
    assert!(found(&bare).is_empty());
    assert_eq!(found(&with(5000, b"customer")), ["data of an unknown kind on the whole disk"]);
    assert!(found(&vec![]).is_empty() && found(&vec![0; 100]).is_empty());
}

#[test]
fn every_row_is_found_on_the_disk_and_in_a_partition() {
    for (what, offset, magic) in MAGIC {
        let size = 4 * MIB;
        let at = if *offset >= 0 { *offset as usize } else { size - offset.unsigned_abs() as usize };
        let disk = with(at, magic);
        assert!(found(&disk).contains(&format!("{what} on the whole disk")), "{what}: {:?}", found(&disk));

        let table = gpt::Table {
            disk: [1; 16],
            sectors: (size / 512 + 4096) as u64,
            partitions: vec![gpt::Partition {
                number: 5,
                kind: gpt::TYPE_ROOT_AMD64,
                id: [2; 16],
                first: 2048,
                last: 2048 + (size / 512) as u64 - 1,
                name: "data".into(),
            }],
        };
        let (mut whole, tail) = table.bytes();
        whole.resize(MIB, 0);
        whole.extend(&disk);
        whole.resize(size + 2 * MIB - tail.len(), 0);
        whole.extend(&tail);
        let all = found(&whole);
        assert!(all.contains(&format!("{what} on partition 5")), "{what}: {all:?}");
        assert!(all.contains(&"GPT partition table with 1 partition on the whole disk".to_string()));
    }
}

#[test]
fn raid_at_the_end_zfs_and_ext_by_features() {
    let md = [0xfc, 0x4e, 0x2b, 0xa9];
    assert_eq!(found(&with(4 * MIB - 8192, &md)), ["Linux RAID member (1.0) on the whole disk"]);
    assert_eq!(found(&with(4 * MIB - 65536, &md)), ["Linux RAID member (0.90) on the whole disk"]);
    let uber = 0x00ba_b10cu64.to_le_bytes();
    assert_eq!(found(&with(128 * 1024 + 3 * 1024, &uber)), ["ZFS pool member on the whole disk"]);
    assert_eq!(found(&with(4 * MIB - 128 * 1024, &uber)), ["ZFS pool member on the whole disk"]);
    for (compat, incompat, name) in
        [(0u32, 0u32, "ext2 file system"), (4, 0, "ext3 file system"), (4, 0x40, "ext4 file system")]
    {
        let mut disk = with(1024 + 0x38, &[0x53, 0xef]);
        disk[1024 + 0x5c..1024 + 0x60].copy_from_slice(&compat.to_le_bytes());
        disk[1024 + 0x60..1024 + 0x64].copy_from_slice(&incompat.to_le_bytes());
        assert_eq!(found(&disk), [format!("{name} on the whole disk")]);
    }
}

#[test]
fn an_mbr_is_a_table_and_a_lone_backup_gpt_is_one_too() {
    let mut disk = with(510, &[0x55, 0xaa]);
    disk[446 + 4] = 0x83;
    disk[446 + 8..446 + 12].copy_from_slice(&2048u32.to_le_bytes());
    disk[446 + 12..446 + 16].copy_from_slice(&2048u32.to_le_bytes());
    disk[MIB..MIB + 4].copy_from_slice(b"XFSB");
    assert_eq!(
        found(&disk),
        ["MBR partition table with 1 partition on the whole disk", "xfs file system on partition 1"]
    );
    let lone = with(4 * MIB - 512, b"EFI PART");
    assert_eq!(found(&lone), ["damaged GPT partition table with 0 partitions on the whole disk"]);
}

#[test]
fn only_our_own_marker_behind_blanked_tables_counts_as_unfinished() {
    let ours = with(MARKER_AT as usize, MARKER);
    assert!(unfinished(&ours).unwrap());
    let mut later = ours.clone();
    later[512..520].copy_from_slice(b"EFI PART");
    assert!(!unfinished(&later).unwrap(), "somebody partitioned it since");
    assert!(!unfinished(&vec![0; 4 * MIB]).unwrap());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_bytes_panic_and_no_data_in_the_first_sectors_is_overlooked(
        head in proptest::collection::vec(any::<u8>(), 1..3000), at in 0usize..60_000,
    ) {
        let disk = with(at, &head);
        let blank = head.iter().all(|b| *b == 0);
        let all = found(&disk);
        let boot_sector_only = disk[512..].iter().all(|b| *b == 0);
        prop_assert!(blank || boot_sector_only || !all.is_empty(), "{all:?}");
    }
}
