//! Owns `State`: where a node is in its life.

use super::event::Lane;
use crate::base::Timestamp;
use serde::{Deserialize, Serialize};

/// Where a node is. Every state says since when; those of an installation say which arming it belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum State {
    /// In the site file; nothing has happened, and nothing will until a person arms it.
    Expected,
    /// A person allowed one installation; the machine has not asked yet.
    Armed { since: Timestamp, arming: u32 },
    /// It network-boots towards its installation; nothing was erased yet.
    Booting { since: Timestamp, arming: u32 },
    /// It has its answers: from here on the arming is used up, whatever happens.
    Installing { since: Timestamp, arming: u32, lane: Lane, run: Option<String> },
    /// At least one proof of completion has arrived.
    Installed { since: Timestamp, arming: u32, proofs: Proofs },
    /// The installation said that it failed.
    Failed { since: Timestamp, arming: u32, why: String },
    /// A person stopped it; `before` is where it goes on when released.
    Held { since: Timestamp, why: String, before: Box<State> },
}

/// The two independent proofs that an installation is complete (field-pain #82).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Proofs {
    /// The installer's own report, before it rebooted.
    pub reported: bool,
    /// The first boot from the disk called home.
    pub first_boot: bool,
}

impl Proofs {
    pub fn both(self) -> bool {
        self.reported && self.first_boot
    }
}

impl State {
    /// The state's name, as people read and type it.
    pub fn name(&self) -> &'static str {
        match self {
            State::Expected => "expected",
            State::Armed { .. } => "armed",
            State::Booting { .. } => "booting",
            State::Installing { .. } => "installing",
            State::Installed { .. } => "installed",
            State::Failed { .. } => "failed",
            State::Held { .. } => "held",
        }
    }
    /// Since when; `None` for a node that nothing happened to.
    pub fn since(&self) -> Option<Timestamp> {
        match self {
            State::Expected => None,
            State::Armed { since, .. }
            | State::Booting { since, .. }
            | State::Installing { since, .. }
            | State::Installed { since, .. }
            | State::Failed { since, .. }
            | State::Held { since, .. } => Some(*since),
        }
    }
    /// The arming that this state belongs to.
    pub fn arming(&self) -> Option<u32> {
        match self {
            State::Armed { arming, .. }
            | State::Booting { arming, .. }
            | State::Installing { arming, .. }
            | State::Installed { arming, .. }
            | State::Failed { arming, .. } => Some(*arming),
            State::Expected | State::Held { .. } => None,
        }
    }
}
