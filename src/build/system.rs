//! Owns building the `system` image: `vmlinuz` and `initrd.img`, whose init is this program itself.

use super::cpio::Archive;
use super::modinfo;
use super::{Built, Say, kernel};
use crate::base::Arch;
use crate::problem::Problem;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Builds into `out`; leaves the two files there and nothing else.
pub fn build(out: &Path, say: Say<'_>) -> Result<Built, Problem> {
    let program = own_program()?;
    let work = out.join("work");
    fs::create_dir_all(&work).map_err(|e| Problem::io("make the folder", &work, &e))?;
    say("getting the distribution's signed kernel");
    let kernel = kernel::get(Arch::Amd64, &work)?;
    say(&format!("{} {}: choosing drivers", kernel.package, kernel.version));
    let paths = modules(&kernel.modules())?;
    let mut all = BTreeMap::new();
    for (name, path) in &paths {
        let bytes = fs::read(path).map_err(|e| Problem::io("read", path, &e))?;
        all.insert(name.clone(), modinfo::read(&bytes).unwrap_or_default());
    }
    let root = kernel.modules();
    let below =
        |p: &Path| p.strip_prefix(&root).map(|p| p.to_string_lossy().into_owned()).unwrap_or_default();
    let wanted: Vec<String> =
        paths.iter().filter(|(_, p)| modinfo::carried(&below(p))).map(|(n, _)| n.clone()).collect();
    let choice = modinfo::choose(&all, &wanted);
    say(&format!("packing {} drivers and this program", choice.modules.len()));
    let initrd = initrd(&program, &choice, &paths)?;

    let put = |name: &str, bytes: &[u8]| {
        let path = out.join(name);
        fs::write(&path, bytes).map_err(|e| Problem::io("write", &path, &e))
    };
    put("initrd.img", &initrd)?;
    let image = fs::read(kernel.image()).map_err(|e| Problem::io("read", &kernel.image(), &e))?;
    put("vmlinuz", &image)?;
    fs::remove_dir_all(&work).map_err(|e| Problem::io("remove", &work, &e))?;
    Ok(Built {
        files: vec!["vmlinuz".to_string(), "initrd.img".to_string()],
        origin: [
            (kernel.package.clone(), format!("{} sha256 {}", kernel.version, kernel.sha256)),
            ("init".to_string(), program_id(&program)),
            ("built".to_string(), super::now()),
        ]
        .into(),
    })
}

/// What the manifest says of the program that is the system's init.
fn program_id(program: &[u8]) -> String {
    format!("bootstead {} sha256 {}", env!("CARGO_PKG_VERSION"), crate::base::Sha256::of(program))
}

/// Whether the system of this manifest has the running program as its init.
pub fn is_current(manifest: &crate::images::Manifest) -> bool {
    own_program().is_ok_and(|p| manifest.origin.get("init") == Some(&program_id(&p)))
}

/// Two archives, one after the other, as the kernel allows: the packed modules as they are (they are compressed,
/// and most are never needed), then the program and the index, compressed as a whole.
fn initrd(
    program: &[u8],
    choice: &modinfo::Choice,
    paths: &BTreeMap<String, PathBuf>,
) -> Result<Vec<u8>, Problem> {
    let folder = crate::system::modules::FOLDER.trim_start_matches('/');
    let mut modules = Archive::default();
    modules.directory(folder);
    for name in &choice.modules {
        let Some(path) = paths.get(name) else { continue };
        let bytes = fs::read(path).map_err(|e| Problem::io("read", path, &e))?;
        modules.file(&format!("{folder}/{name}.ko.gz"), 0o644, &gzip(&bytes)?);
    }
    let mut base = Archive::default();
    for name in ["dev", "proc", "sys", "run"] {
        base.directory(name);
    }
    base.device("dev/console", 0o600, (5, 1));
    base.directory(folder);
    base.file(&format!("{folder}/alias"), 0o644, choice.alias.as_bytes());
    base.file(&format!("{folder}/deps"), 0o644, choice.deps.as_bytes());
    base.file("init", 0o755, program);
    let mut out = modules.finish();
    out.extend(gzip(&base.finish())?);
    Ok(out)
}

fn gzip(bytes: &[u8]) -> Result<Vec<u8>, Problem> {
    let mut gz = GzEncoder::new(Vec::with_capacity(bytes.len() / 2), Compression::best());
    gz.write_all(bytes)
        .and_then(|()| gz.finish())
        .map_err(|e| Problem::fault(format!("cannot compress: {e}")))
}

/// This program's own file, if it can run where there is nothing else.
fn own_program() -> Result<Vec<u8>, Problem> {
    let path = Path::new("/proc/self/exe");
    let bytes = fs::read(path).map_err(|e| Problem::io("read this program", path, &e))?;
    if is_static(&bytes) {
        return Ok(bytes);
    }
    Err(Problem::environment("this build of bootstead needs shared libraries, so it cannot be a blank machine's init")
        .help("use the shipped program, or build it with `make build` and run target/x86_64-unknown-linux-gnu/release/bootstead"))
}

/// Whether an ELF program names no interpreter (program header PT_INTERP, 3).
fn is_static(elf: &[u8]) -> bool {
    let number = |at: usize, len: usize| {
        let bytes = elf.get(at..at.checked_add(len)?)?;
        Some(bytes.iter().rev().fold(0u64, |n, b| n << 8 | u64::from(*b)) as usize)
    };
    let (Some(table), Some(size), Some(count)) = (number(32, 8), number(54, 2), number(56, 2)) else {
        return false;
    };
    elf.starts_with(&[0x7f, b'E', b'L', b'F', 2, 1])
        && (0..count).all(|i| number(table.saturating_add(i * size), 4).is_some_and(|kind| kind != 3))
}

/// Every module file below `folder`, by the kernel's name for it.
fn modules(folder: &Path) -> Result<BTreeMap<String, PathBuf>, Problem> {
    let (mut found, mut open) = (BTreeMap::new(), vec![folder.to_path_buf()]);
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).map_err(|e| Problem::io("read the folder", &dir, &e))?.flatten() {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else if let Some(name) = entry.file_name().to_string_lossy().strip_suffix(".ko") {
                found.insert(modinfo::plain_name(name), path);
            }
        }
    }
    if found.is_empty() {
        return Err(Problem::environment(format!("{} holds no kernel modules", folder.display()))
            .why("modules compressed by the distribution (.ko.xz) are not supported yet"));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_with_an_interpreter_is_not_static() {
        let mut elf = vec![0u8; 64 + 56];
        elf[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1]);
        elf[32] = 64;
        elf[54] = 56;
        elf[56] = 1;
        elf[64] = 1;
        assert!(is_static(&elf));
        elf[64] = 3;
        assert!(!is_static(&elf));
        assert!(!is_static(b"#!/bin/sh") && !is_static(&elf[..70]));
    }

    #[test]
    fn the_initrd_has_the_modules_first_and_the_program_compressed_behind() {
        let choice = modinfo::Choice { alias: "a b\n".into(), deps: "b: \n".into(), ..Default::default() };
        let bytes = initrd(b"program", &choice, &BTreeMap::new()).unwrap();
        assert!(bytes.starts_with(b"070701"));
        let second = bytes.windows(3).position(|w| w == [0x1f, 0x8b, 8]).unwrap();
        assert_eq!(second % 512, 0);
        let mut base = Vec::new();
        std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&bytes[second..]), &mut base).unwrap();
        assert!(String::from_utf8_lossy(&base).contains("program"));
    }
}
