//! Owns ISO 9660 images (ECMA-119): where in the image each file's bytes lie. Pure: bytes in, an index out.
//!
//! Names come from Rock Ridge (IEEE P1282) where there is any, else from Joliet, else they are the short ones in
//! lower case, as Linux shows them. Multi-extent files (over 4 GiB) have several extents. A hostile image costs
//! bounded time and memory and gives an error, never a panic: [`index`] is the entry point for fuzzing.

mod record;
mod susp;
#[cfg(test)]
mod tests;
#[cfg(test)]
pub mod writer;

use record::{Record, records};
use std::collections::{BTreeMap, BTreeSet};
use susp::Extension;

/// Bytes by offset.
pub trait ReadAt {
    /// Length in bytes.
    fn size(&self) -> u64;
    /// Fills `buffer` from `offset` on, or fails.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> std::io::Result<()>;
}

impl ReadAt for [u8] {
    fn size(&self) -> u64 {
        self.len() as u64
    }
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> std::io::Result<()> {
        let from = usize::try_from(offset).ok().filter(|o| *o <= self.len());
        match from.and_then(|o| self.get(o..o.checked_add(buffer.len())?)) {
            Some(bytes) => {
                buffer.copy_from_slice(bytes);
                Ok(())
            }
            None => Err(std::io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// Bytes per sector; the volume descriptors begin at sector 16.
pub const SECTOR: u64 = 2048;
/// Limits of what is read from one image.
const MAX_FILES: usize = 1_000_000;
const MAX_DEPTH: usize = 64;
const MAX_FOLDER: u32 = 64 << 20;

/// What an image holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Index {
    /// The volume identifier.
    pub volume: String,
    /// Size of the volume in bytes, as its descriptor says.
    pub volume_size: u64,
    /// Path without a leading slash → where it lies.
    pub files: BTreeMap<String, Place>,
    /// Symbolic links, as they stand: path → target.
    pub links: BTreeMap<String, String>,
    /// The descriptor's application area: installation media keep their own MD5 there.
    pub application: String,
}

/// Where a file's bytes lie.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    pub size: u64,
    /// (offset, length) in bytes, in order; none for an empty file.
    pub extents: Vec<(u64, u64)>,
}

impl Index {
    /// The file at `path`, following symbolic links inside the image.
    pub fn get(&self, path: &str) -> Option<&Place> {
        let mut path = path.to_string();
        for _ in 0..8 {
            if let Some(place) = self.files.get(&path) {
                return Some(place);
            }
            path = self.follow(&path)?;
        }
        None
    }

    /// `path` with its first link replaced by where that leads.
    fn follow(&self, path: &str) -> Option<String> {
        let ends = path.match_indices('/').map(|(i, _)| i).chain([path.len()]);
        for end in ends {
            if let Some(target) = self.links.get(&path[..end]) {
                let base = if target.starts_with('/') {
                    ""
                } else {
                    path[..end].rsplit_once('/').map_or("", |p| p.0)
                };
                let mut parts: Vec<&str> = base.split('/').filter(|p| !p.is_empty()).collect();
                for part in target.split('/').chain(path[end..].split('/')) {
                    match part {
                        "" | "." => {}
                        ".." => drop(parts.pop()),
                        part => parts.push(part),
                    }
                }
                return Some(parts.join("/"));
            }
        }
        None
    }
}

/// Reads the content of a small file; `None` if it is larger than `limit` or cannot be read.
pub fn read_small(reader: &(impl ReadAt + ?Sized), place: &Place, limit: u64) -> Option<Vec<u8>> {
    if place.size > limit {
        return None;
    }
    let mut out = Vec::with_capacity(usize::try_from(place.size).ok()?);
    for &(at, len) in &place.extents {
        let start = out.len();
        out.resize(start + usize::try_from(len).ok()?, 0);
        reader.read_at(at, &mut out[start..]).ok()?;
    }
    Some(out)
}

/// Indexes the image; the error says what is wrong with it.
pub fn index(reader: &(impl ReadAt + ?Sized)) -> Result<Index, String> {
    let volume = volume(reader)?;
    let mut walk = Walk {
        reader,
        block: volume.block,
        joliet: false,
        skip: None,
        index: Index {
            volume: volume.name.clone(),
            volume_size: volume.size,
            application: volume.application.clone(),
            ..Index::default()
        },
        seen: BTreeSet::new(),
    };
    let root = volume.root;
    walk.skip = walk.susp_skip(&root)?;
    match (walk.skip, volume.joliet) {
        (None, Some(joliet)) => {
            walk.joliet = true;
            walk.folder(&joliet, "", 0)?;
        }
        _ => walk.folder(&root, "", 0)?,
    }
    Ok(walk.index)
}

struct Volume {
    name: String,
    size: u64,
    block: u64,
    application: String,
    root: Record,
    joliet: Option<Record>,
}

/// Reads the volume descriptors.
fn volume(reader: &(impl ReadAt + ?Sized)) -> Result<Volume, String> {
    let (mut primary, mut joliet) = (None, None);
    for sector in 16..80 {
        let mut d = vec![0u8; SECTOR as usize];
        if reader.read_at(sector * SECTOR, &mut d).is_err() || &d[1..6] != b"CD001" {
            break;
        }
        match d[0] {
            1 if primary.is_none() => primary = Some(d),
            // ECMA-119 8.5.6 escape sequences of UCS-2 levels 1 to 3
            2 if matches!(&d[88..91], b"%/@" | b"%/C" | b"%/E") => joliet = record::read(&d[156..190]),
            255 => break,
            _ => {}
        }
    }
    let d = primary.ok_or("it is no ISO 9660 image (no primary volume descriptor)")?;
    let block = u64::from(u16::from_le_bytes([d[128], d[129]]));
    if !matches!(block, 512 | 1024 | 2048) {
        return Err(format!("its block size of {block} bytes is not allowed"));
    }
    let blocks = u32::from_le_bytes([d[80], d[81], d[82], d[83]]);
    let text = |range: std::ops::Range<usize>| String::from_utf8_lossy(&d[range]).trim().to_string();
    Ok(Volume {
        name: text(40..72),
        size: u64::from(blocks) * block,
        block,
        application: text(883..1395),
        root: record::read(&d[156..190]).ok_or("its root folder is broken")?,
        joliet,
    })
}

struct Walk<'a, R: ReadAt + ?Sized> {
    reader: &'a R,
    block: u64,
    joliet: bool,
    /// Rock Ridge is used; bytes to skip at the start of each system use area.
    skip: Option<usize>,
    index: Index,
    /// Folders that were read, by their block: a loop ends.
    seen: BTreeSet<u32>,
}

impl<R: ReadAt + ?Sized> Walk<'_, R> {
    fn content(&self, folder: &Record, path: &str) -> Result<Vec<u8>, String> {
        if folder.length > MAX_FOLDER {
            return Err(format!("the folder /{path} is too large to be one"));
        }
        let at = (u64::from(folder.block) + u64::from(folder.attributes)) * self.block;
        if at.saturating_add(u64::from(folder.length)) > self.reader.size() {
            return Err(format!(
                "the folder /{path} lies past the end of the file: the image is cut off or damaged"
            ));
        }
        let mut bytes = vec![0u8; folder.length as usize];
        self.reader.read_at(at, &mut bytes).map_err(|e| format!("the folder /{path} cannot be read: {e}"))?;
        Ok(bytes)
    }

