//! Owns `Event`: a fact that happened. Events are the only thing that is ever stored.

use crate::base::{ClientArch, Mac, Sha256, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// One fact: when, about which machine, what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    pub at: Timestamp,
    /// The node's own (first) MAC address; a stranger's address; or none for facts about the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
    #[serde(flatten)]
    pub what: What,
}

/// How a node is installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Lane {
    /// The distribution's own installer with the role's answers.
    #[default]
    Installer,
    /// Our own small system writes the role's prepared root.
    Fast,
}

/// Over what a machine was heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Wire {
    Dhcp,
    Tftp,
    Http,
}

/// What an answer to a request begins with that leaves the machine waiting; the reason follows, in parentheses.
pub const WAITS: &str = "script: wait ";

/// What happened, in the past tense.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
pub enum What {
    // about the cluster
    /// A plan was taken into use: from now on its steps are done. `elected` says which node is a part's first.
    Planned {
        generation: u32,
        digest: Sha256,
        steps: usize,
        by: String,
        /// Everything is gone through again, also what is done.
        again: bool,
        elected: BTreeMap<String, Mac>,
        /// Which version of each rotated secret it carries; the others are at their first.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        rotated: BTreeMap<String, u32>,
    },
    /// An agent proved that it belongs to this installation; from now on its own key counts.
    AgentJoined {
        arming: u32,
        /// SHA-256 of its certificate.
        key: Sha256,
        version: String,
    },
    StepDone {
        generation: u32,
        step: String,
        digest: Sha256,
        changed: bool,
        millis: u64,
        output: String,
        /// It was done once for the whole cluster.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        once: bool,
        /// Of a step of packages: which version of each the node has now.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        versions: BTreeMap<String, String>,
    },
    StepFailed {
        generation: u32,
        step: String,
        digest: Sha256,
        why: String,
        output: String,
    },
    /// A person wants it tried again.
    StepRetried {
        step: String,
        by: String,
    },
    /// A person says that it counts as done.
    StepSkipped {
        step: String,
        digest: Sha256,
        why: String,
        by: String,
    },
    /// What is on the node is not what the step made: it is done again.
    StepDrifted {
        step: String,
        detail: String,
    },

    // about the server
    /// A server started on this journal.
    Started {
        version: String,
    },
    /// A site file was taken into use.
    SiteLoaded {
        digest: Sha256,
        nodes: usize,
    },
    /// Another DHCP server was heard on one of our interfaces.
    RivalHeard {
        interface: String,
        server: Ipv4Addr,
        offer: String,
    },

    // what a person decided
    Armed {
        arming: u32,
        by: String,
        image: String,
        role: String,
        /// Serial numbers of disks that may be erased in this one installation, beside those of the site file.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        erase: Vec<String>,
        /// The digest of what was shown and confirmed (`boot::bound`).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bound: Option<Sha256>,
    },
    /// An arming that nothing has come of yet is taken back: the node is what it was before.
    Disarmed {
        by: String,
    },
    Held {
        why: String,
        by: String,
    },
    Released {
        by: String,
    },
    Forgotten {
        by: String,
    },

    // what was heard and answered
    /// It asked over `wire`; `asked` and `answered` are for people. `boot` is true for a network boot
    /// (firmware or iPXE), false for an operating system or installer that merely wants an address.
    Asked {
        wire: Wire,
        boot: bool,
        asked: String,
        answered: String,
    },
    /// Facts of its firmware, recorded when they change.
    Identified {
        arch: Option<ClientArch>,
        uuid: Option<String>,
        vendor: Option<String>,
    },
    Leased {
        address: Ipv4Addr,
        until: Timestamp,
    },
    LeaseReleased {
        address: Ipv4Addr,
    },
    /// Somebody else uses this address; it is not given out before `until`.
    AddressInUse {
        address: Ipv4Addr,
        by: Option<Mac>,
        until: Timestamp,
    },
    /// Its answers (or, in the fast lane, the grant to write) left: the arming is used up.
    AnswersServed {
        arming: u32,
        lane: Lane,
        file: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        run: Option<String>,
    },
    /// It was sent to its own disk.
    SentToDisk {
        how: String,
    },
    /// Something was refused to it.
    Refused {
        what_asked: String,
        why: String,
    },

