//! Goldens: every family × role × made-up site, found by walking the tree. A new family or role gets one by existing.
//!
//! `BOOTSTEAD_GOLDEN=write cargo test --test golden` writes what is rendered now, and still fails once, so that the
//! difference is looked at.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "kickstart/contexts.rs"]
mod contexts;

use bootstead::kickstart::{self, Context, Family, Installer};
use bootstead::profiles::Profile;
use bootstead::site::catalog::Catalog;
use bootstead::tree::Tree;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/kickstart")
}

fn catalog() -> Catalog {
    match Catalog::read(&Tree::embedded()) {
        Ok(catalog) => catalog,
        Err(problems) => panic!("{problems}"),
    }
}

/// Everything that should lie below the golden folder: path → content.
fn rendered(catalog: &Catalog) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    for site in contexts::SITES {
        for family in catalog.families.values() {
            // a bare node differs by what the site gives, not by its role
            for profile in catalog.profiles.values().filter(|p| site != "bare" || p.name == "base") {
                node(catalog, site, family, profile, &mut files);
            }
        }
    }
    files
}

fn node(c: &Catalog, site: &str, family: &Family, profile: &Profile, files: &mut BTreeMap<String, String>) {
    let context = contexts::context(site, family, profile);
    let base = format!("{}/{site}/{}", family.name, profile.name);
    let answers =
        kickstart::answers(&c.templates, family, &context).unwrap_or_else(|p| panic!("{base}: {p}"));
    for answer in answers {
        files.insert(format!("{base}{}", answer.suffix), answer.content);
    }
    let line = kickstart::cmdline(&c.templates, family, &context).unwrap_or_else(|p| panic!("{base}: {p}"));
    files.insert(format!("{base}.cmdline"), format!("{line}\n"));
}

fn on_disk(folder: &Path, below: &str, out: &mut BTreeMap<String, String>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = format!("{below}{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            on_disk(&entry.path(), &format!("{name}/"), out);
        } else {
            out.insert(name, std::fs::read_to_string(entry.path()).unwrap());
        }
    }
}

