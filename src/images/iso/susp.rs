//! Owns the system use area of directory records: SUSP (IEEE P1281) with Rock Ridge (P1282) NM, SL, CL, RE, CE.

use super::ReadAt;

/// Continuation areas that one record may have.
const MAX_HOPS: usize = 32;

/// What Rock Ridge says about a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extension {
    pub name: Option<String>,
    /// Target of a symbolic link.
    pub link: Option<String>,
    /// First block of the folder that this entry stands for (CL).
    pub child: Option<u32>,
    /// This folder is shown elsewhere (RE).
    pub relocated: bool,
}

/// Whether the system use area of the root's own record announces SUSP: bytes to skip in all others.
pub fn announced(system: &[u8]) -> Option<usize> {
    let entry = system.get(..7)?;
    (&entry[..2] == b"SP" && entry[4..6] == [0xbe, 0xef]).then(|| usize::from(entry[6]))
}

/// Reads a system use area with its continuations.
pub fn read(reader: &(impl ReadAt + ?Sized), block: u64, system: &[u8]) -> Extension {
    let mut out = Extension::default();
    let (mut name, mut link) = (Vec::new(), Link::default());
    let mut area = system.to_vec();
    for _ in 0..MAX_HOPS {
        let next = entries(&area, &mut out, &mut name, &mut link);
        let Some((at, offset, length)) = next else { break };
        let mut more = vec![0u8; length.min(0x10000) as usize];
        let at = u64::from(at) * block + u64::from(offset);
        if reader.read_at(at, &mut more).is_err() {
            break;
        }
        area = more;
    }
    if !name.is_empty() {
        out.name = Some(String::from_utf8_lossy(&name).into_owned());
    }
    if link.seen {
        out.link = Some(String::from_utf8_lossy(&link.target).into_owned());
    }
    out
}

#[derive(Default)]
struct Link {
    seen: bool,
    target: Vec<u8>,
    /// The last component goes on in the next one.
    open: bool,
}

/// Reads one area; returns the place of its continuation (block, offset, length).
fn entries(area: &[u8], out: &mut Extension, name: &mut Vec<u8>, link: &mut Link) -> Option<(u32, u32, u32)> {
    let (mut rest, mut next) = (area, None);
    while let Some(&[a, b, length, _version]) = rest.first_chunk::<4>() {
        let Some(entry) = rest.get(4..usize::from(length)).filter(|_| length >= 4) else { break };
        let u32_at =
            |at: usize| -> Option<u32> { entry.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes) };
        match &[a, b] {
            // Bits 1 and 2: the names of the folder itself and of its parent.
            b"NM" if entry.first().is_some_and(|f| f & 0x06 == 0) => name.extend(&entry[1..]),
            b"SL" => components(entry.get(1..).unwrap_or_default(), link),
            b"CL" => out.child = u32_at(0),
            b"RE" => out.relocated = true,
            b"CE" => next = Some((u32_at(0)?, u32_at(8)?, u32_at(16)?)),
            b"ST" => break,
            _ => {}
        }
        rest = &rest[usize::from(length)..];
    }
    next
}

/// The components of an SL entry (P1282 4.1.3).
fn components(mut bytes: &[u8], link: &mut Link) {
    link.seen = true;
    while let Some(&[flags, length]) = bytes.first_chunk::<2>() {
        let Some(text) = bytes.get(2..2 + usize::from(length)) else { break };
        if !link.open && !link.target.is_empty() && link.target != b"/" {
            link.target.push(b'/');
        }
        match flags & 0x0e {
            0x02 => link.target.push(b'.'),
            0x04 => link.target.extend(b".."),
            0x08 => link.target = b"/".to_vec(),
            _ => link.target.extend(text),
        }
        link.open = flags & 0x01 != 0;
        bytes = &bytes[2 + usize::from(length)..];
    }
}
