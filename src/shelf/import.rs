//! Owns `image import`: an ISO that a person has becomes an image, served from inside the ISO without unpacking.
//!
//! What may be served is decided by the medium's own checksums (.treeinfo, repodata, md5sum.txt, the implanted MD5),
//! or by the digest that the person gives. A file that nothing vouches for is left out.

use super::progress::Progress;
use super::publish;
use crate::base::Sha256;
use crate::base::digest::{Checker, Checksum, Hasher};
use crate::images::iso::{self, Index, Place, ReadAt};
use crate::images::manifest::{FORMAT, is_image_name};
use crate::images::media::{self, Medium, TreeInfo};
use crate::images::{Held, Image, Manifest, repodata};
use crate::problem::{Problem, Problems};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// The ISO's name in the image's folder; where all of it was verified it is served under that name too.
pub const MEDIUM: &str = "media.iso";

/// How to import.
#[derive(Debug, Clone, Default)]
pub struct Wishes {
    /// The image's name, where the medium does not tell or another one is wanted.
    pub name: Option<String>,
    /// The ISO's digest, from where it was published.
    pub sha256: Option<Sha256>,
    /// Link the ISO into the store instead of copying it.
    pub link: bool,
}

/// What was imported.
pub struct Imported {
    pub name: String,
    pub title: String,
    pub manifest: Manifest,
    /// Files that nothing vouches for.
    pub left_out: Vec<String>,
}

struct Disc(File, u64);

impl ReadAt for Disc {
    fn size(&self) -> u64 {
        self.1
    }
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> std::io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }
}

