//! `bootstead image`: fetch, import, build, verify, list, remove.

use super::station::Station;
use super::{Globals, say, say_json};
use crate::images::{Image, Manifest};
use crate::problem::{Exit, Problem, Problems, did_you_mean};
use crate::shelf::progress::{Progress, binary, note};
use crate::shelf::{LOADERS, Shelf, fetch, import, publish, verify};
use crate::tree::Tree;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Args)]
pub struct ImageArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Download what an image's description names, verify it, publish it
    Fetch {
        /// An image of `bootstead image list`, or `loaders`
        name: String,
        /// Another Debian archive than the one that this machine's apt uses
        #[arg(long, value_name = "URL")]
        mirror: Option<String>,
        /// Ask the archive for the image's suite by its other name (`stable`), where only that is in step
        #[arg(long, value_name = "NAME")]
        suite: Option<String>,
        /// A further Debian package for the mirror (may be repeated)
        #[arg(long, value_name = "PACKAGE")]
        include: Vec<String>,
        /// Refuse loaders that are not the very files that images/loaders.toml pins
        #[arg(long)]
        pinned: bool,
        /// Do nothing where the same was fetched before and lies undamaged
        #[arg(long)]
        if_missing: bool,
    },
    /// Build the fast lane's own system, or the prepared root of an image (root)
    Build {
        /// `system`, or an image with a [root], for example debian12
        name: String,
        /// A further Debian package for the prepared root (may be repeated)
        #[arg(long, value_name = "PACKAGE")]
        include: Vec<String>,
        /// Do nothing where the same was built before, by this very program
        #[arg(long)]
        if_missing: bool,
    },
    /// Take an ISO that you have: verified by its own checksums, served from inside
    Import {
        /// The ISO file
        file: PathBuf,
        /// The image's name, where the medium does not tell
        #[arg(long)]
        name: Option<String>,
        /// The ISO's published SHA-256: vouches for all of it
        #[arg(long, value_name = "HEX")]
        sha256: Option<String>,
        /// Link the ISO into the store instead of copying it (same file system)
        #[arg(long)]
        link: bool,
    },
    /// Re-read every byte and compare it with what was verified
    Verify {
        /// Only this image (or `loaders`)
        name: Option<String>,
    },
    /// What is described and what lies ready
    List,
    /// Remove an image, and what was begun of it
    Remove {
        /// The image
        name: String,
    },
}

pub fn run(g: &Globals, args: ImageArgs) -> Result<Exit, Problems> {
    let dir = g.images_dir();
    match args.verb {
        Verb::Fetch { name, mirror, suite, include, pinned, if_missing } => {
            let wishes = fetch::Wishes { mirror, suite, pinned, ..fetch::Wishes::default() };
            fetch_one(g, &dir, &name, wishes, include, if_missing)
        }
        Verb::Build { name, include, if_missing } => {
            let tree = super::load::tree(g)?;
            super::build::run(g, &dir, &tree, &described(&tree, &name)?, include, if_missing)
        }
        Verb::Import { file, name, sha256, link } => import_one(g, &dir, &file, name, sha256, link),
        Verb::Verify { name } => verify_some(g, &dir, name),
        Verb::List => list(g, &dir),
        Verb::Remove { name } => remove(g, &dir, &name),
    }
}

/// Has a running server take what changed on the shelf into use: it knows the shelf as it was when it last read it, while
/// `node arm` looks at the shelf as it is. The image is there whatever the server says, so that is a warning.
pub(super) fn renew(g: &Globals, done: &str) {
    match Station::find(g).and_then(|station| station.reload(None)) {
        Ok(None) => {}
        Ok(Some(changed)) if changed == crate::api::NO_CHANGE => note(&format!("the running server {done}")),
        // It reads all or nothing: a site file that was changed meanwhile counts from now on, too.
        Ok(Some(changed)) => {
            note(&format!("the running server {done}, and uses the site file as it is now: {changed}"));
        }
        Err(p) => {
            let problem =
                Problem::environment("the running server still uses its images as they were before")
                    .why(p.what)
                    .help("mend that, then run `bootstead node reload`");
            note(&problem.warning().to_string());
        }
    }
}

