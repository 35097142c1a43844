//! Owns the made-up nodes that the kickstart goldens are rendered for: a plain one, and one with all that a
//! machine room has (bond, VLANs, data disks, no password).

use bootstead::base::Secret;
use bootstead::kickstart::context::*;
use bootstead::kickstart::{Family, Installer};
use bootstead::profiles::Profile;
use bootstead::site::{self, Catalog, DataDisk, DiskRule, Files, Pick};
use bootstead::tree::{Origin, Tree};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// The names of the sites: two made by hand, and one that is read and checked as an operator's would be.
pub const SITES: [&str; 3] = ["small", "room", "site"];

/// What `profile` on `family` is rendered with at the site of that name.
pub fn context(site: &str, family: &Family, profile: &Profile) -> Context {
    if site == "site" {
        return checked(family, profile);
    }
    let mut c = small(family, profile);
    if site == "room" {
        room(&mut c);
    }
    c
}

/// A node of tests/fixtures/sites/room.toml with this profile and an image of this family, through `site::check`.
fn checked(family: &Family, profile: &Profile) -> Context {
    let mut tree = Tree::embedded();
    let version = if family.name.starts_with("debian") { "12" } else { "9.6" };
    let image = format!(
        "summary = \"For tests\"\nfamily = {:?}\nversion = {version:?}\narch = \"amd64\"\nkernel = \"kernel\"\n\
         initrd = [\"initrd\"]\ntree = \"tree\"\nmin_memory_mib = 1024\n",
        family.name
    );
    tree.put("images/fixture.toml", image.into_bytes(), Origin::Disk("fixture.toml".into()));
    let catalog = Catalog::read(&tree).unwrap_or_else(|p| panic!("{p}"));
    let name = &profile.name;
    let text = format!(
        r#"{}
[role.{name}]
image = "fixture"
profile = "{name}"
name = "{name}-{{n:02}}"
disk = {{ min_gib = 16, pick = "smallest" }}
addresses = {{ provisioning = "10.77.0.11-10.77.0.19", storage = "10.79.0.11-10.79.0.19" }}
[[role.{name}.link]]
name = "bond0"
bond = {{ mode = "active-backup", members = ["nic1", "nic2"], options = {{ miimon = 100 }} }}
untagged = "provisioning"
tagged = ["storage"]
[[role.{name}.data]]
name = "data"
rule = {{ min_gib = 2000 }}
mount = "/srv/data"
keep = true
[[node]]
macs = ["52:54:00:00:00:01", "52:54:00:00:00:02"]
role = "{name}"
"#,
        include_str!("../fixtures/sites/room.toml")
    );
    let (site, problems) = site::check(&Files::only("site.toml", &text), &catalog);
    let site = site.unwrap_or_else(|| panic!("{problems}"));
    let token = Secret::new("0123456789abcdef0123456789abcdef");
    site::context(&site, &catalog, &site.nodes[0], &token).unwrap_or_else(|p| panic!("{p}"))
}

