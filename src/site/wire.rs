//! Owns the site file as it is written: one struct per table, every value with its place.
//!
//! Nothing is judged here. The JSON Schema for editors, the reference in docs/ and the check for unknown keys are
//! all made from these structs, so they cannot part. Everything is optional to the reader: what must be there is
//! said with `#[schemars(required)]` and reported by `shape`, together with all other problems.

use super::model::{DhcpMode, DiskRule};
use crate::lifecycle::Lane;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::{Deref, Range};

/// A value and the bytes of the file that it was read from. Compares by value.
#[derive(Debug, Clone)]
pub struct At<T>(toml::Spanned<T>);

impl<T> At<T> {
    pub fn span(&self) -> Range<usize> {
        self.0.span()
    }
}
impl<T> Deref for At<T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.0.get_ref()
    }
}
impl<T: PartialEq> PartialEq for At<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}
impl<T: Eq> Eq for At<T> {}
impl<T: PartialOrd> PartialOrd for At<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        (**self).partial_cmp(&**other)
    }
}
impl<T: Ord> Ord for At<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (**self).cmp(&**other)
    }
}
impl<'de, T: Deserialize<'de>> Deserialize<'de> for At<T> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<At<T>, D::Error> {
        toml::Spanned::<T>::deserialize(d).map(At)
    }
}
impl<T: JsonSchema> JsonSchema for At<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }
    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }
    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }
    fn json_schema(g: &mut SchemaGenerator) -> Schema {
        T::json_schema(g)
    }
}

/// A text with its place.
pub type Text = At<String>;
/// A table's entries by name, each name and entry with its place.
pub type Named<T> = BTreeMap<Text, At<T>>;

/// The value of a template variable: a text, a whole number, or true or false.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Scalar(pub String);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Scalar, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Scalar;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a text, a whole number, or true or false")
            }
            fn visit_str<E>(self, v: &str) -> Result<Scalar, E> {
                Ok(Scalar(v.to_string()))
            }
            fn visit_i64<E>(self, v: i64) -> Result<Scalar, E> {
                Ok(Scalar(v.to_string()))
            }
            fn visit_bool<E>(self, v: bool) -> Result<Scalar, E> {
                Ok(Scalar(v.to_string()))
            }
        }
        d.deserialize_any(Visitor)
    }
}
impl JsonSchema for Scalar {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Scalar".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({ "type": ["string", "integer", "boolean"] })
    }
}

/// Everything that `site.toml` can hold.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Bootstead site file")]
pub struct SiteFile {
    /// What is true of the whole place.
    #[schemars(required)]
    pub site: Option<At<SiteTable>>,
    /// How Bootstead itself serves.
    #[schemars(required)]
    pub server: Option<At<ServerTable>>,
    /// How people get into installed nodes.
    pub access: Option<At<AccessTable>>,
    /// Networks by name, for example `[network.provisioning]`.
    #[serde(default)]
    pub network: Named<NetworkTable>,
    /// Roles by name: what a group of nodes becomes.
    #[serde(default)]
    pub role: Named<RoleTable>,
    /// Virtual addresses by name: they move between the nodes of some roles.
    #[serde(default)]
    pub vip: Named<VipTable>,
    /// What the cluster stands on. Without this table nodes are installed, and no cluster is made of them.
    pub cluster: Option<At<ClusterTable>>,
    /// Machines. Long lists are easier in nodes.csv or a spreadsheet.
    #[serde(default)]
    pub node: Vec<At<NodeTable>>,
    /// Template variables for all roles; a role's and a node's own value goes before.
    #[serde(default)]
    pub vars: BTreeMap<Text, At<Scalar>>,
}

/// `[site]`
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SiteTable {
    /// Name of the place: lower-case letters, digits, hyphens.
    #[schemars(required)]
    pub name: Option<Text>,
    /// DNS domain of the nodes, for example `site.example`.
    #[schemars(required)]
    pub domain: Option<Text>,
    /// A name of the tz database, for example `Europe/Berlin`. Default: `UTC`.
    pub timezone: Option<Text>,
    /// Locale, for example `de_DE.UTF-8`. Default: `en_US.UTF-8`.
    pub language: Option<Text>,
    /// Keyboard layout, for example `de`. Default: `us`.
    pub keyboard: Option<Text>,
    /// Tables of nodes beside this file. Default: `nodes.csv` and `nodes.xlsx`, where they exist.
    pub nodes: Option<Vec<Text>>,
}

