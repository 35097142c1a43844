//! Invariant 5 under plain `cargo test`: everything that reads foreign bytes, on thousands of damaged ones.
//!
//! The same readers as the fuzz targets, with a fixed seed, so that a failure comes again. Seeds are real: captures,
//! fixtures and the files that ship.

#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

#[path = "rubbish/readers.rs"]
mod readers;
// Makes small images for the ISO reader's own tests, and seeds for these.
use bootstead::images::iso::SECTOR;
#[path = "../src/images/iso/writer.rs"]
mod writer;

use readers::READERS;
use std::path::Path;

/// xorshift64*: the same numbers everywhere.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below `folder` whose name ends with one of `ends`.
fn files(folder: &str, ends: &[&str]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(dir) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&dir) else { continue };
        let mut paths: Vec<_> = entries.map(|e| e.unwrap().path()).collect();
        paths.sort();
        for path in paths {
            if path.is_dir() {
                folders.push(path);
            } else if ends.iter().any(|e| path.to_string_lossy().ends_with(e)) {
                found.push(std::fs::read(path).unwrap());
            }
        }
    }
    found
}

/// UDP payloads of a pcap file (the classic format, Ethernet, IPv4): what the sockets were given.
fn payloads(pcap: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let mut at = 24;
    while let Some(head) = pcap.get(at..at + 16) {
        let len = u32::from_le_bytes([head[8], head[9], head[10], head[11]]) as usize;
        let Some(frame) = pcap.get(at + 16..at + 16 + len) else { break };
        at += 16 + len;
        if let Some(ip) =
            frame.get(14..).filter(|ip| ip.first().is_some_and(|v| v >> 4 == 4) && ip.get(9) == Some(&17))
        {
            let header = usize::from(ip[0] & 15) * 4;
            found.extend(ip.get(header + 8..).map(<[u8]>::to_vec));
        }
    }
    found
}

fn seeds(reader: &str) -> Vec<Vec<u8>> {
    match reader {
        "packet" => files("tests", &[".pcap"]).iter().flat_map(|p| payloads(p)).collect(),
        "tftp_name" => [
            &b"snponly.efi"[..],
            b"\\EFI\\Boot\\SNPONLY.EFI\xff",
            b"//../../etc/shadow",
            b"\0\x01undionly.kpxe\0octet\0tsize\x000\0blksize\x001468\0",
            b"\0\x01\xc3\xa9.efi\0OCTET\0windowsize\x0064\0\xff\xff",
        ]
        .map(<[u8]>::to_vec)
        .to_vec(),
        "site" => files("tests/fixtures", &[".toml"]),
        "table" => {
            let mut all = files("tests/fixtures", &[".csv", ".xlsx"]);
            all.push(
                b"mac,role,name,ip\n52:54:00:00:00:01,compute,c1,10.77.2.9\n5254.0000.0002;compute\n"
                    .to_vec(),
            );
            all.push(
                "\u{feff}MAC-Adresse;Rolle;Hostname\r\n52-54-00-00-00-03;compute;\"c \"\"3\"\"\"\r\n".into(),
            );
            all
        }
        "header" => files("kickstart", &[".j2"]),
        "door" => [
            &b"/v1/nodes/02-00-00-00-00-01/report?event=progress&step=a+b&percent=12%25&token=t\n"[..],
            b"/v1/nodes/02-00-00-00-00-01/report\n{\"event\":\"failed\",\"detail\":\"a\\u001b[2J\",\"token\":\"t\"}",
            b"/v1/nodes/02-00-00-00-00-01/report?x\nevent=begin&run=r1&token=t",
            b"/images/el9/Packages/../%2e%2e/libstdc%2B%2B.rpm\n",
            br#"{"mac":"02:00:00:00:00:01","token":"t","version":"0.1.0"}"#,
            br#"{"clock":1700000000000,"generation":3,"running":["galera.join"],"version":"0.1.0"}"#,
            br#"{"generation":3,"id":"galera.join","digest":"00","mode":"apply","failed":null,"changed":true,"millis":7,"output":"x"}"#,
            b"<13>Nov 20 15:04:05 host anaconda: Installing kernel.x86_64 (12/340)",
            b"<30>main-menu[231]: INFO: Menu item 'partman-base' selected",
            b"warming up\nrunning 6b1ee6c4-0000-0000-0000-000000000001 889 0\n",
            b"console=ttyS0 bootstead.server=http://10.0.0.1 bootstead.mac=02:00:00:00:00:01 bootstead.token=t bootstead.ip=10.0.0.2/24",
        ]
        .map(<[u8]>::to_vec)
        .to_vec(),
        "part" => files("profiles/parts", &["part.toml"]),
        "plan" => vec![own_plan()],
        "iso" => vec![
            writer::write(&[
                (".treeinfo", writer::Entry::File(b"[general]\nfamily = x\n".to_vec())),
                ("images/pxeboot/vmlinuz", writer::Entry::File(vec![7; 5000])),
                ("big", writer::Entry::Pieces(vec![vec![1; 2048], vec![2; 100]])),
                ("dists/stable", writer::Entry::Link("trixie".into())),
            ]),
            writer::write(&[("a", writer::Entry::File(Vec::new()))]),
        ],
        "disk" => disks(),
        other => panic!("no seeds for {other}"),
    }
}

