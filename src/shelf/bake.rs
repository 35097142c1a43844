//! Owns baking: installer parts that the archive lacks are put into the installer's initrd, out of ordinary packages.
//!
//! A udeb holds files that some ordinary package of the same source holds too (kernel modules: linux-image).
//! They are taken from there, with the libraries that they need, and the udeb is marked as unpacked in the
//! installer's dpkg status, so that the installer does not ask the mirror for it. The signed indexes stay as they are.
//! A udeb with a file that no package has (partman's scripts, say) cannot be baked: that is a gap.

use super::apt::Apt;
use super::download::{self, download, unpack};
use super::mirror::Built;
use super::{publish, tools};
use crate::images::cpio::{self, Member, Members};
use crate::images::deb822::{Package, relation_names};
use crate::images::{elf, udebs};
use crate::problem::Problem;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// What came of it.
pub struct Baked {
    /// The archive to append to the initrd, uncompressed; empty if nothing was baked.
    pub archive: Vec<u8>,
    pub names: Vec<String>,
    /// Udeb → the file that no ordinary package has.
    pub impossible: BTreeMap<String, String>,
}

/// Packages at hand, unpacked: name → folder; fetched when first asked for.
struct Larder<'a> {
    apt: &'a Apt,
    packages: &'a BTreeMap<String, Package>,
    work: PathBuf,
    unpacked: BTreeMap<String, Option<PathBuf>>,
}

impl Larder<'_> {
    /// Gets and unpacks the packages `names`; those that the archive lacks are left out.
    fn get(&mut self, names: &[&str]) -> Result<Vec<PathBuf>, Problem> {
        let debs = self.work.join("debs");
        // Many parts come from one package (all kernel modules): it is fetched and unpacked once.
        let new: BTreeMap<&str, &Package> = names
            .iter()
            .filter(|n| !self.unpacked.contains_key(**n))
            .filter_map(|n| Some((*n, self.packages.get(*n)?)))
            .collect();
        let job = |p: &&Package| download::of_archive(&self.apt.url, &p.filename, &debs, p.size, p.sha256);
        let jobs: Vec<_> = new.values().map(job).collect();
        let failed = download(self.apt, "packages to bake from", &jobs)?;
        download::only_absent(&failed)?;
        for (package, job) in new.values().zip(&jobs) {
            let to = self.work.join("unpacked").join(&package.name);
            let there = !failed.contains_key(&job.url);
            if there {
                unpack(&job.to, &to)?;
            }
            self.unpacked.insert(package.name.clone(), there.then_some(to));
        }
        Ok(names.iter().filter_map(|n| self.unpacked.get(*n)?.clone()).collect())
    }
}

/// Bakes what `built` lacks. `initrd` are the members of the installer's own initrd, `work` a folder for this.
pub fn bake(apt: &Apt, built: &Built, initrd: &Members, work: &Path) -> Result<Baked, Problem> {
    let facts = udebs::look(initrd).unwrap_or_default();
    let missing: Vec<&Package> = built.absent.iter().filter(|p| !facts.installed.contains(&p.name)).collect();
    let mut larder =
        Larder { apt, packages: &built.packages, work: work.to_path_buf(), unpacked: BTreeMap::new() };
    let mut baked = Baked { archive: Vec::new(), names: Vec::new(), impossible: BTreeMap::new() };
    let candidates: Vec<Vec<&str>> = missing.iter().map(|u| candidates(u, &built.packages)).collect();
    larder.get(&candidates.concat())?;
    let mut parts = Vec::new();
    for (udeb, candidates) in missing.iter().zip(&candidates) {
        let nothing = Vec::new();
        let files = built.contents.get(&udeb.name).unwrap_or(&nothing);
        match collect(files, &larder.get(candidates)?, initrd)? {
            Ok(members) => parts.push((*udeb, candidates, members)),
            Err(file) => {
                baked.impossible.insert(udeb.name.clone(), file);
            }
        }
    }
    let base = |p: &String| base_name(p).to_string();
    let mut have: BTreeSet<String> =
        initrd.keys().chain(parts.iter().flat_map(|(_, _, m)| m.keys())).map(base).collect();
    let (mut new, mut status) = (Members::new(), String::new());
    for (udeb, candidates, members) in parts {
        match libraries(&mut larder, candidates, initrd, &members, &mut have)? {
            Ok(libraries) => {
                new.extend(members);
                new.extend(libraries);
                status.push_str(&udebs::status_stanza(udeb));
                baked.names.push(udeb.name.clone());
            }
            Err(library) => {
                baked.impossible.insert(udeb.name.clone(), library);
            }
        }
    }
    if baked.names.is_empty() {
        return Ok(baked);
    }
    if new.keys().any(|p| p.contains("lib/modules/")) {
        new.extend(module_tables(initrd, &new, &facts.kernel, work)?);
    }
    let own = initrd.get("var/lib/dpkg/status").map(|m| String::from_utf8_lossy(&m.data).into_owned());
    let own = own.unwrap_or_default();
    let text = format!("{}\n\n{status}", own.trim_end());
    new.insert("var/lib/dpkg/status".to_string(), Member::file(text.into_bytes(), false));
    parents(initrd, &mut new);
    baked.archive = cpio::write(&new);
    Ok(baked)
}

