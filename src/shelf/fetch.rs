//! Owns `image fetch`: gets everything that an image's description names, verifies it, publishes it.

use super::apt::{Apt, Source, machine_mirror, machine_security};
use super::download::{self, Job, download_all, unpack};
use super::progress::{binary, note};
use super::stage::Stage;
use super::{LOADERS, bake, firmware, mirror, publish, tools};
use crate::base::{Arch, Sha256};
use crate::images::cpio::{self, Members};
use crate::images::{FromPackage, Image, Loader, Manifest, udebs};
use crate::problem::Problem;
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

/// What to fetch beside what the description says.
#[derive(Debug, Clone, Default)]
pub struct Wishes {
    /// Debian packages by role (or by any other reason to want them).
    pub packages: BTreeMap<String, Vec<String>>,
    /// Another archive than the one of the description or of this machine.
    pub mirror: Option<String>,
    /// The other name of the image's suite (`stable` for trixie), for archives where only that one is in step.
    pub suite: Option<String>,
    /// Refuse a loader that is not the very file that the description pins.
    pub pinned: bool,
}

/// Under this name a manifest says what was asked for, so that the same wish is known again.
pub const ASKED: &str = "asked for";

impl Wishes {
    /// A digest of the description and of these wishes.
    pub fn asked(&self, description: &impl serde::Serialize) -> String {
        let text =
            serde_json::json!([description, self.packages, self.mirror, self.suite, self.pinned]).to_string();
        Sha256::of(text.as_bytes()).to_string()
    }
}

/// Fetches `image` into the images folder. The warnings are for a person; the image is published all the same.
pub fn fetch(images: &Path, image: &Image, wishes: &Wishes) -> Result<(Manifest, Vec<Problem>), Problem> {
    if image.fetch.is_empty() && image.packages.is_empty() && image.mirror.is_none() {
        return Err(Problem::input(format!("image {} cannot be fetched", image.name))
            .why("its description names no source that this program could verify by itself")
            .help(format!("get its ISO and run `bootstead image import FILE.iso --name {}`", image.name)));
    }
    let mut stage = Stage::open(images, &image.name)?;
    stage.origin.insert(ASKED.to_string(), wishes.asked(image));
    let mut problems = Vec::new();
    let mut fetcher = Fetcher::new(&stage.work, image, wishes);
    let suite = image.suite.clone();
    if !image.fetch.is_empty() {
        // Nothing of these comes out of a distribution's archive: an image may name no suite at all.
        tools::need(&["apt-helper", "apt-config"])?;
        let apt = Apt::without_archive(&stage.work.join("apt-without-archive"), image.arch)?;
        downloads(&mut stage, &apt, image)?;
    }
    for package in &image.packages {
        let suite = package.suite.clone().unwrap_or_else(|| suite.clone());
        from_package(&mut stage, fetcher.apt(&suite)?, package)?;
    }
    if let Some(mirror) = &image.mirror {
        let apt = fetcher.apt(&suite)?;
        problems = with_mirror(&mut stage, apt, image, mirror, wishes)?;
    }
    Ok((stage.publish()?, problems))
}

/// One private apt per suite.
struct Fetcher<'a> {
    work: PathBuf,
    image: &'a Image,
    url: Option<String>,
    /// The other name under which the archive is asked for the image's suite.
    asked: Option<String>,
    apts: BTreeMap<String, Apt>,
}

