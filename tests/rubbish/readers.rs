//! Owns the list of everything that reads foreign bytes: shared by the fuzz targets (`fuzz/`) and by `tests/rubbish.rs`.

use bootstead::site::{Catalog, Files, Table};
use bootstead::tree::{File, Origin, Tree};
use std::borrow::Cow;
use std::sync::OnceLock;

/// A reader: whatever the bytes are, it returns.
pub type Reader = fn(&[u8]);

/// Every reader by the name of its fuzz target.
pub const READERS: [(&str, Reader); 5] =
    [("packet", packet), ("tftp_name", tftp_name), ("site", site), ("table", table), ("header", header)];

fn catalog() -> &'static Catalog {
    static CATALOG: OnceLock<Catalog> = OnceLock::new();
    CATALOG.get_or_init(|| Catalog::read(&Tree::embedded()).unwrap_or_else(|p| panic!("{p}")))
}

/// What arrives on the DHCP and ARP sockets.
pub fn packet(bytes: &[u8]) {
    bootstead::dhcp::whatever_arrives(bytes);
}

/// What arrives on the TFTP socket: read requests and their names.
pub fn tftp_name(bytes: &[u8]) {
    if let Some(name) = bootstead::serve::names::base(bytes) {
        assert!(!name.contains(['/', '\\', '\0']), "{name:?} could leave its folder");
    }
    if let Some(clean) = bootstead::serve::names::clean_request(bytes) {
        assert!(clean.starts_with(&[0, 1]) && clean.is_ascii(), "not a clean read request");
    }
}

/// A site file; where it passes, the files of its first nodes.
pub fn site(bytes: &[u8]) {
    check(&Files::only("site.toml", &String::from_utf8_lossy(bytes)));
}

/// A node table, as CSV or spreadsheet, beside a sound site file.
pub fn table(bytes: &[u8]) {
    const SITE: &str = include_str!("site.toml");
    let table = Table { name: "nodes.csv".into(), bytes: Some(bytes.to_vec()) };
    check(&Files { name: "site.toml".into(), text: SITE.into(), tables: vec![table] });
}

fn check(files: &Files) {
    let (site, problems) = bootstead::site::check(files, catalog());
    assert_eq!(site.is_some(), problems.errors() == 0, "a site exactly where there is no error");
    // What is said about it can be said.
    let _ = problems.to_string();
    let token = bootstead::base::Secret::new("token");
    for node in site.iter().flat_map(|s| s.nodes.iter().take(2).map(move |n| (s, n))) {
        let _ = bootstead::boot::answers::all(node.0, catalog(), node.1, &token);
    }
}

/// A kickstart template with its header.
pub fn header(bytes: &[u8]) {
    let file = |bytes: &[u8]| File { bytes: Cow::Owned(bytes.to_vec()), origin: Origin::Embedded };
    let _ = bootstead::kickstart::header::read("kickstart/el9.ks.j2", &file(bytes));
    let mut tree = Tree::embedded();
    tree.put("kickstart/rubbish.ks.j2", bytes.to_vec(), Origin::Disk("rubbish.ks.j2".into()));
    let _ = Catalog::read(&tree).map_err(|p| p.to_string());
}
