//! Owns `Site`: valid by construction, immutable. Only `site::check` makes one (tests may build by hand).

pub use crate::base::disk::{DataDisk, DiskRule, Pick};
use crate::base::{Cidr, IpRange, Mac, Sha256};
use crate::lifecycle::Lane;
use serde::Serialize;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// Everything known about one place.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Site {
    pub name: String,
    /// DNS domain of the nodes' full names, for example `site.example`.
    pub domain: String,
    /// A tz database name, for example `Europe/Berlin`.
    pub timezone: String,
    /// Locale, for example `en_US.UTF-8`.
    pub language: String,
    /// Keyboard layout, for example `us`.
    pub keyboard: String,
    pub server: Server,
    pub access: Access,
    pub networks: BTreeMap<String, Network>,
    pub roles: BTreeMap<String, Role>,
    /// Virtual addresses by name.
    pub vips: BTreeMap<String, Vip>,
    /// Sorted by name.
    pub nodes: Vec<Node>,
    /// None: nodes are installed, and no cluster is made of them.
    pub cluster: Option<Cluster>,
    /// Site-wide template variables.
    pub vars: BTreeMap<String, String>,
    /// Digest of everything the site was made from (site file, node tables), for diffs and the journal.
    pub digest: Sha256,
    /// Any MAC address of a node → its index in `nodes`.
    #[serde(skip)]
    pub by_mac: BTreeMap<Mac, usize>,
}

/// How Bootstead itself serves.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Server {
    /// Network interfaces it serves on; empty: the interface that has `address`.
    pub interfaces: Vec<String>,
    /// Its own address on the provisioning network.
    pub address: Ipv4Addr,
    /// Where it, or a second appliance with its state, may answer agents one day.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<Ipv4Addr>,
    pub http_port: u16,
    /// TCP port for the nodes' agents (TLS).
    pub agent_port: u16,
    /// The network that machines boot from: a key of `networks`.
    pub provisioning: String,
    pub dhcp: DhcpMode,
    /// Whether unknown machines that network-boot get an address from the provisioning pool (never an installer).
    pub discover: bool,
    /// Other DHCP servers that may answer on the provisioning network (good neighbour by agreement).
    pub tolerate: Vec<Ipv4Addr>,
    /// Lease time in seconds.
    pub lease_secs: u32,
}

impl Server {
    /// Where agents knock, `address:port`, one after the other.
    pub fn doors(&self) -> Vec<String> {
        let all = std::iter::once(&self.address).chain(&self.also);
        all.map(|a| format!("{a}:{}", self.agent_port)).collect()
    }
}

/// What the cluster stands on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cluster {
    /// The network over which the nodes talk to each other: a key of `networks`.
    pub network: String,
}

/// Whether addresses are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DhcpMode {
    /// We are the DHCP server of the provisioning network.
    Full,
    /// No DHCP at all (TFTP and HTTP only).
    Off,
}

/// How people get into installed nodes. Password hashes are crypt(3) `$6$`; never a plain password.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Access {
    /// Administrator account made on every node (member of wheel or sudo); none: root only.
    pub user: Option<String>,
    /// crypt(3) hash for `user` and root; none: the password is locked.
    pub password_hash: Option<String>,
    pub ssh_keys: Vec<String>,
}

/// One layer-3 network.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Network {
    pub name: String,
    pub cidr: Cidr,
    /// 802.1Q id; none: untagged.
    pub vlan: Option<u16>,
    pub mtu: Option<u16>,
    pub gateway: Option<Ipv4Addr>,
    pub dns: Vec<Ipv4Addr>,
    pub ntp: Vec<String>,
    /// Addresses for discovered machines; only on the provisioning network.
    pub pool: Option<IpRange>,
}

/// What a group of nodes becomes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Role {
    pub name: String,
    /// A folder of `profiles/`.
    pub profile: String,
    /// Folders of `profiles/parts/`: the cluster half.
    pub parts: Vec<String>,
    /// A file of `images/`.
    pub image: String,
    pub lane: Lane,
    /// `cs-compute-{n:04}`: the number is 1 for the first node.
    pub naming: String,
    /// Address of node number n is the n-th of the range, per network.
    pub ranges: BTreeMap<String, IpRange>,
    pub links: Vec<Link>,
    /// The one disk that the operating system goes to; none only where every node has its own rule.
    pub disk: Option<DiskRule>,
    pub data_disks: Vec<DataDisk>,
    pub packages: Vec<String>,
    pub kernel_args: String,
    pub vars: BTreeMap<String, String>,
}

/// A port or bond of a node and the networks that it carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Link {
    /// `nic1` (the node's first MAC), `nic2`, … or the bond's name, for example `bond0`.
    pub name: String,
    pub bond: Option<Bond>,
    /// The network without a tag on this link.
    pub untagged: Option<String>,
    /// Networks with their 802.1Q tag on this link.
    pub tagged: Vec<String>,
    pub mtu: Option<u16>,
}