/// What the server does with an image that came.
pub(super) const TAKEN: &str = "has taken it into use";

/// The tree's description of the image `name`.
fn described(tree: &Tree, name: &str) -> Result<Image, Problems> {
    let (mut images, problems) = crate::images::read(tree);
    if let Some(image) = images.remove(name) {
        return Ok(image);
    }
    if !problems.is_empty() {
        return Err(Problems(problems));
    }
    let mut problem = Problem::input(format!("no image is named {name:?}"));
    problem = match did_you_mean(name, images.keys().map(String::as_str)) {
        Some(near) => problem.help(format!("did you mean {near:?}?")),
        None => {
            problem.help("`bootstead image list` lists them; a file images/NAME.toml describes a new one")
        }
    };
    Err(problem.into())
}

fn fetch_one(
    g: &Globals,
    dir: &Path,
    name: &str,
    mut wishes: fetch::Wishes,
    include: Vec<String>,
    if_missing: bool,
) -> Result<Exit, Problems> {
    let tree = super::load::tree(g)?;
    wishes.packages = match described(&tree, name) {
        Ok(image) if image.pool => part_packages(g, &image)?,
        _ => role_packages(g, &tree, name)?,
    };
    if !include.is_empty() {
        wishes.packages.insert("--include".to_string(), include);
    }
    let had = if_missing.then(|| crate::shelf::Shelf::open(dir).0.manifest(name).cloned()).flatten();
    let (manifest, problems) = if name == LOADERS {
        let loaders = crate::images::read_loaders(&tree)?;
        match had.filter(|m| m.origin.get(fetch::ASKED) == Some(&wishes.asked(&loaders))) {
            Some(manifest) => (manifest, Vec::new()),
            None => fetch::loaders(dir, &loaders, &wishes)?,
        }
    } else {
        let image = described(&tree, name)?;
        match had.filter(|m| m.origin.get(fetch::ASKED) == Some(&wishes.asked(&image))) {
            Some(manifest) => (manifest, Vec::new()),
            None => fetch::fetch(dir, &image, &wishes)?,
        }
    };
    done(g, dir, name, &manifest, problems)
}

fn import_one(
    g: &Globals,
    dir: &Path,
    file: &Path,
    name: Option<String>,
    sha256: Option<String>,
    link: bool,
) -> Result<Exit, Problems> {
    let sha256 = match sha256.map(|s| crate::base::Sha256::parse(&s)).transpose() {
        Ok(sha256) => sha256,
        Err(e) => return Err(Problem::input(format!("--sha256: {e}")).into()),
    };
    let (described, problems) = crate::images::read(&super::load::tree(g)?);
    if !problems.is_empty() {
        return Err(Problems(problems));
    }
    let wishes = import::Wishes { name, sha256, link };
    let imported = import::import(dir, file, &described, &wishes)?;
    if !imported.left_out.is_empty() {
        note(&format!(
            "left out: {} files that no checksum on the medium covers (for example {}); `--sha256 HEX` vouches for all",
            imported.left_out.len(),
            imported.left_out[0]
        ));
    }
    if !described.contains_key(&imported.name) {
        note(&format!(
            "no images/{}.toml describes it yet: write one, or import it with another --name",
            imported.name
        ));
    }
    note(&format!("this is {}", imported.title));
    done(g, dir, &imported.name, &imported.manifest, Vec::new())
}

/// Packages of every profile, and those that the site's roles add to the image `name`, where there is a site.
fn role_packages(g: &Globals, tree: &Tree, name: &str) -> Result<BTreeMap<String, Vec<String>>, Problems> {
    let (profiles, problems) = crate::profiles::read(tree);
    if !problems.is_empty() {
        return Err(Problems(problems));
    }
    let of = |p: &crate::profiles::Profile| p.packages.get("apt").cloned().unwrap_or_default();
    let mut out: BTreeMap<String, Vec<String>> =
        profiles.iter().map(|(name, p)| (format!("profile {name}"), of(p))).collect();
    if name != LOADERS && g.site.exists() {
        let site = super::load::load(g)?.site;
        let roles = site.roles.values().filter(|r| r.image == name);
        out.extend(roles.map(|r| (format!("role {}", r.name), r.packages.clone())));
    }
    out.retain(|_, packages| !packages.is_empty());
    Ok(out)
}

