//! Owns `Board`: where every machine is, as plain data; `status --json` and `GET /v1/board` are this.

use crate::base::time::size;
use crate::base::{Mac, Timestamp};
use crate::boot::bound::unchanged;
use crate::cluster::Standing;
use crate::lifecycle::ledger::Taken;
use crate::lifecycle::patience::{Overdue, overdue};
use crate::lifecycle::{Ledger, Progress, Proofs, Record, State, Wire};
use crate::site::{Node, Site};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::Ipv4Addr;

/// Everything that a person wants to see at once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Board {
    pub site: String,
    /// Digest of the files that the site was made from: tells whether two boards are of the same site file.
    pub digest: String,
    /// When this was true.
    pub now: Timestamp,
    /// How many nodes are in each state, by [`Phase::name`]; states without a node are left out.
    pub totals: BTreeMap<String, usize>,
    /// The same per role, in order of role name.
    pub roles: Vec<RoleTotals>,
    /// Every node of the site, by name.
    pub nodes: Vec<NodeRow>,
    /// Machines that were heard but are not in the site file, the newest first.
    pub discovered: Vec<Discovered>,
    /// Other DHCP servers that were heard, the newest first.
    pub rivals: Vec<Rival>,
    /// The running server; none if the board was made from the journal alone.
    pub serving: Option<Serving>,
}

/// One role's nodes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RoleTotals {
    pub role: String,
    pub image: String,
    pub nodes: usize,
    pub states: BTreeMap<String, usize>,
}

/// One node of the site.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeRow {
    pub name: String,
    pub role: String,
    pub image: String,
    pub mac: Mac,
    /// Its address on the provisioning network.
    pub address: Option<Ipv4Addr>,
    pub phase: Phase,
    /// Since when it is in this phase; none if nothing happened yet.
    pub since: Option<Timestamp>,
    /// The installation that this is about, counted from 1; none before the first.
    pub arming: Option<u32>,
    /// Only while it installs or does its steps, or where an installation failed.
    pub progress: Option<Step>,
    /// Why it failed or is held, or which of its steps failed.
    pub why: Option<String>,
    /// Which proofs of completion arrived.
    pub proofs: Option<Proofs>,
    /// The last sign of life over any wire; none if it was never heard.
    pub last_seen: Option<Timestamp>,
    /// What that was.
    pub last: Option<String>,
    /// What its firmware says that it is.
    pub firmware: Option<String>,
    /// How often it asked for its boot script since it was armed.
    pub boots: u32,
    /// The last thing that was refused to it.
    pub refused: Option<String>,
    /// Somebody else uses its address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conflict: Option<String>,
    /// It waits for too long; says what to look at.
    pub overdue: Option<Late>,
}

/// A node's state as people read it. The order is the order of interest: what needs a person comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    Failed,
    /// Its agent does the plan's steps.
    Configuring,
    Installing,
    Booting,
    Armed,
    /// One proof of completion is still missing.
    Finishing,
    Held,
    Expected,
    Installed,
    /// Its agent is there; no plan has steps for it yet.
    Joined,
    /// Every step of the plan in use is done.
    Ready,
}

impl Phase {
    pub const ALL: [Phase; 11] = [
        Phase::Failed,
        Phase::Configuring,
        Phase::Installing,
        Phase::Booting,
        Phase::Armed,
        Phase::Finishing,
        Phase::Held,
        Phase::Expected,
        Phase::Installed,
        Phase::Joined,
        Phase::Ready,
    ];
    /// Of the installation alone.
    pub fn of(state: &State) -> Phase {
        match state {
            State::Expected => Phase::Expected,
            State::Armed { .. } => Phase::Armed,
            State::Booting { .. } => Phase::Booting,
            State::Installing { .. } => Phase::Installing,
            State::Installed { proofs, .. } if !proofs.both() => Phase::Finishing,
            State::Installed { .. } => Phase::Installed,
            State::Failed { .. } => Phase::Failed,
            State::Held { .. } => Phase::Held,
        }
    }
    pub fn name(self) -> &'static str {
        match self {
            Phase::Failed => "failed",
            Phase::Configuring => "configuring",
            Phase::Installing => "installing",
            Phase::Booting => "booting",
            Phase::Armed => "armed",
            Phase::Finishing => "finishing",
            Phase::Held => "held",
            Phase::Expected => "expected",
            Phase::Installed => "installed",
            Phase::Joined => "joined",
            Phase::Ready => "ready",
        }
    }
    /// Whether something will happen without a person.
    pub fn moves(self) -> bool {
        matches!(
            self,
            Phase::Armed | Phase::Booting | Phase::Installing | Phase::Finishing | Phase::Configuring
        )
    }
    /// Whether all that was asked for is done.
    pub fn is_done(self) -> bool {
        matches!(self, Phase::Installed | Phase::Joined | Phase::Ready)
    }
}

