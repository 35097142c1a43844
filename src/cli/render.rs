//! `bootstead render`

use super::Globals;
use super::load::{self, Loaded};
use crate::boot::answers::{self, Rendered};
use crate::disk;
use crate::problem::{Exit, Problem, Problems, did_you_mean};
use crate::site::Node;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Args)]
pub struct RenderArgs {
    /// A node, by name or MAC address
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    node: Option<String>,
    /// Which of its files, for example boot.ipxe; without it they are listed
    what: Option<String>,
    /// Write every file of every node into --out
    #[arg(long, requires = "out")]
    all: bool,
    /// Write the files into this folder, below DIR/NODE/, instead of printing them
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub fn run(g: &Globals, args: RenderArgs) -> Result<Exit, Problems> {
    let loaded = load::load(g)?;
    let Some(name) = &args.node else {
        // --all, which has its folder.
        let out = args.out.unwrap_or_default();
        return write(g, &loaded, &loaded.site.nodes.iter().collect::<Vec<_>>(), None, &out);
    };
    let node = node(&loaded, name)?;
    if let Some(out) = &args.out {
        return write(g, &loaded, &[node], args.what.as_deref(), out);
    }
    let files = files(&loaded, node)?;
    match &args.what {
        Some(what) => super::say(&one(&files, node, what)?.content),
        None => list(g, &files, node),
    }
}

/// A node of the site by name or MAC address; the error knows names that are near.
pub fn node<'a>(loaded: &'a Loaded, name: &str) -> Result<&'a Node, Problem> {
    loaded.site.find(name).ok_or_else(|| {
        let problem = Problem::input(format!("the site has no node {name:?}"));
        match did_you_mean(name, loaded.site.nodes.iter().map(|n| n.name.as_str())) {
            Some(near) => problem.help(format!("did you mean {near}?")),
            None => problem.help("`bootstead check` lists the roles and their nodes"),
        }
    })
}

fn files(loaded: &Loaded, node: &Node) -> Result<Vec<Rendered>, Problem> {
    answers::all(&loaded.site, &loaded.catalog, node, &load::placeholder())
}

fn one<'a>(files: &'a [Rendered], node: &Node, what: &str) -> Result<&'a Rendered, Problem> {
    if let Some(file) = files.iter().find(|f| f.what == what || f.file == what) {
        return Ok(file);
    }
    let names: Vec<&str> = files.iter().map(|f| f.what.as_str()).collect();
    Err(Problem::input(format!("{} gets no file {what:?}", node.name)).help(
        match did_you_mean(what, names.iter().copied()) {
            Some(near) => format!("did you mean {near}?"),
            None => format!("it gets {}", names.join(", ")),
        },
    ))
}

fn list(g: &Globals, files: &[Rendered], node: &Node) -> Result<Exit, Problems> {
    if g.json {
        let list: Vec<_> = files
            .iter()
            .map(|f| serde_json::json!({ "what": f.what, "file": f.file, "bytes": f.content.len() }))
            .collect();
        return super::say(&format!("{:#}\n", serde_json::json!({ "node": node.name, "files": list })));
    }
    let width = files.iter().map(|f| f.what.len()).max().unwrap_or(0);
    let mut out = format!("{} gets:\n", node.name);
    for f in files {
        let size = crate::base::time::size(f.content.len() as u64);
        let _ = writeln!(out, "  {:width$}  {size:>10}", f.what);
    }
    let first = files.first().map_or("boot.ipxe", |f| f.what.as_str());
    let _ = writeln!(out, "\nPrint one with: bootstead render {} {first}", node.name);
    super::say(&out)
}

/// Writes the files of `nodes`, or only the one that is asked for.
fn write(
    g: &Globals,
    loaded: &Loaded,
    nodes: &[&Node],
    what: Option<&str>,
    out: &Path,
) -> Result<Exit, Problems> {
    let (mut count, mut problems) = (0, Problems::default());
    for node in nodes {
        let files = match files(loaded, node) {
            Ok(files) => files,
            Err(p) => {
                problems.push(p);
                continue;
            }
        };
        let meant: Vec<&Rendered> = match what {
            Some(what) => vec![one(&files, node, what)?],
            None => files.iter().collect(),
        };
        for file in meant {
            let path = out.join(&node.name).join(&file.file);
            if let Some(folder) = path.parent() {
                disk::make_folder(folder, 0o755)?;
            }
            // The answers hold the password's hash.
            disk::write_quickly(&path, file.content.as_bytes(), 0o640)?;
            count += 1;
        }
    }
    if problems.errors() > 0 {
        return Err(problems);
    }
    let nodes = nodes.len();
    if g.json {
        let report = serde_json::json!({ "out": out.display().to_string(), "nodes": nodes, "files": count });
        return super::say(&format!("{report:#}\n"));
    }
    super::say(&format!(
        "Wrote {count} file{} of {nodes} node{} below {}.\n",
        if count == 1 { "" } else { "s" },
        if nodes == 1 { "" } else { "s" },
        out.display()
    ))
}