/// A small plan with a step of each part of the laboratory's cluster.
fn own_plan() -> Vec<u8> {
    use bootstead::site::{Catalog, Files, check};
    let catalog = Catalog::read(&bootstead::tree::Tree::embedded()).unwrap();
    let text = include_str!("lab/cluster.site.toml");
    let (site, _) = check(&Files::only("site.toml", text), &catalog);
    let work = bootstead::lifecycle::Work::default();
    let mut plan = bootstead::cluster::plan(&site.unwrap(), &catalog, &work, &Default::default()).unwrap();
    plan.steps.truncate(60);
    serde_json::to_vec(&plan).unwrap()
}

/// The first bytes of disks in use: a partition table with LVM, a file system, boot code alone, ours in mid-write.
fn disks() -> Vec<Vec<u8>> {
    let blank = || vec![0u8; 600 * 1024];
    let put = |at: usize, bytes: &[u8]| {
        let mut disk = blank();
        disk[at..at + bytes.len()].copy_from_slice(bytes);
        disk
    };
    let mut lvm = put(1024 * 1024 / 2 + 512, b"LABELONE");
    lvm[510..512].copy_from_slice(&[0x55, 0xaa]);
    lvm[446..462].copy_from_slice(&[0, 0, 0, 0, 0x8e, 0, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0]);
    let mut gpt = put(512, b"EFI PART\0\0\x01\0\x5c\0\0\0");
    gpt[510..512].copy_from_slice(&[0x55, 0xaa]);
    gpt[450] = 0xee;
    let ours = put(bootstead::system::signs::MARKER_AT as usize, bootstead::system::signs::MARKER);
    vec![lvm, gpt, put(1080, &[0x53, 0xef]), put(510, &[0x55, 0xaa]), ours]
}

/// One to eight damages of the kinds that fuzzers know to find things.
fn damage(bytes: &mut Vec<u8>, other: &[u8], n: &mut Numbers) {
    const WORDS: [&[u8]; 14] = [
        b"\"",
        b"'''",
        b"[",
        b"]]",
        b"=",
        b"\n",
        b"\0",
        b"{{",
        b"%}",
        b"-1",
        b"18446744073709551616",
        b"\xff\xfe",
        b"10.77.0.0/33",
        "\u{202e}ü".as_bytes(),
    ];
    for _ in 0..=n.below(8) {
        let at = n.below(bytes.len() + 1);
        match n.below(7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << n.below(8),
            1 if at < bytes.len() => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][n.below(5)],
            2 => bytes.truncate(at),
            3 => {
                let end = (at + n.below(40)).min(bytes.len());
                bytes.drain(at..end);
            }
            4 => {
                let word = WORDS[n.below(WORDS.len())];
                bytes.splice(at..at, word.iter().copied());
            }
            5 => {
                let from = n.below(other.len() + 1);
                let to = (from + n.below(60)).min(other.len());
                bytes.splice(at..at, other[from..to].iter().copied());
            }
            _ => {
                let end = (at + n.below(30)).min(bytes.len());
                let part = bytes[at..end].to_vec();
                bytes.splice(at..at, part);
            }
        }
    }
}

/// How many damaged inputs per reader: by what one costs in a debug build.
fn rounds(reader: &str) -> usize {
    let more: usize = std::env::var("BOOTSTEAD_RUBBISH").ok().and_then(|v| v.parse().ok()).unwrap_or(1);
    more * match reader {
        "packet" => 20_000,
        "tftp_name" => 50_000,
        "door" => 20_000,
        "site" | "table" => 1500,
        "plan" | "iso" | "disk" => 1000,
        // These read the whole tree anew.
        _ => 200,
    }
}

/// Zero, unless another run is wanted: then not the same inputs again.
fn other_numbers() -> u64 {
    std::env::var("BOOTSTEAD_RUBBISH_SEED").ok().and_then(|v| v.parse().ok()).unwrap_or(0)
}

#[test]
fn nothing_that_arrives_panics() {
    for (name, reader) in READERS {
        let seeds = seeds(name);
        assert!(!seeds.is_empty(), "no seeds for {name}");
        let mut n = Numbers(0x0b00_75ea_d000_0001 ^ name.len() as u64 ^ other_numbers() << 8);
        for seed in &seeds {
            reader(seed);
        }
        for round in 0..rounds(name) {
            let mut bytes = seeds[n.below(seeds.len())].clone();
            damage(&mut bytes, &seeds[n.below(seeds.len())], &mut n);
            let shown = bytes.clone();
            if std::panic::catch_unwind(move || reader(&bytes)).is_err() {
                let path = std::env::temp_dir().join(format!("bootstead-rubbish-{name}-{round}"));
                std::fs::write(&path, shown).unwrap();
                panic!("{name} panicked in round {round}; the bytes are in {}", path.display());
            }
        }
    }
}

/// Where BOOTSTEAD_SEEDS names a folder, the seeds are written there: the fuzzers begin with them.
#[test]
fn the_seeds_for_the_fuzzers() {
    let folder = std::env::var_os("BOOTSTEAD_SEEDS").map(std::path::PathBuf::from);
    for (name, _) in READERS {
        let seeds = seeds(name);
        assert!(seeds.iter().any(|s| !s.is_empty()), "no seed for {name}");
        let Some(folder) = folder.as_ref().map(|f| f.join(name)) else { continue };
        std::fs::create_dir_all(&folder).unwrap();
        for (i, seed) in seeds.iter().enumerate() {
            std::fs::write(folder.join(format!("seed-{i:03}")), seed).unwrap();
        }
    }
}

#[test]
fn every_reader_has_its_fuzz_target() {
    for (name, _) in READERS {
        let target = root().join(format!("fuzz/fuzz_targets/{name}.rs"));
        let text = std::fs::read_to_string(&target).unwrap_or_default();
        assert!(text.contains(&format!("readers::{name}")), "{} does not fuzz {name}", target.display());
    }
}