impl<'a> Fetcher<'a> {
    fn new(work: &Path, image: &'a Image, wishes: &Wishes) -> Fetcher<'a> {
        let url = wishes.mirror.clone().or_else(|| image.mirror.as_ref()?.url.clone());
        let url = url.map(|u| u.trim_end_matches('/').to_string());
        Fetcher { work: work.to_path_buf(), image, url, asked: wishes.suite.clone(), apts: BTreeMap::new() }
    }
    fn apt(&mut self, suite: &str) -> Result<&Apt, Problem> {
        if !self.apts.contains_key(suite) {
            tools::need(&["apt-get", "apt-helper", "apt-config", "dpkg-deb", "gpgv"])?;
            let url = match &self.url {
                Some(url) => url.clone(),
                None => machine_mirror()?,
            };
            let dir = self.work.join(format!("apt-{suite}"));
            let mut sources = vec![Source::new(url, suite)];
            if let Some(asked) = self.asked.as_ref().filter(|_| suite == self.image.suite) {
                sources[0].asked = asked.clone();
            }
            if self.image.pool {
                let updates = Source::new(sources[0].url.clone(), format!("{suite}-updates"));
                let security = self.image.mirror.as_ref().and_then(|m| m.security.clone());
                let url = security.map_or_else(machine_security, Ok)?.trim_end_matches('/').to_string();
                sources.extend([updates, Source::new(url, format!("{suite}-security"))]);
            }
            let apt = Apt::new(&dir, sources, &self.image.components, self.image.arch)?;
            self.apts.insert(suite.to_string(), apt);
        }
        self.apts.get(suite).ok_or_else(|| Problem::fault("the private apt is gone"))
    }
}

/// Plain downloads with a pinned digest.
fn downloads(stage: &mut Stage, apt: &Apt, image: &Image) -> Result<(), Problem> {
    let mut jobs = Vec::new();
    for (path, file) in &image.fetch {
        let sha256 = Sha256::parse(&file.sha256)
            .map_err(|e| Problem::input(format!("images/{}.toml: {path}: {e}", image.name)))?;
        jobs.push(Job {
            url: file.url.clone(),
            to: stage.dir.join(path),
            size: file.size,
            sha256: Some(sha256),
        });
        stage.add(path, Some(sha256));
    }
    download_all(apt, "files", &jobs)
}

/// Files out of a package of the archive, which apt verifies by its signature.
fn from_package(stage: &mut Stage, apt: &Apt, wanted: &FromPackage) -> Result<(), Problem> {
    let (tree, version) = package_tree(&stage.work, apt, wanted)?;
    stage.origin.insert(wanted.package.clone(), version);
    for (from, to) in &wanted.files {
        let bytes = read_inside(&tree, from, &wanted.package)?;
        stage.write(to, &bytes)?;
    }
    publish::clear(&tree)
}

/// Gets and unpacks a package; returns the folder, and its version with its digest for people.
fn package_tree(work: &Path, apt: &Apt, wanted: &FromPackage) -> Result<(PathBuf, String), Problem> {
    let mut packages = apt.packages()?;
    let Some(package) = packages.remove(&wanted.package) else {
        return Err(Problem::environment(format!(
            "the archive {} has no package {}",
            apt.url, wanted.package
        )));
    };
    if let Some(pin) = &wanted.sha256 {
        let pin = Sha256::parse(pin).map_err(|e| Problem::input(format!("{}: {e}", wanted.package)))?;
        if pin != package.sha256 {
            return Err(Problem::environment(format!(
                "{} {} is not the version that the description pins",
                wanted.package, package.version
            ))
            .why(format!("the archive has sha256 {}, pinned is {pin}", package.sha256))
            .help("after a point release of the distribution: look at the change, then put the new digest into the description"));
        }
    }
    let debs = work.join("debs");
    let job = download::of_archive(&apt.url, &package.filename, &debs, package.size, package.sha256);
    download_all(apt, &wanted.package, std::slice::from_ref(&job))?;
    let tree = work.join("tree").join(&wanted.package);
    unpack(&job.to, &tree)?;
    Ok((tree, format!("{} (sha256 {})", package.version, package.sha256)))
}

fn read_inside(tree: &Path, path: &str, package: &str) -> Result<Vec<u8>, Problem> {
    let at = tree.join(path.trim_start_matches('/'));
    fs::read(&at).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => {
            Problem::environment(format!("the package {package} has no file {path} (any more)"))
                .help("correct the path in the description; `dpkg-deb -c` lists a package's files")
        }
        _ => Problem::io("read", &at, &e),
    })
}

