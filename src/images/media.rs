//! Owns what installation media say about themselves: .treeinfo, .discinfo, .disk/info, md5sum.txt, the MD5 in the
//! volume descriptor; and which image they are.

use super::iso::{Index, SECTOR};
use crate::base::digest::Checksum;
use std::collections::BTreeMap;

/// A `.treeinfo` file (productmd's format, and the older one of EL 7).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TreeInfo {
    pub name: String,
    pub version: String,
    /// The RPM spelling, `x86_64`.
    pub arch: String,
    pub kernel: Option<String>,
    pub initrd: Option<String>,
    /// The installer's second stage, `images/install.img`.
    pub stage2: Option<String>,
    /// Repositories by variant: path below the medium's root.
    pub repositories: BTreeMap<String, String>,
    /// By path below the medium's root.
    pub checksums: BTreeMap<String, Checksum>,
}

impl TreeInfo {
    /// Reads a file; what it does not say stays empty.
    pub fn read(text: &str) -> TreeInfo {
        let sections = ini(text);
        let get = |section: &str, key: &str| sections.get(section)?.get(key).cloned();
        let either =
            |key: &str, old: &str| get("release", key).or_else(|| get("general", old)).unwrap_or_default();
        let arch = get("tree", "arch").or_else(|| get("general", "arch")).unwrap_or_default();
        let images = format!("images-{arch}");
        let mut repositories = BTreeMap::new();
        for (section, keys) in &sections {
            if let (Some(variant), Some(repository)) =
                (section.strip_prefix("variant-"), keys.get("repository"))
            {
                repositories.insert(variant.to_string(), repository.trim_matches('/').to_string());
            }
        }
        let mut checksums = BTreeMap::new();
        for (path, value) in sections.get("checksums").into_iter().flatten() {
            if let Some(sum) = value.split_once(':').and_then(|(kind, hex)| Checksum::parse(kind, hex)) {
                checksums.insert(path.clone(), sum);
            }
        }
        TreeInfo {
            name: either("name", "family"),
            version: either("version", "version"),
            kernel: get(&images, "kernel"),
            initrd: get(&images, "initrd"),
            stage2: get("stage2", "mainimage"),
            arch,
            repositories,
            checksums,
        }
    }
}

/// Sections of an INI file; keys as they stand, `;` and `#` begin comments.
fn ini(text: &str) -> BTreeMap<String, BTreeMap<String, String>> {
    let mut out: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    let mut section = String::new();
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            section = name.trim().to_string();
        } else if !line.starts_with([';', '#'])
            && let Some((key, value)) = line.split_once('=')
        {
            out.entry(section.clone()).or_default().insert(key.trim().to_string(), value.trim().to_string());
        }
    }
    out
}

/// Lines of `md5sum`, `sha256sum` and their like: path below the medium's root → checksum.
pub fn sums(kind: &str, text: &str) -> BTreeMap<String, Checksum> {
    let line = |l: &str| {
        let (hex, path) = l.split_once(char::is_whitespace)?;
        let path = path.trim_start_matches([' ', '*', '\t']).trim_start_matches("./").trim_end();
        Some((path.to_string(), Checksum::parse(kind, hex)?))
    };
    text.lines().filter_map(line).collect()
}

/// The MD5 that a medium carries of itself (isomd5sum, "checkisomd5"): over all but the last sectors, with the
/// application area of the volume descriptor taken as blanks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Implanted {
    pub checksum: Checksum,
    /// Bytes that it covers, from the start.
    pub covered: u64,
    /// The range that counts as blanks.
    pub blank: std::ops::Range<u64>,
}

impl Implanted {
    /// What counts of the bytes at offset `at`: cut off at the end of what is covered, the blank range blanked.
    pub fn view<'a>(&self, at: u64, bytes: &'a mut [u8]) -> &'a [u8] {
        let len = bytes.len() as u64;
        let within = |offset: u64| offset.saturating_sub(at).min(len) as usize;
        bytes[within(self.blank.start)..within(self.blank.end)].fill(b' ');
        &bytes[..within(self.covered)]
    }
}

