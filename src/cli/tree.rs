//! `bootstead tree`: profiles, kickstart and images, with where each file comes from.

use super::Globals;
use super::load;
use crate::base::time::size;
use crate::disk;
use crate::problem::{Exit, Problem, Problems};
use crate::tree::{File, Origin, Tree};
use similar::TextDiff;
use std::fmt::Write as _;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub struct TreeArgs {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// What --tree changes against the built-in files
    Diff,
    /// What roles and parts are made of: variables, steps, checks, drills (Markdown)
    Page {
        /// A role or a part; none: all of them
        name: Option<String>,
    },
    /// Write built-in files into a folder, to change them and use them with --tree
    Export {
        /// The folder; files that are there are never overwritten
        dir: PathBuf,
        /// Only files at or below these paths, for example profiles/compute
        path: Vec<String>,
    },
}

pub fn run(g: &Globals, args: TreeArgs) -> Result<Exit, Problems> {
    let tree = load::tree(g)?;
    match args.verb {
        None => list(g, &tree),
        Some(Verb::Diff) => diff(g, &tree),
        Some(Verb::Page { name }) => page(&tree, name.as_deref()),
        Some(Verb::Export { dir, path }) => export(&dir, &path),
    }
}

/// The pages of one role or part, or of all.
fn page(tree: &Tree, name: Option<&str>) -> Result<Exit, Problems> {
    let (roles, mut problems) = crate::profiles::read(tree);
    let (parts, more) = crate::profiles::part::read(tree);
    problems.extend(more);
    if !problems.is_empty() {
        return Err(Problems(problems));
    }
    let meant = |n: &str| name.is_none_or(|name| name == n);
    let mut pages: Vec<String> =
        roles.values().filter(|r| meant(&r.name)).map(|r| crate::profiles::page::role(r, &parts)).collect();
    pages.extend(parts.values().filter(|p| meant(&p.name)).map(crate::profiles::page::part));
    if let (Some(name), true) = (name, pages.is_empty()) {
        let known = roles.keys().chain(parts.keys()).map(String::as_str);
        let problem = Problem::input(format!("no role and no part is named {name:?}"));
        return Err(match crate::problem::did_you_mean(name, known) {
            Some(near) => problem.help(format!("did you mean {near:?}?")),
            None => problem.help("`bootstead tree` lists the files of all"),
        }
        .into());
    }
    super::say(&pages.join("\n"))
}

/// Whether the file on disk replaces, equals or adds to what is built in.
fn standing(path: &str, file: &File, embedded: &Tree) -> &'static str {
    match (&file.origin, embedded.get(path)) {
        (Origin::Embedded, _) => "built in",
        (Origin::Disk(_), None) => "added",
        (Origin::Disk(_), Some(old)) if old.bytes == file.bytes => "same",
        (Origin::Disk(_), Some(_)) => "replaced",
    }
}

fn origin(file: &File) -> &str {
    match &file.origin {
        Origin::Embedded => "",
        Origin::Disk(path) => path,
    }
}

fn list(g: &Globals, tree: &Tree) -> Result<Exit, Problems> {
    let embedded = Tree::embedded();
    if g.json {
        let rows: Vec<_> = tree
            .iter()
            .map(|(path, file)| {
                serde_json::json!({
                    "path": path,
                    "standing": standing(path, file, &embedded),
                    "file": origin(file),
                    "bytes": file.bytes.len(),
                    "sha256": file.digest(),
                })
            })
            .collect();
        return super::say(&format!("{:#}\n", serde_json::Value::from(rows)));
    }
    let width = tree.iter().map(|(p, _)| p.len()).max().unwrap_or(0);
    let mut out = String::new();
    let mut folder = "";
    for (path, file) in tree.iter() {
        let top = path.split('/').next().unwrap_or_default();
        if top != folder {
            let _ = writeln!(out, "{}{top}/", if folder.is_empty() { "" } else { "\n" });
            folder = top;
        }
        let below = &path[top.len() + 1..];
        let bytes = size(file.bytes.len() as u64);
        let line = format!(
            "  {below:w$}  {bytes:>9}  {:8}  {}",
            standing(path, file, &embedded),
            origin(file),
            w = width - top.len()
        );
        let _ = writeln!(out, "{}", line.trim_end());
    }
    super::say(&out)
}

fn diff(g: &Globals, tree: &Tree) -> Result<Exit, Problems> {
    let embedded = Tree::embedded();
    let changed: Vec<(&str, &File)> = tree
        .iter()
        .filter(|(path, file)| matches!(standing(path, file, &embedded), "added" | "replaced"))
        .collect();
    let unified = |path: &str, file: &File| {
        let old =
            embedded.get(path).map(|f| String::from_utf8_lossy(&f.bytes).into_owned()).unwrap_or_default();
        let new = String::from_utf8_lossy(&file.bytes).into_owned();
        TextDiff::from_lines(&old, &new)
            .unified_diff()
            .header(&format!("built-in {path}"), origin(file))
            .to_string()
    };
    if g.json {
        let rows: Vec<_> = changed
            .iter()
            .map(|(p, f)| {
                serde_json::json!({ "path": p, "standing": standing(p, f, &embedded), "diff": unified(p, f) })
            })
            .collect();
        return super::say(&format!("{:#}\n", serde_json::Value::from(rows)));
    }
    if changed.is_empty() {
        return super::say("Every file is the built-in one.\n");
    }
    super::say(&changed.iter().map(|(p, f)| unified(p, f)).collect::<Vec<_>>().join("\n"))
}

fn export(dir: &std::path::Path, paths: &[String]) -> Result<Exit, Problems> {
    let tree = Tree::embedded();
    let wanted = |path: &str| {
        let below = |p: &String| {
            let p = p.trim_end_matches('/');
            path == p || path.strip_prefix(p).is_some_and(|rest| rest.starts_with('/'))
        };
        paths.is_empty() || paths.iter().any(below)
    };
    let files: Vec<(&str, &File)> = tree.iter().filter(|(p, _)| wanted(p)).collect();
    if files.is_empty() {
        return Err(Problem::input(format!("there is no built-in file at {}", paths.join(", ")))
            .help("`bootstead tree` lists them")
            .into());
    }
    let mut problems = Problems::default();
    for (path, _) in &files {
        if dir.join(path).exists() {
            problems.push(
                Problem::input(format!("{} is there already", dir.join(path).display()))
                    .help("name another folder, or move the file away"),
            );
        }
    }
    if problems.errors() > 0 {
        return Err(problems);
    }
    for (path, file) in &files {
        let to = dir.join(path);
        if let Some(folder) = to.parent() {
            disk::make_folder(folder, 0o755)?;
        }
        disk::write(&to, &file.bytes, 0o644)?;
    }
    super::say(&format!(
        "Wrote {} files below {}; use them with --tree {}\n",
        files.len(),
        dir.display(),
        dir.display()
    ))
}
