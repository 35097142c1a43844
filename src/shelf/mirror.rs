//! Owns the partial Debian mirror: the archive's own signed indexes byte for byte, and of the pool what is needed.
//!
//! The nodes verify all of it with the keys that their installer carries: no key of ours, no exception.

use super::apt::{Apt, KEYRING, Source};
use super::download::{self, Job, download, download_all};
use super::progress::note;
use super::stage::Stage;
use super::{publish, tools};
use crate::images::deb822::{Package, Release, packages, relation_names};
use crate::images::repodata;
use crate::images::udebs::{self, Initrd};
use crate::images::{Image, Mirror};
use crate::problem::Problem;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The boot loaders' packages; they exclude each other, so each has a closure of its own.
const BOOT_LOADERS: [(&str, &[&str]); 2] =
    [("bios", &["grub-pc"]), ("uefi", &["grub-efi", "shim-signed", "efibootmgr"])];

/// A mirror that was built, as far as the baking needs it.
pub struct Built {
    /// Packages of the suite by name.
    pub packages: BTreeMap<String, Package>,
    /// Udebs that were wanted and that the archive does not have.
    pub absent: Vec<Package>,
    /// Names of the udebs without which no installation is possible.
    pub needed: BTreeSet<String>,
    /// Udeb → its files.
    pub contents: BTreeMap<String, Vec<String>>,
    pub problems: Vec<Problem>,
}

/// Builds the mirror of `image` in `stage`, below the image's `tree` path.
///
/// `roles` are packages by role. Without `initrd` (an image without installer) no udebs are taken.
pub fn build(
    stage: &mut Stage,
    apt: &Apt,
    image: &Image,
    mirror: &Mirror,
    roles: &BTreeMap<String, Vec<String>>,
    initrd: Option<&Initrd>,
) -> Result<Built, Problem> {
    let base = image.tree.clone().unwrap_or_else(|| "debian".to_string());
    let dir = stage.dir.join(&base);
    let (mut origin, mut debs, mut all_udebs) = (Vec::new(), Vec::new(), Vec::new());
    let mut by_file: BTreeMap<File, Package> = BTreeMap::new();
    for source in &apt.sources {
        let release = signed_release(apt, image, source, &dir)?;
        origin.push(format!("{} {} {} of {}", source.url, source.asked, release.version, release.date));
        indexes(stage, apt, image, source, &release, &base)?;
        let (more, udebs) = read_indexes(image, source, &dir)?;
        by_file.extend(more.iter().map(|p| ((source.url.clone(), p.filename.clone()), p.clone())));
        debs.extend(more);
        all_udebs.extend(udebs);
    }
    stage.origin.insert("archive".to_string(), origin.join("; "));
    let mut problems = Vec::new();
    let chosen = choose(apt, image, mirror, roles, &debs, &mut problems);
    for url in apt.sources.iter().map(|s| s.url.as_str()).collect::<BTreeSet<_>>() {
        let ours = chosen.iter().filter(|(from, _)| from == url);
        let files: Vec<&Package> = ours.filter_map(|file| by_file.get(file)).collect();
        let jobs = jobs(stage, url, &base, &files);
        download_all(apt, "packages", &jobs)?;
        declare(stage, &base, &files);
    }
    let mut built = Built {
        absent: Vec::new(),
        needed: BTreeSet::new(),
        contents: BTreeMap::new(),
        problems,
        packages: BTreeMap::new(),
    };
    if let Some(initrd) = initrd {
        take_udebs(stage, apt, &base, &all_udebs, initrd, &mut built)?;
        let path = dir.join(format!("dists/{}/main/Contents-udeb-{}.gz", image.suite, image.arch));
        built.contents = udebs::contents(&unzip(&path)?);
    }
    built.packages = debs.into_iter().map(|p| (p.name.clone(), p)).collect();
    Ok(built)
}

/// The archive's URL and the path below it.
type File = (String, String);

