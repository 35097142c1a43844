//! Reads tree and site for every command; `bootstead check` and `bootstead schema`.

use super::Globals;
use crate::base::Secret;
use crate::boot::answers;
use crate::problem::{Exit, Problem, Problems};
use crate::site::{Catalog, Files, Site};
use crate::tree::Tree;
use std::fmt::Write as _;

/// What stands in rendered files where an installation's token would be. It opens nothing.
pub const PLACEHOLDER: &str = "TOKEN-OF-THE-INSTALLATION";

/// What a command works on.
pub struct Loaded {
    pub files: Files,
    pub site: Site,
    pub catalog: Catalog,
    /// What check said although it passed.
    pub warnings: Problems,
}

/// The three folders of data: embedded, with `--tree` on top.
pub fn tree(g: &Globals) -> Result<Tree, Problems> {
    crate::disk::read_tree(g.tree.as_deref())
}

/// Reads the tree and the site file; every problem of both at once.
pub fn load(g: &Globals) -> Result<Loaded, Problems> {
    let catalog = Catalog::read(&tree(g)?)?;
    let files = crate::disk::read_site(&g.site)?;
    let (site, problems) = crate::site::check(&files, &catalog);
    match site {
        Some(site) => Ok(Loaded { files, site, catalog, warnings: problems }),
        None => Err(problems),
    }
}

/// The placeholder as a token.
pub fn placeholder() -> Secret {
    Secret::new(PLACEHOLDER)
}

pub fn check(g: &Globals) -> Result<Exit, Problems> {
    let mut problems = match load(g) {
        Ok(loaded) => {
            let mut problems = loaded.warnings.clone();
            problems.0.extend(renders(&loaded));
            let steps = match clustered(&loaded) {
                Ok(steps) => steps,
                Err(found) => {
                    problems.0.extend(found.0);
                    0
                }
            };
            if problems.errors() == 0 {
                return passed(g, &loaded, &problems, steps);
            }
            problems
        }
        Err(problems) => problems,
    };
    if g.json {
        super::say(&format!("{}\n", report(&problems, None)))?;
        return Ok(problems.exit());
    }
    problems.sort();
    Err(problems)
}

/// The problems of rendering every file of every node: a site that passes check can be installed.
fn renders(loaded: &Loaded) -> Vec<Problem> {
    let token = placeholder();
    let mut found: Vec<Problem> = Vec::new();
    for node in &loaded.site.nodes {
        if let Err(problem) = answers::all(&loaded.site, &loaded.catalog, node, &token) {
            // One mistake in a template is one problem, not one per node.
            if !found.iter().any(|p| p.what == problem.what && p.at == problem.at) {
                found.push(match problem.why {
                    Some(_) => problem,
                    None => problem.why(format!("found while rendering the files of {}", node.name)),
                });
            }
        }
    }
    found
}

/// How many steps make the cluster. A site that passes check has a plan: what a part refuses is said here, and not when
/// its nodes are installed already.
fn clustered(loaded: &Loaded) -> Result<usize, Problems> {
    if loaded.site.cluster.is_none() {
        return Ok(0);
    }
    let (work, versions) = (crate::lifecycle::Work::default(), std::collections::BTreeMap::new());
    Ok(crate::cluster::plan(&loaded.site, &loaded.catalog, &work, &versions)?.steps.len())
}

fn passed(g: &Globals, loaded: &Loaded, problems: &Problems, steps: usize) -> Result<Exit, Problems> {
    if g.json {
        return super::say(&format!("{}\n", report(problems, Some(&loaded.site))));
    }
    let mut out = String::new();
    for warning in &problems.0 {
        let _ = writeln!(out, "{warning}\n");
    }
    let site = &loaded.site;
    let _ = writeln!(out, "The site {} ({}) passes.\n", site.name, g.site.display());
    let width = site.roles.keys().map(String::len).max().unwrap_or(0).max("role".len());
    let _ = writeln!(out, "{:width$}  nodes  image (lane)          names", "role");
    for role in site.roles.values() {
        let names: Vec<&str> =
            site.nodes.iter().filter(|n| n.role == role.name).map(|n| n.name.as_str()).collect();
        let lane = match role.lane {
            crate::lifecycle::Lane::Installer => "installer",
            crate::lifecycle::Lane::Fast => "fast",
        };
        let shown = match names.as_slice() {
            [] => String::new(),
            [one] => one.to_string(),
            [first, .., last] => format!("{first} … {last}"),
        };
        let image = format!("{} ({lane})", role.image);
        let _ = writeln!(out, "{:width$}  {:>5}  {image:20}  {shown}", role.name, names.len());
    }
    let sources = crate::site::sources(&loaded.files, site);
    if sources.len() > 1 || sources.iter().any(|s| !s.sheets.is_empty()) {
        out.push('\n');
        for source in &sources {
            let _ = writeln!(out, "{source}");
        }
    }
    let plural = |n: usize, word: &str| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
    let _ = writeln!(
        out,
        "\n{}, {}, every file of every node renders{}; {}",
        plural(site.nodes.len(), "node"),
        plural(site.networks.len(), "network"),
        if steps > 0 { format!(", {} make the cluster", plural(steps, "step")) } else { String::new() },
        problems.summary()
    );
    super::say(&out)
}

/// For programs: `{"ok": …, "problems": […], "roles": {…}}`.
fn report(problems: &Problems, site: Option<&Site>) -> serde_json::Value {
    let roles: serde_json::Map<String, serde_json::Value> = site
        .into_iter()
        .flat_map(|s| s.roles.values().map(move |r| (s, r)))
        .map(|(s, r)| (r.name.clone(), s.nodes.iter().filter(|n| n.role == r.name).count().into()))
        .collect();
    serde_json::json!({
        "ok": problems.errors() == 0,
        "errors": problems.errors(),
        "warnings": problems.warnings(),
        "problems": problems.0,
        "roles": roles,
    })
}

pub fn schema() -> Result<Exit, Problems> {
    super::say(&format!("{:#}\n", crate::site::schema::schema()))
}
