//! Owns `Catalog`: the three folders of data, read and understood; what a site is checked against.

use crate::images::Image;
use crate::kickstart::Family;
use crate::problem::Problems;
use crate::profiles::{Part, Profile};
use crate::tree::Tree;
use crate::tree::template::Templates;
use std::collections::BTreeMap;

/// Families, profiles and images by name, and the compiled templates.
pub struct Catalog {
    pub families: BTreeMap<String, Family>,
    pub profiles: BTreeMap<String, Profile>,
    pub parts: BTreeMap<String, Part>,
    pub images: BTreeMap<String, Image>,
    /// Of `kickstart/`.
    pub templates: Templates,
    /// Of `profiles/parts/`.
    pub part_templates: Templates,
}

impl std::fmt::Debug for Catalog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Catalog").field("images", &self.images.keys()).finish_non_exhaustive()
    }
}

impl Catalog {
    /// Reads the whole tree; all problems at once.
    pub fn read(tree: &Tree) -> Result<Catalog, Problems> {
        let mut problems = Problems::default();
        let mut take = |found: Vec<crate::problem::Problem>| problems.0.extend(found);
        let (families, p) = crate::kickstart::read(tree);
        take(p);
        let (profiles, p) = crate::profiles::read(tree);
        take(p);
        let (images, p) = crate::images::read(tree);
        take(p);
        let (parts, p) = crate::profiles::part::read(tree);
        take(p);
        let templates = Templates::compile(tree, "kickstart").map_err(&mut take).ok();
        let part_templates = Templates::compile(tree, "profiles/parts").map_err(take).ok();
        match (templates, part_templates) {
            (Some(templates), Some(part_templates)) if problems.errors() == 0 => {
                Ok(Catalog { families, profiles, parts, images, templates, part_templates })
            }
            _ => Err(problems),
        }
    }
}