/// The signed list of a suite's indexes: what apt takes, and the pair that installers ask for.
const RELEASE: [&str; 3] = ["InRelease", "Release", "Release.gpg"];

/// Gets the signed list of a suite's indexes and checks its signature.
///
/// apt takes InRelease; installers ask for the older pair Release and Release.gpg. Mirrors have been seen whose pair did
/// not match for weeks (one of the two came out of a cache), so the pair is made out of InRelease: see [`detached`].
fn signed_release(apt: &Apt, image: &Image, source: &Source, dir: &Path) -> Result<Release, Problem> {
    let suite = &source.suite;
    let at = |name: &str| dir.join(format!("dists/{suite}/{name}"));
    let inline = at("InRelease");
    // It has no digest of its own; an older copy would be taken for a begun download.
    let _ = std::fs::remove_file(&inline);
    let job = Job { url: source.file("InRelease"), to: inline.clone(), size: None, sha256: None };
    download_all(apt, "release", &[job])?;
    let verify = |files: &[&Path]| {
        let mut command = tools::command("gpgv")?;
        command.args(["--quiet", "--keyring", KEYRING]).args(files);
        tools::output(command, &format!("verify the signature of {}", files[files.len() - 1].display()))
            .map(drop)
    };
    verify(&[&inline])?;
    let text = std::fs::read_to_string(&inline).map_err(|e| Problem::io("read", &inline, &e))?;
    if !image.pool {
        let Some((plain, signature)) = detached(&text) else {
            return Err(Problem::environment(format!("{} has no inline signature", inline.display())));
        };
        let (release, gpg) = (at("Release"), at("Release.gpg"));
        for (path, text) in [(&release, plain), (&gpg, signature)] {
            std::fs::write(path, text).map_err(|e| Problem::io("write", path, &e))?;
        }
        verify(&[&gpg, &release])?;
    }
    let release = Release::read(&text)
        .map_err(|e| Problem::environment(format!("{} cannot be read: {e}", inline.display())))?;
    if source.asked != *suite && release.codename != *suite {
        let what = format!("{} of {} is {}, not {suite}", source.asked, source.url, release.codename);
        return Err(Problem::input(what).help("`--suite` takes another name of the same suite only"));
    }
    Ok(release)
}

/// A cleartext-signed text (RFC 9580 section 7) as the text that was signed and its signature apart.
///
/// It is the same signature: of type 0x01, over the text without the last line's end, so the text must not have one.
/// The escapes of lines that begin with a hyphen are undone.
fn detached(inline: &str) -> Option<(String, String)> {
    const BEGIN: &str = "\n-----BEGIN PGP SIGNATURE-----\n";
    let (_, rest) = inline.strip_prefix("-----BEGIN PGP SIGNED MESSAGE-----\n")?.split_once("\n\n")?;
    let (body, _) = rest.split_once(BEGIN)?;
    let signature = rest[body.len() + 1..].to_string();
    let lines: Vec<&str> = body.split('\n').map(|l| l.strip_prefix("- ").unwrap_or(l)).collect();
    Some((lines.join("\n"), signature))
}

/// The suite's indexes that an installation reads: path below the suite's folder.
fn index_paths(image: &Image) -> Vec<String> {
    let arch = image.arch;
    let mut out = Vec::new();
    // A pool is read by apt alone, never by an installer.
    if !image.pool {
        out.push(format!("main/Contents-udeb-{arch}.gz"));
        out.push(format!("main/debian-installer/binary-{arch}/Release"));
        out.extend(["xz", "gz"].map(|e| format!("main/debian-installer/binary-{arch}/Packages.{e}")));
    }
    for ending in ["xz", "gz"] {
        for component in &image.components {
            out.push(format!("{component}/binary-{arch}/Packages.{ending}"));
        }
    }
    for component in &image.components {
        // apt in the target fails when an index that Release lists is not there.
        out.extend(["xz", "bz2"].map(|e| format!("{component}/i18n/Translation-en.{e}")));
        out.push(format!("{component}/binary-{arch}/Release"));
    }
    out
}

