//! Owns `Ledger`: everything that is known about machines, as a fold over events.

use super::event::{Event, WAITS, What, Wire};
use super::state::State;
use super::step::{Refused, step};
use super::work::Work;
use crate::base::{ClientArch, Mac, Sha256, Timestamp};
use serde::Serialize;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// What is known of one machine. Machines that the site does not know have one too: they are "discovered".
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Record {
    pub state: State,
    /// The state before its last arming, for whoever takes that back.
    #[serde(skip)]
    pub before: Option<State>,
    /// The highest arming number ever used; numbers are never used twice.
    pub armings: u32,
    pub first_seen: Timestamp,
    /// The last sign of life over any wire.
    pub last_seen: Timestamp,
    /// The last sign that its operating system or installer was at work. A machine that only network-boots, over and
    /// over, is seen and is not at work.
    pub at_work: Timestamp,
    /// When it first network-booted after something was last at work on it.
    pub rebooted: Option<Timestamp>,
    /// How often it asked to boot from the network since its last arming.
    pub boots: u32,
    pub arch: Option<ClientArch>,
    pub uuid: Option<String>,
    pub vendor: Option<String>,
    pub progress: Option<Progress>,
    /// Over what it was last heard, and what that was.
    pub last: Option<(Wire, String)>,
    /// The last refusal, for people.
    pub refused: Option<String>,
    /// Serial numbers of disks that the last arming approved for erasing, beside those of the site file.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub approved: Vec<String>,
    /// Somebody else was heard to use an address of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub taken: Option<Taken>,
    /// What the last arming was for: only that is installed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bound: Option<Sha256>,
    /// The fast lane's hardware report, as JSON text.
    pub hardware: Option<String>,
}

impl Record {
    fn new(at: Timestamp) -> Record {
        Record {
            state: State::Expected,
            before: None,
            armings: 0,
            first_seen: at,
            last_seen: at,
            at_work: at,
            rebooted: None,
            boots: 0,
            arch: None,
            uuid: None,
            vendor: None,
            progress: None,
            last: None,
            refused: None,
            approved: Vec::new(),
            taken: None,
            bound: None,
            hardware: None,
        }
    }
}

impl Record {
    /// Its operating system or installer gave a sign of life at `at`.
    fn works(&mut self, at: Timestamp) {
        self.last_seen = at;
        self.at_work = at;
        self.rebooted = None;
    }
}

/// Somebody else uses an address: who, if that was heard, and until when it is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Taken {
    pub address: Ipv4Addr,
    pub by: Option<Mac>,
    pub until: Timestamp,
}

/// How far an installation is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Progress {
    pub at: Timestamp,
    pub step: String,
    pub percent: Option<u8>,
    /// Bytes written or fetched so far, where the step counts them.
    pub bytes: Option<u64>,
}

/// An address that a machine holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Lease {
    pub address: Ipv4Addr,
    pub until: Timestamp,
}

/// All machines, leases and set-aside addresses.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Ledger {
    records: BTreeMap<Mac, Record>,
    leases: BTreeMap<Mac, Lease>,
    holders: BTreeMap<Ipv4Addr, Mac>,
    set_aside: BTreeMap<Ipv4Addr, Timestamp>,
    /// The last rival DHCP server heard, by its address: interface, what it offered, when.
    rivals: BTreeMap<Ipv4Addr, (String, String, Timestamp)>,
    work: Work,
}

