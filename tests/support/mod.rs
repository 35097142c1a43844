//! What the tests share: sites built by hand, and goldens.

#![allow(dead_code, reason = "every test file uses its own part")]
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

use bootstead::base::{Arch, Cidr, IpRange, Mac, Sha256, Timestamp};
use bootstead::boot::Known;
use bootstead::boot::decide::{ROOT_MANIFEST, SYSTEM_IMAGE};
use bootstead::images::{Image, Piece, Stock, Stocked};
use bootstead::lifecycle::{Lane, Ledger};
use bootstead::site::*;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;

/// 2026-11-20T08:00:00Z, when every test begins.
pub const START: Timestamp = Timestamp(1_795_161_600_000);

/// The MAC address of node number `n`, counted from 0.
pub fn mac(n: usize) -> Mac {
    Mac([0x52, 0x54, 0, 0xaa, (n >> 8) as u8, n as u8])
}

fn role(name: &str, image: &str, lane: Lane, first: u32) -> Role {
    Role {
        name: name.into(),
        profile: name.into(),
        parts: Vec::new(),
        image: image.into(),
        lane,
        naming: format!("cs-{name}-{{n:02}}"),
        ranges: BTreeMap::from([(
            "prov".to_string(),
            IpRange { first: (0x0a4d_0000 + first).into(), last: (0x0a4d_0000 + first + 999).into() },
        )]),
        links: vec![],
        disk: Some(DiskRule { min_gib: Some(1), ..DiskRule::default() }),
        data_disks: vec![],
        packages: vec![],
        kernel_args: String::new(),
        vars: BTreeMap::new(),
    }
}

/// A site of `controllers` + `computes` nodes, built by hand: no tree, no files.
pub fn site(controllers: usize, computes: usize) -> Site {
    let provisioning = Network {
        name: "prov".into(),
        cidr: Cidr::parse("10.77.0.0/16").unwrap(),
        vlan: None,
        mtu: None,
        gateway: None,
        dns: vec![],
        ntp: vec![],
        pool: Some(IpRange::parse("10.77.250.1-10.77.250.200").unwrap()),
    };
    let mut nodes = Vec::new();
    for (role, count, first) in [("controller", controllers, 1000u32), ("compute", computes, 2000)] {
        for n in 1..=count {
            nodes.push(Node {
                name: format!("cs-{role}-{n:02}"),
                number: n as u32,
                role: role.into(),
                macs: vec![mac(nodes.len())],
                addresses: BTreeMap::from([(
                    "prov".to_string(),
                    Ipv4Addr::from(0x0a4d_0000 + first + n as u32 - 1),
                )]),
                disk: None,
                erase: vec![],
                kernel_args: String::new(),
                vars: BTreeMap::new(),
            });
        }
    }
    let roles = [
        role("controller", "debian12", Lane::Installer, 1000),
        role("compute", "debian12", Lane::Fast, 2000),
    ];
    Site {
        name: "lab".into(),
        domain: "lab.example".into(),
        timezone: "UTC".into(),
        language: "en_US.UTF-8".into(),
        keyboard: "us".into(),
        server: Server {
            interfaces: vec![],
            address: Ipv4Addr::new(10, 77, 0, 1),
            http_port: 80,
            also: Vec::new(),
            agent_port: 8443,
            provisioning: "prov".into(),
            dhcp: DhcpMode::Full,
            discover: true,
            tolerate: vec![],
            lease_secs: 3600,
        },
        access: Access { user: None, password_hash: None, ssh_keys: vec![] },
        networks: BTreeMap::from([("prov".to_string(), provisioning)]),
        roles: roles.into_iter().map(|r| (r.name.clone(), r)).collect(),
        vips: BTreeMap::new(),
        cluster: None,
        nodes,
        vars: BTreeMap::new(),
        digest: Sha256::of(b"a site built by a test"),
        by_mac: BTreeMap::new(),
    }
    .indexed()
}

/// What lies ready for [`site`]: one image, complete for both lanes.
pub struct Supply {
    pub images: BTreeMap<String, Image>,
    pub stock: Stock,
}

impl Supply {
    pub fn full() -> Supply {
        let image = Image {
            name: "debian12".into(),
            summary: "Debian 12".into(),
            family: "debian12".into(),
            version: "12".into(),
            arch: Arch::Amd64,
            pool: false,
            kernel: "linux".into(),
            initrd: vec!["initrd.gz".into()],
            tree: None,
            repos: BTreeMap::new(),
            suite: "bookworm".into(),
            components: vec!["main".into()],
            args: String::new(),
            min_memory_mib: 0,
            fetch: BTreeMap::new(),
            packages: vec![],
            mirror: None,
            root: None,
        };
        let have = |files: &[&str]| Stocked {
            gaps: Vec::new(),
            files: files
                .iter()
                .map(|f| (f.to_string(), Piece { size: 1, sha256: Sha256::of(b"x") }))
                .collect(),
        };
        let mut stock = Stock::default();
        stock.images.insert("debian12".into(), have(&["linux", "initrd.gz", ROOT_MANIFEST]));
        stock.images.insert(SYSTEM_IMAGE.into(), have(&["linux", "initrd"]));
        Supply { images: BTreeMap::from([("debian12".to_string(), image)]), stock }
    }

    pub fn known<'a>(&'a self, site: &'a Site, ledger: &'a Ledger) -> Known<'a> {
        Known { site, images: &self.images, stock: &self.stock, ledger }
    }
}

/// Compares `text` with `tests/golden/NAME`. `BOOTSTEAD_GOLDEN=write` writes it, and still fails, so CI never does.
pub fn golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    let want = std::fs::read_to_string(&path).unwrap_or_default();
    if want == text {
        return;
    }
    if std::env::var_os("BOOTSTEAD_GOLDEN").is_some_and(|v| v == "write") {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        panic!("wrote tests/golden/{name}; look at it, then run again without BOOTSTEAD_GOLDEN");
    }
    let differ = want.lines().zip(text.lines()).position(|(a, b)| a != b);
    panic!(
        "tests/golden/{name} differs from line {} on; BOOTSTEAD_GOLDEN=write rewrites it. It is now:\n{text}",
        differ.unwrap_or(want.lines().count().min(text.lines().count())) + 1
    );
}