fn indexes(
    stage: &mut Stage,
    apt: &Apt,
    image: &Image,
    source: &Source,
    release: &Release,
    base: &str,
) -> Result<(), Problem> {
    let dists = format!("dists/{}", source.suite);
    let mut jobs = Vec::new();
    for path in index_paths(image) {
        let Some((sha256, size)) = release.indexes.get(&path) else { continue };
        let staged = format!("{base}/{dists}/{path}");
        stage.reuse(&staged, *size);
        let to = stage.dir.join(base);
        let job = download::of_archive(&source.url, &format!("{dists}/{path}"), &to, *size, *sha256);
        jobs.push(Job { url: source.file(&path), ..job });
        stage.add(&staged, Some(*sha256));
        if let Some((folder, _)) = path.rsplit_once('/') {
            stage.alias(&format!("{base}/{dists}/{folder}/by-hash/SHA256/{sha256}"), &staged);
        }
    }
    download_all(apt, "indexes", &jobs).map_err(|problem| {
        let other = match release.suite != source.asked {
            true => format!("`--suite {}` asks for the same by its other name, ", release.suite),
            false => String::new(),
        };
        problem
            .why(format!("{} is not in step with its own signed list of {}", source.url, release.date))
            .help(format!("{other}`--mirror URL` another archive; or try again in some hours"))
    })?;
    for name in if image.pool { &RELEASE[..1] } else { &RELEASE[..] } {
        let staged = format!("{base}/{dists}/{name}");
        let sha256 = publish::digest(&stage.dir.join(&staged))?;
        stage.add(&staged, Some(sha256));
        // d-i looks a suite up by both of its names.
        for other in [&release.suite, &release.codename] {
            if *other != source.suite && crate::images::manifest::is_image_name(other) {
                stage.alias(&format!("{base}/dists/{other}/{name}"), &staged);
            }
        }
    }
    Ok(())
}

/// The suite's packages and udebs, from the verified indexes.
fn read_indexes(image: &Image, source: &Source, dir: &Path) -> Result<(Vec<Package>, Vec<Package>), Problem> {
    let arch = image.arch;
    let read = |component: &str| {
        let path = dir.join(format!("dists/{}/{component}/binary-{arch}/Packages.xz", source.suite));
        if path.exists() { Ok(packages(&unzip(&path)?)) } else { Ok(Vec::new()) }
    };
    let mut debs = Vec::new();
    for component in &image.components {
        debs.extend(read(component)?);
    }
    Ok((debs, read("main/debian-installer")?))
}

fn unzip(path: &Path) -> Result<String, Problem> {
    let bytes = std::fs::read(path).map_err(|e| Problem::io("read", path, &e))?;
    repodata::unpack(&path.to_string_lossy(), &bytes).map_err(Problem::environment)
}

/// The pool files that installations need: base system, boot loaders, and each role's packages.
fn choose(
    apt: &Apt,
    image: &Image,
    mirror: &Mirror,
    roles: &BTreeMap<String, Vec<String>>,
    debs: &[Package],
    problems: &mut Vec<Problem>,
) -> BTreeSet<File> {
    let base: Vec<String> = debs
        .iter()
        .filter(|p| p.essential || matches!(p.priority.as_str(), "required" | "important"))
        .map(|p| p.name.clone())
        .collect();
    // A pool is for nodes that have the base system: only what comes on top is taken with it.
    let mut chosen: BTreeSet<File> = BTreeSet::new();
    if !image.pool {
        chosen.extend(first_alternatives(&base, debs).into_iter().map(|f| (apt.url.clone(), f)));
    }
    let mut take = |what: &str, more: &[String]| {
        let wanted: Vec<String> = base.iter().chain(more).cloned().collect();
        match apt.closure(&wanted, !image.pool) {
            Ok(files) => chosen.extend(files.into_iter().map(|f| (f.url, f.filename))),
            Err(_) => {
                // Something in it does not exist or does not go together: take what goes, name what does not.
                for one in more {
                    let wanted: Vec<String> = base.iter().chain([one]).cloned().collect();
                    match apt.closure(&wanted, !image.pool) {
                        Ok(files) => chosen.extend(files.into_iter().map(|f| (f.url, f.filename))),
                        Err(why) => problems.push(
                            Problem::environment(format!("the mirror has no {one} for {what}"))
                                .why(why)
                                .warning(),
                        ),
                    }
                }
            }
        }
    };
    note("working out which packages are needed");
    for (firmware, packages) in BOOT_LOADERS.iter().filter(|_| !image.pool) {
        let every = mirror.include.iter().chain(&mirror.firmware).cloned();
        let more: Vec<String> = every.chain(packages.iter().map(|p| p.to_string())).collect();
        take(&format!("{firmware} machines"), &more);
    }
    for (role, packages) in roles {
        take(role, packages);
    }
    chosen
}

