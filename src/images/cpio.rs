//! Owns the initramfs archive format: cpio "newc" (Linux Documentation/driver-api/early-userspace/buffer-format.rst).

use std::collections::BTreeMap;
use std::fmt::Write as _;

const FILE_TYPE: u32 = 0o170_000;
const LINK: u32 = 0o120_000;
const FOLDER: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;

/// One member of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// File type and permissions, as in `st_mode`.
    pub mode: u32,
    /// A file's content, a link's target.
    pub data: Vec<u8>,
}

impl Member {
    pub fn file(data: Vec<u8>, executable: bool) -> Member {
        Member { mode: REGULAR | if executable { 0o755 } else { 0o644 }, data }
    }
    pub fn folder() -> Member {
        Member { mode: FOLDER | 0o755, data: Vec::new() }
    }
    pub fn link(target: &str) -> Member {
        Member { mode: LINK | 0o777, data: target.as_bytes().to_vec() }
    }
    pub fn is_folder(&self) -> bool {
        self.mode & FILE_TYPE == FOLDER
    }
    pub fn is_file(&self) -> bool {
        self.mode & FILE_TYPE == REGULAR
    }
    /// A link's target.
    pub fn target(&self) -> Option<&str> {
        (self.mode & FILE_TYPE == LINK).then(|| std::str::from_utf8(&self.data).ok()).flatten()
    }
}

/// The members of one archive by path (`usr/bin/busybox`), without `.`.
pub type Members = BTreeMap<String, Member>;

/// Reads an uncompressed archive up to its trailer; the error says at which byte it is broken.
pub fn read(bytes: &[u8]) -> Result<Members, String> {
    let mut members = Members::new();
    // Hard links: only the last name of an inode carries the content.
    let mut twins: BTreeMap<(u32, u32, u32), Vec<String>> = BTreeMap::new();
    let mut at = 0usize;
    loop {
        let broken = |why: &str| format!("the archive is broken at byte {at}: {why}");
        let head = bytes.get(at..at + 110).ok_or_else(|| broken("it ends"))?;
        if &head[..6] != b"070701" && &head[..6] != b"070702" {
            return Err(broken("no newc header"));
        }
        let field = |n: usize| {
            std::str::from_utf8(&head[6 + 8 * n..14 + 8 * n])
                .ok()
                .and_then(|s| u32::from_str_radix(s, 16).ok())
                .ok_or_else(|| broken("a number is none"))
        };
        let (inode, mode, links, size, name_size) = (field(0)?, field(1)?, field(4)?, field(6)?, field(11)?);
        let name_end = at + 110 + name_size as usize;
        let name = bytes.get(at + 110..name_end.saturating_sub(1)).ok_or_else(|| broken("a name ends"))?;
        let name = String::from_utf8_lossy(name).into_owned();
        let start = name_end.next_multiple_of(4);
        let end = start + size as usize;
        let data = bytes.get(start..end).ok_or_else(|| broken("a file ends"))?.to_vec();
        if name == "TRAILER!!!" {
            return Ok(members);
        }
        let name = name.trim_start_matches("./").trim_matches('/').to_string();
        if links > 1 && mode & FILE_TYPE == REGULAR {
            let names = twins.entry((inode, field(7)?, field(8)?)).or_default();
            names.push(name.clone());
            if !data.is_empty() {
                for twin in names.iter() {
                    members.insert(twin.clone(), Member { mode, data: data.clone() });
                }
            }
        }
        if !name.is_empty() && name != "." && !(links > 1 && data.is_empty() && members.contains_key(&name)) {
            members.insert(name, Member { mode, data });
        }
        at = end.next_multiple_of(4);
    }
}

/// Writes an archive: members in order of path, all owned by root, at time 0, so that the same content gives the
/// same bytes.
pub fn write(members: &Members) -> Vec<u8> {
    let mut out = Vec::new();
    for (inode, (name, member)) in (1u32..).zip(members) {
        let links = if member.is_folder() { 2 } else { 1 };
        put(&mut out, inode, member.mode, links, name, &member.data);
    }
    put(&mut out, 0, 0, 1, "TRAILER!!!", &[]);
    out.resize(out.len().next_multiple_of(512), 0);
    out
}

fn put(out: &mut Vec<u8>, inode: u32, mode: u32, links: u32, name: &str, data: &[u8]) {
    let mut head = String::from("070701");
    let name_size = name.len() as u32 + 1;
    for field in [inode, mode, 0, 0, links, 0, data.len() as u32, 0, 0, 0, 0, name_size, 0] {
        let _ = write!(head, "{field:08x}");
    }
    out.extend(head.as_bytes());
    out.extend(name.as_bytes());
    out.push(0);
    out.resize(out.len().next_multiple_of(4), 0);
    out.extend(data);
    out.resize(out.len().next_multiple_of(4), 0);
}

/// Where `path` really leads in `members`, following links among its folders (`lib/x` → `usr/lib/x`).
pub fn resolve(members: &Members, path: &str) -> String {
    let mut path = path.trim_matches('/').to_string();
    // Each round resolves one link; more rounds than that is a circle.
    'rounds: for _ in 0..16 {
        for (i, _) in path.match_indices('/').collect::<Vec<_>>() {
            if let Some(target) = members.get(&path[..i]).and_then(Member::target) {
                let parent = path[..i].rsplit_once('/').map_or("", |(p, _)| p);
                let joined = if target.starts_with('/') {
                    format!("{target}{}", &path[i..])
                } else {
                    format!("{parent}/{target}{}", &path[i..])
                };
                path = normal(&joined);
                continue 'rounds;
            }
        }
        break;
    }
    path
}

/// Without empty components, `.` and `..`.
fn normal(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> Members {
        [
            ("usr/lib", Member::folder()),
            ("lib", Member::link("usr/lib")),
            ("usr/lib/x", Member::file(b"hello".to_vec(), true)),
            ("empty", Member::file(vec![], false)),
        ]
        .map(|(n, m)| (n.to_string(), m))
        .into()
    }

    #[test]
    fn what_was_written_is_read_and_links_lead_on() {
        let bytes = write(&sample());
        assert_eq!(bytes.len() % 512, 0);
        assert_eq!(read(&bytes).unwrap(), sample());
        assert_eq!(resolve(&sample(), "/lib/modules/m.ko"), "usr/lib/modules/m.ko");
        let circle: Members = [("a".to_string(), Member::link("a"))].into();
        let _ = resolve(&circle, "a/b");
    }

    proptest! {
        #[test]
        fn broken_archives_are_refused_without_panic(at in 0usize..600, value: u8, cut in 0usize..700) {
            let mut bytes = write(&sample());
            if let Some(b) = bytes.get_mut(at) {
                *b = value;
            }
            bytes.truncate(cut);
            let _ = read(&bytes);
        }
    }
}
