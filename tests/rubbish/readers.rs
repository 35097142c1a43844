//! Owns the list of everything that reads foreign bytes: shared by the fuzz targets (`fuzz/`) and by `tests/rubbish.rs`.

use bootstead::site::{Catalog, Files, Table};
use bootstead::tree::{File, Origin, Tree};
use std::borrow::Cow;
use std::sync::OnceLock;

/// A reader: whatever the bytes are, it returns.
pub type Reader = fn(&[u8]);

/// Every reader by the name of its fuzz target.
pub const READERS: [(&str, Reader); 10] = [
    ("packet", packet),
    ("tftp_name", tftp_name),
    ("door", door),
    ("site", site),
    ("table", table),
    ("header", header),
    ("part", part),
    ("plan", plan),
    ("iso", iso),
    ("disk", disk),
];

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
        let smaller = bootstead::serve::names::with_blocks_of(&clean, 512);
        let name = |r: &[u8]| r[2..].split(|b| *b == 0).next().map(<[u8]>::to_vec);
        assert_eq!(name(&smaller), name(&clean));
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

/// What arrives on the doors of HTTP, of the agents (after TLS) and of syslog; and what a node's script prints.
pub fn door(bytes: &[u8]) {
    bootstead::serve::reports::whatever_arrives(bytes);
    bootstead::serve::agents::whatever_arrives(bytes);
    if let Some(line) = bootstead::serve::syslines::line(bytes) {
        assert!(!line.contains(char::is_control), "{line:?} would move a terminal's cursor");
        let _ = bootstead::serve::syslines::progress(&line);
    }
    let _ = bootstead::cluster::recover::Member::read("n1", &String::from_utf8_lossy(bytes));
    // The other way round: what a blank machine is told.
    let _ = bootstead::system::cmdline::read(&String::from_utf8_lossy(bytes));
    let _ = serde_json::from_slice::<bootstead::api::Orders>(bytes);
    let _ = bootstead::system::manifest::Manifest::read(bytes).map(|m| m.gaps());
}

fn cluster(catalog: &Catalog) -> Option<bootstead::site::Site> {
    const SITE: &str = include_str!("../lab/cluster.site.toml");
    bootstead::site::check(&Files::only("site.toml", SITE), catalog).0
}

/// A part of the cluster in the place of one that ships: where it can be planned, the plan's judge agrees.
pub fn part(bytes: &[u8]) {
    let mut tree = Tree::embedded();
    tree.put("profiles/parts/memcached/part.toml", bytes.to_vec(), Origin::Disk("part.toml".into()));
    let Ok(catalog) = Catalog::read(&tree).map_err(|p| p.to_string()) else { return };
    let Some(site) = cluster(&catalog) else { return };
    let work = bootstead::lifecycle::Work::default();
    let planned = bootstead::cluster::plan(&site, &catalog, &work, &Default::default());
    if let Ok(plan) = planned.map_err(|p| p.to_string()) {
        let judged = bootstead::cluster::audit::audit(&site, &catalog, &plan);
        assert_eq!(judged.errors(), 0, "a plan that its own judge refuses: {judged}");
    }
}

/// A plan as it lies in the state folder: whatever it says, it can be judged, compared and counted.
pub fn plan(bytes: &[u8]) {
    use bootstead::cluster::{Plan, Presence, audit, diff, gates};
    static OWN: OnceLock<(bootstead::site::Site, Plan)> = OnceLock::new();
    let work = bootstead::lifecycle::Work::default();
    let (site, own) = OWN.get_or_init(|| {
        let site = cluster(catalog()).unwrap_or_else(|| panic!("the laboratory's site passes"));
        let plan = bootstead::cluster::plan(&site, catalog(), &work, &Default::default());
        (site, plan.unwrap_or_else(|p| panic!("{p}")))
    });
    let Ok(plan) = serde_json::from_slice::<Plan>(bytes) else { return };
    let _ = audit::audit(site, catalog(), &plan).to_string();
    let _ = diff::diff(own, &plan);
    let open = gates(&plan, &work, &|_| Presence::Here { ahead: 0 });
    assert_eq!(open.status.len(), plan.steps.len());
    let _ = open.count();
}

/// An ISO image: what is listed lies inside.
pub fn iso(bytes: &[u8]) {
    use bootstead::images::iso;
    let Ok(index) = iso::index(bytes) else { return };
    for (path, place) in &index.files {
        assert!(bootstead::images::manifest::is_safe_path(path), "{path:?} could leave its folder");
        assert_eq!(place.size, place.extents.iter().map(|e| e.1).sum::<u64>());
        assert!(place.extents.iter().all(|(at, len)| at + len <= bytes.len() as u64), "{path}: {place:?}");
        let _ = iso::read_small(bytes, place, 4096);
    }
    for link in index.links.keys() {
        let _ = index.get(link);
    }
}

/// The first bytes of somebody's disk.
pub fn disk(bytes: &[u8]) {
    use bootstead::system::{gpt, signs};
    struct Bytes<'a>(&'a [u8]);
    impl signs::ReadAt for Bytes<'_> {
        fn read_at(&self, offset: u64, buf: &mut [u8]) -> std::io::Result<usize> {
            let rest = usize::try_from(offset).ok().and_then(|at| self.0.get(at..)).unwrap_or_default();
            let n = rest.len().min(buf.len());
            buf[..n].copy_from_slice(&rest[..n]);
            Ok(n)
        }
    }
    let disk = Bytes(bytes);
    let found = signs::scan(&disk, bytes.len() as u64).unwrap_or_else(|e| panic!("{e}"));
    let blank = bytes.iter().take(64 * 1024).all(|b| *b == 0);
    assert!(
        blank || !found.is_empty() || bytes.len() < 512 || only_boot_code(bytes),
        "data, and nothing was seen"
    );
    let _ = signs::unfinished(&disk);
    let _ = gpt::Table::read(bytes);
}

/// A boot sector with an empty partition table and nothing behind it counts as blank.
fn only_boot_code(bytes: &[u8]) -> bool {
    let head = &bytes[..bytes.len().min(64 * 1024)];
    head[510..512] == [0x55, 0xaa] && head[446..510] == [0; 64] && head[512..].iter().all(|b| *b == 0)
}
