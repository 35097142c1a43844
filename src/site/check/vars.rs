//! Checks template variables: only declared ones, and every one that must have a value has one.

use super::Check;
use crate::profiles::Profile;
use crate::site::model::{Node, Role};
use crate::site::report::{Tell as _, Where};
use crate::site::wire::{At, Scalar, Text};
use std::collections::BTreeMap;

/// `[vars]`: each must be declared by a profile that some role uses.
pub fn site(c: &mut Check, roles: &BTreeMap<String, Role>) -> BTreeMap<String, String> {
    for key in c.file.vars.keys() {
        declared_somewhere(c, roles, key, key.into());
    }
    plain(&c.file.vars)
}

/// Whether any role's profile, parts or family declare `key`; reports where not.
pub fn declared_somewhere(c: &mut Check, roles: &BTreeMap<String, Role>, key: &str, at: Where) {
    let used = roles.values().filter_map(|r| c.catalog.profiles.get(&r.profile));
    let mut all: Vec<&str> = used.flat_map(|p| p.vars.keys()).map(String::as_str).collect();
    all.extend(roles.values().flat_map(|r| family_vars(c, &r.image)));
    all.extend(roles.values().flat_map(|r| part_vars(c, &r.parts)));
    all.sort_unstable();
    all.dedup();
    if !roles.is_empty() && !all.contains(&key) {
        c.report
            .error(at, format!("no role of this site has a template variable {key:?}"))
            .meant(key, all.iter().copied());
    }
}

/// Variables that these parts declare.
pub fn part_vars<'a>(c: &Check<'a>, parts: &[String]) -> Vec<&'a str> {
    let parts = parts.iter().filter_map(|p| c.catalog.parts.get(p));
    parts.flat_map(|p| p.vars.keys()).map(String::as_str).collect()
}

pub fn plain(vars: &BTreeMap<Text, At<Scalar>>) -> BTreeMap<String, String> {
    vars.iter().map(|(k, v)| (k.to_string(), v.0.clone())).collect()
}

/// Variables that the family of `image` declares.
pub fn family_vars<'a>(c: &Check<'a>, image: &str) -> Vec<&'a str> {
    let family = c.catalog.images.get(image).and_then(|i| c.catalog.families.get(&i.family));
    family.into_iter().flat_map(|f| f.vars.keys()).map(String::as_str).collect()
}

/// Whether `profile` or the family of `image` declares `key`; reports where not.
pub fn declared(c: &mut Check, profile: &Profile, parts: &[String], image: &str, key: &str, at: Where) {
    let mut known: Vec<&str> = profile.vars.keys().map(String::as_str).collect();
    known.extend(family_vars(c, image));
    known.extend(part_vars(c, parts));
    if !known.contains(&key) {
        c.report
            .error(at, format!("the profile {} has no template variable {key:?}", profile.name))
            .meant(key, known);
    }
}

/// Every variable of `profile` that has no default must have a value; `has` tells which do.
pub fn complete(c: &mut Check, profile: &Profile, who: &str, at: Where, has: &dyn Fn(&str) -> bool) {
    for (name, var) in &profile.vars {
        if var.default.is_none() && !has(name) {
            c.report
                .error(at.clone(), format!("{who} has no value for the template variable {name}"))
                .because(var.help.clone())
                .so(format!("add `vars = {{ {name} = … }}` to the role, or {name} to [vars]"));
        }
    }
}

/// Ignition families run etcd from a container image, and unless the site names its source that is on the internet.
pub fn etcd_source(c: &mut Check, roles: &BTreeMap<String, Role>, nodes: &[Node]) {
    const SOURCE: &str = "etcd_image_url";
    let site = plain(&c.file.vars);
    for key in c.file.role.keys() {
        let Some(role) = roles.get(key.as_str()) else { continue };
        let etcd = c.catalog.profiles.get(&role.profile).is_some_and(|p| p.etcd);
        let value = |n: &Node| {
            let given = n.vars.get(SOURCE).or(role.vars.get(SOURCE)).or(site.get(SOURCE));
            given.is_some_and(|v| !v.is_empty())
        };
        if etcd
            && family_vars(c, &role.image).contains(&SOURCE)
            && nodes.iter().any(|n| n.role == role.name && !value(n))
        {
            c.report
                .warning(key, format!("the nodes of {} fetch etcd's container image from the internet", **key))
                .because("the site names no other source, and etcd does not start on a node without internet")
                .so(format!(
                    "put the image into a registry that the nodes reach: vars = {{ {SOURCE} = \"10.77.0.5:5000/etcd\" }}"
                ));
        }
    }
}
