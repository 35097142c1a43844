//! `bootstead diff`: what a changed site would change, per node, before anything is armed.

use super::Globals;
use super::load;
use crate::boot::compare::{Change, Kind, compare};
use crate::disk;
use crate::problem::{Exit, Problem, Problems};
use crate::site::{Catalog, Files, Site};
use std::fmt::Write as _;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub struct DiffArgs {
    /// The old site file, its node tables beside it [default: the one that `serve` last took into use]
    #[arg(value_name = "OLD")]
    old: Option<PathBuf>,
    /// Only which nodes and files, without the lines
    #[arg(long, short)]
    brief: bool,
}

pub fn run(g: &Globals, args: DiffArgs) -> Result<Exit, Problems> {
    let loaded = load::load(g)?;
    let files = match &args.old {
        Some(path) => disk::read_site(path)?,
        None => disk::last_site(&g.state_dir())?.ok_or_else(|| {
            Problem::input("there is nothing to compare with: no server has taken this site into use yet")
                .help("name an old site file: bootstead diff OLD.toml")
        })?,
    };
    let old = understood(&files, &loaded.catalog)?;
    let changes = compare(&old, &loaded.site, &loaded.catalog, &load::placeholder())?;
    if g.json {
        let report = serde_json::json!({ "old": files.name, "changes": changes });
        return super::say(&format!("{report:#}\n"));
    }
    super::say(&text(&changes, args.brief))
}

fn understood(files: &Files, catalog: &Catalog) -> Result<Site, Problems> {
    let (site, mut problems) = crate::site::check(files, catalog);
    site.ok_or_else(|| {
        problems.push(
            Problem::input("the old site does not pass check any more")
                .why("it is read with the profiles, families and images of now"),
        );
        problems
    })
}

fn text(changes: &[Change], brief: bool) -> String {
    if changes.is_empty() {
        return "Nothing changes for any node.\n".to_string();
    }
    let mut out = String::new();
    for change in changes {
        let word = match change.kind {
            Kind::Added => "added",
            Kind::Removed => "removed",
            Kind::Changed => "changed",
        };
        let _ = writeln!(out, "{word:8} {}", names(&change.nodes));
        for fact in &change.facts {
            let _ = writeln!(out, "  {fact}");
        }
        for file in &change.files {
            let count = |sign: char| file.diff.lines().filter(|l| l.starts_with(sign)).count();
            let _ = writeln!(out, "  {} (+{} -{})", file.what, count('+'), count('-'));
            if !brief {
                for line in file.diff.lines() {
                    let _ = writeln!(out, "    {line}");
                }
            }
        }
        out.push('\n');
    }
    out.push_str("An installed node keeps what it has until it is armed again.\n");
    out
}

/// At most eight names.
fn names(nodes: &[String]) -> String {
    match nodes.len() {
        0..=8 => nodes.join(", "),
        n => format!("{} … {} ({n} nodes, the same in each)", nodes[..3].join(", "), nodes[n - 1]),
    }
}
