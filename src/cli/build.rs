//! `bootstead image build`: the fast lane's system, and prepared roots with the packages of the site's roles.

use super::{Globals, say};
use crate::boot::decide::SYSTEM_IMAGE;
use crate::images::Image;
use crate::lifecycle::Lane;
use crate::problem::{Exit, Problem, Problems};
use crate::shelf::progress::{binary, note};
use crate::tree::Tree;
use std::path::Path;

pub fn run(
    g: &Globals,
    dir: &Path,
    tree: &Tree,
    image: &Image,
    include: Vec<String>,
    if_missing: bool,
) -> Result<Exit, Problems> {
    let tell = &mut |line: &str| note(line);
    let system = image.name == SYSTEM_IMAGE;
    let mut packages = if system { Vec::new() } else { role_packages(g, tree, &image.name)? };
    packages.extend(include);
    if if_missing && crate::build::is_current(dir, image, &packages) {
        tell(&format!("{} is built already", image.name));
    } else if system {
        crate::build::shelve_system(dir, tell)?;
    } else {
        crate::build::shelve_root(dir, image, &packages, tell)?;
    }
    let manifest = crate::build::on_shelf(dir, &image.name)
        .ok_or_else(|| Problem::fault(format!("image {} was built but is not on the shelf", image.name)))?;
    super::image::renew(g, super::image::TAKEN);
    if g.json {
        let files = manifest.files.len();
        let line = serde_json::json!({"image": image.name, "files": files, "bytes": manifest.bytes()});
        return say(&format!("{line}\n"));
    }
    let place = dir.join(&image.name);
    say(&format!("{}: built, {}, in {}\n", image.name, binary(manifest.bytes()), place.display()))
}

/// Packages of the roles that this image is written for; without a site, those of every profile.
///
/// All roles of an image share its prepared root, so it holds the packages of all of them.
fn role_packages(g: &Globals, tree: &Tree, image: &str) -> Result<Vec<String>, Problems> {
    let (profiles, problems) = crate::profiles::read(tree);
    if !problems.is_empty() {
        return Err(Problems(problems));
    }
    let of = |profile: &str| {
        profiles.get(profile).and_then(|p| p.packages.get("apt")).cloned().unwrap_or_default()
    };
    if !g.site.exists() {
        return Ok(profiles.keys().flat_map(|p| of(p)).collect());
    }
    let site = super::load::load(g)?.site;
    let roles = site.roles.values().filter(|r| r.image == image && r.lane == Lane::Fast);
    Ok(roles.flat_map(|r| of(&r.profile).into_iter().chain(r.packages.clone())).collect())
}
