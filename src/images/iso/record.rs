//! Owns directory records (ECMA-119 9.1).

use super::SECTOR;

/// One directory record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Record {
    /// First block of the extent.
    pub block: u32,
    /// Length of the extent in bytes.
    pub length: u32,
    /// Blocks of extended attributes before the content.
    pub attributes: u8,
    pub flags: u8,
    pub interleaved: bool,
    pub name: Vec<u8>,
    /// The system use area.
    pub system: Vec<u8>,
}

impl Record {
    pub fn is_folder(&self) -> bool {
        self.flags & 0x02 != 0
    }
    /// Whether the file goes on in the next record (multi-extent).
    pub fn continues(&self) -> bool {
        self.flags & 0x80 != 0
    }
}

/// Reads the record at the start of `bytes`.
pub fn read(bytes: &[u8]) -> Option<Record> {
    let length = usize::from(*bytes.first()?);
    let bytes = bytes.get(..length).filter(|b| b.len() >= 34)?;
    let u32_at = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let name_length = usize::from(bytes[32]);
    let name = bytes.get(33..33 + name_length)?.to_vec();
    // A padding byte after names of even length.
    let system = bytes.get(33 + name_length + usize::from(name_length % 2 == 0)..).unwrap_or_default();
    Some(Record {
        block: u32_at(2),
        length: u32_at(10),
        attributes: bytes[1],
        flags: bytes[25],
        interleaved: bytes[26] != 0 || bytes[27] != 0,
        name,
        system: system.to_vec(),
    })
}

/// The records of a folder's content. None crosses the end of a sector: a zero length means "go on at the next".
pub fn records(content: &[u8]) -> impl Iterator<Item = Record> + '_ {
    let mut at = 0usize;
    std::iter::from_fn(move || {
        loop {
            let rest = content.get(at..).filter(|r| !r.is_empty())?;
            if rest[0] == 0 {
                at = (at + 1).next_multiple_of(SECTOR as usize);
                continue;
            }
            at += usize::from(rest[0]);
            if let Some(record) = read(rest) {
                return Some(record);
            }
        }
    })
}