/// How far an installation is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The installer's own words.
    pub step: String,
    /// 0 to 100.
    pub percent: Option<u8>,
    /// Bytes written or fetched so far, where the step counts them.
    pub bytes: Option<u64>,
    pub at: Timestamp,
}

/// A wait that has become too long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Late {
    /// In milliseconds.
    pub for_millis: u64,
    /// What is late and what to look at.
    pub look_at: String,
}

/// A machine that is not in the site file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Discovered {
    pub mac: Mac,
    pub address: Option<Ipv4Addr>,
    pub firmware: Option<String>,
    /// The firmware's UUID: for the label on the box, never an identity.
    pub uuid: Option<String>,
    pub first_seen: Timestamp,
    pub last_seen: Timestamp,
    pub last: Option<String>,
    /// The node whose address is like this one but for a digit or two: a slip in the site file, or in the customer's table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub like: Option<String>,
    /// Set only for a machine that once was in the site file and that something happened to.
    pub phase: Option<Phase>,
}

/// Another DHCP server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rival {
    pub address: Ipv4Addr,
    pub interface: String,
    /// What it offered, for people.
    pub offer: String,
    pub last_heard: Timestamp,
    /// The site file says that it may answer there.
    pub tolerated: bool,
}

/// Facts of the running server; `serve` fills them in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Serving {
    pub version: String,
    pub pid: u32,
    pub since: Timestamp,
    pub interfaces: Vec<String>,
    /// `http://10.77.0.1`
    pub url: String,
    /// What DHCP does now, for people: `full`, `off`, `stopped: another server answers`.
    pub dhcp: String,
    /// What is wrong with the server itself (the journal cannot be written, the address is gone); one sentence each.
    pub trouble: Vec<String>,
    pub counters: Counters,
}

/// Counted since the server started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counters {
    /// DHCP requests read, answered, and ignored because they are none of our business (field-pain #10).
    pub dhcp_heard: u64,
    pub dhcp_answered: u64,
    pub dhcp_ignored: u64,
    pub tftp_transfers: u64,
    pub http_requests: u64,
    /// HTTP requests being answered now.
    pub http_active: u64,
    /// Bytes sent over TFTP and HTTP.
    pub bytes_sent: u64,
}

/// The board at `now`; `standings` are the nodes' places in the plan in use, `serving` is what the running server says
/// of itself, if one runs.
pub fn board(
    site: &Site,
    ledger: &Ledger,
    standings: &BTreeMap<Mac, Standing>,
    now: Timestamp,
    serving: Option<Serving>,
) -> Board {
    let nodes: Vec<NodeRow> =
        site.nodes.iter().map(|n| row(site, ledger, standings.get(&n.mac()), n, now)).collect();
    let mut discovered: Vec<Discovered> = ledger
        .records()
        .filter(|(mac, _)| site.node_by_mac(*mac).is_none())
        .map(|(mac, r)| stranger(site, ledger, mac, r, now))
        .collect();
    discovered.sort_by(|a, b| b.last_seen.cmp(&a.last_seen).then(a.mac.cmp(&b.mac)));
    let mut rivals: Vec<Rival> = ledger
        .rivals()
        .map(|(address, interface, offer, last_heard)| Rival {
            address,
            interface: interface.to_string(),
            offer: offer.to_string(),
            last_heard,
            tolerated: site.server.tolerate.contains(&address),
        })
        .collect();
    rivals.sort_by(|a, b| b.last_heard.cmp(&a.last_heard).then(a.address.cmp(&b.address)));
    let (totals, roles) = summaries(&nodes);
    let (name, digest) = (site.name.clone(), site.digest.to_string());
    Board { site: name, digest, now, totals, roles, nodes, discovered, rivals, serving }
}

