//! Owns `Image` (what a description says) and `Stock` (what was verified and lies ready to be served).

use crate::base::{Arch, Firmware, Sha256};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One file of `images/`: which bits an operating system consists of and where they come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// The file's name without `.toml`; filled when read.
    #[serde(skip)]
    pub name: String,
    pub summary: String,
    /// The template in `kickstart/` that installs it.
    pub family: String,
    /// For templates: `9.6`, `12`, `24.04`.
    pub version: String,
    pub arch: Arch,
    /// No system of its own: the packages that the cluster's parts need, for nodes of the same Debian suite.
    #[serde(default)]
    pub pool: bool,
    /// Path of the kernel below `/images/NAME/`.
    #[serde(default)]
    pub kernel: String,
    /// Paths of the initial RAM disks, in order.
    #[serde(default)]
    pub initrd: Vec<String>,
    /// Where the installer finds packages, below `/images/NAME/`: an install tree, a Debian mirror; none if the
    /// installer needs none.
    #[serde(default)]
    pub tree: Option<String>,
    /// Further repositories below `/images/NAME/` by name (EL: AppStream).
    #[serde(default)]
    pub repos: BTreeMap<String, String>,
    /// Debian suite or Ubuntu code name (`bookworm`).
    #[serde(default)]
    pub suite: String,
    /// Debian components (`main`).
    #[serde(default)]
    pub components: Vec<String>,
    /// Words for the kernel's command line that only this image needs.
    #[serde(default)]
    pub args: String,
    /// Smallest memory of a machine that its installer runs on, in MiB: compared where a hardware report says what the
    /// machine has.
    #[serde(default)]
    pub min_memory_mib: u32,
    /// Files to download: URL and digest by path below `/images/NAME/`.
    #[serde(default)]
    pub fetch: BTreeMap<String, Download>,
    /// Files to take out of Debian packages.
    #[serde(default)]
    pub packages: Vec<FromPackage>,
    /// A partial Debian mirror, made of what the site's roles need.
    #[serde(default)]
    pub mirror: Option<Mirror>,
    /// A disk image for the fast lane, made with mmdebstrap.
    #[serde(default)]
    pub root: Option<Root>,
}

/// A file to download.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Download {
    pub url: String,
    pub sha256: Sha256Text,
    /// Bytes, if known.
    #[serde(default)]
    pub size: Option<u64>,
}

/// 64 hexadecimal digits.
pub type Sha256Text = String;

/// Files out of one Debian package, which apt downloads and verifies by the archive's signature.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FromPackage {
    /// Package name, for example `debian-installer-12-netboot-amd64`.
    pub package: String,
    /// Suite to take it from, where it is not the machine's own (`trixie`).
    #[serde(default)]
    pub suite: Option<String>,
    /// The .deb's digest: pins the version.
    #[serde(default)]
    pub sha256: Option<Sha256Text>,
    /// Path in the package → path below `/images/NAME/` (or the loader's file name).
    pub files: BTreeMap<String, String>,
}

/// A partial Debian mirror with the archive's own signed indexes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mirror {
    /// The archive's URL; none: the one that this machine's apt uses.
    #[serde(default)]
    pub url: Option<String>,
    /// Where the suite's security updates are; none: where this machine's apt has them from, or else Debian's own. Only
    /// a pool takes them: its nodes may have been installed with them, and then want everything at that version.
    #[serde(default)]
    pub security: Option<String>,
    /// Packages that every installation needs beside those of the roles.
    #[serde(default)]
    pub include: Vec<String>,
    /// Packages of firmware that network ports need: in the mirror, and their files in the initrd.
    #[serde(default)]
    pub firmware: Vec<String>,
}

/// A disk image for the fast lane.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Root {
    pub suite: String,
    /// Packages beside the essential ones (kernel, boot loaders, sshd …).
    pub include: Vec<String>,
}

/// A boot loader: one entry of `images/loaders.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Loader {
    /// The name it is served under (`snponly.efi`).
    pub file: String,
    pub arch: Arch,
    pub firmware: Firmware,
    pub sha256: Sha256Text,
    pub package: String,
    #[serde(default)]
    pub suite: Option<String>,
    /// Path in the package.
    pub path: String,
    /// Licence of the binary.
    pub licence: String,
}

/// What was verified and lies ready: image name → its files.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Stock {
    pub images: BTreeMap<String, Stocked>,
    /// Loader files at hand, by served name.
    pub loaders: BTreeMap<String, Piece>,
}

/// One image that lies ready.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Stocked {
    /// Path below `/images/NAME/` → size and digest.
    pub files: BTreeMap<String, Piece>,
    /// Installer parts that its mirror lacks: with any, the installer lane is refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gaps: Vec<String>,
}