/// Packages that the parts of the site's roles install, by role and by part: together as they end up on a node, and
/// alone as the agent's steps ask for them.
fn part_packages(g: &Globals, pool: &Image) -> Result<BTreeMap<String, Vec<String>>, Problems> {
    let loaded = super::load::load(g)?;
    let (site, catalog) = (&loaded.site, &loaded.catalog);
    let mut out: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let of = |part: &str| {
        let steps = catalog.parts.get(part).map(|p| p.steps.as_slice()).unwrap_or_default();
        let apt = steps.iter().filter_map(|s| s.packages.as_ref()?.get("apt"));
        apt.flatten().cloned().collect::<Vec<String>>()
    };
    let suite_of = |image: &str| {
        let image = catalog.images.get(image)?;
        Some(image.suite.as_str())
    };
    for role in site.roles.values().filter(|r| suite_of(&r.image) == Some(&pool.suite)) {
        for part in &role.parts {
            out.insert(format!("part {part}"), of(part));
            out.entry(format!("parts of role {}", role.name)).or_default().extend(of(part));
        }
    }
    out.retain(|_, packages| !packages.is_empty());
    if site.cluster.is_none() || out.is_empty() {
        return Err(Problem::input(format!("no role of this site needs packages of {}", pool.suite))
            .why("they are what the parts of roles install, and a site without [cluster] has no parts")
            .help("look at `bootstead plan`, or name packages with --include")
            .into());
    }
    Ok(out)
}

fn done(
    g: &Globals,
    dir: &Path,
    name: &str,
    manifest: &Manifest,
    problems: Vec<Problem>,
) -> Result<Exit, Problems> {
    for problem in problems {
        note(&problem.to_string());
    }
    renew(g, TAKEN);
    if g.json {
        return say(&(serde_json::json!({
            "image": name, "files": manifest.files.len(), "bytes": manifest.bytes(), "gaps": manifest.gaps,
        })
        .to_string()
            + "\n"));
    }
    say(&format!(
        "{name}: {} files, {}, verified, in {}\n",
        manifest.files.len(),
        binary(manifest.bytes()),
        dir.join(name).display()
    ))
}

fn verify_some(g: &Globals, dir: &Path, name: Option<String>) -> Result<Exit, Problems> {
    let (shelf, _, _) = Shelf::open(dir);
    let names = match name {
        Some(name) if dir.join(&name).join(crate::shelf::MANIFEST).exists() => vec![name],
        Some(name) => {
            return Err(Problem::input(format!("image {name} is not here"))
                .help("`bootstead image list` says what lies ready")
                .into());
        }
        None => shelf.images().map(|(n, _)| n.to_string()).chain([LOADERS.to_string()]).collect(),
    };
    let mut problems = Problems::default();
    let mut text = String::new();
    let mut accepted = false;
    let mut json = Vec::new();
    for name in names.iter().filter(|n| dir.join(n).exists()) {
        let total = shelf.manifest(name).map_or(0, Manifest::bytes);
        let mut progress = Progress::new(&format!("verifying {name}"), total);
        let known = || std::fs::read(dir.join(name).join(crate::shelf::MANIFEST)).ok();
        let before = known();
        let found = verify::verify(dir, name, &mut |n| progress.add(n))?;
        accepted |= known() != before;
        progress.finish();
        if found.is_empty() {
            let _ = writeln!(text, "{name}: sound, {}", binary(total));
        }
        json.push(serde_json::json!({ "image": name, "bytes": total, "sound": found.is_empty() }));
        problems.0.extend(found);
    }
    if accepted {
        renew(g, "serves again what was touched and is sound");
    }
    if json.is_empty() {
        text.push_str(
            "no image is here yet: `bootstead image list` names what there is, `bootstead image fetch NAME` or \
             `bootstead image import FILE.iso` brings one\n",
        );
    }
    match g.json {
        true => say_json(&json.into())?,
        false => say(&text)?,
    };
    if problems.0.is_empty() { Ok(Exit::Ok) } else { Err(problems) }
}