/// `[server]`
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServerTable {
    /// Bootstead's own address on the provisioning network.
    #[schemars(required)]
    pub address: Option<Text>,
    /// Further addresses at which this or a second appliance may answer the agents of installed nodes one day.
    #[serde(default)]
    pub also: Vec<Text>,
    /// Network interfaces to serve on. Default: the one that has `address`.
    #[serde(default)]
    pub interfaces: Vec<Text>,
    /// TCP port for HTTP. Default: 80.
    #[schemars(range(min = 1, max = 65535))]
    pub http_port: Option<At<u16>>,
    /// TCP port for the agents of installed nodes (TLS). Default: 8443.
    #[schemars(range(min = 1, max = 65535))]
    pub agent_port: Option<At<u16>>,
    /// The network that machines boot from. Default: `provisioning`, or the only network.
    pub provisioning: Option<Text>,
    /// Whether Bootstead gives out addresses. Default: `full`.
    pub dhcp: Option<DhcpMode>,
    /// Whether unknown machines that network-boot get an address from the pool and are listed. They never get an
    /// installer. Default: false.
    pub discover: Option<At<bool>>,
    /// Addresses of other DHCP servers that may answer on the provisioning network.
    #[serde(default)]
    pub tolerate: Vec<Text>,
    /// Lease time: a number and `s`, `m`, `h` or `d`. Default: `12h`.
    pub lease: Option<Text>,
}

/// `[cluster]`
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClusterTable {
    /// The network over which the nodes talk to each other; every node of the cluster has an address on it.
    /// Default: the provisioning network.
    pub network: Option<Text>,
}

/// `[access]`
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AccessTable {
    /// Administrator account made on every node. Default: root only.
    pub user: Option<Text>,
    /// crypt(3) hash of the password of `user` and root, as `openssl passwd -6` prints it; never the password
    /// itself. Default: passwords are locked.
    pub password_hash: Option<Text>,
    /// Public SSH keys, one line each.
    #[serde(default)]
    pub ssh_keys: Vec<Text>,
}

/// `[network.NAME]`
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NetworkTable {
    /// The network, for example `10.77.0.0/24`.
    #[schemars(required)]
    pub cidr: Option<Text>,
    /// 802.1Q id, 1 to 4094. Default: untagged.
    #[schemars(range(min = 1, max = 4094))]
    pub vlan: Option<At<u16>>,
    /// Largest packet, 576 to 9216 bytes. Default: what the system takes (1500).
    #[schemars(range(min = 576, max = 9216))]
    pub mtu: Option<At<u16>>,
    /// The router. The default route goes through the provisioning network's, else the first network that has one.
    pub gateway: Option<Text>,
    /// Name servers.
    #[serde(default)]
    pub dns: Vec<Text>,
    /// Time servers: addresses or names.
    #[serde(default)]
    pub ntp: Vec<Text>,
    /// Addresses for machines that are not nodes yet, for example `10.77.0.200-10.77.0.250`; only on the
    /// provisioning network.
    pub pool: Option<Text>,
}