fn ip(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

fn address(network: &str, at: &str, gateway: Option<&str>, mtu: Option<u16>) -> Address {
    Address {
        network: network.into(),
        address: ip(at),
        prefix: 24,
        netmask: ip("255.255.255.0"),
        gateway: gateway.map(ip),
        mtu,
    }
}

fn image(family: &Family) -> ImageAt {
    let url = format!("http://10.77.0.1/images/{}", family.name);
    let (suite, components) = match family.installer {
        Installer::Preseed if family.name.ends_with("12") => ("bookworm", vec!["main".to_string()]),
        Installer::Preseed => ("trixie", vec!["main".to_string(), "non-free-firmware".to_string()]),
        _ => ("", Vec::new()),
    };
    let repos = match family.dialect.as_deref() {
        Some("RHEL8" | "RHEL9" | "RHEL10") => {
            vec![Repo { name: "AppStream".into(), url: format!("{url}/tree/AppStream") }]
        }
        _ => Vec::new(),
    };
    ImageAt {
        name: family.name.clone(),
        family: family.name.clone(),
        version: "1.0".into(),
        arch: "x86_64".into(),
        debian_arch: "amd64".into(),
        tree: format!("{url}/tree"),
        tree_path: format!("/images/{}/tree", family.name),
        repos,
        suite: suite.into(),
        components,
        kernel: format!("{url}/kernel"),
        initrds: vec![format!("{url}/initrd")],
        args: String::new(),
        url,
    }
}

fn role(family: &Family, p: &Profile) -> RoleParts {
    RoleParts {
        name: p.name.clone(),
        profile: p.name.clone(),
        packages: family.packages.and_then(|m| p.packages.get(m.key())).cloned().unwrap_or_default(),
        services: p.services.clone(),
        protocols: Vec::new(),
        ports: p.ports.clone(),
        selinux: p.selinux,
        sysctl: p.sysctl.clone(),
        volumes: p.volumes.clone(),
        lvm: p.lvm,
    }
}

/// One port, one disk of a size, a password, a key.
fn small(family: &Family, profile: &Profile) -> Context {
    let name = format!("{}-1", profile.name);
    let fqdn = format!("{name}.site.example");
    let boot = address("provisioning", "10.77.0.11", Some("10.77.0.1"), None);
    Context {
        site: SiteNames {
            name: "small".into(),
            domain: "site.example".into(),
            timezone: "Europe/Berlin".into(),
            language: "en_US.UTF-8".into(),
            keyboard: "us".into(),
        },
        server: ServerAt {
            address: ip("10.77.0.1"),
            url: "http://10.77.0.1".into(),
            host: "10.77.0.1".into(),
            syslog_port: 514,
        },
        node: NodeNames {
            name: name.clone(),
            fqdn: fqdn.clone(),
            number: 1,
            mac: "52:54:00:aa:00:01".into(),
            mac_hyphens: "52-54-00-aa-00-01".into(),
        },
        role: role(family, profile),
        image: image(family),
        report: Report {
            url: "http://10.77.0.1/v1/nodes/52-54-00-aa-00-01/report".into(),
            token: "0123456789abcdef0123456789abcdef".into(),
            answers: "http://10.77.0.1/a/52-54-00-aa-00-01/0123456789abcdef0123456789abcdef".into(),
        },
        net: Net {
            dns: vec![ip("10.77.0.1")],
            ntp: vec!["10.77.0.1".into()],
            boot: boot.clone(),
            links: vec![LinkAt {
                name: "nic1".into(),
                mac: "52:54:00:aa:00:01".into(),
                bond: None,
                mtu: None,
                untagged: Some(boot),
                tagged: Vec::new(),
            }],
            hosts: format!("10.77.0.11 {fqdn} {name}\n"),
        },
        disk: DiskRule { min_gib: Some(8), pick: Some(Pick::Smallest), ..DiskRule::default() },
        data_disks: Vec::new(),
        erase: Vec::new(),
        access: AccessParts {
            user: Some("ops".into()),
            password_hash: Some("$6$rounds=5000$bootsteadsample1$Ic6akdYaf1Ij.qR7UrQcNX6Kpt".into()),
            ssh_keys: vec!["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBo0tstead ops@site.example".into()],
        },
        vars: profile.vars.iter().filter_map(|(k, v)| Some((k.clone(), v.default.clone()?))).collect(),
        kernel_args: "console=tty0 console=ttyS0,115200n8".into(),
        etcd: None,
    }
}

/// A bond with VLANs, a second port, data disks, no password and odd characters where people write them.
fn room(c: &mut Context) {
    c.site.name = "room".into();
    let boot = address("provisioning", "10.77.0.11", None, Some(9000));
    let bond = BTreeMap::from([
        ("miimon".to_string(), "100".to_string()),
        ("lacp_rate".to_string(), "fast".to_string()),
        ("xmit_hash_policy".to_string(), "layer3+4".to_string()),
    ]);
    let vlan = |id, at| Vlan { id, at };
    c.net.boot = boot.clone();
    c.net.ntp = vec!["10.77.0.1".into(), "ntp.site.example".into()];
    c.net.dns.push(ip("10.77.0.2"));
    c.net.links = vec![
        LinkAt {
            name: "bond0".into(),
            mac: "52:54:00:aa:00:01".into(),
            bond: Some(BondAt {
                mode: "802.3ad".into(),
                macs: vec!["52:54:00:aa:00:01".into(), "52:54:00:aa:00:02".into()],
                options: "mode=802.3ad,lacp_rate=fast,miimon=100,xmit_hash_policy=layer3+4".into(),
                option: bond,
            }),
            mtu: Some(9000),
            untagged: Some(boot),
            tagged: vec![
                vlan(100, address("management", "10.78.0.11", Some("10.78.0.1"), None)),
                vlan(200, address("storage", "10.79.0.11", None, Some(9000))),
            ],
        },
        LinkAt {
            name: "nic3".into(),
            mac: "52:54:00:aa:00:03".into(),
            bond: None,
            mtu: None,
            untagged: None,
            tagged: vec![vlan(300, address("tenant", "10.80.0.11", None, None))],
        },
    ];
    c.net.hosts.push_str("10.77.0.250 api.site.example api\n");
    c.disk = DiskRule {
        serial: Some("S4EVNX0N100001".into()),
        model: Some("Bob's \"fast\" $disk".into()),
        ..DiskRule::default()
    };
    let data = |name: &str, wwn: &str, mount: &str, keep| DataDisk {
        name: name.into(),
        rule: DiskRule { wwn: Some(wwn.into()), ..DiskRule::default() },
        mount: mount.into(),
        keep,
    };
    c.data_disks = vec![
        data("images", "0x5000c500a1b2c3d4", "/srv/images", true),
        data("scratch", "eui.0025385a91b0c1d2", "/srv/scratch", false),
    ];
    c.erase = vec!["S4EVNX0N100001".into(), "WD-42".into()];
    c.access.password_hash = None;
    c.access.ssh_keys.push("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBo0tstead o'hara #2".into());
    c.role.selinux = bootstead::profiles::Selinux::Permissive;
    c.kernel_args = "console=ttyS0,115200n8 intel_iommu=on default_hugepagesz=1G".into();
    c.etcd = Some(Etcd {
        name: c.node.name.clone(),
        address: ip("10.77.0.11"),
        initial_cluster: format!("{}=http://10.77.0.11:2380,other-2=http://10.77.0.12:2380", c.node.name),
        cluster_token: "bootstead-room".into(),
    });
}
