//! Owns `Work`: what is known of the cluster's making, as a fold: the plan in use, the agents, what became of steps.

use super::event::What;
use super::step::Refused;
use crate::base::{Mac, Sha256, Timestamp};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// The cluster half of the ledger.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Work {
    /// The plan in use.
    pub plan: Option<Current>,
    /// The first node of each part, elected once.
    pub elected: BTreeMap<String, Mac>,
    /// From which plan on which versions of rotated secrets went out.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    rotated: BTreeMap<u32, BTreeMap<String, u32>>,
    agents: BTreeMap<Mac, Agent>,
    steps: BTreeMap<Mac, BTreeMap<String, Outcome>>,
    /// What was done once for the cluster by a node that was installed anew or left, as long as others have the part.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    kept: BTreeMap<String, Outcome>,
}

/// Which plan is in use.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Current {
    pub generation: u32,
    pub digest: Sha256,
    pub since: Timestamp,
    /// What was done under an earlier plan is gone through again.
    pub again: bool,
}

/// A node's agent.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Agent {
    /// The installation that it belongs to.
    pub arming: u32,
    /// SHA-256 of its certificate: the only one that is believed for this installation.
    pub key: Sha256,
    pub version: String,
    pub since: Timestamp,
}

/// What became of a step on a node.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    pub at: Timestamp,
    pub generation: u32,
    /// Of the step as it was then: another one is another step.
    pub digest: Sha256,
    pub end: End,
    /// It was done once for the whole cluster.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub once: bool,
    /// Of a step of packages that was done: which version of each the node has.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub versions: BTreeMap<String, String>,
}

impl Outcome {
    fn new(at: Timestamp, generation: u32, digest: &Sha256, end: End) -> Outcome {
        Outcome { at, generation, digest: *digest, end, once: false, versions: BTreeMap::new() }
    }
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum End {
    Done {
        changed: bool,
        millis: u64,
    },
    Failed {
        why: String,
        output: String,
    },
    Skipped {
        why: String,
    },
    /// It was done, and what it made is not there any more.
    Drifted {
        detail: String,
    },
}

impl Work {
    /// Takes a fact in. Facts about other things change nothing.
    pub fn apply(&mut self, at: Timestamp, mac: Option<Mac>, what: &What) {
        if let What::Planned { generation, digest, again, elected, rotated, .. } = what {
            if self.rotated.values().next_back().map_or(!rotated.is_empty(), |last| last != rotated) {
                self.rotated.insert(*generation, rotated.clone());
            }
            self.plan = Some(Current { generation: *generation, digest: *digest, since: at, again: *again });
            self.elected.extend(elected.iter().map(|(part, mac)| (part.clone(), *mac)));
        }
        let Some(mac) = mac else { return };
        match what {
            // A machine that is erased has nothing of what was done on it.
            What::AnswersServed { arming, .. }
                if self.agents.get(&mac).is_some_and(|a| a.arming < *arming) =>
            {
                return self.erased(mac);
            }
            What::Forgotten { .. } => return self.erased(mac),
            _ => {}
        }
        let steps = self.steps.entry(mac).or_default();
        match what {
            What::AgentJoined { arming, key, version } => {
                let agent = Agent { arming: *arming, key: *key, version: version.clone(), since: at };
                self.agents.insert(mac, agent);
            }
            What::StepDone { generation, step, digest, changed, millis, once, versions, .. } => {
                let end = End::Done { changed: *changed, millis: *millis };
                let outcome = Outcome::new(at, *generation, digest, end);
                steps.insert(step.clone(), Outcome { once: *once, versions: versions.clone(), ..outcome });
            }
            What::StepFailed { generation, step, digest, why, output } => {
                let end = End::Failed { why: why.clone(), output: output.clone() };
                steps.insert(step.clone(), Outcome::new(at, *generation, digest, end));
            }
            What::StepRetried { step, .. } => {
                steps.remove(step);
                self.kept.remove(step);
            }
            What::StepSkipped { step, digest, why, .. } => {
                let generation = self.plan.as_ref().map_or(0, |p| p.generation);
                let end = End::Skipped { why: why.clone() };
                steps.insert(step.clone(), Outcome::new(at, generation, digest, end));
            }
            What::StepDrifted { step, detail } => {
                if let Some(outcome) = steps.get_mut(step) {
                    // It is mended by the next plan that is put to work, not by whoever looks.
                    outcome.generation = self.plan.as_ref().map_or(0, |p| p.generation);
                    outcome.end = End::Drifted { detail: detail.clone() };
                }
            }
            _ => {}
        }
        if steps.is_empty() {
            self.steps.remove(&mac);
        }
    }

