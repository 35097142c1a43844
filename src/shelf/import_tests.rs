//! Importing: what the medium vouches for is served from inside it, what is damaged names itself, and nothing else.

use super::import::{MEDIUM, Wishes, import};
use super::tests::Scratch;
use super::*;
use crate::images::iso::writer::{Entry, write};
use crate::problem::Problems;
use std::os::unix::fs::FileExt as _;

const KERNEL: &[u8] = b"the kernel";
const RPM: &[u8] = b"a package's content";

/// An install medium as EL 9's: .treeinfo for the installer, a repository chain for the package.
fn medium() -> Vec<u8> {
    let sum = |b: &[u8]| Sha256::of(b).to_string();
    let primary = format!(
        "<metadata><package type=\"rpm\"><checksum type=\"sha256\">{}</checksum><size package=\"{}\"/>\
         <location href=\"Packages/a.rpm\"/></package><package type=\"rpm\"><checksum type=\"sha256\">{}</checksum>\
         <location href=\"Packages/on-the-network-only.rpm\"/></package></metadata>",
        sum(RPM),
        RPM.len(),
        sum(b"x"),
    );
    let repomd = format!(
        "<repomd><data type=\"primary\"><checksum type=\"sha256\">{}</checksum>\
         <location href=\"repodata/primary.xml\"/></data></repomd>",
        sum(primary.as_bytes())
    );
    let tree = format!(
        "[release]\nname = Rocky Linux\nversion = 9.4\n[tree]\narch = x86_64\n[images-x86_64]\n\
         kernel = images/pxeboot/vmlinuz\ninitrd = images/pxeboot/initrd.img\n[stage2]\n\
         mainimage = images/install.img\n[checksums]\nimages/pxeboot/vmlinuz = sha256:{}\n\
         images/pxeboot/initrd.img = sha256:{}\nimages/install.img = sha256:{}\n",
        sum(KERNEL),
        sum(b"initrd"),
        sum(b"stage two"),
    );
    write(&[
        (".treeinfo", Entry::File(tree.into_bytes())),
        ("images/pxeboot/vmlinuz", Entry::File(KERNEL.to_vec())),
        ("images/pxeboot/initrd.img", Entry::File(b"initrd".to_vec())),
        ("images/install.img", Entry::Pieces(vec![b"stage".to_vec(), b" two".to_vec()])),
        ("BaseOS/repodata/repomd.xml", Entry::File(repomd.into_bytes())),
        ("BaseOS/repodata/primary.xml", Entry::File(primary.into_bytes())),
        ("BaseOS/Packages/a.rpm", Entry::File(RPM.to_vec())),
        ("EFI/BOOT/BOOTX64.EFI", Entry::File(b"shim".to_vec())),
    ])
}

fn put(dir: &Scratch, bytes: &[u8]) -> PathBuf {
    let path = dir.0.join("disc.iso");
    std::fs::write(&path, bytes).unwrap();
    path
}

fn take(dir: &Scratch, file: &Path, wishes: &Wishes) -> Result<import::Imported, Problems> {
    import(&dir.0.join("images"), file, &BTreeMap::new(), wishes)
}

fn content(served: &Served) -> Vec<u8> {
    let mut out = Vec::new();
    for &(at, len) in &served.extents {
        let mut piece = vec![0; len as usize];
        served.file.read_exact_at(&mut piece, at).unwrap();
        out.extend(piece);
    }
    out
}

fn replaced(mut bytes: Vec<u8>, from: &[u8], to: &[u8]) -> Vec<u8> {
    let at = bytes.windows(from.len()).position(|w| w == from).unwrap();
    bytes[at..at + to.len()].copy_from_slice(to);
    bytes
}

