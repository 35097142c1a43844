//! Owns the HTTP routes by name and the types of what machines report. Every route says who may call it.
//!
//! | route | who may call it |
//! |---|---|
//! | `GET /boot.ipxe?mac=…`, `GET /autoexec.ipxe` | anybody on the provisioning network: it carries the installation's token only for the machine's own MAC while it is armed |
//! | `GET /a/MAC/TOKEN/FILE` | the installation that holds TOKEN |
//! | `GET,POST /v1/nodes/MAC/report` | the installation that holds the token (`token=` or `Authorization: Bearer`) |
//! | `GET /v1/nodes/MAC/orders` | the same (fast lane) |
//! | `GET,HEAD /images/NAME/PATH`, `GET,HEAD /loaders/FILE` | anybody on the provisioning network; nothing secret is in there |
//! | `GET /v1/board`, `GET /v1/events?after=&limit=&node=&wait=`, `POST /v1/nodes/NODE/{arm,hold,release,forget}`, `POST /v1/reload` | the operator: only on the UNIX socket, by its file mode |

use crate::base::Mac;
use serde::{Deserialize, Serialize};

/// `/boot.ipxe`: the machine's boot script.
pub const BOOT_SCRIPT: &str = "/boot.ipxe";
/// What iPXE of 2021 and later asks for first.
pub const AUTOEXEC: &str = "/autoexec.ipxe";

/// Path of an answer file.
pub fn answer_path(mac: Mac, token: &str, file: &str) -> String {
    format!("/a/{}/{token}/{file}", mac.hyphens())
}

/// Path that a node reports to.
pub fn report_path(mac: Mac) -> String {
    format!("/v1/nodes/{}/report", mac.hyphens())
}

/// Path of the fast lane's orders.
pub fn orders_path(mac: Mac) -> String {
    format!("/v1/nodes/{}/orders", mac.hyphens())
}

/// A report of an installation, as query or form parameters or JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Reported {
    pub event: ReportKind,
    /// What it is doing, in a few words.
    #[serde(default)]
    pub step: String,
    #[serde(default)]
    pub percent: Option<u8>,
    #[serde(default)]
    pub bytes: Option<u64>,
    /// Free text: an error, a disk's name, the hardware report as JSON.
    #[serde(default)]
    pub detail: String,
    /// One boot's own random number: the fast lane's grant is for one run.
    #[serde(default)]
    pub run: Option<String>,
}

/// What a report says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReportKind {
    /// The machine says what it is.
    Hardware,
    /// The fast lane asks to write; the reply 200 is the grant, 409 the refusal.
    Begin,
    Progress,
    Installed,
    Failed,
    /// The first boot from the disk.
    FirstBoot,
}

/// What the fast lane's system is told to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Orders {
    pub node: String,
    pub role: String,
    pub arming: u32,
    /// The rule for the one disk to write.
    pub disk: crate::base::DiskRule,
    /// Serial numbers of disks whose present content may be erased.
    pub erase: Vec<String>,
    /// URL of the root disk image's manifest.
    pub root: String,
    /// Files to put onto the written root: absolute path → content. Modes are 0644, 0600 below /etc/bootstead
    /// and /root, 0755 where the content begins with `#!`.
    pub files: Vec<OrderFile>,
}

/// One file for the written root.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OrderFile {
    pub path: String,
    pub mode: u32,
    pub content: String,
}

/// The board, as `ui::Board`; only on the control socket.
pub const BOARD: &str = "/v1/board";
/// The journal: `after=SEQ`, `limit=N`, `node=NAME|MAC`, `wait=SECONDS` (answers as soon as there is something).
/// The reply is a list of `store::Entry`.
pub const EVENTS: &str = "/v1/events";
/// Takes a changed site file into use; a refusal says why, and the old one goes on.
pub const RELOAD: &str = "/v1/reload";

/// Path of what a person decides about a node; `verb` is one of `arm`, `hold`, `release`, `forget`.
pub fn verb_path(node: &str, verb: &str) -> String {
    format!("/v1/nodes/{node}/{verb}")
}

/// What a person decided: the body of `POST /v1/nodes/NODE/VERB`. The reply is the node's state; a refusal is
/// `{"error": …, "help": …}`, each one sentence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// Who decided it, for the journal.
    pub by: String,
    /// Why; `hold` shows it on the machine's console.
    #[serde(default)]
    pub why: String,
}
