//! profiles/ROLE/role.toml → [`Profile`]: what a node becomes: the install-time half here, the cluster half in [`part`].

pub mod page;
pub mod part;
pub mod secret;

pub use part::Part;

use crate::problem::Problem;
use crate::tree::Tree;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One folder of `profiles/`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// The folder's name; filled when read.
    #[serde(skip)]
    pub name: String,
    pub summary: String,
    #[serde(default)]
    pub count: Count,
    /// Packages by package manager: `dnf`, `apt`.
    #[serde(default)]
    pub packages: BTreeMap<String, Vec<String>>,
    /// Services enabled at the end of the installation.
    #[serde(default)]
    pub services: Vec<String>,
    /// Open ports, `8774/tcp`; ssh is always open.
    #[serde(default)]
    pub ports: Vec<String>,
    #[serde(default)]
    pub selinux: Selinux,
    /// sysctl settings, written to /etc/sysctl.d/90-bootstead.conf.
    #[serde(default)]
    pub sysctl: BTreeMap<String, String>,
    /// File systems on the system disk beside /boot and the firmware's own.
    #[serde(default)]
    pub volumes: Vec<Volume>,
    /// Whether the system disk uses LVM.
    #[serde(default = "yes")]
    pub lvm: bool,
    /// Whether clustered services find each other through etcd discovery (Ignition families).
    #[serde(default)]
    pub etcd: bool,
    /// The cluster half: folders of `profiles/parts/`, for the agent, in order.
    #[serde(default)]
    pub parts: Vec<String>,
    /// Template variables that this role's pieces use.
    #[serde(default)]
    pub vars: BTreeMap<String, Var>,
}

fn yes() -> bool {
    true
}

/// How many nodes a role may have.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Count {
    #[serde(default)]
    pub min: u32,
    #[serde(default)]
    pub max: Option<u32>,
    /// The members vote: an even number is refused.
    #[serde(default)]
    pub quorum: bool,
}

/// SELinux mode of the installed system (EL families).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Selinux {
    #[default]
    Enforcing,
    Permissive,
    Disabled,
}

/// One file system on the system disk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Volume {
    /// Name of the logical volume (`root`, `var`, `swap`).
    pub name: String,
    /// Mount point; `swap` for swap space.
    pub mount: String,
    /// Size in MiB; the least, where it grows.
    pub mib: u64,
    #[serde(default)]
    pub grow: bool,
    /// Largest size in MiB when growing.
    #[serde(default)]
    pub max_mib: Option<u64>,
}

/// A template variable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Var {
    pub help: String,
    /// None: the site must give a value.
    #[serde(default)]
    pub default: Option<String>,
}

/// Reads `profiles/*/role.toml`; what cannot be read is left out and reported.
pub fn read(tree: &Tree) -> (BTreeMap<String, Profile>, Vec<Problem>) {
    let (mut profiles, mut problems) = (BTreeMap::new(), Vec::new());
    for (file, content) in tree.below("profiles") {
        let Some(name) = file.strip_suffix("/role.toml").filter(|n| !n.contains('/')) else { continue };
        match crate::tree::toml_file::<Profile>(&format!("profiles/{file}"), content) {
            Ok(profile) => {
                profiles.insert(name.to_string(), Profile { name: name.to_string(), ..profile });
            }
            Err(p) => problems.push(p),
        }
    }
    (profiles, problems)
}