#[test]
fn what_the_medium_vouches_for_is_served_from_inside_it() {
    let dir = Scratch::new("import-good");
    let file = put(&dir, &medium());
    let imported = take(&dir, &file, &Wishes::default()).unwrap();
    assert_eq!((imported.name.as_str(), imported.title.as_str()), ("el9", "Rocky Linux 9.4 x86_64"));
    assert_eq!(imported.left_out, ["EFI/BOOT/BOOTX64.EFI"]);
    let (shelf, _, problems) = Shelf::open(&dir.0.join("images"));
    assert_eq!(problems, vec![]);
    assert_eq!(content(&shelf.file("el9", "BaseOS/Packages/a.rpm").unwrap()), RPM);
    let stage2 = shelf.file("el9", "images/install.img").unwrap();
    assert_eq!((content(&stage2).as_slice(), stage2.extents.len()), (&b"stage two"[..], 2));
    assert!(shelf.file("el9", "EFI/BOOT/BOOTX64.EFI").is_none() && shelf.file("el9", MEDIUM).is_none());
    let mut files: Vec<_> =
        std::fs::read_dir(dir.0.join("images/el9")).unwrap().flatten().map(|e| e.file_name()).collect();
    files.sort();
    assert_eq!(files, ["manifest.json", MEDIUM], "nothing was unpacked");
}

#[test]
fn the_published_digest_vouches_for_all_and_a_wrong_one_for_nothing() {
    let dir = Scratch::new("import-digest");
    let bytes = medium();
    let file = put(&dir, &bytes);
    let wishes = Wishes { sha256: Some(Sha256::of(&bytes)), link: true, name: Some("mine".into()) };
    let imported = take(&dir, &file, &wishes).unwrap();
    assert!(imported.left_out.is_empty());
    let (shelf, _, _) = Shelf::open(&dir.0.join("images"));
    assert_eq!(content(&shelf.file("mine", "EFI/BOOT/BOOTX64.EFI").unwrap()), b"shim");
    assert_eq!(content(&shelf.file("mine", MEDIUM).unwrap()), bytes);
    let wrong = Wishes { sha256: Some(Sha256::of(b"")), ..Wishes::default() };
    assert!(take(&dir, &file, &wrong).is_err());
    assert!(!dir.0.join("images/el9").exists());
}

#[test]
fn every_damaged_file_names_itself_and_nothing_is_published() {
    for (from, to, named) in [
        (RPM, &b"A PACKAGE"[..], "BaseOS/Packages/a.rpm"),
        (KERNEL, b"THE", "images/pxeboot/vmlinuz"),
        (b" two", b"_two", "images/install.img"),
        (b"<metadata", b"<metadatA", "BaseOS/repodata/primary.xml"),
    ] {
        let dir = Scratch::new("import-damage");
        let file = put(&dir, &replaced(medium(), from, to));
        let problems = take(&dir, &file, &Wishes::default()).err().unwrap();
        assert!(problems.to_string().contains(named), "{named}: {problems}");
        let (shelf, _, _) = Shelf::open(&dir.0.join("images"));
        assert_eq!(shelf.images().count(), 0);
        assert!(!dir.0.join("images/.work/el9").exists());
    }
}

#[test]
fn a_kernel_that_nothing_vouches_for_is_refused_without_the_digest() {
    let dir = Scratch::new("import-unknown");
    let bytes = write(&[
        ("casper/vmlinuz", Entry::File(b"k".to_vec())),
        ("casper/initrd", Entry::File(b"i".to_vec())),
    ]);
    let file = put(&dir, &bytes);
    let named = Wishes { name: Some("live".into()), ..Wishes::default() };
    let problems = take(&dir, &file, &named).err().unwrap();
    assert!(problems.to_string().contains("--sha256"), "{problems}");
    let known = Wishes { sha256: Some(Sha256::of(&bytes)), ..named };
    assert!(take(&dir, &file, &known).is_ok());
    let unnamed = take(&dir, &file, &Wishes::default()).err().unwrap();
    assert!(unnamed.to_string().contains("--name"), "{unnamed}");
}

#[test]
fn what_is_no_iso_and_what_is_cut_off_is_refused() {
    let dir = Scratch::new("import-broken");
    let bytes = medium();
    for broken in [&b"hello"[..], &bytes[..bytes.len() - 6000]] {
        assert!(take(&dir, &put(&dir, broken), &Wishes::default()).is_err());
    }
    assert!(take(&dir, Path::new("/nowhere.iso"), &Wishes::default()).is_err());
}