#[test]
fn every_answer_file_is_as_before() {
    let want = rendered(&catalog());
    let mut have = BTreeMap::new();
    on_disk(&root(), "", &mut have);
    let differ: Vec<&String> =
        want.keys().chain(have.keys()).filter(|f| want.get(*f) != have.get(*f)).collect();
    if differ.is_empty() {
        return;
    }
    if std::env::var("BOOTSTEAD_GOLDEN").as_deref() == Ok("write") {
        let _ = std::fs::remove_dir_all(root());
        for (file, content) in &want {
            let path = root().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        panic!("{} files differed and were written; look at the difference, then run again", differ.len());
    }
    panic!("{} answer files differ from tests/golden/kickstart, for example {}", differ.len(), differ[0]);
}

/// Where a password is all there is, it opens ssh: else nobody comes in. Only this once: keys and accounts are better.
#[test]
fn a_password_alone_opens_ssh() {
    let c = catalog();
    for family in c.families.values().filter(|f| f.installer == Installer::Anaconda) {
        let default_allows = family.name == "el7" || family.name == "el8" || family.name == "kylin";
        for (site, alone) in [("bare", true), ("small", false)] {
            let context = contexts::context(site, family, &c.profiles["base"]);
            let answers =
                kickstart::answers(&c.templates, family, &context).unwrap_or_else(|p| panic!("{p}"));
            let opens = ["--allow-ssh", "PermitRootLogin yes"].iter().any(|w| answers[0].content.contains(w));
            assert_eq!(opens, alone && !default_allows, "{} {site}", family.name);
        }
    }
}

/// A link takes the packets of the largest network that it carries: a VLAN above it could not be larger. The same where
/// a role names no link and the port that it boots from is all.
#[test]
fn a_link_takes_the_largest_packets_that_it_carries() {
    let c = catalog();
    for family in c.families.values() {
        let mut context = contexts::context("bare", family, &c.profiles["base"]);
        let sizes = |context: &Context| {
            let answers = kickstart::answers(&c.templates, family, context).unwrap_or_else(|p| panic!("{p}"));
            answers.iter().map(|a| a.content.matches("9000").count()).sum::<usize>()
        };
        assert_eq!(sizes(&context), 2, "{}: the port and its VLAN", family.name);
        context.net.links.clear();
        context.net.boot.mtu = Some(9000);
        assert_eq!(sizes(&context), 1, "{}: the port alone", family.name);
    }
}

/// A value that a person writes cannot break out of its place in any answer file.
#[test]
fn hostile_values_are_quoted_or_refused() {
    let c = catalog();
    for family in c.families.values() {
        let profile = &c.profiles["base"];
        let good = contexts::context("small", family, profile);
        for nasty in ["a\nb", "a'b\"c`d$(e)#f\\", "%end", "a b"] {
            for place in 0..5 {
                let mut context = good.clone();
                match place {
                    0 => context.disk.model = Some(nasty.into()),
                    1 => context.access.ssh_keys = vec![nasty.into()],
                    2 => context.kernel_args = nasty.into(),
                    3 => context.erase = vec![nasty.into()],
                    _ => context.site.language = nasty.into(),
                }
                if let Ok(answers) = kickstart::answers(&c.templates, family, &context) {
                    for a in answers {
                        assert!(!a.content.contains("\n%end\nb"), "{}", a.file);
                    }
                }
            }
        }
    }
}

/// Every name below a value, with an example: `net.links[].mac`.
fn names(at: &str, value: &serde_json::Value, out: &mut BTreeMap<String, String>) {
    match value {
        serde_json::Value::Object(object) if !object.is_empty() => {
            for (key, value) in object {
                let dot = if at.is_empty() { "" } else { "." };
                let key = if ["vars", "role.sysctl"].contains(&at) || at.ends_with("option") {
                    "NAME"
                } else {
                    key
                };
                names(&format!("{at}{dot}{key}"), value, out);
            }
        }
        serde_json::Value::Array(list) if list.first().is_some_and(|v| v.is_object()) => {
            for value in list {
                names(&format!("{at}[]"), value, out);
            }
        }
        serde_json::Value::Null => {
            out.entry(at.to_string()).or_insert_with(|| "none".into());
        }
        value => {
            out.insert(at.to_string(), value.to_string());
        }
    }
}

#[test]
fn the_readme_lists_every_name_that_a_template_may_use() {
    let c = catalog();
    let mut all = BTreeMap::new();
    for site in contexts::SITES {
        for (family, profile) in [("debian12", "compute"), ("el9", "controller")] {
            let context = contexts::context(site, &c.families[family], &c.profiles[profile]);
            names("", &serde_json::to_value(&context).unwrap(), &mut all);
        }
    }
    for (family, v) in c.families.values().flat_map(|f| f.vars.iter().map(move |v| (f, v))) {
        all.entry(format!("vars.{}", v.0)).or_insert_with(|| format!("{:?} ({})", v.1.default, family.name));
    }
    let mut table = String::from("| name | example |\n|---|---|\n");
    for (name, example) in all {
        let example: String = example.replace('|', "\\|").chars().take(70).collect();
        table.push_str(&format!("| `{name}` | `{example}` |\n"));
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("kickstart/README.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (start, rest) = text.split_once("<!-- names -->\n").unwrap();
    let (have, end) = rest.split_once("<!-- end -->").unwrap();
    if have == table {
        return;
    }
    if std::env::var("BOOTSTEAD_GOLDEN").as_deref() == Ok("write") {
        std::fs::write(&path, format!("{start}<!-- names -->\n{table}<!-- end -->{end}")).unwrap();
    }
    panic!(
        "kickstart/README.md does not list the names that templates have; BOOTSTEAD_GOLDEN=write writes them"
    );
}
