//! Makes what the fast lane needs out of distribution packages: the `system` image and the prepared roots.
//!
//! [`kernel`] gets the signed kernel and its modules, [`modinfo`] reads what a module says of itself, [`cpio`]
//! packs the initrd, [`system`] puts the image together. [`root`] has mmdebstrap make a root, [`disk_image`] makes a
//! bootable disk of it, [`pack`] cuts that into pieces; then the shelf publishes what was made. Needs no loop device;
//! what mmdebstrap mounts stays in a namespace of its own.

pub mod cpio;
pub mod disk_image;
pub mod kernel;
pub mod modinfo;
pub mod pack;
pub mod root;
pub mod system;
pub mod tool;

use crate::boot::decide::SYSTEM_IMAGE;
use crate::images::{Held, Image, Manifest};
use crate::problem::Problem;
use crate::shelf::{self, publish};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Tells a person what is being done, one line each.
pub type Say<'a> = &'a mut dyn FnMut(&str);

/// What was made in a folder.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Built {
    /// File names.
    pub files: Vec<String>,
    /// What it was made of, for people: packages with versions and digests.
    pub origin: BTreeMap<String, String>,
}

/// Builds the fast lane's system and publishes it on the shelf `images`.
pub fn shelve_system(images: &Path, say: Say<'_>) -> Result<(), Problem> {
    shelve(images, SYSTEM_IMAGE, say, system::build)
}

/// Builds the prepared root of `image`, with `packages` beside its own, and publishes it beside what lies there.
pub fn shelve_root(images: &Path, image: &Image, packages: &[String], say: Say<'_>) -> Result<(), Problem> {
    shelve(images, &image.name, say, |work, say| root::build(image, packages, work, say))
}

/// Whether the shelf has what building `image` would make: this very program as init, a root of these packages.
pub fn is_current(images: &Path, image: &Image, packages: &[String]) -> bool {
    on_shelf(images, &image.name).is_some_and(|manifest| match &image.root {
        _ if image.name == SYSTEM_IMAGE => system::is_current(&manifest),
        Some(root) => root::is_current(&manifest, root, packages),
        None => false,
    })
}

/// Runs `build` in a work folder and publishes its files, beside those that image `name` already has.
fn shelve(
    images: &Path,
    name: &str,
    say: Say<'_>,
    build: impl FnOnce(&Path, Say<'_>) -> Result<Built, Problem>,
) -> Result<(), Problem> {
    // Absolute: the programs that are run have the work folder as their own.
    let images = &std::path::absolute(images).map_err(|e| Problem::io("find", images, &e))?;
    let _claim = publish::claim(images, name)?;
    let stage = publish::work_dir(images, name)?.with_file_name(format!("{name}.build"));
    publish::clear(&stage)?;
    fs::create_dir_all(&stage).map_err(|e| Problem::io("make the folder", &stage, &e))?;
    let result = build(&stage, say).and_then(|built| merge(images, name, &stage, built));
    if result.is_err() {
        publish::clear(&stage)?;
    }
    result
}

/// Links the image's other files into the stage and publishes the whole.
fn merge(images: &Path, name: &str, stage: &Path, built: Built) -> Result<(), Problem> {
    let (old, _, _) = shelf::Shelf::open(images);
    let mut manifest = old.manifest(name).cloned().unwrap_or_default();
    manifest.format = crate::images::manifest::FORMAT;
    for file in &built.files {
        manifest.files.remove(file);
        manifest.stored.remove(file);
    }
    let used: std::collections::BTreeSet<&String> = manifest.files.values().map(|h| &h.at).collect();
    manifest.stored.retain(|at, _| used.contains(at));
    for at in manifest.stored.keys() {
        let (from, to) = (images.join(name).join(at), stage.join(at));
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder).map_err(|e| Problem::io("make the folder", folder, &e))?;
        }
        fs::hard_link(&from, &to).map_err(|e| Problem::io("link", &to, &e))?;
    }
    for file in built.files {
        let stored = publish::stored(&stage.join(&file), &mut |_| ())?;
        let held = Held { size: stored.size, sha256: stored.sha256, at: file.clone(), extents: Vec::new() };
        manifest.files.insert(file.clone(), held);
        manifest.stored.insert(file, stored);
    }
    manifest.origin.extend(built.origin);
    publish::publish(images, name, stage, &manifest)
}

/// Now, in RFC 3339, for manifests.
pub fn now() -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    crate::base::Timestamp(since.as_millis() as i64).to_string()
}

/// The manifest of an image as it lies on the shelf; for tests and the command line.
pub fn on_shelf(images: &Path, name: &str) -> Option<Manifest> {
    shelf::Shelf::open(images).0.manifest(name).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_joins_what_lies_there_and_replaces_its_own() {
        let images = std::env::temp_dir().join(format!("bootstead-build-{}", std::process::id()));
        let _ = fs::remove_dir_all(&images);
        let make = |file: &'static str, text: &'static str| {
            shelve(&images, "debian12", &mut |_| (), move |work, _| {
                fs::write(work.join(file), text).map_err(|e| Problem::io("write", work, &e))?;
                Ok(Built { files: vec![file.to_string()], ..Built::default() })
            })
        };
        make("linux", "kernel").unwrap();
        make("root.json", "one").unwrap();
        make("root.json", "three").unwrap();
        let m = on_shelf(&images, "debian12").unwrap();
        assert_eq!(m.files.keys().collect::<Vec<_>>(), ["linux", "root.json"]);
        assert_eq!(m.files["root.json"].size, 5);
        let failed = shelve(&images, "debian12", &mut |_| (), |_, _| Err(Problem::fault("no")));
        assert!(failed.is_err());
        let (shelf, _, problems) = shelf::Shelf::open(&images);
        assert!(problems.is_empty(), "{problems:?}");
        assert!(shelf.file("debian12", "linux").is_some());
        fs::remove_dir_all(&images).unwrap();
    }
}
