//! Owns `standings`: how far each node is in the plan that is in use, in one line per node for the board.

use super::gates::{Gates, Status};
use super::plan::{Plan, Planned};
use crate::base::time::span;
use crate::base::{Mac, Timestamp};
use crate::lifecycle::Work;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One node's place in the plan.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Steps of this node, and how many of them are done or skipped.
    pub steps: usize,
    pub done: usize,
    /// The first one that failed, `galera.join: why`.
    pub failed: Option<String>,
    /// What it is doing; else what its next step waits for.
    pub doing: Option<String>,
    /// When the last of its steps ended.
    pub last: Option<Timestamp>,
}

impl Standing {
    /// Every step is done.
    pub fn complete(&self) -> bool {
        self.done == self.steps
    }
    /// 0 to 100; 100 only when complete.
    pub fn percent(&self) -> u8 {
        (self.done * 100 / self.steps.max(1)) as u8
    }
}

/// The steps that agents say they are at, with the time when they said so first.
pub type Running = BTreeMap<Mac, BTreeMap<String, Timestamp>>;

/// Seconds beside a step's own time: an agent ends what takes longer, and says so.
const GRACE: u64 = 60;

/// What there is to say of a step that its agent is at for longer than it may take: the agent itself hangs.
pub fn overdue(p: &Planned, running: &Running, now: Timestamp) -> Option<String> {
    let since = *running.get(&p.mac)?.get(&p.id)?;
    let waited = now.since(since);
    (waited > (u64::from(p.timeout) + GRACE) * 1000).then(|| {
        format!(
            "at it for {}, and it may take {} s: look at {} (`journalctl -u bootstead-agent`; a restart of the agent \
             begins the step again)",
            span(waited),
            p.timeout,
            p.node
        )
    })
}

/// Every node that the plan has steps for.
pub fn standings(
    plan: &Plan,
    gates: &Gates,
    work: &Work,
    running: &Running,
    now: Timestamp,
) -> BTreeMap<Mac, Standing> {
    let mut all: BTreeMap<Mac, Standing> = BTreeMap::new();
    let mut waits: BTreeMap<Mac, String> = BTreeMap::new();
    for (p, status) in plan.steps.iter().zip(&gates.status) {
        let s = all.entry(p.mac).or_default();
        s.steps += 1;
        s.last = s.last.max(work.outcome(p.mac, &p.id).map(|o| o.at));
        match status {
            Status::Done { .. } | Status::Skipped => s.done += 1,
            Status::Failed { why } if s.failed.is_none() => s.failed = Some(format!("{}: {why}", p.id)),
            Status::Failed { .. } => {}
            Status::Ready if running.get(&p.mac).is_some_and(|r| r.contains_key(&p.id)) => {
                match overdue(p, running, now) {
                    Some(why) => s.doing = Some(format!("{}: {why}", p.id)),
                    None => drop(s.doing.get_or_insert_with(|| p.id.clone())),
                }
            }
            Status::Ready => {
                waits.entry(p.mac).or_insert_with(|| p.id.clone());
            }
            Status::Waiting { why } | Status::Blocked { why } => {
                waits.entry(p.mac).or_insert_with(|| format!("{} waits for {why}", p.id));
            }
        }
    }
    for (mac, why) in waits {
        if let Some(s) = all.get_mut(&mac) {
            s.doing.get_or_insert(why);
        }
    }
    all
}