    // what it reported
    Progressed {
        arming: u32,
        step: String,
        percent: Option<u8>,
        bytes: Option<u64>,
    },
    InstallReported {
        arming: u32,
        ok: bool,
        detail: String,
    },
    FirstBooted {
        arming: u32,
        detail: String,
    },
    /// What the machine is: the fast lane's hardware report, as JSON text.
    Hardware {
        report: String,
    },
    /// A line of the installer's own log.
    Log {
        line: String,
    },
}

impl Event {
    pub fn new(at: Timestamp, mac: Mac, what: What) -> Event {
        Event { at, mac: Some(mac), what }
    }
    pub fn server(at: Timestamp, what: What) -> Event {
        Event { at, mac: None, what }
    }
}

impl What {
    /// One line for a person.
    pub fn sentence(&self) -> String {
        match self {
            What::Planned { generation, digest, steps, by, again, .. } => {
                let again = if *again { ", all of it again" } else { "" };
                format!(
                    "plan {generation} ({}) with {steps} steps put to work by {by}{again}",
                    digest.short()
                )
            }
            What::AgentJoined { version, .. } => format!("its agent {version} joined"),
            What::StepDone { step, changed, millis, .. } => {
                let what = if *changed { "done" } else { "nothing to do" };
                format!("{step}: {what} ({}.{} s)", millis / 1000, millis % 1000 / 100)
            }
            What::StepFailed { step, why, .. } => format!("{step} failed: {why}"),
            What::StepRetried { step, by } => format!("{step} is tried again, says {by}"),
            What::StepSkipped { step, why, by, .. } => format!("{step} counts as done, says {by}: {why}"),
            What::StepDrifted { step, detail } => format!("{step} is not as it was made: {detail}"),
            What::Started { version } => format!("bootstead {version} started"),
            What::SiteLoaded { digest, nodes } => {
                format!("site {} with {nodes} nodes in use", digest.short())
            }
            What::RivalHeard { interface, server, offer } => {
                format!("another DHCP server, {server}, answers on {interface}: {offer}")
            }
            What::Armed { arming, by, image, role, erase, .. } => {
                let approved = match erase.as_slice() {
                    [] => String::new(),
                    disks => format!("; whatever is on disk {} may be erased", disks.join(" and ")),
                };
                format!("armed by {by} for one installation of {image} as {role} (arming {arming}){approved}")
            }
            What::Disarmed { by } => format!("disarmed by {by}"),
            What::Held { why, by } => format!("held by {by}: {why}"),
            What::Released { by } => format!("released by {by}"),
            What::Forgotten { by } => format!("forgotten by {by}"),
            What::Asked { asked, answered, .. } => format!("{asked} → {answered}"),
            What::Identified { arch, uuid, vendor } => {
                let mut parts = Vec::new();
                if let Some(a) = arch {
                    parts.push(a.name().to_string());
                }
                parts.extend(vendor.clone());
                parts.extend(uuid.as_ref().map(|u| format!("UUID {u}")));
                format!("is {}", parts.join(", "))
            }
            What::Leased { address, until } => format!("has {address} until {}", until.clock()),
            What::LeaseReleased { address } => format!("gave back {address}"),
            What::AddressInUse { address, by, .. } => match by {
                Some(mac) => format!("{address} is already used by {mac}; set aside"),
                None => format!("{address} is already used by somebody; set aside"),
            },
            What::AnswersServed { lane: Lane::Installer, file, .. } => {
                format!("took its answers ({file}): the installation has begun")
            }
            What::AnswersServed { lane: Lane::Fast, .. } => {
                "was granted to write its disk: the installation has begun".to_string()
            }
            What::SentToDisk { how } => format!("sent to its own disk ({how})"),
            What::Refused { what_asked, why } => format!("refused {what_asked}: {why}"),
            What::Progressed { step, percent, bytes, .. } => {
                let mut out = step.clone();
                if let Some(p) = percent {
                    out.push_str(&format!(" {p}%"));
                }
                if let Some(b) = bytes {
                    out.push_str(&format!(" {}", crate::base::time::size(*b)));
                }
                out
            }
            What::InstallReported { ok: true, detail, .. } => {
                format!("reported its installation done {detail}")
            }
            What::InstallReported { ok: false, detail, .. } => {
                format!("reported that its installation failed: {detail}")
            }
            What::FirstBooted { detail, .. } => format!("called home from its own disk {detail}"),
            What::Hardware { .. } => "reported its hardware".to_string(),
            What::Log { line } => line.clone(),
        }
        .trim_end()
        .to_string()
    }
}
