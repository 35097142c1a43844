//! Owns getting the distribution's signed kernel: which package, downloaded and verified by apt, unpacked.

use super::tool::run;
use crate::base::{Arch, Sha256};
use crate::problem::Problem;
use std::fs;
use std::path::{Path, PathBuf};

/// A kernel package, unpacked in a private folder.
#[derive(Debug)]
pub struct Kernel {
    pub package: String,
    pub version: String,
    /// Digest of the .deb.
    pub sha256: Sha256,
    /// Where it was unpacked.
    pub folder: PathBuf,
    /// `6.1.0-56-amd64`.
    pub release: String,
}

impl Kernel {
    pub fn image(&self) -> PathBuf {
        self.folder.join(format!("boot/vmlinuz-{}", self.release))
    }
    /// The folder with `kernel/…`: /lib or /usr/lib, as the package has it.
    pub fn modules(&self) -> PathBuf {
        let of = |lib: &str| self.folder.join(lib).join("modules").join(&self.release);
        let merged = of("usr/lib");
        if merged.exists() { merged } else { of("lib") }
    }
}

/// Gets the newest kernel of this machine's own distribution into `work`.
pub fn get(arch: Arch, work: &Path) -> Result<Kernel, Problem> {
    let meta = format!("linux-image-{}", arch.debian());
    let update = |p: Problem| p.help("run `apt-get update`, and look at this machine's apt sources");
    let shown = run("apt-cache", "apt", ["show", "--no-all-versions", &meta], work).map_err(update)?;
    let release = depends(&shown, arch).ok_or_else(|| {
        update(Problem::environment(format!("apt knows no kernel behind the package {meta}")))
    })?;
    let package = format!("linux-image-{release}");
    let shown = run("apt-cache", "apt", ["show", "--no-all-versions", &package], work).map_err(update)?;
    let field = |name: &str| shown.lines().find_map(|l| Some(l.strip_prefix(name)?.trim().to_string()));
    let version = field("Version:").unwrap_or_default();
    // apt compares what it downloads with the archive's signed index; the digest is recorded from the file itself.
    let sandbox = "APT::Sandbox::User=root";
    run("apt-get", "apt", ["-q", "-o", sandbox, "download", &format!("{package}={version}")], work)
        .map_err(update)?;
    let deb = fs::read_dir(work)
        .map_err(|e| Problem::io("read the folder", work, &e))?
        .flatten()
        .map(|e| e.path())
        .find(|p| p.extension().is_some_and(|x| x == "deb"))
        .ok_or_else(|| Problem::environment(format!("apt-get left no file for {package}")))?;
    let sha256 = crate::shelf::publish::digest(&deb)?;
    if let Some(want) = field("SHA256:").and_then(|s| Sha256::parse(&s).ok())
        && want != sha256
    {
        return Err(Problem::environment(format!(
            "{} has digest {sha256}, the archive says {want}",
            deb.display()
        ))
        .help("the download was damaged; try again"));
    }
    let folder = work.join("kernel");
    let arguments = ["-x".as_ref(), deb.as_os_str(), folder.as_os_str()];
    run("dpkg-deb", "dpkg", arguments, work)?;
    fs::remove_file(&deb).map_err(|e| Problem::io("remove", &deb, &e))?;
    Ok(Kernel { package, version, sha256, folder, release })
}

/// The concrete kernel that the meta package depends on: its release.
fn depends(shown: &str, arch: Arch) -> Option<String> {
    let line = shown.lines().find_map(|l| l.strip_prefix("Depends:"))?;
    let suffix = format!("-{}", arch.debian());
    line.split([',', '|'])
        .filter_map(|d| d.split_whitespace().next())
        .filter_map(|d| d.strip_prefix("linux-image-"))
        .find(|r| r.starts_with(|c: char| c.is_ascii_digit()) && r.ends_with(&suffix))
        .map(str::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_behind_the_meta_package() {
        let shown = "Package: linux-image-amd64\nDepends: linux-image-6.1.0-56-amd64 (= 6.1.192-2), x\n";
        assert_eq!(depends(shown, Arch::Amd64).unwrap(), "6.1.0-56-amd64");
        assert_eq!(depends(shown, Arch::Arm64), None);
        assert_eq!(depends("Depends: linux-base", Arch::Amd64), None);
    }
}
