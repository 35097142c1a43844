//! Owns the HTTP routes by name and the types of what machines report. Every route says who may call it.
//!
//! | route | who may call it |
//! |---|---|
//! | `GET /boot.ipxe?mac=…`, `GET /autoexec.ipxe` | anybody on the provisioning network: it carries the installation's token only for the machine's own MAC while it is armed |
//! | `GET /a/MAC/TOKEN/FILE` | the installation that holds TOKEN |
//! | `GET,POST /v1/nodes/MAC/report` | the installation that holds the token (`token=` or `Authorization: Bearer`) |
//! | `GET /v1/nodes/MAC/orders` | the same (fast lane) |
//! | `GET /v1/nodes/MAC/agent.sh` | the same; the shell script that puts the agent on the installed node |
//! | `GET /agent/bootstead` | anybody on the provisioning network: this program itself |
//! | `POST /v1/agent/join` (TLS, port `agent_port`) | the installation that holds the token, once: from then on its agent's certificate counts |
//! | `POST /v1/agent/work`, `POST /v1/agent/report`, `POST /v1/agent/piece?look=&id=&at=`, `POST /v1/agent/take?look=&id=&at=` (TLS) | the agent whose certificate joined |
//! | `GET,HEAD /images/NAME/PATH`, `GET,HEAD /loaders/FILE` | anybody on the provisioning network; nothing secret is in there |
//! | `GET /v1/board`, `GET /v1/events?after=&limit=&node=&wait=`, `POST /v1/nodes/NODE/{arm,hold,release,forget}`, `POST /v1/reload`, `GET /v1/plan`, `POST /v1/apply`, `POST /v1/steps`, `POST /v1/look`, `GET /v1/looks`, `GET /v1/drills` | the operator: only on the UNIX socket, by its file mode |

use crate::base::{Mac, Sha256, Timestamp};
use crate::steps::Step;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

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
    /// Digest of that manifest, which names the digest of every piece: what the node fetches is what was meant.
    pub root_sha256: Sha256,
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
/// Takes a changed site file and changed images into use; a refusal says why, and the old ones go on.
pub const RELOAD: &str = "/v1/reload";
/// Its `changed` where the site is the same as before.
pub const NO_CHANGE: &str = "the same nodes";

/// Path of what a person decides about a node; `verb` is one of `arm`, `hold`, `release`, `forget`.
pub fn verb_path(node: &str, verb: &str) -> String {
    format!("/v1/nodes/{node}/{verb}")
}

/// What a person decided: the body of `POST /v1/nodes/NODE/VERB`. The reply is the node's state; a refusal is
/// `{"error": …, "help": …}`, each one sentence.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// Who decided it, for the journal: a login name.
    #[serde(default)]
    pub by: String,
    /// Why; `hold` shows it on the machine's console.
    #[serde(default)]
    pub why: String,
    /// Only of `arm`: serial numbers of disks whose content may be erased in this one installation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub erase: Vec<String>,
}

/// Path of the script that puts the agent on an installed node.
pub fn agent_script_path(mac: Mac) -> String {
    format!("/v1/nodes/{}/agent.sh", mac.hyphens())
}
/// This program, for nodes.
pub const AGENT_BINARY: &str = "/agent/bootstead";
pub const JOIN: &str = "/v1/agent/join";
pub const WORK: &str = "/v1/agent/work";
pub const REPORT: &str = "/v1/agent/report";
/// A piece of the file that a look collected: `look=NUMBER&id=ID&at=OFFSET`; the body is its bytes, at most [`PIECE_BYTES`].
pub const PIECE: &str = "/v1/agent/piece";
pub const PIECE_BYTES: usize = 1 << 20;
/// A piece of the archive that this node was asked to bring back: `look=NUMBER&id=ID&at=OFFSET`; the reply is its bytes.
pub const TAKE: &str = "/v1/agent/take";

/// The output of a look that collected a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collected {
    pub bytes: u64,
    pub sha256: Sha256,
}

/// An agent proves once that it belongs to an installation. Its TLS certificate is what counts afterwards.
#[derive(Clone, Serialize, Deserialize)]
pub struct Join {
    pub mac: Mac,
    pub token: String,
    pub version: String,
}

/// An agent asks for work; the reply comes when there is some, or after [`WAIT`] seconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkAsked {
    /// The node's clock, milliseconds since 1970.
    pub clock: i64,
    /// The newest plan that it has seen.
    pub generation: u32,
    /// What it is doing already.
    pub running: Vec<String>,
    pub version: String,
}

