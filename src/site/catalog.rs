//! Owns `Catalog`: the three folders of data, read and understood; what a site is checked against.

use crate::images::Image;
use crate::kickstart::Family;
use crate::problem::Problems;
use crate::profiles::Profile;
use crate::tree::Tree;
use crate::tree::template::Templates;
use std::collections::BTreeMap;

/// Families, profiles and images by name, and the compiled templates.
pub struct Catalog {
    pub families: BTreeMap<String, Family>,
    pub profiles: BTreeMap<String, Profile>,
    pub images: BTreeMap<String, Image>,
    pub templates: Templates,
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
        let templates = Templates::compile(tree, "kickstart").map_err(take).ok();
        match templates {
            Some(templates) if problems.errors() == 0 => {
                Ok(Catalog { families, profiles, images, templates })
            }
            _ => Err(problems),
        }
    }
}