/// One verified file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Piece {
    pub size: u64,
    pub sha256: Sha256,
}

/// What an image lacks of what its installer takes the system from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lack {
    /// The file that is not there.
    pub path: String,
    /// What it is, for people.
    pub what: &'static str,
}

/// Endings of trees that are one file: a medium, a root file system.
const FILES: [&str; 6] = [".iso", ".img", ".squashfs", ".raw", ".gz", ".xz"];

impl Image {
    /// What its installer would ask for in vain, beside kernel and initrd: the tree where that is a file, else the file
    /// that makes the tree, and each further repository, one that can be installed from. `has` knows the files that are
    /// at hand, `all` lists them.
    pub fn lacks<'a>(
        &self,
        has: &dyn Fn(&str) -> bool,
        all: &mut dyn Iterator<Item = &'a String>,
    ) -> Option<Lack> {
        let trimmed = |path: &String| match path.trim_matches('/') {
            "." => String::new(),
            path => path.to_string(),
        };
        let further: Vec<String> = self.repos.values().map(trimmed).collect();
        let tree = self.tree.as_ref().map(trimmed);
        for (at, base) in tree.iter().chain(&further).enumerate() {
            let is_tree = at == 0 && tree.is_some();
            let below = |rest: &str| format!("{base}/{rest}").trim_start_matches('/').to_string();
            let missing = if has(base) {
                None
            } else if FILES.iter().any(|ending| base.ends_with(ending)) {
                Some((base.clone(), "which its installer loads"))
            } else if self.family == "flatcar" {
                let path = below(&format!("{}/flatcar_production_image.bin.bz2", self.version));
                (!has(&path)).then_some((path, "which is written to the disk"))
            } else if !self.suite.is_empty() {
                let [release, inline] =
                    ["Release", "InRelease"].map(|f| below(&format!("dists/{}/{f}", self.suite)));
                (!has(&release) && !has(&inline)).then_some((release, "the signed index of its packages"))
            } else {
                // The trees of EL 8 and later name their repositories in .treeinfo: these lie one folder below.
                let own = |path: &&String| {
                    let folder = path.strip_suffix("/repodata/repomd.xml").unwrap_or_default();
                    let parent = folder.rsplit_once('/').map_or("", |(parent, _)| parent);
                    !folder.is_empty() && parent == base.as_str() && !further.iter().any(|r| r == folder)
                };
                let path = below("repodata/repomd.xml");
                let there = has(&path)
                    || (is_tree
                        && (has(&below("BaseOS/repodata/repomd.xml"))
                            || Iterator::find(&mut &mut *all, own).is_some()));
                (!there).then_some((path, "the list of a repository that its packages come from"))
            };
            if let Some((path, what)) = missing {
                return Some(Lack { path, what });
            }
        }
        None
    }

    /// What to run where it, or a part of it, is missing.
    fn remedy(&self) -> String {
        let fetched = !self.fetch.is_empty() || !self.packages.is_empty() || self.mirror.is_some();
        match fetched {
            true => format!("run `bootstead image fetch {}`", self.name),
            false => "run `bootstead image import FILE.iso --sha256 HEX` with the complete medium (not the boot, netinst or \
                      minimal one) and its published digest"
                .to_string(),
        }
    }
}

impl Stock {
    /// Whether `image` has all that the installer lane needs: its kernel, every initrd, and what the system comes from.
    pub fn can_install(&self, image: &Image) -> Result<(), String> {
        if image.pool {
            return Err(format!("image {} is packages for nodes that are installed already", image.name));
        }
        let Some(have) = self.images.get(&image.name) else {
            return Err(format!(
                "image {} is not here; run `bootstead image fetch {}` or `bootstead image import FILE.iso`",
                image.name, image.name
            ));
        };
        for path in std::iter::once(&image.kernel).chain(&image.initrd) {
            if !have.files.contains_key(path) {
                return Err(format!("image {} lacks {path}; {}", image.name, image.remedy()));
            }
        }
        if let Some(Lack { path, what }) =
            image.lacks(&|path| have.files.contains_key(path), &mut have.files.keys())
        {
            return Err(format!("image {} lacks {path}, {what}; {}", image.name, image.remedy()));
        }
        if let Some(gap) = have.gaps.first() {
            let more = if have.gaps.len() > 1 {
                format!(" and {} more", have.gaps.len() - 1)
            } else {
                String::new()
            };
            return Err(format!(
                "image {} lacks the installer's part {gap}{more}; fetch it from a complete mirror: `bootstead image fetch {} --mirror URL`",
                image.name, image.name
            ));
        }
        Ok(())
    }
}