impl Link {
    /// Names of all networks on it, the one without a tag first.
    pub fn networks(&self) -> impl Iterator<Item = &String> {
        self.untagged.iter().chain(&self.tagged)
    }
}

/// Bonding (Linux bonding driver's words).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Bond {
    /// `802.3ad`, `active-backup`, …
    pub mode: String,
    /// Link names: `nic1`, `nic2`, …
    pub members: Vec<String>,
    /// Further options, for example `miimon=100`, `lacp_rate=fast`.
    pub options: BTreeMap<String, String>,
}

/// A virtual address that moves between the nodes of some roles.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Vip {
    pub name: String,
    pub network: String,
    pub address: Ipv4Addr,
}

/// One machine.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Node {
    /// Short host name.
    pub name: String,
    /// Number within its role, from 1.
    pub number: u32,
    /// A key of `roles`.
    pub role: String,
    /// The addresses of its ports in the order nic1, nic2, …; the first one is the node's identity.
    pub macs: Vec<Mac>,
    /// Its address per network.
    pub addresses: BTreeMap<String, Ipv4Addr>,
    /// Its own disk rule, in place of the role's.
    pub disk: Option<DiskRule>,
    /// Serial numbers of disks whose present content may be erased.
    pub erase: Vec<String>,
    /// Kernel words of its own, after the role's.
    pub kernel_args: String,
    pub vars: BTreeMap<String, String>,
}

impl Node {
    /// The node's identity: the MAC that the ledger knows it by.
    pub fn mac(&self) -> Mac {
        self.macs[0]
    }
}

impl Site {
    /// The node that owns `mac` (any of its ports).
    pub fn node_by_mac(&self, mac: Mac) -> Option<&Node> {
        self.by_mac.get(&mac).map(|i| &self.nodes[*i])
    }
    pub fn node_by_name(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|n| n.name == name)
    }
    /// A node by name or by any spelling of any of its MAC addresses.
    pub fn find(&self, name_or_mac: &str) -> Option<&Node> {
        self.node_by_name(name_or_mac)
            .or_else(|| Mac::parse(name_or_mac).ok().and_then(|m| self.node_by_mac(m)))
    }
    /// The role of a node; every node's role exists.
    pub fn role(&self, node: &Node) -> &Role {
        &self.roles[&node.role]
    }
    /// The node's address on the cluster's network; none where it has none there, or where no cluster is made.
    pub fn cluster_address(&self, node: &Node) -> Option<Ipv4Addr> {
        node.addresses.get(&self.cluster.as_ref()?.network).copied()
    }
    /// The network that machines boot from.
    pub fn provisioning(&self) -> &Network {
        &self.networks[&self.server.provisioning]
    }
    /// The node's address on the provisioning network.
    pub fn boot_address(&self, node: &Node) -> Option<Ipv4Addr> {
        node.addresses.get(&self.server.provisioning).copied()
    }
    /// The full host name.
    pub fn fqdn(&self, node: &Node) -> String {
        format!("{}.{}", node.name, self.domain)
    }
    /// The rule for the node's system disk.
    pub fn disk_rule<'a>(&'a self, node: &'a Node) -> Option<&'a DiskRule> {
        node.disk.as_ref().or(self.role(node).disk.as_ref())
    }
    /// The words for the node's kernel command line: the role's, then its own.
    pub fn kernel_args(&self, node: &Node) -> String {
        let both = [self.role(node).kernel_args.as_str(), node.kernel_args.as_str()];
        both.into_iter().filter(|words| !words.is_empty()).collect::<Vec<_>>().join(" ")
    }
    /// The bond that the node's provisioning network is on, if its ports speak LACP (IEEE 802.1AX): firmware and
    /// network boot do not.
    pub fn lacp_bond(&self, node: &Node) -> Option<&str> {
        let carries = |l: &&Link| l.networks().any(|n| *n == self.server.provisioning);
        let link = self.role(node).links.iter().find(carries)?;
        let lacp = link.bond.as_ref().is_some_and(|bond| bond.mode == "802.3ad");
        lacp.then_some(link.name.as_str())
    }
    /// `http://ADDRESS:PORT`, without the port where it is 80.
    pub fn url(&self) -> String {
        match self.server.http_port {
            80 => format!("http://{}", self.server.address),
            port => format!("http://{}:{port}", self.server.address),
        }
    }
    /// Fills the index by MAC address; called once by whoever makes the site.
    pub fn indexed(mut self) -> Site {
        self.by_mac =
            self.nodes.iter().enumerate().flat_map(|(i, n)| n.macs.iter().map(move |m| (*m, i))).collect();
        self
    }
}