    /// Whether the root's first record announces SUSP.
    fn susp_skip(&self, root: &Record) -> Result<Option<usize>, String> {
        let bytes = self.content(root, "")?;
        Ok(records(&bytes).next().and_then(|first| susp::announced(&first.system)))
    }

    fn folder(&mut self, folder: &Record, path: &str, depth: usize) -> Result<(), String> {
        if depth > MAX_DEPTH {
            return Err(format!("the folder /{path} is nested too deeply"));
        }
        if !self.seen.insert(folder.block) {
            return Ok(());
        }
        let bytes = self.content(folder, path)?;
        let mut begun: Option<(String, Place)> = None;
        for record in records(&bytes) {
            // The records of the folder itself and of its parent.
            if matches!(record.name.as_slice(), [0] | [1]) {
                continue;
            }
            let extension = match self.skip {
                Some(skip) => {
                    susp::read(self.reader, self.block, record.system.get(skip..).unwrap_or_default())
                }
                None => Extension::default(),
            };
            if extension.relocated {
                continue;
            }
            let Some(name) = self.name(&record, &extension) else { continue };
            let full = if path.is_empty() { name } else { format!("{path}/{name}") };
            if self.index.files.len() + self.index.links.len() >= MAX_FILES {
                return Err(format!("it has more than {MAX_FILES} files"));
            }
            if let Some(block) = extension.child {
                let child = self.child(block, &full)?;
                self.folder(&child, &full, depth + 1)?;
            } else if let Some(target) = extension.link {
                self.index.links.insert(full, target);
            } else if record.is_folder() {
                self.folder(&record, &full, depth + 1)?;
            } else {
                let mut place = match begun.take() {
                    Some((before, place)) if before == full => place,
                    _ => Place::default(),
                };
                self.extend(&mut place, &record, &full)?;
                if record.continues() {
                    begun = Some((full, place));
                } else {
                    self.index.files.insert(full, place);
                }
            }
        }
        match begun {
            Some((name, _)) => Err(format!("/{name} has no last extent: the image is damaged")),
            None => Ok(()),
        }
    }

