//! The architecture test: ARCHITECTURE.md's tables and the code must say the same.
//!
//! Who uses whom (table A), which outside crate and which part of the world is used where (table B), every file says
//! what it owns, no file grows without a reason (table C), every invariant names tests that exist.

#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Longest file, in lines; longer ones stand in table C with their reason.
const LONGEST: usize = 500;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn document() -> String {
    std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap()
}

/// Rows of the table below the heading that begins with `heading`: cells, without the header row.
fn table(heading: &str) -> Vec<Vec<String>> {
    let text = document();
    let section = text
        .split("\n### ")
        .find(|s| s.starts_with(heading))
        .unwrap_or_else(|| panic!("no section {heading}"));
    section
        .lines()
        .skip_while(|l| !l.starts_with("|---"))
        .skip(1)
        .take_while(|l| l.starts_with('|'))
        .map(|l| l.trim_matches('|').split(" | ").map(|c| c.trim().to_string()).collect())
        .collect()
}

/// The words in back quotes of a cell.
fn quoted(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_string).collect()
}

/// A source file: its path below `src/`, and its code without comments, texts and tests.
struct Source {
    path: String,
    code: String,
}

fn rust_files(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(dir) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&dir) else { continue };
        for path in entries.map(|e| e.unwrap().path()) {
            if path.is_dir() && path.file_name().is_some_and(|n| n != "target") {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn sources() -> Vec<Source> {
    let all = rust_files("src").into_iter().filter_map(|path| {
        let shown = path.strip_prefix(root().join("src")).unwrap().to_string_lossy().into_owned();
        // build.rs runs before the crate exists; tests.rs files are tests.
        if shown == "tree/build.rs" || shown.ends_with("/tests.rs") {
            return None;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        // Unit tests stand at a file's end, by convention.
        let text = text.split("\n#[cfg(test)]\nmod tests").next().unwrap().to_string();
        let code = text.lines().map(without_comment).collect::<Vec<_>>().join("\n");
        Some(Source { path: shown, code })
    });
    all.collect()
}

fn without_comment(line: &str) -> &str {
    match line.find("//") {
        // An address in a text (`http://`) is no comment.
        Some(at) if !line[..at].ends_with(':') => &line[..at],
        _ => line,
    }
}

/// The module of the first level that a file belongs to.
fn module(path: &str) -> &str {
    path.split('/').next().unwrap().trim_end_matches(".rs")
}

/// Names after `crate::`, also in groups; and after `super::` where that is the crate's root.
fn used(source: &Source) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let at_root = !source.path.contains('/')
        || source.path.ends_with("/mod.rs") && source.path.matches('/').count() == 1;
    let mut ways = vec!["crate::"];
    if at_root {
        ways.push("super::");
    }
    for way in ways {
        for (at, _) in source.code.match_indices(way) {
            let before = source.code[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                continue;
            }
            let rest = &source.code[at + way.len()..];
            let names = match rest.strip_prefix('{') {
                Some(group) => group.split('}').next().unwrap().to_string(),
                None => rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect(),
            };
            let first = |part: &str| part.trim().split("::").next().unwrap_or_default().to_string();
            found.extend(names.split(',').map(first).filter(|n| !n.is_empty()));
        }
    }
    found
}

#[test]
fn modules_use_only_what_table_a_allows() {
    let rows = table("Table A");
    let order: Vec<&str> = rows.iter().map(|r| r[0].trim_matches('`')).collect();
    let mut may: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let mut wrong = Vec::new();
    for (i, row) in rows.iter().enumerate() {
        let allowed: BTreeSet<String> = match row[1].as_str() {
            "everything above" => order[..i].iter().map(|n| n.to_string()).collect(),
            cell => quoted(cell).into_iter().collect(),
        };
        for name in &allowed {
            if !order[..i].contains(&name.as_str()) {
                wrong.push(format!("table A: {} may use {name}, which does not stand above it", order[i]));
            }
        }
        may.insert(order[i], allowed);
    }
    let lib = std::fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let declared: BTreeSet<&str> =
        lib.lines().filter_map(|l| l.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    assert_eq!(declared, order.iter().copied().collect(), "table A lists the modules of lib.rs");
    let described: Vec<&str> =
        lib.lines().filter_map(|l| l.strip_prefix("//! - [`")?.split('`').next()).collect();
    assert_eq!(described, order, "lib.rs describes the modules in the order of table A");

    for source in sources() {
        let own = module(&source.path);
        let Some(allowed) = may.get(own) else { continue };
        for name in used(&source) {
            let known = declared.contains(name.as_str());
            if known && name != own && name != "problem" && !allowed.contains(&name) {
                wrong.push(format!("src/{}: {own} may not use {name}", source.path));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Whether `code` names `outside`: a crate or path (`tokio`, `std::fs`) as the beginning of a path, else as text.
fn names(code: &str, outside: &str) -> bool {
    code.match_indices(outside).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = &code[at + outside.len()..];
        let starts =
            !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':' || c == '"' || c == '.');
        let ends = match outside {
            "unsafe" => after.starts_with(' '),
            path if path.contains("::") => {
                after.starts_with("::") || after.starts_with(';') || after.starts_with('(')
            }
            _ => after.starts_with("::"),
        };
        starts && ends
    })
}

#[test]
fn outside_things_are_used_only_where_table_b_allows() {
    let all = sources();
    let mut wrong = Vec::new();
    let mut listed = BTreeSet::new();
    for row in table("Table B") {
        let (things, places) = (quoted(&row[0]), quoted(&row[1]));
        for place in &places {
            if !all.iter().any(|s| s.path.starts_with(place.as_str())) {
                wrong.push(format!("table B: there is no src/{place}"));
            }
        }
        for thing in things {
            let mut anywhere = false;
            for source in all.iter().filter(|s| names(&s.code, &thing)) {
                anywhere = true;
                if !places.iter().any(|p| source.path.starts_with(p.as_str())) {
                    wrong.push(format!(
                        "src/{}: uses {thing}, which table B allows only in {places:?}",
                        source.path
                    ));
                }
            }
            if !anywhere && row.get(2).is_none_or(|r| !r.contains("not used yet")) {
                wrong.push(format!("table B: nobody uses {thing}"));
            }
            listed.insert(thing);
        }
    }
    // Every dependency is used, and has its row.
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let section = manifest.split("\n[dependencies]\n").nth(1).unwrap().split("\n[").next().unwrap();
    for line in section.lines().filter(|l| !l.starts_with('#') && l.contains('=')) {
        let name = line.split(['=', ' ']).next().unwrap().replace('-', "_");
        if !listed.contains(&name) {
            wrong.push(format!("Cargo.toml: {name} has no row in table B"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_file_says_what_it_owns_and_stays_short() {
    let exceptions: BTreeMap<String, usize> = table("Table C")
        .iter()
        .map(|r| (r[0].trim_matches('`').to_string(), r[1].parse().unwrap()))
        .collect();
    let mut wrong = Vec::new();
    for folder in ["src", "tests", "fuzz"] {
        for path in rust_files(folder) {
            let shown = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
            let text = std::fs::read_to_string(&path).unwrap();
            if !text.starts_with("//! ") {
                wrong.push(format!("{shown} does not begin with `//!`"));
            }
            let lines = text.lines().count();
            match exceptions.get(&shown) {
                Some(most) if lines > *most => {
                    wrong.push(format!("{shown} has {lines} lines, table C allows {most}"))
                }
                Some(_) if lines <= LONGEST => {
                    wrong.push(format!("{shown} has {lines} lines: take it out of table C"))
                }
                None if lines > LONGEST => {
                    wrong.push(format!("{shown} has {lines} lines: cut it in two, or say why in table C"))
                }
                _ => {}
            }
        }
    }
    for name in exceptions.keys() {
        if !root().join(name).exists() {
            wrong.push(format!("table C: there is no {name}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_invariant_names_tests_that_exist() {
    let mut wrong = Vec::new();
    let rows = table("Invariants");
    assert!(rows.len() >= 9, "the invariants are gone");
    for row in rows {
        let tests: Vec<String> = quoted(&row[2]).into_iter().filter(|t| t.contains("::")).collect();
        if tests.is_empty() {
            wrong.push(format!("invariant {} names no test", row[0]));
        }
        for test in tests {
            let (file, name) = test.rsplit_once("::").unwrap();
            let text = std::fs::read_to_string(root().join(file)).unwrap_or_default();
            if !text.contains(&format!("fn {name}(")) {
                wrong.push(format!("invariant {}: there is no test {name} in {file}", row[0]));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn nothing_unfinished_and_no_machine_of_ours_is_in_the_files() {
    // Put together at run time, so that this file does not hold what it looks for.
    let words = [
        "not built",
        " yet",
        "to",
        "do!(",
        "unimpl",
        "emented!(",
        "/wo",
        "rk/wt",
        "/wo",
        "rk/main",
        "/wo",
        "rk/shared",
    ];
    let unwanted: Vec<String> = words.chunks(2).map(|pair| pair.concat()).collect();
    let mut wrong = Vec::new();
    let mut folders = vec![root().to_path_buf()];
    while let Some(dir) = folders.pop() {
        for path in std::fs::read_dir(&dir).unwrap().map(|e| e.unwrap().path()) {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                if !["target", ".git", ".work", "corpus", "artifacts"].contains(&name.as_str()) {
                    folders.push(path);
                }
                continue;
            }
            let Ok(text) = std::fs::read_to_string(&path) else { continue };
            // A worktree's `.git` is a file that says where the repository is.
            for word in unwanted.iter().filter(|w| name != ".git" && text.contains(w.as_str())) {
                wrong.push(format!("{}: {word:?}", path.strip_prefix(root()).unwrap().display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The fuzz targets have a lock file of their own (cargo-fuzz wants it so); it is read with `--locked` only after many
/// minutes of other tests, so that it names what the program depends on is asked here.
#[test]
fn the_fuzz_targets_lock_knows_every_dependency() {
    let read = |path: &str| -> toml::Table {
        toml::from_str(&std::fs::read_to_string(root().join(path)).unwrap()).unwrap()
    };
    let named = |(key, how): (&String, &toml::Value)| {
        how.get("package").and_then(|name| name.as_str()).unwrap_or(key).to_string()
    };
    let wanted: BTreeSet<String> =
        read("Cargo.toml")["dependencies"].as_table().unwrap().iter().map(named).collect();
    let lock = read("fuzz/Cargo.lock");
    let packages = lock["package"].as_array().unwrap();
    let ours = packages.iter().find(|p| p["name"].as_str() == Some("bootstead")).unwrap();
    let locked: BTreeSet<String> = ours["dependencies"]
        .as_array()
        .unwrap()
        .iter()
        // "name", or "name version" where there are several.
        .map(|d| d.as_str().unwrap().split(' ').next().unwrap().to_string())
        .collect();
    assert_eq!(
        locked, wanted,
        "fuzz/Cargo.lock is behind Cargo.toml: `cargo metadata --manifest-path fuzz/Cargo.toml >/dev/null` mends it"
    );
}