/// How many nodes are in each state: of the site, and of each role.
fn summaries(nodes: &[NodeRow]) -> (BTreeMap<String, usize>, Vec<RoleTotals>) {
    let mut totals = BTreeMap::new();
    let mut roles: BTreeMap<&str, RoleTotals> = BTreeMap::new();
    for n in nodes {
        *totals.entry(n.phase.name().to_string()).or_insert(0) += 1;
        let role = roles.entry(&n.role).or_insert_with(|| RoleTotals {
            role: n.role.clone(),
            image: n.image.clone(),
            nodes: 0,
            states: BTreeMap::new(),
        });
        role.nodes += 1;
        *role.states.entry(n.phase.name().to_string()).or_insert(0) += 1;
    }
    (totals, roles.into_values().collect())
}

/// Where a node is that has its system and its agent.
fn making(standing: Option<&Standing>) -> Phase {
    match standing {
        None => Phase::Joined,
        Some(s) if s.complete() => Phase::Ready,
        Some(_) => Phase::Configuring,
    }
}

fn row(site: &Site, ledger: &Ledger, standing: Option<&Standing>, node: &Node, now: Timestamp) -> NodeRow {
    let role = site.role(node);
    let mac = node.mac();
    let state = ledger.state(mac);
    let record = ledger.record(mac);
    let agent = ledger.work().agent(mac).filter(|a| state.arming() == Some(a.arming));
    let phase = match (Phase::of(state), agent) {
        (Phase::Installed, Some(_)) => making(standing),
        (phase, _) => phase,
    };
    let standing = standing.filter(|_| matches!(phase, Phase::Configuring | Phase::Ready));
    let since = match (phase, agent, standing) {
        (Phase::Joined, Some(agent), _) => Some(agent.since),
        (Phase::Configuring, Some(agent), _) => {
            ledger.work().plan.as_ref().map(|p| p.since.max(agent.since)).or(Some(agent.since))
        }
        (Phase::Ready, _, Some(s)) => s.last.or(state.since()),
        _ => state.since(),
    };
    let heard = record.filter(|r| r.last.is_some() || r.progress.is_some() || r.arch.is_some());
    NodeRow {
        name: node.name.clone(),
        role: role.name.clone(),
        image: role.image.clone(),
        mac,
        address: site.boot_address(node).or_else(|| ledger.lease(mac).map(|l| l.address)),
        phase,
        since,
        arming: state.arming(),
        progress: match standing {
            Some(s) if phase == Phase::Configuring => Some(Step {
                step: s.doing.clone().unwrap_or_default(),
                percent: Some(s.percent()),
                bytes: None,
                at: s.last.or(since).unwrap_or(now),
            }),
            _ => record
                .filter(|_| matches!(phase, Phase::Installing | Phase::Failed))
                .and_then(|r| r.progress.as_ref())
                .map(step_of),
        },
        why: match state {
            State::Failed { why, .. } | State::Held { why, .. } => Some(why.clone()),
            _ => standing.and_then(|s| s.failed.clone()),
        },
        proofs: match state {
            State::Installed { proofs, .. } => Some(*proofs),
            _ => None,
        },
        last_seen: heard.map(|r| r.last_seen),
        last: record.and_then(last_of),
        firmware: record.and_then(firmware_of),
        boots: record.map_or(0, |r| r.boots),
        refused: unchanged(site, ledger, node).err().or_else(|| record.and_then(|r| r.refused.clone())),
        conflict: record.and_then(|r| r.taken).filter(|t| t.until > now).map(conflict),
        overdue: record.and_then(|r| overdue(r, now)).map(|o| late(o, site, node, phase)),
    }
}

