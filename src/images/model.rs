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
    /// Smallest memory of a machine that can install it, in MiB.
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

impl Stock {
    /// Whether `image` has all that the installer lane needs: its kernel and every initrd.
    pub fn can_install(&self, image: &Image) -> Result<(), String> {
        if image.pool {
            return Err(format!("image {} is packages for nodes that are installed already", image.name));
        }
        let missing = |what: &str| {
            Err(format!("image {} lacks {what}; run `bootstead image fetch {}`", image.name, image.name))
        };
        let Some(have) = self.images.get(&image.name) else {
            return Err(format!(
                "image {} is not here; run `bootstead image fetch {}` or `bootstead image import FILE.iso`",
                image.name, image.name
            ));
        };
        for path in std::iter::once(&image.kernel).chain(&image.initrd) {
            if !have.files.contains_key(path) {
                return missing(path);
            }
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