/// The implanted MD5 of an image, if it has one.
pub fn implanted(index: &Index) -> Option<Implanted> {
    let value = |key: &str| {
        let from = index.application.find(key)? + key.len();
        let rest = index.application[from..].trim_start_matches([' ', '=']);
        Some(rest.split(';').next()?.trim().to_string())
    };
    let skip: u64 = value("SKIPSECTORS")?.parse().ok()?;
    let checksum = Checksum::parse("md5", &value("ISO MD5SUM")?)?;
    let covered = index.volume_size.checked_sub(skip.checked_mul(SECTOR)?)?;
    let area = 16 * SECTOR + 883;
    Some(Implanted { checksum, covered, blank: area..area + 512 })
}

/// Which system a medium installs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Medium {
    /// What it says it is, for people.
    pub title: String,
    /// The image's name: `el9`, `debian12`, `ubuntu2404`, `openeuler` …; none if it cannot be told.
    pub name: Option<String>,
    pub arch: Option<String>,
    pub kernel: Option<String>,
    pub initrd: Option<String>,
    pub stage2: Option<String>,
}

/// Where kernel and initrd lie on media that do not say so.
const BY_PATH: [(&str, &str, &str); 8] = [
    ("images/pxeboot/vmlinuz", "images/pxeboot/initrd.img", ""),
    ("casper/vmlinuz", "casper/initrd", "ubuntu"),
    ("casper/hwe-vmlinuz", "casper/hwe-initrd", "ubuntu"),
    ("install.amd/vmlinuz", "install.amd/initrd.gz", "debian"),
    ("install.a64/vmlinuz", "install.a64/initrd.gz", "debian"),
    ("linux", "initrd.gz", "debian"),
    ("flatcar/vmlinuz", "flatcar/cpio.gz", "flatcar"),
    ("isolinux/vmlinuz", "isolinux/initrd.img", ""),
];

/// Tells what a medium is, by what it says and by what lies where.
pub fn detect(
    index: &Index,
    tree: Option<&TreeInfo>,
    disk_info: Option<&str>,
    disc_info: Option<&str>,
) -> Medium {
    let mut medium = Medium::default();
    if let Some(tree) = tree {
        medium.title = format!("{} {} {}", tree.name, tree.version, tree.arch).trim().to_string();
        medium.name = name(&tree.name, &tree.version);
        medium.arch = Some(tree.arch.clone()).filter(|a| !a.is_empty());
        medium.kernel = tree.kernel.clone();
        medium.initrd = tree.initrd.clone();
        medium.stage2 = tree.stage2.clone();
    } else if let Some(line) = disk_info.and_then(|t| t.lines().next()) {
        medium.title = line.trim().to_string();
        let version = line.split(|c: char| !c.is_ascii_digit() && c != '.').find(|w| !w.is_empty());
        medium.name = name(line, version.unwrap_or_default());
    } else if let Some(text) = disc_info {
        // Line 2 is the release, line 3 the architecture.
        let mut lines = text.lines().map(str::trim);
        medium.title = lines.nth(1).unwrap_or_default().to_string();
        medium.arch = lines.next().map(str::to_string);
        let version = medium.title.rsplit(' ').next().unwrap_or_default().to_string();
        medium.name = name(&medium.title, &version);
    }
    if medium.title.is_empty() {
        medium.title = index.volume.clone();
    }
    let present = |p: &Option<String>| p.as_deref().is_some_and(|p| index.get(p).is_some());
    if !present(&medium.kernel) || !present(&medium.initrd) {
        let found = BY_PATH.iter().find(|(k, i, _)| index.get(k).is_some() && index.get(i).is_some());
        if let Some((kernel, initrd, _)) = found {
            medium.kernel = Some(kernel.to_string());
            medium.initrd = Some(initrd.to_string());
        }
    }
    if index.files.keys().any(|p| p.starts_with("coreos/")) {
        medium.name = Some("fedora-coreos".to_string());
    }
    if medium.name.is_none() {
        medium.name = name(&index.volume, index.volume.trim_start_matches(|c: char| !c.is_ascii_digit()));
    }
    medium
}