/// The one node that an unknown machine is probably meant to be: never heard itself, and its address but a slip away.
/// Machines of one delivery have neighbouring addresses, which differ as little: of several such nodes none is named.
fn like(site: &Site, ledger: &Ledger, mac: Mac) -> Option<String> {
    let near = |n: &&Node| {
        n.macs.iter().any(|m| mac.distance(*m) <= 2)
            && ledger.record(n.mac()).is_none_or(|r| r.last.is_none())
    };
    let mut found = site.nodes.iter().filter(near);
    match (found.next(), found.next()) {
        (Some(node), None) => Some(node.name.clone()),
        _ => None,
    }
}

/// Somebody else has a node's address: two machines with one address disturb each other, whoever of them came first.
fn conflict(t: Taken) -> String {
    match t.by {
        Some(by) => format!("its address {} is used by {by}, which is not this node", t.address),
        None => format!("its address {} is used by another machine, it says", t.address),
    }
}

fn stranger(site: &Site, ledger: &Ledger, mac: Mac, r: &Record, now: Timestamp) -> Discovered {
    Discovered {
        mac,
        address: ledger.lease(mac).filter(|l| l.until > now).map(|l| l.address),
        firmware: firmware_of(r),
        uuid: r.uuid.clone(),
        first_seen: r.first_seen,
        last_seen: r.last_seen,
        last: last_of(r),
        like: like(site, ledger, mac),
        phase: (r.state != State::Expected).then(|| Phase::of(&r.state)),
    }
}

fn late(o: Overdue, site: &Site, node: &Node, phase: Phase) -> Late {
    let events = format!("`bootstead events --node {}`", node.name);
    let mut look_at = o.look_at.replace("`bootstead events --node`", &events);
    // Field-pain #28: before the installed system runs, nobody at this end answers the switch's LACP.
    if matches!(phase, Phase::Armed | Phase::Booting | Phase::Installing)
        && let Some(bond) = site.lacp_bond(node)
    {
        let _ = write!(
            look_at,
            "; its ports become {bond}, which speaks LACP, and until then the switch must use each of them alone (\"LACP \
             fallback\")"
        );
    }
    Late { for_millis: o.for_millis, look_at }
}

fn step_of(p: &Progress) -> Step {
    Step { step: p.step.clone(), percent: p.percent.map(|p| p.min(100)), bytes: p.bytes, at: p.at }
}

fn last_of(r: &Record) -> Option<String> {
    r.last.as_ref().map(|(wire, text)| {
        let wire = match wire {
            Wire::Dhcp => "DHCP",
            Wire::Tftp => "TFTP",
            Wire::Http => "HTTP",
        };
        format!("{wire} {text}")
    })
}

fn firmware_of(r: &Record) -> Option<String> {
    r.arch.map(|a| match a.machine() {
        Some(_) => a.name().to_string(),
        None => format!("{} ({}), no loader", a.name(), a.0),
    })
}

impl NodeRow {
    /// It stands still at a step that failed, or goes on with what does not depend on it.
    pub fn step_failed(&self) -> bool {
        self.phase == Phase::Configuring && self.why.is_some()
    }
}

impl Step {
    pub fn sentence(&self) -> String {
        match self.bytes {
            Some(b) => format!("{} {}", self.step, size(b)).trim().to_string(),
            None => self.step.clone(),
        }
    }
}

impl Board {
    /// The nodes in the order in which a person wants to see them: trouble first, then what moves, then the rest.
    pub fn by_interest(&self) -> Vec<&NodeRow> {
        let mut rows: Vec<&NodeRow> = self.nodes.iter().collect();
        rows.sort_by(|a, b| {
            let key = |r: &NodeRow| (!r.needs_a_look(), r.phase);
            key(a).cmp(&key(b)).then_with(|| a.name.cmp(&b.name))
        });
        rows
    }

    /// The board with only the nodes that `keep` wants, and without unknown machines.
    pub fn only(mut self, keep: impl Fn(&NodeRow) -> bool) -> Board {
        self.nodes.retain(keep);
        self.discovered.clear();
        (self.totals, self.roles) = summaries(&self.nodes);
        self
    }

    /// How many nodes are in `phase`.
    pub fn count(&self, phase: Phase) -> usize {
        self.totals.get(phase.name()).copied().unwrap_or(0)
    }

    /// Nothing more happens without a person.
    pub fn is_settled(&self) -> bool {
        self.nodes.iter().all(|n| !n.phase.moves() || n.step_failed())
    }
}