/// The ordinary packages that may hold a udeb's files: those of its source, or its kernel's.
fn candidates<'a>(udeb: &Package, packages: &'a BTreeMap<String, Package>) -> Vec<&'a str> {
    const USELESS: [&str; 6] = ["-dev", "-doc", "-dbg", "-dbgsym", "-tests", "-extra"];
    if let Some(kernel) = &udeb.kernel {
        let name = format!("linux-image-{kernel}");
        return packages.get_key_value(&name).map(|(n, _)| n.as_str()).into_iter().collect();
    }
    packages
        .values()
        .filter(|p| p.source == udeb.source && !USELESS.iter().any(|u| p.name.ends_with(u)))
        .map(|p| p.name.as_str())
        .collect()
}

/// The members for all of `files`, or the one that is nowhere.
fn collect(
    files: &[String],
    folders: &[PathBuf],
    initrd: &Members,
) -> Result<Result<Members, String>, Problem> {
    let mut members = Members::new();
    if files.is_empty() {
        return Ok(Err("its content is not known".to_string()));
    }
    for file in files {
        let spellings = udebs::spellings(file);
        let found = folders
            .iter()
            .flat_map(|d| spellings.iter().map(move |s| d.join(s)))
            .find(|p| p.symlink_metadata().is_ok_and(|m| !m.is_dir()));
        match found {
            Some(path) => {
                members.insert(cpio::resolve(initrd, file), member(&path)?);
            }
            None => return Ok(Err(file.clone())),
        }
    }
    Ok(Ok(members))
}

pub(super) fn member(path: &Path) -> Result<Member, Problem> {
    use std::os::unix::fs::PermissionsExt as _;
    let failed = |e: std::io::Error| Problem::io("read", path, &e);
    let meta = path.symlink_metadata().map_err(failed)?;
    if meta.is_symlink() {
        let target = fs::read_link(path).map_err(failed)?;
        return Ok(Member::link(&target.to_string_lossy()));
    }
    Ok(Member::file(fs::read(path).map_err(failed)?, meta.permissions().mode() & 0o111 != 0))
}

fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The shared libraries that `members` need and that nothing at hand (`have`, by file name) brings; or the one that
/// no package has. Ordinary programs may be linked with more libraries than their udeb twins.
fn libraries(
    larder: &mut Larder<'_>,
    sources: &[&str],
    initrd: &Members,
    members: &Members,
    have: &mut BTreeSet<String>,
) -> Result<Result<Members, String>, Problem> {
    let mut new = Members::new();
    let mut wanted: Vec<String> =
        members.values().filter(|m| m.is_file()).flat_map(|m| elf::needed(&m.data)).collect();
    // Where to look: what the packages depend on, nearest first.
    let mut look: Vec<String> = sources.iter().map(|s| s.to_string()).collect();
    let mut seen: BTreeSet<String> = look.iter().cloned().collect();
    let mut folders = Vec::new();
    loop {
        wanted.retain(|w| !have.contains(w));
        let Some(first) = wanted.first() else { return Ok(Ok(new)) };
        if look.is_empty() {
            return Ok(Err(first.clone()));
        }
        folders.extend(larder.get(&look.iter().map(String::as_str).collect::<Vec<_>>())?);
        // What a library needs in turn may lie in a package that was looked at before.
        while let Some((name, path)) = wanted.iter().find_map(|name| {
            let found = folders.iter().find_map(|f| library(f, name))?;
            (!have.contains(name)).then(|| (name.clone(), found))
        }) {
            let real = path.canonicalize().map_err(|e| Problem::io("find", &path, &e))?;
            let file = base_name(&real.to_string_lossy()).to_string();
            let content = member(&real)?;
            wanted.extend(elf::needed(&content.data));
            new.insert(cpio::resolve(initrd, &format!("usr/lib/{file}")), content);
            have.insert(file.clone());
            if have.insert(name.clone()) {
                // The link under the library's own name leads to the file.
                new.insert(cpio::resolve(initrd, &format!("usr/lib/{name}")), Member::link(&file));
            }
            wanted.retain(|w| !have.contains(w));
        }
        let packages = larder.packages;
        let depends = look.iter().filter_map(|n| packages.get(n)).flat_map(|p| relation_names(&p.depends));
        look = depends.filter(|n| seen.insert(n.to_string())).map(str::to_string).collect();
    }
}

fn library(folder: &Path, name: &str) -> Option<PathBuf> {
    let lib = ["usr/lib", "lib"].map(|l| folder.join(l));
    let inner = lib.iter().flat_map(|l| fs::read_dir(l).into_iter().flatten().flatten().map(|e| e.path()));
    lib.iter().cloned().chain(inner).map(|d| d.join(name)).find(|p| p.is_file())
}

/// modules.dep and its like for the initrd's own and the new kernel modules together.
fn module_tables(initrd: &Members, new: &Members, kernel: &str, work: &Path) -> Result<Members, Problem> {
    let root = work.join("depmod");
    publish::clear(&root)?;
    let tail = format!("lib/modules/{kernel}/");
    let mut prefix = String::new();
    for (path, member) in initrd.iter().chain(new) {
        let Some(at) = path.find(&tail) else { continue };
        prefix = path[..at + tail.len()].to_string();
        if member.is_file() {
            let to = root.join(&path[at..]);
            if let Some(parent) = to.parent() {
                fs::create_dir_all(parent).map_err(|e| Problem::io("make the folder", parent, &e))?;
            }
            fs::write(&to, &member.data).map_err(|e| Problem::io("write", &to, &e))?;
        }
    }
    let mut command = tools::command("depmod")?;
    command.arg("-b").arg(&root).arg(kernel);
    tools::output(command, "work out the dependencies of kernel modules")?;
    let dir = root.join(&tail);
    let mut out = Members::new();
    for entry in fs::read_dir(&dir).map_err(|e| Problem::io("read the folder", &dir, &e))?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("modules.") && name.ends_with(".bin")
            || matches!(name.as_str(), "modules.softdep" | "modules.devname" | "modules.weakdep")
        {
            out.insert(format!("{prefix}{name}"), member(&entry.path())?);
        }
    }
    publish::clear(&root)?;
    Ok(out)
}

/// Adds the folders that the initrd lacks: the kernel unpacks into existing folders only.
pub(super) fn parents(initrd: &Members, new: &mut Members) {
    let paths: Vec<String> = new.keys().cloned().collect();
    for path in paths {
        for (i, _) in path.match_indices('/') {
            if !initrd.contains_key(&path[..i]) {
                new.entry(path[..i].to_string()).or_insert_with(Member::folder);
            }
        }
    }
}