impl Ledger {
    /// Takes one event in. Refused events change nothing.
    pub fn apply(&mut self, event: &Event) -> Result<(), Refused> {
        let Event { at, mac, what } = event;
        let Some(mac) = mac else {
            self.work.apply(*at, None, what);
            if let What::RivalHeard { interface, server, offer } = what {
                self.rivals.insert(*server, (interface.clone(), offer.clone(), *at));
            }
            if let What::AddressInUse { address, until, .. } = what {
                self.set_aside.insert(*address, *until);
            }
            return Ok(());
        };
        let known = self.records.get(mac);
        let next = step(known.map_or(&State::Expected, |r| &r.state), what, *at)?;
        if let What::Armed { arming, .. } = what
            && *arming <= known.map_or(0, |r| r.armings)
        {
            return Err(Refused(format!("arming {arming} was used before")));
        }
        self.work.admits(Some(*mac), what)?;
        self.work.apply(*at, Some(*mac), what);
        let r = self.records.entry(*mac).or_insert_with(|| Record::new(*at));
        let was = std::mem::replace(&mut r.state, next);
        match what {
            What::Armed { arming, erase, bound, .. } => {
                r.armings = *arming;
                r.before = Some(was);
                r.approved = erase.clone();
                r.bound = *bound;
                r.boots = 0;
                r.progress = None;
                r.refused = None;
                r.rebooted = None;
            }
            What::Disarmed { .. } => {
                r.state = r.before.take().unwrap_or(State::Expected);
                r.refused = None;
            }
            What::Forgotten { .. } => {
                *r = Record { armings: r.armings, ..Record::new(*at) };
                self.let_go(*mac);
                return Ok(());
            }
            What::Asked { wire, boot, asked, answered } => {
                r.last_seen = *at;
                match boot {
                    true => r.rebooted = r.rebooted.or(Some(*at)),
                    false => r.works(*at),
                }
                r.boots += u32::from(*boot && *wire == Wire::Http);
                // Why a machine waits is what one wants to know of it then.
                let last = answered.strip_prefix(WAITS).map(|why| format!("waits {why}"));
                r.last = Some((*wire, last.unwrap_or_else(|| asked.clone())));
            }
            What::Identified { arch, uuid, vendor } => {
                r.arch = arch.or(r.arch);
                r.uuid = uuid.clone().or(r.uuid.take());
                r.vendor = vendor.clone().or(r.vendor.take());
            }
            What::Leased { address, until } => {
                self.let_go(*mac);
                self.leases.insert(*mac, Lease { address: *address, until: *until });
                self.holders.insert(*address, *mac);
            }
            What::LeaseReleased { address } => {
                if self.leases.get(mac).is_some_and(|l| l.address == *address) {
                    self.let_go(*mac);
                }
            }
            What::AddressInUse { address, until, by } => {
                self.set_aside.insert(*address, *until);
                r.taken = Some(Taken { address: *address, by: *by, until: *until });
                if self.leases.get(mac).is_some_and(|l| l.address == *address) {
                    self.let_go(*mac);
                }
            }
            What::Progressed { step, percent, bytes, .. } => {
                r.works(*at);
                r.progress = Some(Progress { at: *at, step: step.clone(), percent: *percent, bytes: *bytes });
            }
            What::InstallReported { .. } | What::FirstBooted { .. } | What::AnswersServed { .. } => {
                r.works(*at);
                r.refused = None;
            }
            What::Log { .. } | What::AgentJoined { .. } => r.works(*at),
            What::Refused { why, .. } => r.refused = Some(why.clone()),
            What::Hardware { report } => r.hardware = Some(report.clone()),
            What::Held { .. } | What::Released { .. } | What::SentToDisk { .. } => {}
            What::StepDone { .. }
            | What::StepFailed { .. }
            | What::StepRetried { .. }
            | What::StepSkipped { .. }
            | What::StepDrifted { .. } => {}
            What::Planned { .. }
            | What::Started { .. }
            | What::SiteLoaded { .. }
            | What::RivalHeard { .. } => {}
        }
        Ok(())
    }

    /// Ends the lease of `mac`. Its address may have gone to another machine since it ran out: that one keeps it.
    fn let_go(&mut self, mac: Mac) {
        if let Some(lease) = self.leases.remove(&mac)
            && self.holders.get(&lease.address) == Some(&mac)
        {
            self.holders.remove(&lease.address);
        }
    }

    /// The ledger after all of `events`. Events that are refused are left out: they never happened.
    pub fn replay<'a>(events: impl IntoIterator<Item = &'a Event>) -> Ledger {
        let mut ledger = Ledger::default();
        for e in events {
            let _ = ledger.apply(e);
        }
        ledger
    }

    /// The cluster's making.
    pub fn work(&self) -> &Work {
        &self.work
    }
    pub fn record(&self, mac: Mac) -> Option<&Record> {
        self.records.get(&mac)
    }
    /// Every machine ever heard of or armed.
    pub fn records(&self) -> impl ExactSizeIterator<Item = (Mac, &Record)> {
        self.records.iter().map(|(m, r)| (*m, r))
    }
    /// The state of a machine; `Expected` where nothing happened yet.
    pub fn state(&self, mac: Mac) -> &State {
        self.records.get(&mac).map_or(&State::Expected, |r| &r.state)
    }
    /// The number for this machine's next arming.
    pub fn next_arming(&self, mac: Mac) -> u32 {
        self.records.get(&mac).map_or(1, |r| r.armings + 1)
    }
    pub fn lease(&self, mac: Mac) -> Option<Lease> {
        self.leases.get(&mac).copied()
    }
    pub fn leases(&self) -> impl Iterator<Item = (Mac, Lease)> {
        self.leases.iter().map(|(m, l)| (*m, *l))
    }
    /// Who has an unexpired lease on `address` at `now`.
    pub fn holder(&self, address: Ipv4Addr, now: Timestamp) -> Option<Mac> {
        let mac = *self.holders.get(&address)?;
        (self.leases.get(&mac)?.until > now).then_some(mac)
    }
    /// Whose lease `address` is or last was: used by TFTP and syslog, which know only an address.
    pub fn last_holder(&self, address: Ipv4Addr) -> Option<Mac> {
        self.holders.get(&address).copied()
    }
    /// Whether `address` is set aside at `now` because somebody else was seen to use it.
    pub fn is_set_aside(&self, address: Ipv4Addr, now: Timestamp) -> bool {
        self.set_aside.get(&address).is_some_and(|until| *until > now)
    }
    /// Rival DHCP servers heard: address, interface, what they offered, when last.
    pub fn rivals(&self) -> impl Iterator<Item = (Ipv4Addr, &str, &str, Timestamp)> {
        self.rivals.iter().map(|(a, (i, o, t))| (*a, i.as_str(), o.as_str(), *t))
    }
}