/// What debootstrap takes: it follows dependencies by their first alternative only, where apt may choose another.
fn first_alternatives(base: &[String], debs: &[Package]) -> BTreeSet<String> {
    let by_name: BTreeMap<&str, &Package> = debs.iter().map(|p| (p.name.as_str(), p)).collect();
    let mut open: Vec<&str> = base.iter().map(String::as_str).collect();
    let (mut seen, mut files) = (BTreeSet::new(), BTreeSet::new());
    while let Some(name) = open.pop() {
        if let Some(package) = by_name.get(name)
            && seen.insert(name)
        {
            files.insert(package.filename.clone());
            open.extend(relation_names(&package.depends));
        }
    }
    files
}

fn jobs(stage: &Stage, url: &str, base: &str, files: &[&Package]) -> Vec<Job> {
    let dir = stage.dir.join(base);
    let job = |p: &&Package| {
        stage.reuse(&format!("{base}/{}", p.filename), p.size);
        download::of_archive(url, &p.filename, &dir, p.size, p.sha256)
    };
    files.iter().map(job).collect()
}

fn declare(stage: &mut Stage, base: &str, files: &[&Package]) {
    for p in files {
        stage.add(&format!("{base}/{}", p.filename), Some(p.sha256));
    }
}

fn take_udebs(
    stage: &mut Stage,
    apt: &Apt,
    base: &str,
    all: &[Package],
    initrd: &Initrd,
    built: &mut Built,
) -> Result<(), Problem> {
    if !all.iter().any(|p| p.kernel.as_deref() == Some(initrd.kernel.as_str())) {
        return Err(Problem::environment(format!(
            "the installer's kernel is {}, and the mirror has no modules for it",
            initrd.kernel
        ))
        .why("kernel and mirror are of different point releases")
        .help("wait until the mirror is in step, or name another mirror: `--mirror URL`"));
    }
    let wanted = udebs::wanted(all, initrd);
    built.needed = udebs::needed(&wanted, initrd);
    let jobs = jobs(stage, &apt.url, base, &wanted);
    let failed = download(apt, "installer parts", &jobs)?;
    download::only_absent(&failed)?;
    let (absent, present): (Vec<_>, Vec<_>) =
        wanted.iter().zip(&jobs).partition(|(_, job)| failed.contains_key(&job.url));
    let present: Vec<&Package> = present.into_iter().map(|(p, _)| *p).collect();
    declare(stage, base, &present);
    built.absent = absent.into_iter().map(|(p, _)| (*p).clone()).collect();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inline_signature_and_its_text_come_apart() {
        let signature = "-----BEGIN PGP SIGNATURE-----\n\nabc\n-----END PGP SIGNATURE-----\n";
        let inline = format!(
            "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nSuite: stable\n- - dashed\nSHA256:\n a 1 b\n{signature}"
        );
        let (text, apart) = detached(&inline).expect("an inline signature");
        assert_eq!(text, "Suite: stable\n- dashed\nSHA256:\n a 1 b", "without its last line's end");
        assert_eq!(apart, signature);
        assert_eq!(detached("Suite: stable\n"), None);
    }
}
