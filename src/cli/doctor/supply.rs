//! Owns the checks of what Bootstead brings along: the site, its state folder, images and loaders.

use super::Finding;
use crate::base::time::size;
use crate::boot::decide::ready;
use crate::cli::Globals;
use crate::cli::load::Loaded;
use crate::problem::{Problem, Problems, Severity};
use crate::shelf::Shelf;
use std::collections::BTreeMap;
use std::path::Path;

pub fn site(loaded: &Result<Loaded, Problems>) -> Finding {
    match loaded {
        Ok(l) => {
            let (nodes, roles) = (l.site.nodes.len(), l.site.roles.len());
            Finding::ok("site", format!("{}: {nodes} nodes, {roles} roles", l.site.name))
        }
        Err(problems) => {
            let error = problems.0.iter().find(|p| p.severity == Severity::Error);
            let first = error.map(|p| p.what.clone()).unwrap_or_default();
            let what = format!("the site cannot be used: {first} ({})", problems.summary());
            Finding::error("site", what, "bootstead check   # shows all of it, with places")
        }
    }
}

/// Below this nothing useful fits; below the second a set of images does not.
const LEAST: u64 = 1 << 30;
const COMFORTABLE: u64 = 10 << 30;

/// Whether the state folder can be written, and how much room there is.
pub fn state_folder(g: &Globals) -> Vec<Finding> {
    let folder = g.state_dir();
    // Where it is not there yet, the folder that it would be made in counts.
    let existing =
        folder.ancestors().find(|p| p.as_os_str().is_empty() || p.exists()).unwrap_or(Path::new("."));
    let existing = if existing.as_os_str().is_empty() { Path::new(".") } else { existing };
    let mut all = Vec::new();
    let probe = existing.join(format!(".bootstead-doctor-{}", std::process::id()));
    match std::fs::write(&probe, b"x") {
        Ok(()) => {
            let _ = std::fs::remove_file(&probe);
            let word = if existing == folder { "can be written" } else { "can be made" };
            all.push(Finding::ok("state", format!("{} {word}", folder.display())));
        }
        Err(e) => all.push(Finding::problem("state", &Problem::io("write in", existing, &e))),
    }
    match nix::sys::statvfs::statvfs(existing) {
        Err(e) => all.push(Finding::skipped("disk", format!("the free space cannot be seen: {e}"))),
        Ok(fs) => {
            let free = fs.blocks_available().saturating_mul(fs.fragment_size());
            let what = format!("{} free for journal and images", size(free));
            let help = "free some space, or keep the state elsewhere: --state DIR";
            all.push(match free {
                f if f < LEAST => Finding::error("disk", what, help),
                f if f < COMFORTABLE => Finding::warning("disk", what, help),
                _ => Finding::ok("disk", what),
            });
        }
    }
    all
}

/// Commands in backquotes, with words between them, as lines to copy.
fn commands(text: &str) -> String {
    let quoted: Vec<&str> = text.split('`').skip(1).step_by(2).collect();
    if quoted.is_empty() { text.to_string() } else { quoted.join("\n") }
}

/// Whether every image that the site's nodes need lies ready, and loaders for them.
pub fn images(g: &Globals, loaded: &Loaded) -> Vec<Finding> {
    let (_, stock, problems) = Shelf::open(&g.images_dir());
    let mut all: Vec<Finding> = problems.iter().map(|p| Finding::problem("images", p)).collect();
    // Roles that share image and lane share the finding.
    let mut needs: BTreeMap<(&str, bool), Vec<&str>> = BTreeMap::new();
    for role in loaded.site.roles.values().filter(|r| loaded.site.nodes.iter().any(|n| n.role == r.name)) {
        let fast = role.lane == crate::lifecycle::Lane::Fast;
        needs.entry((&role.image, fast)).or_default().push(&role.name);
    }
    let mut sound = Vec::new();
    for ((image, _), roles) in needs {
        let Some(role) = loaded.site.roles.get(roles[0]) else { continue };
        let lacks = match loaded.catalog.images.get(image) {
            None => Some(format!("there is no image named {image}")),
            Some(i) => ready(&stock, i, role.lane).err(),
        };
        match lacks {
            None => sound.push(format!("{image} ({})", roles.join(", "))),
            Some(why) => {
                let (what, help) = why.split_once("; run ").unwrap_or((&why, "`bootstead image list`"));
                all.push(Finding::error("images", format!("{}: {what}", roles.join(", ")), commands(help)));
            }
        }
    }
    if !sound.is_empty() {
        all.push(Finding::ok("images", format!("ready: {}", sound.join(", "))));
    }
    match stock.loaders.len() {
        0 => all.push(Finding::error(
            "loaders",
            "no boot loader lies ready, so no machine can network-boot",
            "bootstead image fetch loaders",
        )),
        _ => {
            let names: Vec<&str> = stock.loaders.keys().map(String::as_str).collect();
            all.push(Finding::ok("loaders", names.join(", ")));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_ways_out_are_two_lines_to_copy() {
        let text = "`bootstead image fetch el9` or `bootstead image import FILE.iso`";
        assert_eq!(commands(text), "bootstead image fetch el9\nbootstead image import FILE.iso");
        assert_eq!(commands("`bootstead image list`"), "bootstead image list");
        assert_eq!(commands("look at it"), "look at it");
    }
}
