//! Owns the operator's own files in a backup: the site file, its tables, and the files of `--tree`; so that a backup
//! alone makes another machine the appliance.

use super::Globals;
use crate::disk;
use crate::problem::{Problem, Problems};
use crate::tree::Origin;
use std::fmt::Write as _;
use std::path::{Component, Path, PathBuf};

/// In a backup: the site file under this name, beside its tables.
pub const SITE: &str = "site/site.toml";
/// Tables that lie outside of the site file's folder, by their file names.
const ELSEWHERE: &str = "site/elsewhere";
const TREE: &str = "tree";

/// Copies them into the backup `to`; returns how many there are.
pub fn keep(g: &Globals, to: &Path) -> Result<usize, Problems> {
    let mut count = 0;
    // A machine that is given up may have lost it; the journal and the secrets are worth a backup without it.
    if g.site.exists() {
        let files = disk::read_site(&g.site)?;
        put(&to.join(SITE), files.text.as_bytes())?;
        count += 1;
        for table in &files.tables {
            let Some(bytes) = &table.bytes else { continue };
            put(&to.join(place(&table.name)), bytes)?;
            count += 1;
        }
    }
    for (path, file) in disk::read_tree(g.tree.as_deref())?.iter() {
        if matches!(file.origin, Origin::Disk(_)) {
            put(&to.join(TREE).join(path), &file.bytes)?;
            count += 1;
        }
    }
    Ok(count)
}

/// Puts them where the commands look for them; what is there already stays, and is said where it differs.
pub fn put_back(g: &Globals, from: &Path) -> Result<String, Problems> {
    if !from.join(SITE).exists() {
        return Ok(format!("{} has no site file: put it to {} yourself\n", from.display(), g.site.display()));
    }
    let folder = g.site.parent().map(Path::to_path_buf).unwrap_or_default();
    let mut out = String::new();
    one(&from.join(SITE), &g.site, &mut out)?;
    for table in disk::read_site(&from.join(SITE))?.tables {
        let kept = place(&table.name);
        if !from.join(&kept).exists() {
            continue;
        }
        if kept.starts_with(ELSEWHERE) {
            let _ = writeln!(
                out,
                "{} belongs to {}, as the site file says: put it there yourself",
                from.join(&kept).display(),
                folder.join(&table.name).display()
            );
            continue;
        }
        one(&from.join(&kept), &folder.join(&table.name), &mut out)?;
    }
    if from.join(TREE).is_dir() {
        let tree = g.tree.clone().unwrap_or_else(|| folder.join(TREE));
        for (path, file) in disk::read_tree(Some(&from.join(TREE)))?.iter() {
            if matches!(file.origin, Origin::Disk(_)) {
                one(&from.join(TREE).join(path), &tree.join(path), &mut out)?;
            }
        }
        let _ = writeln!(
            out,
            "your own profiles are in {0}: give `--tree {0}` with every command",
            tree.display()
        );
    }
    Ok(out)
}

/// A table's place in a backup.
fn place(table: &str) -> PathBuf {
    let path = Path::new(table);
    match path.components().all(|c| matches!(c, Component::Normal(_))) {
        true => Path::new("site").join(path),
        false => Path::new(ELSEWHERE).join(path.file_name().unwrap_or(path.as_os_str())),
    }
}

fn put(to: &Path, bytes: &[u8]) -> Result<(), Problem> {
    disk::make_folder(to.parent().unwrap_or(Path::new(".")), 0o700)?;
    disk::write(to, bytes, 0o600)
}

fn one(from: &Path, to: &Path, out: &mut String) -> Result<(), Problem> {
    let bytes = disk::read(from)?;
    if !to.exists() {
        return put(to, &bytes);
    }
    if disk::read(to)? != bytes {
        let _ = writeln!(
            out,
            "{} is here already and was left as it is; the backup has another one, {}",
            to.display(),
            from.display()
        );
    }
    Ok(())
}
