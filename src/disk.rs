//! Owns files on disk: read, write atomically, stream; every error names its path.

use crate::problem::{Place, Problem, Problems};
use crate::site::{Files, Table, snapshot, table_names};
use crate::tree::{Origin, Tree};
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// A file's bytes.
pub fn read(path: &Path) -> Result<Vec<u8>, Problem> {
    std::fs::read(path).map_err(|e| Problem::io("read", path, &e))
}

/// A file's text; it must be UTF-8.
pub fn read_text(path: &Path) -> Result<String, Problem> {
    String::from_utf8(read(path)?).map_err(|e| {
        let (name, at) = (path.display().to_string(), e.utf8_error().valid_up_to());
        let bytes = e.as_bytes();
        Problem::input(format!("{name} is not UTF-8 text"))
            .at(Place::of_bytes(&name, bytes, at))
            .why(format!(
                "the byte {:02X} here belongs to another character set",
                bytes.get(at).unwrap_or(&0)
            ))
            .help("save it as UTF-8, or write that character again")
    })
}

/// Writes a file as a whole or not at all: to a temporary name beside it, synced, then renamed over it.
///
/// `mode` is the new file's, whatever the old one's was.
pub fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Problem> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let fail = |e: std::io::Error| Problem::io("write", path, &e);
    let folder = match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    };
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let temporary = folder.join(format!(".{name}.{}.part", std::process::id()));
    // An earlier process of the same number may have died here.
    let _ = std::fs::remove_file(&temporary);
    let written = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&temporary)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        })
        .and_then(|()| std::fs::rename(&temporary, path))
        .and_then(|()| std::fs::File::open(folder)?.sync_all());
    written.map_err(|e| {
        let _ = std::fs::remove_file(&temporary);
        fail(e)
    })
}

/// Writes a file that can be made again at any time: no sync, straight over what is there.
pub fn write_quickly(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Problem> {
    use std::os::unix::fs::OpenOptionsExt as _;
    std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(path)
        .and_then(|mut file| file.write_all(bytes))
        .map_err(|e| Problem::io("write", path, &e))
}

/// Makes a folder and those above it.
pub fn make_folder(path: &Path, mode: u32) -> Result<(), Problem> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .map_err(|e| Problem::io("make the folder", path, &e))
}

/// The site file and its node tables.
pub fn read_site(path: &Path) -> Result<Files, Problem> {
    let text = match read_text(path) {
        Err(p) if !path.exists() => {
            return Err(p.help("name the site file with --site, or begin with `bootstead init DIR`"));
        }
        other => other?,
    };
    let (names, named) = table_names(&text);
    let folder = path.parent().map(Path::to_path_buf).unwrap_or_default();
    let mut tables = Vec::new();
    for name in names {
        let file = folder.join(&name);
        let bytes = match std::fs::read(&file) {
            Ok(bytes) => Some(bytes),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
            Err(e) => return Err(Problem::io("read", &file, &e)),
        };
        if bytes.is_some() || named {
            tables.push(Table { name, bytes });
        }
    }
    Ok(Files { name: path.display().to_string(), text, tables })
}

/// Keeps the files of a site that was taken into use, for `diff`. They may hold a password's hash: mode 0600.
pub fn keep_site(state_dir: &Path, files: &Files) -> Result<(), Problem> {
    make_folder(state_dir, 0o700)?;
    write(&state_dir.join(snapshot::FILE), snapshot::write(files).as_bytes(), 0o600)
}

/// The files of the site that was last taken into use; `None` if none was.
pub fn last_site(state_dir: &Path) -> Result<Option<Files>, Problem> {
    let path = state_dir.join(snapshot::FILE);
    if !path.exists() {
        return Ok(None);
    }
    match snapshot::read(&read_text(&path)?) {
        Some(files) => Ok(Some(files)),
        None => Err(Problem::environment(format!("{} is damaged", path.display()))
            .help("remove it; the next `bootstead serve` writes it again")),
    }
}

/// The embedded tree, with the files of `overlay` on top.
pub fn read_tree(overlay: Option<&Path>) -> Result<Tree, Problems> {
    let mut tree = Tree::embedded();
    let Some(folder) = overlay else { return Ok(tree) };
    if !folder.is_dir() {
        return Err(Problem::environment(format!("--tree {} is not a folder", folder.display()))
            .help("name a folder that has profiles/, kickstart/ or images/ in it")
            .into());
    }
    let mut problems = Problems::default();
    for part in ["profiles", "kickstart", "images"] {
        let top = folder.join(part);
        if top.is_dir() {
            overlay_folder(&mut tree, &top, part, &mut problems);
        }
    }
    if problems.errors() > 0 { Err(problems) } else { Ok(tree) }
}

fn overlay_folder(tree: &mut Tree, folder: &Path, name: &str, problems: &mut Problems) {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) => return problems.push(Problem::io("list the folder", folder, &e)),
    };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
    paths.sort();
    for path in paths {
        let Some(file) = path.file_name().map(|n| n.to_string_lossy().into_owned()) else { continue };
        if file.starts_with('.') || file.ends_with('~') {
            continue;
        }
        let below = format!("{name}/{file}");
        if path.is_dir() {
            overlay_folder(tree, &path, &below, problems);
            continue;
        }
        match read(&path) {
            Ok(bytes) => tree.put(&below, bytes, Origin::Disk(path.display().to_string())),
            Err(p) => problems.push(p),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_another_character_set_is_shown_where_it_is() {
        let file = std::env::temp_dir().join(format!("bootstead-latin1-{}", std::process::id()));
        std::fs::write(&file, b"[site]\nname = \"B\xfcro\"\n").unwrap();
        let problem = read_text(&file).unwrap_err();
        std::fs::remove_file(&file).unwrap();
        let at = problem.at.clone().unwrap();
        assert_eq!((at.line, at.column, at.text.as_str()), (2, 10, "name = \"B\u{fffd}ro\""));
        assert!(problem.why.unwrap().contains("the byte FC here"));
    }

    #[test]
    fn a_file_is_replaced_as_a_whole_and_an_error_names_its_path() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = std::env::temp_dir().join(format!("bootstead-disk-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        make_folder(&dir, 0o700).unwrap();
        let file = dir.join("a");
        write(&file, b"one", 0o644).unwrap();
        write(&file, b"two", 0o600).unwrap();
        assert_eq!(read_text(&file).unwrap(), "two");
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1);
        let e = write(&dir.join("no/such"), b"", 0o600).unwrap_err();
        assert!(e.what.contains("no/such"), "{e}");
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