/// The image's name for a distribution's own name and version.
fn name(distribution: &str, version: &str) -> Option<String> {
    let lower = distribution.to_lowercase();
    let major = version.split(|c: char| !c.is_ascii_digit()).next().filter(|m| !m.is_empty());
    if lower.contains("openeuler") {
        return Some("openeuler".to_string());
    }
    if lower.contains("kylin") {
        return Some("kylin".to_string());
    }
    if lower.contains("flatcar") {
        return Some("flatcar".to_string());
    }
    if lower.contains("ubuntu") {
        let digits: String = version.chars().filter(char::is_ascii_digit).take(4).collect();
        return (digits.len() == 4).then(|| format!("ubuntu{digits}"));
    }
    if lower.contains("debian") {
        return major.map(|m| format!("debian{m}"));
    }
    const EL: [&str; 8] = [
        "red hat enterprise linux",
        "rhel",
        "centos",
        "rocky",
        "almalinux",
        "oracle linux",
        "anolis",
        "scientific",
    ];
    match major {
        Some(m @ ("7" | "8" | "9" | "10")) if EL.iter().any(|e| lower.contains(e)) => Some(format!("el{m}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::iso::index;
    use super::super::iso::writer::{Entry, write};
    use super::*;
    use proptest::prelude::*;

    const TREE: &str = "[general]\nfamily = AlmaLinux\n[release]\nname = AlmaLinux\nshort = AlmaLinux\nversion = 9.4\n\
        [tree]\narch = x86_64\nvariants = AppStream,BaseOS\n[images-x86_64]\nkernel = images/pxeboot/vmlinuz\n\
        initrd = images/pxeboot/initrd.img\n[stage2]\nmainimage = images/install.img\n\
        [variant-AppStream]\nrepository = AppStream\npackages = AppStream/Packages\n[variant-BaseOS]\nrepository = BaseOS\n\
        [checksums]\nimages/install.img = md5:900150983cd24fb0d6963f7d28e17f72\n; a comment\n";

    #[test]
    fn a_treeinfo_tells_all_and_the_old_kind_tells_enough() {
        let tree = TreeInfo::read(TREE);
        assert_eq!(
            (tree.name.as_str(), tree.version.as_str(), tree.arch.as_str()),
            ("AlmaLinux", "9.4", "x86_64")
        );
        assert_eq!(tree.stage2.as_deref(), Some("images/install.img"));
        assert_eq!(tree.repositories.len(), 2);
        assert_eq!(tree.checksums.len(), 1);
        let old = TreeInfo::read(
            "[general]\nfamily = CentOS\nversion = 7\narch = x86_64\n[images-x86_64]\nkernel = k\n",
        );
        assert_eq!((old.name.as_str(), old.kernel.as_deref()), ("CentOS", Some("k")));
    }

    #[test]
    fn media_are_recognised_by_what_they_say() {
        for (distribution, version, expected) in [
            ("Rocky Linux", "9.4", Some("el9")),
            ("Red Hat Enterprise Linux", "8.10", Some("el8")),
            ("CentOS", "7", Some("el7")),
            ("AlmaLinux", "10.0", Some("el10")),
            ("openEuler", "22.03-LTS", Some("openeuler")),
            ("Kylin Linux Advanced Server", "V10", Some("kylin")),
            ("Ubuntu-Server 24.04.1 LTS", "24.04.1", Some("ubuntu2404")),
            ("Debian GNU/Linux 12.5.0", "12.5.0", Some("debian12")),
            ("Haiku", "1", None),
            ("Rocky Linux", "11", None),
        ] {
            assert_eq!(name(distribution, version).as_deref(), expected, "{distribution}");
        }
        let line = "Ubuntu-Server 24.04.1 LTS \"Noble Numbat\" - Release amd64 (20240827)";
        let files = [("casper/vmlinuz", Entry::File(vec![1])), ("casper/initrd", Entry::File(vec![1]))];
        let index = index(write(&files).as_slice()).unwrap();
        let medium = detect(&index, None, Some(line), None);
        assert_eq!(medium.name.as_deref(), Some("ubuntu2404"));
        assert_eq!(medium.kernel.as_deref(), Some("casper/vmlinuz"));
        let disc = detect(&index, None, None, Some("1714000000.1\nRocky Linux 8.9\nx86_64\nALL\n"));
        assert_eq!((disc.name.as_deref(), disc.arch.as_deref()), (Some("el8"), Some("x86_64")));
    }

    #[test]
    fn lists_of_checksums_are_read() {
        let map = sums("md5", "900150983cd24fb0d6963f7d28e17f72  ./casper/vmlinuz\nnonsense\n");
        assert_eq!(map.keys().collect::<Vec<_>>(), ["casper/vmlinuz"]);
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in "\\PC*|([\\[\\]a-z=;:\n ]{0,60})") {
            let tree = TreeInfo::read(&text);
            let index = Index { application: text.clone(), ..Index::default() };
            let _ = implanted(&index);
            let _ = detect(&index, Some(&tree), Some(&text), Some(&text));
            let _ = sums("sha256", &text);
        }
    }
}
