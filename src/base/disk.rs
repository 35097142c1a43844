//! Owns the rules that name disks: which one the operating system goes to, which ones hold data.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Names exactly one disk of a machine; all that are given must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DiskRule {
    /// The disk's serial number, exactly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// The World Wide Name, as udev shows it (`0x…`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wwn: Option<String>,
    /// The model, a part of it is enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Path below /dev/disk/by-path, exactly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by_path: Option<String>,
    /// Smallest size, in GiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_gib: Option<u64>,
    /// Largest size, in GiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_gib: Option<u64>,
    /// Whether to take the smallest or largest where several match; equal sizes are still refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pick: Option<Pick>,
}

/// How one of several matching disks is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Pick {
    Smallest,
    Largest,
}

/// A further disk, with its file system's mount point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DataDisk {
    pub name: String,
    pub rule: DiskRule,
    pub mount: String,
    /// Keep what is on it when the node is installed again.
    pub keep: bool,
}