fn list(g: &Globals, dir: &Path) -> Result<Exit, Problems> {
    let tree = super::load::tree(g)?;
    let (images, mut problems) = crate::images::read(&tree);
    let (shelf, stock, found) = Shelf::open(dir);
    problems.extend(found);
    let names: std::collections::BTreeSet<&str> =
        images.keys().map(String::as_str).chain(shelf.images().map(|(n, _)| n)).collect();
    let (mut rows, mut json) = (Vec::new(), Vec::new());
    for name in names {
        let (image, held) = (images.get(name), shelf.manifest(name));
        let state = match (held, image.map(|i| stock.can_install(i))) {
            (None, _) => "not here".to_string(),
            (Some(_), _) if image.is_some_and(|i| i.pool) => "ready".to_string(),
            (Some(_), Some(Err(why))) => why,
            (Some(_), None) => "ready, but no description in images/".to_string(),
            (Some(_), Some(Ok(()))) => "ready".to_string(),
        };
        let way = match image {
            // No family: the fast lane's own system.
            Some(i) if i.family.is_empty() && !i.pool => "build",
            Some(i) if i.fetch.is_empty() && i.packages.is_empty() && i.mirror.is_none() => "import",
            Some(_) => "fetch",
            None => "-",
        };
        let size = held.map(Manifest::bytes);
        json.push(serde_json::json!({
            "name": name, "summary": image.map(|i| &i.summary), "way": way, "ready": state == "ready", "state": state,
            "bytes": size, "files": held.map(|m| m.files.len()), "origin": held.map(|m| &m.origin),
            "gaps": held.map(|m| &m.gaps),
        }));
        rows.push([name.to_string(), size.map_or("-".to_string(), binary), way.to_string(), state]);
    }
    let loaders = shelf.manifest(LOADERS);
    if g.json {
        let value = serde_json::json!({ "images": json, "loaders": stock.loaders });
        say(&format!("{value}\n"))?;
    } else {
        let state = match loaders {
            Some(_) => stock.loaders.keys().cloned().collect::<Vec<_>>().join(" "),
            None => "not here".to_string(),
        };
        let size = loaders.map_or("-".to_string(), |m| binary(m.bytes()));
        rows.push([LOADERS.to_string(), size, "fetch".to_string(), state]);
        say(&table(["IMAGE", "SIZE", "BY", "STATE"], &rows))?;
    }
    if problems.is_empty() { Ok(Exit::Ok) } else { Err(Problems(problems)) }
}

/// Columns as wide as they need to be; the last one is free.
fn table(head: [&str; 4], rows: &[[String; 4]]) -> String {
    let width =
        |i: usize| rows.iter().map(|r| r[i].chars().count()).chain([head[i].len()]).max().unwrap_or(0);
    let (a, b, c) = (width(0), width(1), width(2));
    let mut out = format!("{:a$}  {:>b$}  {:c$}  {}\n", head[0], head[1], head[2], head[3]);
    for [name, size, way, state] in rows {
        let _ = writeln!(out, "{name:a$}  {size:>b$}  {way:c$}  {state}");
    }
    out
}

fn remove(g: &Globals, dir: &Path, name: &str) -> Result<Exit, Problems> {
    if publish::remove(dir, name)? {
        renew(g, "serves it no more");
        if g.json {
            return say_json(&serde_json::json!({ "image": name, "removed": true }));
        }
        return say(&format!("{name} is removed\n"));
    }
    Err(Problem::input(format!("image {name} is not here"))
        .help("`bootstead image list` says what lies ready")
        .into())
}
