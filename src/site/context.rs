//! Owns the bridge from a site to templates: `context` is the only maker of `kickstart::Context` from a node.

use super::catalog::Catalog;
use super::model::{Link, Network, Node, Role, Site};
use crate::base::Secret;
use crate::images::Image;
use crate::kickstart::context as ks;
use crate::problem::{Problem, did_you_mean};
use crate::profiles::Profile;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// Everything that templates may know about one node. `token` is its installation's; for a preview, a placeholder.
///
/// `Err` only where the tree changed since the site was checked (an image or profile is gone).
pub fn context(site: &Site, catalog: &Catalog, node: &Node, token: &Secret) -> Result<ks::Context, Problem> {
    let role = site.role(node);
    let image = image(catalog, role)?;
    let profile = profile(catalog, role)?;
    let url = site.url();
    let mac = node.mac();
    Ok(ks::Context {
        site: ks::SiteNames {
            name: site.name.clone(),
            domain: site.domain.clone(),
            timezone: site.timezone.clone(),
            language: site.language.clone(),
            keyboard: site.keyboard.clone(),
        },
        server: ks::ServerAt {
            address: site.server.address,
            host: url.strip_prefix("http://").unwrap_or(&url).to_string(),
            url: url.clone(),
            syslog_port: 514,
        },
        node: ks::NodeNames {
            name: node.name.clone(),
            fqdn: site.fqdn(node),
            number: node.number,
            mac: mac.to_string(),
            mac_hyphens: mac.hyphens(),
        },
        role: role_parts(site, catalog, node, profile, image),
        image: image_at(&url, image),
        report: ks::Report {
            url: format!("{url}{}", format_args!("/v1/nodes/{}/report", mac.hyphens())),
            token: token.reveal().to_string(),
            answers: format!("{url}/a/{}/{}", mac.hyphens(), token.reveal()),
        },
        net: net(site, node)?,
        disk: site.disk_rule(node).cloned().unwrap_or_default(),
        data_disks: role.data_disks.clone(),
        erase: node.erase.clone(),
        access: ks::AccessParts {
            user: site.access.user.clone(),
            password_hash: site.access.password_hash.clone(),
            ssh_keys: site.access.ssh_keys.clone(),
        },
        vars: vars(site, role, profile, node),
        kernel_args: site.kernel_args(node),
        etcd: etcd(site, role, profile, node),
    })
}

/// The role's image; `Err` where the tree has none of that name.
pub fn image<'a>(catalog: &'a Catalog, role: &Role) -> Result<&'a Image, Problem> {
    catalog.images.get(&role.image).ok_or_else(|| gone("image", &role.image, catalog.images.keys()))
}

fn profile<'a>(catalog: &'a Catalog, role: &Role) -> Result<&'a Profile, Problem> {
    catalog.profiles.get(&role.profile).ok_or_else(|| gone("profile", &role.profile, catalog.profiles.keys()))
}

fn gone<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a String>) -> Problem {
    let problem = Problem::input(format!("there is no {what} {name:?}"));
    match did_you_mean(name, known.map(String::as_str)) {
        Some(near) => problem.help(format!("did you mean {near:?}?")),
        None => problem.help("`bootstead tree` lists what there is"),
    }
}

fn role_parts(
    site: &Site,
    catalog: &Catalog,
    node: &Node,
    profile: &Profile,
    image: &Image,
) -> ks::RoleParts {
    let role = site.role(node);
    let (mut ports, mut protocols) = (profile.ports.clone(), Vec::new());
    // What the cluster half listens on must be open before its agent comes.
    let parts = role.parts.iter().filter(|_| site.cluster.is_some()).filter_map(|p| catalog.parts.get(p));
    let vars = vars(site, role, profile, node);
    for port in parts.flat_map(|p| &p.ports) {
        match (IP_PROTOCOLS.iter().find(|(name, _)| name == port), port.rsplit_once('/')) {
            (Some((_, number)), _) => once(&mut protocols, *number),
            (None, Some((ports_of, protocol))) => {
                let protocol = valued(catalog, &vars, protocol);
                let numbers = valued(catalog, &vars, ports_of);
                numbers.split_whitespace().for_each(|n| once(&mut ports, format!("{n}/{protocol}")));
            }
            (None, None) => once(&mut ports, port.clone()),
        }
    }
    let mut packages =
        package_manager(catalog, image).and_then(|m| profile.packages.get(m)).cloned().unwrap_or_default();
    for package in &role.packages {
        if !packages.contains(package) {
            packages.push(package.clone());
        }
    }
    ks::RoleParts {
        name: role.name.clone(),
        profile: profile.name.clone(),
        packages,
        services: profile.services.clone(),
        ports,
        protocols,
        selinux: profile.selinux,
        sysctl: profile.sysctl.clone(),
        volumes: profile.volumes.clone(),
        lvm: profile.lvm,
    }
}