/// How long a request for work is kept waiting, in seconds.
pub const WAIT: u64 = 25;

/// What an agent is to do now. All tasks of one reply may be done side by side.
#[derive(Clone, Serialize, Deserialize)]
pub struct Work {
    /// The plan that the tasks belong to; an agent never works for an older one than it has seen.
    pub generation: u32,
    pub tasks: Vec<Task>,
    /// Where this server is reached, `address:port`: kept for the day when it has another address.
    pub servers: Vec<String>,
}

/// One step for one node, with its secrets in it.
#[derive(Clone, Serialize, Deserialize)]
pub struct Task {
    pub id: String,
    pub digest: Sha256,
    /// Seconds.
    pub timeout: u32,
    pub mode: Mode,
    /// Of a look: which request it answers.
    #[serde(default)]
    pub look: u64,
    pub step: Step,
}

/// What is done with a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// It is done.
    Apply,
    /// It is only said what would change.
    Compare,
}

/// What became of a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finished {
    pub generation: u32,
    pub id: String,
    pub digest: Sha256,
    pub mode: Mode,
    #[serde(default)]
    pub look: u64,
    /// Why it failed; none: it did not.
    pub failed: Option<String>,
    /// Whether something was (or, comparing, would be) changed.
    pub changed: bool,
    pub millis: u64,
    /// What it printed or the difference; at most [`OUTPUT`] bytes.
    pub output: String,
    /// Of a step of packages: which version of each the node has now.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub versions: BTreeMap<String, String>,
}

/// The longest output that is kept of a step, in bytes.
pub const OUTPUT: usize = 16 * 1024;

/// Which plan is in use and where its steps are.
pub const PLAN: &str = "/v1/plan";
/// Puts a plan to work.
pub const APPLY: &str = "/v1/apply";
/// Retry or skip of steps.
pub const STEPS: &str = "/v1/steps";
/// Has nodes looked at without changing them: verify and drift.
pub const LOOK: &str = "/v1/look";
/// What was found so far.
pub const LOOKS: &str = "/v1/looks";
/// What can be broken on purpose: a list of `cluster::drill::Listed`.
pub const DRILLS: &str = "/v1/drills";

/// Puts the plan of this digest to work: the one that a person has seen, or none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Apply {
    pub digest: Sha256,
    pub by: String,
    /// Goes through everything again, also what is done.
    #[serde(default)]
    pub again: bool,
}

/// A person decides about steps that failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepWish {
    /// None: every node.
    pub node: Option<String>,
    /// None: every failed step.
    pub step: Option<String>,
    pub by: String,
    /// Set: the step counts as done for this reason. None: it is tried again, where it failed or is named with its node.
    #[serde(default)]
    pub skip: Option<String>,
}

/// What is to be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LookKind {
    /// The parts' own checks.
    Verify,
    /// Every file, service, setting and package of the plan against the node.
    Drift,
    /// The same of what a new plan has still to do: what it would change.
    DryRun,
    /// A part's recovery: what its members say of their data, then beginning and joining.
    Recover,
    /// What a backup of the cluster takes is brought here.
    Backup,
    /// What a backup took of a part is brought back to its nodes.
    Restore,
    /// Something is broken on purpose: which member, measuring, breaking, mending.
    Drill,
}

/// What is wanted of a look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LookWish {
    pub kind: LookKind,
    /// Of a restore: the part. Of a recovery: the part, and `state`, `begin` or `join`. Of a drill: its name, `vip.power`, and `find`,
    /// `measure`, `break` or `mend`.
    #[serde(default)]
    pub part: Option<String>,
    #[serde(default)]
    pub phase: Option<String>,
    /// Only this node; of a drill: the one that it is about.
    #[serde(default)]
    pub node: Option<String>,
    /// What was asked before goes on beside it.
    #[serde(default)]
    pub beside: bool,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    pub node: String,
    pub id: String,
    pub title: String,
    /// When its agent was given it; by the server's clock.
    #[serde(default)]
    pub begun: Option<Timestamp>,
    /// None: no answer yet.
    pub found: Option<Found>,
}

/// What a look found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Found {
    pub failed: Option<String>,
    pub changed: bool,
    pub millis: u64,
    pub output: String,
}
