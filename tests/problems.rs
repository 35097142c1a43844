//! Every folder and file of `tests/fixtures/broken/` is a site with mistakes; its golden holds all that check says.
//! A new one gets its test by existing. The tree is a small one of its own, so that goldens say nothing of ours.

#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use bootstead::disk;
use bootstead::problem::{Exit, Problems, Severity};
use bootstead::site::{self, Catalog, Files, Table};
use std::path::{Path, PathBuf};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn catalog() -> Catalog {
    let mut tree = bootstead::tree::Tree::empty();
    let mut put = |part: &str, name: &str| {
        let folder = if part == "images" { "tree" } else { "small" };
        let path = fixtures().join(folder).join(part).join(name);
        let shown = format!("{part}/{name}");
        tree.put(&shown, std::fs::read(path).unwrap(), bootstead::tree::Origin::Disk(shown.clone()));
    };
    for image in ["debian12", "rocky8", "rocky9"] {
        put("images", &format!("{image}.toml"));
    }
    for profile in ["base", "controller", "compute", "database"] {
        put("profiles", &format!("{profile}/role.toml"));
    }
    Catalog::read(&tree).unwrap()
}

/// What check says about the site file, as a person reads it, with paths relative to the fixtures.
fn verdict(path: &Path) -> Problems {
    let mut files = disk::read_site(path).unwrap();
    files.name = path.file_name().unwrap().to_string_lossy().into_owned();
    let (site, problems) = site::check(&files, &catalog());
    assert_eq!(site.is_some(), problems.errors() == 0, "{problems}");
    problems
}

#[test]
fn every_broken_site_says_all_that_is_wrong_with_it() {
    let mut names: Vec<PathBuf> =
        std::fs::read_dir(fixtures().join("broken")).unwrap().map(|e| e.unwrap().path()).collect();
    names.sort();
    assert!(names.len() >= 8, "the fixtures are gone");
    for path in names {
        let file = if path.is_dir() { path.join("site.toml") } else { path.clone() };
        let problems = verdict(&file);
        assert_eq!(problems.exit(), Exit::Input, "{}", path.display());
        for p in problems.0.iter().filter(|p| p.severity == Severity::Error) {
            assert!(p.help.is_some(), "{}: what to do?\n{p}", path.display());
        }
        let name = path.file_stem().unwrap().to_string_lossy();
        support::golden(&format!("problems/{name}.txt"), &format!("{problems}\n"));
    }
}

#[test]
fn one_row_with_three_mistakes_has_three_errors_at_once() {
    let text = std::fs::read_to_string(fixtures().join("big.toml")).unwrap();
    let mut files = Files::only("d/site.toml", &text);
    let csv = "mac,role,name,ip\n52:54:00:aa:00:01,computr,C_1,10.77.0.500\n";
    files.tables.push(Table { name: "nodes.csv".into(), bytes: Some(csv.as_bytes().to_vec()) });
    let (_, problems) = site::check(&files, &catalog());
    let shown = problems.to_string();
    for (what, column) in [("no role", 19), ("cannot be a host name", 27), ("not an IPv4 address", 31)] {
        let p =
            problems.0.iter().find(|p| p.what.contains(what)).unwrap_or_else(|| panic!("{what}: {shown}"));
        let at = p.at.as_ref().unwrap();
        // The table is named with the folder that the site file was named with.
        assert_eq!((at.file.as_str(), at.line, at.column), ("d/nodes.csv", 2, column), "{shown}");
    }
    assert_eq!(problems.errors(), 3, "{shown}");
}

#[test]
fn one_mistake_is_one_problem() {
    let text = |extra: &str, disk: &str| {
        format!(
            "[site]\nname = \"lab\"\ndomain = \"lab.example\"\n[server]\naddress = \"10.77.0.1\"\n\
             [network.provisioning]\ncidr = \"10.77.0.0/24\"\n{extra}\n\
             [role.compute]\nimage = \"debian12\"\ndisk = {disk}\n\
             addresses.provisioning = \"10.77.0.11-10.77.0.19\"\n\
             [[node]]\nmac = \"52:54:00:aa:00:01\"\nrole = \"compute\"\n"
        )
    };
    let says =
        |extra: &str, disk: &str| site::check(&Files::only("site.toml", &text(extra, disk)), &catalog()).1;
    assert_eq!(says("", "{ min_gib = 8 }").errors(), 0);
    let vip = "[vip.api]\nnetwork = \"provisioning\"\naddress = \"10.77.0.11\"";
    for (extra, disk, word) in [
        ("gateway = \"10.77.0.11\"", "{ min_gib = 8 }", "begin or end beside"),
        (vip, "{ min_gib = 8 }", "outside of every range"),
        ("mtu = 90000", "{ min_gib = 8 }", "from 576 to 9216"),
        ("vlan = 4095", "{ min_gib = 8 }", "from 1 to 4094"),
        ("", "\"sda\"", "disk = { min_gib = 200 }"),
        ("gateway = \"10.78.0.1\"", "{ min_gib = 8 }", "from 10.77.0.1 to 10.77.0.254"),
    ] {
        let problems = says(extra, disk);
        assert_eq!(problems.errors(), 1, "{problems}");
        assert!(problems.to_string().contains(word), "{problems}");
    }
}

#[test]
fn no_secret_is_on_the_screen() {
    let both =
        ["access", "secrets"].map(|n| verdict(&fixtures().join(format!("broken/{n}.toml"))).to_string());
    let text = both.join("");
    assert!(!text.contains("12341234"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
    assert!(!text.contains("AAAAC3NzaC1lZDI1NTE5"), "{text}");
}

#[test]
fn five_hundred_and_twelve_nodes_check_and_are_told_apart() {
    let mut files = Files::only("site.toml", &std::fs::read_to_string(fixtures().join("big.toml")).unwrap());
    let mut csv = String::from("mac,role\n");
    for n in 0..512u32 {
        csv.push_str(&format!("52:54:00:aa:{:02x}:{:02x},compute\n", n >> 8, n & 255));
    }
    files.tables.push(Table { name: "nodes.csv".into(), bytes: Some(csv.clone().into_bytes()) });
    let (site, problems) = site::check(&files, &catalog());
    let site = site.unwrap_or_else(|| panic!("{problems}"));
    assert_eq!(site.nodes.len(), 512);
    assert_eq!(site.nodes[511].name, "cs-compute-0512");
    assert_eq!(site.boot_address(&site.nodes[511]).unwrap().to_string(), "10.77.3.11");
    // A mistake in the last row is found at its place.
    csv = csv.replace("aa:01:ff,compute", "aa:01:ff,compote");
    files.tables[0].bytes = Some(csv.into_bytes());
    let (site, problems) = site::check(&files, &catalog());
    assert!(site.is_none());
    assert!(problems.to_string().contains("nodes.csv:513:19"), "{problems}");
}

#[test]
fn the_reference_in_docs_is_the_programs_own() {
    support::golden("../../docs/site-file.md", &bootstead::site::reference::reference());
}