/// Protocols that parts name among their ports.
const IP_PROTOCOLS: [(&str, u8); 2] = [("vrrp", 112), ("ipip", 4)];

fn once<T: PartialEq>(list: &mut Vec<T>, one: T) {
    if !list.contains(&one) {
        list.push(one);
    }
}

/// The value of a variable where `{NAME}` stands, a part's default where nobody gave one; else the text itself.
fn valued(catalog: &Catalog, vars: &BTreeMap<String, String>, text: &str) -> String {
    let Some(name) = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')) else {
        return text.to_string();
    };
    let usual = || catalog.parts.values().find_map(|p| p.vars.get(name)?.default.clone());
    vars.get(name).cloned().or_else(usual).unwrap_or_default()
}

/// Which of a profile's package lists the image's family takes; none: it has no package manager.
fn package_manager(catalog: &Catalog, image: &Image) -> Option<&'static str> {
    Some(catalog.families.get(&image.family)?.packages?.key())
}

fn image_at(url: &str, image: &Image) -> ks::ImageAt {
    let base = format!("/images/{}", image.name);
    let below = |path: &str| match path.trim_matches('/') {
        "" | "." => base.clone(),
        path => format!("{base}/{path}"),
    };
    let full = |path: &str| format!("{url}{}", below(path));
    ks::ImageAt {
        name: image.name.clone(),
        family: image.family.clone(),
        version: image.version.clone(),
        arch: image.arch.linux().to_string(),
        debian_arch: image.arch.debian().to_string(),
        url: full(""),
        tree: image.tree.as_deref().map(full).unwrap_or_default(),
        tree_path: image.tree.as_deref().map(below).unwrap_or_default(),
        repos: image
            .repos
            .iter()
            .map(|(name, path)| ks::Repo { name: name.clone(), url: full(path) })
            .collect(),
        suite: image.suite.clone(),
        components: image.components.clone(),
        kernel: full(&image.kernel),
        initrds: image.initrd.iter().map(|p| full(p)).collect(),
        args: image.args.clone(),
    }
}

/// The network whose gateway is the node's default route: the provisioning one, else the first that has one.
fn default_route<'a>(site: &'a Site, node: &Node) -> Option<&'a Network> {
    let boot = site.provisioning();
    if boot.gateway.is_some() {
        return Some(boot);
    }
    let carried: Vec<&String> = site.role(node).links.iter().flat_map(Link::networks).collect();
    node.addresses
        .keys()
        .filter(|n| carried.contains(n))
        .filter_map(|n| site.networks.get(n))
        .find(|n| n.gateway.is_some())
}