/// The partial mirror, and what it lacks baked into the initrd.
fn with_mirror(
    stage: &mut Stage,
    apt: &Apt,
    image: &Image,
    mirror: &crate::images::Mirror,
    wishes: &Wishes,
) -> Result<Vec<Problem>, Problem> {
    let initrd = image.initrd.first().map(|path| stage.dir.join(path));
    let members = match &initrd {
        Some(path) => initrd_members(path)?,
        None => Members::new(),
    };
    let facts = udebs::look(&members);
    let mut built = mirror::build(stage, apt, image, mirror, &wishes.packages, facts.as_ref())?;
    let mut problems = std::mem::take(&mut built.problems);
    let (Some(path), Some(facts)) = (image.initrd.first(), facts) else { return Ok(problems) };
    with_firmware(stage, image, mirror, &members, &built)?;
    if built.absent.is_empty() {
        return Ok(problems);
    }
    tools::need(&["depmod"])?;
    let work = stage.work.join("bake");
    let baked = bake::bake(apt, &built, &members, &work)?;
    let lost: Vec<&String> = baked.impossible.keys().filter(|n| built.needed.contains(*n)).collect();
    if !lost.is_empty() {
        let names = lost.iter().map(|n| n.as_str()).collect::<Vec<_>>().join(", ");
        stage.gaps = lost.iter().map(|n| format!("{n} ({})", baked.impossible[*n])).collect();
        problems.push(
            Problem::environment(format!(
                "{} cannot install machines by its own installer: the mirror lacks {} parts of it",
                image.name,
                lost.len()
            ))
            .why(format!("{} lists but does not have: {names}", apt.url))
            .help("name a complete mirror: `--mirror URL`. The packages themselves are complete and served.")
            .warning(),
        );
        return Ok(problems);
    }
    if !baked.archive.is_empty() {
        append(stage, path, &baked.archive)?;
        note(&format!(
            "{} installer parts that the mirror lacks were put into the initrd",
            baked.names.len()
        ));
        stage.origin.insert("put into the initrd".to_string(), baked.names.join(" "));
    }
    let optional =
        built.absent.iter().filter(|p| !facts.installed.contains(&p.name) && !baked.names.contains(&p.name));
    let optional: Vec<&str> = optional.map(|p| p.name.as_str()).collect();
    if !optional.is_empty() {
        stage.origin.insert("optional installer parts that the mirror lacks".to_string(), optional.join(" "));
    }
    Ok(problems)
}

/// The firmware that the description names, out of the mirror's own packages into the initrd. What the archive lacks was
/// named when the mirror was made.
fn with_firmware(
    stage: &mut Stage,
    image: &Image,
    mirror: &crate::images::Mirror,
    members: &Members,
    built: &mirror::Built,
) -> Result<(), Problem> {
    let Some(path) = image.initrd.first() else { return Ok(()) };
    let base = stage.dir.join(image.tree.as_deref().unwrap_or("debian"));
    let found: Vec<(&String, PathBuf)> = mirror
        .firmware
        .iter()
        .filter_map(|name| Some((name, base.join(&built.packages.get(name)?.filename))))
        .filter(|(_, deb)| deb.is_file())
        .collect();
    let (names, debs): (Vec<&String>, Vec<PathBuf>) = found.into_iter().unzip();
    let new = firmware::members(&debs, members, &stage.work.join("firmware"))?;
    if new.is_empty() {
        return Ok(());
    }
    let bytes: usize = new.values().map(|m| m.data.len()).sum();
    let names = names.into_iter().cloned().collect::<Vec<_>>().join(" ");
    note(&format!("firmware for network ports, {}, was put into the initrd: {names}", binary(bytes as u64)));
    append(stage, path, &cpio::write(&new))?;
    stage.origin.insert("firmware in the initrd".to_string(), names);
    Ok(())
}

fn initrd_members(path: &Path) -> Result<Members, Problem> {
    let file = fs::File::open(path).map_err(|e| Problem::io("read", path, &e))?;
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(file)
        .read_to_end(&mut bytes)
        .map_err(|e| Problem::io("unpack", path, &e))?;
    cpio::read(&bytes).map_err(|e| Problem::environment(format!("{}: {e}", path.display())))
}

/// Appends an archive to an initrd: the kernel unpacks one after the other, later files replace earlier ones.
fn append(stage: &mut Stage, path: &str, archive: &[u8]) -> Result<(), Problem> {
    let at = stage.dir.join(path);
    let mut bytes = fs::read(&at).map_err(|e| Problem::io("read", &at, &e))?;
    let mut packer = flate2::write::GzEncoder::new(&mut bytes, flate2::Compression::new(6));
    packer
        .write_all(archive)
        .and_then(|()| packer.finish().map(drop))
        .map_err(|e| Problem::io("pack", &at, &e))?;
    stage.write(path, &bytes)
}