impl Disc {
    fn open(path: &Path) -> Result<Disc, Problem> {
        let failed = |e: std::io::Error| Problem::io("read", path, &e);
        let file = File::open(path).map_err(failed)?;
        let meta = file.metadata().map_err(failed)?;
        if !meta.is_file() {
            return Err(Problem::input(format!("{} is not a file", path.display())));
        }
        Ok(Disc(file, meta.len()))
    }
    fn text(&self, index: &Index, path: &str) -> Option<String> {
        let bytes = iso::read_small(self, index.get(path)?, 64 << 20)?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// Imports `file` into the images folder. `described` are the images of the tree, by name.
pub fn import(
    images: &Path,
    file: &Path,
    described: &BTreeMap<String, Image>,
    wishes: &Wishes,
) -> Result<Imported, Problems> {
    let disc = Disc::open(file)?;
    let shown = file.display();
    let index = iso::index(&disc).map_err(|e| {
        Problem::input(format!("{shown} cannot be used: {e}"))
            .help("download it again and compare its checksum")
    })?;
    let tree = disc.text(&index, ".treeinfo").or_else(|| disc.text(&index, "treeinfo"));
    let tree = tree.map(|t| TreeInfo::read(&t));
    let medium = media::detect(
        &index,
        tree.as_ref(),
        disc.text(&index, ".disk/info").as_deref(),
        disc.text(&index, ".discinfo").as_deref(),
    );
    let name = name(&medium, wishes, &shown.to_string())?;
    complete(&index, &medium, described.get(&name), &shown.to_string())?;
    let _claim = publish::claim(images, &name)?;
    let work = publish::work_dir(images, &name)?;
    publish::clear(&work)?;
    let stage = work.join("stage");
    fs::create_dir_all(&stage).map_err(|e| Problem::io("make the folder", &stage, &e))?;
    let result = verified(file, &stage, &index, tree.as_ref(), wishes);
    let result = result.and_then(|(mut manifest, left_out)| {
        needed(&manifest, &medium, described.get(&name), &shown.to_string())?;
        manifest.origin.insert("medium".to_string(), medium.title.clone());
        let own = file.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        manifest.origin.insert("file".to_string(), own);
        publish::publish(images, &name, &stage, &manifest)?;
        Ok(Imported { name: name.clone(), title: medium.title.clone(), manifest, left_out })
    });
    // An import begins anew each time: nothing of it is worth keeping.
    publish::clear(&work)?;
    result
}

fn name(medium: &Medium, wishes: &Wishes, shown: &str) -> Result<String, Problem> {
    let name = wishes.name.clone().or_else(|| {
        let name = medium.name.clone()?;
        Some(if medium.arch.as_deref() == Some("aarch64") { format!("{name}-arm64") } else { name })
    });
    let Some(name) = name else {
        return Err(Problem::input(format!(
            "{shown} does not say what it is (it calls itself {:?})",
            medium.title
        ))
        .help("name the image: `--name NAME`"));
    };
    if !is_image_name(&name) || name == super::LOADERS {
        return Err(Problem::input(format!("{name:?} cannot name an image"))
            .help("use letters, digits, `.`, `_` and `-`, at most 64"));
    }
    Ok(name)
}

/// Kernel, initrd and second stage belong together: all that the medium and the description name must be there.
fn complete(index: &Index, medium: &Medium, described: Option<&Image>, shown: &str) -> Result<(), Problem> {
    let own = [&medium.kernel, &medium.initrd, &medium.stage2];
    let own = own.into_iter().flatten().map(|p| (p.as_str(), "its .treeinfo"));
    let wanted = described.iter().flat_map(|i| std::iter::once(&i.kernel).chain(&i.initrd));
    for (path, by) in own.chain(wanted.map(|p| (p.as_str(), "the image's description"))) {
        if index.get(path).is_none() {
            return Err(Problem::input(format!("{shown} lacks {path}, which {by} names"))
                .why(format!("it is {:?}", medium.title))
                .help("a netinst, boot or live medium of another kind may be needed, or another `--name`"));
        }
    }
    if medium.kernel.is_none() || medium.initrd.is_none() {
        return Err(Problem::input(format!("{shown} has no kernel and initrd to boot from the network")));
    }
    let has = |path: &str| path == MEDIUM || index.get(path).is_some();
    if let Some(lack) = described.and_then(|image| image.lacks(&has, &mut index.files.keys())) {
        return Err(Problem::input(format!("{shown} lacks {}, {}", lack.path, lack.what))
            .why(format!("it is {:?}, and the image's description names that as the source", medium.title))
            .help(
                "take the full medium (the DVD, not the boot, netinst or minimal one), or another `--name`",
            ));
    }
    Ok(())
}

/// After verification: what is needed must be among what may be served.
fn needed(
    manifest: &Manifest,
    medium: &Medium,
    described: Option<&Image>,
    shown: &str,
) -> Result<(), Problem> {
    let own = [&medium.kernel, &medium.initrd, &medium.stage2].into_iter().flatten();
    let wanted = described.iter().flat_map(|i| std::iter::once(&i.kernel).chain(&i.initrd));
    let has = |path: &str| manifest.files.contains_key(path);
    let source = described.and_then(|image| image.lacks(&has, &mut manifest.files.keys()));
    let missing = own.chain(wanted).find(|path| !has(path)).cloned().or(source.map(|lack| lack.path));
    match missing {
        None => Ok(()),
        Some(path) => Err(Problem::input(format!("{path} of {shown} cannot be verified"))
            .why(match path == MEDIUM {
                true => "it is the medium as a whole, and its checksums leave some of its files out",
                false => "no checksum on the medium covers it",
            })
            .help("give the digest that was published with the ISO: `--sha256 HEX`")),
    }
}

/// Puts the ISO into `stage`, checks all that can be checked, and lists what may be served.
fn verified(
    file: &Path,
    stage: &Path,
    index: &Index,
    tree: Option<&TreeInfo>,
    wishes: &Wishes,
) -> Result<(Manifest, Vec<String>), Problems> {
    let at = stage.join(MEDIUM);
    let implanted = media::implanted(index);
    let whole = copy(file, &at, wishes.link, implanted.as_ref())?;
    if let Some(wanted) = wishes.sha256
        && wanted != whole.sha256
    {
        return Err(Problem::input(format!("{} is not the file whose digest was given", file.display()))
            .why(format!("its sha256 is {}, given was {wanted}", whole.sha256))
            .help("download it again")
            .into());
    }
    let disc = Disc::open(&at)?;
    let sums =
        checksums(&disc, index, tree).map_err(|e| Problem::input(format!("{}: {e}", file.display())))?;
    let mut damaged = Problems::default();
    for path in sums.keys().filter(|p| index.get(p).is_none()) {
        damaged.push(damage(file, path, "the medium's own list names it, and it is not there"));
    }
    let all = wishes.sha256.is_some() || whole.implanted == Some(true);
    let (mut manifest, mut left_out) = (Manifest { format: FORMAT, ..Manifest::default() }, Vec::new());
    let mut progress = Progress::new("verifying", index.files.values().map(|p| p.size).sum());
    for (path, place) in &index.files {
        let checker = sums.get(path).map(Checksum::checker);
        let known = checker.is_some();
        let (sha256, holds) = read(&disc, place, checker, &mut progress)
            .map_err(|e| damage(file, path, &format!("it cannot be read: {e}")))?;
        if !holds {
            damaged.push(damage(file, path, "it does not have the checksum that the medium states"));
        } else if known || all || anchors(path) {
            let extents = if place.size == 0 { vec![(0, 0)] } else { place.extents.clone() };
            manifest
                .files
                .insert(path.clone(), Held { size: place.size, sha256, at: MEDIUM.to_string(), extents });
        } else {
            left_out.push(path.clone());
        }
    }
    progress.finish();
    if whole.implanted == Some(false) && damaged.0.is_empty() {
        damaged.push(damage(file, "", "it does not have the MD5 that the medium carries of itself"));
    }
    if !damaged.0.is_empty() {
        return Err(damaged);
    }
    // Links of the medium are served like what they lead to.
    for path in index.links.keys() {
        let target = index.get(path).and_then(|p| manifest.files.values().find(|h| h.extents == p.extents));
        if let Some(held) = target.cloned() {
            manifest.files.insert(path.clone(), held);
        }
    }
    let stored = publish::state(&at, whole.sha256)?;
    if all || left_out.iter().all(|p| trivial(p)) {
        let held =
            Held { size: stored.size, sha256: stored.sha256, at: MEDIUM.to_string(), extents: Vec::new() };
        manifest.files.insert(MEDIUM.to_string(), held);
    }
    manifest.stored.insert(MEDIUM.to_string(), stored);
    Ok((manifest, left_out))
}

fn damage(file: &Path, path: &str, why: &str) -> Problem {
    let inside = if path.is_empty() { String::new() } else { format!(":/{path}") };
    Problem::input(format!("{}{inside} is damaged", file.display()))
        .why(why)
        .help("nothing was imported; download the ISO again")
}

/// Files that carry the checksums: they vouch for themselves by fitting together with all that they list.
fn anchors(path: &str) -> bool {
    matches!(path, ".treeinfo" | "treeinfo" | ".discinfo" | "md5sum.txt" | "sha256sum.txt" | ".disk/info")
        || path.ends_with("repodata/repomd.xml")
}

/// Files that no list can hold, because they are made after it (boot catalogues, patched boot images).
fn trivial(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path).to_lowercase();
    matches!(name.as_str(), "boot.cat" | "boot.catalog" | "isolinux.bin" | "eltorito.img" | "md5sum.txt")
}

/// Every checksum that the medium states: path → checksum. Checks the repositories' own chain on the way.
fn checksums(
    disc: &Disc,
    index: &Index,
    tree: Option<&TreeInfo>,
) -> Result<BTreeMap<String, Checksum>, String> {
    let mut out = BTreeMap::new();
    for (list, kind) in [("md5sum.txt", "md5"), ("sha256sum.txt", "sha256")] {
        if let Some(text) = disc.text(index, list) {
            out.extend(media::sums(kind, &text));
        }
    }
    out.extend(tree.into_iter().flat_map(|t| t.checksums.clone()));
    let repositories: Vec<String> = index
        .files
        .keys()
        .filter_map(|p| p.strip_suffix("repodata/repomd.xml").map(|d| d.to_string()))
        .collect();
    for base in repositories {
        let path = format!("{base}repodata/repomd.xml");
        let text = disc.text(index, &path).ok_or(format!("/{path} cannot be read"))?;
        let lists = repodata::repomd(&text).map_err(|e| format!("/{path}: {e}"))?;
        for (href, checksum) in lists.values() {
            out.insert(format!("{base}{href}"), checksum.clone());
        }
        let Some((href, checksum)) = lists.get("primary") else { continue };
        let path = format!("{base}{href}");
        let bytes = index.get(&path).and_then(|p| iso::read_small(disc, p, 1 << 30));
        let bytes = bytes.ok_or(format!("/{path} is missing"))?;
        let mut checker = checksum.checker();
        checker.update(&bytes);
        if !checker.holds() {
            return Err(format!("/{path} is damaged: it does not have the checksum that repomd.xml states"));
        }
        let text = repodata::unpack(href, &bytes).map_err(|e| format!("/{path}: {e}"))?;
        for (href, (checksum, _)) in repodata::primary(&text).map_err(|e| format!("/{path}: {e}"))? {
            // A network repository may list what its DVD does not hold; the installer then never asks for it.
            if index.get(&format!("{base}{href}")).is_some() {
                out.insert(format!("{base}{href}"), checksum);
            }
        }
    }
    Ok(out)
}

fn read(
    disc: &Disc,
    place: &Place,
    mut checker: Option<Checker>,
    progress: &mut Progress,
) -> std::io::Result<(Sha256, bool)> {
    let (mut hasher, mut buffer) = (Hasher::new(), vec![0u8; 1 << 18]);
    for &(mut at, mut left) in &place.extents {
        while left > 0 {
            let n = left.min(buffer.len() as u64) as usize;
            disc.read_at(at, &mut buffer[..n])?;
            hasher.update(&buffer[..n]);
            if let Some(checker) = &mut checker {
                checker.update(&buffer[..n]);
            }
            progress.add(n as u64);
            at += n as u64;
            left -= n as u64;
        }
    }
    Ok((hasher.finish(), checker.is_none_or(Checker::holds)))
}

/// The whole ISO, read once.
struct Whole {
    sha256: Sha256,
    /// Whether the implanted MD5 holds, where there is one.
    implanted: Option<bool>,
}

/// Copies (or links) the ISO to `to` and reads all of it once.
fn copy(from: &Path, to: &Path, link: bool, implanted: Option<&media::Implanted>) -> Result<Whole, Problem> {
    let reading = |e: std::io::Error| Problem::io("read", from, &e);
    let writing = |e: std::io::Error| Problem::io("write", to, &e);
    let mut input = File::open(from).map_err(reading)?;
    let mut output = None;
    if link {
        fs::hard_link(from, to).map_err(|e| {
            Problem::io("link the ISO into the store as", to, &e)
                .help("without --link it is copied; a link needs both on one file system")
        })?;
    } else {
        output = Some(File::create(to).map_err(writing)?);
    }
    let size = input.metadata().map_err(reading)?.len();
    let mut progress = Progress::new(if link { "reading" } else { "copying" }, size);
    let (mut hasher, mut checker) = (Hasher::new(), implanted.map(|i| i.checksum.checker()));
    let (mut at, mut buffer) = (0u64, vec![0u8; 1 << 18]);
    loop {
        let n = input.read(&mut buffer).map_err(reading)?;
        if n == 0 {
            break;
        }
        hasher.update(&buffer[..n]);
        if let Some(output) = &mut output {
            output.write_all(&buffer[..n]).map_err(writing)?;
        }
        if let (Some(checker), Some(implanted)) = (&mut checker, implanted) {
            checker.update(implanted.view(at, &mut buffer[..n]));
        }
        at += n as u64;
        progress.add(n as u64);
    }
    progress.finish();
    // A volume that claims to be longer than its file cannot hold its own sum.
    let whole = implanted.is_none_or(|i| i.covered <= at);
    Ok(Whole { sha256: hasher.finish(), implanted: checker.map(|c| whole && c.holds()) })
}
