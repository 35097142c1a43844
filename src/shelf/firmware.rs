//! Owns firmware in the installer's initrd: files that a network port's driver asks for before there is any network to
//! get them by. The distribution keeps them apart from its installer.

use super::{bake, download, publish};
use crate::images::cpio::{self, Members};
use crate::problem::Problem;
use std::fs;
use std::path::{Path, PathBuf};

/// Where packages have their firmware; the kernel looks below /lib/firmware.
const FOLDERS: [&str; 2] = ["lib/firmware", "usr/lib/firmware"];

/// The firmware of the packages in `debs`, to be added to `initrd`; `work` is a folder for this.
pub fn members(debs: &[PathBuf], initrd: &Members, work: &Path) -> Result<Members, Problem> {
    let mut new = Members::new();
    for deb in debs {
        download::unpack(deb, work)?;
        for folder in FOLDERS {
            take(&work.join(folder), "lib/firmware", initrd, &mut new)?;
        }
        publish::clear(work)?;
    }
    bake::parents(initrd, &mut new);
    Ok(new)
}

/// All files and links below the folder `from`, under `to` in the initrd.
fn take(from: &Path, to: &str, initrd: &Members, new: &mut Members) -> Result<(), Problem> {
    let Ok(entries) = fs::read_dir(from) else { return Ok(()) };
    for entry in entries.flatten() {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        let inside = format!("{to}/{name}");
        if path.is_dir() && !path.is_symlink() {
            take(&path, &inside, initrd, new)?;
        } else {
            new.insert(cpio::resolve(initrd, &inside), bake::member(&path)?);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::images::cpio::Member;
    use crate::shelf::tests::Scratch;
    use std::process::Command;

    #[test]
    fn a_package_s_firmware_lies_where_the_installer_s_kernel_looks() {
        let dir = Scratch::new("firmware");
        let tree = dir.0.join("tree");
        for (path, text) in [
            (
                "DEBIAN/control",
                "Package: firmware-x\nVersion: 1\nArchitecture: all\nMaintainer: x\nDescription: x\n",
            ),
            ("lib/firmware/bnx2/a.fw", "A"),
            ("usr/lib/firmware/qed/b.bin", "B"),
            ("usr/share/doc/firmware-x/copyright", "C"),
        ] {
            let at = tree.join(path);
            fs::create_dir_all(at.parent().unwrap()).unwrap();
            fs::write(at, text).unwrap();
        }
        std::os::unix::fs::symlink("a.fw", tree.join("lib/firmware/bnx2/same.fw")).unwrap();
        let deb = dir.0.join("x.deb");
        let made = Command::new("dpkg-deb").arg("-b").arg(&tree).arg(&deb).output();
        if !made.is_ok_and(|o| o.status.success()) {
            eprintln!("skipped: dpkg-deb is not installed");
            return;
        }
        // Debian 13's initrd has /lib as a link; the kernel follows it, an unpacked archive would replace it.
        let initrd: Members = [
            ("lib".to_string(), Member::link("usr/lib")),
            ("usr".to_string(), Member::folder()),
            ("usr/lib".to_string(), Member::folder()),
        ]
        .into();
        let new = members(&[deb], &initrd, &dir.0.join("work")).unwrap();
        let names: Vec<&str> = new.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            [
                "usr/lib/firmware",
                "usr/lib/firmware/bnx2",
                "usr/lib/firmware/bnx2/a.fw",
                "usr/lib/firmware/bnx2/same.fw",
                "usr/lib/firmware/qed",
                "usr/lib/firmware/qed/b.bin",
            ]
        );
        assert_eq!(new["usr/lib/firmware/bnx2/same.fw"].target(), Some("a.fw"));
        assert_eq!(cpio::read(&cpio::write(&new)).unwrap(), new);
    }
}