    fn extend(&self, place: &mut Place, record: &Record, path: &str) -> Result<(), String> {
        if record.interleaved {
            return Err(format!("/{path} is interleaved, which no installation medium is"));
        }
        let at = (u64::from(record.block) + u64::from(record.attributes)) * self.block;
        let len = u64::from(record.length);
        if at + len > self.reader.size() {
            return Err(format!("/{path} reaches past the end of the file: the image is cut off or damaged"));
        }
        place.size = place.size.checked_add(len).ok_or_else(|| format!("/{path} is too large"))?;
        match place.extents.last_mut() {
            _ if len == 0 => {}
            Some(last) if last.0 + last.1 == at => last.1 += len,
            _ => place.extents.push((at, len)),
        }
        Ok(())
    }

    /// A folder that was moved (Rock Ridge CL): its own first record tells its length.
    fn child(&self, block: u32, path: &str) -> Result<Record, String> {
        let mut head = [0u8; 255];
        let at = u64::from(block) * self.block;
        let len = self.reader.size().saturating_sub(at).min(255) as usize;
        self.reader
            .read_at(at, &mut head[..len])
            .map_err(|e| format!("the folder /{path} cannot be read: {e}"))?;
        let first = records(&head[..len]).next().ok_or_else(|| format!("the folder /{path} is broken"))?;
        Ok(Record { block, ..first })
    }

    /// The name to use; `None` for one that cannot be a path component.
    fn name(&self, record: &Record, extension: &Extension) -> Option<String> {
        let name = match (&extension.name, self.joliet) {
            (Some(name), _) => name.clone(),
            (None, true) => {
                let units = record.name.chunks_exact(2).map(|c| u16::from_be_bytes([c[0], c[1]]));
                let name: String = char::decode_utf16(units).map(|c| c.unwrap_or('\u{fffd}')).collect();
                name.split(';').next().unwrap_or_default().to_string()
            }
            (None, false) => {
                let name = String::from_utf8_lossy(&record.name).to_lowercase();
                name.split(';').next().unwrap_or_default().trim_end_matches('.').to_string()
            }
        };
        (super::manifest::is_safe_path(&name) && !name.contains('/')).then_some(name)
    }
}
