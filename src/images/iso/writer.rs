//! Makes small ISO 9660 images for tests: Rock Ridge names, links, files in several extents.

use super::SECTOR;
use std::collections::BTreeMap;

/// A file of the image to make.
pub enum Entry {
    File(Vec<u8>),
    /// A file in pieces: one extent each.
    Pieces(Vec<Vec<u8>>),
    Link(String),
}

/// Writes an image with these files by path.
pub fn write(files: &[(&str, Entry)]) -> Vec<u8> {
    let mut folders: BTreeMap<String, Vec<(String, Option<&Entry>)>> = BTreeMap::new();
    folders.entry(String::new()).or_default();
    for (path, entry) in files {
        let mut below = path.to_string();
        let mut inner = Some(entry);
        loop {
            let (parent, name) = below.rsplit_once('/').map_or(("", below.as_str()), |(p, n)| (p, n));
            let list = folders.entry(parent.to_string()).or_default();
            if !list.iter().any(|(n, _)| n == name) {
                list.push((name.to_string(), inner));
            }
            if parent.is_empty() {
                break;
            }
            below = parent.to_string();
            inner = None;
            folders.entry(below.clone()).or_default();
        }
    }
    // Four sectors per folder are enough for tests; the files follow.
    let places: BTreeMap<String, u32> =
        folders.keys().enumerate().map(|(i, p)| (p.clone(), 20 + 4 * i as u32)).collect();
    let mut next = 20 + 4 * folders.len() as u32;
    let mut image = vec![0u8; next as usize * SECTOR as usize];
    for (path, entries) in &folders {
        let own = places[path];
        let mut records = vec![record(own, 8192, 2, &[0], &sp()), record(own, 8192, 2, &[1], &[])];
        for (i, (name, entry)) in entries.iter().enumerate() {
            let short = format!("F{i:07}.;1").into_bytes();
            let full = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
            let mut put = |bytes: &[u8]| {
                let at = next;
                image.extend(bytes);
                image.resize(image.len().next_multiple_of(SECTOR as usize), 0);
                next = (image.len() / SECTOR as usize) as u32;
                at
            };
            match entry {
                None => records.push(record(places[&full], 8192, 2, &short, &nm(name))),
                Some(Entry::File(bytes)) => {
                    let at = put(bytes);
                    records.push(record(at, bytes.len() as u32, 0, &short, &nm(name)));
                }
                Some(Entry::Pieces(pieces)) => {
                    for (i, bytes) in pieces.iter().enumerate() {
                        let flags = if i + 1 < pieces.len() { 0x80 } else { 0 };
                        // A gap, so that the pieces do not touch.
                        let at = put(bytes);
                        put(b"gap");
                        records.push(record(at, bytes.len() as u32, flags, &short, &nm(name)));
                    }
                }
                Some(Entry::Link(target)) => {
                    let mut system = nm(name);
                    system.extend(sl(target));
                    records.push(record(0, 0, 0, &short, &system));
                }
            }
        }
        let mut at = own as usize * SECTOR as usize;
        for r in records {
            if at % SECTOR as usize + r.len() > SECTOR as usize {
                at = at.next_multiple_of(SECTOR as usize);
            }
            image[at..at + r.len()].copy_from_slice(&r);
            at += r.len();
        }
    }
    descriptor(&mut image, places[""]);
    image
}

fn descriptor(image: &mut [u8], root: u32) {
    let blocks = (image.len() / SECTOR as usize) as u32;
    let d = &mut image[16 * SECTOR as usize..17 * SECTOR as usize];
    d[0] = 1;
    d[1..6].copy_from_slice(b"CD001");
    d[40..72].copy_from_slice(b"TEST-VOLUME                     ");
    d[80..84].copy_from_slice(&blocks.to_le_bytes());
    d[128..130].copy_from_slice(&2048u16.to_le_bytes());
    let r = record(root, 8192, 2, &[0], &[]);
    d[156..190].copy_from_slice(&r[..34]);
    d[883..1395].fill(b' ');
    let end = &mut image[17 * SECTOR as usize..18 * SECTOR as usize];
    end[0] = 255;
    end[1..6].copy_from_slice(b"CD001");
}

fn record(block: u32, length: u32, flags: u8, name: &[u8], system: &[u8]) -> Vec<u8> {
    let mut r = vec![0u8; 33];
    r[2..6].copy_from_slice(&block.to_le_bytes());
    r[10..14].copy_from_slice(&length.to_le_bytes());
    r[25] = flags;
    r[32] = name.len() as u8;
    r.extend(name);
    if name.len().is_multiple_of(2) {
        r.push(0);
    }
    r.extend(system);
    if r.len() % 2 == 1 {
        r.push(0);
    }
    r[0] = r.len() as u8;
    r
}

fn sp() -> Vec<u8> {
    vec![b'S', b'P', 7, 1, 0xbe, 0xef, 0]
}

fn nm(name: &str) -> Vec<u8> {
    let mut out = vec![b'N', b'M', 5 + name.len() as u8, 1, 0];
    out.extend(name.bytes());
    out
}

fn sl(target: &str) -> Vec<u8> {
    let mut parts = Vec::new();
    for part in target.split('/') {
        match part {
            ".." => parts.extend([4, 0]),
            part => {
                parts.extend([0, part.len() as u8]);
                parts.extend(part.bytes());
            }
        }
    }
    let mut out = vec![b'S', b'L', 5 + parts.len() as u8, 1, 0];
    out.extend(parts);
    out
}
