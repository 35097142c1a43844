//! Owns Debian's control format (deb822(5)): Packages, Release and dpkg status files, read as stanzas.

use crate::base::Sha256;
use std::collections::BTreeMap;

/// One stanza: its fields in the order of the file. Borrowed from the text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stanza<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Stanza<'a> {
    /// A field's value (first line trimmed, further lines as they stand); names compare without case.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| *v)
    }
    /// The binary package's source: its `Source` without the version, else its own name.
    pub fn source(&self) -> &'a str {
        let own = self.get("Package").unwrap_or_default();
        self.get("Source").map_or(own, |s| s.split(' ').next().unwrap_or(s))
    }
}

/// The stanzas of a file. Lines that are no field are skipped: indexes are verified before they are read.
pub fn stanzas(text: &str) -> impl Iterator<Item = Stanza<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            rest = rest.trim_start_matches('\n');
            if rest.is_empty() {
                return None;
            }
            let (one, tail) = rest.split_once("\n\n").unwrap_or((rest, ""));
            rest = tail;
            let stanza = stanza(one);
            if !stanza.0.is_empty() {
                return Some(stanza);
            }
        }
    })
}

fn stanza(text: &str) -> Stanza<'_> {
    let mut fields: Vec<(&str, &str)> = Vec::new();
    let mut offset = 0;
    let mut start = None;
    for line in text.split_inclusive('\n') {
        let continued = line.starts_with([' ', '\t']);
        if let (true, Some(from), Some(last)) = (continued, start, fields.last_mut()) {
            last.1 = text[from..offset + line.len()].trim_end();
        } else if let (false, Some((name, value))) = (continued, line.split_once(':')) {
            start = Some(offset + name.len() + 1 + (value.len() - value.trim_start_matches(' ').len()));
            fields.push((name, value.trim()));
        }
        offset += line.len();
    }
    Stanza(fields)
}

/// A signed Release file's list of indexes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Release {
    pub suite: String,
    pub codename: String,
    pub version: String,
    pub date: String,
    /// Path below the suite's folder → digest and size.
    pub indexes: BTreeMap<String, (Sha256, u64)>,
}

impl Release {
    /// Reads the text of a Release file, or of an InRelease file (whose signature somebody else checks).
    pub fn read(text: &str) -> Result<Release, String> {
        let body = match text.strip_prefix("-----BEGIN PGP SIGNED MESSAGE-----") {
            Some(rest) => {
                let (_, body) = rest.split_once("\n\n").ok_or("it has a signature but no content")?;
                body.split("\n-----BEGIN PGP SIGNATURE-----").next().unwrap_or(body)
            }
            None => text,
        };
        let stanza = stanzas(body).next().ok_or("it is empty")?;
        let field = |name: &str| stanza.get(name).unwrap_or_default().to_string();
        let mut indexes = BTreeMap::new();
        for line in stanza.get("SHA256").ok_or("it lists no SHA256 digests")?.lines() {
            let mut words = line.split_whitespace();
            if let (Some(digest), Some(size), Some(path)) = (words.next(), words.next(), words.next()) {
                let digest = Sha256::parse(digest)?;
                let size = size.parse().map_err(|_| format!("the size of {path} is no number"))?;
                indexes.insert(path.to_string(), (digest, size));
            }
        }
        let (suite, codename) = (field("Suite"), field("Codename"));
        Ok(Release { suite, codename, version: field("Version"), date: field("Date"), indexes })
    }
}

/// One downloadable package of an index (.deb or .udeb).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    pub name: String,
    pub version: String,
    pub source: String,
    pub priority: String,
    /// Below the archive's root: `pool/main/…`.
    pub filename: String,
    pub size: u64,
    pub sha256: Sha256,
    /// Relations, as they stand.
    pub depends: String,
    pub provides: String,
    /// For kernel modules in udebs: the kernel that they belong to.
    pub kernel: Option<String>,
    pub essential: bool,
}

/// Reads a Packages index. A stanza without file name, size or digest is left out.
pub fn packages(text: &str) -> Vec<Package> {
    stanzas(text).filter_map(|s| package(&s)).collect()
}

fn package(s: &Stanza<'_>) -> Option<Package> {
    let text = |name: &str| s.get(name).unwrap_or_default().to_string();
    let filename = text("Filename");
    if !super::manifest::is_safe_path(&filename) {
        return None;
    }
    let depends = [text("Pre-Depends"), text("Depends")];
    Some(Package {
        name: s.get("Package")?.to_string(),
        version: text("Version"),
        source: s.source().to_string(),
        priority: text("Priority"),
        filename,
        size: s.get("Size")?.parse().ok()?,
        sha256: Sha256::parse(s.get("SHA256")?).ok()?,
        depends: depends.iter().filter(|d| !d.is_empty()).cloned().collect::<Vec<_>>().join(", "),
        provides: text("Provides"),
        kernel: s.get("Kernel-Version").map(str::to_string),
        essential: s.get("Essential") == Some("yes"),
    })
}

/// The package names of a relation field: of each group the first alternative, without versions and architectures.
pub fn relation_names(relation: &str) -> impl Iterator<Item = &str> {
    relation.split(',').filter_map(|group| {
        let first = group.split('|').next()?.trim();
        let end = first.find([' ', '(', ':', '[']).unwrap_or(first.len());
        (end > 0).then_some(&first[..end])
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEX: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn stanzas_have_their_fields_also_the_long_ones() {
        let text = "Package: a\nDescription: short\n long\n .\n end\nSource: b (1.2)\n\n\nPackage: c\n";
        let all: Vec<_> = stanzas(text).collect();
        assert_eq!(all.len(), 2);
        assert_eq!(all[0].get("description"), Some("short\n long\n .\n end"));
        assert_eq!((all[0].source(), all[1].source()), ("b", "c"));
    }

    #[test]
    fn a_release_lists_its_indexes_signed_inside_or_beside() {
        let body =
            format!("Suite: stable\nCodename: trixie\nMD5Sum:\n aa 1 x\nSHA256:\n {HEX}    12 main/x.xz\n");
        let plain = Release::read(&body).unwrap();
        assert_eq!(plain.indexes["main/x.xz"], (Sha256::parse(HEX).unwrap(), 12));
        let signed = format!(
            "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n{body}-----BEGIN PGP SIGNATURE-----\n\nxx\n"
        );
        assert_eq!(Release::read(&signed).unwrap(), plain);
        assert!(Release::read("").is_err());
    }

    #[test]
    fn a_package_that_leads_out_of_the_archive_is_left_out() {
        let one = |f: &str| packages(&format!("Package: a\nFilename: {f}\nSize: 1\nSHA256: {HEX}\n")).len();
        assert_eq!((one("pool/main/a.deb"), one("../a.deb"), one("/a.deb")), (1, 0, 0));
    }

    #[test]
    fn relations_give_the_first_alternative() {
        let names: Vec<_> = relation_names("a (>= 1), b:any | c, d [amd64], ,e").collect();
        assert_eq!(names, ["a", "b", "d", "e"]);
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in "\\PC*|([A-Z]:? ?\n? ?){0,40}") {
            let _ = packages(&text);
            let _ = Release::read(&text);
        }
    }
}