fn net(site: &Site, node: &Node) -> Result<ks::Net, Problem> {
    let route = default_route(site, node).map(|n| n.name.as_str());
    let at = |name: &str| {
        let network = site.networks.get(name)?;
        let address = *node.addresses.get(name)?;
        Some(ks::Address {
            network: name.to_string(),
            address,
            prefix: network.cidr.prefix(),
            netmask: network.cidr.netmask(),
            gateway: network.gateway.filter(|_| route == Some(name)),
            mtu: network.mtu,
        })
    };
    let boot = at(&site.server.provisioning).ok_or_else(|| {
        Problem::input(format!("{} has no address on {}", node.name, site.server.provisioning))
    })?;
    let mut networks = vec![site.provisioning()];
    networks.extend(node.addresses.keys().filter_map(|n| site.networks.get(n)));
    let (mut dns, mut ntp): (Vec<Ipv4Addr>, Vec<String>) = (Vec::new(), Vec::new());
    for network in networks {
        dns.extend(network.dns.iter().filter(|d| !dns.contains(d)).copied().collect::<Vec<_>>());
        ntp.extend(network.ntp.iter().filter(|t| !ntp.contains(t)).cloned().collect::<Vec<_>>());
    }
    // resolv.conf(5) reads three.
    dns.truncate(3);
    let links = site.role(node).links.iter().filter_map(|l| link(site, node, l, &at)).collect();
    Ok(ks::Net { dns, ntp, boot, links, hosts: hosts(site) })
}

fn link(
    site: &Site,
    node: &Node,
    link: &Link,
    at: &dyn Fn(&str) -> Option<ks::Address>,
) -> Option<ks::LinkAt> {
    let port = |name: &String| {
        let n: usize = name.strip_prefix("nic")?.parse().ok()?;
        node.macs.get(n.checked_sub(1)?).map(ToString::to_string)
    };
    let bond = link.bond.as_ref().map(|b| {
        let options: Vec<String> = std::iter::once(format!("mode={}", b.mode))
            .chain(b.options.iter().map(|(k, v)| format!("{k}={v}")))
            .collect();
        ks::BondAt {
            mode: b.mode.clone(),
            macs: b.members.iter().filter_map(port).collect(),
            options: options.join(","),
            option: b.options.clone(),
        }
    });
    let mac = match &bond {
        Some(b) => b.macs.first()?.clone(),
        None => port(&link.name)?,
    };
    let tagged = link.tagged.iter().filter_map(|name| {
        let id = site.networks.get(name)?.vlan?;
        Some(ks::Vlan { id, at: at(name)? })
    });
    let largest = link.networks().filter_map(|n| site.networks.get(n)?.mtu).max();
    Some(ks::LinkAt {
        name: link.name.clone(),
        mac,
        bond,
        mtu: link.mtu.or(largest),
        untagged: link.untagged.as_deref().and_then(at),
        tagged: tagged.collect(),
    })
}

/// Lines of /etc/hosts for every node and virtual address on the provisioning network.
pub fn hosts(site: &Site) -> String {
    use std::fmt::Write as _;
    let mut out = String::new();
    let nodes = site.nodes.iter().filter_map(|n| Some((site.boot_address(n)?, n.name.as_str())));
    let here = |v: &&super::model::Vip| v.network == site.server.provisioning;
    let vips = site.vips.values().filter(here).map(|v| (v.address, v.name.as_str()));
    for (address, name) in nodes.chain(vips) {
        let _ = writeln!(out, "{address} {name}.{} {name}", site.domain);
    }
    out
}

fn vars(site: &Site, role: &Role, profile: &Profile, node: &Node) -> BTreeMap<String, String> {
    let mut vars: BTreeMap<String, String> =
        profile.vars.iter().filter_map(|(k, v)| Some((k.clone(), v.default.clone()?))).collect();
    for more in [&site.vars, &role.vars, &node.vars] {
        vars.extend(more.iter().map(|(k, v)| (k.clone(), v.clone())));
    }
    vars
}

fn etcd(site: &Site, role: &Role, profile: &Profile, node: &Node) -> Option<ks::Etcd> {
    if !profile.etcd {
        return None;
    }
    let mut members: Vec<&Node> = site.nodes.iter().filter(|n| n.role == role.name).collect();
    members.sort_by_key(|n| n.number);
    let one = |n: &Node| Some(format!("{}=http://{}:2380", n.name, site.boot_address(n)?));
    Some(ks::Etcd {
        name: node.name.clone(),
        address: site.boot_address(node)?,
        initial_cluster: members.into_iter().filter_map(one).collect::<Vec<_>>().join(","),
        cluster_token: format!("{}-{}", site.name, role.name),
    })
}
