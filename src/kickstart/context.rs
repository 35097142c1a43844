//! Owns `Context`: every name that a kickstart template can see.
//!
//! Texts are texts: templates quote them with the filters `ks`, `sh`, `preseed`, `yaml`, `json`.

use crate::base::{DataDisk, DiskRule};
use crate::profiles::{Selinux, Volume};
use serde::Serialize;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// What a template is rendered with.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Context {
    pub site: SiteNames,
    pub server: ServerAt,
    pub node: NodeNames,
    pub role: RoleParts,
    pub image: ImageAt,
    pub report: Report,
    pub net: Net,
    pub disk: DiskRule,
    pub data_disks: Vec<DataDisk>,
    /// Serial numbers of disks whose content may be erased.
    pub erase: Vec<String>,
    pub access: AccessParts,
    /// Variables: the profile's defaults, then the site's, the role's, the node's.
    pub vars: BTreeMap<String, String>,
    /// Words for the installed system's kernel command line.
    pub kernel_args: String,
    /// `http://SERVER/v1/etcd/TOKEN` for clustered services in Ignition families; members in `etcd.members`.
    pub etcd: Option<Etcd>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SiteNames {
    pub name: String,
    pub domain: String,
    pub timezone: String,
    pub language: String,
    pub keyboard: String,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ServerAt {
    pub address: Ipv4Addr,
    /// `http://10.77.0.1` or `http://10.77.0.1:8080`, without a slash at the end.
    pub url: String,
    /// `10.77.0.1` or `10.77.0.1:8080`.
    pub host: String,
    /// 514, UDP and TCP.
    pub syslog_port: u16,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NodeNames {
    pub name: String,
    pub fqdn: String,
    pub number: u32,
    /// `52:54:00:aa:00:01`
    pub mac: String,
    /// `52-54-00-aa-00-01`
    pub mac_hyphens: String,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RoleParts {
    pub name: String,
    pub profile: String,
    pub packages: Vec<String>,
    pub services: Vec<String>,
    /// `8774/tcp`
    pub ports: Vec<String>,
    /// IP protocols by number that are let in beside TCP, UDP and ICMP: 112 is VRRP.
    pub protocols: Vec<u8>,
    pub selinux: Selinux,
    pub sysctl: BTreeMap<String, String>,
    pub volumes: Vec<Volume>,
    pub lvm: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ImageAt {
    pub name: String,
    pub family: String,
    pub version: String,
    /// `x86_64`
    pub arch: String,
    /// `amd64`
    pub debian_arch: String,
    /// `http://SERVER/images/NAME`
    pub url: String,
    /// URL of the install tree or mirror; empty if the image has none.
    pub tree: String,
    /// The same as a path on the server, for installers that want host and directory apart: `/images/NAME/TREE`.
    pub tree_path: String,
    pub repos: Vec<Repo>,
    pub suite: String,
    pub components: Vec<String>,
    /// URL of the kernel, and of each initrd.
    pub kernel: String,
    pub initrds: Vec<String>,
    pub args: String,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Repo {
    pub name: String,
    pub url: String,
}

/// Where the installation reports, with its one-installation token.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// `http://SERVER/v1/nodes/MAC/report`: GET or POST with `event=`, `step=`, `percent=`, `detail=`.
    pub url: String,
    pub token: String,
    /// `http://SERVER/a/MAC/TOKEN`: the folder of this installation's answer files.
    pub answers: String,
}

/// The node's network, ready to be written down.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Net {
    pub dns: Vec<Ipv4Addr>,
    pub ntp: Vec<String>,
    /// The link that the machine boots from, with its provisioning address.
    pub boot: Address,
    pub links: Vec<LinkAt>,
    /// Lines of /etc/hosts: address, full name, short name of every node and virtual address on the provisioning
    /// network, this node's among them. One text: a list would be walked once per node, and there are many nodes.
    pub hosts: String,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Address {
    pub network: String,
    pub address: Ipv4Addr,
    pub prefix: u8,
    pub netmask: Ipv4Addr,
    /// Only on the network that has the default route.
    pub gateway: Option<Ipv4Addr>,
    pub mtu: Option<u16>,
}

/// A port (by MAC) or a bond, with what it carries.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LinkAt {
    /// `nic1` or the bond's name.
    pub name: String,
    /// The port's MAC; the first member's for a bond.
    pub mac: String,
    pub bond: Option<BondAt>,
    pub mtu: Option<u16>,
    pub untagged: Option<Address>,
    pub tagged: Vec<Vlan>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BondAt {
    pub mode: String,
    /// MAC addresses of the members.
    pub macs: Vec<String>,
    /// `mode=802.3ad,miimon=100`
    pub options: String,
    pub option: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Vlan {
    pub id: u16,
    pub at: Address,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AccessParts {
    pub user: Option<String>,
    pub password_hash: Option<String>,
    pub ssh_keys: Vec<String>,
}

/// etcd's static discovery: the members of the node's role.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Etcd {
    pub name: String,
    pub address: Ipv4Addr,
    /// `name=http://address:2380,…`
    pub initial_cluster: String,
    pub cluster_token: String,
}
