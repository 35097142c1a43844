//! images/*.toml → [`Image`]: which bits an operating system needs; and [`Stock`]: which of them are at hand.

pub mod cpio;
pub mod deb822;
pub mod elf;
pub mod iso;
pub mod manifest;
pub mod media;
pub mod model;
pub mod repodata;
pub mod udebs;

pub use manifest::{Held, Manifest, Stored};
pub use model::*;

use crate::problem::Problem;
use crate::tree::Tree;
use std::collections::BTreeMap;

/// Reads `images/*.toml` (all but loaders.toml); what cannot be read is left out and reported.
pub fn read(tree: &Tree) -> (BTreeMap<String, Image>, Vec<Problem>) {
    let (mut images, mut problems) = (BTreeMap::new(), Vec::new());
    for (file, content) in tree.below("images") {
        let Some(name) = file.strip_suffix(".toml").filter(|n| *n != "loaders" && !n.contains('/')) else {
            continue;
        };
        match crate::tree::toml_file::<Image>(&format!("images/{file}"), content) {
            Ok(image) if image.pool != image.kernel.is_empty() => {
                let why = if image.pool {
                    "it has a kernel and says `pool = true`: packages alone have none"
                } else {
                    "it names no kernel"
                };
                problems.push(Problem::input(format!("images/{file}: {why}")));
            }
            Ok(image) => {
                images.insert(name.to_string(), Image { name: name.to_string(), ..image });
            }
            Err(p) => problems.push(p),
        }
    }
    (images, problems)
}

/// Reads `images/loaders.toml`.
pub fn read_loaders(tree: &Tree) -> Result<Vec<Loader>, Problem> {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Loaders {
        loader: Vec<Loader>,
    }
    let path = "images/loaders.toml";
    let file = tree.get(path).ok_or_else(|| Problem::fault(format!("{path} is missing")))?;
    Ok(crate::tree::toml_file::<Loaders>(path, file)?.loader)
}