    /// Nothing of what was done on this machine is there any more. What it did once for the whole cluster (a schema, the
    /// beginning of a database) still is, as long as another machine has something of the same part.
    fn erased(&mut self, mac: Mac) {
        self.agents.remove(&mac);
        let gone = self.steps.remove(&mac).unwrap_or_default();
        let done = |o: &Outcome| o.once && matches!(o.end, End::Done { .. });
        self.kept.extend(gone.into_iter().filter(|(_, o)| done(o)));
        let part = |step: &str| step.split('.').next().unwrap_or_default().to_string();
        let alive: BTreeSet<String> = self
            .steps
            .values()
            .flatten()
            .filter(|(_, o)| matches!(o.end, End::Done { .. } | End::Drifted { .. }))
            .map(|(step, _)| part(step))
            .collect();
        self.kept.retain(|step, _| alive.contains(&part(step)));
    }

    /// What a node that was erased since did once for the cluster.
    pub fn kept(&self, step: &str) -> Option<&Outcome> {
        self.kept.get(step)
    }

    /// Whether a fact may happen: a second agent must not take the place of the first (field-pain #72).
    pub fn admits(&self, mac: Option<Mac>, what: &What) -> Result<(), Refused> {
        let (Some(mac), What::AgentJoined { arming, key, .. }) = (mac, what) else { return Ok(()) };
        match self.agents.get(&mac) {
            Some(known) if known.arming == *arming && known.key != *key => Err(Refused(
                "another agent joined with this installation's token already; if that was not this machine, \
                 somebody else has it: arm and install the node again"
                    .to_string(),
            )),
            _ => Ok(()),
        }
    }

    /// The number of the next plan that is put to work.
    pub fn next_generation(&self) -> u32 {
        self.plan.as_ref().map_or(1, |p| p.generation + 1)
    }
    pub fn agent(&self, mac: Mac) -> Option<&Agent> {
        self.agents.get(&mac)
    }
    /// Whose agent has this certificate.
    pub fn whose(&self, key: &Sha256) -> Option<Mac> {
        self.agents.iter().find(|(_, a)| a.key == *key).map(|(mac, _)| *mac)
    }
    pub fn outcome(&self, mac: Mac, step: &str) -> Option<&Outcome> {
        self.steps.get(&mac)?.get(step)
    }
    /// Everything that is known of one step: on which machine, and what became of it.
    pub fn outcomes_of<'a>(&'a self, step: &'a str) -> impl Iterator<Item = (Mac, &'a Outcome)> {
        self.steps.iter().filter_map(move |(mac, steps)| Some((*mac, steps.get(step)?)))
    }
    /// The version of a secret that the plan of this generation carried.
    pub fn carried(&self, generation: u32, secret: &str) -> u32 {
        let at = self.rotated.range(..=generation).next_back();
        at.and_then(|(_, versions)| versions.get(secret)).copied().unwrap_or(1)
    }
    /// Whether this step was ever done anywhere.
    pub fn ever_done(&self, step: &str) -> bool {
        self.kept.contains_key(step)
            || self.outcomes_of(step).any(|(_, o)| matches!(o.end, End::Done { .. } | End::Drifted { .. }))
    }
}