/// `[role.NAME]`
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RoleTable {
    /// A profile (see `bootstead tree`). Default: the one with the role's name.
    pub profile: Option<Text>,
    /// The cluster half: folders of `profiles/parts/`. Default: what the profile lists.
    pub parts: Option<Vec<Text>>,
    /// The operating system: an image (see `bootstead tree`).
    #[schemars(required)]
    pub image: Option<Text>,
    /// Who writes the operating system. Default: `installer`.
    pub lane: Option<At<Lane>>,
    /// How nodes are named: `{n}` is the node's number from 1, `{n:02}` the same with two digits.
    /// Default: `ROLE-{n:02}`.
    pub name: Option<Text>,
    /// How many nodes there must be. Default: any number that the profile allows.
    pub count: Option<At<u32>>,
    /// Which disk the operating system goes to; all that is said must hold, and exactly one disk must match.
    #[schemars(example = serde_json::json!({ "min_gib": 200 }))]
    pub disk: Option<At<DiskRule>>,
    /// Further disks.
    #[serde(default)]
    pub data: Vec<At<DataTable>>,
    /// Packages beside those of the profile.
    #[serde(default)]
    pub packages: Vec<Text>,
    /// Words for the installed system's kernel command line. Those that a machine needs to start at all (`console=`,
    /// `nomodeset`, `video=`, `pci=`, `acpi=`, `noapic`) the installer gets too.
    pub kernel_args: Option<Text>,
    /// Template variables of this role.
    #[serde(default)]
    pub vars: BTreeMap<Text, At<Scalar>>,
    /// Address range per network: node number n gets the n-th address.
    #[serde(default)]
    pub addresses: BTreeMap<Text, Text>,
    /// Ports and bonds. Default: the first port carries the provisioning network untagged and every other network
    /// of `addresses` with its VLAN tag.
    #[serde(default)]
    pub link: Vec<At<LinkTable>>,
}

/// `[[role.NAME.link]]`
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LinkTable {
    /// `nic1` (the node's first MAC address), `nic2`, …; or the name of a bond, for example `bond0`.
    #[schemars(required)]
    pub name: Option<Text>,
    /// Makes this link a bond.
    pub bond: Option<At<BondTable>>,
    /// The network without a tag on this link.
    pub untagged: Option<Text>,
    /// Networks with their VLAN tag on this link.
    #[serde(default)]
    pub tagged: Vec<Text>,
    /// Largest packet on the link. Default: the largest of its networks.
    #[schemars(range(min = 576, max = 9216))]
    pub mtu: Option<At<u16>>,
}

/// `bond = { … }` of a link
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BondTable {
    /// `802.3ad`, `active-backup`, `balance-xor`, … as the Linux bonding driver names them.
    #[schemars(required)]
    pub mode: Option<Text>,
    /// Ports by name: `["nic1", "nic2"]`.
    #[schemars(required)]
    pub members: Option<At<Vec<Text>>>,
    /// Further options of the driver, for example `{ miimon = 100, lacp_rate = "fast" }`.
    #[serde(default)]
    pub options: BTreeMap<Text, At<Scalar>>,
}

/// One entry of a role's `data`
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DataTable {
    /// Name for people and labels.
    #[schemars(required)]
    pub name: Option<Text>,
    /// Which disk.
    #[schemars(required)]
    #[schemars(example = serde_json::json!({ "serial": "S4EWNX0R123456" }))]
    pub rule: Option<At<DiskRule>>,
    /// Where it is mounted.
    #[schemars(required)]
    pub mount: Option<Text>,
    /// Whether its content stays when the node is installed again. Default: false.
    #[serde(default)]
    pub keep: bool,
}

/// `[vip.NAME]`
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VipTable {
    #[schemars(required)]
    pub network: Option<Text>,
    #[schemars(required)]
    pub address: Option<Text>,
}

/// `[[node]]`
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NodeTable {
    /// MAC address of the port that the machine boots from, in any usual spelling.
    pub mac: Option<Text>,
    /// The same for a machine with several ports: nic1, nic2, … in this order.
    #[serde(default)]
    pub macs: Vec<Text>,
    /// A role of this file.
    #[schemars(required)]
    pub role: Option<Text>,
    /// Host name. Default: by the role's naming rule.
    pub name: Option<Text>,
    /// Number within the role. Default: from a name that fits the naming rule, else the next free one.
    pub number: Option<At<u32>>,
    /// Address per network, in place of the role's range.
    #[serde(default)]
    pub addresses: BTreeMap<Text, Text>,
    /// Its own disk rule, in place of the role's.
    #[schemars(example = serde_json::json!({ "min_gib": 200 }))]
    pub disk: Option<At<DiskRule>>,
    /// Serial numbers of disks whose present content may be erased.
    #[serde(default)]
    pub erase: Vec<Text>,
    /// Kernel words of this machine, after the role's: of several `console=` the last one is the main console.
    #[schemars(example = "nomodeset console=ttyS1,115200")]
    pub kernel_args: Option<Text>,
    /// Template variables of this node.
    #[serde(default)]
    pub vars: BTreeMap<Text, At<Scalar>>,
}