/// Whether a loader out of the archive may be served. The archive's signature vouches for it in any case; the pin says
/// which file was tried with this program. A distribution updates its loaders, so another one is a warning, and an error
/// only where the pin is insisted on.
fn judged(loader: &Loader, bytes: &[u8], version: &str, insist: bool) -> Result<Option<Problem>, Problem> {
    let found = Sha256::of(bytes);
    let pinned = Sha256::parse(&loader.sha256)
        .map_err(|e| Problem::input(format!("images/loaders.toml: {}: {e}", loader.file)))?;
    if pinned == found {
        return Ok(None);
    }
    let problem = Problem::environment(format!("the loader {} is not the one that is pinned", loader.file))
        .why(format!("{} {version} has sha256 {found}, pinned is {pinned}", loader.package));
    match insist {
        true => Err(problem.help(
            "look at the package's changelog, then fetch without --pinned, or put the new digest into images/loaders.toml of your --tree",
        )),
        false => Ok(Some(
            problem
                .help("it comes from the distribution's signed archive and is served; boot one machine with it before you travel, or insist with --pinned")
                .warning(),
        )),
    }
}

/// Fetches the boot loaders. The warnings are for a person; the loaders are published all the same.
pub fn loaders(
    images: &Path,
    loaders: &[Loader],
    wishes: &Wishes,
) -> Result<(Manifest, Vec<Problem>), Problem> {
    tools::need(&["apt-get", "apt-helper", "apt-config", "dpkg-deb"])?;
    let url = match &wishes.mirror {
        Some(url) => url.trim_end_matches('/').to_string(),
        None => machine_mirror()?,
    };
    let mut stage = Stage::open(images, LOADERS)?;
    stage.origin.insert(ASKED.to_string(), wishes.asked(&loaders));
    // Packages by where they come from, each unpacked once.
    let mut apts: BTreeMap<(String, Arch), Apt> = BTreeMap::new();
    let mut trees: BTreeMap<(String, Arch, String), (PathBuf, String)> = BTreeMap::new();
    let mut problems = Vec::new();
    for loader in loaders {
        let suite = loader.suite.clone().unwrap_or_else(|| "stable".to_string());
        let root = (suite.clone(), loader.arch);
        if !apts.contains_key(&root) {
            let dir = stage.work.join(format!("apt-{suite}-{}", loader.arch));
            let sources = vec![Source::new(url.clone(), suite.clone())];
            apts.insert(root.clone(), Apt::new(&dir, sources, &["main".to_string()], loader.arch)?);
        }
        let key = (suite, loader.arch, loader.package.clone());
        if !trees.contains_key(&key) {
            let wanted = FromPackage {
                package: loader.package.clone(),
                suite: None,
                sha256: None,
                files: BTreeMap::new(),
            };
            let work = stage.work.join(format!("{}-{}", key.0, key.1));
            let (tree, version) = package_tree(&work, &apts[&root], &wanted)?;
            stage.origin.insert(format!("{} ({})", loader.package, loader.arch), version.clone());
            let version = version.split(' ').next().unwrap_or_default().to_string();
            trees.insert(key.clone(), (tree, version));
        }
        let (tree, version) = &trees[&key];
        let bytes = read_inside(tree, &loader.path, &loader.package)?;
        problems.extend(judged(loader, &bytes, version, wishes.pinned)?);
        stage.write(&loader.file, &bytes)?;
    }
    Ok((stage.publish()?, problems))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_updated_loader_is_a_warning_and_an_error_where_the_pin_is_insisted_on() {
        let pinned = Sha256::of(b"tried").to_string();
        let loader: Loader = serde_json::from_value(serde_json::json!({
            "file": "grubx64.efi", "arch": "amd64", "firmware": "uefi", "sha256": pinned,
            "package": "grub", "path": "x", "licence": "GPL-3.0-or-later",
        }))
        .expect("a loader");
        assert!(judged(&loader, b"tried", "1", true).is_ok_and(|p| p.is_none()));
        let warning = judged(&loader, b"updated", "2", false).expect("served").expect("said");
        let said = format!("{warning}");
        assert!(said.starts_with("warning") && said.contains("grub 2 has sha256"), "{said}");
        assert!(judged(&loader, b"updated", "2", true).is_err());
    }
}