/// The description of an image; `more` is what it says of where its system comes from.
fn described(name: &str, more: serde_json::Value) -> BTreeMap<String, crate::images::Image> {
    let mut image = serde_json::json!({
        "summary": "", "family": name, "version": "9", "arch": "amd64",
        "kernel": "images/pxeboot/vmlinuz", "initrd": ["images/pxeboot/initrd.img"],
    });
    image.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let image: crate::images::Image = serde_json::from_value(image).unwrap();
    [(name.to_string(), crate::images::Image { name: name.into(), ..image })].into()
}

#[test]
fn a_medium_without_its_repositories_is_refused_and_never_called_ready() {
    let dir = Scratch::new("import-boot");
    let file = put(&dir, &medium());
    let images = dir.0.join("images");
    let whole = described("el9", serde_json::json!({"tree": "/", "repos": {"AppStream": "AppStream"}}));
    let said = import(&images, &file, &whole, &Wishes::default()).err().unwrap().to_string();
    assert!(said.contains("lacks AppStream/repodata/repomd.xml") && said.contains("the DVD"), "{said}");
    // Its tree is the medium's root, whose repository lies one folder below.
    let flat = described("el9", serde_json::json!({"tree": "/"}));
    import(&images, &file, &flat, &Wishes::default()).unwrap();
    let (_, stock, _) = Shelf::open(&images);
    stock.can_install(&flat["el9"]).unwrap();
    let why = stock.can_install(&whole["el9"]).unwrap_err();
    assert!(why.contains("image el9 lacks AppStream/repodata/repomd.xml"), "{why}");
    assert!(why.contains("`bootstead image import FILE.iso --sha256 HEX`"), "{why}");
    for (tree, lacks) in [
        ("AppStream", "AppStream/repodata/repomd.xml"),
        ("LiveOS/root.img", "LiveOS/root.img"),
        ("images/install.img", ""),
    ] {
        let other = described("el9", serde_json::json!({"tree": tree}));
        match stock.can_install(&other["el9"]) {
            Ok(()) => assert_eq!(lacks, "", "{tree}"),
            Err(why) => assert!(!lacks.is_empty() && why.contains(&format!("lacks {lacks},")), "{why}"),
        }
    }
    let mirror = described("el9", serde_json::json!({"tree": "/", "suite": "noble"}));
    assert!(stock.can_install(&mirror["el9"]).unwrap_err().contains("lacks dists/noble/Release"));
    let flatcar = described("flatcar", serde_json::json!({"tree": "BaseOS"}));
    let said =
        import(&images, &file, &flatcar, &Wishes { name: Some("flatcar".into()), ..Wishes::default() });
    let said = said.err().unwrap().to_string();
    assert!(said.contains("lacks BaseOS/9/flatcar_production_image.bin.bz2"), "{said}");
}

#[test]
fn an_installer_that_loads_the_whole_medium_needs_all_of_it_vouched_for() {
    let dir = Scratch::new("import-whole");
    // The MD5 sums of `k` and `i`; nothing vouches for the third file.
    let sums = "8ce4b16b22b58894aa86c421e8759df3  ./casper/vmlinuz\n865c0c0b4ab0e063e5caa3387c1a8741  ./casper/initrd\n";
    let bytes = write(&[
        ("casper/vmlinuz", Entry::File(b"k".to_vec())),
        ("casper/initrd", Entry::File(b"i".to_vec())),
        ("casper/extra.squashfs", Entry::File(b"x".to_vec())),
        ("md5sum.txt", Entry::File(sums.into())),
    ]);
    let file = put(&dir, &bytes);
    let more = serde_json::json!({
        "kernel": "casper/vmlinuz", "initrd": ["casper/initrd"], "tree": MEDIUM, "suite": "noble",
    });
    let ubuntu = described("ubuntu2404", more);
    let images = dir.0.join("images");
    let named = Wishes { name: Some("ubuntu2404".into()), ..Wishes::default() };
    let said = import(&images, &file, &ubuntu, &named).err().unwrap().to_string();
    assert!(said.contains("media.iso of ") && said.contains("--sha256"), "{said}");
    let known = Wishes { sha256: Some(Sha256::of(&bytes)), ..named };
    import(&images, &file, &ubuntu, &known).unwrap();
    let (_, stock, _) = Shelf::open(&images);
    stock.can_install(&ubuntu["ubuntu2404"]).unwrap();
}
