//! The shelf as a server sees it: what is sound is served, what changed is not, and nothing half made ever shows.

use super::*;
use crate::images::manifest::FORMAT;
use std::fs;

/// A folder of its own for a test, removed at its end.
pub(super) struct Scratch(pub PathBuf);

impl Scratch {
    pub fn new(name: &str) -> Scratch {
        let dir = std::env::temp_dir().join(format!("bootstead-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        Scratch(dir)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn read(served: &Served) -> Vec<u8> {
    use std::os::unix::fs::FileExt as _;
    let mut out = Vec::new();
    for &(at, len) in &served.extents {
        let mut piece = vec![0; len as usize];
        served.file.read_exact_at(&mut piece, at).unwrap();
        out.extend(piece);
    }
    out
}

/// Publishes an image of one plain file and one file in two pieces of a medium.
fn make(images: &Path, name: &str, kernel: &[u8]) {
    let stage = publish::work_dir(images, name).unwrap().join("stage");
    fs::create_dir_all(&stage).unwrap();
    fs::write(stage.join("linux"), kernel).unwrap();
    fs::write(stage.join("media.iso"), b"..hello....world..").unwrap();
    let mut manifest = Manifest { format: FORMAT, ..Manifest::default() };
    for at in ["linux", "media.iso"] {
        let stored = publish::stored(&stage.join(at), &mut |_| ()).unwrap();
        manifest.stored.insert(at.to_string(), stored);
    }
    let sha256 = Sha256::of(kernel);
    let held = Held { size: kernel.len() as u64, sha256, at: "linux".into(), extents: vec![] };
    manifest.files.insert("linux".into(), held.clone());
    manifest.files.insert("alias/linux".into(), held);
    let sha256 = Sha256::of(b"helloworld");
    let held = Held { size: 10, sha256, at: "media.iso".into(), extents: vec![(2, 5), (11, 5)] };
    manifest.files.insert("tree/greeting".into(), held);
    publish::publish(images, name, &stage, &manifest).unwrap();
}

#[test]
fn what_was_published_is_served_from_files_and_from_inside_a_medium() {
    let dir = Scratch::new("shelf-serve");
    make(&dir.0, "el9", b"kernel");
    make(&dir.0, LOADERS, b"ipxe");
    let (shelf, stock, problems) = Shelf::open(&dir.0);
    assert_eq!(problems, vec![]);
    assert_eq!(stock.images["el9"].files["linux"].size, 6);
    assert_eq!(read(&shelf.file("el9", "linux").unwrap()), b"kernel");
    assert_eq!(read(&shelf.file("el9", "alias/linux").unwrap()), b"kernel");
    let greeting = shelf.file("el9", "tree/greeting").unwrap();
    assert_eq!(read(&greeting), b"helloworld");
    assert_eq!(greeting.range(3, 7), vec![(5, 2), (11, 2)]);
    assert_eq!(greeting.range(0, 99), greeting.extents);
    assert_eq!(greeting.range(10, 20), vec![]);
    assert!(stock.loaders.contains_key("linux") && shelf.loader("linux").is_some());
    for absent in ["", "manifest.json", "../el9/linux", "/linux", "tree", "media.iso"] {
        assert!(shelf.file("el9", absent).is_none(), "{absent}");
    }
    assert!(shelf.file(LOADERS, "linux").is_none() && shelf.file("el8", "linux").is_none());
}

#[test]
fn what_changed_since_is_not_served_and_names_itself() {
    let dir = Scratch::new("shelf-changed");
    make(&dir.0, "el9", b"kernel");
    let (running, _, _) = Shelf::open(&dir.0);
    fs::write(dir.0.join("el9/linux"), b"KERNEL").unwrap();
    assert!(running.file("el9", "linux").is_none(), "a running server notices");
    let (shelf, stock, problems) = Shelf::open(&dir.0);
    assert!(shelf.file("el9", "linux").is_none() && shelf.file("el9", "tree/greeting").is_some());
    assert!(!stock.images["el9"].files.contains_key("linux"));
    assert!(problems.len() == 1 && problems[0].what.contains("el9/linux"), "{problems:?}");
    let found = verify::verify(&dir.0, "el9", &mut |_| ()).unwrap();
    assert!(found.len() == 1 && found[0].what.ends_with("el9/linux is damaged"), "{found:?}");
}

#[test]
fn damage_inside_a_medium_names_the_file_inside() {
    let dir = Scratch::new("shelf-inside");
    make(&dir.0, "el9", b"kernel");
    fs::write(dir.0.join("el9/media.iso"), b"..hello....w0rld..").unwrap();
    let found = verify::verify(&dir.0, "el9", &mut |_| ()).unwrap();
    assert!(found.iter().any(|p| p.what.contains("media.iso:/tree/greeting")), "{found:?}");
}

#[test]
fn a_touched_but_sound_file_is_accepted_after_verify() {
    let dir = Scratch::new("shelf-touched");
    make(&dir.0, "el9", b"kernel");
    let file = File::options().write(true).open(dir.0.join("el9/linux")).unwrap();
    file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    assert!(Shelf::open(&dir.0).0.file("el9", "linux").is_none());
    assert_eq!(verify::verify(&dir.0, "el9", &mut |_| ()).unwrap(), vec![]);
    assert!(Shelf::open(&dir.0).0.file("el9", "linux").is_some());
}

#[test]
fn publishing_again_replaces_and_removing_leaves_nothing() {
    let dir = Scratch::new("shelf-replace");
    make(&dir.0, "el9", b"one");
    make(&dir.0, "el9", b"two");
    assert_eq!(read(&Shelf::open(&dir.0).0.file("el9", "linux").unwrap()), b"two");
    assert!(publish::remove(&dir.0, "el9").unwrap());
    assert!(!publish::remove(&dir.0, "el9").unwrap());
    let (shelf, stock, problems) = Shelf::open(&dir.0);
    assert!(shelf.images().next().is_none() && stock.images.is_empty() && problems.is_empty());
}

#[test]
fn only_one_command_works_on_an_image() {
    let dir = Scratch::new("shelf-claim");
    let first = publish::claim(&dir.0, "el9").unwrap();
    assert!(publish::claim(&dir.0, "el9").is_err());
    drop(first);
    assert!(publish::claim(&dir.0, "el9").is_ok());
}

#[test]
fn an_unsound_manifest_is_reported_and_a_foreign_folder_is_ignored() {
    let dir = Scratch::new("shelf-unsound");
    for (name, text) in [("bad", Some("{")), ("foreign", None)] {
        fs::create_dir_all(dir.0.join(name)).unwrap();
        if let Some(text) = text {
            fs::write(dir.0.join(name).join(MANIFEST), text).unwrap();
        }
    }
    let (_, stock, problems) = Shelf::open(&dir.0);
    assert!(stock.images.is_empty() && problems.len() == 1);
}
